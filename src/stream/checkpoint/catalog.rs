//! What a pipeline's streams and queries were when their state was kept, so that a changed one is
//! not given the state of another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Field;
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::error::{Error, Result};
use crate::stream::checksum;
use crate::stream::connector::forms::Origin;
use crate::stream::dataflow::query::Query;
use crate::stream::dataflow::{Graph, IN_LOG_ORDER};
use crate::stream::log::definition::Stream;

const FILE: &str = "definitions.json";

/// Definitions by name.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definitions {
    streams: BTreeMap<String, String>,
    queries: BTreeMap<String, String>,
    /// Those that the pipeline has no more, and the last epoch when that was seen first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    absent: BTreeMap<String, u64>,
    /// Whether a version wrote them that knew no checksums, nor the digits of a TIMESTAMP.
    #[serde(skip)]
    without_digits: bool,
}

/// How a query stands to what was kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    New,
    Same,
    /// Another query under the same name.
    Changed,
}

impl Definitions {
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(disk::failed(&path, error)),
        };
        let read: Self = checksum::parse(&text).map_err(|error| {
            Error::Data(format!(
                "{}: {error}: the state folder is damaged: put the file back from a copy, or go on \
                 with --start-fresh",
                path.display()
            ))
        })?;
        Ok(Self { without_digits: !checksum::is_summed(&text), ..read })
    }

    /// Brings it to the disk.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        disk::replace(&path, &checksum::line(self)?).map_err(|error| disk::failed(&path, error))
    }

    /// Adds streams. One may have got columns, which are NULL in the rows before.
    ///
    /// Errors: one that is another than it was.
    pub fn streams(&mut self, streams: &[Arc<Stream>], folder: &Path) -> Result<()> {
        for stream in streams {
            let now = Described::of(stream);
            let was = self.streams.entry(stream.name.clone()).or_insert_with(|| now.text());
            let added = now.added(was, self.without_digits);
            let fit = |at: &usize| {
                let form = stream.forms.get(*at).cloned().unwrap_or_default();
                let plain = matches!(form.origin, Origin::Source);
                plain && stream.schema.field(*at).is_nullable()
            };
            let reason = match &added {
                Some(added) if added.iter().all(fit) => {
                    *was = now.text();
                    continue;
                }
                Some(_) => {
                    "a column that is added is computed or NOT NULL, and those before have none"
                }
                None => "columns may be added, and neither be removed nor be of another type",
            };
            return Err(Error::user(format!(
                "stream {} has changed since earlier runs of this pipeline (it was {was}, and is \
                 {}), so its offsets and open windows mean something else ({reason}): undo the \
                 change, choose another state folder, or forget the state in {} with --start-fresh",
                stream.name,
                now.text(),
                folder.display()
            )));
        }
        Ok(())
    }

    /// Adds a query; tells how it stands to what was there.
    pub fn query(&mut self, query: &Query) -> Known {
        let now = query.graph.fingerprint.clone();
        match self.queries.insert(query.application.clone(), now.clone()) {
            None => Known::New,
            Some(was) if is_same(&query.graph, &was) => Known::Same,
            // Its snapshots are another's: the log is read again, and results that were given stay.
            Some(was) if is_before_order(&query.graph, &was) => Known::Same,
            Some(_) => Known::Changed,
        }
    }

    /// Tells which streams and queries there are now, at the last epoch; answers the epoch up to
    /// which others may hold anything.
    pub fn present(&mut self, present: &BTreeSet<&str>, last: u64) -> u64 {
        let names = self.streams.keys().chain(self.queries.keys());
        let absent = names.filter(|name| !present.contains(name.as_str()));
        let since = |name: &String| self.absent.get(name).copied().unwrap_or(last);
        self.absent = absent.map(|name| (name.clone(), since(name))).collect();
        self.absent.values().copied().max().unwrap_or(0)
    }
}

/// Forgets the definitions in a state folder.
pub fn discard(folder: &Path) -> Result<()> {
    let path = folder.join(FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(disk::failed(&path, error))
        }
        _ => Ok(()),
    }
}

