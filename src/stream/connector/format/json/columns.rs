//! Values of JSON by columns, so that one that does not fit takes its record's others away again.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray,
    StructArray, UInt64Array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type, UInt64Type};

use super::scan::{Quoted, Scan, Scanner, within};
use crate::error::Result;
use crate::stream::connector::format::digits::Digits;

/// What is noted of a record while it is read.
#[derive(Debug, Default)]
pub struct Notes {
    /// What did not fit first.
    pub flaw: Option<String>,
    /// Whether members without a column are wrong.
    pub strict: bool,
    /// Members of the record that have no column, as they are written.
    pub unknown: Vec<String>,
    /// Arrays and objects around the value.
    pub depth: usize,
}

impl Notes {
    fn flaw(&mut self, reason: impl FnOnce() -> String) {
        self.flaw.get_or_insert_with(reason);
    }
}

/// A column of values, perhaps within others.
#[derive(Debug)]
pub struct Column {
    /// For messages.
    path: String,
    /// As declared.
    data_type: DataType,
    valid: Vec<bool>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Signed(Vec<i64>),
    Unsigned(Vec<u64>),
    Float(Vec<f64>),
    Boolean(Vec<bool>),
    /// Also all that is read from text, such as times and decimals.
    Text {
        bytes: Vec<u8>,
        ends: Vec<i32>,
    },
    Struct {
        names: Vec<String>,
        columns: Vec<Column>,
    },
    List {
        child: Box<Column>,
        ends: Vec<i32>,
    },
}

