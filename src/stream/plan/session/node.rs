//! Session windows in a logical plan.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::stream::log::partition::{OFFSET, PARTITION, WATERMARK};
use crate::stream::operator::session::Spec;
use crate::stream::plan::window::columns::COLUMNS;

/// Gives rows the session windows of their keys: the columns of the input, then the window's.
/// Columns of a stream's log in the input tell the order of the rows, and which are late.
#[derive(Debug, Clone)]
pub struct SessionNode {
    pub input: LogicalPlan,
    pub time: Column,
    pub keys: Vec<Column>,
    pub gap_ns: i64,
    schema: DFSchemaRef,
}

impl SessionNode {
    /// Errors: those of `Spec::new`.
    pub fn new(input: LogicalPlan, time: Column, keys: Vec<Column>, gap_ns: i64) -> Result<Self> {
        let spec = spec(&input, &time, &keys, gap_ns)?;
        let (before, after) = (input.schema(), spec.output());
        let windows = after.fields().iter().skip(before.fields().len());
        let fields = before.iter().map(|(table, field)| (table.cloned(), field.clone()));
        let fields = fields.chain(windows.map(|field| (None, field.clone())));
        let fields: Vec<(_, Arc<Field>)> = fields.collect();
        let schema = DFSchema::new_with_metadata(fields, before.metadata().clone())?;
        Ok(Self { input, time, keys, gap_ns, schema: Arc::new(schema) })
    }

    /// What makes sessions of the input's rows.
    pub fn spec(&self) -> Result<Spec> {
        spec(&self.input, &self.time, &self.keys, self.gap_ns)
    }

    /// The column of its windows' ends.
    pub fn end() -> Column {
        Column::new_unqualified(COLUMNS[1])
    }

    /// Columns that are needed whatever is asked for.
    fn needed(&self) -> impl Iterator<Item = usize> + '_ {
        let schema = self.input.schema();
        let named = [&self.time].into_iter().chain(&self.keys);
        let named = named.filter_map(|column| schema.maybe_index_of_column(column));
        let log =
            schema.fields().iter().enumerate().filter(|(_, field)| {
                [PARTITION, OFFSET, WATERMARK].contains(&field.name().as_str())
            });
        named.chain(log.map(|(at, _)| at))
    }
}

fn spec(input: &LogicalPlan, time: &Column, keys: &[Column], gap_ns: i64) -> Result<Spec> {
    let schema = input.schema();
    let index = |column: &Column| schema.index_of_column(column);
    let keys = keys.iter().map(index).collect::<Result<_>>()?;
    Ok(Spec::new(schema.inner(), index(time)?, keys, gap_ns)?)
}

impl PartialEq for SessionNode {
    fn eq(&self, other: &Self) -> bool {
        self.input == other.input
            && self.time == other.time
            && self.keys == other.keys
            && self.gap_ns == other.gap_ns
    }
}

impl Eq for SessionNode {}

impl PartialOrd for SessionNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for SessionNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.input, &self.time, &self.keys, self.gap_ns).hash(state);
    }
}

impl UserDefinedLogicalNodeCore for SessionNode {
    fn name(&self) -> &str {
        "Session"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let columns = [&self.time].into_iter().chain(&self.keys);
        columns.cloned().map(Expr::Column).collect()
    }

    /// Rows of other keys do not matter to a session: what is asked of keys may be asked before.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let name = |field: &Arc<Field>| field.name().clone();
        let mut names: HashSet<String> = self.schema.fields().iter().map(name).collect();
        for key in &self.keys {
            let same = self.schema.fields().iter().filter(|field| *field.name() == key.name);
            if same.count() == 1 {
                names.remove(&key.name);
            }
        }
        names
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(ToString::to_string).collect();
        let gap = std::time::Duration::from_nanos(self.gap_ns.unsigned_abs());
        write!(f, "Session: time={}, keys=[{}], gap={gap:?}", self.time, keys.join(", "))
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let columns = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => internal_err!("a session's time and keys are columns, not {other}"),
        });
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        let (Some(input), false) = (inputs.pop(), columns.is_empty()) else {
            return internal_err!("sessions have an input and a time");
        };
        let time = columns.remove(0);
        Self::new(input, time, columns, self.gap_ns)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let count = self.input.schema().fields().len();
        let wanted = output_columns.iter().copied().filter(|at| *at < count);
        let mut columns: Vec<usize> = wanted.chain(self.needed()).collect();
        columns.sort_unstable();
        columns.dedup();
        Some(vec![columns])
    }
}
