//! The sum against exact integers, its independence of order, its limits, and its WGSL.

use num_bigint::BigInt;
use proptest::prelude::*;

use super::*;
use crate::device::testing::{program, recording, shared, upload};
use crate::device::{Tier, twin};
use crate::record::{Access, Command};

/// A finite float in units of 2^-1074.
fn exact(value: f64) -> BigInt {
    let bits = value.to_bits();
    let exponent = (bits >> 52) as u32 & 0x7ff;
    let fraction = bits & ((1 << 52) - 1);
    let size = match exponent {
        0 => BigInt::from(fraction),
        _ => BigInt::from(fraction + (1 << 52)) << (exponent - 1),
    };
    if value.is_sign_negative() { -size } else { size }
}

fn sum_of(values: &[f64]) -> FloatSum {
    let mut sum = FloatSum::EMPTY;
    values.iter().for_each(|&value| sum.add(value));
    sum
}

fn value_of(values: &[f64]) -> Option<f64> {
    sum_of(values).value().unwrap()
}

/// All floats, all magnitudes, the odd ones often.
fn any_float() -> impl Strategy<Value = f64> {
    let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN];
    prop_oneof![
        20 => any::<u64>().prop_map(f64::from_bits),
        10 => -1e6..1e6f64,
        2 => (0..1u64 << 54).prop_map(f64::from_bits),
        1 => proptest::sample::select(odd.to_vec()),
    ]
}

fn finite() -> impl Strategy<Value = f64> {
    any_float().prop_filter("finite", |value| value.is_finite())
}

proptest! {
    #[test]
    fn slices_are_the_number(value in finite()) {
        let cut = slices(value.to_bits());
        let mut whole = BigInt::ZERO;
        for (below, slice) in (1..).zip(cut.slices) {
            match cut.top.checked_sub(below) {
                Some(bin) => whole += BigInt::from(slice) << (32 * bin),
                None => prop_assert_eq!(slice, 0),
            }
        }
        prop_assert_eq!(if cut.negative { -whole } else { whole }, exact(value));
        prop_assert!(cut.top == 0 || cut.slices[0] != 0);
        prop_assert!(cut.top as usize <= BINS);
    }

    #[test]
    fn the_fast_way_is_the_plain_one(
        values in prop::collection::vec(any_float(), 0..40),
        near in prop::collection::vec(prop_oneof![-1e6..1e6, -1e-6..1e-6], 0..40),
    ) {
        for values in [values, near] {
            let mut plain = FloatSum::EMPTY;
            values.iter().for_each(|value| plain.add_cut(&slices(value.to_bits())));
            prop_assert_eq!(sum_of(&values).to_words(), plain.to_words());
        }
    }

    #[test]
    fn order_and_grouping_do_not_matter(
        values in prop::collection::vec(any_float(), 0..40),
        order in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let whole = sum_of(&values);
        let mut turned = values.clone();
        turned.rotate_left(order.index(values.len() + 1));
        turned.reverse();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(values.len() + 1)).collect();
        cuts.extend([0, values.len()]);
        cuts.sort_unstable();
        let mut parts: Vec<_> =
            cuts.windows(2).map(|cut| sum_of(&turned[cut[0]..cut[1]])).collect();
        // Merge as some tree, through words.
        while parts.len() > 1 {
            let mut merged = FloatSum::from_words(&parts.pop().unwrap().to_words());
            let other = order.index(parts.len());
            merged.merge(&parts[other]);
            parts[other] = merged;
        }
        let merged = parts[0];
        prop_assert_eq!(merged.to_words(), whole.to_words());
    }

    #[test]
    fn error_is_within_the_bound(values in prop::collection::vec(finite(), 1..40)) {
        let total: BigInt = values.iter().map(|&value| exact(value)).sum();
        let largest = values.iter().map(|value| value.abs()).fold(0.0, f64::max);
        let value = value_of(&values).unwrap();
        // The last place of a result below infinity; for infinity that of the largest float,
        // after which the next step would be 2^1024.
        let (near, step) = if value.is_finite() {
            (exact(value), exact(value.abs()) - exact(value.abs().next_down().max(0.0)))
        } else {
            let limit: BigInt = BigInt::from(1) << (1024i32 + 1074);
            (if value > 0.0 { limit } else { -limit }, BigInt::from(1) << (971i32 + 1074))
        };
        let mut error = total - near;
        if value.is_infinite() {
            // Anything beyond is right too.
            error = if value > 0.0 { error.min(BigInt::ZERO) } else { error.max(BigInt::ZERO) };
        }
        if error < BigInt::ZERO {
            error = -error;
        }
        // error <= n * M * 2^-64 + step (half a step above, up to one below a power of two)
        let bound = BigInt::from(values.len()) * exact(largest) + (step << 64);
        prop_assert!((error << 64) <= bound);
    }

    #[test]
    fn close_numbers_are_exact_but_for_one_rounding(
        values in prop::collection::vec(-(1i64 << 53)..(1i64 << 53), 1..60),
        scale in -1000..900i32,
    ) {
        let total: i128 = values.iter().map(|&value| i128::from(value)).sum();
        // Integer to float conversion rounds to nearest even.
        let power = 2f64.powi(scale);
        let floats: Vec<f64> = values.iter().map(|&value| value as f64 * power).collect();
        prop_assume!(floats.iter().zip(&values).all(|(f, &v)| f / power == v as f64));
        let value = value_of(&floats).unwrap();
        if value.is_normal() || total == 0 {
            prop_assert_eq!(value.to_bits(), (total as f64 * power).to_bits());
        }
    }
}

