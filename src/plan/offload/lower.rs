//! From a physical plan's subtree to a fragment, or to the reason why not.
//!
//! Filters, projections, hash joins and one aggregate on top become steps of pipelines; what feeds
//! them, whatever it is, becomes a source. Expressions are lowered where they are first needed, so
//! a column that only passes through never reaches the device.

mod aggregate;
pub mod fragment;
mod join;
mod missing;
mod tables;

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;

use crate::device::FloatExactness;
use crate::error::Declined;
use crate::expr::ir::{Expr, Kind, Rep};
use crate::expr::lower::{self, Scope, is_string};
use crate::expr::prim;
use crate::fragment::join::place_payloads;
use crate::fragment::spec::{
    ArenaColumn, Domain, Fragment, Input, Lookup, Output, Pipeline, Sink, Step, Store, Table,
};

/// A fragment with the plans that feed it.
pub struct Lowered {
    pub fragment: Fragment,
    pub sources: Vec<Arc<dyn ExecutionPlan>>,
}

/// A column of an operator's output, as the pipeline sees it.
#[derive(Clone)]
pub(super) enum Col {
    Source(usize),
    /// Of a join table, by the number of its build side's column.
    Table {
        table: usize,
        column: usize,
    },
    Computed(Expr, DataType),
    /// Not to be had on the device; asking for it declines.
    Absent(String),
}

/// A pipeline under construction.
pub(super) struct Stage {
    source: usize,
    schema: SchemaRef,
    columns: Vec<ArenaColumn>,
    inputs: Vec<Input>,
    lookups: Vec<Lookup>,
    steps: Vec<Step>,
    pub cols: Vec<Col>,
    pub output: SchemaRef,
    /// Rows of the source, of each table, may be missing from a tuple (outer joins).
    source_missing: bool,
    missing: Vec<usize>,
}

/// A join table under construction: its outputs grow as columns are asked for.
struct TableStage {
    stage: Stage,
    /// Columns of the stage that are put out, in order.
    outputs: Vec<Col>,
    columns: Vec<ArenaColumn>,
    keys: Vec<usize>,
    /// Its filters are known to leave few of its source's rows.
    keeps_few: bool,
}

/// Lowers one fragment.
pub(super) struct Lowering {
    floats: FloatExactness,
    sources: Vec<Arc<dyn ExecutionPlan>>,
    tables: Vec<TableStage>,
    /// Union-find parents of string domains.
    domains: Vec<Domain>,
}

