//! As-of joins in FROM, planned as an `AsOfNode`.
//!
//! Written `JOIN r FOR SYSTEM_TIME AS OF l.ts ON ..` (Flink), `ASOF JOIN r MATCH_CONDITION (l.ts >=
//! r.ts) ON ..` (Snowflake, which keeps all left rows) or `ASOF [LEFT] JOIN r ON .. AND l.ts >=
//! r.ts` (DuckDB, a join that the parser takes as GLOBAL). The parser's rewriting makes each the
//! last join of a nested join, which is a relation.

use arrow::row::{RowConverter, SortField};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, plan_err};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator};
use datafusion::sql::sqlparser::ast::{
    self, JoinConstraint, JoinOperator, TableFactor, TableVersion,
};

use super::node::{AsOfNode, Parts};
use crate::plan::ExtensionNode;
use crate::stream::log::partition::{OFFSET, PARTITION};
use crate::stream::plan::{interval, late, watermark_bound};

const FORM: &str = "ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) ON l.key = r.key";

/// Whether a join is an as-of join.
pub fn is_as_of(join: &ast::Join) -> bool {
    join.global
        || version(&join.relation).is_some()
        || matches!(join.join_operator, JoinOperator::AsOf { .. })
}

/// The time of `FOR SYSTEM_TIME AS OF`.
fn version(table: &TableFactor) -> Option<&ast::Expr> {
    match table {
        TableFactor::Table { version: Some(TableVersion::ForSystemTimeAsOf(time)), .. } => {
            Some(time)
        }
        _ => None,
    }
}

/// Plans as-of joins; leaves all other relations to others.
#[derive(Debug)]
pub struct AsOfRelations;

impl RelationPlanner for AsOfRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (mut tables, alias) = match relation {
            TableFactor::NestedJoin { table_with_joins, alias }
                if table_with_joins.joins.last().is_some_and(is_as_of) =>
            {
                (table_with_joins, alias)
            }
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let Some(join) = tables.joins.pop() else {
            return plan_err!("an as-of join of one table: {FORM}");
        };
        let left = match tables.joins.is_empty() {
            true => tables.relation,
            false => TableFactor::NestedJoin { table_with_joins: tables, alias: None },
        };
        let left = context.plan(left)?;
        let plan = Conditions::plan(left, join, context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// What an as-of join asks of its sides.
struct Conditions {
    left: LogicalPlan,
    right: LogicalPlan,
    /// Expressions that are equal, left and right.
    keys: Vec<(Expr, Expr)>,
    /// Comparisons of a left with a right time.
    times: Vec<(Expr, Operator, Expr)>,
    outer: bool,
}

impl Conditions {
    fn plan(
        left: LogicalPlan,
        join: ast::Join,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let version = version(&join.relation).cloned();
        let (outer, matched, constraint) = match join.join_operator {
            JoinOperator::AsOf { match_condition, constraint } => {
                (true, Some(match_condition), constraint)
            }
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
                (false, None, constraint)
            }
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
                (true, None, constraint)
            }
            _ => return plan_err!("an as-of join is a JOIN or a LEFT JOIN: {FORM}"),
        };
        let on = match constraint {
            JoinConstraint::On(on) => Some(on),
            JoinConstraint::None => None,
            JoinConstraint::Using(_) | JoinConstraint::Natural => {
                return plan_err!("an as-of join names its keys with ON: {FORM}");
            }
        };
        let right = context.plan(join.relation)?;
        let both = left.schema().join(right.schema())?;
        let mut found = Self { left, right, keys: Vec::new(), times: Vec::new(), outer };
        for (expr, is_on) in on.map(|on| (on, true)).into_iter().chain(matched.map(|m| (m, false)))
        {
            for expr in split_conjunction_owned(context.sql_to_expr(expr, &both)?) {
                found.add(expr, is_on)?;
            }
        }
        if let Some(time) = version {
            let left = context.sql_to_expr(time, found.left.schema())?;
            let right = Expr::Column(found.version_time()?);
            found.times.push((left, Operator::GtEq, right));
        }
        found.build()
    }

    fn add(&mut self, expr: Expr, is_on: bool) -> Result<()> {
        match self.sides(&expr) {
            Some((left, Operator::Eq, right)) if is_on => self.keys.push((left, right)),
            Some((left, op @ (Operator::Gt | Operator::GtEq), right)) => {
                self.times.push((left, op, right));
            }
            Some((_, Operator::Lt | Operator::LtEq, _)) => {
                return plan_err!(
                    "an as-of join looks back, for the last right row that is not after the left \
                     one, and {expr} looks ahead: write l.ts >= r.ts or l.ts > r.ts"
                );
            }
            _ => {
                return plan_err!(
                    "an as-of join compares its sides, l.key = r.key and one l.ts >= r.ts, and \
                     {expr} does not: filter in a subquery, before the join or after it"
                );
            }
        }
        Ok(())
    }

