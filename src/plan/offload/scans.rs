//! How many rows the scans below a device node hand on at a time.

use std::sync::Arc;

use datafusion::common::config::ExecutionOptions;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;

/// Rows of a batch that goes to a device. A slot takes a million of them: each batch costs it some
/// steps for each column, whatever its length.
const BATCH_ROWS: usize = 1 << 16;

/// What a source of a device node runs with: larger batches, where it does nothing but scan and
/// nobody has asked for another size.
pub fn context_for(
    source: &Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
) -> Arc<TaskContext> {
    let config = context.session_config();
    if !only_scans(source) || config.batch_size() != ExecutionOptions::default().batch_size.get() {
        return context.clone();
    }
    let larger = TaskContext::new(
        context.task_id(),
        context.session_id(),
        config.clone().with_batch_size(BATCH_ROWS),
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    );
    Arc::new(larger)
}

/// Whether all rows are those of scans, which nothing but projections changes.
fn only_scans(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let passes = plan.is::<ProjectionExec>() || passes_rows_on(plan);
    plan.is::<DataSourceExec>() || (passes && plan.children().into_iter().all(only_scans))
}

/// Whether a node hands on the rows of its children as they are.
pub fn passes_rows_on(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<CoalescePartitionsExec>() || plan.is::<CooperativeExec>() || plan.is::<UnionExec>()
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::execute_stream;
    use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
    use futures::StreamExt;

    use super::*;

    /// Rows of the largest batch that a query over a file of 200,000 rows hands on.
    async fn largest(config: SessionConfig, query: &str) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.parquet").to_string_lossy().to_string();
        let context = SessionContext::new_with_config(config.with_target_partitions(1));
        let rows = "SELECT value AS n FROM generate_series(1, 200000)";
        let made = context.sql(rows).await.unwrap();
        made.write_parquet(&file, Default::default(), None).await.unwrap();
        context.register_parquet("t", &file, ParquetReadOptions::default()).await.unwrap();
        let plan = context.sql(query).await.unwrap().create_physical_plan().await.unwrap();
        let task = context_for(&plan, &context.task_ctx());
        let mut batches = execute_stream(plan, task).unwrap();
        let (mut most, mut all) = (0, 0);
        while let Some(batch) = batches.next().await {
            let rows = batch.unwrap().num_rows();
            (most, all) = (most.max(rows), all + rows);
        }
        assert!(all > 100_000);
        most
    }

    #[tokio::test]
    async fn scans_hand_on_large_batches_unless_another_size_is_asked_for() {
        let scan = "SELECT n FROM t";
        assert_eq!(largest(SessionConfig::new(), scan).await, BATCH_ROWS);
        assert_eq!(largest(SessionConfig::new(), "SELECT n + 1 FROM t").await, BATCH_ROWS);
        let asked = SessionConfig::new().with_batch_size(1000);
        assert_eq!(largest(asked, scan).await, 1000);
    }

    #[tokio::test]
    async fn what_computes_more_keeps_the_sessions_batches() {
        let filtered = "SELECT n FROM t WHERE n % 8 <> 3";
        assert!(largest(SessionConfig::new(), filtered).await <= 8192);
    }
}
