//! Plans with columns that tell the order of their rows: in a stream its partition and offset, in
//! other tables the numbers of `number`; behind an aggregate its groups.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Column, DFSchema, ExprSchema, JoinType, Result, ScalarValue};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, LogicalPlan, LogicalPlanBuilder, Projection, Union, Unnest, cast,
    lit,
};

use super::number::NumberNode;
use super::sorted::SortedNode;
use crate::plan::ExtensionNode;
use crate::stream::log::partition::{OFFSET, PARTITION};
use crate::stream::log::table::{StreamTable, View};
use crate::stream::plan::asof::node::AsOfNode;
use crate::stream::plan::session::node::SessionNode;
use crate::stream::plan::watermark_filter::WatermarkFilterNode;
use crate::stream::plan::window::node::WindowNode;

/// What the names of columns that are added begin with.
pub const PREFIX: &str = "__thalweg_order_";

/// A plan, and the columns that tell the order of its rows. Rows that are the same in all of them
/// are the same in all columns.
pub struct Placed {
    pub plan: LogicalPlan,
    pub order: Vec<Column>,
}

/// Gives the columns that are added names of their own.
#[derive(Debug, Default)]
pub struct Names(pub usize);

impl Names {
    fn next(&mut self) -> String {
        let name = format!("{PREFIX}{}", self.0);
        self.0 += 1;
        name
    }
}

/// A plan with the columns of its order, behind or among its own.
pub fn placed(plan: &LogicalPlan, names: &mut Names) -> Result<Placed> {
    match plan {
        LogicalPlan::TableScan(scan) => match StreamTable::of(&scan.source) {
            Some(table) => in_log(plan, table, names),
            None => in_table(plan, names),
        },
        LogicalPlan::Values(_) => in_table(plan, names),
        LogicalPlan::EmptyRelation(_) => Ok(Placed { plan: plan.clone(), order: Vec::new() }),
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Window(_) => {
            let Placed { plan: input, order } = placed(plan.inputs()[0], names)?;
            Ok(Placed { plan: plan.with_new_exprs(plan.expressions(), vec![input])?, order })
        }
        LogicalPlan::Projection(node) => projected(node, names),
        LogicalPlan::SubqueryAlias(node) => {
            let Placed { plan: input, order } = unambiguous(placed(&node.input, names)?, names)?;
            let alias = LogicalPlanBuilder::from(input).alias(node.alias.clone())?.build()?;
            let alias_of = |column: Column| Column::new(Some(node.alias.clone()), column.name);
            Ok(Placed { plan: alias, order: order.into_iter().map(alias_of).collect() })
        }
        LogicalPlan::Unnest(node) => unnested(plan, node, names),
        LogicalPlan::Join(node) => {
            let (left, right) = match node.join_type {
                JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => (true, false),
                JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => (false, true),
                _ => (true, true),
            };
            let (mut inputs, mut all) = (Vec::new(), Vec::new());
            for (side, is_kept) in [(&node.left, left), (&node.right, right)] {
                if !is_kept {
                    inputs.push(side.as_ref().clone());
                    continue;
                }
                let Placed { plan, order } = placed(side, names)?;
                inputs.push(plan);
                all.extend(order);
            }
            let plan = plan.with_new_exprs(plan.expressions(), inputs)?;
            Ok(Placed { plan, order: all })
        }
        LogicalPlan::Aggregate(node) => Ok(Placed { plan: plan.clone(), order: groups(node) }),
        LogicalPlan::Union(node) => united(node, names),
        LogicalPlan::Distinct(Distinct::All(_) | Distinct::On(_)) => Ok(by_content(plan)),
        LogicalPlan::Extension(_) => in_node(plan, names),
        _ => Ok(by_content(plan)),
    }
}

/// A plan whose rows tell their order by what they are.
pub fn by_content(plan: &LogicalPlan) -> Placed {
    Placed { plan: plan.clone(), order: content(plan) }
}