    /// A comparison of a left with a right expression, turned so that the left one stands left.
    fn sides(&self, expr: &Expr) -> Option<(Expr, Operator, Expr)> {
        let Expr::BinaryExpr(binary) = expr else { return None };
        let is_of = |expr: &Expr, side: &LogicalPlan| {
            let refs = expr.column_refs();
            !refs.is_empty() && refs.iter().all(|column| side.schema().has_column(column))
        };
        let (one, other) = (binary.left.as_ref(), binary.right.as_ref());
        match () {
            () if is_of(one, &self.left) && is_of(other, &self.right) => {
                Some((one.clone(), binary.op, other.clone()))
            }
            () if is_of(other, &self.left) && is_of(one, &self.right) => {
                Some((other.clone(), binary.op.swap()?, one.clone()))
            }
            () => None,
        }
    }

    /// The event time of the stream on the right.
    fn version_time(&self) -> Result<Column> {
        let mut columns = self.right.schema().columns().into_iter();
        match columns.find(|column| late::is_event_time(&self.right, column)) {
            Some(column) => Ok(column),
            None => plan_err!(
                "FOR SYSTEM_TIME AS OF a column looks up the versions of a stream, by the time of \
                 its WATERMARK, and there is none on the right: name the time of its rows, {FORM}"
            ),
        }
    }

    fn build(mut self) -> Result<LogicalPlan> {
        let (Some((left_time, op, right_time)), true) = (self.times.pop(), self.times.is_empty())
        else {
            return plan_err!("an as-of join compares one time of each side: {FORM}");
        };
        let shown = [&self.left, &self.right].map(|side| side.schema().columns());
        let (left, right, in_log) = ruled(self.left, &left_time, self.right, &right_time)?;
        let pairs = [(left_time, right_time)].into_iter().chain(self.keys);
        let pairs = pairs.map(|(one, other)| coerced(one, other, left.schema(), right.schema()));
        let (of_left, of_right): (Vec<_>, Vec<_>) =
            pairs.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let ties = match in_log.is_empty() {
            true => sortable(&shown[1], right.schema())?,
            false => in_log,
        };
        let (left, of_left) = named(left, of_left, "__as_of_left")?;
        let (right, of_right) = named(right, of_right, "__as_of_right")?;
        let mut pairs = of_left.into_iter().zip(of_right);
        let Some(times) = pairs.next() else {
            return plan_err!("an as-of join compares one time of each side: {FORM}");
        };
        let (keys, before, outer) = (pairs.collect(), op == Operator::Gt, self.outer);
        let node = AsOfNode::new(Parts { left, right, keys, times, ties, before, outer })?;
        let shown = shown.into_iter().flatten().map(Expr::Column);
        LogicalPlanBuilder::from(node.plan()).project(shown)?.build()
    }
}

/// The sides without late rows, where both follow a watermark; the right side with the places of
/// its rows in the log, where it has one, and the columns that tell them.
fn ruled(
    left: LogicalPlan,
    left_time: &Expr,
    right: LogicalPlan,
    right_time: &Expr,
) -> Result<(LogicalPlan, LogicalPlan, Vec<Column>)> {
    let time = |side: &LogicalPlan, expr: &Expr| {
        let (column, _) = interval::moved(expr)?;
        let derived = watermark_bound::column(side, &column).is_some();
        let raw = !derived && late::is_event_time(side, &column);
        (derived || raw).then_some((column, raw))
    };
    let (of_left, of_right) = (time(&left, left_time), time(&right, right_time));
    let both = of_left.is_some() && of_right.is_some();
    let left = match of_left {
        Some((column, true)) if both => late::with_watermark_filter(&left, &column)?,
        _ => left,
    };
    let Some((column, true)) = of_right else { return Ok((left, right, Vec::new())) };
    let (right, in_log) = late::with_places(&right, &column, both, &[PARTITION, OFFSET])?;
    Ok((left, right, in_log))
}

/// Two expressions of one type.
fn coerced(one: Expr, other: Expr, left: &DFSchema, right: &DFSchema) -> Result<(Expr, Expr)> {
    let (of_one, of_other) = (one.get_type(left)?, other.get_type(right)?);
    if of_one == of_other {
        return Ok((one, other));
    }
    let Some(common) = comparison_coercion(&of_one, &of_other) else {
        return plan_err!(
            "an as-of join cannot compare {one} ({of_one}) with {other} ({of_other}): cast one"
        );
    };
    Ok((one.cast_to(&common, left)?, other.cast_to(&common, right)?))
}

/// Expressions as columns of their plan.
fn named(plan: LogicalPlan, exprs: Vec<Expr>, prefix: &str) -> Result<(LogicalPlan, Vec<Column>)> {
    let all = plan.schema().columns().into_iter().map(Expr::Column);
    let mut all: Vec<Expr> = all.collect();
    let count = all.len();
    let columns = exprs.into_iter().enumerate().map(|(nth, expr)| match expr {
        Expr::Column(column) => column,
        computed => {
            let name = format!("{prefix}_{nth}");
            all.push(computed.alias(name.as_str()));
            Column::new_unqualified(name)
        }
    });
    let columns = columns.collect();
    match all.len() > count {
        true => Ok((LogicalPlanBuilder::from(plan).project(all)?.build()?, columns)),
        false => Ok((plan, columns)),
    }
}

/// The columns whose values have an order.
fn sortable(columns: &[Column], schema: &DFSchema) -> Result<Vec<Column>> {
    let mut sortable = Vec::new();
    for column in columns {
        let field = SortField::new(schema.field_from_column(column)?.data_type().clone());
        if RowConverter::supports_fields(&[field]) {
            sortable.push(column.clone());
        }
    }
    Ok(sortable)
}
