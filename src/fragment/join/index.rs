//! The index as data: its form by the ranges of the keys, and its header.

use super::payload;
use crate::expr::ir::Rep;
use crate::fragment::arena::{
    H_ROWS, HEADER, T_FORM, T_MATCHES, T_SLOTS, T_SLOTS_AT, parameters_at,
};
use crate::fragment::key::full_bits;
use crate::fragment::spec::{JoinKind, Probe, Table};

/// Forms, as `shaders/lib/join.wgsl` has them.
pub const DIRECT: u32 = 1;
pub const WIDE: u32 = 2;
pub const BITMAP: u32 = 4;

/// Words before the first slot, as many as a sector of memory has: whether some key has several
/// rows, places given, six spare.
pub const INDEX_HEADER: usize = 8;

/// How a join looks its keys up, besides what the table itself tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup {
    pub null_equals_null: bool,
    /// Only whether there is a row with the key, not which.
    pub existence: bool,
}

impl Lookup {
    pub fn of(probe: &Probe) -> Self {
        let semi = matches!(probe.kind, JoinKind::RightSemi | JoinKind::RightAnti);
        let existence = semi && probe.residual.is_none();
        Self { null_equals_null: probe.null_equals_null, existence }
    }
}

/// The least and the largest value of a key column: signed integers and codes; `None` where there
/// is no range, or where all values are NULL.
pub type Range = Option<(i64, i64)>;

/// How one key is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Field {
    pub base: u64,
    /// The largest value, less the base.
    pub span: u64,
    /// Where its lowest bit goes.
    pub shift: u32,
}

/// An index as it is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub form: u32,
    pub fields: Vec<Field>,
    /// Of a `BITMAP` its bits.
    pub slots: usize,
    /// Words of a slot where keys are their own places, and where they are hashed.
    slot_words: [usize; 2],
    rows: usize,
}

impl Index {
    /// The index of `rows` rows, whose keys have these ranges, in at most `most` words.
    pub fn of(table: &Table, ranges: &[Range], lookup: Lookup, rows: usize, most: usize) -> Self {
        let mut fields = Vec::new();
        let mut bits = 0;
        let mut top = 0;
        for (column, range) in table.keys.iter().zip(ranges) {
            let spec = &table.columns[*column];
            let nulls = u128::from(lookup.null_equals_null);
            let (base, span, width) = match (range, spec.rep) {
                (Some((least, most)), _) => {
                    let span = most.wrapping_sub(*least) as u64;
                    (*least as u64, span, bits_of(u128::from(span) + nulls))
                }
                (None, Rep::I128) => (0, 0, 128),
                (None, rep) => {
                    let all = u64::MAX >> (64 - full_bits(rep));
                    (0, all, bits_of(u128::from(all) + nulls))
                }
            };
            let shift = bits as u32;
            fields.push(Field { base, span, shift });
            bits += width;
            top = (u128::from(span) + nulls + 1).checked_shl(shift).unwrap_or(u128::MAX);
        }
        let slot_words = [true, false].map(|direct| payload::slot_words(table, direct));
        let mut index = Self { form: 0, fields, slots: 0, slot_words, rows };
        if bits > 64 {
            index.form = WIDE;
            index.fields.fill(Field::default());
        }
        let (form, per_row) = if lookup.existence { (DIRECT | BITMAP, 64) } else { (DIRECT, 4) };
        if bits <= 32 && top <= (per_row * rows as u128).clamp(1024, 1 << 31) {
            let direct = Self { form, slots: top as usize, ..index.clone() };
            if direct.words() <= most {
                return direct;
            }
        }
        index.slots = (2 * rows).next_power_of_two().max(16);
        if index.words() > most && index.slots / 2 > rows + rows / 8 {
            index.slots /= 2;
        }
        index
    }

    /// Words of the slots.
    fn slot_words(&self) -> usize {
        match self.form {
            form if form & BITMAP != 0 => self.slots.div_ceil(32),
            form if form & DIRECT != 0 => self.slot_words[0] * self.slots,
            _ => self.slot_words[1] * self.slots,
        }
    }

    /// Words of all: its header, the slots, the rows of keys that have several.
    pub fn words(&self) -> usize {
        let matches = if self.form & BITMAP != 0 { 0 } else { self.rows };
        INDEX_HEADER + self.slot_words() + matches
    }

    /// The words of the fields, as they stand behind the columns in the arena's header.
    pub fn parameters(&self) -> Vec<u32> {
        let words = |field: &Field| {
            let Field { base, span, shift } = *field;
            [base as u32, (base >> 32) as u32, span as u32, (span >> 32) as u32, shift]
        };
        self.fields.iter().flat_map(words).collect()
    }

    /// Fills in the words of an arena's header; the index is at word `at`.
    pub fn write_header(&self, header: &mut [u32; HEADER], at: usize) {
        header[H_ROWS] = self.rows as u32;
        header[T_SLOTS] = self.slots as u32;
        header[T_SLOTS_AT] = (at + INDEX_HEADER) as u32;
        header[T_MATCHES] = (at + INDEX_HEADER + self.slot_words()) as u32;
        header[T_FORM] = self.form;
    }
}

