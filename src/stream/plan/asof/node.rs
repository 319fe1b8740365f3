//! As-of joins in a logical plan.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{
    Column, DFSchemaRef, ExprSchema, JoinType, Result, internal_err, plan_err,
};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore, build_join_schema};

use crate::error::Error;
use crate::stream::operator::versioned_table::Spec;

/// Puts each left row beside the right row that was in force at its time: the columns of the left,
/// then those of the right.
#[derive(Debug, Clone)]
pub struct AsOfNode {
    pub left: LogicalPlan,
    pub right: LogicalPlan,
    /// Columns that are equal, of the same type.
    pub keys: Vec<(Column, Column)>,
    /// The time of each side, of the same type.
    pub times: (Column, Column),
    /// Columns of the right that decide between rows of the same time.
    pub ties: Vec<Column>,
    /// Whether a right row of the left row's own time is none of its.
    pub before: bool,
    /// Whether left rows without a match are kept, with NULLs.
    pub outer: bool,
    schema: DFSchemaRef,
}

/// The parts of a node without what follows from them.
#[derive(Debug, Clone)]
pub struct Parts {
    pub left: LogicalPlan,
    pub right: LogicalPlan,
    pub keys: Vec<(Column, Column)>,
    pub times: (Column, Column),
    pub ties: Vec<Column>,
    pub before: bool,
    pub outer: bool,
}

impl AsOfNode {
    /// Errors: times that are not whole ticks; columns of two types.
    pub fn new(parts: Parts) -> Result<Self> {
        let Parts { left, right, keys, times, ties, before, outer } = parts;
        let join_type = if outer { JoinType::Left } else { JoinType::Inner };
        let schema = build_join_schema(left.schema(), right.schema(), &join_type)?;
        for (one, other) in keys.iter().chain([&times]) {
            let one = left.schema().field_from_column(one)?;
            let other = right.schema().field_from_column(other)?;
            if one.data_type() != other.data_type() {
                return internal_err!("an as-of join of {one} and {other}");
            }
        }
        check_time(right.schema().field_from_column(&times.1)?.data_type())?;
        let schema = Arc::new(schema);
        Ok(Self { left, right, keys, times, ties, before, outer, schema })
    }

    /// What it compares, by the places of columns.
    pub fn spec(&self) -> Result<Spec> {
        let left = |column: &Column| self.left.schema().index_of_column(column);
        let right = |column: &Column| self.right.schema().index_of_column(column);
        let keys = self.keys.iter().map(|(one, other)| Ok((left(one)?, right(other)?)));
        Ok(Spec {
            right: self.right.schema().inner().clone(),
            output: self.schema.inner().clone(),
            keys: keys.collect::<Result<_>>()?,
            times: (left(&self.times.0)?, right(&self.times.1)?),
            ties: self.ties.iter().map(right).collect::<Result<_>>()?,
            before: self.before,
            outer: self.outer,
        })
    }

    /// All that two nodes differ in.
    fn parts(&self) -> impl Eq + Hash + '_ {
        let rule = (&self.keys, &self.times, &self.ties, self.before, self.outer);
        (&self.left, &self.right, rule)
    }
}

impl PartialEq for AsOfNode {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for AsOfNode {}

impl PartialOrd for AsOfNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for AsOfNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl UserDefinedLogicalNodeCore for AsOfNode {
    fn name(&self) -> &str {
        "AsOf"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// The times, the keys in pairs, what decides between rows of the same time.
    fn expressions(&self) -> Vec<Expr> {
        let pairs = [&self.times].into_iter().chain(&self.keys);
        let columns = pairs.flat_map(|(left, right)| [left, right]).chain(&self.ties);
        columns.cloned().map(Expr::Column).collect()
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.outer { "left" } else { "inner" };
        let (left, right) = &self.times;
        let compare = if self.before { ">" } else { ">=" };
        let keys: Vec<_> = self.keys.iter().map(|(l, r)| format!("{l} = {r}")).collect();
        write!(f, "AsOf: {kind}, {left} {compare} {right}, keys=[{}]", keys.join(", "))?;
        let ties: Vec<_> = self.ties.iter().map(ToString::to_string).collect();
        write!(f, ", of one time the last by [{}]", ties.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let columns = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => internal_err!("an as-of join compares columns, not {other}"),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return internal_err!("an as-of join has two inputs");
        };
        let pairs = 2 * (1 + self.keys.len());
        if columns.len() != pairs + self.ties.len() {
            return internal_err!("an as-of join with other columns");
        }
        let (pairs, ties) = columns.split_at(pairs);
        let mut pairs = pairs.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        let Some(times) = pairs.next() else {
            return plan_err!("an as-of join has a time on each side");
        };
        let (keys, ties) = (pairs.collect(), ties.to_vec());
        let (before, outer) = (self.before, self.outer);
        Self::new(Parts { left, right, keys, times, ties, before, outer })
    }

    /// What is compared is needed whatever is asked for.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let spec = self.spec().ok()?;
        let count = self.left.schema().fields().len();
        let (left, right): (Vec<usize>, Vec<usize>) =
            output_columns.iter().partition(|at| **at < count);
        let keys = spec.keys.iter().chain([&spec.times]);
        let sorted = |mut columns: Vec<usize>| {
            columns.sort_unstable();
            columns.dedup();
            columns
        };
        let left = left.into_iter().chain(keys.clone().map(|(left, _)| *left));
        let right = right.into_iter().map(|at| at - count);
        let right = right.chain(keys.map(|(_, right)| *right)).chain(spec.ties);
        Some(vec![sorted(left.collect()), sorted(right.collect())])
    }
}

/// Errors: a type whose values are not whole ticks.
fn check_time(data_type: &DataType) -> crate::error::Result<()> {
    use DataType::{Date32, Date64, Int8, Int16, Int32, Int64, Timestamp, UInt8, UInt16, UInt32};
    match data_type {
        Timestamp(..) | Date32 | Date64 => Ok(()),
        Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 => Ok(()),
        other => Err(Error::user(format!(
            "the times of an as-of join are TIMESTAMPs, DATEs or whole numbers, and these are \
             compared as {other}: cast them"
        ))),
    }
}
