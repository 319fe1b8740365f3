//! A stream's own history: every row in a Delta table, with the partition it came from, its offset
//! there, the watermark before it and when it was processed.
//!
//! One commit holds the rows of an epoch and, as application transactions, the epoch's number and
//! each partition's next offset: so a version of the table is a place in the log. What of the log
//! is in no row (the order of files, forced advances) is written beside the data before the commit
//! that it belongs to; of an epoch that was not committed it does not count.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::prelude::SessionContext;
use serde::{Deserialize, Serialize};

use super::definition::Stream;
use super::partition::{self, OFFSET, PARTITION, WATERMARK};
use super::position::Start;
use crate::error::{Error, Result};
use crate::lake::Table;
use crate::stream::checkpoint::journal::Span;
use crate::stream::checksum;
use crate::stream::connector::api::{Place, Segment};
use crate::stream::time::watermark::{BEFORE_ALL, Forced};

/// Whose rows a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    pipeline: String,
    stream: String,
    partitions: usize,
}

/// What an epoch adds to what is known of the log. A commit names the newest, each the one before:
/// what no commit has named does not count, whoever wrote it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct News {
    epoch: u64,
    /// Number of the news before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<i64>,
    #[serde(default)]
    segments: Vec<(usize, Segment)>,
    #[serde(default)]
    forced: Vec<(usize, Forced)>,
}

const OWNER: &str = "owner.json";

/// A store that the pipeline appends to.
pub struct Store {
    table: Table,
    owner: Owner,
    /// Of the batches that are appended.
    schema: SchemaRef,
    /// Last epoch that is stored.
    epoch: u64,
    /// Each partition's offset of the first record that is not stored.
    next: Vec<i64>,
    /// Number of the newest news.
    news: Option<i64>,
}

impl Store {
    /// Opens the store of a stream that has one.
    ///
    /// Errors: the table holds columns that the stream has not, or the rows of another stream or
    /// pipeline.
    pub async fn open(stream: &Stream, pipeline: &str) -> Result<Option<Self>> {
        let Some(path) = &stream.store else { return Ok(None) };
        let schema = stored_schema(stream);
        let table = Table::open_or_extend(path, &schema).await?;
        let owner = Owner {
            pipeline: pipeline.to_string(),
            stream: stream.name.clone(),
            partitions: stream.connector.partitions(),
        };
        match known_owner(&table).await? {
            None => {
                crate::fault::point("created");
                table.put_aside(OWNER, checksum::line(&owner)?).await?;
            }
            Some(present) if present == owner => {}
            Some(Owner { pipeline, stream: name, partitions }) => {
                return Err(Error::user(format!(
                    "stream {}: the store '{path}' holds the stream {name} of the pipeline \
                     {pipeline}, of {partitions} partitions: choose another store, or go on as \
                     that pipeline (SET thalweg.pipeline = '{pipeline}')",
                    stream.name
                )));
            }
        }
        table.tell_others(&application(&owner)).await?;
        let Places { epoch, next, news } = places(&table, &owner).await?;
        Ok(Some(Self { table, owner, schema, epoch, next, news }))
    }

    /// Last epoch that is stored; 0 before the first.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Version of the table.
    pub fn version(&self) -> i64 {
        self.table.version()
    }

    /// Offset of a partition's first record that is not stored.
    pub fn next(&self, partition: usize) -> i64 {
        self.next.get(partition).copied().unwrap_or(0)
    }

