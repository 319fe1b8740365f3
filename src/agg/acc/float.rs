//! Sums of `F64` values whose bits do not depend on the order: see [`float_sum`]. In a group table
//! one round finds the top bin, the other adds slices to the three bins below it.

use std::fmt::Write;

use super::accumulator::{Accumulator, Argument};
use super::cells::Round;
use crate::agg::float_sum::{self, FloatSum};

#[derive(Debug)]
pub struct Float;

/// Flags: those of `lib/float_sum`.
const FLAGS: u32 = 4;

/// Words of the three bins.
const BIN_WORDS: usize = 6;

impl Accumulator for Float {
    fn name(&self) -> &'static str {
        "float_sum"
    }

    fn words(&self) -> usize {
        float_sum::WORDS
    }

    fn value_words(&self) -> usize {
        float_sum::WORDS
    }

    fn add(&self, state: &mut [u32], bits: u128) {
        let mut sum = FloatSum::from_words(state);
        sum.add(f64::from_bits(bits as u64));
        state.copy_from_slice(&sum.to_words());
    }

    fn merge(&self, into: &mut [u32], from: &[u32]) {
        let mut sum = FloatSum::from_words(into);
        sum.merge(&FloatSum::from_words(from));
        into.copy_from_slice(&sum.to_words());
    }

    fn register(&self) -> &'static str {
        "FloatBins"
    }

    fn fold_row(&self, a: &str, arg: &Argument) -> String {
        format!("{a} = bins_add({a}, float_slices({}));", arg.value)
    }

    fn fold(&self, a: &str, state: usize, out: &mut String) {
        let top = state + 1;
        let _ = writeln!(out, "    loc_or({state}u, {a}.flags);");
        let _ = writeln!(out, "    loc_max({top}u, {a}.top);\n    workgroupBarrier();");
        let _ = writeln!(out, "    {{");
        let _ = writeln!(out, "        let d = loc_get({top}u) - {a}.top;");
        for (bin, name) in ["b0", "b1", "b2"].iter().enumerate() {
            let _ = writeln!(
                out,
                "        if (d + {bin}u < 3u) {{\n            \
                 loc_add64({}u + 2u * (d + {bin}u), {a}.{name});\n        }}",
                state + 2
            );
        }
        let _ = writeln!(out, "    }}");
    }

    fn flag_bits(&self, _may_miss: bool) -> u32 {
        FLAGS
    }

    /// The top bin, and the bins.
    fn value_cells(&self, width: usize) -> usize {
        1 + BIN_WORDS / width
    }

    fn kept_cells(&self, _width: usize) -> usize {
        1
    }

    fn rounds(&self, _width: usize) -> u32 {
        2
    }

    fn round(&self, round: &Round<'_>, arg: &Argument) -> String {
        let (table, top, value) = (round.table, round.place.value, &arg.value);
        if round.number == 1 {
            let flags = round.flag("f.flags | 1u");
            return format!(
                "let f = float_slices({value});{flags} {table}_max(s + {top}u, f.top);"
            );
        }
        let (bins, each) = (top + 1, bin_cells(round.width));
        let mut text = format!(
            "let f = float_slices({value}); let d = tab_get(g + {top}u) - f.top; \
             if (f.top != 0u) {{ "
        );
        for (bin, slice) in ["s0", "s1", "s2"].iter().enumerate() {
            let _ = write!(
                text,
                "if (d + {bin}u < 3u) {{ {table}_add64(s + {bins}u + {each}u * (d + {bin}u), \
                 bins_signed(f.{slice}, f.neg)); }} ",
            );
        }
        text.push('}');
        text
    }

    fn merge_round(&self, round: &Round<'_>, out: &mut String) {
        let at = round.place.value;
        if round.number == 1 {
            round.add("max", at, &round.get(at), out);
            return;
        }
        let each = bin_cells(round.width);
        for bin in 0..3 {
            let at = at + 1 + each * bin;
            round.add("add64", at, &round.get64(at), out);
        }
    }

    fn settle(&self, round: &Round<'_>, out: &mut String) {
        if round.number > 1 {
            return;
        }
        let (top, bins, kept) = (round.place.value, round.place.value + 1, round.place.kept);
        let _ = writeln!(
            out,
            "    if (tab_differ(s + {top}u, s + {kept}u)) {{\n        \
             let by = tab_get(s + {top}u) - tab_get(s + {kept}u);\n        \
             tab_shift_bins(s + {bins}u, by);\n        \
             tab_keep(s + {kept}u, s + {top}u);\n    }}"
        );
    }

    fn read(&self, flags: u32, cells: &[u32], width: usize, state: &mut Vec<u32>) {
        state.extend([flags & ((1 << FLAGS) - 1), cells[0]]);
        state.extend_from_slice(&cells[width..][..BIN_WORDS]);
    }

    fn write(&self, state: &[u32], cells: &mut [u32], width: usize) {
        cells[0] = state[1];
        cells[width..][..BIN_WORDS].copy_from_slice(&state[2..float_sum::WORDS]);
    }

    fn flags(&self, state: &[u32]) -> u32 {
        state[0]
    }

    fn column_words(
        &self,
        _at: usize,
        width: usize,
        flags: &str,
        word: &dyn Fn(usize) -> String,
        _out: &mut String,
    ) -> Vec<String> {
        let bins = (0..BIN_WORDS).map(|bin| word(width + bin));
        [format!("({flags} & 15u)"), word(0)].into_iter().chain(bins).collect()
    }
}

/// Cells of a bin.
fn bin_cells(width: usize) -> usize {
    2 / width
}
