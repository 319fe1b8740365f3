//! Accumulators in group tables, as WGSL: what each round adds to the cells of a row's group. The
//! functions that are called stand in `lib/cells_t0` and `lib/cells_t3`.

use std::fmt::Write;

use super::cells::{Cells, Place};
use super::fold::{argument, candidate, vector};
use super::spec::Aggregation;
use crate::agg::Acc;
use crate::expr::wgsl::Emitter;

/// What one cell of a maximum is raised to.
struct Piece {
    text: String,
    /// Of 64 bits.
    wide: bool,
}

impl Piece {
    /// The cells' values out of words, the low one first.
    fn all(words: &[String], cells: &Cells) -> Vec<Self> {
        let piece = |words: &[String]| Self { text: vector(words), wide: words.len() == 2 };
        words.chunks(cells.words).map(piece).collect()
    }

    fn raise(&self, table: &str, at: usize) -> String {
        let wide = if self.wide { "64" } else { "" };
        format!("{table}_max{wide}(s + {at}u, {});", self.text)
    }

    /// Whether the settled cell is the same.
    fn settled(&self, at: usize) -> String {
        match self.wide {
            true => format!("all(tab_get64(g + {at}u) == {})", self.text),
            false => format!("tab_get(g + {at}u) == {}", self.text),
        }
    }
}

/// Statements of one round that fold a row into the states at `{table}[s ..]`. `tab[g ..]` is the
/// same entry's settled state in device memory (the same one, if `table` is `tab`).
pub fn update(
    aggregation: &Aggregation,
    cells: &Cells,
    round: u32,
    table: &str,
    emitter: &mut Emitter<'_>,
) {
    for (fold, place) in cells.placed(aggregation) {
        if round > cells.rounds_of(fold.acc) {
            continue;
        }
        let (arg, text) = argument(fold, emitter);
        let (value, at) = (&text.value, place.value);
        let flag = |flags: &str| match place.flags {
            Some((cell, bit)) => format!(" {table}_or(s + {cell}u, ({flags}) << {bit}u);"),
            None => String::new(),
        };
        let seen = flag("1u");
        let update = match fold.acc {
            Acc::Count => format!("{table}_add64(s + {at}u, vec2<u32>(1u, 0u));"),
            Acc::Sum64 => format!("{table}_add64(s + {at}u, {value});{seen}"),
            Acc::Sum128 => format!("{table}_add128(s + {at}u, {value});{seen}"),
            Acc::Sum160 => {
                format!("let v = {value}; {table}_add160(s + {at}u, v, acc_sign(v));{seen}")
            }
            Acc::Bools => flag(&format!("select(2u, 1u, {value})")),
            Acc::FloatSum if round == 1 => format!(
                "let f = float_slices({value});{} {table}_max(s + {at}u, f.top);",
                flag("f.flags | 1u")
            ),
            Acc::FloatSum => float_round(cells, place, table, value),
            Acc::Best { max, .. } => {
                let Some(arg) = &arg else { continue };
                let pieces = Piece::all(&candidate(arg, value, max), cells);
                best_round(&pieces, at, round, table, &seen)
            }
        };
        let line = match text.valid.as_str() {
            "true" => format!("    {{ {update} }}\n"),
            valid => format!("    if ({valid}) {{ {update} }}\n"),
        };
        emitter.text.push_str(&line);
    }
}

/// Cells of a bin of a float sum.
fn bin_cells(cells: &Cells) -> usize {
    2 / cells.words
}

fn float_round(cells: &Cells, place: Place, table: &str, value: &str) -> String {
    let (top, bins, each) = (place.value, place.value + 1, bin_cells(cells));
    let mut text = format!(
        "let f = float_slices({value}); let d = tab_get(g + {top}u) - f.top; if (f.top != 0u) {{ "
    );
    for (bin, slice) in ["s0", "s1", "s2"].iter().enumerate() {
        let _ = write!(
            text,
            "if (d + {bin}u < 3u) {{ {table}_add64(s + {bins}u + {each}u * (d + {bin}u), \
             bins_signed(f.{slice}, f.neg)); }} ",
        );
    }
    text.push('}');
    text
}

