//! Asks an adapter whether its float operations are those of IEEE 754, by doing some thousands of
//! each in one submit and comparing every bit with the host's: rounding, subnormals, infinities,
//! and `a * b + c` rounded twice. WGSL cannot forbid the contraction to one rounding, nor that
//! constants are folded as if there were no signs of zero: here and in our kernels an operand is
//! hidden from the compiler.
//!
//! A sample proves nothing, yet the known ways to be inexact (reciprocal division, flushed
//! subnormals, fused multiply-add) each fail on a good part of it.

use crate::device::player::{FloatExactness, Player, Tier};
use crate::error::DeviceError;
use crate::record::{Access, Code, Command, Program, Recording};

/// Triples of operands: a multiple of the workgroup. Each known fault shows in a tenth of them.
const SAMPLES: usize = 2048;

/// Results per triple: `+ - *`, two contractions, `/`, `sqrt`.
const RESULTS: usize = 7;
const DIV: usize = 5;
const SQRT: usize = 6;

/// One text for both types.
const KERNEL: &str = include_str!("../../../shaders/probe/float.wgsl");

/// What the player computes exactly, in one submit.
pub async fn probe(player: &dyn Player, tier: Tier) -> Result<FloatExactness, DeviceError> {
    let (singles, doubles) = (samples::<f32>(), samples::<f64>());
    let mut commands = Vec::new();
    let mut downloads =
        vec![ask(player, ["f32", "u32"], bytemuck::cast_slice(&singles), &mut commands).await?];
    if tier >= Tier::T4 {
        let words = bytemuck::cast_slice(&doubles);
        downloads.push(ask(player, ["f64", "u64"], words, &mut commands).await?);
    }
    commands.append(&mut downloads);
    let recording = Recording { label: "float probe".into(), commands };
    let mut answers = player.submit(recording).await?.downloads.into_iter();
    let (f32s, f32_nans) = compare(&singles, &answers.next().unwrap_or_default());
    let (f64s, f64_nans) = compare(&doubles, &answers.next().unwrap_or_default());
    Ok(FloatExactness {
        f32_add_mul: f32s[..DIV].iter().all(|exact| *exact),
        f32_div: f32s[DIV],
        f32_sqrt: f32s[SQRT],
        f32_nan_bits: f32_nans,
        f64_add_mul: f64s[..DIV].iter().all(|exact| *exact),
        f64_div: f64s[DIV],
        f64_sqrt: f64s[SQRT],
        f64_nan_bits: f64_nans,
    })
}

/// Adds upload and dispatch to `commands`; returns the download, to be put behind all dispatches.
async fn ask(
    player: &dyn Player,
    [float, bits]: [&str; 2],
    operands: &[u32],
    commands: &mut Vec<Command>,
) -> Result<Command, DeviceError> {
    let result_bytes = operands.len() as u64 * 4 / 3 * RESULTS as u64;
    // The words of a zero come last.
    let bytes = operands.len() as u64 * 4 + 8;
    let given = player.buffer(bytes, "probe operands")?;
    let results = player.buffer(result_bytes, "probe results")?;
    let mut from = player.staging(bytes).await?;
    from.words()[..operands.len()].copy_from_slice(operands);
    from.words()[operands.len()..].fill(0);
    commands.push(Command::Upload { from, bytes, to: given.clone(), at: 0 });
    let wgsl = format!(
        "alias Float = {float}; alias Bits = {bits}; const ZERO_AT = {}u;\n{KERNEL}",
        3 * SAMPLES
    );
    let program = Program {
        label: float.into(),
        code: Code::new(wgsl, vec![Access::Read, Access::ReadWrite]).into(),
        parts: vec![(1, "<types>".into()), (2, "probe/float".into())],
        twin: std::sync::Arc::new(|_| {
            Err(DeviceError::Validation("the CPU player is not probed".into()))
        }),
    };
    commands.push(Command::Dispatch {
        program: program.into(),
        bindings: vec![given, results.clone()],
        groups: SAMPLES as u32 / 64,
    });
    Ok(Command::Download { buffer: results, range: 0..result_bytes })
}

/// Per operation, whether all results equal the host's (any NaN for a NaN); and whether the NaNs
/// have the host's very bits.
fn compare<F: Float>(samples: &[[F; 3]], words: &[u32]) -> ([bool; RESULTS], bool) {
    let given: Vec<[F; RESULTS]> = bytemuck::pod_collect_to_vec(words);
    let all = given.len() == samples.len();
    let (mut exact, mut nan_bits) = ([all; RESULTS], all);
    for (sample, given) in samples.iter().zip(given) {
        let wanted = F::results(*sample);
        for ((exact, given), wanted) in exact.iter_mut().zip(given).zip(wanted) {
            let equal = given.to_word() == wanted.to_word();
            *exact &= equal || (given.is_nan() && wanted.is_nan());
            nan_bits &= equal || !wanted.is_nan();
        }
    }
    (exact, nan_bits)
}

/// What the probe needs of f32 and f64.
trait Float: bytemuck::Pod {
    const MANTISSA_BITS: u32;
    const EXPONENT_BITS: u32;
    fn from_word(word: u64) -> Self;
    fn to_word(self) -> u64;
    fn is_nan(self) -> bool;
    fn results(operands: [Self; 3]) -> [Self; RESULTS];
}

