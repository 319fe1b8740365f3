//! JSON as rows: objects one after another, each on a line or over several, and arrays of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read};

use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::reader::infer_json_schema_from_iterator;
use serde_json::Value;

use super::parse::Fault;
use crate::error::foreign::serde_json::reason;

/// Follows the structure of JSON text as its bytes come by, and takes the brackets and commas of
/// arrays of rows out of it, so that objects one after another are left. No byte is moved: lines
/// and columns are those of the file.
#[derive(Debug, Default)]
pub struct Rows {
    /// Brackets that are open within the row.
    depth: usize,
    quoted: bool,
    escaped: bool,
    array: Array,
    /// Whether a row is under way that is no object and no array.
    scalar: bool,
    /// Line breaks so far.
    lines: u64,
    /// Rows that have begun, and where to note the lines in which they do.
    begun: u64,
    wanted: Option<u64>,
    found: Option<u64>,
}

/// Where in an array of rows the next byte stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Array {
    #[default]
    Outside,
    /// Behind the bracket that opens it.
    Opened,
    Value,
    Comma,
}

impl Rows {
    /// Rows of which one is looked for: see `line`.
    pub fn looking_for(row: u64) -> Self {
        Self { wanted: Some(row), ..Self::default() }
    }

    /// The line, from 1, on which the row that is looked for begins.
    pub fn line(&self) -> Option<u64> {
        self.found
    }

    /// The text without the brackets and commas of an array.
    ///
    /// Errors: what stands in an array where no row does, with its line.
    pub fn pass<'a>(&mut self, text: &'a [u8]) -> Result<Cow<'a, [u8]>, Fault> {
        let mut out = Cow::Borrowed(text);
        for (at, byte) in text.iter().enumerate() {
            if self.step(*byte)? {
                out.to_mut()[at] = b' ';
            }
        }
        Ok(out)
    }

    /// Goes on by one byte; answers whether it is of an array around rows.
    fn step(&mut self, byte: u8) -> Result<bool, Fault> {
        if self.quoted {
            let escaped = std::mem::take(&mut self.escaped);
            match byte {
                b'\\' => self.escaped = !escaped,
                b'"' if !escaped => self.quoted = false,
                b'\n' => self.lines += 1,
                _ => {}
            }
            return Ok(false);
        }
        match byte {
            b'\n' => self.lines += 1,
            b'"' => self.quoted = true,
            _ => {}
        }
        if self.depth > 0 {
            match byte {
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
            return Ok(false);
        }
        self.between(byte)
    }

    /// A byte between rows, or the first of one.
    fn between(&mut self, byte: u8) -> Result<bool, Fault> {
        let wrong = |what: &str| Err(Fault::on(self.lines + 1, what));
        match (self.array, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => {
                self.scalar = false;
                return Ok(false);
            }
            (Array::Outside, b'[') => {
                self.array = Array::Opened;
                return Ok(true);
            }
            (Array::Opened | Array::Value, b']') => {
                (self.array, self.scalar) = (Array::Outside, false);
                return Ok(true);
            }
            (Array::Value, b',') => {
                (self.array, self.scalar) = (Array::Comma, false);
                return Ok(true);
            }
            (Array::Comma, b']') => return wrong("a row is expected behind ',', found ']'"),
            (Array::Opened | Array::Comma, b',') => return wrong("a row is expected, found ','"),
            (Array::Value, _) if !self.scalar => {
                return wrong("',' or ']' is expected behind a row of an array");
            }
            _ => {}
        }
        if !self.scalar {
            self.begin();
        }
        match byte {
            b'{' | b'[' => self.depth = 1,
            _ => self.scalar = true,
        }
        Ok(false)
    }

    fn begin(&mut self) {
        if self.array != Array::Outside {
            self.array = Array::Value;
        }
        if self.wanted == Some(self.begun) {
            self.found = Some(self.lines + 1);
        }
        self.begun += 1;
    }

    /// Errors: the text ends within a row or an array.
    pub fn end(&self) -> Result<(), Fault> {
        let what = match self.array {
            _ if self.depth > 0 || self.quoted => "an object",
            Array::Outside => return Ok(()),
            _ => "an array",
        };
        Err(Fault::on(self.lines + 1, format!("the file ends within {what}")))
    }

    /// Whether each line that has ended so far ended outside rows and arrays, as far as `text`
    /// goes, so that a file that goes on so can be cut at its lines.
    pub fn by_lines(text: &[u8]) -> bool {
        let mut rows = Self::default();
        for byte in text {
            let stepped = rows.step(*byte);
            let inside = rows.depth > 0 || rows.array != Array::Outside;
            if stepped.is_err() || (*byte == b'\n' && inside) {
                return false;
            }
        }
        rows.array == Array::Outside
    }
}

