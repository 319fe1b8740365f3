//! How kernels look keys up, visit the rows that have them, and build the index, as WGSL.

use std::fmt::Write;

use super::super::arena::{
    HEADER, T_FIELDS_WORDS, T_FORM, T_MARKS, T_MATCHES, T_SEVERAL, T_SLOTS, T_SLOTS_AT,
};
use super::super::load::{Arena, load_named, words};
use super::super::spec::{JoinKind, Probe, Table};
use super::index::{Lookup, fields_at, may_be_wide};
use super::payload;
use crate::expr::ir::{Expr, Rep};

/// One value of a key, as texts.
struct Value {
    rep: Rep,
    value: String,
    /// `None` where it is never NULL.
    valid: Option<String>,
}

impl Value {
    /// The words that are hashed, NULL as zeros.
    fn hashed(&self) -> Vec<String> {
        let key = Expr::input(0, self.rep, false);
        let guarded = |word: String| match &self.valid {
            Some(valid) => format!("select(0u, {word}, {valid})"),
            None => word,
        };
        words(&key, &self.value).into_iter().map(guarded).collect()
    }
}

/// Statements that make `key` of some values; `at` is where the table's fields stand, `get` reads
/// a word of its arena. A value that no row of the build side has leaves by `outside`.
fn pack(
    values: &[Value],
    lookup: Lookup,
    may_be_wide: bool,
    at: usize,
    get: &dyn Fn(String) -> String,
    outside: &str,
) -> String {
    let mut packed = String::new();
    for (number, value) in values.iter().enumerate() {
        let field = at + T_FIELDS_WORDS * number;
        let word = |word: usize| get(format!("{}u", field + word));
        let pair = |low: usize| format!("vec2<u32>({}, {})", word(low), word(low + 1));
        let text = &value.value;
        let name = format!("d{number}");
        let digit = match value.rep {
            Rep::B1 => format!("Digit(vec2<u32>(select(0u, 1u, {text}), 0u), true)"),
            rep if rep.words() == 1 => format!("join_digit32({text}, {}, {})", word(0), word(2)),
            Rep::I128 => format!("join_digit({text}.xy, {}, {})", pair(0), pair(2)),
            _ => format!("join_digit({text}, {}, {})", pair(0), pair(2)),
        };
        let _ = writeln!(packed, "    var {name} = {digit};");
        if value.rep == Rep::I128 {
            let signs = format!("vec2<u32>(u32(i32({text}.y) >> 31u))");
            let _ = writeln!(packed, "    {name}.fits = {name}.fits && all({text}.zw == {signs});");
        }
        if lookup.null_equals_null {
            // 0 is NULL.
            let _ =
                writeln!(packed, "    {name}.value = acc_add64({name}.value, vec2<u32>(1u, 0u));");
            if let Some(valid) = &value.valid {
                let _ = writeln!(
                    packed,
                    "    if (!{valid}) {{\n        {name} = Digit(vec2<u32>(), true);\n    }}"
                );
            }
        }
        let _ = writeln!(packed, "    if (!{name}.fits) {{\n        {outside}\n    }}");
        let _ = writeln!(packed, "    key |= join_shift({name}.value, {});", word(4));
    }
    if !may_be_wide {
        return format!("    var key = vec2<u32>();\n{packed}");
    }
    let all = values.iter().flat_map(Value::hashed);
    let hash = all.fold("0u".to_string(), |hash, word| format!("hash_word({hash}, {word})"));
    let form = get(format!("{T_FORM}u"));
    format!(
        "    var key = vec2<u32>();\n    if (({form} & WIDE) != 0u) {{\n    key.x = \
         hash_end({hash});\n    }} else {{\n{packed}    }}\n"
    )
}

/// Parameters of the functions that take a probe's key, and their names.
fn key_parameters(probe: &Probe) -> (String, String) {
    let mut declared = Vec::new();
    let mut names = Vec::new();
    for (at, key) in probe.keys.iter().enumerate() {
        declared.push(format!("k{at}: {}, k{at}_ok: bool", key.rep.wgsl()));
        names.push(format!("k{at}, k{at}_ok"));
    }
    (declared.join(", "), names.join(", "))
}