    /// Appends the rows of an epoch, as `partition::schema` has them, in one commit; not if it is
    /// there.
    pub async fn append(&mut self, epoch: u64, rows: &[RecordBatch], spans: &[Span]) -> Result<()> {
        if epoch <= self.epoch {
            return Ok(());
        }
        let mut news = News { epoch, previous: self.news, ..News::default() };
        let mut next = self.next.clone();
        for span in spans {
            let partition = span.partition;
            news.segments.extend(span.segments.iter().map(|s| (partition, s.clone())));
            news.forced.extend(span.forced.iter().map(|f| (partition, *f)));
            if let Some(next) = next.get_mut(partition) {
                *next = span.to.max(*next);
            }
        }
        if spans.is_empty() {
            self.epoch = epoch; // an epoch of other streams: this table stays where it is
            return Ok(());
        }
        let mut newest = self.news;
        if !(news.segments.is_empty() && news.forced.is_empty()) {
            // Of no other run, and later than those before.
            let number =
                crate::stream::time::clock::now_us() * 1000 + i64::from(std::process::id() % 1000);
            self.table.put_aside(&news_name(number), checksum::line(&news)?).await?;
            newest = Some(number);
        }
        let rows: Vec<RecordBatch> = rows
            .iter()
            .filter(|batch| batch.num_rows() > 0)
            .map(|b| self.stored(b))
            .collect::<Result<_>>()?;
        let mut reached = vec![(application(&self.owner), epoch as i64)];
        let offsets = next.iter().enumerate();
        reached.extend(offsets.map(|(p, next)| (partition_application(&self.owner, p), *next)));
        reached.extend(newest.map(|number| (news_application(&self.owner), number)));
        self.table.append(&rows, &reached).await?;
        (self.epoch, self.next, self.news) = (epoch, next, newest);
        Ok(())
    }

    /// Stored rows in ranges of offsets by partition, in log order, as `partition::schema` has
    /// them.
    pub async fn rows(
        &self,
        context: &SessionContext,
        stream: &Stream,
        spans: &[(usize, i64, i64)],
    ) -> Result<Vec<RecordBatch>> {
        let within = spans.iter().map(|(partition, from, to)| {
            let of = col(PARTITION).eq(lit(*partition as i32));
            of.and(col(OFFSET).gt_eq(lit(*from))).and(col(OFFSET).lt(lit(*to)))
        });
        let Some(within) = within.reduce(Expr::or) else { return Ok(Vec::new()) };
        rows(&self.table, context, stream, within).await
    }

