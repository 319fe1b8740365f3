//! `JOIN .. USING (k)` and `NATURAL JOIN`: the column `k` is the left one where there is a left row,
//! else the right one, wherever it is named without a table; `a.k` and `b.k` stay what they are.
//!
//! DataFusion's planner takes `k` for `a.k`, which is NULL for right rows without a left one. It
//! knows that two columns may be named as one only of joins with USING in its plan. So each such
//! join is planned here, as one with ON below a projection that adds `k`, and above it stands a
//! join with USING that is never run: it tells the planner that `k`, `a.k` and `b.k` are all named
//! `k`, the added one first. `planned` takes it away when the statement is planned.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, NullEquality, Result, TableReference, plan_err};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::utils::{can_hash, expand_wildcard};
use datafusion::logical_expr::{
    EmptyRelation, Expr, Join, JoinConstraint, JoinType, LogicalPlan, LogicalPlanBuilder,
};
use datafusion::sql::sqlparser::ast::{
    self, JoinConstraint as Constraint, JoinOperator, Select, TableFactor, TableWithJoins,
    VisitorMut,
};

use crate::stream::asof::is_as_of;

/// What the qualifiers of added columns begin with. A blank sorts before all names: of columns
/// that are named as one, DataFusion's `*` gives the one whose qualifier is the least.
const ADDED: &str = " ";

/// Whether the statement joins so at all.
#[derive(Debug)]
pub struct Merges;

impl VisitorMut for Merges {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let joins = select.from.iter().flat_map(|tables| &tables.joins);
        found(joins.into_iter().any(|join| merged(join).is_some()))
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::NestedJoin { table_with_joins, .. } = table else {
            return ControlFlow::Continue(());
        };
        found(table_with_joins.joins.iter().any(|join| merged(join).is_some()))
    }
}

fn found(any: bool) -> ControlFlow<()> {
    if any { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// The type and the constraint of a join that merges columns of its sides.
fn merged(join: &ast::Join) -> Option<(JoinType, &Constraint)> {
    let (join_type, constraint) = match &join.join_operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
            (JoinType::Inner, constraint)
        }
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
            (JoinType::Left, constraint)
        }
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
            (JoinType::Right, constraint)
        }
        JoinOperator::FullOuter(constraint) => (JoinType::Full, constraint),
        _ => return None,
    };
    let merges = matches!(constraint, Constraint::Using(_) | Constraint::Natural);
    let lateral = match &join.relation {
        TableFactor::Derived { lateral, .. } | TableFactor::Function { lateral, .. } => *lateral,
        TableFactor::UNNEST { .. } => true,
        _ => false,
    };
    (merges && !lateral && !is_as_of(join)).then_some((join_type, constraint))
}

/// Nests joins, so that each that merges columns is the last of its relation, and tables, so that
/// none sees what stands in another.
#[derive(Debug)]
pub struct UsingJoins;

impl VisitorMut for UsingJoins {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        select.from.iter_mut().for_each(|tables| nest(tables, false));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = table
            && !table_with_joins.joins.is_empty()
        {
            nest(table_with_joins, true);
        }
        ControlFlow::Continue(())
    }
}

/// Puts what stands up to each such join into a relation of its own; `whole` is one already.
fn nest(tables: &mut TableWithJoins, whole: bool) {
    let joins = std::mem::take(&mut tables.joins);
    let last = joins.len().saturating_sub(1);
    isolate(&mut tables.relation);
    for (at, mut join) in joins.into_iter().enumerate() {
        if !is_as_of(&join) {
            isolate(&mut join.relation);
        }
        let nests = merged(&join).is_some() && !(whole && at == last);
        tables.joins.push(join);
        if nests {
            let joins = std::mem::take(&mut tables.joins);
            let relation = tables.relation.clone();
            tables.relation = alone(TableWithJoins { relation, joins });
        }
    }
}

fn alone(tables: TableWithJoins) -> TableFactor {
    TableFactor::NestedJoin { table_with_joins: Box::new(tables), alias: None }
}

fn isolate(table: &mut TableFactor) {
    let has_query = match table {
        TableFactor::Table { args, version, .. } => args.is_none() && version.is_none(),
        TableFactor::Derived { lateral, .. } => !*lateral,
        _ => false,
    };
    if has_query {
        let relation = table.clone();
        *table = alone(TableWithJoins { relation, joins: Vec::new() });
    }
}

/// Plans such joins; leaves all other relations to others.
#[derive(Debug)]
pub struct UsingRelations;

