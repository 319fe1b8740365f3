//! Tables beside the streams of a query: Delta tables at the versions that the epoch records, all
//! others as they are when the query begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::DefaultTableSource;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use super::{Operator, RegionRows};
use crate::error::Result;
use crate::lake::Pinned;
use crate::stream::state::size::{Part, Size};
use crate::stream::time::clock::{Clock, Times};

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
pub struct TableOnce {
    table: TableRows,
    given: bool,
}

impl TableOnce {
    pub fn new(table: TableRows) -> Self {
        Self { table, given: false }
    }
}

#[async_trait]
impl Operator for TableOnce {
    async fn advance(
        &mut self,
        _inputs: Vec<RegionRows>,
        _times: &Times,
        _task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        match std::mem::replace(&mut self.given, true) {
            true => Ok(Vec::new()),
            false => Ok(std::mem::take(&mut self.table.rows)),
        }
    }

    fn open_until(&self, clock: Clock) -> Option<i64> {
        self.due_us().filter(|_| clock == Clock::Processing)
    }

    /// At once by any clock, where the rows are still to be given out.
    fn due_us(&self) -> Option<i64> {
        (!self.given).then_some(i64::MIN)
    }

    async fn read_tables(&mut self, context: &SessionContext) -> Result<()> {
        match self.given {
            true => Ok(()),
            false => self.table.refresh(context).await,
        }
    }

    fn size(&self) -> Size {
        Size::default()
    }

    fn parts(&self) -> usize {
        1
    }

    /// A row that tells that the rows were given out.
    fn save(&mut self) -> Result<Vec<Part>> {
        let column: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        let row = RecordBatch::try_from_iter([("given", column)])?;
        Ok(vec![Part::from(if self.given { vec![row] } else { Vec::new() })])
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        self.given = parts.iter().any(|part| !part.rows.is_empty());
        Ok(())
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
