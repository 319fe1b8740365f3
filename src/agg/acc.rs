//! The accumulators that kernels and host share: what one group keeps for one aggregate, in words.
//!
//! A table of states is memory full of zeros that kernels add to; so all-zero words are the empty
//! state of every accumulator, and every update is an exact integer operation that may be done in
//! any order. What the words mean to SQL (types, NULL, division) is told by the files of the
//! aggregates, never here.

use arrow::datatypes::i256;

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
    /// `I128` values, added in 160 bits; a word that is 1 when there was one.
    Sum160,
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
            Acc::Sum160 => 6,
            Acc::Best { rep, .. } => rep.words() + 1,
            Acc::FloatSum => float_sum::WORDS,
            Acc::Bools => 1,
        }
    }

    /// Words of a state that hold its value, without the one that says if there was one.
    pub const fn value_words(self) -> usize {
        match self {
            Acc::Sum64 | Acc::Sum128 | Acc::Sum160 | Acc::Best { .. } => self.words() - 1,
            Acc::Count | Acc::FloatSum | Acc::Bools => self.words(),
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
            Acc::Sum160 => {
                let high = if bits >> 127 == 1 { u32::MAX } else { 0 };
                let [a, b, c, d] = split::<4>(bits);
                add_words(&mut state[..5], &[a, b, c, d, high]);
                state[5] = 1;
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
            Acc::Sum64 | Acc::Sum128 | Acc::Sum160 => {
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

/// Words, low first, as a signed integer.
pub(super) fn signed(words: &[u32]) -> i256 {
    let sign = words.last().map_or(0, |last| (*last as i32 >> 31) as u8);
    let mut bytes = [sign; 32];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    i256::from_le_bytes(bytes)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPS: [Rep; 8] =
        [Rep::B1, Rep::I32, Rep::U32, Rep::F32, Rep::I64, Rep::U64, Rep::F64, Rep::I128];

    fn all() -> Vec<Acc> {
        let best = |rep| [true, false].map(|max| Acc::Best { rep, max });
        let sums = [Acc::Sum64, Acc::Sum128, Acc::Sum160, Acc::FloatSum];
        let others = [Acc::Count, Acc::Bools].into_iter().chain(sums);
        REPS.into_iter().flat_map(best).chain(others).collect()
    }

    /// How values come; sums take the low bits of any.
    fn rep(acc: Acc) -> Rep {
        if let Acc::Best { rep, .. } = acc { rep } else { Rep::I128 }
    }

    fn fold(acc: Acc, values: &[Option<u128>]) -> Vec<u32> {
        let mut state = vec![0; acc.words()];
        values.iter().for_each(|&value| acc.update(&mut state, value));
        state
    }

    /// Values that are often equal, often at the ends of a type, often NULL.
    fn values() -> impl Strategy<Value = Vec<Option<u128>>> {
        let ends = vec![0, 1, u128::MAX, 1 << 31, 1 << 63, 1 << 127, u128::MAX >> 1];
        let value = prop_oneof![
            any::<u128>().prop_map(Some),
            proptest::sample::select(ends).prop_map(Some),
            Just(None),
        ];
        prop::collection::vec(value, 0..6)
    }

    fn narrow(rep: Rep, values: &[Option<u128>]) -> Vec<Option<u128>> {
        let bits = if rep == Rep::B1 { 1 } else { mask(rep) };
        values.iter().map(|value| value.map(|value| value & bits)).collect()
    }

    proptest! {
        #[test]
        fn merging_is_adding_all((left, right) in (values(), values())) {
            for acc in all() {
                let (left, right) = (narrow(rep(acc), &left), narrow(rep(acc), &right));
                let whole = fold(acc, &[left.clone(), right.clone()].concat());
                for (one, other) in [(&left, &right), (&right, &left)] {
                    let mut merged = fold(acc, one);
                    acc.merge(&mut merged, &fold(acc, other));
                    prop_assert_eq!(&merged, &whole, "{:?}", acc);
                }
            }
        }

        #[test]
        fn the_order_is_that_of_the_values(a: u128, b: u128) {
            fn check<T>(rep: Rep, a: u128, b: u128, of: fn(u128) -> T, less: fn(&T, &T) -> bool) {
                let (a, b) = (a & mask(rep), b & mask(rep));
                assert_eq!(order(rep, a) < order(rep, b), less(&of(a), &of(b)), "{rep:?} {a} {b}");
                assert_eq!(unorder(rep, order(rep, a)), a, "{rep:?}");
            }
            let near = [0, 31, 63, 127].map(|bit| a ^ 1 << bit);
            for b in near.into_iter().chain([b]) {
                check(Rep::I32, a, b, |v| v as i32, i32::lt);
                check(Rep::U32, a, b, |v| v as u32, u32::lt);
                check(Rep::I64, a, b, |v| v as i64, i64::lt);
                check(Rep::U64, a, b, |v| v as u64, u64::lt);
                check(Rep::I128, a, b, |v| v as i128, i128::lt);
                check(Rep::F32, a, b, |v| f32::from_bits(v as u32), |a, b| a.total_cmp(b).is_lt());
                check(Rep::F64, a, b, |v| f64::from_bits(v as u64), |a, b| a.total_cmp(b).is_lt());
            }
        }
    }

    #[test]
    fn zeros_are_the_empty_state_and_not_a_value() {
        for acc in all() {
            let null = fold(acc, &[None]);
            assert!(null.iter().all(|&word| word == 0), "{acc:?}");
            // The value that is all zeros inside is still told from none.
            for value in [0, u128::MAX] {
                let seen = fold(acc, &narrow(rep(acc), &[Some(value)]));
                assert!(seen.iter().any(|&word| word != 0), "{acc:?}");
            }
        }
    }

    #[test]
    fn sums_wrap_and_carry() {
        let minus_one = Some(u128::MAX);
        assert_eq!(fold(Acc::Sum64, &[minus_one, minus_one]), [u32::MAX - 1, u32::MAX, 1]);
        assert_eq!(fold(Acc::Sum64, &[minus_one, Some(1)]), [0, 0, 1]);
        assert_eq!(fold(Acc::Sum128, &[minus_one, Some(2)]), [1, 0, 0, 0, 1]);
        let least = Some(1 << 127);
        assert_eq!(fold(Acc::Sum160, &[least, least]), [0, 0, 0, 0, u32::MAX, 1]);
        assert_eq!(fold(Acc::Sum160, &[minus_one, Some(2)]), [1, 0, 0, 0, 0, 1]);
        assert_eq!(fold(Acc::Count, &[Some(0), None, Some(7)]), [2, 0]);
        assert_eq!(fold(Acc::Bools, &[Some(1), None, Some(0)]), [3]);
    }
}