/// Whether a query is the one that an earlier fingerprint tells, but for columns that its streams
/// have got since, and that it only passes on within itself.
pub fn is_same(graph: &Graph, was: &str) -> bool {
    tells_same(graph, &graph.fingerprint, was)
}

/// Whether a query is the one that a fingerprint tells of a version whose rows of equal keys did
/// not come in the order of the log: what it kept lacks that order.
fn is_before_order(graph: &Graph, was: &str) -> bool {
    let now = graph.fingerprint.strip_suffix(IN_LOG_ORDER);
    now.is_some_and(|now| tells_same(graph, now, was))
}

fn tells_same(graph: &Graph, now: &str, was: &str) -> bool {
    if now == was {
        return true;
    }
    let fields = graph.streams.iter().flat_map(|stream| stream.schema.fields());
    let added: Vec<&str> =
        fields.map(|field| field.name().as_str()).filter(|name| !names(was, name)).collect();
    let given = |name: &&str| graph.schema.field_with_name(name).is_ok();
    // Equal rows may be such no more with another column.
    !added.iter().any(given) && !now.contains("Distinct:") && without(now, &added) == was
}

/// Whether a plan's text names a column.
fn names(plan: &str, column: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    plan.match_indices(column).any(|(at, _)| {
        let behind = plan[at + column.len()..].chars().next();
        plan[..at].ends_with('.') && !behind.is_some_and(part)
    })
}

/// A plan's text, the columns in its projections left out.
fn without(plan: &str, columns: &[&str]) -> String {
    let kept = |item: &&str| {
        let name = item.rsplit_once('.').map_or(*item, |(_, name)| name);
        let plain = item.chars().all(|c| c.is_alphanumeric() || "._".contains(c));
        !(plain && columns.contains(&name))
    };
    let line = |line: &str| match line.split_once("Projection: ") {
        Some((indent, list)) if indent.trim().is_empty() => {
            let items: Vec<&str> = items(list).into_iter().filter(kept).collect();
            format!("{indent}Projection: {}", items.join(", "))
        }
        _ => line.to_string(),
    };
    plan.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// The items of a list, those within brackets and quotes together.
fn items(list: &str) -> Vec<&str> {
    let (mut depth, mut quote, mut from) = (0_usize, None, 0);
    let mut items = Vec::new();
    for (at, c) in list.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 && list[at..].starts_with(", ") => {
                items.push(&list[from..at]);
                from = at + 2;
            }
            _ => {}
        }
    }
    items.push(&list[from..]);
    items
}

/// What the rows of a stream and their times depend on.
struct Described {
    /// What stands before and behind the columns.
    before: String,
    behind: String,
    columns: Vec<String>,
    /// The same without the digits of a TIMESTAMP.
    without_digits: Vec<String>,
    /// What may stand before the columns as well, from an earlier run.
    others: Vec<String>,
}

impl Described {
    fn of(stream: &Stream) -> Self {
        let column = |(at, field): (usize, &Arc<Field>)| {
            let form = stream.forms.get(at).cloned().unwrap_or_default();
            let digits = form.digits.map_or(String::new(), |digits| format!("({digits})"));
            let computed = match form.origin {
                Origin::Computed(computed) => format!(" AS {}", computed.text),
                _ => String::new(),
            };
            let begun = format!("{} {}", field.name(), field.data_type());
            (format!("{begun}{digits}{computed}"), format!("{begun}{computed}"))
        };
        let (columns, without_digits) =
            stream.schema.fields().iter().enumerate().map(column).unzip();
        let watermark = stream.watermark.as_ref().map_or("none".to_string(), |rule| {
            let time = stream.schema.field(rule.column).name();
            let most =
                rule.max_advance_us.map_or(String::new(), |us| format!(", steps of {us} us"));
            format!("{time} - {} us{most}", rule.delay_us)
        });
        let connector = stream.connector.name();
        let times = stream.times.identity();
        let begun = |log: String| format!("{connector} {log}{times} (");
        let before = begun(stream.connector.identity());
        let others = stream.connector.other_identities().into_iter().map(begun).collect();
        let partitions = stream.connector.partitions();
        let behind = format!("), watermark {watermark}, {partitions} partitions");
        Self { before, behind, columns, without_digits, others }
    }

