//! The generated part of a fused kernel: what one row does, from its loads to the sink.
//!
//! The text is a function `process(row)` (and `count(row)` for a selection): filters leave it with
//! `return`, each probe opens a loop over the matches of its join table, and the sink's statements
//! stand innermost, where all rows of the tuple are known.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;

use super::arena::{self, HEADER};
use super::join::{self, Lookup};
use super::load::{Arena, both, load, load_named, named};
use super::spec::{Input, JoinKind, Pipeline, Probe, Step, Table};
use crate::expr::ir::{Expr, Rep};
use crate::expr::parameters::Parameters;
use crate::expr::wgsl::{Emitter, Text};

/// Which rows drive the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Drive {
    /// The slot's rows.
    Slot,
    /// The rows of a join table, after all slots: those that its join still owes.
    Tail(usize),
}

impl Drive {
    /// What `Input::Probed` is for all rows of the drive.
    pub fn probed(self, pipeline: &Pipeline, table: usize) -> bool {
        match self {
            Drive::Slot => true,
            Drive::Tail(tail) => pipeline.step_of(tail) < pipeline.step_of(table),
        }
    }
}

/// Writes the generated part of a pipeline's kernels.
pub struct Generator<'a> {
    pub pipeline: &'a Pipeline,
    pub tables: &'a [Table],
    pub parameters: Parameters,
    pub drive: Drive,
    /// Matches that one invocation may visit in all; a software adapter ends loops early.
    pub trips_max: u32,
    /// Whether arenas are bound as wider elements too.
    pub views: bool,
}

/// A WGSL value that stands for NULL.
fn zero(rep: Rep) -> String {
    match rep {
        Rep::B1 => "false".into(),
        other => format!("{}()", other.wgsl()),
    }
}