/// A reader of the rows of JSON text, one after another.
pub struct RowsReader<R> {
    from: R,
    rows: Rows,
}

impl<R: Read> RowsReader<R> {
    pub fn new(from: R, rows: Rows) -> Self {
        Self { from, rows }
    }

    pub fn rows(&self) -> &Rows {
        &self.rows
    }
}

impl<R: Read> Read for RowsReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        let ended = if read == 0 && !buffer.is_empty() { self.rows.end() } else { Ok(()) };
        ended.map_err(io::Error::other)?;
        let rows = self.rows.pass(&buffer[..read]).map_err(io::Error::other)?;
        if let Cow::Owned(rows) = rows {
            buffer[..read].copy_from_slice(&rows);
        }
        Ok(read)
    }
}

/// Where text stops being rows of JSON: `line 3, column 7: expected value`.
pub fn syntax(from: impl Read) -> Option<String> {
    let from = io::BufReader::new(RowsReader::new(from, Rows::default()));
    let rows = serde_json::Deserializer::from_reader(from).into_iter::<serde::de::IgnoredAny>();
    rows.filter_map(Result::err).next().map(|error| told(&error))
}

fn told(error: &serde_json::Error) -> String {
    let why = reason(error);
    match error.is_io() {
        true => why, // with its line
        false => format!("line {}, column {}: {why}", error.line(), error.column()),
    }
}

/// What is seen of the whole numbers of a column.
#[derive(Debug, Default, Clone, Copy)]
struct Whole {
    /// Beyond 64 bits with a sign.
    large: bool,
    negative: bool,
    /// And others that are no whole numbers.
    fraction: bool,
}

/// The columns of JSON text by its first rows. Errors: text that is no rows of JSON.
pub fn infer(from: impl Read, rows: usize, whole: bool) -> Result<Schema, String> {
    let reader = io::BufReader::new(RowsReader::new(from, Rows::default()));
    let values = serde_json::Deserializer::from_reader(reader).into_iter::<Value>();
    let mut seen: BTreeMap<String, Whole> = BTreeMap::new();
    let (mut failed, mut count) = (None, 0);
    let values = values.take(rows).map_while(|value| match value {
        Ok(value) => {
            look(&value, &mut seen);
            count += 1;
            Some(Ok(value))
        }
        // The start of a file may end anywhere.
        Err(error) if !whole && count > 0 && (error.is_eof() || error.is_io()) => None,
        Err(error) => {
            failed = Some(told(&error));
            None
        }
    });
    let inferred = infer_json_schema_from_iterator(values).map_err(|error| error.to_string());
    if let Some(failed) = failed {
        return Err(failed);
    }
    let inferred = inferred?;
    let fields = inferred.fields().iter().map(|field| {
        let whole = seen.get(field.name()).filter(|seen| seen.large && !seen.fraction);
        let kind = match whole {
            Some(whole) if field.data_type() == &DataType::Float64 => match whole.negative {
                true => DataType::Decimal128(20, 0),
                false => DataType::UInt64,
            },
            _ => field.data_type().clone(),
        };
        field.as_ref().clone().with_data_type(kind)
    });
    Ok(Schema::new(fields.collect::<Vec<Field>>()))
}

fn look(row: &Value, seen: &mut BTreeMap<String, Whole>) {
    for (name, value) in row.as_object().into_iter().flatten() {
        let Value::Number(number) = value else { continue };
        if number.is_i64() && !seen.contains_key(name) {
            // The common case costs no more than this.
            let negative = number.as_i64().is_some_and(|number| number < 0);
            seen.insert(name.clone(), Whole { negative, ..Whole::default() });
        } else if let Some(whole) = seen.get_mut(name) {
            whole.negative |= number.as_i64().is_some_and(|number| number < 0);
            whole.large |= number.is_u64() && !number.is_i64();
            whole.fraction |= number.is_f64();
        } else {
            let (large, fraction) = (number.is_u64(), number.is_f64());
            seen.insert(name.clone(), Whole { large, negative: false, fraction });
        }
    }
}

