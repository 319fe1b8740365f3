//! Tables beside the streams of a query: Delta tables at the versions that the epoch records, all
//! others as they are when the query begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::DefaultTableSource;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use crate::error::Result;
use crate::lake::Pinned;
use crate::stream::state::size::Part;

/// The Delta tables of a query, by name.
pub type Tables = BTreeMap<String, Arc<Pinned>>;

/// The rows of a subtree without streams.
pub struct TableRows {
    plan: LogicalPlan,
    pub rows: Vec<RecordBatch>,
    /// The versions that they are of.
    read: Option<Vec<Option<i64>>>,
    tables: Vec<Arc<Pinned>>,
}

impl TableRows {
    /// Rows are read when the versions are known.
    pub fn new(plan: LogicalPlan) -> Result<Self> {
        let mut tables = Vec::new();
        plan.clone().transform_down_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = &node
                && let Some(pinned) = pinned_source(scan)
            {
                tables.push(pinned);
            }
            Ok(Transformed::no(node))
        })?;
        Ok(Self { plan, rows: Vec::new(), read: None, tables })
    }

    /// Reads the rows, if they are of other versions than those that are set.
    pub async fn refresh(&mut self, context: &SessionContext) -> Result<()> {
        let versions: Vec<_> = self.tables.iter().map(|table| table.version()).collect();
        if self.read.as_ref() != Some(&versions) {
            let rows = context.execute_logical_plan(self.plan.clone()).await?;
            self.rows = rows.collect().await?;
            self.read = Some(versions);
        }
        Ok(())
    }
}

/// A table's rows, with the first of the streams that they are united with.
pub struct Once {
    table: TableRows,
    given: bool,
}

impl Once {
    pub fn new(table: TableRows) -> Self {
        Self { table, given: false }
    }

    /// Reads the rows, if they are still to be given out.
    pub async fn refresh(&mut self, context: &SessionContext) -> Result<()> {
        match self.given {
            true => Ok(()),
            false => self.table.refresh(context).await,
        }
    }

    /// The rows, the first time.
    pub fn take(&mut self) -> Vec<RecordBatch> {
        match std::mem::replace(&mut self.given, true) {
            true => Vec::new(),
            false => std::mem::take(&mut self.table.rows),
        }
    }

    /// At once by any clock, where they are still to be given out.
    pub fn due_us(&self) -> Option<i64> {
        (!self.given).then_some(i64::MIN)
    }

    /// A row that tells that they were given out.
    pub fn save(&self) -> Result<Vec<Part>> {
        let column: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        let row = RecordBatch::try_from_iter([("given", column)])?;
        Ok(vec![Part::from(if self.given { vec![row] } else { Vec::new() })])
    }

    /// Takes what `save` gave.
    pub fn restore(&mut self, parts: &[Part]) {
        self.given = parts.iter().any(|part| !part.rows.is_empty());
    }
}

fn pinned_source(scan: &datafusion::logical_expr::TableScan) -> Option<Arc<Pinned>> {
    let source = scan.source.as_ref().downcast_ref::<DefaultTableSource>()?;
    let provider: Arc<dyn std::any::Any + Send + Sync> = source.table_provider.clone();
    provider.downcast::<Pinned>().ok()
}

/// The plan with its Delta tables at versions that can be set.
pub fn pin(plan: LogicalPlan, tables: &mut Tables) -> Result<LogicalPlan> {
    let pinned = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::TableScan(mut scan) = node else { return Ok(Transformed::no(node)) };
        let name = scan.table_name.to_string();
        let source = scan.source.as_ref().downcast_ref::<DefaultTableSource>();
        let fresh = source.and_then(|source| Pinned::of(&name, source.table_provider.as_ref()));
        let Some(fresh) = fresh else {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        };
        let table = tables.entry(name).or_insert_with(|| Arc::new(fresh)).clone();
        scan.source = Arc::new(DefaultTableSource::new(table));
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(pinned.data)
}