impl Lowering {
    pub(super) fn stage(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Stage, Declined> {
        refuse_limit(plan.as_ref())?;
        if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            return self.filter(filter);
        }
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            return self.projection(projection);
        }
        if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            return self.join(join);
        }
        if let Some(inner) = absorbed(plan) {
            return self.stage(inner);
        }
        Ok(self.source(plan))
    }

    fn source(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Stage {
        self.sources.push(plan.clone());
        let schema = plan.schema();
        Stage {
            source: self.sources.len() - 1,
            schema: schema.clone(),
            columns: Vec::new(),
            inputs: Vec::new(),
            lookups: Vec::new(),
            steps: Vec::new(),
            cols: (0..schema.fields().len()).map(Col::Source).collect(),
            output: schema,
            source_missing: false,
            missing: Vec::new(),
        }
    }

    fn filter(&mut self, filter: &FilterExec) -> Result<Stage, Declined> {
        let mut stage = self.stage(filter.input())?;
        let predicate = self.lower(&mut stage, filter.predicate())?;
        stage.steps.push(Step::Filter(predicate));
        if let Some(projection) = filter.projection() {
            stage.project(projection);
        }
        stage.output = plan_schema(filter);
        Ok(stage)
    }

    fn projection(&mut self, projection: &ProjectionExec) -> Result<Stage, Declined> {
        let mut stage = self.stage(projection.input())?;
        let mut cols = Vec::new();
        for item in projection.expr() {
            cols.push(self.col(&mut stage, &item.expr));
        }
        stage.cols = cols;
        stage.output = plan_schema(projection);
        Ok(stage)
    }

    /// An expression as a column: itself if it is one, computed if that is possible.
    fn col(&mut self, stage: &mut Stage, expr: &Arc<dyn PhysicalExpr>) -> Col {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return stage.cols[column.index()].clone();
        }
        let data_type = match expr.data_type(&stage.output) {
            Ok(data_type) => data_type,
            Err(error) => return Col::Absent(error.to_string()),
        };
        match self.lower(stage, expr) {
            Ok(lowered) => Col::Computed(lowered, data_type),
            Err(Declined(reason)) => Col::Absent(reason),
        }
    }

    /// Lowers an expression over a stage's columns.
    pub(super) fn lower(
        &mut self,
        stage: &mut Stage,
        expr: &Arc<dyn PhysicalExpr>,
    ) -> Result<Expr, Declined> {
        let schema = stage.output.clone();
        let cols = stage.cols.clone();
        lower::lower(expr, &schema, &mut InStage { lowering: self, stage, cols })
    }

    // ---------------------------------------------------------------------------- columns

    /// What computes a column in a stage.
    fn resolve(&mut self, stage: &mut Stage, col: &Col) -> Result<Expr, Declined> {
        match col {
            Col::Computed(expr, _) => Ok(expr.clone()),
            Col::Absent(reason) => Err(Declined(reason.clone())),
            Col::Source(_) | Col::Table { .. } if self.col_type(stage, col) == DataType::Null => {
                Ok(Expr::literal(None, Rep::B1))
            }
            Col::Source(index) => {
                let field = stage.schema.field(*index).clone();
                let known = stage.columns.iter().position(|column| column.index == *index);
                let column = match known {
                    Some(column) => column,
                    None => {
                        let spec = self.arena_column(
                            *index,
                            field.name(),
                            field.data_type(),
                            field.is_nullable(),
                        )?;
                        stage.columns.push(spec);
                        stage.columns.len() - 1
                    }
                };
                let spec = &stage.columns[column];
                let (rep, nullable) = (spec.rep, spec.nullable || stage.source_missing);
                Ok(Expr::input(stage.input(Input::Slot(column)), rep, nullable))
            }
            Col::Table { table, column } => {
                let col = self.tables[*table].stage.cols[*column].clone();
                let output = self.tables[*table].put_out(col)?;
                let at = self.table_column(*table, output)?;
                let spec = &self.tables[*table].columns[at];
                let nullable = spec.nullable || stage.missing.contains(table);
                let (rep, input) = (spec.rep, Input::Table { table: *table, column: at });
                Ok(Expr::input(stage.input(input), rep, nullable))
            }
        }
    }

    fn arena_column(
        &mut self,
        index: usize,
        name: &str,
        data_type: &DataType,
        nullable: bool,
    ) -> Result<ArenaColumn, Declined> {
        let rep = lower::rep_of(data_type)
            .map_err(|Declined(reason)| Declined(format!("column {name}: {reason}")))?;
        let domain = is_string(data_type).then(|| self.new_domain());
        let store = Store::of(data_type, rep);
        let (name, data_type) = (name.to_string(), data_type.clone());
        Ok(ArenaColumn { index, name, data_type, rep, store, nullable, domain })
    }

    fn new_domain(&mut self) -> Domain {
        self.domains.push(self.domains.len());
        self.domains.len() - 1
    }

    /// Strings of both share their codes from now on.
    pub(super) fn unite(&mut self, a: Domain, b: Domain) {
        let (a, b) = (self.root(a), self.root(b));
        self.domains[a.max(b)] = a.min(b);
    }

    fn root(&self, domain: Domain) -> Domain {
        let mut at = domain;
        while self.domains[at] != at {
            at = self.domains[at];
        }
        at
    }

    /// The device column of a table's output, new or known.
    fn table_column(&mut self, table: usize, output: usize) -> Result<usize, Declined> {
        let stage = &self.tables[table];
        if let Some(at) = stage.columns.iter().position(|column| column.index == output) {
            return Ok(at);
        }
        let (name, data_type, nullable) = match &stage.outputs[output] {
            Col::Computed(expr, data_type) => {
                ("computed".to_string(), data_type.clone(), expr.nullable)
            }
            col => {
                let field = self.output_field(&stage.stage, col);
                (field.0, field.1, true)
            }
        };
        let spec = self.arena_column(output, &name, &data_type, nullable)?;
        self.tables[table].columns.push(spec);
        Ok(self.tables[table].columns.len() - 1)
    }

    /// Name and type of a column that passes through.
    fn output_field(&self, stage: &Stage, col: &Col) -> (String, DataType) {
        match col {
            Col::Source(index) => {
                let field = stage.schema.field(*index);
                (field.name().clone(), field.data_type().clone())
            }
            Col::Table { table, column } => {
                let inner = &self.tables[*table].stage;
                self.output_field(inner, &inner.cols[*column])
            }
            Col::Computed(_, data_type) => ("computed".into(), data_type.clone()),
            Col::Absent(_) => ("absent".into(), DataType::Null),
        }
    }

    fn col_type(&self, stage: &Stage, col: &Col) -> DataType {
        match col {
            Col::Computed(_, data_type) => data_type.clone(),
            col => self.output_field(stage, col).1,
        }
    }

    /// The strings an expression's codes belong to.
    pub(super) fn domain_of(&self, stage: &Stage, expr: &Expr) -> Option<Domain> {
        match &expr.kind {
            Kind::Input(index) => match stage.inputs[*index] {
                Input::Slot(column) => stage.columns[column].domain,
                Input::Table { table, column } => self.tables[table].columns[column].domain,
                Input::Probed { .. } => None,
            },
            Kind::Lookup { table, .. } => stage.lookups[*table].result,
            // A value that an outer join may have made NULL.
            Kind::Case(branches, Some(otherwise)) => match (&branches[..], &otherwise.kind) {
                ([(_, value)], Kind::Literal(None)) => self.domain_of(stage, value),
                _ => None,
            },
            _ => None,
        }
    }

    // ----------------------------------------------------------------------------- finish

    /// Where a stage's output columns come from.
    pub(super) fn outputs(&mut self, stage: &mut Stage) -> Result<Vec<Output>, Declined> {
        let cols = stage.cols.clone();
        cols.into_iter().map(|col| self.output(stage, col)).collect()
    }

    fn output(&mut self, stage: &Stage, col: Col) -> Result<Output, Declined> {
        Ok(match col {
            Col::Source(index) => Output::Source(index),
            Col::Table { table, column } => {
                let col = self.tables[table].stage.cols[column].clone();
                Output::Table { table, column: self.tables[table].put_out(col)? }
            }
            Col::Computed(expr, data_type) => {
                let domain = self.domain_of(stage, &expr);
                if is_string(&data_type) && domain.is_none() {
                    let text = "strings computed from several columns run on the CPU";
                    return Err(Declined::new(text));
                }
                Output::Computed { expr, data_type, domain }
            }
            Col::Absent(reason) => return Err(Declined(reason)),
        })
    }

    pub(super) fn finish(mut self, stage: Stage, sink: Sink) -> Result<Lowered, Declined> {
        let mut wanted = vec![false; self.tables.len()];
        let want = |sink: &Sink, wanted: &mut [bool]| {
            let Sink::Select { outputs, .. } = sink else { return };
            for output in outputs {
                if let Output::Table { table, .. } = output {
                    wanted[*table] = true;
                }
            }
        };
        want(&sink, &mut wanted);
        let main = stage.pipeline(sink);
        let mut tables = Vec::new();
        // Later tables may still ask earlier ones for outputs: finish them last to first.
        for at in (0..self.tables.len()).rev() {
            let mut stage = self.tables[at].stage.take();
            let stored = if wanted[at] { None } else { self.stored(at, &mut stage) };
            let sink = match stored {
                Some(columns) => Sink::Store { columns },
                None => self.rows_of(at, &stage)?,
            };
            want(&sink, &mut wanted);
            let pipeline = stage.pipeline(sink);
            let (columns, keys) = (self.tables[at].columns.clone(), self.tables[at].keys.clone());
            tables.push(Table { pipeline, columns, keys, payload: Vec::new() });
        }
        tables.reverse();
        let mut fragment = Fragment { tables, main, domains: self.domains.len() };
        place_payloads(&mut fragment);
        self.settle_domains(&mut fragment);
        Ok(Lowered { fragment, sources: self.sources })
    }

    /// Replaces every domain by the one it was united with.
    fn settle_domains(&self, fragment: &mut Fragment) {
        let settle = |domain: &mut Option<Domain>| {
            if let Some(domain) = domain {
                *domain = self.root(*domain);
            }
        };
        let pipeline = |pipeline: &mut Pipeline| {
            for column in &mut pipeline.columns {
                settle(&mut column.domain);
            }
            for lookup in &mut pipeline.lookups {
                lookup.domain = self.root(lookup.domain);
                settle(&mut lookup.result);
            }
            match &mut pipeline.sink {
                Sink::Select { outputs, .. } => {
                    for output in outputs {
                        if let Output::Computed { domain, .. } = output {
                            settle(domain);
                        }
                    }
                }
                Sink::Group { keys, .. } => keys.iter_mut().for_each(|key| settle(&mut key.domain)),
                Sink::Reduce(_) | Sink::Store { .. } => {}
            }
        };
        pipeline(&mut fragment.main);
        for table in &mut fragment.tables {
            pipeline(&mut table.pipeline);
            for column in &mut table.columns {
                settle(&mut column.domain);
            }
        }
    }
}