impl RelationPlanner for UsingRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let TableFactor::NestedJoin { mut table_with_joins, alias } = relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let plan = match table_with_joins.joins.pop() {
            None => without_marks(context.plan(table_with_joins.relation)?)?.0,
            Some(join) => match merged(&join) {
                Some((join_type, constraint)) => {
                    let constraint = constraint.clone();
                    let left = match table_with_joins.joins.is_empty() {
                        true => context.plan(table_with_joins.relation)?,
                        false => context.plan(alone(*table_with_joins))?,
                    };
                    let right = context.plan(join.relation)?;
                    let (left, right) = (qualified(left)?, qualified(right)?);
                    Sides { left, right, join_type }.plan(&constraint, context)?
                }
                None => {
                    table_with_joins.joins.push(join);
                    let relation = TableFactor::NestedJoin { table_with_joins, alias };
                    return Ok(RelationPlanning::Original(Box::new(relation)));
                }
            },
        };
        let plan = match alias {
            // Behind an alias there is one column of each name.
            Some(_) => {
                let visible = visible(&plan)?;
                let named = LogicalPlanBuilder::from(plan).project(visible)?.build()?;
                without_marks(named)?.0
            }
            None => plan,
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// What `*` gives of a relation.
fn visible(plan: &LogicalPlan) -> Result<Vec<Expr>> {
    expand_wildcard(plan.schema(), plan, None)
}

/// The rows of a subquery without an alias, with a qualifier: next to qualified columns, others
/// could not be told apart.
fn qualified(plan: LogicalPlan) -> Result<LogicalPlan> {
    if plan.schema().iter().all(|(qualifier, _)| qualifier.is_some()) {
        return Ok(plan);
    }
    let columns = plan.schema().columns().into_iter().map(|column| match column.relation {
        Some(_) => Expr::Column(column),
        None => {
            let name = column.name.clone();
            let qualifier = TableReference::bare(format!("{ADDED}_"));
            Expr::Column(column).alias_qualified(Some(qualifier), name)
        }
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

fn is_added(column: &Column) -> bool {
    column.relation.as_ref().is_some_and(|relation| relation.table().starts_with(ADDED))
}

/// A join that merges columns.
struct Sides {
    left: LogicalPlan,
    right: LogicalPlan,
    join_type: JoinType,
}

/// One column of both sides.
struct Key {
    left: Column,
    right: Column,
    /// Columns of both sides that are named as it is.
    same: HashSet<Column>,
}

impl Sides {
    fn plan(
        self,
        constraint: &Constraint,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let mut keys = Vec::new();
        for name in self.names(constraint, context)? {
            keys.push(self.key(&name)?);
        }
        let (mut lefts, mut rights, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for key in &keys {
            if can_hash(self.left.schema().qualified_field_from_column(&key.left)?.1.data_type()) {
                lefts.push(key.left.clone());
                rights.push(key.right.clone());
            } else {
                others.push(Expr::from(key.left.clone()).eq(Expr::from(key.right.clone())));
            }
        }
        let filter = others.into_iter().reduce(Expr::and);
        let columns = self.columns(&keys);
        let Self { left, right, join_type } = self;
        let builder = LogicalPlanBuilder::from(left);
        let joined = match keys.is_empty() {
            true => builder.join_on(right, join_type, []),
            false => builder.join(right, join_type, (lefts, rights), filter),
        };
        let projected = joined?.project(columns)?.build()?;
        if keys.is_empty() { Ok(projected) } else { Ok(marked(projected, &keys)) }
    }

    /// The names of the columns that are merged.
    fn names(
        &self,
        constraint: &Constraint,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<Vec<String>> {
        let Constraint::Using(names) = constraint else {
            let names = |plan: &LogicalPlan| -> Result<Vec<String>> {
                let columns = visible(plan)?.into_iter();
                Ok(columns.map(|column| column.qualified_name().1).collect())
            };
            let (mut lefts, rights) = (names(&self.left)?, names(&self.right)?);
            let mut seen = HashSet::new();
            lefts.retain(|name| rights.contains(name) && seen.insert(name.clone()));
            return Ok(lefts);
        };
        let names = names.iter().map(|name| match name.0.as_slice() {
            [ast::ObjectNamePart::Identifier(name)] => Ok(context.normalize_ident(name.clone())),
            _ => plan_err!("USING ({name}): a column is named here without its table"),
        });
        names.collect()
    }

    fn key(&self, name: &str) -> Result<Key> {
        let mut same = HashSet::new();
        let mut side = |plan: &LogicalPlan| -> Result<Column> {
            let sets = plan.using_columns()?;
            let column = Column::from_name(name);
            let column = column
                .normalize_with_schemas_and_ambiguity_check(&[&[plan.schema().as_ref()]], &sets)?;
            let sets = sets.into_iter().filter(|set| set.contains(&column));
            same.extend(sets.flatten().filter(|other| other.name == name));
            same.insert(column.clone());
            Ok(column)
        };
        let (left, right) = (side(&self.left)?, side(&self.right)?);
        Ok(Key { left, right, same })
    }

    /// The columns of both sides; before the left column of each key, what it is named without a
    /// table.
    fn columns(&self, keys: &[Key]) -> Vec<Expr> {
        let mut columns = Vec::new();
        for column in self.left.schema().columns() {
            if let Some(key) = keys.iter().find(|key| key.left == column) {
                columns.push(self.merged(key));
                if is_added(&column) {
                    continue;
                }
            }
            columns.push(Expr::Column(column));
        }
        let rights = self.right.schema().columns().into_iter();
        let gone =
            |column: &Column| is_added(column) && keys.iter().any(|key| key.right == *column);
        columns.extend(rights.filter(|column| !gone(column)).map(Expr::Column));
        columns
    }

    fn merged(&self, key: &Key) -> Expr {
        let (left, right) = (Expr::from(key.left.clone()), Expr::from(key.right.clone()));
        let value = match self.join_type {
            JoinType::Right => right,
            JoinType::Full => coalesce(vec![left, right]),
            _ => left,
        };
        value.alias_qualified(Some(key.qualifier()), &key.left.name)
    }
}

impl Key {
    /// The added column's: no other of a statement is of the same tables.
    fn qualifier(&self) -> TableReference {
        let name = |column: &Column| {
            let relation = column.relation.as_ref().map(ToString::to_string).unwrap_or_default();
            relation.trim_start_matches(ADDED).to_string()
        };
        TableReference::bare(format!("{ADDED}{}+{}", name(&self.left), name(&self.right)))
    }
}

/// A join with USING over the rows, which is only there to be seen by the planner.
fn marked(plan: LogicalPlan, keys: &[Key]) -> LogicalPlan {
    let mut on = Vec::new();
    for key in keys {
        let added = Column::new(Some(key.qualifier()), &key.left.name);
        let mut same: Vec<_> = key.same.iter().filter(|column| !is_added(column)).collect();
        same.sort();
        on.extend(same.into_iter().map(|other| (added.clone().into(), other.clone().into())));
    }
    let schema = Arc::clone(plan.schema());
    let nothing = EmptyRelation { produce_one_row: true, schema: Arc::new(DFSchema::empty()) };
    LogicalPlan::Join(Join {
        left: Arc::new(plan),
        right: Arc::new(LogicalPlan::EmptyRelation(nothing)),
        on,
        filter: None,
        join_type: JoinType::Inner,
        join_constraint: JoinConstraint::Using,
        schema,
        null_equality: NullEquality::NullEqualsNothing,
        null_aware: false,
    })
}

fn is_mark(join: &Join) -> bool {
    join.join_constraint == JoinConstraint::Using
        && matches!(join.right.as_ref(), LogicalPlan::EmptyRelation(_))
        && join.on.first().and_then(|(left, _)| left.try_as_col()).is_some_and(is_added)
}

/// The plan of a statement without the joins that were only there for the planner; columns that
/// are named by expressions are named without the added qualifiers.
pub fn planned(plan: LogicalPlan) -> Result<LogicalPlan> {
    let (plan, qualifiers) = without_marks(plan)?;
    if qualifiers.is_empty() { Ok(plan) } else { renamed(plan, &qualifiers) }
}

/// Takes the marks off, and tells the qualifiers of the columns that were added.
fn without_marks(plan: LogicalPlan) -> Result<(LogicalPlan, HashSet<String>)> {
    let mut qualifiers = HashSet::new();
    let plan = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Join(join) if is_mark(&join) => {
            let columns = join.on.iter().filter_map(|(left, _)| left.try_as_col());
            let relations = columns.filter_map(|column| column.relation.as_ref());
            qualifiers.extend(relations.map(ToString::to_string));
            Ok(Transformed::yes(Arc::unwrap_or_clone(join.left)))
        }
        plan => Ok(Transformed::no(plan)),
    })?;
    Ok((plan.data, qualifiers))
}

fn renamed(plan: LogicalPlan, qualifiers: &HashSet<String>) -> Result<LogicalPlan> {
    use LogicalPlan::{Analyze, Copy, Ddl, Dml, Explain, Statement};
    if let Ddl(_) | Dml(_) | Copy(_) | Explain(_) | Analyze(_) | Statement(_) = plan {
        let inner = |plan| renamed(plan, qualifiers).map(Transformed::yes);
        return Ok(plan.map_children(inner)?.data);
    }
    let short = |name: &str| {
        let mut short = name.to_string();
        for qualifier in qualifiers {
            short = short.replace(&format!("{qualifier}."), "");
        }
        short
    };
    if plan.schema().fields().iter().all(|field| short(field.name()) == *field.name()) {
        return Ok(plan);
    }
    let columns = plan.schema().columns().into_iter().map(|column| {
        let (relation, name) = (column.relation.clone(), short(&column.name));
        match name == column.name {
            true => Expr::Column(column),
            false => Expr::Column(column).alias_qualified(relation, name),
        }
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}
