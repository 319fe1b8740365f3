//! Ungrouped aggregation: one row of states per workgroup.

use std::sync::Arc;

use super::link::{Kernel, Shape, with_arenas};
use crate::config::WORKGROUP;
use crate::fragment::fold;
use crate::fragment::spec::Aggregation;
use crate::record::Program;

pub const KERNEL: Kernel = Kernel {
    name: "reduce",
    wgsl: include_str!("../../shaders/reduce.wgsl"),
    parts: &[
        "lib/grid",
        "lib/hash",
        "lib/join",
        "lib/slot",
        "lib/acc_wide",
        "lib/cells_t0",
        "lib/float_sum",
        "lib/float_bins",
    ],
    faults: &[
        ("row < rows; row += stride", "row + 1u < rows; row += stride"),
        ("row += stride", "row += 2u * stride"),
        ("group * WORKGROUP + lane", "group * 255u + lane"),
    ],
};

/// Bindings: slot, status, partials; then the join tables.
pub fn program(shape: &Shape, aggregation: &Arc<Aggregation>) -> Arc<Program> {
    let words = aggregation.words().max(1);
    let generator = shape.generator();
    let process = generator.function("process", &|emitter| {
        fold::private_update(aggregation, emitter);
    });
    let generated = format!(
        "const WORDS: u32 = {words}u;\n{}{}{}{}{process}",
        shape.declarations(3),
        generator.prelude(),
        fold::private_state(aggregation),
        fold::private_fold(aggregation),
    );
    let (job, folded) = (shape.twin(), aggregation.clone());
    let twin = Arc::new(move |bound: &mut crate::record::Bound<'_>| {
        with_arenas(&job, bound, 1, |arenas, mut own| {
            let rows = job.row_count(arenas);
            let groups = arenas.slot[1] as usize;
            own[0][..groups * words].fill(0);
            for row in 0..rows {
                let group = (row / WORKGROUP) as usize % groups;
                let state = &mut own[0][group * words..(group + 1) * words];
                job.process(arenas, row, &mut |found| found.update(&folded, state));
            }
        });
        Ok(())
    });
    let accs: Vec<&'static str> = aggregation.folds.iter().map(|fold| fold.acc.name()).collect();
    let label = shape.label(KERNEL.name, &accs.join(","));
    shape.linker.link(&KERNEL, label, &generated, shape.floats(), shape.bindings(1), twin)
}
