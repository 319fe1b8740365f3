//! Every primitive's WGSL against its twin, on edges and random bits, on the lowest tier and on
//! the one with native 64-bit integers.

use std::collections::HashSet;
use std::fmt::Write;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::bits::{b32, s32};
use super::*;
use crate::device::{Player, Tier, testing};
use crate::error::DeviceError;
use crate::expr::ir::Rep;
use crate::expr::parts::parts;
use crate::record::{Access, Command};

/// Cases for each primitive.
const CASES: usize = 2048;
/// Primitives in one kernel: more of them make the driver's compiler slow.
const PRIMS_PER_KERNEL: usize = 24;
const WORDS_IN: usize = 12;
const WORDS_OUT: usize = 5;

/// Bits of a rep: an edge, a small number, few or many random bits.
fn bits(rep: Rep, rng: &mut ChaCha8Rng) -> u128 {
    let any: u128 = rng.random();
    let wide = 32 * rep.words() as u32;
    let mask = if rep == Rep::B1 { 1 } else { u128::MAX >> (128 - wide) };
    let top = 1_u128 << (wide - 1);
    let floats_32 = [0x7f80_0000, 0x7fc0_0000, 0x7fa0_0001, 0x3f80_0000, 0x4b80_0001, 0x3f00_0000];
    let floats_64 = [
        0x7ff0 << 48,
        0x7ff8 << 48,
        (0x7ff4 << 48) + 1,
        0x3ff0 << 48,
        (0x4340 << 48) + 1,
        0x3fe0 << 48,
        0x43e0 << 48,
        0x43f0 << 48,
        0x41e0 << 48,
        0x47f0 << 48,
        0x36a0 << 48,
    ];
    // Digits at their ends make a long division correct its guesses.
    let digits = [0, 1, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff];
    let value = match rng.random_range(0..10) {
        0 => *[0, 1, 2, 10, top, top - 1, top + 1, u128::MAX, u128::MAX - 1].choose(rng).unwrap(),
        1 => 10_u128.pow(rng.random_range(0..39)),
        2 => any % 100,
        3 => (any % 100).wrapping_neg(),
        4 => any >> rng.random_range(0..127),
        5 => (any >> rng.random_range(0..127)).wrapping_neg(),
        6 if rep == Rep::F32 => *floats_32.choose(rng).unwrap() | (any & 1) << 31,
        6 if rep == Rep::F64 => *floats_64.choose(rng).unwrap() | (any & 1) << 63,
        // Exponents near those of numbers in use.
        7 if rep == Rep::F64 => (any & !(0x3f0 << 52)) | 0x3f0 << 52,
        7 if rep == Rep::F32 => (any & !(0x60 << 23)) | 0x20 << 23,
        6 => 1 << rng.random_range(0..wide),
        8 => (0..8).fold(0, |bits, _| bits << 16 | digits.choose(rng).unwrap()),
        9 => (0..4).fold(0, |bits, _| {
            bits << 32 | [0, 1, 1 << 31, (1 << 31) - 1, (1 << 32) - 1].choose(rng).unwrap()
        }),
        _ => any,
    };
    value & mask
}

/// Arguments within the primitive's domain.
fn arguments(prim: &Prim, rng: &mut ChaCha8Rng) -> Vec<u128> {
    let mut args: Vec<u128> = prim.args.iter().map(|rep| bits(*rep, rng)).collect();
    if prim.name.starts_with("date_") {
        let days = match rng.random_range(0..3) {
            0 => rng.random_range(-96_465_292 + 20..95_026_236 - 20),
            _ => rng.random_range(-800_000..800_000),
        };
        args[0] = b32(days);
        if let Some(months) = args.get_mut(1) {
            *months = b32(rng.random_range(-1_000_000..1_000_000));
        }
    }
    if let [rep @ (Rep::F32 | Rep::F64), _] = prim.args
        && rng.random()
    {
        // Exponents about a fraction apart, fractions at their ends: what lies below the last bit
        // decides a tie.
        let (bits, exponent) = if *rep == Rep::F32 { (23, 100) } else { (52, 1000) };
        let far = exponent + bits + rng.random_range(0..4);
        for (arg, exponent) in args.iter_mut().zip([far, exponent]) {
            let last = (1_u128 << bits) - 1;
            let fraction = *[0, 1, 1 << (bits - 1), last, last - 1].choose(rng).unwrap();
            let sign = if rng.random() { 1 << (32 * rep.words() - 1) } else { 0 };
            *arg = sign | (exponent as u128) << bits | fraction;
        }
    }
    match prim.name {
        // Positive divisors.
        "floor_div_i64" | "floor_mod_i64" => args[1] = (args[1] & (u128::MAX >> 65)).max(1),
        "div_round_i128" => args[1] = 10_u128.pow(rng.random_range(1..39)),
        _ => {}
    }
    args
}