/// The columns whose values have an order.
fn content(plan: &LogicalPlan) -> Vec<Column> {
    let columns = plan.schema().iter().filter(|(_, field)| is_sortable(field.data_type()));
    columns.map(|(qualifier, field)| Column::new(qualifier.cloned(), field.name())).collect()
}

fn is_sortable(data_type: &DataType) -> bool {
    *data_type != DataType::Null
        && RowConverter::supports_fields(&[SortField::new(data_type.clone())])
}

fn in_log(plan: &LogicalPlan, table: &StreamTable, names: &mut Names) -> Result<Placed> {
    let LogicalPlan::TableScan(scan) = plan else { return in_table(plan, names) };
    let column = |name: &str| Column::new(Some(scan.table_name.clone()), name);
    let order = vec![column(PARTITION), column(OFFSET)];
    if order.iter().all(|column| plan.schema().has_column(column)) {
        return Ok(Placed { plan: plan.clone(), order });
    }
    let (source, count) = match table.view() {
        View::Rows => (table.placed_source(), table.stream.schema.fields().len()),
        // Some columns of the log, and not these.
        _ => (scan.source.clone(), table.stream.schema.fields().len()),
    };
    let columns = scan.projection.clone().map(|columns| {
        let more = [count, count + 1].into_iter().filter(|at| !columns.contains(at));
        columns.iter().copied().chain(more).collect()
    });
    let (name, filters) = (scan.table_name.clone(), scan.filters.clone());
    let scan = LogicalPlanBuilder::scan_with_filters(name, source, columns, filters)?;
    Ok(Placed { plan: scan.build()?, order })
}

fn in_table(plan: &LogicalPlan, names: &mut Names) -> Result<Placed> {
    let node = NumberNode::new(plan.clone(), names.next())?;
    let order = vec![node.number()];
    Ok(Placed { plan: node.plan(), order })
}

/// The order stands first: what reads a projection of windows finds their columns last.
fn projected(node: &Projection, names: &mut Names) -> Result<Placed> {
    let Placed { plan: input, order } = placed(&node.input, names)?;
    let shown = node.schema.columns();
    let (mut added, mut all) = (Vec::new(), Vec::new());
    for column in order {
        let is_same = |expr: &Expr| expr.clone().unalias() == Expr::Column(column.clone());
        match node.expr.iter().position(is_same) {
            Some(at) => all.push(shown[at].clone()),
            None => {
                let name = names.next();
                all.push(Column::new_unqualified(name.as_str()));
                added.push(Expr::Column(column).alias(name));
            }
        }
    }
    let exprs = added.into_iter().chain(node.expr.iter().cloned()).collect();
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?);
    Ok(Placed { plan, order: all })
}

/// With names of which none is twice without its table's.
fn unambiguous(placed: Placed, names: &mut Names) -> Result<Placed> {
    let Placed { plan, order } = placed;
    let fields = plan.schema().fields();
    let is_twice =
        |column: &Column| fields.iter().filter(|field| *field.name() == column.name).count() > 1;
    if !order.iter().any(is_twice) {
        return Ok(Placed { plan, order });
    }
    let (mut exprs, mut renamed) = (Vec::new(), Vec::new());
    for column in plan.schema().columns() {
        let expr = Expr::Column(column.clone());
        exprs.push(match order.contains(&column) && is_twice(&column) {
            true => expr.alias(names.next()),
            false => expr,
        });
    }
    let plan = Projection::try_new(exprs, Arc::new(plan.clone()))?;
    for column in &order {
        let is_same = |expr: &Expr| expr.clone().unalias() == Expr::Column(column.clone());
        let at = plan.expr.iter().position(is_same);
        renamed.extend(at.map(|at| plan.schema.columns()[at].clone()));
    }
    Ok(Placed { plan: LogicalPlan::Projection(plan), order: renamed })
}

/// The rows that come of one, as they stand in its list.
fn unnested(plan: &LogicalPlan, node: &Unnest, names: &mut Names) -> Result<Placed> {
    let Placed { plan: input, mut order } = placed(&node.input, names)?;
    let plan = plan.with_new_exprs(plan.expressions(), vec![input])?;
    let Placed { plan, order: numbers } = in_table(&plan, names)?;
    order.extend(numbers);
    Ok(Placed { plan, order })
}

