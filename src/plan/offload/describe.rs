//! Fragments in words and as WGSL, for EXPLAIN.

use std::sync::Arc;

use crate::device::Capabilities;
use crate::fragment::key::Packing;
use crate::fragment::spec::{Fragment, JoinKind, Pipeline, Sink, Step};
use crate::fragment::text::Drive;
use crate::kernel::group_hash::Rounds;
use crate::kernel::select::{Columns, Phase};
use crate::kernel::{self, Linker, Shape};
use crate::run::{marked_columns, select_columns};

/// The pipelines of a fragment, one after another: `build t0: filter, keep 2; filter, probe t0 ..`.
pub fn summary(fragment: &Fragment) -> String {
    let mut parts = Vec::new();
    for (number, table) in fragment.tables.iter().enumerate() {
        parts.push(format!("build t{number}=[{}]", steps(&table.pipeline)));
    }
    parts.push(format!("pipeline=[{}]", steps(&fragment.main)));
    parts.join(", ")
}

fn steps(pipeline: &Pipeline) -> String {
    let names: Vec<&str> = pipeline.columns.iter().map(|column| column.name.as_str()).collect();
    let mut words = vec![format!("upload({})", names.join(", "))];
    for step in &pipeline.steps {
        words.push(match step {
            Step::Filter(_) => "filter".into(),
            Step::Probe(probe) => {
                let kind = match probe.kind {
                    JoinKind::Inner => "inner",
                    JoinKind::Left => "left",
                    JoinKind::Right => "right",
                    JoinKind::Full => "full",
                    JoinKind::LeftSemi => "left semi",
                    JoinKind::LeftAnti => "left anti",
                    JoinKind::RightSemi => "right semi",
                    JoinKind::RightAnti => "right anti",
                };
                format!("probe t{} {kind}", probe.table)
            }
        });
    }
    words.push(match &pipeline.sink {
        Sink::Select { outputs, .. } => format!("select({} columns)", outputs.len()),
        Sink::Store { columns } => format!("store({} columns)", columns.len()),
        Sink::Reduce(aggregation) => {
            let accs: Vec<_> = aggregation.folds.iter().map(|f| f.acc.name()).collect();
            format!("reduce({})", accs.join(", "))
        }
        Sink::Group { keys, aggregation } => {
            let accs: Vec<_> = aggregation.folds.iter().map(|f| f.acc.name()).collect();
            format!("group({} keys: {})", keys.len(), accs.join(", "))
        }
    });
    words.join(" -> ")
}

/// The generated part of each pipeline's main kernel.
pub fn wgsl(fragment: &Fragment, adapter: &Capabilities) -> String {
    let mut text = String::new();
    let tables = Arc::new(fragment.tables.clone());
    let pipelines = fragment.tables.iter().map(|table| &table.pipeline).chain([&fragment.main]);
    for (number, pipeline) in pipelines.enumerate() {
        if pipeline.is_bare() {
            continue;
        }
        let shape = Shape {
            number,
            pipeline: Arc::new(pipeline.clone()),
            tables: tables.clone(),
            drive: Drive::Slot,
            linker: Linker::new(adapter),
            programs: Arc::default(),
        };
        let program = match &pipeline.sink {
            Sink::Select { .. } if marked_columns(pipeline).is_some() => {
                kernel::mark::program(&shape)
            }
            Sink::Select { outputs, .. } => {
                let columns = Arc::new(select_columns(outputs));
                kernel::select::program(&shape, &columns, Phase::OnePass)
            }
            Sink::Store { columns } => {
                let columns = Arc::new(Columns::computed(columns));
                kernel::select::program(&shape, &columns, Phase::Write)
            }
            Sink::Reduce(aggregation) => {
                kernel::reduce::program(&shape, &Arc::new(aggregation.clone()))
            }
            Sink::Group { keys, aggregation } => {
                let rounds = Rounds {
                    shape: &shape,
                    keys: &Arc::new(keys.clone()),
                    aggregation: &Arc::new(aggregation.clone()),
                    packing: &Arc::new(Packing::full(keys)),
                    replay: false,
                };
                kernel::group_hash::program(&rounds, rounds.entry(), 1)
            }
        };
        let first = program.parts.iter().find(|(_, name)| name == kernel::GENERATED);
        let skip = first.map_or(0, |(line, _)| line - 1);
        text.push_str(&format!("// pipeline {number}: {}\n", program.label));
        let parameters = pipeline.parameters().values();
        if !parameters.is_empty() {
            text.push_str(&format!("// parameters: {}\n", parameters.join(", ")));
        }
        for line in program.code.wgsl.lines().skip(skip) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