macro_rules! float {
    ($float:ty, $word:ty, $mantissa:literal, $exponent:literal) => {
        impl Float for $float {
            const MANTISSA_BITS: u32 = $mantissa;
            const EXPONENT_BITS: u32 = $exponent;
            fn from_word(word: u64) -> Self {
                Self::from_bits(word as $word)
            }
            fn to_word(self) -> u64 {
                u64::from(self.to_bits())
            }
            fn is_nan(self) -> bool {
                self.is_nan()
            }
            fn results([a, b, c]: [Self; 3]) -> [Self; RESULTS] {
                [a + b, a - b, a * b, a * b + c, c - a * b, a / b, a.sqrt()]
            }
        }
    };
}
float!(f32, u32, 23, 8);
float!(f64, u64, 52, 11);

/// Triples of four kinds in turn: special values, any bits, those that tell a contraction, those
/// with subnormal operands and results.
fn samples<F: Float>() -> Vec<[F; 3]> {
    let mut random = Random(0x7468_616C_7765_6721);
    (0..SAMPLES)
        .map(|at| match at % 4 {
            0 => std::array::from_fn(|_| special(random.next())),
            1 => std::array::from_fn(|_| F::from_word(random.next())),
            2 => {
                // With c = -round(a * b), two roundings give zero and one gives the error.
                let bias = F::EXPONENT_BITS - 1;
                let near_one = (1u64 << bias) - 1;
                let (a, b) = (parts(&mut random, near_one), parts(&mut random, near_one));
                let [_, _, product, ..] = F::results([a, b, a]);
                let sign = 1u64 << (F::MANTISSA_BITS + F::EXPONENT_BITS);
                [a, b, F::from_word(product.to_word() ^ sign)]
            }
            _ => std::array::from_fn(|_| {
                let exponent = random.next() % 4;
                parts(&mut random, exponent)
            }),
        })
        .collect()
}

/// A positive float of this biased exponent and any mantissa.
fn parts<F: Float>(random: &mut Random, exponent: u64) -> F {
    let mantissa = random.next() & ((1 << F::MANTISSA_BITS) - 1);
    F::from_word((exponent << F::MANTISSA_BITS) | mantissa)
}

/// Zeros, ones, infinities, NaNs, the smallest and largest of their kinds, and neighbours of one.
fn special<F: Float>(random: u64) -> F {
    let one = ((1u64 << (F::EXPONENT_BITS - 1)) - 1) << F::MANTISSA_BITS;
    let infinity = ((1u64 << F::EXPONENT_BITS) - 1) << F::MANTISSA_BITS;
    let magnitudes = [
        0,
        1,
        (1 << F::MANTISSA_BITS) - 1,
        1 << F::MANTISSA_BITS,
        one - 1,
        one,
        one + 1,
        one + (1 << F::MANTISSA_BITS),
        infinity - 1,
        infinity,
        infinity | (1 << (F::MANTISSA_BITS - 1)),
    ];
    let sign = (random >> 32 & 1) << (F::MANTISSA_BITS + F::EXPONENT_BITS);
    F::from_word(magnitudes[random as u32 as usize % magnitudes.len()] | sign)
}

/// Steele, Lea and Flood's SplitMix64: the same samples on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers<F: Float>(faulty: impl Fn([F; 3], [F; RESULTS]) -> [F; RESULTS]) -> Vec<u32> {
        let results: Vec<[F; RESULTS]> =
            samples::<F>().into_iter().map(|sample| faulty(sample, F::results(sample))).collect();
        bytemuck::pod_collect_to_vec(&results)
    }

    /// Which operations are found exact when the device does this to the right results.
    fn found(faulty: impl Fn([f32; 3], [f32; RESULTS]) -> [f32; RESULTS]) -> ([bool; 3], bool) {
        let (exact, nan_bits) = compare(&samples::<f32>(), &answers(faulty));
        ([exact[..DIV].iter().all(|exact| *exact), exact[DIV], exact[SQRT]], nan_bits)
    }

    #[test]
    fn the_host_itself_is_exact() {
        assert_eq!(found(|_, right| right), ([true; 3], true));
        let (exact, _) = compare(&samples::<f64>(), &answers(|_: [f64; 3], right| right));
        assert_eq!(exact, [true; RESULTS]);
    }

    #[test]
    fn each_known_fault_is_seen() {
        let flush = |value: f32| if value.is_subnormal() { 0.0 } else { value };
        assert!(!found(|_, right| right.map(flush)).0[0]);
        let inputs = |operands: [f32; 3], _| f32::results(operands.map(flush));
        assert_eq!(found(inputs).0, [false; 3]);
        let fused = |[a, b, c]: [f32; 3], mut right: [f32; RESULTS]| {
            right[3] = a.mul_add(b, c);
            right
        };
        assert_eq!(found(fused).0, [false, true, true]);
        let reciprocal = |[a, b, _]: [f32; 3], mut right: [f32; RESULTS]| {
            right[DIV] = a * (1.0 / b);
            right
        };
        assert_eq!(found(reciprocal).0, [true, false, true]);
        let root = |[a, ..]: [f32; 3], mut right: [f32; RESULTS]| {
            right[SQRT] = f32::from_bits(a.sqrt().to_bits() | 1);
            right
        };
        assert_eq!(found(root).0, [true, true, false]);
        let nans = |_, right: [f32; RESULTS]| {
            right.map(|value| if value.is_nan() { f32::from_bits(0x7FFF_FFFF) } else { value })
        };
        assert_eq!(found(nans), ([true; 3], false));
    }

    #[test]
    fn no_answer_is_not_exact() {
        assert_eq!(compare(&samples::<f32>(), &[]), ([false; RESULTS], false));
    }
}
