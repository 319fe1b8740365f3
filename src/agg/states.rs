//! States of many groups as columns, one for each accumulator: what a device writes and what
//! aggregates finish, without a step for each group.

use arrow::array::{ArrayRef, NullBufferBuilder};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::DataType;

use super::acc::Acc;
use super::array;
use crate::error::{Error, Result};

/// The values that one accumulator has in each group: those of [`super::Best`] as values of their
/// type, all others as in its state, without the word that says if there was a value.
#[derive(Debug, Clone)]
pub struct StateColumn {
    /// [`super::Accumulator::value_words`] words a group, low words first, one group after another.
    values: Buffer,
    words: usize,
    /// Groups that had a value; `None` where all had, or where the words tell.
    seen: Option<NullBuffer>,
    groups: usize,
}

impl StateColumn {
    /// A column out of words, and out of bits for an accumulator that says if there was a value.
    ///
    /// Errors, as a bug of ours, where the buffer does not have the words of `groups` groups.
    pub fn new(acc: Acc, values: Buffer, seen: Option<NullBuffer>, groups: usize) -> Result<Self> {
        let words = acc.value_words();
        let fits = values.len() == 4 * words * groups;
        if !fits || seen.as_ref().is_some_and(|seen| seen.len() != groups) {
            let bytes = values.len();
            return Err(Error::Bug(format!("{groups} states of {words} words in {bytes} bytes")));
        }
        let seen = seen.filter(|seen| seen.null_count() > 0);
        Ok(Self { values, words, seen, groups })
    }

    /// Columns of accumulators whose states lie one after another in rows of `stride` words, a row
    /// for each group, from word `offset` of each row on.
    ///
    /// Errors, as a bug of ours, where a row ends before its states.
    pub fn of_rows(accs: &[Acc], rows: &[u32], stride: usize, offset: usize) -> Result<Vec<Self>> {
        let words: usize = accs.iter().map(|acc| acc.words()).sum();
        if offset + words > stride || !rows.len().is_multiple_of(stride.max(1)) {
            let len = rows.len();
            let text = format!("states of {words} words at {offset} of {stride}, {len} in all");
            return Err(Error::Bug(text));
        }
        let mut at = offset;
        let column = |acc: &Acc| {
            let states = rows.chunks_exact(stride.max(1)).map(|row| &row[at..at + acc.words()]);
            let column = Self::of_states(*acc, states);
            at += acc.words();
            column
        };
        accs.iter().map(column).collect()
    }

    fn of_states<'a>(acc: Acc, states: impl ExactSizeIterator<Item = &'a [u32]>) -> Result<Self> {
        let groups = states.len();
        let words = acc.value_words();
        let mut values = Vec::with_capacity(words * groups);
        let mut seen = NullBufferBuilder::new(groups);
        for state in states {
            acc.put_value(&state[..words], &mut values);
            seen.append(words == acc.words() || state[words] != 0);
        }
        Self::new(acc, Buffer::from_vec(values), seen.finish(), groups)
    }

    pub fn groups(&self) -> usize {
        self.groups
    }

    /// All words.
    pub fn words(&self) -> &[u32] {
        self.values.typed_data()
    }

    /// The words of each group.
    pub(super) fn iter(&self) -> std::slice::ChunksExact<'_, u32> {
        self.words().chunks_exact(self.words)
    }

    /// The words of each group, where it had a value.
    pub fn seen(&self) -> impl ExactSizeIterator<Item = Option<&[u32]>> {
        self.iter().enumerate().map(|(group, words)| {
            self.seen.as_ref().is_none_or(|seen| seen.is_valid(group)).then_some(words)
        })
    }

    /// The values as an array, NULL where there was none; of the same memory where the type has as
    /// many bits as the words.
    pub(super) fn array(&self, data_type: &DataType) -> Result<ArrayRef> {
        array::from_words(data_type, &self.values, self.words, self.seen.clone())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, Int64Array};
    use arrow::datatypes::{Decimal32Type, Int64Type};

    use super::*;
    use crate::agg::Best;
    use crate::expr::ir::Rep;

    #[test]
    fn rows_become_columns() {
        let accs = [Acc::Count, Acc::Sum64, Acc::Best(Best { rep: Rep::I32, max: false })];
        let mut rows = vec![0; 2 * 8];
        accs[0].update(&mut rows[1..3], Some(1));
        accs[1].update(&mut rows[3..6], Some(-7i64 as u64 as u128));
        accs[2].update(&mut rows[6..8], Some(-3i32 as u32 as u128));
        let columns = StateColumn::of_rows(&accs, &rows, 8, 1).unwrap();
        let counts = columns[0].array(&DataType::Int64).unwrap();
        assert_eq!(counts.as_primitive::<Int64Type>(), &Int64Array::from(vec![1, 0]));
        let sums = columns[1].array(&DataType::Int64).unwrap();
        assert_eq!(sums.as_primitive::<Int64Type>(), &Int64Array::from(vec![Some(-7), None]));
        let least = columns[2].array(&DataType::Decimal32(9, 2)).unwrap();
        let least = least.as_primitive::<Decimal32Type>();
        assert_eq!((least.value(0), least.is_null(1)), (-3, true));
        assert!(StateColumn::of_rows(&accs, &rows, 8, 2).is_err(), "a row that is too short");
    }

    /// No copy is made of what a device has written in Arrow's layout.
    #[test]
    fn values_of_the_width_of_their_type_stay_where_they_are() {
        let values = Buffer::from_vec(vec![1u64, 2, 3]);
        let from = values.as_ptr();
        let column = StateColumn::new(Acc::Count, values, None, 3).unwrap();
        let array = column.array(&DataType::Int64).unwrap();
        assert_eq!(array.to_data().buffers()[0].as_ptr(), from);
        assert!(StateColumn::new(Acc::Count, Buffer::from_vec(vec![0u32]), None, 3).is_err());
    }
}
