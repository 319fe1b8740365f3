//! What there is of an accumulator, wherever it is kept.

use super::cells::Round;
use crate::expr::ir::Expr;

/// What an accumulator keeps, on the host and in kernels, as WGSL there.
///
/// A *cell* is what one atomic operation of a group table updates: one word, or two where the
/// adapter has atomics of 64 bits; how many words it has is `width`.
pub trait Accumulator: Sync {
    /// A short name, for labels.
    fn name(&self) -> &'static str;

    /// Words of a state, of 32 bits, low words first.
    fn words(&self) -> usize;

    /// Words of a state that hold its value: one less than all where the last says, by 1, that
    /// there was one.
    fn value_words(&self) -> usize {
        self.words() - 1
    }

    /// Whether integers come as `I128`, whatever their type.
    fn takes_i128(&self) -> bool {
        false
    }

    /// Adds one value, given as bits in the way of [`crate::expr::ir`].
    fn add(&self, state: &mut [u32], bits: u128);

    /// Adds what another state has seen.
    fn merge(&self, into: &mut [u32], from: &[u32]);

    /// Appends the value of a state as it is in a column: as many words.
    fn put_value(&self, value: &[u32], column: &mut Vec<u32>) {
        column.extend_from_slice(value);
    }

    /// What a kernel computes of the argument for each row.
    fn argument(&self, arg: &Expr) -> Expr {
        arg.clone()
    }

    /// The WGSL type of the register that holds the value so far.
    fn register(&self) -> &'static str;

    /// Registers beside that and the one that says whether there was a value.
    fn more_registers(&self, _a: &str) -> String {
        String::new()
    }

    /// A statement that folds a row into the registers, of which the first is called `a`.
    fn fold_row(&self, a: &str, arg: &Argument) -> String;

    /// Statements that merge the registers into the workgroup's state at word `state`.
    fn fold(&self, a: &str, state: usize, out: &mut String);

    /// Bits of its flags in a group table; `may_miss` where a group may have no value.
    fn flag_bits(&self, may_miss: bool) -> u32 {
        u32::from(may_miss)
    }

    /// Cells of its value.
    fn value_cells(&self, width: usize) -> usize {
        self.value_words().div_ceil(width)
    }

    /// Cells that are kept between rounds.
    fn kept_cells(&self, _width: usize) -> usize {
        0
    }

    /// Rounds over the rows that it needs.
    fn rounds(&self, _width: usize) -> u32 {
        1
    }

    /// A statement that adds a row to its cells, in one of its rounds.
    fn round(&self, round: &Round<'_>, arg: &Argument) -> String;

    /// Statements that add what a round put into a workgroup's cells, but for the flags, to those
    /// in device memory.
    fn merge_round(&self, round: &Round<'_>, out: &mut String);

    /// Statements that drop, after a round, what was kept relative to a leading cell that has
    /// risen.
    fn settle(&self, _round: &Round<'_>, _out: &mut String) {}

    /// Appends the words of the value that cells hold.
    fn read(&self, _flags: u32, cells: &[u32], _width: usize, state: &mut Vec<u32>) {
        state.extend_from_slice(&cells[..self.value_words()]);
    }

    /// Takes `read` back.
    fn write(&self, state: &[u32], cells: &mut [u32], _width: usize) {
        let words = self.value_words();
        cells[..words].copy_from_slice(&state[..words]);
    }

    /// The flags of a state.
    fn flags(&self, state: &[u32]) -> u32 {
        state[self.value_words()]
    }

    /// The words of a column's value, as expressions over the cells from `at` on; what they need is
    /// put before them. `word(i)` is the i-th word of the cells, `flags` the flags.
    fn column_words(
        &self,
        _at: usize,
        _width: usize,
        _flags: &str,
        word: &dyn Fn(usize) -> String,
        _out: &mut String,
    ) -> Vec<String> {
        (0..self.value_words()).map(word).collect()
    }
}

/// The argument of an accumulator for one row, as WGSL.
#[derive(Debug, Default)]
pub struct Argument {
    pub value: String,
    /// The same as words, low ones first; none for an accumulator that counts rows.
    pub words: Vec<String>,
}
