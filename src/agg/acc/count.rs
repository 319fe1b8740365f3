//! Rows with a value: 64 bits.

use std::fmt::Write;

use super::accumulator::{Accumulator, Argument};
use super::cells::Round;
use super::words::add_words;

#[derive(Debug)]
pub struct Count;

impl Accumulator for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    fn words(&self) -> usize {
        2
    }

    fn value_words(&self) -> usize {
        2
    }

    fn add(&self, state: &mut [u32], _bits: u128) {
        add_words(state, &[1, 0]);
    }

    fn merge(&self, into: &mut [u32], from: &[u32]) {
        add_words(into, from);
    }

    fn register(&self) -> &'static str {
        "u32"
    }

    fn fold_row(&self, a: &str, _arg: &Argument) -> String {
        format!("{a} += 1u;")
    }

    fn fold(&self, a: &str, state: usize, out: &mut String) {
        let _ = writeln!(out, "    loc_add64({state}u, vec2<u32>({a}, 0u));");
    }

    /// Zero says that there was none.
    fn flag_bits(&self, _may_miss: bool) -> u32 {
        0
    }

    fn round(&self, round: &Round<'_>, _arg: &Argument) -> String {
        format!("{}_add64(s + {}u, vec2<u32>(1u, 0u));", round.table, round.place.value)
    }

    fn merge_round(&self, round: &Round<'_>, out: &mut String) {
        if round.number == 1 {
            let at = round.place.value;
            round.add("add64", at, &round.get64(at), out);
        }
    }

    fn flags(&self, _state: &[u32]) -> u32 {
        0
    }
}
