//! The largest value, or the smallest. A state holds [`order`] of its bits, complemented for the
//! smallest, so that the larger integer wins and zero never does; then a word that is 1 when there
//! was a value. In a group table its cells settle one after another, the highest first, a round
//! each.

use std::fmt::Write;

use super::accumulator::{Accumulator, Argument};
use super::cells::Round;
use super::words::{join, split, vector};
use crate::expr::ir::{Expr, Rep};
use crate::expr::prim::ordered;

/// The largest of values of one representation, or the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Best {
    pub rep: Rep,
    pub max: bool,
}

impl Best {
    /// The words of a candidate, low first; a minimum is the maximum of the complement.
    fn candidate(&self, arg: &Argument) -> Vec<String> {
        let complement = |word: &String| if self.max { word.clone() } else { format!("(~{word})") };
        arg.words.iter().map(complement).collect()
    }
}

impl Accumulator for Best {
    fn name(&self) -> &'static str {
        if self.max { "max" } else { "min" }
    }

    fn words(&self) -> usize {
        self.rep.words() + 1
    }

    fn takes_i128(&self) -> bool {
        self.rep == Rep::I128
    }

    fn add(&self, state: &mut [u32], bits: u128) {
        let words = self.rep.words();
        let ordered = split::<4>(rank(self.rep, self.max, bits));
        keep_larger(&mut state[..words], &ordered[..words]);
        state[words] = 1;
    }

    fn merge(&self, into: &mut [u32], from: &[u32]) {
        let last = self.rep.words();
        keep_larger(&mut into[..last], &from[..last]);
        into[last] |= from[last];
    }

    fn put_value(&self, value: &[u32], column: &mut Vec<u32>) {
        let bits = unrank(self.rep, self.max, value);
        column.extend((0..value.len()).map(|word| (bits >> (32 * word)) as u32));
    }

    fn argument(&self, arg: &Expr) -> Expr {
        Expr::call(ordered(self.rep), vec![arg.clone()])
    }

    fn register(&self) -> &'static str {
        match self.rep.words() {
            1 => "u32",
            2 => "vec2<u32>",
            _ => "vec4<u32>",
        }
    }

    fn fold_row(&self, a: &str, arg: &Argument) -> String {
        let new = vector(&self.candidate(arg));
        let less = match self.rep.words() {
            1 => format!("{a} < {new}"),
            2 => format!("acc_less64({a}, {new})"),
            _ => format!("acc_less128({a}, {new})"),
        };
        format!("if ({less}) {{ {a} = {new}; }} {a}_seen = 1u;")
    }

    fn fold(&self, a: &str, state: usize, out: &mut String) {
        let words = self.rep.words();
        let part = |i: usize| match words {
            1 => a.to_string(),
            _ => format!("{a}.{}", ["x", "y", "z", "w"][i]),
        };
        let mut equal = format!("{a}_seen != 0u");
        for i in (0..words).rev() {
            let at = state + i;
            let _ = writeln!(out, "    if ({equal}) {{ loc_max({at}u, {}); }}", part(i));
            if i > 0 {
                let _ = writeln!(out, "    workgroupBarrier();");
                equal = format!("{equal} && loc_get({at}u) == {}", part(i));
            }
        }
        let _ = writeln!(out, "    loc_or({}u, {a}_seen);", state + words);
    }

    fn kept_cells(&self, width: usize) -> usize {
        self.value_cells(width) - 1
    }

    /// One for each of its cells.
    fn rounds(&self, width: usize) -> u32 {
        self.value_cells(width) as u32
    }

    fn round(&self, round: &Round<'_>, arg: &Argument) -> String {
        let at = round.place.value;
        let pieces = Piece::all(&self.candidate(arg), round.width);
        let Some(piece) = pieces.len().checked_sub(round.number as usize) else {
            return String::new();
        };
        let raise = pieces[piece].raise(round.table, at + piece);
        if round.number == 1 {
            return format!("{raise}{}", round.flag("1u"));
        }
        let above = pieces.iter().enumerate().skip(piece + 1);
        let tests: Vec<String> = above.map(|(above, piece)| piece.settled(at + above)).collect();
        format!("if ({}) {{ {raise} }}", tests.join(" && "))
    }

    fn merge_round(&self, round: &Round<'_>, out: &mut String) {
        let cells = self.value_cells(round.width);
        if round.number as usize <= cells {
            let at = round.place.value + cells - round.number as usize;
            match round.width == 2 && self.rep.words() > 1 {
                true => round.add("max64", at, &round.get64(at), out),
                false => round.add("max", at, &round.get(at), out),
            }
        }
    }

    fn settle(&self, round: &Round<'_>, out: &mut String) {
        let cells = self.value_cells(round.width);
        if round.number as usize >= cells {
            return;
        }
        let cell = cells - round.number as usize;
        let (value, kept) = (round.place.value, round.place.kept + cell - 1);
        let at = value + cell;
        let _ = writeln!(out, "    if (tab_differ(s + {at}u, s + {kept}u)) {{");
        for below in value..at {
            let _ = writeln!(out, "        tab_clear(s + {below}u);");
        }
        let _ = writeln!(out, "        tab_keep(s + {kept}u, s + {at}u);\n    }}");
    }

    /// [`unorder`] in words.
    fn column_words(
        &self,
        _at: usize,
        _width: usize,
        _flags: &str,
        word: &dyn Fn(usize) -> String,
        _out: &mut String,
    ) -> Vec<String> {
        let last = self.rep.words() - 1;
        let ranked = |at: usize| if self.max { word(at) } else { format!("(~{})", word(at)) };
        let top = ranked(last);
        let value = |at: usize| match self.rep {
            Rep::B1 | Rep::U32 | Rep::U64 => ranked(at),
            Rep::I32 | Rep::I64 | Rep::I128 if at == last => format!("({top} ^ 0x80000000u)"),
            Rep::I32 | Rep::I64 | Rep::I128 => ranked(at),
            Rep::F32 | Rep::F64 => {
                let positive =
                    if at == last { format!("({top} ^ 0x80000000u)") } else { ranked(at) };
                format!("select(~{}, {positive}, ({top} >> 31u) == 1u)", ranked(at))
            }
        };
        (0..=last).map(value).collect()
    }
}

