//! Lookup tables: functions of one string, evaluated on the CPU once per distinct value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{Field, Schema};
use parking_lot::{Mutex, RwLock};

use super::column;
use crate::error::{Error, Result};
use crate::fragment::intern::Interner;
use crate::fragment::spec::{Lookup, Pipeline};

const VALID: u32 = 1;
const FAILED: u32 = 2;

/// The tables of one run of a pipeline, by number.
pub type Lookups = Arc<Mutex<Vec<LookupState>>>;

/// What has been evaluated so far: per word of an entry, the words of all codes from 0 (NULL).
///
/// It grows while other slots are on their way, and only at its end: a slot that has been given
/// `Entries` finds what it was laid out for at the front, whatever has come since.
#[derive(Default)]
pub struct LookupState {
    words: Vec<Vec<u32>>,
}

/// Lookup states for a pipeline, nothing evaluated yet.
pub fn lookup_states(pipeline: &Pipeline) -> Lookups {
    Arc::new(Mutex::new(pipeline.lookups.iter().map(|_| Default::default()).collect()))
}

/// How much of a table one slot carries: the codes its own strings have, and all before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entries {
    count: usize,
    words: usize,
}

impl Entries {
    /// Words they take in an arena: their number, then word by word.
    pub fn arena_words(self) -> usize {
        1 + self.count * self.words
    }
}

impl LookupState {
    /// Evaluates what the interner has learnt since; returns the entries there are now.
    pub fn extend(&mut self, lookup: &Lookup, interners: &[RwLock<Interner>]) -> Result<Entries> {
        if self.words.is_empty() {
            self.words = vec![Vec::new(); lookup.entry_words()];
            self.append(lookup, interners, &new_null_array(&lookup.argument, 1))?;
        }
        let known = self.words[0].len();
        let strings = interners[lookup.domain].read();
        if known <= strings.len() {
            let fresh = strings.values(known as u32, &lookup.argument)?;
            drop(strings);
            let fresh = arrow::compute::cast(&fresh, &lookup.argument)?;
            self.append(lookup, interners, &fresh)?;
        }
        Ok(Entries { count: self.words[0].len(), words: self.words.len() })
    }

    fn append(
        &mut self,
        lookup: &Lookup,
        interners: &[RwLock<Interner>],
        values: &ArrayRef,
    ) -> Result<()> {
        let field = Field::new("value", lookup.argument.clone(), true);
        let schema = Arc::new(Schema::new(vec![field]));
        let evaluate = |values: ArrayRef| -> Result<ArrayRef> {
            let rows = values.len();
            let batch = RecordBatch::try_new(schema.clone(), vec![values])?;
            Ok(lookup.expr.evaluate(&batch)?.into_array(rows)?)
        };
        if let Ok(results) = evaluate(values.clone()) {
            return self.push(lookup, interners, &results);
        }
        // Some value raises: find out which, so that only rows that hold it do.
        for row in 0..values.len() {
            match evaluate(values.slice(row, 1)) {
                Ok(result) => self.push(lookup, interners, &result)?,
                Err(_) => {
                    let flags = self.words.len() - 1;
                    for (word, column) in self.words.iter_mut().enumerate() {
                        column.push(if word == flags { FAILED } else { 0 });
                    }
                }
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        lookup: &Lookup,
        interners: &[RwLock<Interner>],
        results: &ArrayRef,
    ) -> Result<()> {
        let bits = match lookup.result {
            Some(domain) => {
                let mut codes = vec![0; results.len()];
                interners[domain].write().encode(results, &mut codes)?;
                codes.iter().map(|code| (*code != 0).then_some(*code as u128)).collect()
            }
            None => column::to_bits(results, lookup.rep)?,
        };
        let flags = self.words.len() - 1;
        for value in bits {
            for (word, column) in self.words.iter_mut().enumerate() {
                column.push(match word {
                    word if word == flags => u32::from(value.is_some()) * VALID,
                    word => (value.unwrap_or(0) >> (32 * word)) as u32,
                });
            }
        }
        Ok(())
    }

    /// What it takes on the host.
    pub fn memory_bytes(&self) -> usize {
        self.words.iter().map(|column| 4 * column.capacity()).sum()
    }

    /// Writes the entries of one slot, of which `out` has exactly the words.
    pub fn write(&self, entries: Entries, out: &mut [u32]) -> Result<()> {
        let known = self.words.first().map_or(0, Vec::len);
        if entries.count > known || out.len() != entries.arena_words() {
            let (count, words) = (entries.count, out.len());
            let text = format!("{count} of {known} entries of a lookup table in {words} words");
            return Err(Error::Bug(text));
        }
        out[0] = entries.count as u32;
        for (column, part) in self.words.iter().zip(out[1..].chunks_exact_mut(entries.count)) {
            part.copy_from_slice(&column[..entries.count]);
        }
        Ok(())
    }
}
