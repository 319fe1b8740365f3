//! JSON: one object a line; missing keys are NULL, those that are not declared go by an option.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;

use super::Opening;
use super::text::{Dialect, Parse, Piece, Position, Wrong, lines, piece};
use crate::error::Result;
use crate::stream::settings::Settings;

/// What becomes of fields that are not declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Unknown {
    #[default]
    Ignore,
    /// Their row is malformed.
    Fail,
    /// They are kept in this column, as an object.
    Rescue(String),
}

/// The column that they are kept in, unless told.
const RESCUED: &str = "_rescued_data";

impl Unknown {
    /// Errors: no column to keep them in; `json` is false, and there is something to do.
    pub fn new(settings: &mut Settings, schema: &Schema, json: bool) -> Result<Self> {
        let what = settings.choice("unknown_fields", &["ignore", "fail", "rescue"])?;
        let column = settings.text("rescued_data_column");
        if !json && (what != "ignore" || column.is_some()) {
            return Err(settings.error("unknown_fields and rescued_data_column are of JSON"));
        }
        if column.is_some() && what != "rescue" {
            return Err(settings.error("rescued_data_column goes with unknown_fields = 'rescue'"));
        }
        match what {
            "ignore" => return Ok(Self::Ignore),
            "fail" => return Ok(Self::Fail),
            _ => {}
        }
        let column = column.unwrap_or_else(|| RESCUED.to_string());
        let field = schema.field_with_name(&column).ok();
        let fits = |field: &Field| field.is_nullable() && field.data_type().is_string();
        match field.is_some_and(fits) {
            true => Ok(Self::Rescue(column)),
            false => Err(settings.error(format!(
                "unknown_fields = 'rescue' keeps them in the column {column}: declare it as \
                 VARCHAR, or name another with rescued_data_column"
            ))),
        }
    }

    /// For what tells one log from another: other rows are malformed, or have other values.
    pub fn identity(&self) -> String {
        match self {
            Self::Ignore => String::new(),
            Self::Fail => ", unknown fields fail".to_string(),
            Self::Rescue(column) => format!(", unknown fields in {column}"),
        }
    }
}

/// Lines of JSON.
#[derive(Debug, Clone, Default)]
pub struct Json {
    pub unknown: Unknown,
}

/// The lines of one file.
#[derive(Debug)]
struct Parser {
    /// Columns as they are decoded.
    schema: SchemaRef,
    unknown: Unknown,
}

impl Dialect for Json {
    fn whole(&self, bytes: &[u8]) -> usize {
        memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1)
    }

    /// The first object shows how keys are spelt.
    fn begin(
        &self,
        opening: &Opening,
        bytes: &[u8],
        all: bool,
    ) -> Result<Option<(Arc<dyn Parse>, usize)>> {
        let present = if all { bytes } else { &bytes[..self.whole(bytes)] };
        let blank = |line: &&[u8]| line.iter().all(u8::is_ascii_whitespace);
        let first = present.split(|byte| *byte == b'\n').find(|line| !blank(line));
        match first {
            None if !all => Ok(None),
            first => {
                let unknown = self.unknown.clone();
                let schema = decoded(&opening.schema, &unknown, first.unwrap_or_default());
                Ok(Some((Arc::new(Parser { schema, unknown }), 0)))
            }
        }
    }
}

