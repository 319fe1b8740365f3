//! Tuples that a selection has written, made rows of a join table without leaving the device.

use std::fmt::Write;
use std::sync::Arc;

use super::link::{Kernel, Linker};
use super::select::{Computed, Place};
use crate::fragment::spec::{ArenaColumn, Store};
use crate::record::{Access, Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "append",
    wgsl: include_str!("../../shaders/append.wgsl"),
    parts: &["lib/grid"],
    faults: &[
        ("tuple < count; tuple", "tuple + 1u < count; tuple"),
        ("places[2] + tuple", "tuple"),
        ("1u << (row & 31u)", "1u"),
    ],
};

/// Words of `places` before those of the columns: tuples, their capacity, the first row.
pub const PLACES: usize = 3;

/// Words of a column's values in a row, or `None` where they are bits.
fn value_words(column: &ArenaColumn) -> Option<usize> {
    (column.store != Store::Bits).then(|| column.store.words(1))
}

/// Bindings: tuples, places, the columns. `written` are the places of the tuples' columns.
pub fn program(linker: &Linker, columns: &[ArenaColumn], written: Vec<Computed>) -> Arc<Program> {
    let mut generated = String::from("fn put_row(tuple: u32, row: u32) {\n");
    let read = |place: Place, word: usize| {
        format!("word({}u, {}u, {word}u, tuple)", place.first, place.words)
    };
    for (number, (column, of)) in columns.iter().zip(&written).enumerate() {
        let place = PLACES + 2 * number;
        let valid = of.valid.map_or("true".into(), |valid| format!("{} != 0u", read(valid, 0)));
        let _ = writeln!(generated, "    let v{number} = {valid};");
        match value_words(column) {
            None => {
                let bit = format!("v{number} && {} != 0u", read(of.values, 0));
                let _ = writeln!(generated, "    put_bit({place}u, row, {bit});");
            }
            Some(words) => {
                for word in 0..words {
                    let value = format!("select(0u, {}, v{number})", read(of.values, word));
                    let to = format!("row * {words}u + {word}u");
                    let _ = writeln!(generated, "    put({place}u, {to}, {value});");
                }
            }
        }
        let _ = writeln!(generated, "    put_bit({}u, row, v{number});", place + 1);
    }
    generated.push_str("}\n");
    let columns = columns.to_vec();
    let twin = Arc::new(move |bound: &mut Bound<'_>| {
        let [tuples, places, out] = bound.buffers.as_mut_slice() else { return Ok(()) };
        append(&columns, &written, tuples, places, out);
        Ok(())
    });
    let bindings = vec![Access::Read, Access::Read, Access::ReadWrite];
    linker.link(&KERNEL, "append".into(), &generated, (false, false), bindings, twin)
}

fn append(
    columns: &[ArenaColumn],
    written: &[Computed],
    tuples: &[u32],
    places: &[u32],
    out: &mut [u32],
) {
    let capacity = places[1] as usize;
    for tuple in 0..places[0] as usize {
        let row = places[2] as usize + tuple;
        let word = |place: Place, word: usize| tuples[place.word(capacity, tuple, word)];
        let to = places[PLACES..].chunks_exact(2);
        for ((column, of), place) in columns.iter().zip(written).zip(to) {
            let (values, validity) = (place[0] as usize, place[1] as usize);
            let valid = of.valid.is_none_or(|valid| word(valid, 0) != 0);
            match value_words(column) {
                None if valid && word(of.values, 0) != 0 => {
                    out[values + row / 32] |= 1 << (row % 32);
                }
                None => {}
                Some(words) => {
                    for number in 0..words {
                        let value = if valid { word(of.values, number) } else { 0 };
                        out[values + row * words + number] = value;
                    }
                }
            }
            if valid && validity != 0 {
                out[validity + row / 32] |= 1 << (row % 32);
            }
        }
    }
}
