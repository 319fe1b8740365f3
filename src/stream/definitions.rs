//! What a pipeline's streams and queries were when their state was kept, so that a changed one is
//! not given the state of another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::definition::Stream;
use super::query::Query;
use crate::error::{Error, Result};

const FILE: &str = "definitions.json";

/// Definitions by name.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definitions {
    streams: BTreeMap<String, String>,
    queries: BTreeMap<String, String>,
    /// Those that the pipeline has no more, and the last epoch when that was seen first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    absent: BTreeMap<String, u64>,
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
            Err(error) => return Err(Error::User(format!("{}: {error}", path.display()))),
        };
        serde_json::from_slice(&text).map_err(|error| {
            Error::Data(format!("{}: {error}: the state folder is damaged", path.display()))
        })
    }

    /// Brings it to the disk.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let (path, new) = (folder.join(FILE), folder.join(format!(".{FILE}.new")));
        let json = serde_json::to_vec_pretty(self).map_err(std::io::Error::from)?;
        let written = std::fs::write(&new, json)
            .and_then(|()| std::fs::File::open(&new)?.sync_all())
            .and_then(|()| std::fs::rename(&new, &path));
        written.map_err(|error| Error::User(format!("{}: {error}", path.display())))?;
        crate::lake::sync(folder)
    }

    /// Adds streams.
    ///
    /// Errors: one that is another than it was.
    pub fn streams(&mut self, streams: &[Arc<Stream>], folder: &Path) -> Result<()> {
        for stream in streams {
            let now = fingerprint(stream);
            let was = self.streams.entry(stream.name.clone()).or_insert_with(|| now.clone());
            if *was != now {
                return Err(Error::User(format!(
                    "stream {} has changed since earlier runs of this pipeline (it was {was}, and \
                     is {now}), so its offsets and open windows mean something else: undo the \
                     change, choose another state folder, or forget the state in {} with \
                     --start-fresh",
                    stream.name,
                    folder.display()
                )));
            }
        }
        Ok(())
    }

    /// Adds a query; tells how it stands to what was there.
    pub fn query(&mut self, query: &Query) -> Known {
        let now = query.graph.fingerprint.clone();
        match self.queries.insert(query.application.clone(), now.clone()) {
            None => Known::New,
            Some(was) if was == now => Known::Same,
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
            Err(Error::User(format!("{}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// What the rows of a stream and their times depend on.
fn fingerprint(stream: &Stream) -> String {
    let columns = stream.schema.fields().iter();
    let columns: Vec<_> = columns.map(|f| format!("{} {}", f.name(), f.data_type())).collect();
    let watermark = stream.watermark.as_ref().map_or("none".to_string(), |rule| {
        let time = stream.schema.field(rule.column).name();
        let most = rule.max_advance_us.map_or(String::new(), |us| format!(", steps of {us} us"));
        format!("{time} - {} us{most}", rule.delay_us)
    });
    let (connector, columns) = (stream.connector.name(), columns.join(", "));
    let (log, partitions) = (stream.connector.identity(), stream.connector.partitions());
    format!("{connector} {log} ({columns}), watermark {watermark}, {partitions} partitions")
}
