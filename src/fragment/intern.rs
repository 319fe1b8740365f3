//! Strings as codes: one growing dictionary per domain. Code 0 is NULL, the rest count from 1 in
//! the order of first sight.

use std::sync::Arc;

use arrow::array::{
    AnyDictionaryArray, Array, ArrayData, ArrayRef, BinaryBuilder, BinaryViewBuilder,
    FixedSizeBinaryBuilder, LargeBinaryBuilder, LargeStringBuilder, StringBuilder,
    StringViewBuilder, UInt32Array, make_array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use hashbrown::HashTable;

use super::coder::{self, Codes, FRESH, INLINE, inline_view};
use crate::error::{Error, Result};

/// The strings of one domain.
pub struct Interner {
    /// All strings, one after another; entry `i` (code `i + 1`) ends at `ends[i]`.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Views of the strings that these hold, with their codes: nothing else is read to find them.
    short: HashTable<([u32; 4], u32)>,
    /// Codes of the others.
    long: HashTable<u32>,
    hasher: ahash::RandomState,
    /// Dictionaries met lately, the last one at the end.
    dictionaries: Vec<(Dictionary, Arc<[u32]>)>,
}

/// Dictionaries that an interner knows as a whole, at most: files that are read side by side have
/// one each.
const DICTIONARIES: usize = 32;

/// The values of a dictionary, told apart by where they lie: batches of one file share theirs.
#[derive(Debug)]
pub struct Dictionary(ArrayData);

impl Dictionary {
    pub fn of(array: &dyn AnyDictionaryArray) -> Self {
        Self(array.values().to_data())
    }

    pub fn array(&self) -> ArrayRef {
        make_array(self.0.clone())
    }

    /// Whether both are the same values in memory. As long as one of them is held, no others come
    /// to lie there.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            short: HashTable::new(),
            long: HashTable::new(),
            // Fixed keys: codes never depend on the run.
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
            dictionaries: Vec::new(),
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

    /// What it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        let dictionaries = self.dictionaries.iter().map(|(_, codes)| size_of_val(codes.as_ref()));
        self.bytes.capacity()
            + size_of::<usize>() * self.ends.capacity()
            + self.short.allocation_size()
            + self.long.allocation_size()
            + dictionaries.sum::<usize>()
    }

    fn entry<'a>(bytes: &'a [u8], ends: &[usize], code: u32) -> &'a [u8] {
        let index = code as usize - 1;
        let start = if index == 0 { 0 } else { ends[index - 1] };
        &bytes[start..ends[index]]
    }

    /// The bytes of a code (not 0).
    pub fn get(&self, code: u32) -> &[u8] {
        Self::entry(&self.bytes, &self.ends, code)
    }

    /// The code of a string of at most `INLINE` bytes, if it is known.
    pub(super) fn short_code(&self, view: u128) -> Option<u32> {
        let words: [u32; 4] = bytemuck::cast(view);
        let found = self.short.find(self.hasher.hash_one(view), |(known, _)| *known == words);
        found.map(|(_, code)| *code)
    }

    /// The code of a longer one, if it is known.
    pub(super) fn long_code(&self, value: &[u8]) -> Option<u32> {
        self.find_long(self.hasher.hash_one(value), value)
    }

    fn find_long(&self, hash: u64, value: &[u8]) -> Option<u32> {
        self.long.find(hash, |code| self.get(*code) == value).copied()
    }

    fn append(&mut self, value: &[u8]) -> u32 {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
        self.ends.len() as u32
    }

    /// Takes in what another interner holds, in its order; returns the codes here, by those there
    /// less 1.
    pub fn adopt(&mut self, other: &Interner) -> Vec<u32> {
        let adopt = |code| {
            let value = other.get(code);
            match value.len() {
                ..=INLINE => self.short(inline_view(value, 0, value.len())),
                _ => self.long(value),
            }
        };
        (1..=other.len() as u32).map(adopt).collect()
    }

    /// The codes of a dictionary's values, if it was met lately.
    pub fn codes_of(&self, dictionary: &Dictionary) -> Option<Arc<[u32]>> {
        let mut known = self.dictionaries.iter().rev();
        known.find(|(known, _)| known.is_same(dictionary)).map(|(_, codes)| codes.clone())
    }

    /// Keeps the codes of a dictionary's values for batches to come.
    pub fn keep(&mut self, dictionary: Dictionary, codes: Arc<[u32]>) -> Arc<[u32]> {
        if self.dictionaries.len() == DICTIONARIES {
            self.dictionaries.remove(0);
        }
        self.dictionaries.push((dictionary, codes.clone()));
        codes
    }

    /// Writes the codes of an array of strings, of binaries or of a dictionary of either.
    pub fn encode(&mut self, array: &ArrayRef, out: &mut [u32]) -> Result<()> {
        coder::encode(self, std::slice::from_ref(array), out)
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

/// Strings that are not known are added.
impl Codes for Interner {
    fn short(&mut self, view: u128) -> u32 {
        if let Some(code) = self.short_code(view) {
            return code;
        }
        let code = self.append(&view.to_le_bytes()[4..4 + view as u32 as usize]);
        let hasher = &self.hasher;
        let rehash = |(words, _): &([u32; 4], u32)| {
            hasher.hash_one(bytemuck::cast::<[u32; 4], u128>(*words))
        };
        self.short.insert_unique(hasher.hash_one(view), (bytemuck::cast(view), code), rehash);
        code
    }

    fn long(&mut self, value: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(value);
        if let Some(code) = self.find_long(hash, value) {
            return code;
        }
        let code = self.append(value);
        let Self { bytes, ends, long, hasher, .. } = self;
        let rehash = |code: &u32| hasher.hash_one(Self::entry(bytes, ends, *code));
        long.insert_unique(hash, code, rehash);
        code
    }
}

/// The same without a change to `known`. Strings that it lacks are in the interner that is
/// returned, in the order of first sight; `settle` turns their codes into those that `known` gives
/// them when it adopts them.
pub fn find(known: &Interner, parts: &[ArrayRef], out: &mut [u32]) -> Result<Interner> {
    let mut finder = Finder { known, fresh: Interner::default() };
    coder::encode(&mut finder, parts, out)?;
    Ok(finder.fresh)
}

struct Finder<'a> {
    known: &'a Interner,
    fresh: Interner,
}

impl Codes for Finder<'_> {
    fn short(&mut self, view: u128) -> u32 {
        self.known.short_code(view).unwrap_or_else(|| FRESH | self.fresh.short(view))
    }

    fn long(&mut self, value: &[u8]) -> u32 {
        self.known.long_code(value).unwrap_or_else(|| FRESH | self.fresh.long(value))
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
