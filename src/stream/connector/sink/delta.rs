//! The `delta` sink: one commit for each epoch, with its number.

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;

use super::api::{Mode, Sink, SinkConnector, Writer};
use crate::error::{Error, Result};
use crate::lake::{Table, holds};
use crate::stream::connector::options::Settings;

/// The connector with its options.
#[derive(Debug)]
pub struct Delta {
    path: String,
}

impl Delta {
    pub fn new(settings: &mut Settings) -> Result<Self> {
        Ok(Self { path: settings.required("path")? })
    }
}

#[async_trait]
impl SinkConnector for Delta {
    fn name(&self) -> &'static str {
        "delta"
    }

    fn table(&self) -> Option<&str> {
        Some(&self.path)
    }

    /// By MERGE.
    fn modes(&self) -> &'static [Mode] {
        &[Mode::Append, Mode::Update]
    }

    fn takes(&self, sink: &str, columns: &Schema) -> Result<()> {
        let unfit = columns.fields().iter().find(|field| !holds(field.data_type()));
        match unfit {
            Some(field) => Err(crate::stream::connector::sink::api::unfit(sink, field, "Delta")),
            None => crate::stream::connector::sink::api::distinct(sink, columns, "Delta"),
        }
    }

    async fn open(&self, writer: Writer, schema: &SchemaRef) -> Result<Box<dyn Sink>> {
        if writer.keys.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::user(format!(
                "sink {}: a row that is given out again replaces the one with the same groups, and \
                 this query has none: GROUP BY a column, or use console or stdout",
                writer.sink
            )));
        }
        let table = Table::open_or_create(&self.path, schema).await?;
        table.tell_others(&writer.application()).await?;
        Ok(Box::new(Open { table, application: writer.application(), keys: writer.keys }))
    }
}

struct Open {
    table: Table,
    application: String,
    /// Columns that a later row replaces an earlier one by.
    keys: Option<Vec<String>>,
}

#[async_trait]
impl Sink for Open {
    async fn reached(&mut self) -> Result<Option<u64>> {
        let reached = self.table.reached(&self.application).await?;
        Ok(reached.map(|epoch| epoch.max(0).unsigned_abs()))
    }

    async fn append(&mut self, rows: &[RecordBatch], epoch: Option<u64>) -> Result<()> {
        let to = epoch.map(|epoch| (self.application.clone(), epoch as i64));
        match &self.keys {
            Some(keys) => self.table.upsert(rows, keys, to.as_slice()).await,
            None => self.table.append(rows, to.as_slice()).await,
        }
    }

    fn version(&self) -> Option<i64> {
        Some(self.table.version())
    }
}
