//! Accumulators in registers, as WGSL: what `reduce` folds rows into.

use std::fmt::Write;

use super::load::{both, words};
use super::spec::{Aggregation, Fold};
use crate::agg::Argument;
use crate::expr::wgsl::Emitter;

/// What a row brings to an accumulator, as WGSL.
pub(super) struct RowText {
    pub argument: Argument,
    /// The condition under which it counts.
    valid: String,
}

impl RowText {
    /// Emits a fold's argument.
    pub fn emit(fold: &Fold, emitter: &mut Emitter<'_>) -> Self {
        let mut conditions = Vec::new();
        let mut guard = "true".to_string();
        if let Some(filter) = &fold.filter {
            let text = emitter.emit(filter, "true");
            guard = both(&text);
            conditions.push(guard.clone());
        }
        let mut argument = Argument::default();
        if let Some(arg) = &fold.arg {
            let arg = fold.acc.argument(arg);
            let text = emitter.emit(&arg, &guard);
            if text.valid != "true" {
                conditions.push(text.valid);
            }
            argument = Argument { words: words(&arg, &text.value), value: text.value };
        }
        let valid = if conditions.is_empty() { "true".into() } else { conditions.join(" && ") };
        Self { argument, valid }
    }

    /// A statement for the rows that count.
    pub fn line(&self, statement: &str) -> String {
        match self.valid.as_str() {
            "true" => format!("    {{ {statement} }}\n"),
            valid => format!("    if ({valid}) {{ {statement} }}\n"),
        }
    }
}

/// Module-scope registers of all accumulators.
pub fn private_state(aggregation: &Aggregation) -> String {
    let mut out = String::new();
    for (at, fold) in aggregation.folds.iter().enumerate() {
        let (a, ty) = (format!("a{at}"), fold.acc.register());
        let _ = writeln!(out, "var<private> {a}: {ty};\nvar<private> {a}_seen: u32;");
        out.push_str(&fold.acc.more_registers(&a));
    }
    out
}

/// Statements that fold one row into the registers.
pub fn private_update(aggregation: &Aggregation, emitter: &mut Emitter<'_>) {
    for (at, fold) in aggregation.folds.iter().enumerate() {
        let row = RowText::emit(fold, emitter);
        let update = fold.acc.fold_row(&format!("a{at}"), &row.argument);
        emitter.text.push_str(&row.line(&update));
    }
}

/// `fold()`: merges the registers into the workgroup's table.
pub fn private_fold(aggregation: &Aggregation) -> String {
    let mut out = String::from("fn fold() {\n");
    let mut state = 0;
    for (at, fold) in aggregation.folds.iter().enumerate() {
        fold.acc.fold(&format!("a{at}"), state, &mut out);
        state += fold.acc.words();
    }
    out.push_str("}\n");
    out
}