#[test]
fn known_sums() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let tiny = f64::from_bits(1);
    let cases: &[(&[f64], Option<f64>)] = &[
        (&[], None),
        (&[0.0], Some(0.0)),
        (&[-0.0, -0.0], Some(0.0)),
        (&[1.0, -1.0], Some(0.0)),
        (&[0.1, 0.2, 0.3], Some(0.6)),
        (&[1e16, 1.0, -1e16], Some(1.0)),
        (&[1.0, tiny, -1.0], Some(0.0)),
        (&[tiny, tiny, tiny], Some(f64::from_bits(3))),
        (&[f64::MIN_POSITIVE, -tiny], Some(f64::MIN_POSITIVE.next_down())),
        (&[f64::MAX, f64::MAX], Some(inf)),
        (&[f64::MAX, f64::MAX, f64::MIN], Some(f64::MAX)),
        (&[f64::MIN, f64::MIN], Some(-inf)),
        // Half of the last place rounds to even: away from the largest float.
        (&[f64::MAX, 2f64.powi(969)], Some(f64::MAX)),
        (&[f64::MAX, 2f64.powi(970)], Some(inf)),
        (&[9007199254740992.0, 1.0], Some(9007199254740992.0)),
        (&[9007199254740994.0, 1.0], Some(9007199254740996.0)),
        (&[9007199254740992.0, 1.0, 2f64.powi(-10)], Some(9007199254740994.0)),
        (&[1.0, inf], Some(inf)),
        (&[-inf, 1.0], Some(-inf)),
    ];
    for (values, expected) in cases {
        let bits = value_of(values).map(f64::to_bits);
        assert_eq!(bits, expected.map(f64::to_bits), "{values:?}");
    }
    for values in [&[inf, -inf][..], &[nan], &[nan, inf, 1.0], &[-nan]] {
        assert_eq!(value_of(values).map(f64::to_bits), Some(nan.to_bits()), "{values:?}");
    }
}

#[test]
fn bins_that_wrap_are_counted_and_then_refused() {
    for value in [f64::MAX.next_down() * 2f64.powi(-60), -1.0 - f64::EPSILON] {
        let mut sum = sum_of(&[value]);
        let mut factor = 1.0;
        for _ in 0..38 {
            sum.merge(&sum.clone());
            factor *= 2.0;
            assert_eq!(sum.value().unwrap(), Some(value * factor), "{factor} times {value}");
        }
        assert!(sum.to_words()[1] >> 8 != 0, "no bin of {value} wrapped");
        // Taken away again, one addend is left.
        let mut rest = sum;
        let negated = FloatSum::from_words(&sum.to_words());
        let mut minus = sum_of(&[-value]);
        (0..38).for_each(|_| minus.merge(&minus.clone()));
        rest.merge(&minus);
        rest.merge(&sum_of(&[value]));
        assert_eq!(rest.value().unwrap(), Some(value));
        assert_eq!(negated, sum);
        for _ in 0..12 {
            sum.merge(&sum.clone());
        }
        let error = sum.value().unwrap_err().to_string();
        assert!(error.contains("2^38"), "{error}");
    }
}

