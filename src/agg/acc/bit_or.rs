//! The OR of the bits of integers of 64 bits; then a word that is 1 when there was a value. In a
//! group table each of its words is a cell, however wide.

use std::fmt::Write;

use super::accumulator::{Accumulator, Argument};
use super::cells::Round;
use super::words::split;

const WORDS: usize = 2;

#[derive(Debug)]
pub struct BitOr;

impl Accumulator for BitOr {
    fn name(&self) -> &'static str {
        "bit_or"
    }

    fn words(&self) -> usize {
        WORDS + 1
    }

    fn add(&self, state: &mut [u32], bits: u128) {
        let [low, high, ..] = split::<4>(bits);
        self.merge(state, &[low, high, 1]);
    }

    fn merge(&self, into: &mut [u32], from: &[u32]) {
        into.iter_mut().zip(from).for_each(|(word, from)| *word |= from);
    }

    fn register(&self) -> &'static str {
        "vec2<u32>"
    }

    fn fold_row(&self, a: &str, arg: &Argument) -> String {
        format!("{a} |= {}; {a}_seen = 1u;", arg.value)
    }

    fn fold(&self, a: &str, state: usize, out: &mut String) {
        for (at, word) in ["x", "y"].iter().enumerate() {
            let _ = writeln!(out, "    loc_or({}u, {a}.{word});", state + at);
        }
        let _ = writeln!(out, "    loc_or({}u, {a}_seen);", state + WORDS);
    }

    fn value_cells(&self, _width: usize) -> usize {
        WORDS
    }

    fn round(&self, round: &Round<'_>, arg: &Argument) -> String {
        let mut text = String::new();
        for (at, word) in (round.place.value..).zip(&arg.words) {
            let _ = write!(text, "{}_or(s + {at}u, {word}); ", round.table);
        }
        text + &round.flag("1u")
    }

    fn merge_round(&self, round: &Round<'_>, out: &mut String) {
        if round.number == 1 {
            let cells = round.place.value..round.place.value + WORDS;
            cells.for_each(|at| round.add("or", at, &round.get(at), out));
        }
    }

    fn read(&self, _flags: u32, cells: &[u32], width: usize, state: &mut Vec<u32>) {
        state.extend((0..WORDS).map(|at| cells[at * width]));
    }

    fn write(&self, state: &[u32], cells: &mut [u32], width: usize) {
        (0..WORDS).for_each(|at| cells[at * width] = state[at]);
    }

    fn column_words(
        &self,
        _at: usize,
        width: usize,
        _flags: &str,
        word: &dyn Fn(usize) -> String,
        _out: &mut String,
    ) -> Vec<String> {
        (0..WORDS).map(|at| word(at * width)).collect()
    }
}
