//! Whether some value was true (bit 0), and whether some was false (bit 1). In a group table these
//! are its flags, and it has no cells.

use std::fmt::Write;

use super::accumulator::{Accumulator, Argument};
use super::cells::Round;

#[derive(Debug)]
pub struct Bools;

impl Accumulator for Bools {
    fn name(&self) -> &'static str {
        "bools"
    }

    fn words(&self) -> usize {
        1
    }

    fn value_words(&self) -> usize {
        1
    }

    fn add(&self, state: &mut [u32], bits: u128) {
        state[0] |= if bits & 1 == 1 { 1 } else { 2 };
    }

    fn merge(&self, into: &mut [u32], from: &[u32]) {
        into[0] |= from[0];
    }

    fn register(&self) -> &'static str {
        "u32"
    }

    fn fold_row(&self, a: &str, arg: &Argument) -> String {
        format!("{a} |= select(2u, 1u, {});", arg.value)
    }

    fn fold(&self, a: &str, state: usize, out: &mut String) {
        let _ = writeln!(out, "    loc_or({state}u, {a});");
    }

    fn flag_bits(&self, _may_miss: bool) -> u32 {
        2
    }

    fn value_cells(&self, _width: usize) -> usize {
        0
    }

    fn round(&self, round: &Round<'_>, arg: &Argument) -> String {
        round.flag(&format!("select(2u, 1u, {})", arg.value))
    }

    fn merge_round(&self, _round: &Round<'_>, _out: &mut String) {}

    fn read(&self, flags: u32, _cells: &[u32], _width: usize, state: &mut Vec<u32>) {
        state.push(flags & 3);
    }

    fn write(&self, _state: &[u32], _cells: &mut [u32], _width: usize) {}

    fn flags(&self, state: &[u32]) -> u32 {
        state[0]
    }

    fn column_words(
        &self,
        _at: usize,
        _width: usize,
        flags: &str,
        _word: &dyn Fn(usize) -> String,
        _out: &mut String,
    ) -> Vec<String> {
        vec![format!("({flags} & 3u)")]
    }
}