impl Stage {
    fn input(&mut self, input: Input) -> usize {
        if let Some(at) = self.inputs.iter().position(|known| *known == input) {
            return at;
        }
        self.inputs.push(input);
        self.inputs.len() - 1
    }

    fn project(&mut self, columns: &[usize]) {
        self.cols = columns.iter().map(|column| self.cols[*column].clone()).collect();
    }

    /// Leaves an empty stage behind.
    fn take(&mut self) -> Stage {
        Stage {
            source: self.source,
            schema: self.schema.clone(),
            columns: std::mem::take(&mut self.columns),
            inputs: std::mem::take(&mut self.inputs),
            lookups: std::mem::take(&mut self.lookups),
            steps: std::mem::take(&mut self.steps),
            cols: self.cols.clone(),
            output: self.output.clone(),
            source_missing: self.source_missing,
            missing: self.missing.clone(),
        }
    }

    fn pipeline(self, sink: Sink) -> Pipeline {
        let Self { source, schema, columns, inputs, lookups, steps, .. } = self;
        Pipeline { source, schema, columns, inputs, lookups, steps, sink }
    }
}

impl TableStage {
    /// Number of the output column, new or known.
    fn put_out(&mut self, col: Col) -> Result<usize, Declined> {
        let same = |known: &Col| match (known, &col) {
            (Col::Source(a), Col::Source(b)) => a == b,
            (Col::Table { table: t, column: c }, Col::Table { table, column }) => {
                t == table && c == column
            }
            (Col::Computed(a, s), Col::Computed(b, t)) => a == b && s == t,
            _ => false,
        };
        if let Col::Absent(reason) = col {
            return Err(Declined(reason));
        }
        if let Some(at) = self.outputs.iter().position(same) {
            return Ok(at);
        }
        self.outputs.push(col);
        Ok(self.outputs.len() - 1)
    }
}