    fn text(&self) -> String {
        format!("{}{}{}", self.before, self.columns.join(", "), self.behind)
    }

    /// The columns that an earlier description has not, which may be one `without_digits`; `None`
    /// where it is of another stream.
    fn added(&self, was: &str, without_digits: bool) -> Option<Vec<usize>> {
        let mut begun = std::iter::once(&self.before).chain(&self.others);
        let left = begun.find_map(|before| was.strip_prefix(before.as_str()))?;
        let mut left = left.strip_suffix(&self.behind)?;
        let mut added = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            let other = self.without_digits.get(at).filter(|_| without_digits);
            let mut told = std::iter::once(column).chain(other);
            match told.find_map(|column| behind(left, column)) {
                Some(rest) => left = rest,
                None => added.push(at),
            }
        }
        left.is_empty().then_some(added)
    }
}

/// What is behind a column in a list that begins with it.
fn behind<'a>(list: &'a str, column: &str) -> Option<&'a str> {
    let rest = list.strip_prefix(column)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_a_query_only_passes_on_do_not_count() {
        let was =
            "Projection: w, sum(s.v)\n  Projection: s.ts, s.v, s.__offset, f(\"a, b\", s.ts) AS w";
        let now = "Projection: w, sum(s.v)\n  Projection: s.more, s.ts, s.v, s.unit, s.__offset, \
                   f(\"a, b\", s.ts) AS w";
        assert!(names(now, "unit") && names(was, "ts") && !names(was, "t") && !names(was, "unit"));
        assert_eq!(without(now, &["more", "unit"]), was);
        assert_ne!(without(&now.replace("s.unit", "g(s.unit)"), &["more", "unit"]), was);
        assert_ne!(without(&now.replace("s.unit", "s.unit AS u"), &["more", "unit"]), was);
    }

    #[test]
    fn columns_that_were_added_are_found() {
        let of = |columns: &[&str]| Described {
            before: "file (a), x (".to_string(),
            behind: "), watermark none".to_string(),
            columns: columns.iter().map(ToString::to_string).collect(),
            without_digits: columns.iter().map(|column| column.replace("(3)", "")).collect(),
            others: vec!["file (/p/a), x (".to_string()],
        };
        let was = of(&["a Decimal128(10, 2)", "b Int64"]).text();
        for (columns, want) in [
            (vec!["a Decimal128(10, 2)", "b Int64"], Some(vec![])),
            (vec!["a Decimal128(10, 2)", "c Utf8", "b Int64", "d Utf8"], Some(vec![1, 3])),
            (vec!["b Utf8", "a Decimal128(10, 2)", "b Int64"], Some(vec![0])),
            (vec!["b Int64", "a Decimal128(10, 2)"], None),
            (vec!["a Decimal128(10, 2)"], None),
            (vec!["a Decimal128(10, 2)", "b Int64(3)"], None),
            (vec!["a Decimal128(10, 1)", "b Int64"], None),
        ] {
            assert_eq!(of(&columns).added(&was, false), want, "{columns:?}");
        }
        let a = of(&["a Utf8"]);
        assert_eq!(a.added("file (b), x (a Utf8), watermark none", false), None);
        // As an earlier version told the same file.
        assert_eq!(a.added("file (/p/a), x (a Utf8), watermark none", false), Some(vec![]));
        // Digits that it did not know, and those that have changed since.
        let plain = of(&["a Utf8", "t Timestamp(µs)"]).text();
        let digits = of(&["a Utf8", "t Timestamp(µs)(3)"]);
        assert_eq!(digits.added(&plain, true), Some(vec![]));
        assert_eq!(digits.added(&digits.text(), true), Some(vec![]));
        assert_eq!(digits.added(&plain, false), None);
    }
}
