//! JSON: objects on lines of their own, over several lines, one behind another or in arrays;
//! missing keys are NULL, those that are not declared go by an option.

mod columns;
mod scan;

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::text::{Dialect, Head, Parse, Piece, Position, Wrong, head, lines, piece};
use crate::error::Result;
use crate::stream::connector::api::Opening;
use crate::stream::connector::options::Settings;
use columns::{Column, Notes};
use scan::{Flaw, Found, Scan, Scanner, Values};

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

/// Objects of JSON.
#[derive(Debug, Clone, Default)]
pub struct Json {
    pub unknown: Unknown,
}

#[derive(Debug)]
struct Parser {
    unknown: Unknown,
}

impl Dialect for Json {
    fn whole(&self, bytes: &[u8]) -> usize {
        scan::whole(bytes)
    }

    fn begin(
        &self,
        _: &Opening,
        bytes: &[u8],
        all: bool,
    ) -> Result<Option<(Arc<dyn Parse>, usize)>> {
        let Head::Text(used) = head(bytes, all)? else { return Ok(None) };
        Ok(Some((Arc::new(Parser { unknown: self.unknown.clone() }), used)))
    }
}

impl Parser {
    /// The declared columns, without the one for what is not declared.
    fn columns(&self, opening: &Opening) -> Column {
        let source = opening.source_schema();
        let declared = source.fields().iter().filter(|field| match &self.unknown {
            Unknown::Rescue(column) => field.name() != column,
            _ => true,
        });
        Column::new("", &DataType::Struct(declared.cloned().collect()))
    }
}

/// Reads a record: an object, and nothing else.
fn record(root: &mut Column, scan: &mut Scanner<'_>, notes: &mut Notes) -> Scan<()> {
    let found = match scan.peek()? {
        b'{' => return root.read(scan, notes),
        b'[' => "an array",
        b'"' => "a string",
        b'-' | b'0'..=b'9' => "a number",
        _ => "a word",
    };
    scan.skip()?;
    notes.flaw = Some(format!("an object is expected, {found} found"));
    Ok(())
}

