//! Columns of batches encoded into device words, several ranges of rows at a time.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use parking_lot::{Mutex, RwLock};

use crate::error::Result;
use crate::fragment::arena::{self, Layout};
use crate::fragment::coder;
use crate::fragment::intern::{self, Dictionary, Interner};
use crate::fragment::spec::{ArenaColumn, Domain, Store};
use crate::task;

/// Rows of a range at least: some microseconds of work for each column.
const RANGE_ROWS: usize = 1 << 15;

/// The rows of consecutive batches, in the ranges that are encoded side by side.
pub struct Rows<'a> {
    batches: &'a [RecordBatch],
    ranges: Vec<Range<usize>>,
}

/// The codes of a column of strings.
enum Codes {
    OfRows(RowCodes),
    /// By batch, those of the values of its dictionary: its keys lead to them.
    OfValues(Vec<Arc<[u32]>>),
}

/// A code a row, those of strings that were new to a range still to be settled.
struct RowCodes {
    rows: Vec<u32>,
    /// By range, what settles them.
    adopted: Vec<Vec<u32>>,
}

/// Memory of codes that nobody reads any more, for those to come: the system clears each page of
/// fresh memory first, which takes longer than to look a code up.
static KEPT: Mutex<Vec<Vec<u32>>> = Mutex::new(Vec::new());

/// Columns whose memory is kept, and words of one at most.
const KEPT_COLUMNS: usize = 16;
const KEPT_WORDS: usize = 1 << 22;

impl RowCodes {
    fn new(rows: usize) -> Self {
        let mut kept = KEPT.lock().pop().unwrap_or_default();
        kept.resize(rows, 0);
        Self { rows: kept, adopted: Vec::new() }
    }
}

impl Drop for RowCodes {
    fn drop(&mut self) {
        let mut kept = KEPT.lock();
        if kept.len() < KEPT_COLUMNS && self.rows.capacity() <= KEPT_WORDS {
            kept.push(std::mem::take(&mut self.rows));
        }
    }
}

/// The codes of all columns of strings, by column.
pub struct Strings(Vec<Option<Codes>>);

