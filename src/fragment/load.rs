//! Loads from arenas, and their values, as WGSL.

use std::fmt::Write;

use super::spec::{ArenaColumn, Store};
use crate::expr::ir::{Expr, Rep};
use crate::expr::wgsl::Text;

/// An arena as WGSL: the name of an array of words, and whether there are views of it as pairs
/// (`NAME_2`) and as fours (`NAME_4`).
#[derive(Clone, Copy)]
pub struct Arena<'a> {
    pub name: &'a str,
    pub views: bool,
}

impl Arena<'_> {
    fn word(self, at: &str) -> String {
        format!("{}[{at}]", self.name)
    }

    /// `width` words from the `row`-th so many behind `start`, a multiple of `width`.
    pub fn wide(self, width: usize, start: &str, row: &str) -> String {
        let name = self.name;
        if self.views {
            return format!("{name}_{width}[({start} >> {}u) + {row}]", width / 2);
        }
        let word = |at: usize| format!("{name}[{start} + {row} * {width}u + {at}u]");
        let words: Vec<String> = (0..width).map(word).collect();
        format!("vec{width}<u32>({})", words.join(", "))
    }
}

/// The views that loads of columns need, by their width in words.
pub fn widths(columns: &[ArenaColumn]) -> Vec<usize> {
    let has = |store: Store| columns.iter().any(|column| column.store == store);
    let all = [(Store::W64, 2), (Store::W128, 4)].into_iter();
    all.filter(|(store, _)| has(*store)).map(|(_, width)| width).collect()
}

/// A stored value as one of the column's representation: narrowed decimals get their upper words.
pub fn widened(column: &ArenaColumn, value: String) -> String {
    match column.store {
        Store::W32 if column.rep == Rep::I128 => format!("acc_widen32({value})"),
        Store::W64 if column.rep == Rep::I128 => format!("acc_widen64({value})"),
        _ => value,
    }
}

/// WGSL that reads a value and its validity at `row` from an arena.
pub fn load(column: &ArenaColumn, arena: Arena<'_>, header: usize, row: &str) -> Text {
    let values = arena.word(&format!("{header}u"));
    let value = match column.store {
        Store::Bits => {
            let word = arena.word(&format!("{values} + ({row} >> 5u)"));
            format!("((({word} >> ({row} & 31u)) & 1u) != 0u)")
        }
        Store::W32 => arena.word(&format!("{values} + {row}")),
        Store::W64 => arena.wide(2, &values, row),
        Store::W128 => arena.wide(4, &values, row),
    };
    let value = widened(column, value);
    let valid = if !column.nullable {
        "true".to_string()
    } else {
        let offset = arena.word(&format!("{}u", header + 1));
        let word = arena.word(&format!("{offset} + ({row} >> 5u)"));
        format!("({offset} == 0u || (({word} >> ({row} & 31u)) & 1u) != 0u)")
    };
    Text { value, valid }
}

/// Loads a column into two names, and says which.
pub fn load_named(
    name: &str,
    column: &ArenaColumn,
    arena: Arena<'_>,
    header: usize,
    row: &str,
    exists: Option<&str>,
    out: &mut String,
) -> Text {
    named(name, column, load(column, arena, header, row), exists, out)
}

/// Gives a column's value and its validity names.
pub fn named(
    name: &str,
    column: &ArenaColumn,
    mut text: Text,
    exists: Option<&str>,
    out: &mut String,
) -> Text {
    // A name that is more than a word may end the comment, or hold the query's constants.
    let word = |char: char| char == '_' || char.is_ascii_alphanumeric();
    let comment = match column.name.chars().all(word) {
        true => format!(" // {}", column.name),
        false => String::new(),
    };
    let _ = writeln!(out, "    let {name} = {};{comment}", text.value);
    if column.domain.is_some() {
        text.valid = if column.nullable { format!("({name} != 0u)") } else { "true".into() };
    }
    if let Some(exists) = exists {
        text.valid = if text.valid == "true" {
            exists.to_string()
        } else {
            format!("({exists} && {})", text.valid)
        };
    }
    text.value = name.to_string();
    if text.valid != "true" && text.valid != "false" {
        let _ = writeln!(out, "    let {name}_ok = {};", text.valid);
        text.valid = format!("{name}_ok");
    }
    text
}

/// True where a boolean value is true (and not NULL).
pub fn both(text: &Text) -> String {
    match text.valid.as_str() {
        "true" => format!("({})", text.value),
        "false" => "(false)".into(),
        valid => format!("({valid} && {})", text.value),
    }
}

/// The words of a value, low first, as WGSL.
pub fn words(expr: &Expr, value: &str) -> Vec<String> {
    match expr.rep {
        Rep::B1 => vec![format!("select(0u, 1u, {value})")],
        Rep::I32 | Rep::U32 | Rep::F32 => vec![value.to_string()],
        Rep::I64 | Rep::U64 | Rep::F64 => vec![format!("{value}.x"), format!("{value}.y")],
        Rep::I128 => ["x", "y", "z", "w"].map(|part| format!("{value}.{part}")).to_vec(),
    }
}
