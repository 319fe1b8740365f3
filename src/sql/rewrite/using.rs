//! `JOIN .. USING (k)` and `NATURAL JOIN`: the column `k` is the left one where there is a left
//! row, else the right one, wherever it is named without a table; `a.k` and `b.k` stay what they
//! are.
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
use datafusion::logical_expr::expr_rewriter::normalize_col_with_schemas_and_ambiguity_check;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::utils::{can_hash, expand_wildcard, find_aggregate_exprs};
use datafusion::logical_expr::{
    EmptyRelation, Expr, Join, JoinConstraint, JoinType, LogicalPlan, LogicalPlanBuilder, lit,
};
use datafusion::sql::sqlparser::ast::{
    self, JoinConstraint as Constraint, JoinOperator, Select, TableFactor, TableWithJoins,
    VisitMut, VisitorMut,
};

use crate::sql::token::normalized;
use crate::stream::plan::asof::plan::is_as_of;

/// What the qualifiers of added columns begin with. A blank sorts before all names: of columns
/// that are named as one, DataFusion's `*` gives the one whose qualifier is the least.
const ADDED: &str = " ";

/// The qualifier of merged columns.
const MERGED: &str = " merged";

/// Whether the statement joins so at all.
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
    known(join).filter(|(_, constraint)| !matches!(constraint, Constraint::On(_)))
}

/// Whether joins among the tables merge columns.
fn merges(tables: &TableWithJoins) -> bool {
    let joins = tables.joins.iter();
    let mut merging = joins.map(|join| merged(join).is_some() || merges_in(&join.relation));
    merging.any(|merges| merges) || merges_in(&tables.relation)
}

fn merges_in(table: &TableFactor) -> bool {
    match table {
        TableFactor::NestedJoin { table_with_joins, alias: None } => merges(table_with_joins),
        _ => false,
    }
}

/// The type and the constraint of a join that is planned here.
fn known(join: &ast::Join) -> Option<(JoinType, &Constraint)> {
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
    let named = !matches!(constraint, Constraint::None);
    let lateral = match &join.relation {
        TableFactor::Derived { lateral, .. } | TableFactor::Function { lateral, .. } => *lateral,
        table => matches!(table, TableFactor::UNNEST { .. }),
    };
    (named && !lateral && !is_as_of(join)).then_some((join_type, constraint))
}

/// Nests joins, so that each that merges columns, or stands behind one that does, is the last of
/// its relation, and tables, so that none sees what stands in another. WHERE goes into the relation
/// too: DataFusion's planner does not know there that two columns are named as one, and takes what
/// a subquery there merges for columns of the query around it.
#[derive(Debug)]
pub struct UsingJoins;

impl VisitorMut for UsingJoins {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut names = Vec::new();
        select.from.iter().for_each(|tables| using(tables, &mut names));
        names.retain(|name| !select.projection.iter().any(|item| is_named(item, name)));
        if !names.is_empty() {
            let _ = select.visit(&mut Qualified { names: &names, depth: 0 });
        }
        if let Some(condition) = select.selection.take_if(|_| !select.from.is_empty()) {
            let tables = std::mem::take(&mut select.from);
            select.from.push(filtered(tables, condition));
        }
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

/// The columns that joins of a relation name with USING.
fn using(tables: &TableWithJoins, names: &mut Vec<ast::Ident>) {
    let relations = tables.joins.iter().map(|join| &join.relation).chain([&tables.relation]);
    for relation in relations {
        if let TableFactor::NestedJoin { table_with_joins, alias: None } = relation {
            using(table_with_joins, names);
        }
    }
    for join in &tables.joins {
        if let Some((_, Constraint::Using(columns))) = merged(join) {
            let columns = columns.iter().filter_map(|name| name.0.first()?.as_ident());
            names.extend(columns.cloned());
        }
    }
}

fn same(one: &ast::Ident, other: &ast::Ident) -> bool {
    normalized(one.clone()) == normalized(other.clone())
}

fn is_named(item: &ast::SelectItem, name: &ast::Ident) -> bool {
    matches!(item, ast::SelectItem::ExprWithAlias { alias, .. } if same(alias, name))
}

/// Qualifies merged columns in a SELECT, but not in its subqueries. In a subquery, DataFusion would
/// else look for a name that several columns have in the query around it.
struct Qualified<'a> {
    names: &'a [ast::Ident],
    depth: usize,
}

impl VisitorMut for Qualified<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Identifier(name) = expr
            && self.depth == 0
            && self.names.iter().any(|merged| same(merged, name))
        {
            let qualifier = ast::Ident::with_quote('"', MERGED);
            *expr = ast::Expr::CompoundIdentifier(vec![qualifier, name.clone()]);
        }
        ControlFlow::Continue(())
    }
}

/// The name of what holds the WHERE of a relation.
const WHERE: &str = " where";

/// The tables of FROM as one relation, and behind them, in the place of a table, the condition.
fn filtered(tables: Vec<TableWithJoins>, condition: ast::Expr) -> TableWithJoins {
    let mut tables = tables.into_iter().map(|mut tables| match tables.joins.is_empty() {
        true => tables.relation,
        false => {
            nest(&mut tables, true);
            alone(tables)
        }
    });
    let cross = |relation| ast::Join {
        relation,
        global: false,
        join_operator: JoinOperator::CrossJoin(Constraint::None),
    };
    let name = ast::Ident::with_quote('"', WHERE);
    let alias = ast::TableAlias { explicit: true, name, columns: Vec::new(), at: None };
    let condition = TableFactor::TableFunction { expr: condition, alias: Some(alias) };
    let relation = tables.next().unwrap_or_else(|| condition.clone());
    let joins: Vec<_> = tables.map(cross).collect();
    let relation = match joins.is_empty() {
        true => relation,
        false => alone(TableWithJoins { relation, joins }),
    };
    let tables = TableWithJoins { relation, joins: vec![cross(condition)] };
    TableWithJoins { relation: alone(tables), joins: Vec::new() }
}