/// The keys of the objects at the start of JSON text, each once, in the order in which they come.
pub fn keys(text: &[u8]) -> Vec<String> {
    let reader = RowsReader::new(text, Rows::default());
    let rows = serde_json::Deserializer::from_reader(io::BufReader::new(reader));
    let mut keys: Vec<String> = Vec::new();
    let objects = rows.into_iter::<serde_json::Map<String, Value>>();
    for object in objects.map_while(Result::ok) {
        for (key, _) in object {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, piece: usize) -> Result<String, String> {
        let (mut rows, mut out) = (Rows::default(), Vec::new());
        for piece in text.as_bytes().chunks(piece) {
            out.extend_from_slice(&rows.pass(piece).map_err(|fault| fault.to_string())?);
        }
        rows.end().map_err(|fault| fault.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn arrays_become_rows_in_any_pieces() {
        for piece in [1, 2, 7, 1000] {
            for (text, want) in [
                ("", ""),
                (" [ ] ", "     "),
                ("[{\"a\":[1,2]},\n{\"a\":\"],{\"}]\n", " {\"a\":[1,2]} \n{\"a\":\"],{\"} \n"),
                ("{\"a\":\n1}{\"a\":[{}]}", "{\"a\":\n1}{\"a\":[{}]}"),
                ("[{}]\n[{},{}]", " {} \n {} {} "),
            ] {
                assert_eq!(rows(text, piece).as_deref(), Ok(want), "{text}");
            }
            for (text, why) in [
                ("[{}\n{}]", "line 2: ',' or ']'"),
                ("[\n,{}]", "line 2: a row"),
                ("[{},]", "line 1: a row"),
                ("[{},\n{}", "line 2: the file ends within an array"),
                ("[{}]\n{\"a\":\"\\\"", "line 2: the file ends within an object"),
            ] {
                let told = rows(text, piece).unwrap_err();
                assert!(told.starts_with(why), "{text}: {told}");
            }
        }
        assert!(Rows::by_lines(b"{\"a\":[]}\n{\"a\":\"\\\"[\"}\n{\"a"));
        assert!(!Rows::by_lines(b"{\n\"a\":1}") && !Rows::by_lines(b"[{}"));
    }

    #[test]
    fn lines_of_rows_and_of_errors_are_those_of_the_file() {
        let line = |text: &str, row: u64| {
            let mut rows = Rows::looking_for(row);
            rows.pass(text.as_bytes()).unwrap();
            rows.line()
        };
        assert_eq!(line("[\n{\n},\n {}]", 1), Some(4));
        assert_eq!(line("{}\n\n{}\n", 1), Some(3));
        assert_eq!(line("{}", 1), None);
        let told = syntax(&b"[\n  {\"a\": 1},\n  {\"a\": x}\n]"[..]).unwrap();
        assert!(told.starts_with("line 3, column 9"), "{told}");
        assert_eq!(syntax(&b"[\n{}]\n"[..]), None);
    }

    #[test]
    fn whole_numbers_keep_their_digits() {
        let kinds = |text: &str| {
            let schema = infer(text.as_bytes(), 100, true).unwrap();
            schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>()
        };
        let large = "18446744073709551615";
        assert_eq!(kinds(&format!("{{\"a\":1}}{{\"a\":{large}}}")), [DataType::UInt64]);
        assert_eq!(
            kinds(&format!("[{{\"a\":{large}}},{{\"a\":-1}}]")),
            [DataType::Decimal128(20, 0)]
        );
        assert_eq!(kinds(&format!("{{\"a\":{large}}}{{\"a\":1.5}}")), [DataType::Float64]);
        assert_eq!(kinds("{\"a\":1}{\"a\":1.5}"), [DataType::Float64]);
        assert_eq!(keys(b"[{\"a\":1},{\"B\":{\"c\":2}},{\"x"), ["a", "B"]);
    }
}