fn argument(index: usize, rep: Rep) -> String {
    let word = |word: usize| format!("inputs[base + {}u]", 4 * index + word);
    match rep {
        Rep::B1 => format!("({} != 0u)", word(0)),
        _ if rep.words() == 1 => word(0),
        _ => {
            let words: Vec<String> = (0..rep.words()).map(word).collect();
            format!("{}({})", rep.wgsl(), words.join(", "))
        }
    }
}

/// Kernel text that writes, for each primitive and case, the result's words and whether it fails.
fn body(prims: &[&Prim]) -> String {
    let end = prims.len() * CASES * WORDS_IN;
    let mut text = format!(
        "fn zeros() -> vec2<u32> {{ return vec2<u32>(inputs[{end}], inputs[{}]); }}\n",
        end + 1
    );
    text.push_str(
        "@group(0) @binding(0) var<storage, read> inputs: array<u32>;
@group(0) @binding(1) var<storage, read_write> outputs: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
",
    );
    for (at, prim) in prims.iter().enumerate() {
        let args: Vec<String> =
            prim.args.iter().enumerate().map(|(index, rep)| argument(index, *rep)).collect();
        let args = args.join(", ");
        let result = match prim.result {
            Rep::B1 => "select(0u, 1u, r)".to_owned(),
            rep if rep.words() == 1 => "r".to_owned(),
            _ => "r.x".to_owned(),
        };
        let _ = write!(
            text,
            "    {{
        let base = ({at}u * {CASES}u + row) * {WORDS_IN}u;
        let out = ({at}u * {CASES}u + row) * {WORDS_OUT}u;
        let r = {}({args});
        outputs[out] = {result};
",
            prim.name
        );
        for (word, name) in ["x", "y", "z", "w"].iter().enumerate().skip(1) {
            if word < prim.result.words() {
                let _ = writeln!(text, "        outputs[out + {word}u] = r.{name};");
            }
        }
        if let Some((test, ..)) = prim.fails {
            let _ = writeln!(text, "        outputs[out + 4u] = select(0u, 1u, {test}({args}));");
        }
        text.push_str("    }\n");
    }
    text.push_str("}\n");
    text
}

/// The words that the kernel of `prims` writes for `cases`.
async fn outputs(
    player: &dyn Player,
    tier: Tier,
    prims: &[&Prim],
    cases: &[Vec<u128>],
) -> Result<Vec<u32>, DeviceError> {
    let mut words = vec![0_u32; cases.len() * WORDS_IN + 2];
    for (case, args) in cases.iter().enumerate() {
        for (index, value) in args.iter().enumerate() {
            for word in 0..4 {
                words[case * WORDS_IN + index * 4 + word] = (value >> (32 * word)) as u32;
            }
        }
    }
    let mut text: String = parts(tier, true, true).iter().map(|(_, text)| *text).collect();
    text.push_str(&body(prims));
    let label = format!("primitives {tier:?} from {}", prims[0].name);
    let bindings = [Access::Read, Access::ReadWrite];
    let program = testing::program(&label, &text, &bindings, |_| Ok(()));
    let out_bytes = (cases.len() * WORDS_OUT * 4) as u64;
    let inputs = player.buffer(words.len() as u64 * 4, "inputs")?;
    let outputs = player.buffer(out_bytes, "outputs")?;
    let commands = vec![
        testing::upload(player, &inputs, 0, &words).await?,
        Command::Clear { buffer: outputs.clone(), range: 0..out_bytes },
        Command::Dispatch {
            program,
            bindings: vec![inputs, outputs.clone()],
            groups: (CASES / 64) as u32,
        },
        Command::Download { buffer: outputs, range: 0..out_bytes },
    ];
    let done = player.submit(testing::recording("prims", commands)).await?;
    Ok(done.downloads[0].to_vec())
}

