//! Grouped aggregation where the key is the index: few groups, folded in workgroup memory.

use std::sync::Arc;

use super::group_hash::TABLE_HEADER;
use super::{Kernel, Shape, with_arenas};
use crate::fragment::fold;
use crate::fragment::key::Dense;
use crate::fragment::spec::{Aggregation, Key};
use crate::fragment::text::words;
use crate::record::{Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "group_dense",
    wgsl: include_str!("../../shaders/group_dense.wgsl"),
    parts: &[
        "lib/grid",
        "lib/hash",
        "lib/slot",
        "lib/acc_wide",
        "lib/acc",
        "lib/float_sum",
        "lib/float_bins",
    ],
    faults: &[
        ("row < rows; row += stride", "row + 1u < rows; row += stride"),
        ("merge(group * ENTRY + 1u, TAB", "merge(1u, TAB"),
        ("group < GROUPS", "group + 1u < GROUPS"),
    ],
};

/// Rounds 1... Bindings: slot, status, table; then the joins'.
pub fn program(
    shape: &Shape,
    keys: &Arc<Vec<Key>>,
    aggregation: &Arc<Aggregation>,
    dense: &Dense,
    round: u32,
) -> Arc<Program> {
    let entry = Dense::entry(aggregation);
    let groups = dense.groups();
    let generator = shape.generator();
    let process = generator.function("process", &|emitter| {
        let mut index = Vec::new();
        let mut stride = 1;
        for (key, size) in keys.iter().zip(&dense.sizes) {
            let text = emitter.emit(&key.expr, "true");
            let word = words(&key.expr, &text.value)[0].clone();
            let word = match key.expr.rep {
                crate::expr::ir::Rep::B1 => format!("({word} + 1u)"),
                _ => word,
            };
            let word = match text.valid.as_str() {
                "true" => word,
                valid => format!("select(0u, {word}, {valid})"),
            };
            index.push(format!("{word} * {stride}u"));
            stride *= size;
        }
        emitter.text.push_str(&format!(
            "    let group = min({}, {}u);\n    let s = group * ENTRY + 1u;\n    \
             let g = TAB + s;\n    loc_or(s - 1u, 1u);\n",
            index.join(" + "),
            groups - 1
        ));
        fold::round_update(aggregation, round, "loc", emitter);
    });
    let generated = format!(
        "const GROUPS: u32 = {groups}u;\nconst ENTRY: u32 = {entry}u;\n\
         const LOCAL_WORDS: u32 = {}u;\n{}{}{}{process}",
        groups as usize * entry,
        shape.declarations(3),
        generator.prelude(),
        fold::round_merge(aggregation, round),
    );
    let (job, keys, folded, dense) =
        (shape.twin(), keys.clone(), aggregation.clone(), dense.clone());
    let twin = Arc::new(move |bound: &mut Bound<'_>| {
        with_arenas(&job, bound, 1, |arenas, mut own| {
            let table = &mut *own[0];
            for row in 0..job.row_count(arenas) {
                job.process(arenas, row, &mut |found| {
                    let values = keys.iter().map(|key| found.eval(&key.expr)).collect::<Vec<_>>();
                    let at = TABLE_HEADER + dense.index(&keys, values.into_iter()) * entry;
                    table[at] |= 1;
                    if round == 1 {
                        found.update(&folded, &mut table[at + 1..at + 1 + folded.words()]);
                    }
                });
            }
        });
        Ok(())
    });
    let label = shape.label(KERNEL.name, &format!("{groups} groups, round {round}"));
    shape.linker.link(&KERNEL, label, &generated, shape.floats(), shape.bindings(1), twin)
}
