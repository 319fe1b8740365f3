//! Columns of a build side that stand beside the keys in its index: a row that finds its key there
//! reads nothing else.
//!
//! They are all columns that the probing pipeline reads of it, where these are few words. Where
//! some key has several rows, only one of them is beside the key, and all are read by their
//! columns; and so is which values are NULL, of a column that has any.

use std::fmt::Write;

use super::super::arena::{HEADER, T_SEVERAL};
use super::super::load::{Arena, load, widened};
use super::super::spec::{ArenaColumn, Fragment, Input, JoinKind, Pipeline, Store, Table};

/// Words of a slot that columns take at most.
const MOST_WORDS: usize = 4;

/// Decides which columns of each table stand beside its keys.
pub fn place_payloads(fragment: &mut Fragment) {
    for number in 0..fragment.tables.len() {
        let payload = match fragment.probing(number) {
            Some((pipeline, probe)) if probe.kind == JoinKind::Inner => {
                columns_read(pipeline, &fragment.tables[number], number)
            }
            _ => Vec::new(),
        };
        fragment.tables[number].payload = payload;
    }
}

/// The columns of a table that a pipeline reads, the widest first; none where they do not fit.
fn columns_read(pipeline: &Pipeline, table: &Table, number: usize) -> Vec<usize> {
    let mut read = Vec::new();
    for input in &pipeline.inputs {
        match input {
            Input::Table { table, column } if *table == number && !read.contains(column) => {
                read.push(*column);
            }
            _ => {}
        }
    }
    let fits = |column: &usize| table.columns[*column].store != Store::Bits;
    let words: usize = read.iter().map(|column| words(&table.columns[*column])).sum();
    if words > MOST_WORDS || !read.iter().all(fits) {
        return Vec::new();
    }
    read.sort_by_key(|column| std::cmp::Reverse(self::words(&table.columns[*column])));
    read
}

/// Words of a column's value.
fn words(column: &ArenaColumn) -> usize {
    column.store.words(1)
}

/// The columns beside the keys, each with its first word behind the key.
fn places(table: &Table) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut next = 0;
    table.payload.iter().map(move |column| {
        next += words(&table.columns[*column]);
        (*column, next - words(&table.columns[*column]))
    })
}

/// Words of a slot before its payload: the rows, and the key where it is not its own place.
pub fn key_words(direct: bool) -> usize {
    if direct { 2 } else { 4 }
}

/// Words of a slot in all; a power of two, so that none lies across sectors of memory.
pub fn slot_words(table: &Table, direct: bool) -> usize {
    let payload: usize = table.payload.iter().map(|column| words(&table.columns[*column])).sum();
    (key_words(direct) + payload).next_power_of_two()
}

/// `payload{t}_{column}(row) -> value` of each column beside the keys, by `slot{t}`, where the
/// payload of the key starts that was found last.
pub fn load_functions(t: usize, table: &Table, views: bool) -> String {
    if table.payload.is_empty() {
        return String::new();
    }
    let arena = Arena { name: &format!("t{t}"), views };
    let mut out = format!("var<private> slot{t}: u32;\n");
    for (column, word) in places(table) {
        let spec = &table.columns[column];
        let pair = |at: usize| arena.wide(2, &format!("slot{t}"), &format!("{}u", at / 2));
        let beside = match words(spec) {
            1 => format!("t{t}[slot{t} + {word}u]"),
            2 => pair(word),
            _ => format!("vec4<u32>({}, {})", pair(word), pair(word + 2)),
        };
        let beside = widened(spec, beside);
        let by_row = load(spec, arena, HEADER + 2 * column, "b").value;
        let _ = write!(
            out,
            "fn payload{t}_{column}(b: u32) -> {} {{
    if (t{t}[{T_SEVERAL}u] == 0u) {{
        return {beside};
    }}
    return {by_row};
}}
",
            spec.rep.wgsl()
        );
    }
    out
}

/// `put_payload(row, at)`: writes what stands beside the key of a row.
pub fn put_function(table: &Table, arena: Arena<'_>) -> String {
    let mut out = String::from("fn put_payload(row: u32, at: u32) {\n");
    for (column, word) in places(table) {
        let spec = &table.columns[column];
        let start = format!("{}[{}u]", arena.name, HEADER + 2 * column);
        let words = words(spec);
        let value = match words {
            1 => format!("{}[{start} + row]", arena.name),
            words => arena.wide(words, &start, "row"),
        };
        let _ = writeln!(out, "    let v{column} = {value};");
        for at in 0..words {
            let part = if words == 1 { "" } else { [".x", ".y", ".z", ".w"][at] };
            let _ = writeln!(out, "    atomicStore(&index[at + {}u], v{column}{part});", word + at);
        }
    }
    out.push_str("}\n");
    out
}
