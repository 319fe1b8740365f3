//! A SELECT that follows streams: the epochs of a pipeline, whose rows go to who asked.
//!
//! It only looks: no store is written and no pipeline is kept out. Its state folder is one of the
//! system's for such files, and gone when it ends.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{mpsc, watch};

use super::tuning::tuning;
use crate::error::{Error, Result};
use crate::sql::{Engine, Statement};
use crate::stream::connector::sink::api::{Guarantee, Mode, Sink, SinkConnector, Writer};
use crate::stream::dataflow::Graph;
use crate::stream::dataflow::query::Query;
use crate::stream::runtime::state::{Runner, Tuning};
use crate::task::Task;

/// What its epochs and its reports are known by.
const NAME: &str = "SELECT";

/// Results that wait to be taken, at most: the streams are read no faster than rows are printed.
const AHEAD: usize = 8;

/// The rows of a SELECT with EMIT over streams, from now until `stop` is true or the streams have
/// ended; `None` for other statements, which are batches.
///
/// Errors: what cannot run continuously; a stream whose rows come only once. Later ones are in the
/// rows.
pub async fn follow(
    engine: &Engine,
    statement: &Statement,
    mut stop: watch::Receiver<bool>,
) -> Result<Option<SendableRecordBatchStream>> {
    let (Some(emit), Some(plan)) = (statement.emit, engine.query(statement).await?) else {
        return Ok(None);
    };
    let Some(graph) = Graph::new(&engine.context, &plan, emit).await? else { return Ok(None) };
    if let Some(stream) = graph.streams.iter().find(|stream| stream.connector.received()) {
        let (name, connector) = (&stream.name, stream.connector.name());
        return Err(Error::user(format!(
            "stream {name}: the rows of {connector} come only once, and a SELECT would take them \
             from everybody else: follow them in a pipeline, INSERT INTO a sink (thalweg run); \
             without EMIT a SELECT reads what the stream's store holds"
        )));
    }
    let (schema, streams) = (graph.schema.clone(), graph.streams.clone());
    let (sender, receiver) = mpsc::channel(AHEAD);
    let writer = Writer { pipeline: NAME.into(), sink: NAME.into(), insert: 0, keys: None };
    let query = Query::open(graph, &Handed(sender), writer).await?;
    // Nobody goes on where it was.
    let tuning = Tuning { snapshot: Duration::MAX, ..tuning(engine, false)? };
    let folder = folder();
    let mut runner = Runner::open(&engine.context, folder.clone(), NAME.to_string(), tuning)?;
    runner.reader = true;
    let task = Task::spawn("following a stream", async move {
        runner.run(streams, vec![query], tuning, &mut stop).await // and lets go of the folder
    });
    let rows = rows(schema, receiver, Running { task: Some(task), folder });
    Ok(Some(statement.headings.over(rows)))
}

/// What comes through the channel, then how the run ended. Who drops it ends the run.
fn rows(
    schema: SchemaRef,
    mut receiver: mpsc::Receiver<RecordBatch>,
    mut running: Running,
) -> SendableRecordBatchStream {
    let rows = stream::poll_fn(move |context| receiver.poll_recv(context)).map(Ok);
    let end = async move {
        let Some(task) = running.task.take() else { return Ok(None) };
        match task.join().await {
            Ok(()) => Ok(None),
            Err(error) => Err(DataFusionError::External(Box::new(error))),
        }
    };
    let end = stream::once(end).try_filter_map(|none| async move { Ok(none) });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows.chain(end)))
}

/// A run, and its state folder, which goes with it.
struct Running {
    task: Option<Task<()>>,
    folder: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.task.take());
        let _ = std::fs::remove_dir_all(&self.folder); // in the system's folder for such files
    }
}

/// A sink that hands rows on as they come.
#[derive(Debug, Clone)]
struct Handed(mpsc::Sender<RecordBatch>);

#[async_trait]
impl SinkConnector for Handed {
    fn name(&self) -> &'static str {
        NAME
    }

    fn keeps(&self) -> bool {
        false
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Append, Mode::Update]
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    async fn open(&self, _: Writer, _: &SchemaRef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Sink for Handed {
    async fn append(&mut self, rows: &[RecordBatch], _: Option<u64>) -> Result<()> {
        for batch in rows.iter().filter(|batch| batch.num_rows() > 0) {
            let sent = self.0.send(batch.clone()).await;
            sent.map_err(|_| Error::Io(std::io::ErrorKind::BrokenPipe.into()))?;
        }
        Ok(())
    }
}

/// A state folder of no other run.
fn folder() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (process, nth) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let now_us = crate::stream::time::clock::now_us();
    std::env::temp_dir().join(format!("thalweg-select-{process}-{nth}-{now_us:x}"))
}
