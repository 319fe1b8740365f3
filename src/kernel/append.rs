//! Tuples that a selection has written, made rows of a join table without leaving the device.

use std::fmt::Write;
use std::sync::Arc;

use super::{Kernel, Linker};
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

/// Bindings: tuples, places, the columns. A tuple holds each column's value and a word of
/// validity, in the order of the columns.
pub fn program(linker: &Linker, columns: &[ArenaColumn]) -> Arc<Program> {
    let mut generated = String::from("fn put_row(tuple: u32, row: u32) {\n");
    let mut at = 0;
    for (number, column) in columns.iter().enumerate() {
        let place = PLACES + 2 * number;
        let words = column.rep.words();
        let _ = writeln!(generated, "    let v{number} = word({}u, tuple) != 0u;", at + words);
        match value_words(column) {
            None => {
                let bit = format!("v{number} && word({at}u, tuple) != 0u");
                let _ = writeln!(generated, "    put_bit({place}u, row, {bit});");
            }
            Some(words) => {
                for word in 0..words {
                    let value = format!("select(0u, word({}u, tuple), v{number})", at + word);
                    let to = format!("row * {words}u + {word}u");
                    let _ = writeln!(generated, "    put({place}u, {to}, {value});");
                }
            }
        }
        let _ = writeln!(generated, "    put_bit({}u, row, v{number});", place + 1);
        at += words + 1;
    }
    generated.push_str("}\n");
    let columns = columns.to_vec();
    let twin = Arc::new(move |bound: &mut Bound<'_>| {
        let [tuples, places, out] = bound.buffers.as_mut_slice() else { return Ok(()) };
        append(&columns, tuples, places, out);
        Ok(())
    });
    let bindings = vec![Access::Read, Access::Read, Access::ReadWrite];
    linker.link(&KERNEL, "append".into(), &generated, (false, false), bindings, twin)
}

fn append(columns: &[ArenaColumn], tuples: &[u32], places: &[u32], out: &mut [u32]) {
    let capacity = places[1] as usize;
    for tuple in 0..places[0] as usize {
        let row = places[2] as usize + tuple;
        let word = |at: usize| tuples[at * capacity + tuple];
        let mut at = 0;
        for (column, place) in columns.iter().zip(places[PLACES..].chunks_exact(2)) {
            let (values, validity) = (place[0] as usize, place[1] as usize);
            let valid = word(at + column.rep.words()) != 0;
            match value_words(column) {
                None if valid && word(at) != 0 => out[values + row / 32] |= 1 << (row % 32),
                None => {}
                Some(words) => {
                    for number in 0..words {
                        out[values + row * words + number] =
                            if valid { word(at + number) } else { 0 };
                    }
                }
            }
            if valid && validity != 0 {
                out[validity + row / 32] |= 1 << (row % 32);
            }
            at += column.rep.words() + 1;
        }
    }
}