fn groups(node: &Aggregate) -> Vec<Column> {
    let count = node.schema.fields().len() - node.aggr_expr.len();
    let groups = node.schema.iter().take(count);
    let groups = groups.filter(|(_, field)| is_sortable(field.data_type()));
    groups.map(|(qualifier, field)| Column::new(qualifier.cloned(), field.name())).collect()
}

/// The rows of the first input stand before those of the next.
fn united(node: &Union, names: &mut Names) -> Result<Placed> {
    let inputs = node.inputs.iter().map(|input| placed(input, names));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let types = inputs.iter().map(|input| {
        let of = |column: &Column| -> Result<DataType> {
            Ok(input.plan.schema().field_from_column(column)?.data_type().clone())
        };
        input.order.iter().map(of).collect::<Result<Vec<_>>>()
    });
    let types = types.collect::<Result<Vec<_>>>()?;
    let count = 1 + types.iter().map(Vec::len).sum::<usize>();
    let added: Vec<String> = (0..count).map(|_| names.next()).collect();
    let mut united = Vec::new();
    for (nth, (input, own)) in inputs.iter().zip(&node.inputs).enumerate() {
        let mut places = vec![lit(nth as i64)];
        for (of, types) in types.iter().enumerate() {
            for (at, data_type) in types.iter().enumerate() {
                places.push(match of == nth {
                    true => Expr::Column(input.order[at].clone()),
                    false => cast(lit(ScalarValue::Null), data_type.clone()),
                });
            }
        }
        let places = places.into_iter().zip(&added).map(|(place, name)| place.alias(name));
        let shown = own.schema().columns().into_iter().map(Expr::Column);
        let exprs = shown.chain(places).collect();
        let plan = Projection::try_new(exprs, Arc::new(input.plan.clone()))?;
        united.push(Arc::new(LogicalPlan::Projection(plan)));
    }
    let own = node.schema.iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone()));
    let all_types = [DataType::Int64].into_iter().chain(types.into_iter().flatten());
    let more = added.iter().zip(all_types);
    let more = more.map(|(name, data_type)| (None, Arc::new(Field::new(name, data_type, true))));
    let fields = own.chain(more).collect();
    let schema = DFSchema::new_with_metadata(fields, node.schema.inner().metadata().clone())?;
    let plan = LogicalPlan::Union(Union { inputs: united, schema: Arc::new(schema) });
    let order = added.into_iter().map(Column::new_unqualified).collect();
    Ok(Placed { plan, order })
}

fn in_node(plan: &LogicalPlan, names: &mut Names) -> Result<Placed> {
    if let Some(node) = NumberNode::of(plan) {
        let [unnest @ LogicalPlan::Unnest(below)] = plan.inputs()[..] else {
            return Ok(Placed { plan: plan.clone(), order: vec![node.number()] });
        };
        let Placed { plan: input, mut order } = placed(&below.input, names)?;
        let unnest = unnest.with_new_exprs(unnest.expressions(), vec![input])?;
        order.push(node.number());
        return Ok(Placed { plan: plan.with_new_exprs(Vec::new(), vec![unnest])?, order });
    }
    let passes = AsOfNode::of(plan).is_some()
        || WindowNode::of(plan).is_some()
        || WatermarkFilterNode::of(plan).is_some()
        || SessionNode::of(plan).is_some()
        || SortedNode::of(plan).is_some();
    if !passes {
        return Ok(by_content(plan));
    }
    // Each row of the first input comes once at most, or once for each of its windows.
    let mut inputs: Vec<_> = plan.inputs().into_iter().cloned().collect();
    let Placed { plan: first, mut order } = placed(&inputs[0], names)?;
    order.extend(WindowNode::of(plan).and_then(WindowNode::own_order));
    inputs[0] = first;
    Ok(Placed { plan: plan.with_new_exprs(plan.expressions(), inputs)?, order })
}