fn is_nan(rep: Rep, bits: u128) -> bool {
    match rep {
        Rep::F32 => f32::from_bits(bits as u32).is_nan(),
        Rep::F64 => f64::from_bits(bits as u64).is_nan(),
        _ => false,
    }
}

/// What differs between the device and the twins, in words.
fn run(tier: Tier, prims: &[&'static Prim], seed: u64) -> Vec<String> {
    let Some(player) = testing::shared(Some(tier)) else { return Vec::new() };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let cases: Vec<Vec<u128>> = prims
        .iter()
        .flat_map(|prim| (0..CASES).map(|_| arguments(prim, &mut rng)).collect::<Vec<_>>())
        .collect();
    let outputs = pollster::block_on(outputs(player.as_ref(), tier, prims, &cases)).unwrap();
    let mut wrong = Vec::new();
    for (case, args) in cases.iter().enumerate() {
        let prim = prims[case / CASES];
        let out = &outputs[case * WORDS_OUT..];
        let device = (0..4).rev().fold(0_u128, |bits, word| bits << 32 | u128::from(out[word]));
        let fails = prim.fails.is_some_and(|(_, fails, _)| fails(args));
        let twin = (prim.eval)(args);
        // Which of two NaNs an operation hands on is the compiler's choice.
        let nans = args.iter().zip(prim.args).all(|(bits, rep)| is_nan(*rep, *bits));
        // What a failing conversion gives does not matter.
        let failed = fails && out[4] != 0 && prim.name.ends_with("_from_f64");
        if (args.len() == 2 && nans) || failed {
            continue;
        }
        let raised = out[4] != 0;
        if device != twin || fails != raised {
            let name = prim.name;
            wrong.push(format!(
                "{tier:?} {name}({args:x?}): device {device:x} {raised}, twin {twin:x} {fails}"
            ));
        }
    }
    wrong
}

fn unique() -> Vec<&'static Prim> {
    let mut seen = HashSet::new();
    all().into_iter().filter(|prim| seen.insert((prim.name, prim.fails.map(|f| f.0)))).collect()
}

fn check(tier: Tier) {
    let seed = 11;
    println!("seed {seed}");
    let mut prims = unique();
    if tier >= Tier::T4 {
        prims.extend(float::native::NATIVE_PRIMS);
    }
    for (chunk, prims) in prims.chunks(PRIMS_PER_KERNEL).enumerate() {
        let wrong = run(tier, prims, seed + chunk as u64);
        let names: Vec<&str> = prims.iter().map(|prim| prim.name).collect();
        assert!(
            wrong.is_empty(),
            "{} of {names:?}: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(12)]
        );
    }
}

#[test]
fn wgsl_equals_the_twins_on_t0() {
    check(Tier::T0);
}

#[test]
fn wgsl_equals_the_twins_on_t2() {
    check(Tier::T2);
}

#[test]
fn wgsl_equals_the_twins_on_t4() {
    check(Tier::T4);
}

/// A twin that is wrong in one bit is seen: the comparison above can fail.
#[test]
fn a_planted_fault_is_seen() {
    static WRONG: Prim = Prim {
        name: "add_32",
        args: &[Rep::I32, Rep::I32],
        result: Rep::I32,
        eval: |a| b32(s32(a[0]).wrapping_add(s32(a[1]))) ^ u128::from(a[0] == 1),
        fails: None,
    };
    if testing::shared(Some(Tier::T0)).is_some() {
        assert!(!run(Tier::T0, &[&WRONG], 5).is_empty());
    }
}

#[test]
fn results_have_no_bits_above_their_rep() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for prim in all() {
        for _ in 0..200 {
            let result = (prim.eval)(&arguments(prim, &mut rng));
            let width = if prim.result == Rep::B1 { 1 } else { 32 * prim.result.words() as u32 };
            assert!(width == 128 || result >> width == 0, "{}: {result:x}", prim.name);
        }
    }
}
