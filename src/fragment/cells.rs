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
use crate::agg::{Place, Round};
use crate::device::Tier;

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
            folds.iter().map(|fold| take(fold.acc.value_cells(words))).collect();
        let mut bits = 0;
        let flags: Vec<Option<u32>> = folds
            .iter()
            .map(|fold| {
                let own = fold.acc.flag_bits(fold.may_miss());
                if bits % 32 + own > 32 {
                    bits = bits.next_multiple_of(32);
                }
                bits += own;
                (own > 0).then_some(bits - own)
            })
            .collect();
        let flag_cells = bits.div_ceil(32) as usize;
        let first = take(flag_cells);
        let kept: Vec<usize> = folds.iter().map(|fold| take(fold.acc.kept_cells(words))).collect();
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

    /// The folds that take part in a round over the rows, each with what it has to know of it.
    pub fn in_round<'a>(
        &'a self,
        aggregation: &'a Aggregation,
        number: u32,
        table: &'a str,
    ) -> impl Iterator<Item = (&'a Fold, Round<'a>)> {
        let takes_part = move |(fold, _): &(&Fold, Place)| number <= fold.acc.rounds(self.words);
        let round = move |place| Round { number, table, place, width: self.words };
        self.placed(aggregation).filter(takes_part).map(move |(fold, place)| (fold, round(place)))
    }

    /// Rounds over the rows that all of an aggregation need.
    pub fn rounds(&self, aggregation: &Aggregation) -> u32 {
        let rounds = aggregation.folds.iter().map(|fold| fold.acc.rounds(self.words));
        rounds.max().unwrap_or(1)
    }

    /// The states of all folds, one after another as [`crate::agg::Acc`] has them, of an entry
    /// whose words behind its head are `entry`.
    pub fn read(&self, aggregation: &Aggregation, entry: &[u32]) -> Vec<u32> {
        let mut states = Vec::with_capacity(aggregation.words());
        for (fold, place) in self.placed(aggregation) {
            let flags = place.flags.map_or(1, |(cell, bit)| entry[cell * self.words] >> bit);
            let value = &entry[place.value * self.words..];
            fold.acc.read(flags, value, self.words, &mut states);
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
            fold.acc.write(state, value, self.words);
            if let Some((cell, bit)) = place.flags {
                entry[cell * self.words] |= fold.acc.flags(state) << bit;
            }
        }
    }
}
