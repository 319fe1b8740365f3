//! Our dialect on top of DataFusion's parser, and the engine that runs its statements.
//!
//! ```text
//! script ──► parse ──► define, explain, prepared, settings ──► DataFusion's planner
//! tokens     statements   what is done with ours
//!    └────┬─────┘
//!      rewrite/   forms that the stock grammar or planner does not take
//! ```

mod define;
mod depth;
pub mod explain;
mod grammar;
mod headings;
mod names;
mod parse;
mod prepared;
mod rewrite;
mod script;
mod settings;
mod statement;
mod token;
pub mod variables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::execution::{FunctionRegistry, SendableRecordBatchStream};
use datafusion::logical_expr::{DdlStatement, LogicalPlan, Statement as Planned};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_planner::ExtensionPlanner;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast;
use futures::TryStreamExt;
use parking_lot::RwLock;

use grammar::Grammar;
use prepared::Prepared;
use rewrite::{apart, using};

use crate::clock;
use crate::config::Options;
use crate::error::{Error, Result};
use crate::plan::{SqlOptions, files};
use crate::stream::connector::sink::SinkDefinition;
use crate::stream::connector::sink::api::Writer;
use crate::stream::log::definition::Stream;
use crate::stream::log::table::{LATE, StreamTable, View};
use crate::stream::plan::asof::exec::AsOfPlanner;
use crate::stream::plan::asof::plan::AsOfRelations;
use crate::stream::plan::emit_delay::delayed;
use crate::stream::plan::late_joins::with_watermark_filter;
use crate::stream::plan::order::number::NumberPlanner;
use crate::stream::plan::order::sorted::SortedPlanner;
use crate::stream::plan::order::{LogOrder, rows_in_order};
use crate::stream::plan::proctime;
use crate::stream::plan::session::exec::SessionPlanner;
use crate::stream::plan::{lower, subquery, window};
use crate::stream::time::emit::Emit;
use crate::task;

pub use headings::Headings;
pub use statement::{
    CreateSink, CreateStream, Kind, Object, Statement, WatermarkClause, is_setting, is_writing,
};

/// What a statement answers.
pub enum Outcome {
    /// DDL, SET, INSERT into a sink: nothing to print.
    Done,
    /// A query's rows; how many an INSERT or COPY has written.
    Rows(SendableRecordBatchStream),
}

/// An INSERT into a sink.
pub struct Insert {
    pub sink: Arc<SinkDefinition>,
    /// What is inserted.
    pub plan: LogicalPlan,
}

/// Runs statements, one after another, in one session.
pub struct Engine {
    pub context: SessionContext,
    pub options: Options,
    streams: RwLock<BTreeMap<String, Arc<Stream>>>,
    sinks: RwLock<BTreeMap<String, Arc<SinkDefinition>>>,
    prepared: Prepared,
    /// Where rejected rows are kept.
    folder: PathBuf,
}

/// Where rejected rows are kept without a state folder.
const REJECTS: &str = "thalweg-rejected";

impl Engine {
    pub fn new(options: Options) -> Result<Self> {
        clock::check()?;
        let planners: Vec<Arc<dyn ExtensionPlanner + Send + Sync>> = vec![
            Arc::new(SessionPlanner),
            Arc::new(AsOfPlanner),
            Arc::new(NumberPlanner),
            Arc::new(SortedPlanner),
        ];
        let context = crate::plan::session_with(&options, planners)?;
        context.register_relation_planner(Arc::new(window::WindowPlanner))?;
        context.register_relation_planner(Arc::new(AsOfRelations))?;
        let rules = context.state().analyzer().rules.clone();
        context.add_analyzer_rule(Arc::new(LogOrder));
        context.register_relation_planner(Arc::new(using::UsingRelations))?;
        context.state_ref().write().register_expr_planner(Arc::new(apart::Apart))?;
        proctime::register(&context);
        lower::register(&context, rules);
        crate::lake::register(&context);
        Ok(Self {
            context,
            options,
            streams: RwLock::default(),
            sinks: RwLock::default(),
            prepared: Prepared::default(),
            folder: REJECTS.into(),
        })
    }