/// Where the bins add up to more than 128 bits, the lowest still break a tie.
#[test]
fn the_lowest_bits_of_large_sums_break_ties() {
    // 2^128 and half its last place, in units of the lowest bin, which is bin 37 of `f64`.
    let tie = [(1 << 64) + (1 << 11), 0, 0];
    let unit = 2f64.powi(32 * 37 - 1074);
    let exact = 2f64.powi(128) * unit;
    for (low, expected) in [(0, exact), (1, exact.next_up()), (-1, exact)] {
        let sum = FloatSum::from_bins(40, [tie[0], tie[1], low], SEEN);
        assert_eq!(sum.value().unwrap(), Some(expected), "{low}");
        let minus = FloatSum::from_bins(40, [-tie[0], 0, -low], SEEN);
        assert_eq!(minus.value().unwrap(), Some(-expected), "minus {low}");
    }
}

const KERNEL: &str = "
@group(0) @binding(0) var<storage, read> values: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> cuts: array<u32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = flat_group(wid, nwg) * 64u + lane;
    if (row < arrayLength(&values)) {
        let cut = float_slices(values[row]);
        let words = array(cut.top, cut.flags, cut.s0, cut.s1, cut.s2, u32(cut.neg));
        for (var word = 0u; word < 6u; word++) {
            cuts[row * 6u + word] = words[word];
        }
    }
}
";

/// What `float_slices` should answer.
fn cut_words(bits: u64) -> [u32; 6] {
    let cut = slices(bits);
    let [s0, s1, s2] = cut.slices;
    [cut.top, cut.flags, s0, s1, s2, u32::from(cut.negative)]
}

/// Numbers at every place of every word, both signs, and the odd ones.
fn samples() -> Vec<u64> {
    let fractions = [0, 1, 1 << 51, (1 << 52) - 1, 0x5_5555_5555_5555, 0xf_ffff_0000_0000];
    let places = (0..0x800u64).flat_map(|exponent| fractions.map(|f| exponent << 52 | f));
    let mut bits: Vec<u64> = places.flat_map(|bits| [bits, bits | 1 << 63]).collect();
    // Subnormals with their leading bit anywhere.
    bits.extend((0..52).flat_map(|bit| [1 << bit, (2 << bit) - 1]));
    bits
}

#[tokio::test]
async fn wgsl_cuts_as_the_host_does() {
    let twin_of = |bound: &mut crate::record::Bound<'_>| {
        let [values, cuts] = &mut bound.buffers[..] else { unreachable!("two bindings") };
        for (value, cut) in values.chunks(2).zip(cuts.chunks_mut(6)) {
            cut.copy_from_slice(&cut_words(u64::from(value[1]) << 32 | u64::from(value[0])));
        }
        Ok(())
    };
    let text = include_str!("../../../shaders/lib/float_sum.wgsl");
    let program = program(
        "float_sum",
        &format!("{text}{KERNEL}"),
        &[Access::Read, Access::ReadWrite],
        twin_of,
    );
    let bits = samples();
    let words: Vec<u32> = bits.iter().flat_map(|b| [*b as u32, (*b >> 32) as u32]).collect();
    let expected: Vec<u32> = bits.iter().flat_map(|&bits| cut_words(bits)).collect();
    for player in shared(Some(Tier::T0)).into_iter().chain([twin()]) {
        let (from, to) = (words.len() as u64 * 4, expected.len() as u64 * 4);
        let values = player.buffer(from, "values").unwrap();
        let cuts = player.buffer(to, "cuts").unwrap();
        let bindings = vec![values.clone(), cuts.clone()];
        let groups = bits.len().div_ceil(64) as u32;
        let commands = vec![
            upload(&*player, &values, 0, &words).await.unwrap(),
            Command::Dispatch { program: program.clone(), bindings, groups },
            Command::Download { buffer: cuts, range: 0..to },
        ];
        let completed = player.submit(recording("float slices", commands)).await.unwrap();
        let cuts = completed.downloads[0].chunks(6).zip(expected.chunks(6)).zip(&bits);
        for ((given, expected), bits) in cuts {
            assert_eq!(given, expected, "{bits:016x}");
        }
    }
}
