//! The programs that a run will dispatch, as far as they are known before it has read a row: the
//! device compiles them while the first slots are decoded.

use std::sync::Arc;

use super::group;
use super::runner::Runner;
use super::sink::{mark, output, select};
use crate::fragment::spec::{Pipeline, Sink};
use crate::fragment::text::Drive;
use crate::kernel::select::Columns;
use crate::kernel::{Shape, reduce};
use crate::record::Program;

impl Runner {
    /// All of them, in the order of their first use.
    pub(super) fn programs_ahead(&self) -> Vec<Arc<Program>> {
        let mut programs = Vec::new();
        for (number, table) in self.fragment.tables.iter().enumerate() {
            if !table.pipeline.is_bare() {
                programs.extend(self.pipeline_ahead(number, &table.pipeline));
            }
            if matches!(table.pipeline.sink, Sink::Store { .. }) {
                programs.extend(self.store_programs(number));
            }
            programs.extend(self.build_programs(number));
        }
        programs.extend(self.pipeline_ahead(self.fragment.tables.len(), &self.fragment.main));
        programs
    }

    /// Those of the slots, then of each tail.
    fn pipeline_ahead(&self, number: usize, pipeline: &Pipeline) -> Vec<Arc<Program>> {
        let pipeline = Arc::new(pipeline.clone());
        let marked = pipeline.probes().filter(|probe| probe.kind.marks());
        let tails = marked.map(|probe| Drive::Tail(probe.table));
        let drives = std::iter::once(Drive::Slot).chain(tails);
        drives.flat_map(|drive| sink_ahead(&self.shape(number, &pipeline, drive))).collect()
    }
}

fn sink_ahead(shape: &Shape) -> Vec<Arc<Program>> {
    match &shape.pipeline.sink {
        Sink::Select { .. } if mark::columns(&shape.pipeline).is_some() => {
            vec![mark::program(shape)]
        }
        Sink::Select { outputs, .. } => {
            select::Order::OnHost.programs(shape, &Arc::new(output::columns(outputs)))
        }
        Sink::Store { columns } => {
            select::Order::OnDevice.programs(shape, &Arc::new(Columns::computed(columns)))
        }
        Sink::Reduce(aggregation) => {
            let aggregation = Arc::new(aggregation.clone());
            vec![shape.program(&reduce::KERNEL, &[], || reduce::program(shape, &aggregation))]
        }
        Sink::Group { keys, aggregation } => {
            group::programs_ahead(shape, &Arc::new(keys.clone()), &Arc::new(aggregation.clone()))
        }
    }
}
