//! Hash joins: the build side becomes a table, the probe side a step of the pipeline.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::{JoinSide, JoinType, NullEquality};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::HashJoinExec;

use super::{Col, InStage, Lowering, Stage, TableStage, plan_schema, plus_zero};
use crate::error::Declined;
use crate::expr::ir::Expr;
use crate::expr::lower;
use crate::fragment::spec::{JoinKind, Probe, Step};

impl Lowering {
    /// The build side becomes a table, the probe side goes on.
    pub(super) fn join(&mut self, join: &HashJoinExec) -> Result<Stage, Declined> {
        let kind = join_kind(join)?;
        let mut build = self.stage(join.left())?;
        let mut stage = self.stage(join.right())?;
        let mut keys = Vec::new();
        let mut key_cols = Vec::new();
        for (left, right) in join.on() {
            key_cols.push(self.key_col(&mut build, left)?);
            keys.push(plus_zero(self.lower(&mut stage, right)?));
        }
        let build_columns = build.cols.len();
        let table = self.tables.len();
        let keeps_few = self.keeps_few(&build, join.left());
        self.tables.push(TableStage {
            stage: build,
            outputs: Vec::new(),
            columns: Vec::new(),
            keys: Vec::new(),
            keeps_few,
        });
        for (at, col) in key_cols.into_iter().enumerate() {
            let output = self.tables[table].put_out(col)?;
            let column = self.table_column(table, output)?;
            self.match_key(table, column, &stage, &keys[at], &join.on()[at].0)?;
            self.tables[table].keys.push(column);
        }
        if matches!(kind, JoinKind::Left | JoinKind::Full) {
            stage.may_miss_all(table);
        }
        let mut cols: Vec<Col> =
            (0..build_columns).map(|c| Col::Table { table, column: c }).collect();
        let right = stage.cols.clone();
        let residual = self.residual(join, &mut stage, &cols, &right)?;
        if matches!(kind, JoinKind::Right | JoinKind::Full) {
            stage.missing.push(table);
        }
        let nulls = match join.null_equality() {
            NullEquality::NullEqualsNull => true,
            NullEquality::NullEqualsNothing => false,
        };
        let probe = Probe { table, kind, keys, null_equals_null: nulls, residual };
        stage.steps.push(Step::Probe(Box::new(probe)));
        match kind {
            JoinKind::LeftSemi | JoinKind::LeftAnti => {}
            JoinKind::RightSemi | JoinKind::RightAnti => cols = right,
            _ => cols.extend(right),
        }
        stage.cols = cols;
        if let Some(projection) = join.projection.as_ref() {
            stage.project(projection);
        }
        stage.output = plan_schema(join);
        Ok(stage)
    }

    fn key_col(
        &mut self,
        build: &mut Stage,
        expr: &Arc<dyn PhysicalExpr>,
    ) -> Result<Col, Declined> {
        match self.col(build, expr) {
            Col::Absent(reason) => Err(Declined(format!("join key {expr}: {reason}"))),
            col => {
                let data_type = self.col_type(build, &col);
                if data_type == DataType::Null {
                    return Err(Declined(format!("join key {expr} is of type Null")));
                }
                if !matches!(data_type, DataType::Float32 | DataType::Float64) {
                    return Ok(col);
                }
                let key = plus_zero(self.resolve(build, &col)?);
                Ok(Col::Computed(key, data_type))
            }
        }
    }

    /// Both sides of a key must be held alike; strings must share their codes.
    fn match_key(
        &mut self,
        table: usize,
        column: usize,
        stage: &Stage,
        key: &Expr,
        name: &Arc<dyn PhysicalExpr>,
    ) -> Result<(), Declined> {
        let spec = &self.tables[table].columns[column];
        if spec.rep != key.rep {
            return Err(Declined(format!("join key {name} has different types on both sides")));
        }
        match (spec.domain, self.domain_of(stage, key)) {
            (None, None) => Ok(()),
            (Some(left), Some(right)) => {
                self.unite(left, right);
                Ok(())
            }
            _ => Err(Declined(format!("join key {name} is not one string column on both sides"))),
        }
    }

    fn residual(
        &mut self,
        join: &HashJoinExec,
        stage: &mut Stage,
        left: &[Col],
        right: &[Col],
    ) -> Result<Option<Expr>, Declined> {
        let Some(filter) = join.filter() else { return Ok(None) };
        let cols: Vec<Col> = filter
            .column_indices()
            .iter()
            .map(|column| match column.side {
                JoinSide::Left => left[column.index].clone(),
                JoinSide::Right => right[column.index].clone(),
                JoinSide::None => Col::Absent("a mark column in a join filter".into()),
            })
            .collect();
        let schema: &Schema = filter.schema();
        let mut scope = InStage { lowering: self, stage, cols };
        lower::lower(filter.expression(), schema, &mut scope).map(Some)
    }
}

fn join_kind(join: &HashJoinExec) -> Result<JoinKind, Declined> {
    if join.null_aware {
        return Err(Declined::new("NOT IN with NULLs (a null-aware anti join) runs on the CPU"));
    }
    Ok(match join.join_type() {
        JoinType::Inner => JoinKind::Inner,
        JoinType::Left => JoinKind::Left,
        JoinType::Right => JoinKind::Right,
        JoinType::Full => JoinKind::Full,
        JoinType::LeftSemi => JoinKind::LeftSemi,
        JoinType::LeftAnti => JoinKind::LeftAnti,
        JoinType::RightSemi => JoinKind::RightSemi,
        JoinType::RightAnti => JoinKind::RightAnti,
        other => return Err(Declined(format!("a {other} join has no kernel yet"))),
    })
}