impl Generator<'_> {
    /// Number of the first word of the header that belongs to slot column `index`.
    fn slot_header(index: usize) -> usize {
        HEADER + 2 * index
    }

    /// Constants and functions every kernel of the pipeline needs, those of its joins included.
    pub fn prelude(&self) -> String {
        let mut out = String::new();
        let (columns, lookups) = (self.pipeline.columns.len(), self.pipeline.lookups.len());
        let _ = writeln!(out, "const LOOKUPS: u32 = {}u;", arena::lookups_at(columns));
        let at = arena::parameters_at(columns, lookups);
        let _ =
            writeln!(out, "fn parameter(word: u32) -> u32 {{\n    return slot[{at}u + word];\n}}");
        let _ = writeln!(out, "const TRIPS_MAX: u32 = {}u;", self.trips_max);
        let count = match self.drive {
            Drive::Slot => "slot[0]".to_string(),
            Drive::Tail(table) => format!("t{table}[0]"),
        };
        let _ = writeln!(out, "fn row_count() -> u32 {{\n    return {count};\n}}");
        for probe in self.live_probes() {
            let table = &self.tables[probe.table];
            out.push_str(&join::find_functions(probe, table, self.views));
            if let Some(residual) = &probe.residual {
                self.match_function(probe, residual, &mut out);
            }
        }
        out
    }

    /// The probes this drive still has to make.
    fn live_probes(&self) -> impl Iterator<Item = &Probe> {
        let after = self.first_step();
        self.pipeline.steps[after..].iter().filter_map(|step| match step {
            Step::Probe(probe) => Some(probe.as_ref()),
            Step::Filter(_) => None,
        })
    }

    fn first_step(&self) -> usize {
        let Drive::Tail(table) = self.drive else { return 0 };
        self.pipeline.step_of(table).map_or(0, |at| at + 1)
    }

    /// Tables whose row is bound when the drive starts or by a probe before step `until`.
    fn row_of(&self, table: usize) -> String {
        match self.drive {
            Drive::Tail(drive) if drive == table => "row".into(),
            _ => format!("b{table}"),
        }
    }

    /// True if `table` is never bound in this drive: probed before the tail's own join.
    fn unbound(&self, table: usize) -> bool {
        let Drive::Tail(drive) = self.drive else { return false };
        drive != table && !self.live_probes().any(|probe| probe.table == table)
    }

    fn keeps_probe(&self, table: usize) -> bool {
        self.pipeline.probes().any(|probe| {
            probe.table == table && matches!(probe.kind, JoinKind::Right | JoinKind::Full)
        })
    }

    /// Text that reads input `index`.
    fn input(&self, index: usize, name: &str, out: &mut String) -> Text {
        match self.pipeline.inputs[index] {
            Input::Probed { table } => {
                let value = self.drive.probed(self.pipeline, table).to_string();
                Text { value, valid: "true".into() }
            }
            Input::Slot(column) => {
                let spec = &self.pipeline.columns[column];
                if self.drive != Drive::Slot {
                    return Text { value: zero(spec.rep), valid: "false".into() };
                }
                let arena = Arena { name: "slot", views: self.views };
                load_named(name, spec, arena, Self::slot_header(column), "row", None, out)
            }
            Input::Table { table, column } => {
                let spec = &self.tables[table].columns[column];
                if self.unbound(table) {
                    return Text { value: zero(spec.rep), valid: "false".into() };
                }
                let row = self.row_of(table);
                let arena = Arena { name: &format!("t{table}"), views: self.views };
                let header = HEADER + 2 * column;
                if row != "row" && self.tables[table].payload.contains(&column) {
                    let valid = load(spec, arena, header, &row).valid;
                    let value = format!("payload{table}_{column}({row})");
                    return named(name, spec, Text { value, valid }, None, out);
                }
                if self.keeps_probe(table) && row != "row" {
                    let _ = writeln!(out, "    let {name}_row = select({row}, 0u, {row} == NIL);");
                    let exists = format!("({row} != NIL)");
                    let at = format!("{name}_row");
                    return load_named(name, spec, arena, header, &at, Some(&exists), out);
                }
                load_named(name, spec, arena, header, &row, None, out)
            }
        }
    }

    /// Runs `body` with an emitter whose inputs load themselves when first needed.
    fn with_emitter<T>(
        &self,
        prefix: &str,
        body: impl FnOnce(&mut Emitter<'_>) -> T,
    ) -> (String, T) {
        let known: RefCell<HashMap<usize, Text>> = RefCell::new(HashMap::new());
        let mut input = |index: usize, out: &mut String| {
            if let Some(text) = known.borrow().get(&index) {
                return Text { value: text.value.clone(), valid: text.valid.clone() };
            }
            let text = self.input(index, &format!("{prefix}i{index}"), out);
            let copy = Text { value: text.value.clone(), valid: text.valid.clone() };
            known.borrow_mut().insert(index, copy);
            text
        };
        let mut emitter = Emitter::new(prefix, &self.parameters, &mut input);
        let value = body(&mut emitter);
        (indented(&emitter.text), value)
    }

    /// `match{table}(rows) -> bool`: whether the residual is true of the tuple.
    fn match_function(&self, probe: &Probe, residual: &Expr, out: &mut String) {
        let t = probe.table;
        let rows = self.bound_with(t).into_iter().map(|name| format!("{name}: u32"));
        let rows = rows.collect::<Vec<_>>().join(", ");
        let (body, ()) = self.with_emitter(&format!("m{t}_"), |emitter| {
            let text = emitter.emit(residual, "true");
            let _ = writeln!(emitter.text, "    return {};", both(&text));
        });
        let _ = writeln!(out, "fn match{t}({rows}) -> bool {{\n{body}}}");
    }

    /// Names of the rows that are bound once `table` is probed.
    fn bound_with(&self, table: usize) -> Vec<String> {
        let mut names = vec!["row".to_string()];
        for probe in self.live_probes().take_while(|probe| probe.table != table) {
            if probe.kind.shows_build() {
                names.push(format!("b{}", probe.table));
            }
        }
        names.push(format!("b{table}"));
        names
    }

    /// `fn NAME(row: u32)`: the steps, then `sink`'s statements.
    pub fn function(&self, name: &str, sink: &dyn Fn(&mut Emitter<'_>)) -> String {
        let (body, ()) = self.with_emitter("", |emitter| {
            let mut open = Vec::new();
            if let Drive::Tail(table) = self.drive {
                self.owed(table, emitter);
            }
            let mut dead = false;
            for step in &self.pipeline.steps[self.first_step()..] {
                let skip = if open.is_empty() { "return" } else { "continue" };
                match step {
                    Step::Filter(predicate) => {
                        let text = emitter.emit(predicate, "true");
                        let _ = writeln!(
                            emitter.text,
                            "    if (!{}) {{\n        {skip};\n    }}",
                            both(&text)
                        );
                    }
                    Step::Probe(probe) => {
                        if self.probe(probe, skip, emitter) {
                            open.push(probe.table);
                        }
                        if !probe.kind.emits_matches() {
                            dead = true;
                            break;
                        }
                    }
                }
            }
            if !dead {
                sink(emitter);
            }
            for _ in open {
                emitter.text.push_str("    }\n");
            }
        });
        format!("fn {name}(row: u32) {{\n{body}}}\n")
    }

    /// In the tail of `table`: leaves unless its row is one the join still owes.
    fn owed(&self, table: usize, emitter: &mut Emitter<'_>) {
        let semi = self
            .pipeline
            .probes()
            .any(|probe| probe.table == table && probe.kind == JoinKind::LeftSemi);
        let test = if semi { "==" } else { "!=" };
        let marked = join::marked(table, "row");
        let _ = writeln!(emitter.text, "    if ({marked} {test} 0u) {{\n        return;\n    }}");
    }

    /// The text of one probe; true if it leaves a loop open.
    fn probe(&self, probe: &Probe, skip: &str, emitter: &mut Emitter<'_>) -> bool {
        let t = probe.table;
        let keys: Vec<Text> = probe.keys.iter().map(|key| emitter.emit(key, "true")).collect();
        let args = keys.iter().map(|text| format!("{}, {}", text.value, text.valid));
        let find = format!("m{t} = find{t}({});", args.collect::<Vec<_>>().join(", "));
        let usable = keys
            .iter()
            .filter(|text| !probe.null_equals_null && text.valid != "true")
            .map(|text| text.valid.clone());
        let usable = usable.collect::<Vec<_>>().join(" && ");
        let out = &mut emitter.text;
        let _ =
            writeln!(out, "    // The rows of table {t} with the key: where they start, how many.");
        let _ = writeln!(out, "    var m{t} = vec2<u32>();");
        if usable.is_empty() {
            let _ = writeln!(out, "    {find}");
        } else {
            let _ = writeln!(out, "    if ({usable}) {{\n        {find}\n    }}");
        }
        if Lookup::of(probe).existence {
            let test = if probe.kind == JoinKind::RightSemi { "==" } else { "!=" };
            let _ = writeln!(out, "    if (m{t}.y {test} 0u) {{\n        {skip};\n    }}");
            return false;
        }
        let args = self.bound_with(t).join(", ");
        let residual = probe.residual.as_ref().map(|_| format!("match{t}({args})"));
        join::visit(probe, residual, skip, out)
    }

    /// Name of the row of the slot, or of a table, where the sink stands; `NIL` where none is.
    pub fn tuple_row(&self, table: Option<usize>) -> String {
        match table {
            None if self.drive == Drive::Slot => "row".into(),
            None => "NIL".into(),
            Some(table) if self.unbound(table) => "NIL".into(),
            Some(table) => self.row_of(table),
        }
    }
}

/// The statements of a body, of which the emitter's own stand at the margin.
fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for line in text.lines() {
        if !line.is_empty() && !line.starts_with(' ') {
            out.push_str("    ");
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}