/// The columns an expression may name, in a stage.
struct InStage<'a> {
    lowering: &'a mut Lowering,
    stage: &'a mut Stage,
    cols: Vec<Col>,
}

impl Scope for InStage<'_> {
    fn column(&mut self, index: usize) -> Result<Expr, Declined> {
        let col = self.cols[index].clone();
        self.lowering.resolve(self.stage, &col)
    }

    fn lookup(
        &mut self,
        index: usize,
        expr: Arc<dyn PhysicalExpr>,
        data_type: &DataType,
    ) -> Result<usize, Declined> {
        let code = self.column(index)?;
        let Some(domain) = self.lowering.domain_of(self.stage, &code) else {
            return Err(Declined::new("strings computed from several columns run on the CPU"));
        };
        let argument = self.lowering.col_type(self.stage, &self.cols[index]);
        let rep = lower::rep_of(data_type)?;
        let result = is_string(data_type).then(|| self.lowering.new_domain());
        let data_type = data_type.clone();
        self.stage.lookups.push(Lookup { domain, expr, argument, data_type, rep, result });
        Ok(self.stage.lookups.len() - 1)
    }

    fn floats(&self) -> FloatExactness {
        self.lowering.floats
    }
}

/// A node that gives no more than so many rows is no part of a fragment: a kernel works on all rows
/// of a slot, while the CPU stops where it has enough.
pub(super) fn refuse_limit(plan: &dyn ExecutionPlan) -> Result<(), Declined> {
    let ours = plan.is::<FilterExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<HashJoinExec>()
        || plan.is::<AggregateExec>();
    match plan.fetch() {
        Some(rows) if ours => {
            let text = format!("{} stops at {rows} rows: row limits run on the CPU", plan.name());
            Err(Declined(text))
        }
        _ => Ok(()),
    }
}

/// Nodes that only move rows between partitions vanish in a fragment, which has one.
fn absorbed(plan: &Arc<dyn ExecutionPlan>) -> Option<&Arc<dyn ExecutionPlan>> {
    if plan.fetch().is_some() {
        return None;
    }
    if let Some(node) = plan.downcast_ref::<RepartitionExec>() {
        return (!node.preserve_order()).then(|| node.input());
    }
    if let Some(node) = plan.downcast_ref::<CoalescePartitionsExec>() {
        return Some(node.input());
    }
    plan.downcast_ref::<CooperativeExec>().map(|node| node.input())
}

/// `absorbed`, as often as it goes.
pub(super) fn strip(plan: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    let mut plan = plan;
    while let Some(inner) = absorbed(plan) {
        plan = inner;
    }
    plan
}

/// A key without negative zeros: groups and joins know one zero, as DataFusion's do.
pub(super) fn plus_zero(key: Expr) -> Expr {
    match key.rep {
        Rep::F32 => Expr::call(&prim::PLUS_ZERO_F32, vec![key]),
        Rep::F64 => Expr::call(&prim::PLUS_ZERO_F64, vec![key]),
        _ => key,
    }
}

fn plan_schema(plan: &dyn ExecutionPlan) -> SchemaRef {
    plan.schema()
}
