//! Strings as codes: one growing dictionary per domain. Code 0 is NULL, the rest count from 1 in
//! the order of first sight.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BinaryViewBuilder, FixedSizeBinaryBuilder,
    LargeBinaryBuilder, LargeStringBuilder, StringBuilder, StringViewBuilder, UInt32Array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use hashbrown::HashTable;

use crate::error::{Error, Result};

/// The strings of one domain.
pub struct Interner {
    /// All strings, one after another; entry `i` (code `i + 1`) ends at `ends[i]`.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    codes: HashTable<u32>,
    hasher: ahash::RandomState,
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            codes: HashTable::new(),
            // Fixed keys: codes never depend on the run.
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
        }
    }
}

impl Interner {
    /// Number of distinct strings; codes run from 1 to this.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn entry<'a>(bytes: &'a [u8], ends: &[usize], index: u32) -> &'a [u8] {
        let index = index as usize;
        let start = if index == 0 { 0 } else { ends[index - 1] };
        &bytes[start..ends[index]]
    }

    /// The bytes of a code (not 0).
    pub fn get(&self, code: u32) -> &[u8] {
        Self::entry(&self.bytes, &self.ends, code - 1)
    }

    /// The code of a string, new or known.
    pub fn code(&mut self, value: &[u8]) -> u32 {
        let Self { bytes, ends, codes, hasher } = self;
        let hash = hasher.hash_one(value);
        let known = codes.find(hash, |index| Self::entry(bytes, ends, *index) == value);
        if let Some(index) = known {
            return index + 1;
        }
        let index = ends.len() as u32;
        bytes.extend_from_slice(value);
        ends.push(bytes.len());
        let rehash = |index: &u32| hasher.hash_one(Self::entry(bytes, ends, *index));
        codes.insert_unique(hash, index, rehash);
        index + 1
    }

    /// Writes the codes of an array of strings, of binaries or of a dictionary of either.
    pub fn encode(&mut self, array: &ArrayRef, out: &mut [u32]) -> Result<()> {
        match array.data_type() {
            DataType::Utf8 => self.fill(array.as_string::<i32>().iter(), out),
            DataType::LargeUtf8 => self.fill(array.as_string::<i64>().iter(), out),
            DataType::Utf8View => self.fill(array.as_string_view().iter(), out),
            DataType::Binary => self.fill(array.as_binary::<i32>().iter(), out),
            DataType::LargeBinary => self.fill(array.as_binary::<i64>().iter(), out),
            DataType::BinaryView => self.fill(array.as_binary_view().iter(), out),
            DataType::FixedSizeBinary(_) => self.fill(array.as_fixed_size_binary().iter(), out),
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let mut codes = vec![0; dictionary.values().len()];
                self.encode(dictionary.values(), &mut codes)?;
                let keys = cast(dictionary.keys(), &DataType::UInt32)?;
                for (out, key) in
                    out.iter_mut().zip(keys.as_primitive::<arrow::datatypes::UInt32Type>())
                {
                    *out = key.map_or(0, |key| codes[key as usize]);
                }
            }
            other => return Err(Error::Bug(format!("a column of type {other} has no codes"))),
        }
        Ok(())
    }

    fn fill<V: AsRef<[u8]>>(&mut self, values: impl Iterator<Item = Option<V>>, out: &mut [u32]) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = value.map_or(0, |value| self.code(value.as_ref()));
        }
    }

    /// All strings from code `from` on, as an array of the given type (a dictionary's value type
    /// stands for the dictionary).
    pub fn values(&self, from: u32, data_type: &DataType) -> Result<ArrayRef> {
        let items = (from..=self.len() as u32).map(|code| Some(self.get(code)));
        build(items, data_type)
    }

    /// The strings of `codes` as an array of the given type.
    pub fn decode(&self, codes: &[u32], data_type: &DataType) -> Result<ArrayRef> {
        if codes.len() > 4 * self.len() {
            // Few strings for many rows: build each once.
            let distinct = build((0..=self.len() as u32).map(|c| self.lookup(c)), data_type)?;
            let indices = UInt32Array::from(codes.to_vec());
            let taken = take(&distinct, &indices, None)?;
            return Ok(cast(&taken, data_type)?);
        }
        let array = build(codes.iter().map(|code| self.lookup(*code)), data_type)?;
        Ok(cast(&array, data_type)?)
    }

    fn lookup(&self, code: u32) -> Option<&[u8]> {
        (code != 0).then(|| self.get(code))
    }
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::Bug("a string's code is not UTF-8".into()))
}

/// An array of the type, or of the value type of a dictionary.
fn build<'a>(
    items: impl Iterator<Item = Option<&'a [u8]>>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    macro_rules! strings {
        ($builder:expr) => {{
            let mut builder = $builder;
            for item in items {
                builder.append_option(item.map(text).transpose()?);
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    macro_rules! binaries {
        ($builder:expr) => {{
            let mut builder = $builder;
            for item in items {
                builder.append_option(item);
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    Ok(match data_type {
        DataType::Utf8 => strings!(StringBuilder::new()),
        DataType::LargeUtf8 => strings!(LargeStringBuilder::new()),
        DataType::Utf8View => strings!(StringViewBuilder::new()),
        DataType::Binary => binaries!(BinaryBuilder::new()),
        DataType::LargeBinary => binaries!(LargeBinaryBuilder::new()),
        DataType::BinaryView => binaries!(BinaryViewBuilder::new()),
        DataType::FixedSizeBinary(width) => {
            let mut builder = FixedSizeBinaryBuilder::new(*width);
            for item in items {
                match item {
                    Some(item) => builder.append_value(item)?,
                    None => builder.append_null(),
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }
        DataType::Dictionary(_, value) => build(items, value)?,
        other => return Err(Error::Bug(format!("a column of type {other} has no codes"))),
    })
}
