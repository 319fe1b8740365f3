//! EXPLAIN as a plan, for who draws it.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::format::ExplainFormat;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement as DfStatement;

use super::{Engine, Kind, Statement, names};
use crate::error::Result;
use crate::plan::files;
use crate::stream::time::emit::Emit;
use crate::task;

/// A plan to be shown.
pub struct Explained {
    pub plan: Arc<dyn ExecutionPlan>,
    /// In words, where everything is asked for.
    pub logical: Option<String>,
    pub verbose: bool,
    /// The rows that the plan gives, for ANALYZE: once they are read, its nodes know what they
    /// took.
    pub rows: Option<SendableRecordBatchStream>,
}

/// What a run of the plan came to.
#[derive(Debug, Clone, Copy)]
pub struct Ran {
    pub rows: u64,
    pub time: Duration,
}

impl Engine {
    /// The plan of an EXPLAIN; `None` for other statements, and where the statement or an option
    /// asks for a form that `execute` gives.
    pub async fn explain(&self, statement: &Statement) -> Result<Option<Explained>> {
        let Kind::Sql(sql) = &statement.kind else { return Ok(None) };
        let DfStatement::Explain(explain) = sql.as_ref() else { return Ok(None) };
        let state = self.context.state();
        let options = &state.config_options().explain;
        let of_options = options.logical_plan_only
            || options.show_statistics
            || options.show_schema
            || !matches!(options.format, ExplainFormat::Indent);
        let asked = &explain.options;
        if of_options
            || asked.format.is_some()
            || asked.analyze_level.is_some()
            || asked.analyze_categories.is_some()
            || asked.show_statistics.is_some()
        {
            return Ok(None);
        }
        let (sql, emit) = (self.explained(sql.as_ref().clone()), statement.emit);
        let made = names::made_or_dropped(&sql, &self.grammar());
        let planned = files::with_registered(made, self.explained_plan(sql, emit));
        task::caught("explaining a statement", planned).await
    }

    async fn explained_plan(
        &self,
        statement: DfStatement,
        emit: Option<Emit>,
    ) -> Result<Option<Explained>> {
        let Some(plan) = self.logical(statement, emit).await? else { return Ok(None) };
        let (inner, verbose, runs) = match &plan {
            LogicalPlan::Explain(explain) => (&explain.plan, explain.verbose, false),
            LogicalPlan::Analyze(analyze) => (&analyze.input, analyze.verbose, true),
            _ => return Ok(None),
        };
        if matches!(inner.as_ref(), LogicalPlan::Ddl(_) | LogicalPlan::Statement(_)) {
            return Ok(None);
        }
        let state = self.context.state();
        let optimized = match state.optimize(inner) {
            Ok(optimized) => optimized,
            Err(error) if runs => return Err(error.into()),
            // DataFusion's own EXPLAIN shows the plan up to what fails.
            Err(_) => return Ok(None),
        };
        let logical = verbose.then(|| optimized.display_indent().to_string());
        let plan = match state.query_planner().create_physical_plan(&optimized, &state).await {
            Ok(plan) => plan,
            Err(error) if runs => return Err(error.into()),
            Err(_) => return Ok(None),
        };
        let mut rows = None;
        if runs {
            let task = self.context.task_ctx();
            let stream = execute_stream(Arc::clone(&plan), Arc::clone(&task))?;
            rows = Some(files::blame(stream, Arc::clone(&plan), task));
        }
        Ok(Some(Explained { plan, logical, verbose, rows }))
    }
}
