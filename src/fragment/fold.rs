//! Accumulators in registers, as WGSL: what `reduce` folds rows into.

use std::fmt::Write;

use super::load::{both, words};
use super::spec::{Aggregation, Fold};
use crate::agg::Acc;
use crate::expr::ir::Expr;
use crate::expr::prim::ordered;
use crate::expr::wgsl::{Emitter, Text};

/// Each fold with the offset of its state.
fn placed(aggregation: &Aggregation) -> impl Iterator<Item = (&Fold, usize)> {
    let mut state = 0;
    aggregation.folds.iter().map(move |fold| {
        let at = (fold, state);
        state += fold.acc.words();
        at
    })
}

/// Emits a fold's argument: its value, and the condition under which it counts.
pub(super) fn argument(fold: &Fold, emitter: &mut Emitter<'_>) -> (Option<Expr>, Text) {
    let mut conditions = Vec::new();
    let mut guard = "true".to_string();
    if let Some(filter) = &fold.filter {
        let text = emitter.emit(filter, "true");
        guard = both(&text);
        conditions.push(guard.clone());
    }
    let Some(arg) = &fold.arg else {
        let valid = if conditions.is_empty() { "true".into() } else { guard };
        return (None, Text { value: String::new(), valid });
    };
    let arg = match fold.acc {
        Acc::Best { rep, .. } => Expr::call(ordered(rep), vec![arg.clone()]),
        _ => arg.clone(),
    };
    let text = emitter.emit(&arg, &guard);
    if text.valid != "true" {
        conditions.push(text.valid);
    }
    let valid = if conditions.is_empty() { "true".into() } else { conditions.join(" && ") };
    (Some(arg), Text { value: text.value, valid })
}

/// The words of a maximum's candidate, low first; a minimum is the maximum of the complement.
pub(super) fn candidate(arg: &Expr, value: &str, max: bool) -> Vec<String> {
    let words = words(arg, value);
    if max { words } else { words.into_iter().map(|word| format!("(~{word})")).collect() }
}

pub(super) fn vector(words: &[String]) -> String {
    match words.len() {
        1 => words[0].clone(),
        n => format!("vec{n}<u32>({})", words.join(", ")),
    }
}

/// Module-scope registers of all accumulators.
pub fn private_state(aggregation: &Aggregation) -> String {
    let mut out = String::new();
    for (at, fold) in aggregation.folds.iter().enumerate() {
        let ty = match fold.acc {
            Acc::Count | Acc::Bools => "u32",
            Acc::Sum64 => "vec2<u32>",
            Acc::Sum128 | Acc::Sum160 => "vec4<u32>",
            Acc::Best { rep, .. } => match rep.words() {
                1 => "u32",
                2 => "vec2<u32>",
                _ => "vec4<u32>",
            },
            Acc::FloatSum => "FloatBins",
        };
        let _ = writeln!(out, "var<private> a{at}: {ty};\nvar<private> a{at}_seen: u32;");
        if fold.acc == Acc::Sum160 {
            let _ = writeln!(out, "var<private> a{at}_high: u32;");
        }
    }
    out
}

/// Statements that fold one row into the registers.
pub fn private_update(aggregation: &Aggregation, emitter: &mut Emitter<'_>) {
    for (at, fold) in aggregation.folds.iter().enumerate() {
        let (arg, text) = argument(fold, emitter);
        let value = &text.value;
        let update = match fold.acc {
            Acc::Count => format!("a{at} += 1u;"),
            Acc::Sum64 => format!("a{at} = acc_add64(a{at}, {value}); a{at}_seen = 1u;"),
            Acc::Sum128 => format!("a{at} = acc_add128(a{at}, {value}); a{at}_seen = 1u;"),
            Acc::Sum160 => format!(
                "let v{at} = {value}; a{at} = acc_add128(a{at}, v{at}); \
                 a{at}_high += acc_sign(v{at}) + select(0u, 1u, acc_less128(a{at}, v{at})); \
                 a{at}_seen = 1u;"
            ),
            Acc::Bools => format!("a{at} |= select(2u, 1u, {value});"),
            Acc::FloatSum => format!("a{at} = bins_add(a{at}, float_slices({value}));"),
            Acc::Best { rep, max } => {
                let Some(arg) = &arg else { continue };
                let new = vector(&candidate(arg, value, max));
                let less = match rep.words() {
                    1 => format!("a{at} < {new}"),
                    2 => format!("acc_less64(a{at}, {new})"),
                    _ => format!("acc_less128(a{at}, {new})"),
                };
                format!("if ({less}) {{ a{at} = {new}; }} a{at}_seen = 1u;")
            }
        };
        let line = match text.valid.as_str() {
            "true" => format!("    {{ {update} }}\n"),
            valid => format!("    if ({valid}) {{ {update} }}\n"),
        };
        emitter.text.push_str(&line);
    }
}

/// `fold()`: merges the registers into the workgroup's table.
pub fn private_fold(aggregation: &Aggregation) -> String {
    let mut out = String::from("fn fold() {\n");
    for (at, (fold, state)) in placed(aggregation).enumerate() {
        let a = format!("a{at}");
        match fold.acc {
            Acc::Count => {
                let _ = writeln!(out, "    loc_add64({state}u, vec2<u32>({a}, 0u));");
            }
            Acc::Sum64 => {
                let _ = writeln!(out, "    loc_add64({state}u, {a});");
                let _ = writeln!(out, "    loc_or({}u, {a}_seen);", state + 2);
            }
            Acc::Sum128 => {
                let _ = writeln!(out, "    loc_add128({state}u, {a});");
                let _ = writeln!(out, "    loc_or({}u, {a}_seen);", state + 4);
            }
            Acc::Sum160 => {
                let _ = writeln!(out, "    loc_add160({state}u, {a}, {a}_high);");
                let _ = writeln!(out, "    loc_or({}u, {a}_seen);", state + 5);
            }
            Acc::Bools => {
                let _ = writeln!(out, "    loc_or({state}u, {a});");
            }
            Acc::Best { rep, .. } => fold_best(&a, state, rep.words(), &mut out),
            Acc::FloatSum => {
                let _ = writeln!(out, "    loc_or({state}u, {a}.flags);");
                let _ =
                    writeln!(out, "    loc_max({}u, {a}.top);\n    workgroupBarrier();", state + 1);
                let _ = writeln!(out, "    {{");
                let _ = writeln!(out, "        let d = loc_get({}u) - {a}.top;", state + 1);
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
        }
    }
    out.push_str("}\n");
    out
}

fn fold_best(a: &str, state: usize, words: usize, out: &mut String) {
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
