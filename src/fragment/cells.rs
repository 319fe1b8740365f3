//! How a group table holds the states of a group: in cells, each of which the device updates at
//! once. A cell is a word of 32 bits, or 64 bits where the adapter has atomics of so many.
//!
//! ```text
//!  entry   head (keys, or whether the group exists) | values | flags | kept between rounds
//!
//!                 cells of 32 bits                     of 64 bits
//!  count, sum64   2 words, the carry waited for        1
//!  sum128         4 words, carries waited for          3: pieces of 32, 32, 64 bits of each value
//!  sum160         5 words                              4: 32, 32, 32, 64
//!  best           a word each, a round each            1 of a value of up to 64 bits, else 2
//!  float sum      top bin, 3 bins of 2 words           top bin, 3 bins
//! ```
//!
//! A cell of 64 bits takes the sum of 2^32 pieces of 32 bits, more than a table takes rows; so
//! nobody waits for a carry. A flag says whether there was a value; where all rows have one, there
//! is none. All cells are empty where they are zero.

use super::spec::{Aggregation, Fold};
use crate::agg::Acc;
use crate::device::Tier;

/// Where one fold's state lies, in cells from the first one behind the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The first cell of the value.
    pub value: usize,
    /// The cell of the flags and the lowest one's bit: one says whether there was a value; of a
    /// float sum they are its own, of `Acc::Bools` its state.
    pub flags: Option<(usize, u32)>,
    /// The first of the cells that are kept between rounds.
    pub kept: usize,
}

/// The cells of a group's states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells {
    /// Words of a cell: 1 or 2.
    pub words: usize,
    /// Of all folds, in order.
    pub places: Vec<Place>,
    /// The cells that hold flags.
    pub flags: std::ops::Range<usize>,
    /// Cells in all.
    pub count: usize,
}

/// Flags of a float sum: those of `lib/float_sum`.
const FLOAT_FLAGS: u32 = 4;

/// Bits of the flags of a fold.
fn flag_bits(fold: &Fold) -> u32 {
    match fold.acc {
        Acc::Count => 0,
        Acc::Bools => 2,
        Acc::FloatSum => FLOAT_FLAGS,
        Acc::Sum64 | Acc::Sum128 | Acc::Sum160 | Acc::Best { .. } => u32::from(fold.may_miss()),
    }
}

impl Cells {
    pub fn of(aggregation: &Aggregation, tier: Tier) -> Self {
        let words = if tier >= Tier::T3 { 2 } else { 1 };
        let mut count = 0;
        let mut take = |cells: usize| {
            count += cells;
            count - cells
        };
        let folds = &aggregation.folds;
        let values: Vec<usize> =
            folds.iter().map(|fold| take(value_cells(fold.acc, words))).collect();
        let mut bits = 0;
        let flags: Vec<Option<u32>> = folds
            .iter()
            .map(|fold| {
                let own = flag_bits(fold);
                if bits % 32 + own > 32 {
                    bits = bits.next_multiple_of(32);
                }
                bits += own;
                (own > 0).then_some(bits - own)
            })
            .collect();
        let flag_cells = bits.div_ceil(32) as usize;
        let first = take(flag_cells);
        let kept: Vec<usize> = folds.iter().map(|fold| take(kept_cells(fold.acc, words))).collect();
        let place = |at: usize| Place {
            value: values[at],
            flags: flags[at].map(|bit| (first + bit as usize / 32, bit % 32)),
            kept: kept[at],
        };
        let places = (0..folds.len()).map(place).collect();
        Self { words, places, flags: first..first + flag_cells, count }
    }

