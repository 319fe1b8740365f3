//! What a build side leaves: its rows on the host, or its columns on the device.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::{Col, Lowering, Stage, TableStage};
use crate::error::Declined;
use crate::expr::ir::Expr;
use crate::fragment::spec::Sink;

impl Lowering {
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
        if stage.steps.is_empty() && outputs.iter().all(plain) {
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
