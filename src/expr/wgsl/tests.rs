//! The emitted text, run on the device, against the twin: values, NULLs and faults of whole
//! expressions; and what the text looks like.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use super::*;
use crate::device::{Player, Tier, testing};
use crate::expr::eval::{Env, eval};
use crate::expr::parts::{float_use, parts};
use crate::expr::tests::{Bench, Interner, Row};
use crate::record::{Access, Command, Program};

const ROWS: usize = 192;
/// Four words of value, one of validity.
const INPUT_WORDS: usize = 5;
/// Four words of value, validity, faults.
const OUTPUT_WORDS: usize = 6;

const FRAME: &str = "
@group(0) @binding(0) var<storage, read> inputs: array<u32>;
@group(0) @binding(1) var<storage, read> entries: array<u32>;
@group(0) @binding(2) var<storage, read_write> outputs: array<u32>;
var<private> faults: u32;
fn raise(code: u32) { faults |= 1u << code; }
fn zeros() -> vec2<u32> { return vec2<u32>(entries[320], entries[321]); }
fn parameter(word: u32) -> u32 { return entries[322u + word]; }
fn lookup_word(table: u32, code: u32, word: u32) -> u32 {
    return entries[(table * 16u + code) * 5u + word];
}
";

fn load(rep: Rep, at: usize) -> String {
    let word = |word: usize| format!("inputs[row * STRIDE + {}u]", at * INPUT_WORDS + word);
    match rep {
        Rep::B1 => format!("{} != 0u", word(0)),
        _ if rep.words() == 1 => word(0),
        _ => {
            let words: Vec<String> = (0..rep.words()).map(word).collect();
            format!("{}({})", rep.wgsl(), words.join(", "))
        }
    }
}

fn inputs_of(expr: &Expr) -> Vec<(usize, Rep)> {
    let mut found = BTreeSet::new();
    expr.walk(&mut |node| {
        if let Kind::Input(index) = node.kind {
            found.insert((index, node.rep.words(), node.rep == Rep::B1));
        }
    });
    let rep = |(index, words, bool)| match (words, bool) {
        (_, true) => (index, Rep::B1),
        (1, _) => (index, Rep::U32),
        (2, _) => (index, Rep::U64),
        _ => (index, Rep::I128),
    };
    found.into_iter().map(rep).collect()
}

fn statements(expr: &Expr, inputs: &[(usize, Rep)]) -> (String, Text) {
    let mut load_input = |index: usize, text: &mut String| {
        let at = inputs.iter().position(|(input, _)| *input == index).unwrap();
        let _ = writeln!(text, "let c{index} = {};", load(inputs[at].1, at));
        let valid = at * INPUT_WORDS + 4;
        let _ = writeln!(text, "let c{index}_valid = inputs[row * STRIDE + {valid}u] != 0u;");
        Text { value: format!("c{index}"), valid: format!("c{index}_valid") }
    };
    let parameters = Parameters::of([expr]);
    let mut emitter = Emitter::new("", &parameters, &mut load_input);
    let text = emitter.emit(expr, "row_is_kept");
    (emitter.text, text)
}

fn kernel(expr: &Expr, inputs: &[(usize, Rep)]) -> String {
    let (text, result) = statements(expr, inputs);
    let words: Vec<String> = match expr.rep {
        Rep::B1 => vec![format!("select(0u, 1u, {})", result.value)],
        rep if rep.words() == 1 => vec![result.value],
        rep => (0..rep.words()).map(|word| format!("({})[{word}]", result.value)).collect(),
    };
    let mut body = FRAME.replace("STRIDE", "1u");
    let stride = inputs.len() * INPUT_WORDS;
    let _ = writeln!(body, "const STRIDE: u32 = {stride}u;");
    body.push_str(
        "@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    let row_is_kept = row % 16u != 5u;
",
    );
    for line in text.lines() {
        let _ = writeln!(body, "    {line}");
    }
    for (at, word) in words.iter().enumerate() {
        let _ = writeln!(body, "    outputs[row * {OUTPUT_WORDS}u + {at}u] = {word};");
    }
    let _ = writeln!(
        body,
        "    outputs[row * {OUTPUT_WORDS}u + 4u] = select(0u, 1u, {});
    outputs[row * {OUTPUT_WORDS}u + 5u] = faults;
}}",
        result.valid
    );
    body
}

