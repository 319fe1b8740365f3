//! Accumulators as WGSL: private ones for `reduce`, atomic ones in rounds for the group kernels.

use std::fmt::Write;

use super::spec::{Aggregation, Fold};
use super::text::{both, words};
use crate::agg::Acc;
use crate::expr::ir::Expr;
use crate::expr::prim::ordered;
use crate::expr::wgsl::{Emitter, Text};

/// Rounds of a grouped aggregation after the one that installs keys: a wide maximum needs one per
/// word, a float sum one for the top bin and one for the slices.
pub fn rounds(aggregation: &Aggregation) -> u32 {
    let of = |fold: &Fold| match fold.acc {
        Acc::Best { rep, .. } => rep.words() as u32,
        Acc::FloatSum => 2,
        _ => 1,
    };
    aggregation.folds.iter().map(of).max().unwrap_or(1)
}

/// Words of shadow state an accumulator needs to settle between rounds.
fn shadow_words(acc: Acc) -> usize {
    match acc {
        Acc::Best { rep, .. } => rep.words() - 1,
        Acc::FloatSum => 1,
        _ => 0,
    }
}

/// Words of shadow of all accumulators; they follow the states in an entry.
pub fn shadows(aggregation: &Aggregation) -> usize {
    aggregation.folds.iter().map(|fold| shadow_words(fold.acc)).sum()
}

/// Each fold with the offsets of its state and of its shadow within an entry's states.
fn placed(aggregation: &Aggregation) -> impl Iterator<Item = (&Fold, usize, usize)> {
    let mut state = 0;
    let mut shadow = aggregation.words();
    aggregation.folds.iter().map(move |fold| {
        let at = (fold, state, shadow);
        state += fold.acc.words();
        shadow += shadow_words(fold.acc);
        at
    })
}