/// `find{table}(keys) -> (first, count)`: the rows with the key, for `entry{table}`; of an index
/// for existence the count only. `entry{table}(i) -> row`.
pub fn find_functions(probe: &Probe, table: &Table, views: bool) -> String {
    let (t, lookup) = (probe.table, Lookup::of(probe));
    let value = |(at, key): (usize, &Expr)| {
        let valid =
            (key.nullable || table.columns[table.keys[at]].nullable).then(|| format!("k{at}_ok"));
        Value { rep: key.rep, value: format!("k{at}"), valid }
    };
    let values: Vec<Value> = probe.keys.iter().enumerate().map(value).collect();
    let wide = may_be_wide(table, lookup.null_equals_null);
    let get = |at: String| format!("t{t}[{at}]");
    let arena = Arena { name: &format!("t{t}"), views };
    let none = "return vec2<u32>();";
    let key = pack(&values, lookup, wide, fields_at(table), &get, none);
    let (declared, names) = key_parameters(probe);
    let [direct_words, words] = [true, false].map(|direct| payload::slot_words(table, direct));
    // Where the payload of the key starts.
    let beside = |slot: &str, words: usize, direct: bool| match table.payload.is_empty() {
        true => String::new(),
        false => {
            let skip = payload::key_words(direct);
            format!("slot{t} = at + {slot} * {words}u + {skip}u;\n            ")
        }
    };
    let direct = if lookup.existence {
        format!("return vec2<u32>(0u, (t{t}[at + (key.x >> 5u)] >> (key.x & 31u)) & 1u);")
    } else {
        let pair = arena.wide(2, "at", &format!("(key.x * {}u)", direct_words / 2));
        format!("{}return {pair};", beside("key.x", direct_words, true))
    };
    let pair =
        |number: usize| arena.wide(2, "at", &format!("(place * {}u + {number}u)", words / 2));
    let (rows, held, found) = (pair(0), pair(1), beside("place", words, false));
    let mut out = payload::load_functions(t, table, views);
    let (mut hash, mut same) = ("join_hash(key)".to_string(), "held.y == key.y".to_string());
    if wide {
        let form = format!("(t{t}[{T_FORM}u] & WIDE) != 0u");
        hash = format!("select({hash}, key.x, {form})");
        same = format!("select({same}, true, {form})");
        out.push_str(&equal_function(probe, table, &declared, views));
        let equal = format!("equal{t}(held.y, {names})");
        same = format!("{same} && (!({form}) || {equal})");
    }
    let _ = write!(
        out,
        "fn find{t}({declared}) -> vec2<u32> {{
{key}    let at = t{t}[{T_SLOTS_AT}u];
    if ((t{t}[{T_FORM}u] & DIRECT) != 0u) {{
        {direct}
    }}
    let mask = t{t}[{T_SLOTS}u] - 1u;
    var place = {hash} & mask;
    loop {{
        let rows = {rows};
        if (rows.y == 0u) {{
            return vec2<u32>();
        }}
        let held = {held};
        if (held.x == key.x && {same}) {{
            {found}return rows;
        }}
        place = (place + 1u) & mask;
    }}
    return vec2<u32>();
}}
"
    );
    out + &entry_function(t)
}

/// `entry{table}(i) -> row`: the row at a place among those of all keys.
fn entry_function(t: usize) -> String {
    format!(
        "fn entry{t}(i: u32) -> u32 {{
    if (t{t}[{T_SEVERAL}u] == 0u) {{
        return i - 1u;
    }}
    return t{t}[t{t}[{T_MATCHES}u] + i];
}}
"
    )
}

/// `equal{table}(row, keys) -> bool`, by the columns.
fn equal_function(probe: &Probe, table: &Table, declared: &str, views: bool) -> String {
    let t = probe.table;
    let mut out = format!("fn equal{t}(b: u32, {declared}) -> bool {{\n");
    for (at, column) in table.keys.iter().enumerate() {
        let spec = &table.columns[*column];
        let arena = Arena { name: &format!("t{t}"), views };
        let name = format!("key{at}");
        let text = load_named(&name, spec, arena, HEADER + 2 * column, "b", None, &mut out);
        let test = equal(spec.rep, (&name, &text.valid), (&format!("k{at}"), &format!("k{at}_ok")));
        let _ = writeln!(out, "    if (!{test}) {{\n        return false;\n    }}");
    }
    out.push_str("    return true;\n}\n");
    out
}

/// Whether two values, each with its validity, are the same, NULLs included.
fn equal(rep: Rep, a: (&str, &str), b: (&str, &str)) -> String {
    let values = match rep.words() {
        1 => format!("{} == {}", a.0, b.0),
        _ => format!("all({} == {})", a.0, b.0),
    };
    match (a.1, b.1) {
        ("true", "true") => format!("({values})"),
        (left, right) => format!("({left} == {right} && (!{left} || {values}))"),
    }
}

/// Whether a row of a table is marked: 1 or 0.
pub fn marked(table: usize, row: &str) -> String {
    let word = format!("atomicLoad(&marks[t{table}[{T_MARKS}u] + ({row} >> 5u)])");
    format!("(({word} >> ({row} & 31u)) & 1u)")
}