    /// Keeps rejected rows in a state folder.
    pub fn with_state(self, folder: Option<PathBuf>) -> Self {
        Self { folder: folder.unwrap_or(self.folder), ..self }
    }

    /// Splits and parses a script, as the options `datafusion.sql_parser.*` in force say and what
    /// it sets of them itself. Errors name line, column and the offending word.
    pub fn parse(&self, text: &str) -> Result<Vec<Statement>> {
        parse::parse(text, self.grammar())
    }

    fn grammar(&self) -> Grammar {
        Grammar::of(self.context.state().config_options())
    }

    /// Runs one statement. A query's rows come as a stream that does the work when polled; an
    /// INSERT into a sink is a batch over what its streams hold.
    pub async fn execute(&self, statement: Statement) -> Result<Outcome> {
        clock::check()?;
        let what = "running a statement";
        let Outcome::Rows(rows) = task::caught(what, self.answer(statement)).await? else {
            return Ok(Outcome::Done);
        };
        let schema = rows.schema();
        let rows = RecordBatchStreamAdapter::new(schema, task::caught_items(what, rows));
        Ok(Outcome::Rows(Box::pin(rows)))
    }

    async fn answer(&self, statement: Statement) -> Result<Outcome> {
        if let Some(Insert { sink, plan }) = self.insert(&statement).await? {
            return self.insert_batch(&sink, plan).await;
        }
        let emit = statement.emit;
        match statement.kind {
            Kind::Sql(sql) => {
                let outcome = self.execute_sql(self.explained(*sql), emit).await?;
                Ok(match outcome {
                    Outcome::Rows(rows) => Outcome::Rows(statement.headings.over(rows)),
                    Outcome::Done => Outcome::Done,
                })
            }
            Kind::CreateStream(create) => self.create_stream(*create).await,
            Kind::CreateSink(create) => self.create_sink(create),
            Kind::Drop { object, name, if_exists } => self.drop_object(object, &name, if_exists),
            Kind::Check { result, .. } => Err(Error::user(format!(
                "{result}: AUDIT and RECONCILE stand in a pipeline file, behind the INSERT whose \
                 results they look at (thalweg run)"
            ))),
            Kind::Show(Object::Stream) => self.show_streams().await,
            Kind::Show(Object::Sink) => self.show_sinks().await,
            Kind::Print(_) => Ok(Outcome::Done),
        }
    }