/// What one cell is raised to.
struct Piece {
    text: String,
    /// Of 64 bits.
    wide: bool,
}

impl Piece {
    /// The cells' values out of words, the low one first.
    fn all(words: &[String], width: usize) -> Vec<Self> {
        let piece = |words: &[String]| Self { text: vector(words), wide: words.len() == 2 };
        words.chunks(width).map(piece).collect()
    }

    fn raise(&self, table: &str, at: usize) -> String {
        let wide = if self.wide { "64" } else { "" };
        format!("{table}_max{wide}(s + {at}u, {});", self.text)
    }

    /// Whether the settled cell is the same.
    fn settled(&self, at: usize) -> String {
        match self.wide {
            true => format!("all(tab_get64(g + {at}u) == {})", self.text),
            false => format!("tab_get(g + {at}u) == {}", self.text),
        }
    }
}

/// Bits as an unsigned integer of as many bits, whose order is that of the values. Floats are in
/// IEEE 754's total order, as Arrow compares them: -NaN < -inf < .. < -0 < +0 < .. < inf < NaN.
pub const fn order(rep: Rep, bits: u128) -> u128 {
    match rep {
        Rep::B1 | Rep::U32 | Rep::U64 => bits,
        Rep::I32 | Rep::I64 | Rep::I128 => bits ^ sign(rep),
        Rep::F32 | Rep::F64 if bits & sign(rep) != 0 => !bits & mask(rep),
        Rep::F32 | Rep::F64 => bits | sign(rep),
    }
}

/// Takes [`order`] back.
pub const fn unorder(rep: Rep, ordered: u128) -> u128 {
    match rep {
        Rep::F32 | Rep::F64 if ordered & sign(rep) == 0 => !ordered & mask(rep),
        Rep::F32 | Rep::F64 => ordered & !sign(rep),
        _ => order(rep, ordered),
    }
}

/// What [`Best`] keeps the largest of; [`unrank`] takes it back.
const fn rank(rep: Rep, max: bool, bits: u128) -> u128 {
    let ordered = order(rep, bits);
    if max { ordered } else { !ordered & mask(rep) }
}

/// The value bits that [`Best`] holds in its words (without the last).
fn unrank(rep: Rep, max: bool, words: &[u32]) -> u128 {
    let ranked = join(words);
    unorder(rep, if max { ranked } else { !ranked & mask(rep) })
}

const fn sign(rep: Rep) -> u128 {
    1 << (32 * rep.words() - 1)
}

pub(super) const fn mask(rep: Rep) -> u128 {
    u128::MAX >> (128 - 32 * rep.words())
}

fn keep_larger(kept: &mut [u32], other: &[u32]) {
    if other.iter().rev().gt(kept.iter().rev()) {
        kept.copy_from_slice(other);
    }
}