/// The condition that stands in the place of a table.
fn condition(join: &ast::Join) -> Option<&ast::Expr> {
    match &join.relation {
        TableFactor::TableFunction { expr, alias: Some(alias) } if alias.name.value == WHERE => {
            Some(expr)
        }
        _ => None,
    }
}

/// Puts what stands up to each such join into a relation of its own; `whole` is one already.
fn nest(tables: &mut TableWithJoins, whole: bool) {
    let joins = std::mem::take(&mut tables.joins);
    let last = joins.len().saturating_sub(1);
    isolate(&mut tables.relation);
    let mut behind = merges_in(&tables.relation);
    for (at, mut join) in joins.into_iter().enumerate() {
        if !is_as_of(&join) {
            isolate(&mut join.relation);
        }
        behind |= merged(&join).is_some() || merges_in(&join.relation);
        let nests = behind && known(&join).is_some() && !(whole && at == last);
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
        let Some(join) = table_with_joins.joins.pop() else {
            let (plan, _) = without_marks(context.plan(table_with_joins.relation)?)?;
            return planned_as(plan, alias);
        };
        if known(&join).is_none() && condition(&join).is_none() {
            table_with_joins.joins.push(join);
            let relation = TableFactor::NestedJoin { table_with_joins, alias };
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        let left = match table_with_joins.joins.is_empty() {
            true => context.plan(table_with_joins.relation)?,
            false => context.plan(alone(*table_with_joins))?,
        };
        if let Some(condition) = condition(&join) {
            return planned_as(filter(left, condition.clone(), context)?, alias);
        }
        let Some((join_type, constraint)) = known(&join).map(|(kind, by)| (kind, by.clone()))
        else {
            return plan_err!("a join that is not known: {join}");
        };
        let right = context.plan(join.relation)?;
        let plan = match constraint {
            Constraint::On(on) => join_on(left, right, join_type, on, context)?,
            constraint => {
                let (left, right) = (qualified(left)?, qualified(right)?);
                Sides { left, right, join_type }.plan(&constraint, context)?
            }
        };
        planned_as(plan, alias)
    }
}

fn planned_as(plan: LogicalPlan, alias: Option<ast::TableAlias>) -> Result<RelationPlanning> {
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

/// The rows of a relation that its WHERE takes.
fn filter(
    rows: LogicalPlan,
    condition: ast::Expr,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let expr = context.sql_to_expr(condition, rows.schema())?;
    if !find_aggregate_exprs([&expr]).is_empty() {
        return plan_err!("WHERE stands before rows are grouped: ask for aggregates in HAVING");
    }
    let (schemas, sets) = ([rows.schema().as_ref()], rows.using_columns()?);
    let expr = normalize_col_with_schemas_and_ambiguity_check(expr, &[&schemas], &sets)?;
    LogicalPlanBuilder::from(rows).filter(unmarked(expr)?)?.build()
}

/// A condition whose subqueries have no marks.
fn unmarked(condition: Expr) -> Result<Expr> {
    let unmarked = condition.transform_down(|mut expr| {
        let query = match &mut expr {
            Expr::Exists(exists) => &mut exists.subquery,
            Expr::InSubquery(among) => &mut among.subquery,
            Expr::SetComparison(compared) => &mut compared.subquery,
            Expr::ScalarSubquery(query) => query,
            _ => return Ok(Transformed::no(expr)),
        };
        let (plan, _) = without_marks(query.subquery.as_ref().clone())?;
        query.subquery = Arc::new(plan);
        Ok(Transformed::yes(expr))
    })?;
    Ok(unmarked.data)
}

/// A join whose condition may name merged columns of its sides.
fn join_on(
    left: LogicalPlan,
    right: LogicalPlan,
    join_type: JoinType,
    on: ast::Expr,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let both = left.schema().join(right.schema())?;
    let expr = context.sql_to_expr(on, &both)?;
    let schemas = [left.schema().as_ref(), right.schema().as_ref()];
    let mut sets = left.using_columns()?;
    sets.extend(right.using_columns()?);
    let expr = normalize_col_with_schemas_and_ambiguity_check(expr, &[&schemas], &sets)?;
    LogicalPlanBuilder::from(left).join_on(right, join_type, [unmarked(expr)?])?.build()
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
        let joined = match (keys.is_empty(), join_type) {
            (true, JoinType::Inner) => builder.cross_join(right),
            (true, _) => builder.join_on(right, join_type, [lit(true)]),
            (false, _) => builder.join(right, join_type, (lefts, rights), filter),
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
        value.alias_qualified(Some(TableReference::bare(MERGED)), &key.left.name)
    }
}

/// A join with USING over the rows, which is only there to be seen by the planner.
fn marked(plan: LogicalPlan, keys: &[Key]) -> LogicalPlan {
    let mut on = Vec::new();
    for key in keys {
        let added = Column::new(Some(TableReference::bare(MERGED)), &key.left.name);
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
    let (plan, marks) = without_marks(plan)?;
    if marks.is_empty() { Ok(plan) } else { renamed(plan, &marks) }
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
        let without = |name: String, of: &String| name.replace(&format!("{of}."), "");
        qualifiers.iter().fold(name.to_string(), without)
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