    /// The folds of an aggregation with their places.
    pub fn placed<'a>(
        &'a self,
        aggregation: &'a Aggregation,
    ) -> impl Iterator<Item = (&'a Fold, Place)> {
        aggregation.folds.iter().zip(self.places.iter().copied())
    }

    /// Cells of the value of an accumulator.
    pub fn value_cells(&self, acc: Acc) -> usize {
        value_cells(acc, self.words)
    }

    /// Rounds over the rows that an accumulator needs: a maximum one for each of its cells, a float
    /// sum one for the top bin and one for the slices.
    pub fn rounds_of(&self, acc: Acc) -> u32 {
        match acc {
            Acc::Best { .. } => self.value_cells(acc) as u32,
            Acc::FloatSum => 2,
            _ => 1,
        }
    }

    /// Rounds over the rows that all of an aggregation need.
    pub fn rounds(&self, aggregation: &Aggregation) -> u32 {
        let rounds = aggregation.folds.iter().map(|fold| self.rounds_of(fold.acc));
        rounds.max().unwrap_or(1)
    }

    /// The states of all folds, one after another as [`Acc`] has them, of an entry whose words
    /// behind its head are `entry`.
    pub fn read(&self, aggregation: &Aggregation, entry: &[u32]) -> Vec<u32> {
        let mut states = Vec::with_capacity(aggregation.words());
        for (fold, place) in self.placed(aggregation) {
            let flags = place.flags.map_or(1, |(cell, bit)| entry[cell * self.words] >> bit);
            let value = &entry[place.value * self.words..];
            match fold.acc {
                Acc::Bools => states.push(flags & 3),
                Acc::FloatSum => {
                    states.extend([flags & ((1 << FLOAT_FLAGS) - 1), value[0]]);
                    states.extend_from_slice(&value[self.words..][..6]);
                }
                Acc::Sum128 | Acc::Sum160 if self.words == 2 => {
                    let words = fold.acc.value_words();
                    states.extend(joined(&value[..2 * (words - 1)]));
                }
                _ => states.extend_from_slice(&value[..fold.acc.value_words()]),
            }
            if fold.acc.value_words() < fold.acc.words() {
                states.push(flags & 1);
            }
        }
        states
    }

    /// Takes `read` back.
    pub fn write(&self, aggregation: &Aggregation, mut states: &[u32], entry: &mut [u32]) {
        entry[self.flags.start * self.words..self.flags.end * self.words].fill(0);
        for (fold, place) in self.placed(aggregation) {
            let (state, rest) = states.split_at(fold.acc.words());
            states = rest;
            let value = &mut entry[place.value * self.words..];
            let words = fold.acc.value_words();
            match fold.acc {
                Acc::Bools => {}
                Acc::FloatSum => {
                    value[0] = state[1];
                    value[self.words..][..6].copy_from_slice(&state[2..8]);
                }
                Acc::Sum128 | Acc::Sum160 if self.words == 2 => {
                    for (at, word) in state[..words - 2].iter().enumerate() {
                        value[2 * at..][..2].copy_from_slice(&[*word, 0]);
                    }
                    value[2 * (words - 2)..][..2].copy_from_slice(&state[words - 2..words]);
                }
                _ => value[..words].copy_from_slice(&state[..words]),
            }
            if let Some((cell, bit)) = place.flags {
                let flags = match fold.acc {
                    Acc::Bools | Acc::FloatSum => state[0],
                    _ => state[words],
                };
                entry[cell * self.words] |= flags << bit;
            }
        }
    }
}

/// What cells of pieces come to, each 32 bits above the one before: the words of their sum.
fn joined(cells: &[u32]) -> Vec<u32> {
    let mut words = Vec::with_capacity(cells.len() / 2 + 1);
    let mut above = 0;
    for cell in cells.chunks_exact(2) {
        let sum = (u64::from(cell[0]) | u64::from(cell[1]) << 32).wrapping_add(above);
        words.push(sum as u32);
        above = sum >> 32;
    }
    words.push(above as u32);
    words
}

fn value_cells(acc: Acc, words: usize) -> usize {
    match (acc, words) {
        (Acc::Bools, _) => 0,
        (Acc::FloatSum, words) => 1 + 6 / words,
        (Acc::Sum128, 2) => 3,
        (Acc::Sum160, 2) => 4,
        (acc, words) => acc.value_words().div_ceil(words),
    }
}

fn kept_cells(acc: Acc, words: usize) -> usize {
    match acc {
        Acc::Best { .. } => value_cells(acc, words) - 1,
        Acc::FloatSum => 1,
        _ => 0,
    }
}
