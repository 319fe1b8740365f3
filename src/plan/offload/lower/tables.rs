//! What a build side leaves: its rows on the host, or its columns on the device.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::physical_plan::ExecutionPlan;

use super::{Col, Lowering, Stage, TableStage};
use crate::error::Declined;
use crate::expr::ir::Expr;
use crate::fragment::spec::{Sink, Step};
use crate::plan::offload::known_rows;

/// The device computes a build side's columns if its filters leave more than one row of so many.
/// Of fewer, the host takes them, so that nothing else of the source is sent: TPC-H 14 keeps one
/// row of 80, and would send 170 MB for it instead of 29.
const FEW: u64 = 16;

/// Bytes that a string counts for: what it costs to look its code up.
const STRING: usize = 16;

impl Lowering {
    /// Whether a build side is known to leave few of its source's rows, by nothing but filters.
    pub(super) fn keeps_few(&self, stage: &Stage, plan: &Arc<dyn ExecutionPlan>) -> bool {
        let filters = |step: &Step| matches!(step, Step::Filter(_));
        if stage.steps.is_empty() || !stage.steps.iter().all(filters) {
            return false;
        }
        let all = known_rows(self.sources[stage.source].as_ref());
        let kept = known_rows(plan.as_ref());
        all.zip(kept).is_some_and(|(all, kept)| all > 0 && kept.saturating_mul(FEW) <= all)
    }

    /// Whether few rows are left of a source of which the filters read no more than the half.
    fn is_taken_by_the_host(&self, table: usize, stage: &Stage) -> bool {
        let TableStage { outputs, keeps_few, .. } = &self.tables[table];
        if !keeps_few {
            return false;
        }
        let read: BTreeSet<usize> = stage.columns.iter().map(|column| column.index).collect();
        let put_out = outputs.iter().filter_map(|col| match col {
            Col::Source(column) => Some(*column),
            _ => None,
        });
        let more = &put_out.collect::<BTreeSet<_>>() - &read;
        let width = |column: &usize| stage.schema.field(*column).data_type().primitive_width();
        let bytes = |columns: &BTreeSet<usize>| {
            columns.iter().map(|column| width(column).unwrap_or(STRING)).sum::<usize>()
        };
        !more.is_empty() && bytes(&more) >= bytes(&read)
    }

    /// The rows of a build side, on the host.
    pub(super) fn rows_of(&mut self, table: usize, stage: &Stage) -> Result<Sink, Declined> {
        let cols = self.tables[table].outputs.clone();
        let field = |col: &Col| {
            let (name, data_type) = self.output_field(stage, col);
            Field::new(name, data_type, true)
        };
        let fields: Vec<_> = cols.iter().map(field).collect();
        let outputs = cols.into_iter().map(|col| self.output(stage, col));
        let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
        Ok(Sink::Select { outputs, schema: Arc::new(Schema::new(fields)) })
    }

    /// What computes the device columns of a build side, where it is more than its source's rows
    /// and the device can; their strings share the codes of what they come from.
    pub(super) fn stored(&mut self, table: usize, stage: &mut Stage) -> Option<Vec<Expr>> {
        let TableStage { outputs, columns, .. } = &self.tables[table];
        let (outputs, columns) = (outputs.clone(), columns.clone());
        let plain = |col: &Col| matches!(col, Col::Source(_));
        if outputs.iter().all(plain)
            && (stage.steps.is_empty() || self.is_taken_by_the_host(table, stage))
        {
            return None;
        }
        let mut exprs = Vec::new();
        for column in &columns {
            let expr = self.resolve(stage, &outputs[column.index]).ok()?;
            match (column.domain, self.domain_of(stage, &expr)) {
                (None, None) if expr.rep == column.rep => {}
                (Some(own), Some(other)) => self.unite(own, other),
                _ => return None,
            }
            exprs.push(expr);
        }
        Some(exprs)
    }
}