impl<'a> Rows<'a> {
    /// As many ranges as threads make sense.
    pub fn of(batches: &'a [RecordBatch]) -> Self {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let ranges = match rows / RANGE_ROWS {
            0 | 1 => 1,
            most => most.min(task::threads()),
        };
        Self::in_ranges(batches, rows.div_ceil(ranges))
    }

    /// Ranges of so many rows, or a few more: words of bits belong to one range.
    fn in_ranges(batches: &'a [RecordBatch], length: usize) -> Self {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let length = length.max(1).next_multiple_of(64);
        let range = |start: usize| start..(start + length).min(rows);
        Self { batches, ranges: (0..rows.max(1)).step_by(length).map(range).collect() }
    }

    fn count(&self) -> usize {
        self.ranges.last().map_or(0, |range| range.end)
    }

    /// A column's arrays in a range of rows, each with the number of its batch.
    fn numbered_parts(
        &self,
        column: &ArenaColumn,
        range: &Range<usize>,
    ) -> impl Iterator<Item = (usize, ArrayRef)> {
        let mut start = 0;
        self.batches.iter().enumerate().filter_map(move |(number, batch)| {
            let end = start + batch.num_rows();
            let (first, last) = (range.start.max(start), range.end.min(end));
            let array = batch.column(column.index);
            let part = match last.checked_sub(first) {
                Some(length) if length == array.len() => Some(array.clone()),
                Some(1..) => Some(array.slice(first - start, last - first)),
                _ => None,
            };
            start = end;
            Some((number, part?))
        })
    }

    /// A column's arrays in a range of rows.
    fn parts(&self, column: &ArenaColumn, range: &Range<usize>) -> Vec<ArrayRef> {
        self.numbered_parts(column, range).map(|(_, part)| part).collect()
    }

    /// Whether each array of a column is a dictionary.
    fn is_dictionary(&self, column: &ArenaColumn) -> bool {
        let mut arrays = self.batches.iter().map(|batch| batch.column(column.index));
        arrays.all(|array| matches!(array.data_type(), DataType::Dictionary(..)))
    }

    /// What the columns take in an arena: their stores, and whether they have NULLs of their own.
    pub fn shapes(&self, columns: &[ArenaColumn]) -> Vec<(Store, bool)> {
        let nulls = |batch: &RecordBatch, column: &ArenaColumn| {
            column.domain.is_none() && batch.column(column.index).null_count() > 0
        };
        let shape = |column: &ArenaColumn| {
            (column.store, self.batches.iter().any(|batch| nulls(batch, column)))
        };
        columns.iter().map(shape).collect()
    }

    /// The codes of all strings. Those that are new get theirs in the order of first sight (of
    /// dictionaries, in that of their values), however the rows are cut: what is known is looked up
    /// side by side, then what is lacking is added piece by piece.
    pub fn code(&self, columns: &[ArenaColumn], interners: &[RwLock<Interner>]) -> Result<Strings> {
        let mut strings = Vec::new();
        for column in columns {
            strings.push(match column.domain {
                None => None,
                Some(domain) if self.is_dictionary(column) => {
                    Some(Codes::OfValues(self.code_values(column, &interners[domain])?))
                }
                Some(_) => Some(Codes::OfRows(RowCodes::new(self.count()))),
            });
        }
        let mut strings = Strings(strings);
        let [range] = self.ranges.as_slice() else {
            self.code_ranges(columns, interners, &mut strings)?;
            return Ok(strings);
        };
        for (column, domain, codes) in strings.of_rows(columns) {
            let mut interner = interners[domain].write();
            coder::encode(&mut *interner, &self.parts(column, range), &mut codes.rows)?;
            codes.adopted.push(Vec::new());
        }
        Ok(strings)
    }

    /// By batch, the codes of the values of its dictionary. A dictionary that was met lately, as
    /// batches of one file share theirs, is known as a whole.
    fn code_values(
        &self,
        column: &ArenaColumn,
        interner: &RwLock<Interner>,
    ) -> Result<Vec<Arc<[u32]>>> {
        let (mut distinct, mut of_batch) = (Vec::<Dictionary>::new(), Vec::new());
        for batch in self.batches {
            if batch.num_rows() == 0 {
                of_batch.push(None); // what no row says is not among the strings
                continue;
            }
            let values = Dictionary::of(batch.column(column.index).as_any_dictionary());
            let met = distinct.iter().rposition(|known| known.is_same(&values));
            of_batch.push(Some(met.unwrap_or(distinct.len())));
            if met.is_none() {
                distinct.push(values);
            }
        }
        let found = task::side_by_side(distinct, |values| {
            let known = interner.read();
            if let Some(codes) = known.codes_of(&values) {
                return Ok((values, codes, None));
            }
            let array = values.array();
            let mut codes = vec![0; array.len()];
            let fresh = intern::find(&known, &[array], &mut codes)?;
            Ok((values, codes.into(), Some(fresh)))
        })?;
        let mut interner = interner.write();
        let settled = found.into_iter().map(|(values, codes, fresh)| match fresh {
            None => codes,
            Some(fresh) => {
                let adopted = interner.adopt(&fresh);
                let codes = codes.iter().map(|code| coder::settle(*code, &adopted)).collect();
                interner.keep(values, codes)
            }
        });
        let settled: Vec<Arc<[u32]>> = settled.collect();
        let of_batch = of_batch.into_iter();
        Ok(of_batch
            .map(|number| number.map_or_else(Arc::default, |n| settled[n].clone()))
            .collect())
    }

    fn code_ranges(
        &self,
        columns: &[ArenaColumn],
        interners: &[RwLock<Interner>],
        strings: &mut Strings,
    ) -> Result<()> {
        let mut pieces = Vec::new();
        for (column, domain, codes) in strings.of_rows(columns) {
            let mut rest = codes.rows.as_mut_slice();
            for range in &self.ranges {
                let (out, behind) = rest.split_at_mut(range.len());
                pieces.push((column, domain, range, out));
                rest = behind;
            }
        }
        let fresh = task::side_by_side(pieces, |(column, domain, range, out)| {
            intern::find(&interners[domain].read(), &self.parts(column, range), out)
        })?;
        // As the pieces: column by column.
        for ((_, domain, codes), fresh) in
            strings.of_rows(columns).zip(fresh.chunks(self.ranges.len()))
        {
            let mut interner = interners[domain].write();
            codes.adopted = fresh.iter().map(|fresh| interner.adopt(fresh)).collect();
        }
        Ok(())
    }

    /// Writes all columns where the layout has them.
    pub fn write(
        &self,
        columns: &[ArenaColumn],
        strings: &Strings,
        layout: &Layout,
        words: &mut [u32],
    ) -> Result<()> {
        let stores: Vec<Store> = columns.iter().map(|column| column.store).collect();
        let parts = layout.split(&stores, &self.ranges, words);
        let pieces: Vec<_> = self.ranges.iter().zip(parts).enumerate().collect();
        task::side_by_side(pieces, |(number, (range, parts))| {
            for ((column, codes), (values, validity)) in columns.iter().zip(&strings.0).zip(parts) {
                match codes {
                    Some(Codes::OfRows(codes)) => codes.write(number, range, values),
                    Some(Codes::OfValues(codes)) => {
                        let mut rest = values;
                        for (batch, part) in self.numbered_parts(column, range) {
                            let here = rest.split_off_mut(..part.len()).unwrap_or_default();
                            coder::by_key(part.as_any_dictionary(), &codes[batch], here)?;
                        }
                    }
                    None => {
                        let arrays = self.parts(column, range);
                        arena::encode_column(column, &arrays, values, validity)?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}

impl Strings {
    /// The columns of strings that have a code a row, each with its domain and codes.
    fn of_rows<'a>(
        &'a mut self,
        columns: &'a [ArenaColumn],
    ) -> impl Iterator<Item = (&'a ArenaColumn, Domain, &'a mut RowCodes)> {
        let all = columns.iter().zip(&mut self.0);
        all.filter_map(|(column, codes)| match codes {
            Some(Codes::OfRows(codes)) => Some((column, column.domain?, codes)),
            _ => None,
        })
    }
}

impl RowCodes {
    /// Writes the codes of a range, settled.
    fn write(&self, number: usize, range: &Range<usize>, out: &mut [u32]) {
        let rows = &self.rows[range.clone()];
        let adopted = &self.adopted[number];
        if adopted.is_empty() {
            return out.copy_from_slice(rows);
        }
        for (out, code) in out.iter_mut().zip(rows) {
            *out = coder::settle(*code, adopted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, DictionaryArray, Int32Array, Int64Array, StringArray};

    use arrow::compute::cast;

    use super::*;
    use crate::expr::ir::Rep;

    /// Batches of uneven lengths: flags, numbers, two columns of strings and one of dictionaries,
    /// of which the first batches share one, that share a domain, all with NULLs.
    fn batches() -> Vec<RecordBatch> {
        let values: ArrayRef = Arc::new(StringArray::from(vec![Some("keyed"), None, Some("97")]));
        let mut start = 0;
        let batch = |length: usize| {
            let rows = start..start + length;
            start = rows.end;
            let known = |row: &usize| row % 11 != 5;
            let text = |row: usize, step: usize| {
                known(&(row + step)).then(|| format!("{:020}", row * step % 97).split_off(row % 9))
            };
            let flags: BooleanArray =
                rows.clone().map(|row| known(&row).then_some(row % 3 == 0)).collect();
            let numbers: Int64Array =
                rows.clone().map(|row| known(&row).then_some(row as i64 - 50)).collect();
            let first: StringArray = rows.clone().map(|row| text(row, 7)).collect();
            let second: StringArray = rows.clone().map(|row| text(row, 3)).collect();
            let keys: Int32Array =
                rows.clone().map(|row| known(&row).then_some(row as i32 % 3)).collect();
            let values = match rows.start < 200 {
                true => values.clone(),
                false => Arc::new(StringArray::from(vec![start.to_string().as_str(), "97", ""])),
            };
            let columns: [(&str, ArrayRef); 5] = [
                ("flag", Arc::new(flags)),
                ("number", Arc::new(numbers)),
                ("first", Arc::new(first)),
                ("second", Arc::new(second)),
                ("keyed", Arc::new(DictionaryArray::new(keys, values))),
            ];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        [100, 0, 1, 63, 700, 64, 9].map(batch).to_vec()
    }

    fn columns(batch: &RecordBatch) -> Vec<ArenaColumn> {
        let reps = [Rep::B1, Rep::I64, Rep::U32, Rep::U32, Rep::U32];
        let schema = batch.schema();
        let column = |(index, rep): (usize, Rep)| {
            let data_type = schema.field(index).data_type().clone();
            let domain = (rep == Rep::U32).then_some(0);
            let (name, store) = (schema.field(index).name().clone(), Store::of(&data_type, rep));
            ArenaColumn { index, name, data_type, rep, store, nullable: true, domain }
        };
        reps.into_iter().enumerate().map(column).collect()
    }

    /// The words of an arena, and the strings in the order of their codes.
    fn encoded(rows: &Rows<'_>) -> (Vec<u32>, Vec<Vec<u8>>) {
        let columns = columns(&rows.batches[0]);
        let interners = [RwLock::new(Interner::default())];
        let strings = rows.code(&columns, &interners).unwrap();
        let layout = Layout::new(rows.count(), &rows.shapes(&columns), &[], &[]);
        let mut words = vec![0; layout.words];
        rows.write(&columns, &strings, &layout, &mut words).unwrap();
        let interner = interners[0].read();
        let known = (1..=interner.len() as u32).map(|code| interner.get(code).to_vec()).collect();
        (words, known)
    }

    #[test]
    fn an_arena_does_not_depend_on_how_the_rows_are_cut() {
        let batches = batches();
        let whole = Rows::of(&batches);
        assert_eq!((whole.ranges.len(), whole.count()), (1, 937));
        let expected = encoded(&whole);
        assert!(expected.1.len() > 100);
        for length in [1, 64, 200, 500, 937] {
            let rows = Rows::in_ranges(&batches, length);
            assert!(rows.ranges.iter().all(|range| range.start % 64 == 0));
            assert_eq!(encoded(&rows), expected, "ranges of {length} rows");
        }
    }

    /// The codes of a dictionary lead to what its rows say.
    #[test]
    fn rows_of_dictionaries_have_the_codes_of_their_values() {
        let batches = batches();
        let columns = columns(&batches[0]);
        let interners = [RwLock::new(Interner::default())];
        for rows in [Rows::in_ranges(&batches, 200), Rows::of(&batches)] {
            let strings = rows.code(&columns, &interners).unwrap();
            assert!(matches!(strings.0[4], Some(Codes::OfValues(_))));
            let layout = Layout::new(rows.count(), &rows.shapes(&columns), &[], &[]);
            let mut words = vec![0; layout.words];
            rows.write(&columns, &strings, &layout, &mut words).unwrap();
            let interner = interners[0].read();
            let mut codes = words[layout.columns[4].0..].iter();
            for batch in &batches {
                let texts = cast(batch.column(4), &DataType::Utf8).unwrap();
                for text in texts.as_string::<i32>() {
                    let code = *codes.next().unwrap();
                    let found = (code != 0).then(|| interner.get(code).to_vec());
                    assert_eq!(found, text.map(|text| text.as_bytes().to_vec()));
                }
            }
        }
    }

    #[test]
    fn no_rows_are_one_range() {
        for batches in [vec![], batches()[1..2].to_vec()] {
            let rows = Rows::of(&batches);
            assert!(rows.ranges.len() == 1 && rows.ranges[0].is_empty());
        }
        let batches = batches()[1..2].to_vec();
        assert!(encoded(&Rows::of(&batches)).1.is_empty());
    }

    #[test]
    fn many_rows_are_cut_for_the_threads_there_are() {
        let rows = 20 * RANGE_ROWS + 3;
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
        let batches = [RecordBatch::try_from_iter([("n", numbers)]).unwrap()];
        let cut = Rows::of(&batches);
        assert_eq!(cut.ranges.len(), task::threads().min(20));
        assert_eq!(cut.count(), rows);
    }
}