    /// A batch of the log as it is stored: before the first watermark there is none.
    fn stored(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = batch.columns().to_vec();
        if let Ok(at) = batch.schema().index_of(WATERMARK) {
            let ticks = arrow::compute::cast(&columns[at], &arrow::datatypes::DataType::Int64)?;
            let none = arrow::compute::kernels::cmp::eq(
                &ticks,
                &arrow::array::Int64Array::new_scalar(BEFORE_ALL),
            )?;
            columns[at] = arrow::compute::nullif(&columns[at], &none)?;
        }
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

/// Some of a table's rows in log order, as `partition::schema` has them.
async fn rows(
    table: &Table,
    context: &SessionContext,
    stream: &Stream,
    within: Expr,
) -> Result<Vec<RecordBatch>> {
    let schema = partition::schema(stream);
    let present = table.schema();
    let stored = |name: &String| present.field_with_name(name).is_ok();
    let columns = schema.fields().iter().filter(|field| stored(field.name()));
    let columns = columns.map(|field| col(Column::from_name(field.name())));
    let order = vec![col(PARTITION).sort(true, false), col(OFFSET).sort(true, false)];
    let table = table.provider(&context.state()).await?;
    let rows = context.read_table(table)?.filter(within)?.sort(order)?;
    let rows = rows.select(columns)?.collect().await?;
    Ok(rows.iter().map(|batch| conform(batch, &schema)).collect::<Result<_, _>>()?)
}

/// The declared and the hidden columns, of which the watermark may be NULL.
fn stored_schema(stream: &Stream) -> SchemaRef {
    let schema = partition::schema(stream);
    let fields = schema.fields().iter().map(|field| match field.name().as_str() {
        WATERMARK => field.as_ref().clone().with_nullable(true),
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
}

fn application(owner: &Owner) -> String {
    format!("thalweg/{}/{}", owner.pipeline, owner.stream)
}

fn partition_application(owner: &Owner, partition: usize) -> String {
    format!("thalweg/{}/{}/{partition}", owner.pipeline, owner.stream)
}

fn news_application(owner: &Owner) -> String {
    format!("thalweg/{}/{}/news", owner.pipeline, owner.stream)
}

fn news_name(number: i64) -> String {
    format!("{number:020}.json")
}

/// The news that commits have named, in order.
async fn known_news(table: &Table, newest: Option<i64>, path: &str) -> Result<Vec<News>> {
    let wrong = |what: &str| Error::Data(format!("the store '{path}': {what}"));
    let mut files: BTreeMap<String, Vec<u8>> = table.aside("").await?.into_iter().collect();
    let mut known = Vec::new();
    let mut at = newest;
    while let Some(number) = at {
        let name = news_name(number);
        let json = files.remove(&name).ok_or_else(|| {
            wrong(&format!("the file _thalweg/{name} is gone, and with it the order of its log"))
        })?;
        let news: News = checksum::parse(&json)
            .map_err(|error| wrong(&format!("the file _thalweg/{name}: {error}")))?;
        at = news.previous;
        known.push(news);
    }
    known.reverse();
    Ok(known)
}

async fn known_owner(table: &Table) -> Result<Option<Owner>> {
    // By name it comes after every epoch's file.
    let last = table.aside("9").await?.into_iter().find(|(name, _)| name == OWNER);
    let Some((_, json)) = last else { return Ok(None) };
    let owner = checksum::parse(&json);
    owner.map(Some).map_err(|error| Error::Data(format!("{OWNER} of a store: {error}")))
}

/// How far a store is.
struct Places {
    /// The last epoch.
    epoch: u64,
    /// Each partition's next offset.
    next: Vec<i64>,
    /// Number of the newest news.
    news: Option<i64>,
}

async fn places(table: &Table, owner: &Owner) -> Result<Places> {
    let partitions = (0..owner.partitions).map(|partition| partition_application(owner, partition));
    let applications: Vec<String> =
        [application(owner), news_application(owner)].into_iter().chain(partitions).collect();
    let mut reached = table.reached_by(&applications).await?.into_iter();
    let epoch = reached.next().flatten().unwrap_or(0).max(0).unsigned_abs();
    let news = reached.next().flatten();
    Ok(Places { epoch, next: reached.map(|next| next.unwrap_or(0)).collect(), news })
}

/// A stream's history as it is now, for readers.
pub struct History {
    pub table: Table,
    /// Where each partition goes on behind it; clocks are those before the first row.
    pub rest: Vec<Start>,
}

impl History {
    /// Opens the history of a stream that has one already.
    pub async fn open(stream: &Stream) -> Result<Option<Self>> {
        let Some(path) = &stream.store else { return Ok(None) };
        let Some(table) = Table::open(path).await? else { return Ok(None) };
        let Some(owner) = known_owner(&table).await? else {
            // A run has made the table and written nothing yet.
            if table.is_empty()? && table.schema().field_with_name(OFFSET).is_ok() {
                return Ok(None);
            }
            return Err(Error::user(format!(
                "stream {}: '{path}' is a Delta table that no stream has written",
                stream.name
            )));
        };
        let Places { next, news, .. } = places(&table, &owner).await?;
        let mut rest: Vec<Start> = next
            .into_iter()
            .map(|offset| Start {
                place: Place { offset, segments: Vec::new() },
                ..Start::default()
            })
            .collect();
        for news in known_news(&table, news, path).await? {
            for (partition, segment) in news.segments {
                if let Some(start) = rest.get_mut(partition) {
                    start.place.segments.push(segment);
                }
            }
            for (partition, forced) in news.forced {
                if let Some(start) = rest.get_mut(partition) {
                    start.forced.push(forced);
                    start.clock.force(forced.to_us);
                }
            }
        }
        Ok(Some(Self { table, rest }))
    }

    /// All stored rows in log order, as `partition::schema` has them.
    pub async fn rows(
        &self,
        context: &SessionContext,
        stream: &Stream,
    ) -> Result<Vec<RecordBatch>> {
        rows(&self.table, context, stream, lit(true)).await
    }
}

/// A stored batch in the stream's types; before the first watermark is before all times, and
/// columns that are not stored are NULL.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> datafusion::common::Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| {
        let Some(column) = batch.column_by_name(field.name()) else {
            return Ok(new_null_array(field.data_type(), batch.num_rows()));
        };
        let column = cast(column, field.data_type())?;
        if field.name() != WATERMARK || column.null_count() == 0 {
            return Ok(column);
        }
        let ticks = cast(&column, &DataType::Int64)?;
        let ticks = ticks.as_primitive::<Int64Type>();
        let filled: Int64Array = ticks.iter().map(|tick| tick.unwrap_or(BEFORE_ALL)).collect();
        Ok(cast(&filled, field.data_type())?)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let counted = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &counted)?)
}