impl Column {
    pub fn new(path: &str, data_type: &DataType) -> Self {
        let within = |name: &str| match path.is_empty() {
            true => name.to_string(),
            false => format!("{path}.{name}"),
        };
        let values = match data_type {
            DataType::UInt64 => Values::Unsigned(Vec::new()),
            other if other.is_integer() => Values::Signed(Vec::new()),
            other if other.is_floating() => Values::Float(Vec::new()),
            DataType::Boolean => Values::Boolean(Vec::new()),
            DataType::Struct(fields) => {
                let column =
                    |field: &Arc<Field>| Self::new(&within(field.name()), field.data_type());
                let names = fields.iter().map(|field| field.name().clone()).collect();
                Values::Struct { names, columns: fields.iter().map(column).collect() }
            }
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _) => {
                let child = Box::new(Self::new(&format!("{path}[]"), field.data_type()));
                Values::List { child, ends: Vec::new() }
            }
            _ => Values::Text { bytes: Vec::new(), ends: Vec::new() },
        };
        Self { path: path.to_string(), data_type: data_type.clone(), valid: Vec::new(), values }
    }

    pub fn len(&self) -> usize {
        self.valid.len()
    }

    /// Takes values away, but so many.
    pub fn cut(&mut self, len: usize) {
        self.valid.truncate(len);
        let last = |ends: &[i32]| ends.last().map_or(0, |end| *end as usize);
        match &mut self.values {
            Values::Signed(values) => values.truncate(len),
            Values::Unsigned(values) => values.truncate(len),
            Values::Float(values) => values.truncate(len),
            Values::Boolean(values) => values.truncate(len),
            Values::Text { bytes, ends } => {
                ends.truncate(len);
                bytes.truncate(last(ends));
            }
            Values::Struct { columns, .. } => columns.iter_mut().for_each(|column| column.cut(len)),
            Values::List { child, ends } => {
                ends.truncate(len);
                child.cut(last(ends));
            }
        }
    }

    fn null(&mut self) {
        self.valid.push(false);
        match &mut self.values {
            Values::Signed(values) => values.push(0),
            Values::Unsigned(values) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Boolean(values) => values.push(false),
            Values::Text { ends, .. } | Values::List { ends, .. } => {
                ends.push(ends.last().copied().unwrap_or(0));
            }
            Values::Struct { columns, .. } => columns.iter_mut().for_each(Self::null),
        }
    }

    /// NULL in place of a value that does not fit.
    fn unfit(&mut self, notes: &mut Notes, found: &str) {
        let name = match &self.data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_string(),
            DataType::Struct(_) => "an object of a STRUCT".to_string(),
            DataType::List(_) | DataType::LargeList(_) => "an array".to_string(),
            DataType::FixedSizeList(_, length) => format!("an array of {length} values"),
            other => other.to_string(),
        };
        let path = &self.path;
        notes.flaw(|| format!("column {path}: {found} is not {name}"));
        self.null();
    }

    /// Appends the value that comes next.
    ///
    /// Errors: it is no JSON; values may have been appended in part, and are to be cut.
    pub fn read(&mut self, scan: &mut Scanner<'_>, notes: &mut Notes) -> Scan<()> {
        let byte = scan.peek()?;
        if byte == b'n' {
            scan.word("null")?;
            self.null();
            return Ok(());
        }
        let nested = matches!(
            (&self.values, byte),
            (Values::Struct { .. }, b'{') | (Values::List { .. }, b'[')
        );
        if nested {
            notes.depth += 1;
            within(notes.depth)?;
            match &self.values {
                Values::Struct { .. } => self.object(scan, notes)?,
                _ => self.list(scan, notes)?,
            }
            notes.depth -= 1;
            return Ok(());
        }
        match byte {
            b'"' => {
                let quoted = scan.string()?;
                self.quoted(quoted, notes);
            }
            b'-' | b'0'..=b'9' => {
                let number = scan.number()?;
                self.number(number, notes);
            }
            b't' | b'f' => {
                let word = if byte == b't' { "true" } else { "false" };
                scan.word(word)?;
                match &mut self.values {
                    Values::Boolean(values) => values.push(byte == b't'),
                    Values::Text { bytes, ends } if !self.data_type.is_binary() => {
                        text(bytes, ends, word);
                    }
                    _ => {
                        self.unfit(notes, word);
                        return Ok(());
                    }
                }
                self.valid.push(true);
            }
            _ => {
                scan.skip_at(notes.depth)?;
                self.unfit(notes, if byte == b'{' { "an object" } else { "an array" });
            }
        }
        Ok(())
    }

    /// A number, which is never cut or rounded but to the nearest of its floating point type.
    fn number(&mut self, number: &str, notes: &mut Notes) {
        let exact = |text: &str| Digits::read(text).and_then(|digits| digits.integer());
        let fits = match &mut self.values {
            Values::Signed(values) => {
                let plain = number.parse::<i64>().ok();
                let value = plain.or_else(|| i64::try_from(exact(number)?).ok());
                value.map(|value| values.push(value)).is_some()
            }
            Values::Unsigned(values) => {
                let plain = number.parse::<u64>().ok();
                let value = plain.or_else(|| u64::try_from(exact(number)?).ok());
                value.map(|value| values.push(value)).is_some()
            }
            Values::Float(values) => {
                let value = match self.data_type {
                    DataType::Float32 => number.parse::<f32>().ok().map(f64::from),
                    _ => number.parse::<f64>().ok(),
                };
                let value = value.filter(|value| value.is_finite());
                value.map(|value| values.push(value)).is_some()
            }
            Values::Text { bytes, ends } if !self.data_type.is_binary() => {
                text(bytes, ends, number);
                true
            }
            _ => false,
        };
        match fits {
            true => self.valid.push(true),
            false => self.unfit(notes, number),
        }
    }

    fn quoted(&mut self, quoted: Quoted<'_>, notes: &mut Notes) {
        let Some(value) = quoted.text() else {
            let path = &self.path;
            notes.flaw(|| format!("column {path}: a string that is no text"));
            self.null();
            return;
        };
        let binary = self.data_type.is_binary();
        let fits = match &mut self.values {
            Values::Text { bytes, ends } if binary => match hexadecimal(&value) {
                Some(value) => {
                    bytes.extend(value);
                    ends.push(bytes.len() as i32);
                    true
                }
                None => false,
            },
            Values::Text { bytes, ends } => {
                text(bytes, ends, &value);
                true
            }
            Values::Signed(values) => {
                Int64Type::parse(&value).map(|value| values.push(value)).is_some()
            }
            Values::Unsigned(values) => {
                UInt64Type::parse(&value).map(|value| values.push(value)).is_some()
            }
            Values::Float(values) => {
                let parsed = Float64Type::parse(&value);
                let nearest = match self.data_type {
                    DataType::Float32 => parsed.map(|value| f64::from(value as f32)),
                    _ => parsed,
                };
                let beyond = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
                let fits = nearest.filter(|n| !n.is_infinite() || !beyond(&value));
                fits.map(|value| values.push(value)).is_some()
            }
            _ => false,
        };
        match fits {
            true => self.valid.push(true),
            false => self.unfit(notes, &format!("'{value}'")),
        }
    }

    fn list(&mut self, scan: &mut Scanner<'_>, notes: &mut Notes) -> Scan<()> {
        let Values::List { child, ends } = &mut self.values else { return Ok(()) };
        let before = child.len();
        scan.step();
        let mut first = true;
        while scan.more(first, b']')? {
            first = false;
            child.read(scan, notes)?;
        }
        let count = child.len() - before;
        if let DataType::FixedSizeList(_, length) = self.data_type
            && usize::try_from(length) != Ok(count)
        {
            child.cut(before);
            self.unfit(notes, &format!("an array of {count} values"));
            return Ok(());
        }
        ends.push(child.len() as i32);
        self.valid.push(true);
        Ok(())
    }

    /// An object, whose members are found by their names, or, where none has a column's name, by
    /// the only one that differs from it in case. Of several with one name the last counts.
    fn object(&mut self, scan: &mut Scanner<'_>, notes: &mut Notes) -> Scan<()> {
        let len = self.valid.len();
        let Values::Struct { names, columns } = &mut self.values else { return Ok(()) };
        scan.step();
        // Keys mostly come in the order of the columns.
        let (mut first, mut hint, mut others) = (true, 0, Vec::new());
        while scan.more(first, b'}')? {
            first = false;
            let from = scan.at;
            let key = scan.string()?;
            scan.expect(b':')?;
            let Some(key) = key.text() else {
                notes.flaw(|| "a key that is no text".to_string());
                scan.skip_at(notes.depth)?;
                continue;
            };
            let exact = match names.get(hint).is_some_and(|name| *name == key) {
                true => Some(hint),
                false => names.iter().position(|name| *name == key),
            };
            if let Some(at) = exact {
                hint = at + 1;
                columns[at].cut(len);
                columns[at].read(scan, notes)?;
            } else {
                let value = scan.at;
                scan.skip_at(notes.depth)?;
                others.push((key, value, from, scan.at));
            }
        }
        for (at, column) in columns.iter_mut().enumerate() {
            if column.len() > len {
                continue;
            }
            let name = &names[at];
            let mut alike = others.extract_if(.., |(key, ..)| key.eq_ignore_ascii_case(name));
            match (alike.next(), alike.next()) {
                (None, _) => column.null(),
                (Some((_, value, ..)), None) => column.read(&mut scan.from(value), notes)?,
                (Some((one, ..)), Some((other, ..))) => {
                    let path = &column.path;
                    notes.flaw(|| {
                        format!("column {path}: the keys '{one}' and '{other}' differ in case only")
                    });
                    column.null();
                }
            }
        }
        if let (true, Some((key, ..))) = (notes.strict, others.first()) {
            let path = if self.path.is_empty() { "" } else { &format!("{}.", self.path) };
            notes.flaw(|| format!("there is no column {path}{key} (unknown_fields = 'fail')"));
        }
        if self.path.is_empty() {
            let written = |(_, _, from, to): (_, usize, usize, usize)| {
                String::from_utf8_lossy(scan.from(to).between(from)).trim().to_string()
            };
            notes.unknown.extend(others.into_iter().map(written));
        }
        self.valid.push(true);
        Ok(())
    }

    /// The values as an array: of the declared type, of the widest of its kind, or text.
    pub fn finish(self) -> Result<ArrayRef> {
        let len = self.valid.len();
        let nulls = Some(NullBuffer::from(self.valid)).filter(|nulls| nulls.null_count() > 0);
        let offsets = |ends: Vec<i32>| OffsetBuffer::new([vec![0], ends].concat().into());
        let field = |name: &str, array: &ArrayRef| {
            Arc::new(Field::new(name, array.data_type().clone(), true))
        };
        Ok(match self.values {
            Values::Signed(values) => Arc::new(Int64Array::new(ScalarBuffer::from(values), nulls)),
            Values::Unsigned(values) => {
                Arc::new(UInt64Array::new(ScalarBuffer::from(values), nulls))
            }
            Values::Float(values) => Arc::new(Float64Array::new(ScalarBuffer::from(values), nulls)),
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.into(), nulls)),
            Values::Text { bytes, ends } if self.data_type.is_binary() => {
                Arc::new(BinaryArray::try_new(offsets(ends), Buffer::from_vec(bytes), nulls)?)
            }
            Values::Text { bytes, ends } => {
                Arc::new(StringArray::try_new(offsets(ends), Buffer::from_vec(bytes), nulls)?)
            }
            Values::Struct { names, columns } => {
                let columns = columns.into_iter().map(Self::finish).collect::<Result<Vec<_>>>()?;
                let fields = names.iter().zip(&columns).map(|(name, array)| field(name, array));
                let fields: Fields = fields.collect();
                Arc::new(StructArray::try_new_with_length(fields, columns, nulls, len)?)
            }
            Values::List { child, ends } => {
                let child = child.finish()?;
                let item = field("item", &child);
                Arc::new(ListArray::try_new(item, offsets(ends), child, nulls)?)
            }
        })
    }

    /// The arrays of a record's columns.
    pub fn into_columns(self) -> Result<Vec<ArrayRef>> {
        match self.values {
            Values::Struct { columns, .. } => columns.into_iter().map(Self::finish).collect(),
            _ => Ok(vec![self.finish()?]),
        }
    }
}

fn text(bytes: &mut Vec<u8>, ends: &mut Vec<i32>, value: &str) {
    bytes.extend_from_slice(value.as_bytes());
    ends.push(bytes.len() as i32);
}

/// Bytes, which JSON writes as hexadecimal digits.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