/// The loop over the rows with the key, from `m{table}`; true if it is left open. `residual` is the
/// call that tells whether such a row is a match.
pub fn visit(probe: &Probe, residual: Option<String>, skip: &str, out: &mut String) -> bool {
    let t = probe.table;
    let more = match probe.kind {
        // Once more where there was no match: then without a row.
        JoinKind::Right | JoinKind::Full => format!("j{t} < m{t}.y || !s{t}"),
        _ => format!("j{t} < m{t}.y"),
    };
    let start = format!(
        "    for (var j{t} = 0u; {more}; j{t}++) {{\n        trips++;\n        \
         if (trips > TRIPS_MAX) {{\n            overflow();\n            break;\n        }}\n"
    );
    let entry = format!("entry{t}(m{t}.x + j{t})");
    let row = format!("        let b{t} = {entry};\n");
    let mark = match probe.kind.marks() {
        true => format!("atomicOr(&marks[t{t}[{T_MARKS}u] + (b{t} >> 5u)], 1u << (b{t} & 31u));"),
        false => String::new(),
    };
    let unless = match &residual {
        Some(call) => format!("        if (!{call}) {{\n            continue;\n        }}\n"),
        None => String::new(),
    };
    match probe.kind {
        JoinKind::Inner | JoinKind::Left => {
            let _ = writeln!(out, "{start}{row}{unless}        {mark}");
            true
        }
        JoinKind::Right | JoinKind::Full => {
            let _ = writeln!(
                out,
                "    var s{t} = false;\n{start}        var b{t} = NIL;\n        \
                 if (j{t} < m{t}.y) {{\n        b{t} = {entry};\n\
                 {unless}        {mark}\n        }}\n        s{t} = true;"
            );
            true
        }
        JoinKind::RightSemi | JoinKind::RightAnti => {
            let test = if probe.kind == JoinKind::RightSemi { "!" } else { "" };
            let _ = writeln!(
                out,
                "    var s{t} = false;\n{start}{row}{unless}        s{t} = true;\n        \
                 break;\n    }}\n    if ({test}s{t}) {{\n        {skip};\n    }}"
            );
            false
        }
        JoinKind::LeftSemi | JoinKind::LeftAnti => {
            // Without a residual, whoever marks the first row marks them all.
            let first = match residual {
                Some(_) => String::new(),
                None => {
                    let marked = marked(t, &format!("b{t}"));
                    format!(
                        "        if (j{t} == 0u && {marked} != 0u) {{\n            \
                         break;\n        }}\n"
                    )
                }
            };
            let _ = writeln!(out, "{start}{row}{first}{unless}        {mark}\n    }}");
            false
        }
    }
}

/// The words of slots, `put_payload`, `row_key`, `row_valid` and `same_key` of the kernel that
/// builds a table.
pub fn build_part(table: &Table, lookup: Lookup, views: bool) -> String {
    let get = |at: String| format!("table[{at}]");
    let arena = Arena { name: "table", views };
    // The key columns at a row, loaded into names with a prefix.
    let load = |prefix: &str, row: &str, out: &mut String| -> Vec<Value> {
        let keys = table.keys.iter().enumerate();
        let value = |(at, column): (usize, &usize)| {
            let spec = &table.columns[*column];
            let name = format!("{prefix}{at}");
            let text = load_named(&name, spec, arena, HEADER + 2 * column, row, None, out);
            let valid = (text.valid != "true").then_some(text.valid);
            Value { rep: spec.rep, value: name, valid }
        };
        keys.map(value).collect()
    };
    let (mut own, mut valid, mut both) = (String::new(), String::new(), String::new());
    let values = load("k", "row", &mut own);
    let wide = may_be_wide(table, lookup.null_equals_null);
    let outside = "return vec2<u32>();";
    let key = pack(&values, lookup, wide, fields_at(table), &get, outside);
    let usable: Vec<String> = match lookup.null_equals_null {
        true => Vec::new(),
        false => load("k", "row", &mut valid).into_iter().filter_map(|value| value.valid).collect(),
    };
    let usable = if usable.is_empty() { "true".into() } else { usable.join(" && ") };
    let (left, right) = (load("a", "row", &mut both), load("b", "other", &mut both));
    let valid_of = |value: &Value| value.valid.clone().unwrap_or_else(|| "true".into());
    let tests: Vec<String> = left
        .iter()
        .zip(&right)
        .map(|(a, b)| equal(a.rep, (&a.value, &valid_of(a)), (&b.value, &valid_of(b))))
        .collect();
    let same = if tests.is_empty() { "true".into() } else { tests.join(" && ") };
    let [direct_words, words] = [true, false].map(|direct| payload::slot_words(table, direct));
    let put = payload::put_function(table, arena);
    format!(
        "const DIRECT_WORDS: u32 = {direct_words}u;\nconst HASHED_WORDS: u32 = {words}u;\n{put}\
         fn row_key(row: u32) -> vec2<u32> {{\n{own}{key}    return key;\n}}\n\
         fn row_valid(row: u32) -> bool {{\n{valid}    return {usable};\n}}\n\
         fn same_key(row: u32, other: u32) -> bool {{\n{both}    return {same};\n}}\n"
    )
}