fn best_round(pieces: &[Piece], at: usize, round: u32, table: &str, seen: &str) -> String {
    let piece = pieces.len() - round as usize;
    let raise = pieces[piece].raise(table, at + piece);
    if round == 1 {
        return format!("{raise}{seen}");
    }
    let above = pieces.iter().enumerate().skip(piece + 1);
    let tests: Vec<String> = above.map(|(above, piece)| piece.settled(at + above)).collect();
    format!("if ({}) {{ {raise} }}", tests.join(" && "))
}

/// `merge(from, to)`: adds what a round put into a workgroup's entry to the one in device memory.
pub fn merge(aggregation: &Aggregation, cells: &Cells, round: u32) -> String {
    let mut out = String::from("fn merge(from_at: u32, to: u32) {\n");
    let mut line = |how: &str, at: usize, value: &str| {
        let _ = writeln!(out, "    tab_{how}(to + {at}u, {value});");
    };
    let get = |at: usize| format!("loc_get(from_at + {at}u)");
    let get64 = |at: usize| format!("loc_get64(from_at + {at}u)");
    for (fold, place) in cells.placed(aggregation) {
        let at = place.value;
        match (fold.acc, round) {
            (Acc::Count | Acc::Sum64, 1) => line("add64", at, &get64(at)),
            (Acc::Sum128 | Acc::Sum160, 1) if cells.words == 2 => {
                (at..at + cells.value_cells(fold.acc)).for_each(|at| line("add64", at, &get64(at)));
            }
            (Acc::Sum128, 1) => {
                line("add128", at, &format!("vec4<u32>({}, {})", get64(at), get64(at + 2)));
            }
            (Acc::Sum160, 1) => {
                let low = format!("vec4<u32>({}, {})", get64(at), get64(at + 2));
                line("add160", at, &format!("{low}, {}", get(at + 4)));
            }
            (Acc::FloatSum, 1) => line("max", at, &get(at)),
            (Acc::FloatSum, 2) => {
                let each = bin_cells(cells);
                (0..3).for_each(|bin| {
                    let at = at + 1 + each * bin;
                    line("add64", at, &get64(at));
                });
            }
            (Acc::Best { rep, .. }, round) if round as usize <= cells.value_cells(fold.acc) => {
                let at = at + cells.value_cells(fold.acc) - round as usize;
                match cells.words == 2 && rep.words() > 1 {
                    true => line("max64", at, &get64(at)),
                    false => line("max", at, &get(at)),
                }
            }
            _ => {}
        }
    }
    if round == 1 {
        cells.flags.clone().for_each(|at| line("or", at, &get(at)));
    }
    out.push_str("}\n");
    out
}

/// `settle(s)`: after `round`, drops what was kept relative to a leading cell that has risen.
/// `None` where no accumulator has anything to settle then.
pub fn settle(aggregation: &Aggregation, cells: &Cells, round: u32) -> Option<String> {
    let mut out = String::new();
    for (fold, place) in cells.placed(aggregation) {
        let value_cells = cells.value_cells(fold.acc);
        match fold.acc {
            Acc::Best { .. } if (round as usize) < value_cells => {
                let cell = value_cells - round as usize;
                let (at, kept) = (place.value + cell, place.kept + cell - 1);
                let _ = writeln!(out, "    if (tab_differ(s + {at}u, s + {kept}u)) {{");
                for below in place.value..at {
                    let _ = writeln!(out, "        tab_clear(s + {below}u);");
                }
                let _ = writeln!(out, "        tab_keep(s + {kept}u, s + {at}u);\n    }}");
            }
            Acc::FloatSum if round == 1 => {
                let (top, bins, kept) = (place.value, place.value + 1, place.kept);
                let _ = writeln!(
                    out,
                    "    if (tab_differ(s + {top}u, s + {kept}u)) {{\n        \
                     let by = tab_get(s + {top}u) - tab_get(s + {kept}u);\n        \
                     tab_shift_bins(s + {bins}u, by);\n        \
                     tab_keep(s + {kept}u, s + {top}u);\n    }}"
                );
            }
            _ => {}
        }
    }
    (!out.is_empty()).then(|| format!("fn settle(s: u32) {{\n{out}}}\n"))
}
