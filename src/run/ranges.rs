//! Ranges of integer keys, found on the device: how many bits keys need.

use std::sync::Arc;

use arrow::datatypes::Schema;

use super::aggregate::merge_state;
use crate::agg::{Acc, Best, StateColumn};
use crate::error::Result;
pub use crate::fragment::key::{Range as Extremes, has_range};
use crate::fragment::spec::{Aggregation, Fold, Key};
use crate::kernel::{Shape, reduce};
use crate::record::Program;

/// The least and the largest value of each key that has a range.
pub fn extremes(keys: &[Key]) -> Aggregation {
    let fold = |(key, max): (&Key, bool)| Fold {
        acc: Acc::Best(Best { rep: key.expr.rep, max }),
        arg: Some(key.expr.clone()),
        filter: None,
    };
    let keys = keys.iter().filter(|key| has_range(key));
    let folds = keys.flat_map(|key| [(key, false), (key, true)]).map(fold).collect();
    let (aggregates, schema) = (Vec::new(), Arc::new(Schema::empty()));
    Aggregation { folds, aggregates, partial: false, schema }
}

/// The program that finds them: `reduce`, whose partial states `read` takes.
pub fn program(shape: &Shape, keys: &[Key]) -> Arc<Program> {
    let make = || reduce::program(shape, &Arc::new(extremes(keys)));
    shape.program(&reduce::KERNEL, &[], make)
}

/// The ranges of the keys, by the partial states of workgroups; `None` where a key has none.
pub fn read(keys: &[Key], partials: &[u32]) -> Result<Vec<Extremes>> {
    let extremes = extremes(keys);
    let mut state = vec![0; extremes.words()];
    for partial in partials.chunks_exact(state.len()) {
        merge_state(&extremes, &mut state, partial);
    }
    let columns = StateColumn::of_rows(&extremes.accs(), &state, state.len(), 0)?;
    let value = |column: &StateColumn| {
        let words = column.seen().next().flatten()?;
        Some(words.iter().rev().fold(0, |bits, word| bits << 32 | u128::from(*word)))
    };
    let mut found = columns.chunks_exact(2).map(|pair| value(&pair[0]).zip(value(&pair[1])));
    let range = |key| if has_range(key) { found.next().flatten() } else { None };
    Ok(keys.iter().map(range).collect())
}