/// Emits a fold's argument: its value, and the condition under which it counts.
fn argument(fold: &Fold, emitter: &mut Emitter<'_>) -> (Option<Expr>, Text) {
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
fn candidate(arg: &Expr, value: &str, max: bool) -> Vec<String> {
    let words = words(arg, value);
    if max { words } else { words.into_iter().map(|word| format!("(~{word})")).collect() }
}

fn vector(words: &[String]) -> String {
    match words.len() {
        1 => words[0].clone(),
        n => format!("vec{n}<u32>({})", words.join(", ")),
    }
}

// ---------------------------------------------------------------------------------- reduce

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
    for (at, (fold, state, _)) in placed(aggregation).enumerate() {
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

// ---------------------------------------------------------------------------------- groups

/// Statements of one round that fold a row into the states at `{table}[s ..]`. `tab[g ..]` is the
/// same entry's settled state in device memory (the same one, if `table` is `tab`).
pub fn round_update(aggregation: &Aggregation, round: u32, table: &str, emitter: &mut Emitter<'_>) {
    for (fold, state, _) in placed(aggregation) {
        let last = match fold.acc {
            Acc::Best { rep, .. } => rep.words() as u32,
            Acc::FloatSum => 2,
            _ => 1,
        };
        if round > last {
            continue;
        }
        let (arg, text) = argument(fold, emitter);
        let value = &text.value;
        let update = match fold.acc {
            Acc::Count => format!("{table}_add64(s + {state}u, vec2<u32>(1u, 0u));"),
            Acc::Sum64 => {
                format!("{table}_add64(s + {state}u, {value}); {table}_or(s + {}u, 1u);", state + 2)
            }
            Acc::Sum128 => format!(
                "{table}_add128(s + {state}u, {value}); {table}_or(s + {}u, 1u);",
                state + 4
            ),
            Acc::Sum160 => format!(
                "let v = {value}; {table}_add160(s + {state}u, v, acc_sign(v)); \
                 {table}_or(s + {}u, 1u);",
                state + 5
            ),
            Acc::Bools => format!("{table}_or(s + {state}u, select(2u, 1u, {value}));"),
            Acc::FloatSum if round == 1 => format!(
                "let f = float_slices({value}); {table}_or(s + {state}u, f.flags | 1u); \
                 {table}_max(s + {}u, f.top);",
                state + 1
            ),
            Acc::FloatSum => float_round(state, table, value),
            Acc::Best { max, .. } => {
                let Some(arg) = &arg else { continue };
                best_round(&candidate(arg, value, max), state, round, table)
            }
        };
        let line = match text.valid.as_str() {
            "true" => format!("    {{ {update} }}\n"),
            valid => format!("    if ({valid}) {{ {update} }}\n"),
        };
        emitter.text.push_str(&line);
    }
}

fn float_round(state: usize, table: &str, value: &str) -> String {
    let mut text = format!(
        "let f = float_slices({value}); let d = tab_get(g + {}u) - f.top; if (f.top != 0u) {{ ",
        state + 1
    );
    for (bin, slice) in ["s0", "s1", "s2"].iter().enumerate() {
        let _ = write!(
            text,
            "if (d + {bin}u < 3u) {{ {table}_add64(s + {}u + 2u * (d + {bin}u), \
             bins_signed(f.{slice}, f.neg)); }} ",
            state + 2
        );
    }
    text.push('}');
    text
}

fn best_round(words: &[String], state: usize, round: u32, table: &str) -> String {
    let word = words.len() - round as usize;
    let mut tests = Vec::new();
    for (above, value) in words.iter().enumerate().skip(word + 1) {
        tests.push(format!("tab_get(g + {}u) == {value}", state + above));
    }
    let raise = format!("{table}_max(s + {}u, {});", state + word, words[word]);
    if round == 1 {
        return format!("{raise} {table}_or(s + {}u, 1u);", state + words.len());
    }
    format!("if ({}) {{ {raise} }}", tests.join(" && "))
}

/// `merge(from, to)`: adds what a round put into a workgroup's entry to the one in device memory.
pub fn round_merge(aggregation: &Aggregation, round: u32) -> String {
    let mut out = String::from("fn merge(from_at: u32, to: u32) {\n");
    let add64 = |out: &mut String, at: usize| {
        let _ = writeln!(
            out,
            "    tab_add64(to + {at}u, vec2<u32>(loc_get(from_at + {at}u), \
             loc_get(from_at + {}u)));",
            at + 1
        );
    };
    let simple = |out: &mut String, how: &str, at: usize| {
        let _ = writeln!(out, "    tab_{how}(to + {at}u, loc_get(from_at + {at}u));");
    };
    for (fold, state, _) in placed(aggregation) {
        match (fold.acc, round) {
            (Acc::Count, 1) => add64(&mut out, state),
            (Acc::Sum64, 1) => {
                add64(&mut out, state);
                simple(&mut out, "or", state + 2);
            }
            (Acc::Sum128, 1) => {
                let get = |i: usize| format!("loc_get(from_at + {}u)", state + i);
                let all = [get(0), get(1), get(2), get(3)].join(", ");
                let _ = writeln!(out, "    tab_add128(to + {state}u, vec4<u32>({all}));");
                simple(&mut out, "or", state + 4);
            }
            (Acc::Sum160, 1) => {
                let get = |i: usize| format!("loc_get(from_at + {}u)", state + i);
                let (all, high) = ([get(0), get(1), get(2), get(3)].join(", "), get(4));
                let _ = writeln!(out, "    tab_add160(to + {state}u, vec4<u32>({all}), {high});");
                simple(&mut out, "or", state + 5);
            }
            (Acc::Bools, 1) => simple(&mut out, "or", state),
            (Acc::FloatSum, 1) => {
                simple(&mut out, "or", state);
                simple(&mut out, "max", state + 1);
            }
            (Acc::FloatSum, 2) => (0..3).for_each(|bin| add64(&mut out, state + 2 + 2 * bin)),
            (Acc::Best { rep, .. }, round) if round as usize <= rep.words() => {
                simple(&mut out, "max", state + rep.words() - round as usize);
                if round == 1 {
                    simple(&mut out, "or", state + rep.words());
                }
            }
            _ => {}
        }
    }
    out.push_str("}\n");
    out
}

/// `settle(s)`: after `round`, drops what was kept relative to a leading word that has risen.
/// `None` where no accumulator has anything to settle then.
pub fn settle(aggregation: &Aggregation, round: u32) -> Option<String> {
    let mut out = String::new();
    for (fold, state, shadow) in placed(aggregation) {
        match fold.acc {
            Acc::Best { rep, .. } if (round as usize) < rep.words() => {
                let word = rep.words() - round as usize;
                let (at, kept) = (state + word, shadow + word - 1);
                let _ = writeln!(out, "    if (tab_get(s + {at}u) != tab_get(s + {kept}u)) {{");
                for below in 0..word {
                    let _ = writeln!(out, "        atomicStore(&tab[s + {}u], 0u);", state + below);
                }
                let _ = writeln!(
                    out,
                    "        atomicStore(&tab[s + {kept}u], tab_get(s + {at}u));\n    }}"
                );
            }
            Acc::FloatSum if round == 1 => {
                let (top, bins) = (state + 1, state + 2);
                let _ = writeln!(
                    out,
                    "    if (tab_get(s + {top}u) != tab_get(s + {shadow}u)) {{\n        \
                     tab_shift_bins(s + {bins}u, tab_get(s + {top}u) - tab_get(s + {shadow}u));\n"
                );
                let _ = writeln!(
                    out,
                    "        atomicStore(&tab[s + {shadow}u], tab_get(s + {top}u));\n    }}"
                );
            }
            _ => {}
        }
    }
    (!out.is_empty()).then(|| format!("fn settle(s: u32) {{\n{out}}}\n"))
}
