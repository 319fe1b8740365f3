//! Our dialect on top of DataFusion's parser, and the engine that runs its statements.

mod define;
mod parse;
mod token;
mod window;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DfStatement;
use futures::TryStreamExt;
use parking_lot::RwLock;

use crate::config::Options;
use crate::error::{Error, Result};
use crate::plan::files;
use crate::stream::definition::Stream;
use crate::stream::table::StreamTable;

pub use parse::{CreateSink, CreateStream, Object, WatermarkClause};

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
    CreateStream(Box<CreateStream>),
    CreateSink(CreateSink),
    Drop {
        object: Object,
        name: String,
        if_exists: bool,
    },
    Show(Object),
}

/// What a statement answers.
pub enum Outcome {
    /// DDL, SET, INSERT, COPY: nothing to print.
    Done,
    /// A query's rows.
    Rows(SendableRecordBatchStream),
}

/// Runs statements, one after another, in one session.
pub struct Engine {
    pub context: SessionContext,
    pub options: Options,
    streams: RwLock<BTreeMap<String, Arc<Stream>>>,
    /// Where rejected rows are kept.
    folder: PathBuf,
}

/// Where rejected rows are kept without a state folder.
const REJECTS: &str = "thalweg-rejected";

impl Engine {
    pub fn new(options: Options) -> Result<Self> {
        let context = crate::plan::session(&options)?;
        context.register_relation_planner(Arc::new(window::WindowPlanner))?;
        let (streams, folder) = (RwLock::default(), REJECTS.into());
        Ok(Self { context, options, streams, folder })
    }

    /// Keeps rejected rows in a state folder.
    pub fn with_state(self, folder: Option<PathBuf>) -> Self {
        Self { folder: folder.unwrap_or(self.folder), ..self }
    }

    /// Splits and parses a script. Errors name line, column and the offending word.
    pub fn parse(&self, text: &str) -> Result<Vec<Statement>> {
        parse::parse(text)
    }

    /// Runs one statement. A query's rows come as a stream that does the work when polled.
    pub async fn execute(&self, statement: Statement) -> Result<Outcome> {
        match statement.kind {
            Kind::Sql(statement) => self.execute_sql(*statement).await,
            Kind::CreateStream(create) => self.create_stream(*create).await,
            Kind::CreateSink(create) => {
                Err(Error::User(format!("sink {}: sinks are not there yet", create.name)))
            }
            Kind::Drop { object: Object::Stream, name, if_exists } => {
                let known = self.streams.write().remove(&name).is_some();
                if known {
                    self.context.deregister_table(name.as_str())?;
                } else if !if_exists {
                    return Err(Error::User(format!("there is no stream {name}")));
                }
                Ok(Outcome::Done)
            }
            Kind::Drop { name, .. } => Err(Error::User(format!("there is no sink {name}"))),
            Kind::Show(_) => self.show_streams().await,
        }
    }

    async fn execute_sql(&self, statement: DfStatement) -> Result<Outcome> {
        let plan = self.context.state().statement_to_plan(statement).await?;
        let silent = matches!(plan, LogicalPlan::Ddl(_) | LogicalPlan::Statement(_));
        let writes = matches!(plan, LogicalPlan::Dml(_) | LogicalPlan::Copy(_));
        let frame = self.context.execute_logical_plan(plan).await?;
        let task = Arc::new(frame.task_ctx());
        let physical = frame.create_physical_plan().await?;
        if silent {
            return Ok(Outcome::Done);
        }
        let rows = execute_stream(Arc::clone(&physical), Arc::clone(&task))?;
        let mut rows = files::blame(rows, physical, task);
        if writes {
            // The count of rows written is no result that was asked for.
            while rows.try_next().await?.is_some() {}
            return Ok(Outcome::Done);
        }
        Ok(Outcome::Rows(rows))
    }

    async fn create_stream(&self, create: CreateStream) -> Result<Outcome> {
        let (name, if_not_exists) = (create.name.clone(), create.if_not_exists);
        if self.context.table_exist(name.as_str())? {
            return match if_not_exists {
                true => Ok(Outcome::Done),
                false => Err(Error::User(format!("there is a table or stream {name} already"))),
            };
        }
        let stream = Arc::new(define::stream(&self.context, create, self.folder.clone()).await?);
        let table = Arc::new(StreamTable::new(stream.clone()));
        self.context.register_table(name.as_str(), table)?;
        self.streams.write().insert(name, stream);
        Ok(Outcome::Done)
    }

    async fn show_streams(&self) -> Result<Outcome> {
        let streams: Vec<_> = self.streams.read().values().cloned().collect();
        let watermark = |stream: &Arc<Stream>| {
            let rule = stream.watermark.as_ref()?;
            let delay = std::time::Duration::from_micros(rule.delay_us.unsigned_abs());
            Some(format!("{} - {delay:?}", stream.schema.field(rule.column).name()))
        };
        let names = streams.iter().map(|stream| Some(stream.name.clone()));
        let connectors = streams.iter().map(|stream| Some(stream.connector.name().to_string()));
        let stores = streams.iter().map(|stream| stream.store.clone());
        let columns: [(&str, StringArray); 4] = [
            ("stream_name", names.collect()),
            ("connector", connectors.collect()),
            ("watermark", streams.iter().map(watermark).collect()),
            ("store", stores.collect()),
        ];
        let columns = columns.map(|(name, column)| (name, Arc::new(column) as ArrayRef, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
        Ok(Outcome::Rows(self.context.read_batch(batch)?.execute_stream().await?))
    }
}
