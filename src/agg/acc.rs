//! The accumulators that kernels and host share: what one group keeps for one aggregate, in words.
//!
//! A table of states is memory full of zeros that kernels add to; so all-zero words are the empty
//! state of every accumulator, and every update is an exact integer operation that may be done in
//! any order. What the words mean to SQL (types, NULL, division) is told by the files of the
//! aggregates, never here.

use super::float_sum::{self, FloatSum};
use crate::expr::ir::Rep;

/// A kind of accumulator; its state is [`Acc::words`] words of 32 bits, low words first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Acc {
    /// Rows with a value: 64 bits.
    Count,
    /// The low 64 bits of the values (`I64`, `U64` or `I128`), added with wrapping; a word that is
    /// 1 when there was one.
    Sum64,
    /// `I128` values, added with wrapping; a word that is 1 when there was one.
    Sum128,
    /// The largest value, or the smallest: [`order`] of its bits, complemented for the smallest, so
    /// that the larger integer wins and zero never does; a word that is 1 when there was one.
    Best { rep: Rep, max: bool },
    /// `F64` values; see [`float_sum`].
    FloatSum,
    /// Bit 0: some value was true; bit 1: some value was false.
    Bools,
}

impl Acc {
    /// Words of a state.
    pub const fn words(self) -> usize {
        match self {
            Acc::Count => 2,
            Acc::Sum64 => 3,
            Acc::Sum128 => 5,
            Acc::Best { rep, .. } => rep.words() + 1,
            Acc::FloatSum => float_sum::WORDS,
            Acc::Bools => 1,
        }
    }

    /// Adds one value, given as bits in the way of [`crate::expr::ir`]; NULL changes nothing.
    pub fn update(self, state: &mut [u32], value: Option<u128>) {
        let Some(bits) = value else { return };
        match self {
            Acc::Count => add_words(&mut state[..2], &[1, 0]),
            Acc::Sum64 => {
                add_words(&mut state[..2], &split::<2>(bits));
                state[2] = 1;
            }
            Acc::Sum128 => {
                add_words(&mut state[..4], &split::<4>(bits));
                state[4] = 1;
            }
            Acc::Best { rep, max } => {
                let ordered = split::<4>(rank(rep, max, bits));
                keep_larger(&mut state[..rep.words()], &ordered[..rep.words()]);
                state[rep.words()] = 1;
            }
            Acc::FloatSum => {
                let mut sum = FloatSum::from_words(state);
                sum.add(f64::from_bits(bits as u64));
                state.copy_from_slice(&sum.to_words());
            }
            Acc::Bools => state[0] |= if bits & 1 == 1 { 1 } else { 2 },
        }
    }

    /// Adds what another state has seen.
    pub fn merge(self, into: &mut [u32], from: &[u32]) {
        match self {
            Acc::Count => add_words(into, from),
            Acc::Sum64 | Acc::Sum128 => {
                let last = self.words() - 1;
                add_words(&mut into[..last], &from[..last]);
                into[last] |= from[last];
            }
            Acc::Best { rep, .. } => {
                let last = rep.words();
                keep_larger(&mut into[..last], &from[..last]);
                into[last] |= from[last];
            }
            Acc::FloatSum => {
                let mut sum = FloatSum::from_words(into);
                sum.merge(&FloatSum::from_words(from));
                into.copy_from_slice(&sum.to_words());
            }
            Acc::Bools => into[0] |= from[0],
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

/// What [`Acc::Best`] keeps the largest of; [`unrank`] takes it back.
const fn rank(rep: Rep, max: bool, bits: u128) -> u128 {
    let ordered = order(rep, bits);
    if max { ordered } else { !ordered & mask(rep) }
}

/// The value bits that [`Acc::Best`] holds in its words (without the last).
pub(super) fn unrank(rep: Rep, max: bool, words: &[u32]) -> u128 {
    let ranked = join(words);
    unorder(rep, if max { ranked } else { !ranked & mask(rep) })
}

/// Words, low first, as an integer.
pub(super) fn join(words: &[u32]) -> u128 {
    words.iter().rev().fold(0, |bits, &word| bits << 32 | u128::from(word))
}

const fn sign(rep: Rep) -> u128 {
    1 << (32 * rep.words() - 1)
}

const fn mask(rep: Rep) -> u128 {
    u128::MAX >> (128 - 32 * rep.words())
}

fn split<const N: usize>(bits: u128) -> [u32; N] {
    std::array::from_fn(|word| (bits >> (32 * word)) as u32)
}

/// Adds integers of as many words, with wrapping.
fn add_words(into: &mut [u32], from: &[u32]) {
    let mut carry = false;
    for (into, &from) in into.iter_mut().zip(from) {
        (*into, carry) = into.carrying_add(from, carry);
    }
}

fn keep_larger(kept: &mut [u32], other: &[u32]) {
    if other.iter().rev().gt(kept.iter().rev()) {
        kept.copy_from_slice(other);
    }
}