/// The words of the rows' inputs and of the lookup tables: 16 codes for each of up to 4 tables,
/// five words each; then `zeros()` and the parameters.
fn words(expr: &Expr, inputs: &[(usize, Rep)], rows: &[Row<'_>]) -> (Vec<u32>, Vec<u32>) {
    let (mut words, mut entries) = (Vec::new(), vec![0_u32; 4 * 16 * 5 + 2]);
    let mut lookups = Vec::new();
    expr.walk(&mut |node| {
        if let Kind::Lookup { table, code } = &node.kind {
            lookups.push((*table, Arc::clone(code), node.rep.words()));
        }
    });
    for row in rows {
        for (index, _) in inputs {
            let value = row.input(*index);
            let bits = value.unwrap_or(u128::MAX);
            words.extend((0..4).map(|word| (bits >> (32 * word)) as u32));
            words.push(u32::from(value.is_some()));
        }
        for (table, code, width) in &lookups {
            let code = eval(code, row, &mut 0).unwrap_or(0) as u32;
            let entry = row.lookup(*table, code);
            let at = (table * 16 + code as usize) * 5;
            for word in 0..*width {
                entries[at + word] = (entry.value >> (32 * word)) as u32;
            }
            entries[at + width] = u32::from(entry.valid) | u32::from(entry.failed) << 1;
        }
    }
    entries.extend(Parameters::of([expr]).words());
    (words, entries)
}

/// Runs a kernel over the rows.
async fn run(
    player: &dyn Player,
    program: Arc<Program>,
    words: &[u32],
    entries: &[u32],
) -> Vec<u32> {
    let out_bytes = (ROWS * OUTPUT_WORDS * 4) as u64;
    let label = program.label.clone();
    let buffer = |bytes: u64, what: &str| player.buffer(bytes, what).unwrap();
    let input = buffer((words.len() as u64 * 4).max(16), "inputs");
    let table = buffer(entries.len() as u64 * 4, "entries");
    let output = buffer(out_bytes, "outputs");
    let mut commands = Vec::new();
    if !words.is_empty() {
        commands.push(testing::upload(player, &input, 0, words).await.unwrap());
    }
    commands.push(testing::upload(player, &table, 0, entries).await.unwrap());
    commands.push(Command::Clear { buffer: output.clone(), range: 0..out_bytes });
    commands.push(Command::Dispatch {
        program,
        bindings: vec![input, table, output.clone()],
        groups: (ROWS / 64) as u32,
    });
    commands.push(Command::Download { buffer: output, range: 0..out_bytes });
    let done = player.submit(testing::recording("expression", commands)).await;
    done.unwrap_or_else(|error| panic!("{label}: {error}")).downloads[0].to_vec()
}

fn check(bench: &Bench, tier: Tier, sql: &str) {
    let Some(player) = testing::shared(Some(tier)) else { return };
    let (expr, scope) = bench.lower(sql);
    let strings = Interner::default();
    let rows = bench.rows(&scope, &strings);
    let inputs = inputs_of(&expr);
    let (words, entries) = words(&expr, &inputs, &rows);
    let body = kernel(&expr, &inputs);
    let (f32, f64) = float_use([&expr]);
    let mut text: String = parts(tier, f32, f64).iter().map(|(_, text)| *text).collect();
    text.push_str(&body);
    let bindings = [Access::Read, Access::Read, Access::ReadWrite];
    let program = testing::program(sql, &text, &bindings, |_| Ok(()));
    let outputs = pollster::block_on(run(player.as_ref(), program, &words, &entries));
    for (at, row) in rows.iter().enumerate() {
        let out = &outputs[at * OUTPUT_WORDS..][..OUTPUT_WORDS];
        let mut faults = 0;
        let value = eval(&expr, row, &mut faults);
        if at % 16 == 5 {
            assert_eq!(out[5], 0, "{sql}: row {at} raised outside the guard\n{body}");
        } else {
            assert_eq!(out[5], faults, "{sql}: faults of row {at}\n{body}");
        }
        if faults != 0 {
            continue;
        }
        assert_eq!(out[4] != 0, value.is_some(), "{sql}: validity of row {at}\n{body}");
        let device = (0..4).rev().fold(0_u128, |bits, word| bits << 32 | u128::from(out[word]));
        if let Some(value) = value {
            assert_eq!(device, value, "{sql}: row {at}: {device:x} for {value:x}\n{body}");
        }
    }
}

const EXPRESSIONS: [&str; 28] = [
    "f64 * (1 - f64b) + i32",
    "f32 / f32b",
    "round(f64, 2)",
    "cast(d15 as double) / 3.0",
    "d15 * (1 - d15b) * (1 + n_d15)",
    "date >= date '1994-01-01' and date < date '1995-01-01' and d15 between 0.05 and 0.07",
    "case when s like 'PROMO%' then d15 * (1 - d15b) else 0 end",
    "s in ('MAIL', 'SHIP') and date < dateb and dateb > date '1994-01-01'",
    "extract(year from date)",
    "b and (i32 / i32b > 0)",
    "b or (i32 / i32b > 0)",
    "not b or b2 is null",
    "case when i32 = 0 then 0 when b then 7 / i8 else 100 / i32 end",
    "case i32 when 1 then d15 when 2 then d15b else 0.5 end",
    "coalesce(i32, 100 / i32b)",
    "i32 in (1, 2, 3, null) or u8 in (7, 8)",
    "i64 is distinct from i64b",
    "f64 <= f64b and f32 <> f32b",
    "cast(s as int) + i32",
    "cast(d38 as decimal(20, 2))",
    "try_cast(i64 as smallint)",
    "d38 / d15",
    "i64 % i64b",
    "date_trunc('quarter', tms)",
    "tns - interval '1 month 3 days'",
    "upper(s2)",
    "length(s) > 4 and cast(s as int) > 0",
    "greatest(i64, i64b, n_i64)",
];

fn all_expressions(tier: Tier) {
    let mut bench = Bench::new(ROWS, 21);
    if let Some(player) = testing::shared(Some(tier)) {
        bench.floats = player.capabilities().floats;
    }
    for sql in EXPRESSIONS {
        check(&bench, tier, sql);
    }
}

#[test]
fn expressions_on_t0() {
    all_expressions(Tier::T0);
}

#[test]
fn expressions_on_t2() {
    all_expressions(Tier::T2);
}

#[test]
fn expressions_on_t4() {
    all_expressions(Tier::T4);
}

#[test]
fn text_is_readable() {
    let bench = Bench::new(1, 1);
    let text = |sql: &str| {
        let (expr, _) = bench.lower(sql);
        let mut input = |index: usize, _: &mut String| Text {
            value: format!("c{index}"),
            valid: format!("c{index}_valid"),
        };
        let parameters = Parameters::of([&expr]);
        let mut emitter = Emitter::new("k", &parameters, &mut input);
        let result = emitter.emit(&expr, "keep");
        format!("{}{} if {}", emitter.text, result.value, result.valid)
    };
    assert_eq!(
        text("n_i64 * n_i64 + 1 > 0"),
        "let kv0 = vec2<u32>(parameter(0u), parameter(1u));\n\
         let kv1 = mul_64(c36, c36);\n\
         let kv2 = vec2<u32>(parameter(2u), parameter(3u));\n\
         let kv3 = add_64(kv1, kv2);\n\
         let kv4 = lt_i64(kv0, kv3);\n\
         kv4 if true"
    );
    assert_eq!(
        text("b and i32 / i32b = 2"),
        "let kv0 = keep && (c16 || !c16_valid);\n\
         let kv1 = c3_valid && c4_valid;\n\
         let kv2 = divisor_32(c3, c4);\n\
         if (kv0 && kv1 && divisor_32_fails(c3, c4)) { raise(0u); }\n\
         let kv3 = c3_valid && kv1;\n\
         let kv4 = div_i32(c3, kv2);\n\
         if (kv0 && kv3 && div_i32_fails(c3, kv2)) { raise(1u); }\n\
         let kv5 = parameter(0u);\n\
         let kv6 = eq_32(kv4, kv5);\n\
         let kv7 = c16 && kv6;\n\
         let kv8 = (c16_valid && kv3) || (c16_valid && !c16) || (kv3 && !kv6);\n\
         kv7 if kv8"
    );
    assert_eq!(
        text("case when b then n_d15 else 0 end"),
        "let kv0 = c16_valid && c16;\n\
         let kv1 = vec4<u32>(parameter(0u), parameter(1u), parameter(2u), parameter(3u));\n\
         let kv2 = select(kv1, c37, kv0);\n\
         kv2 if true"
    );
    // Other constants are other parameters of the same text, equal ones too.
    let same = [
        ["i32 * 3 + i32b * 4 > 5", "i32 * 7 + i32b * 7 > 0"],
        ["i32 in (1, 2) or f64 < 0.5", "i32 in (9, 8) or f64 < -0.0"],
        ["i64 / 7 + i64 % 8", "i64 / 100 + i64 % 1"],
        ["tns + interval '2 days'", "tns + interval '30 days'"],
        ["date < date '1994-01-01'", "date < date '1970-01-01'"],
    ];
    for [one, other] in same {
        assert_eq!(text(one), text(other));
    }
    // A node that is lowered for each branch is computed once.
    let branches = text("case i32 % 10 when 1 then 2 when 3 then 4 end");
    assert_eq!(branches.matches("rem_i64(").count(), 1, "{branches}");
}
