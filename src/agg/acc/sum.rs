//! Sums of integers in 64, 128 and 160 bits, added with wrapping; then a word that is 1 when there
//! was a value. Cells of 64 bits hold the wider ones in pieces of 32 bits, the last of which has
//! what is left, so that nobody waits for a carry: a cell takes 2^32 pieces, more than a table
//! takes rows.

use std::fmt::Write;

use super::accumulator::{Accumulator, Argument};
use super::cells::Round;
use super::words::{add_words, split};

/// A sum in so many words: 2, 4 or 5.
#[derive(Debug)]
pub struct Sum {
    pub words: usize,
}

impl Sum {
    /// Whether cells of so many words hold pieces.
    fn in_pieces(&self, width: usize) -> bool {
        width == 2 && self.words > 2
    }
}

impl Accumulator for Sum {
    fn name(&self) -> &'static str {
        match self.words {
            2 => "sum64",
            4 => "sum128",
            _ => "sum160",
        }
    }

    fn words(&self) -> usize {
        self.words + 1
    }

    fn takes_i128(&self) -> bool {
        self.words > 2
    }

    fn add(&self, state: &mut [u32], bits: u128) {
        let [a, b, c, d] = split::<4>(bits);
        let sign = if bits >> 127 == 1 { u32::MAX } else { 0 };
        add_words(&mut state[..self.words], &[a, b, c, d, sign][..self.words]);
        state[self.words] = 1;
    }

    fn merge(&self, into: &mut [u32], from: &[u32]) {
        add_words(&mut into[..self.words], &from[..self.words]);
        into[self.words] |= from[self.words];
    }

    fn register(&self) -> &'static str {
        if self.words == 2 { "vec2<u32>" } else { "vec4<u32>" }
    }

    fn more_registers(&self, a: &str) -> String {
        match self.words {
            5 => format!("var<private> {a}_high: u32;\n"),
            _ => String::new(),
        }
    }

    fn fold_row(&self, a: &str, arg: &Argument) -> String {
        let value = &arg.value;
        match self.words {
            2 => format!("{a} = acc_add64({a}, {value}); {a}_seen = 1u;"),
            4 => format!("{a} = acc_add128({a}, {value}); {a}_seen = 1u;"),
            _ => {
                let v = a.replacen('a', "v", 1);
                format!(
                    "let {v} = {value}; {a} = acc_add128({a}, {v}); \
                     {a}_high += acc_sign({v}) + select(0u, 1u, acc_less128({a}, {v})); \
                     {a}_seen = 1u;"
                )
            }
        }
    }

    fn fold(&self, a: &str, state: usize, out: &mut String) {
        let _ = match self.words {
            2 => writeln!(out, "    loc_add64({state}u, {a});"),
            4 => writeln!(out, "    loc_add128({state}u, {a});"),
            _ => writeln!(out, "    loc_add160({state}u, {a}, {a}_high);"),
        };
        let _ = writeln!(out, "    loc_or({}u, {a}_seen);", state + self.words);
    }

    fn value_cells(&self, width: usize) -> usize {
        match self.in_pieces(width) {
            true => self.words - 1,
            false => self.words.div_ceil(width),
        }
    }

    fn round(&self, round: &Round<'_>, arg: &Argument) -> String {
        let (table, at, value) = (round.table, round.place.value, &arg.value);
        let seen = round.flag("1u");
        match self.words {
            2 => format!("{table}_add64(s + {at}u, {value});{seen}"),
            4 => format!("{table}_add128(s + {at}u, {value});{seen}"),
            _ => format!("let v = {value}; {table}_add160(s + {at}u, v, acc_sign(v));{seen}"),
        }
    }

    fn merge_round(&self, round: &Round<'_>, out: &mut String) {
        let at = round.place.value;
        if round.number > 1 {
            return;
        }
        if self.in_pieces(round.width) {
            let cells = at..at + self.value_cells(round.width);
            cells.for_each(|at| round.add("add64", at, &round.get64(at), out));
            return;
        }
        let low = format!("vec4<u32>({}, {})", round.get64(at), round.get64(at + 2));
        match self.words {
            2 => round.add("add64", at, &round.get64(at), out),
            4 => round.add("add128", at, &low, out),
            _ => round.add("add160", at, &format!("{low}, {}", round.get(at + 4)), out),
        }
    }

    fn read(&self, _flags: u32, cells: &[u32], width: usize, state: &mut Vec<u32>) {
        match self.in_pieces(width) {
            true => state.extend(joined(&cells[..2 * (self.words - 1)])),
            false => state.extend_from_slice(&cells[..self.words]),
        }
    }

    fn write(&self, state: &[u32], cells: &mut [u32], width: usize) {
        if !self.in_pieces(width) {
            cells[..self.words].copy_from_slice(&state[..self.words]);
            return;
        }
        let last = self.words - 2;
        for (at, word) in state[..last].iter().enumerate() {
            cells[2 * at..][..2].copy_from_slice(&[*word, 0]);
        }
        cells[2 * last..][..2].copy_from_slice(&state[last..self.words]);
    }

    fn column_words(
        &self,
        at: usize,
        width: usize,
        _flags: &str,
        word: &dyn Fn(usize) -> String,
        out: &mut String,
    ) -> Vec<String> {
        if !self.in_pieces(width) {
            return (0..self.words).map(word).collect();
        }
        let pair = |cell: usize| format!("vec2<u32>({}, {})", word(2 * cell), word(2 * cell + 1));
        let _ = writeln!(out, "    let p{at}_0 = {};", pair(0));
        let last = self.value_cells(width) - 1;
        for cell in 1..=last {
            let _ = writeln!(
                out,
                "    let p{at}_{cell} = acc_add64({}, vec2<u32>(p{at}_{}.y, 0u));",
                pair(cell),
                cell - 1
            );
        }
        let low = (0..=last).map(|cell| format!("p{at}_{cell}.x"));
        low.chain([format!("p{at}_{last}.y")]).collect()
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