    /// The streams there are, by name.
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        self.streams.read().values().cloned().collect()
    }

    /// A sink by its name.
    pub fn sink(&self, name: &str) -> Option<Arc<SinkDefinition>> {
        self.sinks.read().get(name).cloned()
    }

    /// Whether a stream or a sink so far keeps anything beyond a run.
    pub fn keeps(&self) -> bool {
        let stored = self.streams.read().values().any(|stream| stream.store.is_some());
        stored || self.sinks.read().values().any(|sink| sink.connector.keeps())
    }

    /// The SQL options in force.
    pub fn sql_options(&self) -> SqlOptions {
        SqlOptions::of(self.context.state().config_options())
    }

    /// The sink and the query of an INSERT into a sink; `None` for other statements.
    ///
    /// Errors: of planning; columns named, which a sink does not have.
    pub async fn insert(&self, statement: &Statement) -> Result<Option<Insert>> {
        let emit = statement.emit;
        let Kind::Sql(statement) = &statement.kind else { return Ok(None) };
        let grammar = self.grammar();
        let Some((name, insert)) = target(statement, &grammar) else { return Ok(None) };
        if self.streams.read().contains_key(&name) {
            return Err(Error::user(format!(
                "{name} is a stream, which takes its rows from its source: INSERT INTO a sink"
            )));
        }
        let Some(sink) = self.sinks.read().get(&name).cloned() else { return Ok(None) };
        let (true, Some(query)) = (insert.columns.is_empty(), &insert.source) else {
            return Err(Error::user(format!(
                "sink {name}: INSERT INTO {name} SELECT .., without a list of columns"
            )));
        };
        let query = ast::Statement::Query(query.clone());
        let query = DfStatement::Statement(Box::new(query));
        let plan = delayed(self.plan(query).await?, emit)?;
        Ok(Some(Insert { sink, plan }))
    }

    /// The plan of a SELECT; `None` for other statements.
    pub async fn query(&self, statement: &Statement) -> Result<Option<LogicalPlan>> {
        let emit = statement.emit;
        let Kind::Sql(statement) = &statement.kind else { return Ok(None) };
        match statement.as_ref() {
            DfStatement::Statement(inner) if matches!(**inner, ast::Statement::Query(_)) => {
                let plan = self.plan(statement.as_ref().clone()).await?;
                Ok(Some(delayed(plan, emit)?))
            }
            _ => Ok(None),
        }
    }

    /// `EXPLAIN INSERT INTO sink ..` explains the query: a sink has no plan.
    fn explained(&self, statement: DfStatement) -> DfStatement {
        let DfStatement::Explain(mut explain) = statement else { return statement };
        if let Some((name, insert)) = target(&explain.statement, &self.grammar())
            && self.sinks.read().contains_key(&name)
            && let Some(query) = insert.source.clone()
        {
            let query = Box::new(ast::Statement::Query(query));
            explain.statement = Box::new(DfStatement::Statement(query));
        }
        DfStatement::Explain(explain)
    }

    async fn insert_batch(&self, sink: &SinkDefinition, plan: LogicalPlan) -> Result<Outcome> {
        let frame = self.context.execute_logical_plan(plan).await?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let (pipeline, name) = ("sql".to_string(), sink.name.clone());
        let writer = Writer { pipeline, sink: name, insert: 0, keys: None };
        sink.connector.takes(&sink.name, &schema)?;
        let mut sink = sink.connector.open(writer, &schema).await?;
        let rows = frame.collect().await?;
        if rows.iter().any(|batch| batch.num_rows() > 0) {
            sink.append(&rows, None).await?;
        }
        Ok(Outcome::Done)
    }

    /// A statement's plan, with what streams mean in it: times of processing, late rows of joins,
    /// subqueries that are such too.
    async fn plan(&self, mut statement: DfStatement) -> Result<LogicalPlan> {
        let grammar = self.grammar();
        let made = names::made_or_dropped(&statement, &grammar);
        {
            let is_table = |name: &str| self.context.table_exist(name).unwrap_or(false);
            let mut named = names::Files { made: &made, grammar: &grammar, is_table: &is_table };
            let _ = parse::visit(&mut statement, &mut named);
        }
        let state = self.context.state();
        let plan =
            apart::planned(statement, |statement| state.statement_to_plan(statement)).await?;
        depth::of_plan(&plan)?;
        match using::planned(plan)? {
            // A prepared statement is resolved when it is executed.
            plan @ LogicalPlan::Statement(_) => Ok(plan),
            plan => resolved(plan),
        }
    }

    /// What is to be run of a statement; `None` where all is done.
    async fn logical(
        &self,
        statement: DfStatement,
        emit: Option<Emit>,
    ) -> Result<Option<LogicalPlan>> {
        let plan = self.plan(statement).await?;
        let plan = self.planned(plan)?.map(|plan| delayed(plan, emit)).transpose();
        Ok(plan?)
    }

    async fn execute_sql(&self, statement: DfStatement, emit: Option<Emit>) -> Result<Outcome> {
        let made = names::made_or_dropped(&statement, &self.grammar());
        files::with_registered(made, self.execute_named(statement, emit)).await
    }

    async fn execute_named(&self, statement: DfStatement, emit: Option<Emit>) -> Result<Outcome> {
        let Some(mut plan) = self.logical(statement, emit).await? else {
            return Ok(Outcome::Done);
        };
        if let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) = &mut plan {
            create.input = Arc::new(rows_in_order(&create.input)?);
        }
        files::check_form(&plan, &self.context.state())?;
        let silent = matches!(plan, LogicalPlan::Ddl(_) | LogicalPlan::Statement(_));
        let writes = matches!(plan, LogicalPlan::Dml(_) | LogicalPlan::Copy(_));
        let inner = match &plan {
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => Some(create.input.clone()),
            _ => None,
        };
        let frame = match (self.context.execute_logical_plan(plan).await, inner) {
            (Ok(frame), _) => frame,
            (Err(error), None) => return Err(error.into()),
            (Err(error), Some(inner)) => {
                let state = self.context.state();
                return Err(files::blame_plan(error, &state, &inner).await.into());
            }
        };
        let task = Arc::new(frame.task_ctx());
        let physical = frame.create_physical_plan().await?;
        if silent {
            return Ok(Outcome::Done);
        }
        let rows = execute_stream(Arc::clone(&physical), Arc::clone(&task))?;
        let rows = files::blame(rows, physical, task);
        if !writes {
            return Ok(Outcome::Rows(rows));
        }
        // What is written is written now, whether or not somebody asks how much it was.
        let schema = rows.schema();
        let counts: Vec<RecordBatch> = rows.try_collect().await?;
        let counts = futures::stream::iter(counts.into_iter().map(Ok));
        Ok(Outcome::Rows(Box::pin(RecordBatchStreamAdapter::new(schema, counts))))
    }

    /// Does what is ours to do of a plan: prepared statements, options. `None` where all is done.
    fn planned(&self, plan: LogicalPlan) -> Result<Option<LogicalPlan>> {
        let plan = match plan {
            LogicalPlan::Statement(Planned::Prepare(prepare)) => {
                self.prepared.prepare(prepare)?;
                return Ok(None);
            }
            LogicalPlan::Statement(Planned::Deallocate(deallocate)) => {
                self.prepared.deallocate(&deallocate)?;
                return Ok(None);
            }
            LogicalPlan::Statement(Planned::Execute(execute)) => {
                resolved(self.prepared.execute(execute, &self.context.state())?)?
            }
            LogicalPlan::Explain(mut explain) => {
                if let LogicalPlan::Statement(Planned::Execute(execute)) = explain.plan.as_ref() {
                    let plan = self.prepared.execute(execute.clone(), &self.context.state())?;
                    explain.plan = Arc::new(resolved(plan)?);
                }
                LogicalPlan::Explain(explain)
            }
            LogicalPlan::Analyze(mut analyze) => {
                if let LogicalPlan::Statement(Planned::Execute(execute)) = analyze.input.as_ref() {
                    let plan = self.prepared.execute(execute.clone(), &self.context.state())?;
                    analyze.input = Arc::new(resolved(plan)?);
                }
                LogicalPlan::Analyze(analyze)
            }
            LogicalPlan::Statement(Planned::SetVariable(set))
                if settings::set(&self.context, &set)? =>
            {
                return Ok(None);
            }
            LogicalPlan::Statement(Planned::ResetVariable(reset))
                if settings::reset(&self.context, &self.options, &reset)? =>
            {
                return Ok(None);
            }
            plan => plan,
        };
        Ok(Some(plan))
    }

    async fn create_stream(&self, create: CreateStream) -> Result<Outcome> {
        let (name, if_not_exists) = (create.name.clone(), create.if_not_exists);
        if self.context.table_exist(name.as_str())? {
            return match if_not_exists {
                true => Ok(Outcome::Done),
                false => Err(Error::user(format!("there is a table or stream {name} already"))),
            };
        }
        let stream = Arc::new(define::stream(&self.context, create, self.folder.clone()).await?);
        let table = Arc::new(StreamTable::new(stream.clone(), View::Rows));
        self.context.register_table(name.as_str(), table)?;
        if stream.watermark.is_some() {
            let late = Arc::new(StreamTable::new(stream.clone(), View::Late));
            self.context.register_table(format!("{name}{LATE}"), late)?;
        }
        self.streams.write().insert(name, stream);
        Ok(Outcome::Done)
    }

    fn create_sink(&self, create: CreateSink) -> Result<Outcome> {
        let CreateSink { name, if_not_exists, options } = create;
        let known = self.sinks.read().contains_key(&name);
        if known || self.context.table_exist(name.as_str())? {
            return match if_not_exists && known {
                true => Ok(Outcome::Done),
                false => Err(Error::user(format!("there is a table or sink {name} already"))),
            };
        }
        let sink = Arc::new(SinkDefinition::new(name.clone(), options)?);
        self.sinks.write().insert(name, sink);
        Ok(Outcome::Done)
    }

    fn drop_object(&self, object: Object, name: &str, if_exists: bool) -> Result<Outcome> {
        let (word, known) = match object {
            Object::Stream => ("stream", self.streams.write().remove(name).is_some()),
            Object::Sink => ("sink", self.sinks.write().remove(name).is_some()),
        };
        if known && object == Object::Stream {
            self.context.deregister_table(name)?;
            self.context.deregister_table(format!("{name}{LATE}"))?;
        }
        match known || if_exists {
            true => Ok(Outcome::Done),
            false => Err(Error::user(format!("there is no {word} {name}"))),
        }
    }

    async fn show_streams(&self) -> Result<Outcome> {
        let streams = self.streams();
        let watermark = |stream: &Arc<Stream>| {
            let rule = stream.watermark.as_ref()?;
            let delay = std::time::Duration::from_micros(rule.delay_us.unsigned_abs());
            Some(format!("{} - {delay:?}", stream.schema.field(rule.column).name()))
        };
        self.table(&[
            ("stream_name", streams.iter().map(|stream| Some(stream.name.clone())).collect()),
            ("connector", streams.iter().map(|s| Some(s.connector.name().to_string())).collect()),
            ("watermark", streams.iter().map(watermark).collect()),
            ("store", streams.iter().map(|stream| stream.store.clone()).collect()),
        ])
        .await
    }

    async fn show_sinks(&self) -> Result<Outcome> {
        let sinks: Vec<_> = self.sinks.read().values().cloned().collect();
        let modes = |sink: &Arc<SinkDefinition>| {
            let modes: Vec<_> = sink.connector.modes().iter().map(|mode| mode.name()).collect();
            Some(modes.join(", "))
        };
        let guarantee =
            |sink: &Arc<SinkDefinition>| Some(sink.connector.guarantee().name().to_string());
        self.table(&[
            ("sink_name", sinks.iter().map(|sink| Some(sink.name.clone())).collect()),
            ("connector", sinks.iter().map(|s| Some(s.connector.name().to_string())).collect()),
            ("modes", sinks.iter().map(modes).collect()),
            ("guarantee", sinks.iter().map(guarantee).collect()),
        ])
        .await
    }

    /// A result of strings.
    async fn table(&self, columns: &[(&str, StringArray)]) -> Result<Outcome> {
        let columns = columns
            .iter()
            .map(|(name, column)| (*name, Arc::new(column.clone()) as ArrayRef, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
        Ok(Outcome::Rows(self.context.read_batch(batch)?.execute_stream().await?))
    }
}

/// A plan with what streams mean in it.
fn resolved(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = subquery::joined(proctime::resolve(plan)?, subquery::Over::Streams)?;
    Ok(with_watermark_filter(plan)?)
}

/// The plain name that an INSERT is into.
fn target<'a>(statement: &'a DfStatement, grammar: &Grammar) -> Option<(String, &'a ast::Insert)> {
    let DfStatement::Statement(statement) = statement else { return None };
    let ast::Statement::Insert(insert) = statement.as_ref() else { return None };
    let ast::TableObject::TableName(name) = &insert.table else { return None };
    match name.0.as_slice() {
        [ast::ObjectNamePart::Identifier(name)] => Some((grammar.name(name), insert)),
        _ => None,
    }
}
