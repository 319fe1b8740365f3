//! The accumulators that kernels and host share: what one group keeps for one aggregate, in words.
//!
//! A table of states is memory full of zeros that kernels add to; so all-zero words are the empty
//! state of every accumulator, and every update is an exact integer operation that may be done in
//! any order. What the words mean to SQL (types, NULL, division) is told by the files of the
//! aggregates, never here.
//!
//! An accumulator is one file with all that there is of it: its words on the host, in registers of
//! a kernel (`reduce`) and in the cells of a group table. It is added by that file, a variant of
//! [`Acc`] and its arm in `deref`. The functions that its texts call stand in `shaders/lib/`.

mod accumulator;
mod best;
mod bools;
mod cells;
mod count;
mod float;
mod sum;
mod words;

use std::ops::Deref;

pub use accumulator::{Accumulator, Argument};
pub use best::{Best, order, unorder};
pub use cells::{Place, Round};

pub(super) use words::{join, signed};

/// A kind of accumulator; what it does is told by [`Accumulator`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Acc {
    /// Rows with a value.
    Count,
    /// The low 64 bits of the values (`I64`, `U64` or `I128`), added with wrapping.
    Sum64,
    /// `I128` values, added with wrapping.
    Sum128,
    /// `I128` values, added in 160 bits.
    Sum160,
    /// The largest value, or the smallest.
    Best(Best),
    /// `F64` values; see [`super::float_sum`].
    FloatSum,
    /// Whether some value was true, and whether some was false.
    Bools,
}

impl Deref for Acc {
    type Target = dyn Accumulator;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Count => &count::Count,
            Self::Sum64 => &sum::Sum { words: 2 },
            Self::Sum128 => &sum::Sum { words: 4 },
            Self::Sum160 => &sum::Sum { words: 5 },
            Self::Best(best) => best,
            Self::FloatSum => &float::Float,
            Self::Bools => &bools::Bools,
        }
    }
}

impl Acc {
    /// Adds one value; NULL changes nothing.
    pub fn update(self, state: &mut [u32], value: Option<u128>) {
        if let Some(bits) = value {
            self.add(state, bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::best::mask;
    use super::*;
    use crate::expr::ir::Rep;

    const REPS: [Rep; 8] =
        [Rep::B1, Rep::I32, Rep::U32, Rep::F32, Rep::I64, Rep::U64, Rep::F64, Rep::I128];

    fn all() -> Vec<Acc> {
        let best = |rep| [true, false].map(|max| Acc::Best(Best { rep, max }));
        let sums = [Acc::Sum64, Acc::Sum128, Acc::Sum160, Acc::FloatSum];
        let others = [Acc::Count, Acc::Bools].into_iter().chain(sums);
        REPS.into_iter().flat_map(best).chain(others).collect()
    }

    /// How values come; sums take the low bits of any.
    fn rep(acc: Acc) -> Rep {
        if let Acc::Best(Best { rep, .. }) = acc { rep } else { Rep::I128 }
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