/// Keys as the file spells them, where a declared name differs from one in case only; times and
/// decimals as text, so that they are read as everywhere else. The column for what is not declared
/// is none of them.
fn decoded(declared: &Schema, unknown: &Unknown, first: &[u8]) -> SchemaRef {
    let object: Option<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_slice(first).ok();
    let spelt = |name: &String| {
        let keys = object.iter().flat_map(|object| object.keys());
        let mut keys = keys.filter(|key| key.eq_ignore_ascii_case(name));
        let same = object.as_ref().is_some_and(|object| object.contains_key(name));
        if same { name.clone() } else { keys.next().unwrap_or(name).clone() }
    };
    let fields = declared.fields().iter().filter(|field| match unknown {
        Unknown::Rescue(column) => field.name() != column,
        _ => true,
    });
    let fields = fields.map(|field| {
        let data_type = match field.data_type() {
            other if other.is_temporal() || other.is_decimal() => DataType::Utf8,
            DataType::Utf8View => DataType::Utf8,
            other => other.clone(),
        };
        Field::new(spelt(field.name()), data_type, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Lines of text, without those that are blank.
struct Lines<'a> {
    bytes: &'a [u8],
    /// Where each begins and ends.
    ends: Vec<(usize, usize)>,
    places: Vec<Position>,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut found = Self { bytes, ends: Vec::new(), places: Vec::new() };
        let (mut start, mut line) = (0, 0);
        while start < bytes.len() {
            let end = memchr::memchr(b'\n', &bytes[start..]);
            let end = end.map_or(bytes.len(), |length| start + length + 1);
            line += 1;
            if !bytes[start..end].trim_ascii().is_empty() {
                let ordinal = found.places.len() as u64;
                found.places.push(Position { ordinal, line });
                found.ends.push((start, end));
            }
            start = end;
        }
        found
    }

    /// Decodes lines, if each holds one object.
    fn decode(&self, parser: &Parser, from: usize, to: usize) -> Result<RecordBatch, String> {
        let schema = &parser.schema;
        let ends = &self.ends[from..to];
        let (Some((start, _)), Some((_, end))) = (ends.first(), ends.last()) else {
            return Ok(RecordBatch::new_empty(schema.clone()));
        };
        // Else an object may go over two lines where another line has two.
        let braced = |(start, end): &(usize, usize)| {
            let line = self.bytes[*start..*end].trim_ascii();
            line.first() == Some(&b'{') && line.last() == Some(&b'}')
        };
        if to - from > 1 && !ends.iter().all(braced) {
            return Err("not one object on a line".to_string());
        }
        decode(parser, &self.bytes[*start..*end], to - from)
    }
}

/// The members of an object that is JSON, each as it is written.
fn members(object: &str) -> Vec<&str> {
    let object = object.trim();
    let inner = object.get(1..object.len().saturating_sub(1)).unwrap_or_default();
    let (mut depth, mut quoted, mut escaped, mut from) = (0_usize, false, false, 0);
    let mut members = Vec::new();
    for (at, byte) in inner.bytes().enumerate() {
        let meant = std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted => escaped = !meant,
            b'"' if !meant => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            b',' if !quoted && depth == 0 => {
                members.push(inner[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    members.push(inner[from..].trim());
    members.retain(|member| !member.is_empty());
    members
}

/// An object of the members of an object that have no column; `None` where all have one.
fn rest(object: &[u8], columns: &Schema) -> Option<String> {
    let object = std::str::from_utf8(object).ok()?;
    let unknown = |member: &&str| {
        let key = serde_json::Deserializer::from_str(member).into_iter::<String>().next();
        key.and_then(Result::ok).is_none_or(|key| columns.index_of(&key).is_err())
    };
    let members: Vec<&str> = members(object).into_iter().filter(unknown).collect();
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
}

/// Decodes text that holds `rows` objects; anything else is an error.
fn decode(parser: &Parser, text: &[u8], rows: usize) -> Result<RecordBatch, String> {
    let strict = parser.unknown == Unknown::Fail;
    let builder = ReaderBuilder::new(parser.schema.clone());
    let builder = builder.with_coerce_primitive(true).with_strict_mode(strict);
    let mut decoder =
        builder.with_batch_size(rows + 1).build_decoder().map_err(|e| e.to_string())?;
    let wrong = |error: ArrowError| match strict {
        true => format!("{error} (unknown_fields = 'fail')"),
        false => error.to_string(),
    };
    let used = decoder.decode(text).map_err(wrong)?;
    if used != text.len() {
        return Err("more than one object on a line".to_string());
    }
    match decoder.flush().map_err(wrong)? {
        Some(batch) if batch.num_rows() == rows => Ok(batch),
        _ => Err("not one object on a line".to_string()),
    }
}

impl Parse for Parser {
    fn parse(&self, opening: &Opening, bytes: &[u8]) -> Result<Piece> {
        let found = Lines::new(bytes);
        let count = found.places.len();
        let (mut good, mut places, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        let mut rescued: Vec<Option<String>> = Vec::new();
        // Where a line is malformed, which one it is: by halves, the first first.
        let mut ranges = vec![(0, count)];
        while let Some((from, to)) = ranges.pop() {
            match found.decode(self, from, to) {
                Ok(batch) => {
                    good.push(batch);
                    if matches!(self.unknown, Unknown::Rescue(_)) {
                        let lines = found.ends[from..to].iter();
                        rescued.extend(lines.map(|(s, e)| rest(&bytes[*s..*e], &self.schema)));
                    }
                    places.extend_from_slice(&found.places[from..to]);
                }
                Err(_) if to - from > 1 => {
                    let middle = from + (to - from) / 2;
                    ranges.extend([(middle, to), (from, middle)]);
                }
                Err(reason) => {
                    let (start, end) = found.ends[from];
                    let row = String::from_utf8_lossy(&bytes[start..end]).trim_end().to_string();
                    wrong.push(Wrong { at: found.places[from], reason, row });
                }
            }
        }
        let batch = match good.len() {
            1 => good.remove(0),
            _ => arrow::compute::concat_batches(&self.schema, &good)?,
        };
        let mut columns = batch.columns().to_vec();
        if let Unknown::Rescue(column) = &self.unknown {
            let at = opening.schema.index_of(column)?;
            columns.insert(at, Arc::new(StringArray::from(rescued)));
        }
        piece(opening, &columns, &places, wrong, count as u64, lines(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_declared_is_kept_as_it_is_written() {
        let columns = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        for (object, want) in [
            (r#"{"a": 1}"#, None),
            ("{}", None),
            (r#"{"a":1, "b": 1.10 }"#, Some(r#"{"b": 1.10}"#)),
            (
                r#"{"b":{"a":[1,2]},"a":1,"c":"x,\"}\\"}"#,
                Some(r#"{"b":{"a":[1,2]},"c":"x,\"}\\"}"#),
            ),
            (
                r#"{"\u0061":1,"A":12345678901234567890123}"#,
                Some(r#"{"A":12345678901234567890123}"#),
            ),
        ] {
            assert_eq!(rest(object.as_bytes(), &columns).as_deref(), want, "{object}");
        }
    }
}