impl Parse for Parser {
    fn parse(&self, opening: &Opening, bytes: &[u8]) -> Result<Piece> {
        let mut root = self.columns(opening);
        let (mut places, mut wrong, mut rescued) = (Vec::new(), Vec::new(), Vec::new());
        let mut values = Values::new(bytes, false);
        let text = std::str::from_utf8(bytes).is_ok();
        let (mut ordinal, mut seen, mut line) = (0, 0, 1);
        loop {
            let len = root.len();
            let mut notes = Notes { strict: self.unknown == Unknown::Fail, ..Notes::default() };
            let found = values.next(|scan| record(&mut root, scan, &mut notes));
            let Some(Found { start, end, flaw }) = found else { break };
            let at = match bytes.get(seen..start) {
                Some(between) => {
                    line += lines(between);
                    seen = start;
                    Position { ordinal, line }
                }
                // The beginning of an array, which is told where it is seen not to be closed.
                None => Position { ordinal, line: lines(&bytes[..start]) + 1 },
            };
            ordinal += 1;
            let written = &bytes[start..end];
            let torn = || (!text && std::str::from_utf8(written).is_err()).then_some("not UTF-8");
            let flaw = flaw.map(Flaw::reason).or(notes.flaw);
            match flaw.or_else(|| torn().map(str::to_string)) {
                Some(reason) => {
                    root.cut(len);
                    let row = String::from_utf8_lossy(written).trim_end().to_string();
                    wrong.push(Wrong { at, reason, row });
                }
                None => {
                    places.push(at);
                    let rest = notes.unknown.join(",");
                    rescued.push((!rest.is_empty()).then(|| format!("{{{rest}}}")));
                }
            }
        }
        let mut columns: Vec<ArrayRef> = root.into_columns()?;
        if let Unknown::Rescue(column) = &self.unknown {
            let at = opening.source_schema().index_of(column)?;
            columns.insert(at, Arc::new(StringArray::from(rescued)));
        }
        piece(opening, &columns, &places, wrong, ordinal, lines(bytes))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;
    use crate::stream::connector::api::testing;

    /// What is read into one column of a type, as text; and why other records are malformed.
    fn read(data_type: DataType, text: &str) -> (Vec<String>, Vec<String>) {
        let opening = testing::opening(vec![Field::new("a", data_type, true)]);
        let json = Json::default();
        let (parser, used) = json.begin(&opening, text.as_bytes(), true).unwrap().unwrap();
        let piece = parser.parse(&opening, &text.as_bytes()[used..]).unwrap();
        let options = arrow::util::display::FormatOptions::default().with_null("NULL");
        let column = piece.batch.column(0);
        let shown = arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap();
        let rows = (0..column.len()).map(|row| shown.value(row).to_string()).collect();
        let reason = |wrong: &Wrong| format!("{}: {}", wrong.at.line, wrong.reason);
        (rows, piece.wrong.iter().map(reason).collect())
    }

    #[test]
    fn integers_are_whole_or_malformed() {
        let text = "{\"a\":20}\n{\"a\":20.9}\n{\"a\":-1e-1}\n{\"a\":1e3}\n{\"a\":2.0}\n{\"a\":-0}\n\
                    {\"a\":9223372036854775808}\n{\"a\":9223372036854775807.0}\n{\"a\":\"7\"}\n\
                    {\"a\":\"7.5\"}\n{\"a\":true}\n{\"a\":null}\n{}\n";
        let (rows, wrong) = read(DataType::Int64, text);
        assert_eq!(rows, ["20", "1000", "2", "0", "9223372036854775807", "7", "NULL", "NULL"]);
        let want = ["20.9", "-1e-1", "9223372036854775808", "'7.5'", "true"];
        let lines = [2, 3, 7, 10, 11];
        let want = want.iter().zip(lines);
        let want = want.map(|(found, line)| format!("{line}: column a: {found} is not Int64"));
        assert_eq!(wrong, want.collect::<Vec<_>>());
        let (rows, wrong) = read(DataType::UInt64, "{\"a\":18446744073709551615} {\"a\":-1}");
        assert_eq!((rows[0].as_str(), wrong.len()), ("18446744073709551615", 1));
        let (rows, wrong) = read(DataType::Int8, "{\"a\":127}{\"a\":128}");
        assert_eq!((rows, wrong.len()), (vec!["127".to_string()], 1));
    }

    #[test]
    fn keys_within_go_without_case() {
        let inner = vec![Field::new("firstname", DataType::Int64, true)];
        let inner = DataType::Struct(inner.into());
        let list = DataType::List(Arc::new(Field::new("item", inner, true)));
        let text = "{}\n{\"A\":[{\"firstName\":1}]}\n{\"a\":[{\"firstName\":2,\"firstname\":3}]}\n\
                    {\"a\":[{\"firstName\":2,\"FIRSTNAME\":3}]}\n\
                    {\"a\":[{\"firstName\":1.5}, null]}\n\
                    {\"a\":[null],\"A\":[]}\n{\"a\":{}}\n";
        let (rows, wrong) = read(list, text);
        assert_eq!(rows, ["NULL", "[{firstname: 1}]", "[{firstname: 3}]", "[NULL]"]);
        let want = [
            "4: column a[].firstname: the keys 'firstName' and 'FIRSTNAME' differ in case only",
            "5: column a[].firstname: 1.5 is not Int64",
            "7: column a: an object is not an array",
        ];
        assert_eq!(wrong, want);
    }

    #[test]
    fn text_and_floats_are_as_they_are_written() {
        let text = "\u{feff}[\n {\n  \"a\": \"x\\u00e4\\n\"\n },\n {\"a\": 1.10}, \
                    {\"a\": true}]\n{\"a\":{}}";
        let (rows, wrong) = read(DataType::Utf8View, text);
        assert_eq!(rows, ["xä\n", "1.10", "true"]);
        assert_eq!(wrong, ["6: column a: an object is not text"]);
        let text = "{\"a\":0.1}{\"a\":1e400}{\"a\":\"NaN\"}{\"a\":9007199254740993}";
        let (rows, wrong) = read(DataType::Float64, text);
        assert_eq!(rows, ["0.1", "NaN", "9007199254740992.0"]);
        assert_eq!(wrong, ["1: column a: 1e400 is not Float64"]);
        let opening = testing::opening(vec![Field::new("a", DataType::Utf8, true)]);
        let (parser, _) = Json::default().begin(&opening, b"{\"", true).unwrap().unwrap();
        let piece = parser.parse(&opening, b"{\"a\":\"ok\"}\n{\"a\":\"\xff\"}\n{\"b\":\"\xff\"}\n");
        let piece = piece.unwrap();
        assert_eq!(piece.batch.column(0).as_string::<i32>().value(0), "ok");
        assert_eq!(piece.wrong.len(), 2, "{:?}", piece.wrong);
    }
}
