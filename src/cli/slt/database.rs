//! The engine as the runner of sqllogictest sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use sqllogictest::{AsyncDB, DBOutput, Record, StatementExpect};

use super::styles::Style;
use super::values::{Column, rows};
use crate::error::{Error, Result};
use crate::sql::{Engine, Outcome, is_writing};

/// What all connections of a file share.
pub struct Shared {
    engine: Arc<Engine>,
    style: Style,
    timeout: Duration,
    /// Whether the record under way asks for a number of rows.
    counts: AtomicBool,
}

impl Shared {
    pub fn new(engine: Arc<Engine>, style: Style, timeout: Duration) -> Self {
        Self { engine, style, timeout, counts: AtomicBool::new(false) }
    }

    /// Takes note of what a record asks for.
    pub fn expect(&self, record: &Record<Column>) {
        self.counts.store(wants_count(record), Ordering::Relaxed);
    }

    /// Runs a text in a task of its own, which may panic or never end.
    pub async fn run(&self, sql: &str) -> Result<DBOutput<Column>> {
        let (engine, sql) = (Arc::clone(&self.engine), sql.to_string());
        let (style, counts) = (self.style, self.counts.load(Ordering::Relaxed));
        let work = async move { answer(&engine, &sql, style, counts).await };
        let mut work = tokio::spawn(work);
        match tokio::time::timeout(self.timeout, &mut work).await {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => Err(Error::Bug(format!("the statement panicked: {panic}"))),
            Err(_) => {
                work.abort();
                let seconds = self.timeout.as_secs_f64();
                Err(Error::user(format!("no answer within {seconds} s (--timeout)")))
            }
        }
    }
}

async fn answer(
    engine: &Engine,
    sql: &str,
    style: Style,
    counts: bool,
) -> Result<DBOutput<Column>> {
    let mut answer = DBOutput::StatementComplete(0);
    for statement in engine.parse(sql)? {
        let writes = is_writing(&statement);
        answer = match engine.execute(statement).await? {
            Outcome::Done => DBOutput::StatementComplete(0),
            Outcome::Rows(stream) => {
                let schema = stream.schema();
                let batches: Vec<RecordBatch> = stream.try_collect().await?;
                if writes && counts {
                    DBOutput::StatementComplete(written(&batches))
                } else {
                    let types = schema.fields().iter();
                    let types = types.map(|field| Column::of(field.data_type())).collect();
                    DBOutput::Rows { types, rows: rows(&batches, style)? }
                }
            }
        };
    }
    Ok(answer)
}

/// The sum of the counts that an INSERT gives.
fn written(batches: &[RecordBatch]) -> u64 {
    let columns = batches.iter().filter_map(|batch| batch.columns().first());
    let counts = columns.filter_map(|column| column.as_primitive_opt::<UInt64Type>());
    counts.flat_map(|counts| counts.iter().flatten()).sum()
}

/// One connection.
pub struct Database(pub Arc<Shared>);

/// An error in the words that a file expects: those of the command line behind those of the
/// library, where files of others look for either.
#[derive(Debug)]
pub struct Told(Error);

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = self.0.told();
        let (full, short) = (self.0.to_string(), format!("{}{}", told.message, told.hints()));
        match full.contains(&short) {
            true => f.write_str(&full),
            false => write!(f, "{full}\n{short}"),
        }
    }
}

impl std::error::Error for Told {}

#[async_trait::async_trait]
impl AsyncDB for Database {
    type Error = Told;
    type ColumnType = Column;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Column>, Told> {
        self.0.run(sql).await.map_err(Told)
    }

    async fn shutdown(&mut self) {}

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Whether a statement is to tell how many rows it has changed.
fn wants_count(record: &Record<Column>) -> bool {
    matches!(record, Record::Statement { expected: StatementExpect::Count(_), .. })
}
