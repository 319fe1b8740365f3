//! Our dialect on top of DataFusion's parser, and the engine that runs its statements.

use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParserBuilder, Statement as DfStatement};

use crate::config::Options;
use crate::error::Result;

/// One statement of a script, with where it stands in the text.
#[derive(Debug, Clone)]
pub struct Statement {
    pub kind: Kind,
    /// Line of its first token, from 1.
    pub line: u64,
}

#[derive(Debug, Clone)]
pub enum Kind {
    /// Anything DataFusion plans by itself.
    Sql(Box<DfStatement>),
}

/// What a statement answers.
pub enum Outcome {
    /// DDL, SET, INSERT: nothing to print.
    Done,
    /// A query's rows.
    Rows(SendableRecordBatchStream),
}

/// Runs statements, one after another, in one session.
pub struct Engine {
    pub context: SessionContext,
    pub options: Options,
}

impl Engine {
    pub fn new(options: Options) -> Result<Self> {
        Ok(Self { context: crate::plan::session(&options)?, options })
    }

    /// Splits and parses a script. Errors name line and column.
    pub fn parse(&self, text: &str) -> Result<Vec<Statement>> {
        let statements = DFParserBuilder::new(text).build()?.parse_statements()?;
        let wrap = |statement| Statement { kind: Kind::Sql(Box::new(statement)), line: 1 };
        Ok(statements.into_iter().map(wrap).collect())
    }

    /// Runs one statement. A query's rows come as a stream that does the work when polled.
    pub async fn execute(&self, statement: Statement) -> Result<Outcome> {
        let Kind::Sql(statement) = statement.kind;
        let plan = self.context.state().statement_to_plan(*statement).await?;
        let silent = matches!(plan, LogicalPlan::Ddl(_) | LogicalPlan::Statement(_));
        let frame = self.context.execute_logical_plan(plan).await?;
        let task = Arc::new(frame.task_ctx());
        let physical = frame.create_physical_plan().await?;
        if silent {
            return Ok(Outcome::Done);
        }
        Ok(Outcome::Rows(datafusion::physical_plan::execute_stream(physical, task)?))
    }
}