fn bits_of(most: u128) -> usize {
    128 - most.leading_zeros() as usize
}

/// Whether the keys of some rows may not fit 64 bits.
pub fn may_be_wide(table: &Table, nulls: bool) -> bool {
    let bits = |column: &usize| full_bits(table.columns[*column].rep) + usize::from(nulls);
    table.keys.iter().map(bits).sum::<usize>() > 64
}

/// Where the fields of a table's keys stand.
pub fn fields_at(table: &Table) -> usize {
    parameters_at(table.columns.len(), 0)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::fragment::spec::{ArenaColumn, Pipeline, Sink, Store};

    fn table(reps: &[Rep]) -> Table {
        let column = |(index, rep): (usize, &Rep)| ArenaColumn {
            index,
            name: "k".into(),
            data_type: DataType::Null,
            rep: *rep,
            store: Store::W32,
            nullable: true,
            domain: None,
        };
        let pipeline = Pipeline {
            source: 0,
            schema: std::sync::Arc::new(arrow::datatypes::Schema::empty()),
            columns: vec![],
            inputs: vec![],
            lookups: vec![],
            steps: vec![],
            sink: Sink::Store { columns: vec![] },
        };
        let columns = reps.iter().enumerate().map(column).collect();
        Table { pipeline, columns, keys: (0..reps.len()).collect(), payload: vec![] }
    }

    const ROWS: Lookup = Lookup { null_equals_null: false, existence: false };
    const NULLS: Lookup = Lookup { null_equals_null: true, existence: false };
    const BITS: Lookup = Lookup { null_equals_null: false, existence: true };
    const ANY: usize = usize::MAX;

    #[test]
    fn dense_keys_are_their_own_places() {
        let one = table(&[Rep::I64]);
        let index = Index::of(&one, &[Some((-3, 4000))], ROWS, 1001, ANY);
        assert_eq!((index.form, index.slots, index.words()), (DIRECT, 4004, 8 + 2 * 4004 + 1001));
        assert_eq!(index.fields, [Field { base: -3i64 as u64, span: 4003, shift: 0 }]);
        // NULL is one more.
        let index = Index::of(&one, &[Some((-3, 4000))], NULLS, 1002, ANY);
        assert_eq!((index.form, index.slots), (DIRECT, 4005));
        let index = Index::of(&one, &[Some((-3, 4000))], BITS, 10, ANY);
        assert_eq!((index.form, index.words()), (0, 8 + 4 * 32 + 10));
        let index = Index::of(&one, &[Some((-3, 4000))], BITS, 100, ANY);
        assert_eq!((index.form, index.words()), (DIRECT | BITMAP, 8 + 4004usize.div_ceil(32)));
        // Two keys side by side: 3 bits, then 1,000 values.
        let two = table(&[Rep::I32, Rep::U32]);
        let index = Index::of(&two, &[Some((1, 8)), Some((0, 999))], ROWS, 2000, ANY);
        assert_eq!((index.form, index.slots), (DIRECT, 8 * 1000));
        assert_eq!(index.fields[1], Field { base: 0, span: 999, shift: 3 });
    }

    #[test]
    fn sparse_keys_are_hashed() {
        let one = table(&[Rep::I64]);
        for range in [Some((i64::MIN, i64::MAX)), Some((0, 1 << 40)), None] {
            let index = Index::of(&one, &[range], ROWS, 1000, ANY);
            assert_eq!((index.form, index.slots, index.words()), (0, 2048, 8 + 4 * 2048 + 1000));
        }
        // One bit too many.
        let index = Index::of(&one, &[None], NULLS, 1000, ANY);
        assert_eq!(index.form, WIDE);
        let two = table(&[Rep::I64, Rep::I64]);
        let index = Index::of(&two, &[Some((0, 1 << 31)), Some((0, 1 << 31))], ROWS, 9, ANY);
        assert_eq!((index.form, index.fields[1].shift), (0, 32));
        let index = Index::of(&two, &[Some((0, 1 << 31)), None], ROWS, 9, ANY);
        assert_eq!((index.form, index.fields[1]), (WIDE, Field::default()));
        assert_eq!(Index::of(&table(&[Rep::I128]), &[None], ROWS, 9, ANY).form, WIDE);
    }

    #[test]
    fn an_index_is_as_small_as_it_must() {
        let one = table(&[Rep::I64]);
        let (rows, range) = (600, [Some((0, 2399))]);
        let direct = Index::of(&one, &range, ROWS, rows, ANY);
        assert_eq!(direct.form, DIRECT);
        // Hashed where that takes less, at more than half full if it must.
        let hashed = Index::of(&one, &range, ROWS, rows, direct.words() - 1);
        assert_eq!((hashed.form, hashed.slots), (0, 1024));
        let none = Index::of(&one, &[None], ROWS, 0, ANY);
        assert_eq!((none.form, none.slots), (0, 16));
    }
}
