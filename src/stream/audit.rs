//! Results against the batch over the stored history: `AUDIT` compares, `RECONCILE` corrects.
//!
//! Late rows are in the history and not in the results. The batch with watermark filters gives what
//! the stream has given out, bit for bit; the batch without them gives what would have been given
//! out had no row been late. RECONCILE changes the result in one commit; what it changes is also
//! kept, old and new, in `RESULT__corrections`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{cast, concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use crate::error::{Error, Result};
use crate::lake::Table;
use crate::stream::plan::late::without_watermark_filter;
use crate::stream::plan::upsert_keys::group_keys;
use crate::stream::plan::watermark_bound;
use crate::stream::state::final_key::micros;
use crate::stream::time::clock::Clock;

/// Appended to the path of a result: the table of its corrections.
pub const CORRECTIONS: &str = "__corrections";

/// A result table, and the query that makes it.
pub struct Subject<'a> {
    pub name: &'a str,
    /// Of the Delta table.
    pub path: &'a str,
    /// What its epochs are known by there.
    pub application: String,
    pub plan: &'a LogicalPlan,
    /// What has been given out: windows that were final by this watermark.
    pub watermark_us: i64,
    /// Only windows from here on.
    pub since_us: Option<i64>,
}

/// Rows of one side, by their keys.
struct Side {
    rows: RecordBatch,
    /// Each row's key bytes.
    keys: Vec<Vec<u8>>,
    /// From key bytes to the rows: more than one where another writer has been at the table.
    by_key: HashMap<Vec<u8>, Vec<usize>>,
    /// Each row's bytes.
    values: Vec<Vec<u8>>,
}

/// Two sides that differ.
struct Difference {
    /// Rows of each, by the same key.
    pairs: Vec<(Option<usize>, Option<usize>)>,
    stored: Side,
    wanted: Side,
}

impl Subject<'_> {
    /// Compares what was given out with the batch; answers one row: how many rows are as they are
    /// to be, how many are missing, unexpected and different.
    pub async fn audit(&self, context: &SessionContext) -> Result<RecordBatch> {
        let (keys, table) = (self.keys()?, self.table().await?);
        let corrected = self.corrected(context, &keys, &table.schema()).await?;
        let late = self.wanted(context, &table, true).await?;
        let mut wanted = keep(&late, &keys, |key| !corrected.contains(key))?;
        if !corrected.is_empty() {
            let truth = self.wanted(context, &table, false).await?;
            let truth = keep(&truth, &keys, |key| corrected.contains(key))?;
            wanted = concat_batches(&table.schema(), [&wanted, &truth])?;
        }
        let stored = self.stored(context, &table).await?;
        let found = difference(stored, wanted, &keys)?;
        let of = |missing: bool, unexpected: bool| {
            let same = |(old, new): &&(Option<usize>, Option<usize>)| {
                old.is_none() == missing && new.is_none() == unexpected
            };
            found.pairs.iter().filter(same).count() as i64
        };
        let (missing, unexpected, different) = (of(true, false), of(false, true), of(false, false));
        let equal = found.stored.values.len() as i64 - unexpected - different;
        let until = TimestampMicrosecondArray::from(vec![Some(self.watermark_us)]);
        let first = found.pairs.first().map(|(old, new)| {
            let json = |side: &Side, row: Option<usize>| {
                row.map_or(Ok("nothing".to_string()), |row| json(&side.rows, row, |_| true))
            };
            let (old, new) = (json(&found.stored, *old)?, json(&found.wanted, *new)?);
            Ok::<_, Error>(format!("{old} instead of {new}"))
        });
        let first = first.transpose()?;
        let number = |value: i64| Arc::new(arrow::array::Int64Array::from(vec![value])) as ArrayRef;
        Ok(RecordBatch::try_from_iter_with_nullable([
            ("result", Arc::new(StringArray::from(vec![self.name])) as ArrayRef, false),
            ("final_until", Arc::new(until) as ArrayRef, true),
            ("equal", number(equal), false),
            ("missing", number(missing), false),
            ("unexpected", number(unexpected), false),
            ("different", number(different), false),
            ("first_difference", Arc::new(StringArray::from(vec![first])) as ArrayRef, true),
        ])?)
    }

    /// Brings the result to what it were had no row been late; answers what was changed.
    pub async fn reconcile(&self, context: &SessionContext) -> Result<RecordBatch> {
        let (keys, mut table) = (self.keys()?, self.table().await?);
        let stored = self.stored(context, &table).await?;
        let wanted = self.wanted(context, &table, false).await?;
        let found = difference(stored, wanted, &keys)?;
        let rows = found.corrections(&keys)?;
        if rows.num_rows() == 0 {
            return Ok(rows);
        }
        // Both tables go by the version that is corrected: what one of them has is not done again.
        let number = table.version() + 1;
        let path = format!("{}{CORRECTIONS}", self.path.trim_end_matches('/'));
        let mut corrections = Table::open_or_create(&path, &rows.schema()).await?;
        let application = format!("{}{CORRECTIONS}", self.application);
        if corrections.reached(&application).await?.is_none_or(|reached| reached < number) {
            corrections
                .append(std::slice::from_ref(&rows), &[(application.clone(), number)])
                .await?;
        }
        crate::fault::point("corrections");
        let (gone, new) = found.replacement()?;
        table.replace(&gone, &new, &keys, &[(application, number)]).await?;
        Ok(rows)
    }

    fn keys(&self) -> Result<Vec<String>> {
        group_keys(self.plan).map_err(|_| {
            Error::user(format!(
                "{}: its rows are told apart by the columns of GROUP BY: all of them have to be \
                 in the result",
                self.name
            ))
        })
    }

    async fn table(&self) -> Result<Table> {
        Table::open(self.path).await?.ok_or_else(|| {
            Error::user(format!("{}: there is no table at '{}' yet", self.name, self.path))
        })
    }

    /// The rows that the table holds, of windows that are asked for.
    async fn stored(&self, context: &SessionContext, table: &Table) -> Result<RecordBatch> {
        let provider = table.provider(&context.state()).await?;
        let rows = context.read_table(provider)?.collect().await?;
        self.asked(&concat_batches(&table.schema(), &conform(rows, &table.schema())?)?)
    }

    /// The rows that the batch gives, as the table stores them.
    async fn wanted(
        &self,
        context: &SessionContext,
        table: &Table,
        is_filtered: bool,
    ) -> Result<RecordBatch> {
        let plan = match is_filtered {
            true => self.plan.clone(),
            false => without_watermark_filter(self.plan)?,
        };
        let rows = context.execute_logical_plan(plan).await?.collect().await?;
        self.asked(&concat_batches(&table.schema(), &conform(rows, &table.schema())?)?)
    }

    /// The rows of windows that have been given out, from `since_us` on.
    fn asked(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.plan.schema().columns();
        let bounds = columns.iter().enumerate();
        let bounds =
            bounds.filter_map(|(at, name)| Some((at, watermark_bound::column(self.plan, name)?)));
        let bounds = bounds.filter(|(_, bound)| bound.clock == Clock::Event);
        let Some((at, bound)) = bounds.min_by_key(|(_, bound)| bound.lag_us) else {
            return Err(Error::user(format!(
                "{}: no column tells when a row was final: window_end or window_start has to be \
                 in the result",
                self.name
            )));
        };
        let finals = micros(rows.column(at), bound.lag_us)?;
        let since = self.since_us.unwrap_or(i64::MIN);
        let asked = |time: i64| time <= self.watermark_us && time > since;
        Ok(filter_record_batch(rows, &BooleanArray::from_unary(&finals, asked))?)
    }

    /// Keys of rows that were corrected before.
    async fn corrected(
        &self,
        context: &SessionContext,
        keys: &[String],
        stored: &SchemaRef,
    ) -> Result<BTreeSet<Vec<u8>>> {
        let path = format!("{}{CORRECTIONS}", self.path.trim_end_matches('/'));
        let Some(table) = Table::open(&path).await? else { return Ok(BTreeSet::new()) };
        let provider = table.provider(&context.state()).await?;
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        let rows = context.read_table(provider)?.select_columns(&names)?.collect().await?;
        let fields: Vec<Field> = keys
            .iter()
            .map(|key| Ok(stored.field_with_name(key)?.clone()))
            .collect::<Result<_>>()?;
        let schema = Arc::new(Schema::new(fields));
        let rows = concat_batches(&schema, &conform(rows, &schema)?)?;
        Ok(bytes(&rows, keys)?.into_iter().collect())
    }
}

/// Batches in the types of a table.
fn conform(rows: Vec<RecordBatch>, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    rows.into_iter()
        .map(|batch| {
            let columns = batch.columns().iter().zip(schema.fields());
            let columns = columns.map(|(column, field)| Ok(cast(column, field.data_type())?));
            Ok(RecordBatch::try_new(schema.clone(), columns.collect::<Result<_>>()?)?)
        })
        .collect()
}

/// Columns of each row as bytes that are equal where the values are, to the bit.
fn bytes(rows: &RecordBatch, columns: &[String]) -> Result<Vec<Vec<u8>>> {
    let columns = columns.iter().map(|name| {
        rows.column_by_name(name)
            .cloned()
            .ok_or_else(|| Error::user(format!("the result table has no column {name}")))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let values = converter.convert_columns(&columns)?;
    Ok(values.iter().map(|row| row.as_ref().to_vec()).collect())
}

fn keep(
    rows: &RecordBatch,
    keys: &[String],
    wanted: impl Fn(&Vec<u8>) -> bool,
) -> Result<RecordBatch> {
    let keys = bytes(rows, keys)?;
    let kept: BooleanArray = keys.iter().map(|key| Some(wanted(key))).collect();
    Ok(filter_record_batch(rows, &kept)?)
}

impl Side {
    fn new(rows: RecordBatch, keys: &[String]) -> Result<Self> {
        let names = rows.schema();
        let names: Vec<String> = names.fields().iter().map(|field| field.name().clone()).collect();
        let (values, keys) = (bytes(&rows, &names)?, bytes(&rows, keys)?);
        let mut by_key: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (row, key) in keys.iter().enumerate() {
            by_key.entry(key.clone()).or_default().push(row);
        }
        Ok(Self { rows, keys, by_key, values })
    }

    fn of(&self, key: &[u8]) -> &[usize] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }
}

fn difference(stored: RecordBatch, wanted: RecordBatch, keys: &[String]) -> Result<Difference> {
    let (stored, wanted) = (Side::new(stored, keys)?, Side::new(wanted, keys)?);
    let mut pairs = Vec::new();
    for (row, key) in wanted.keys.iter().enumerate() {
        let old = stored.of(key);
        let same = old.iter().find(|old| stored.values[**old] == wanted.values[row]);
        let place = same.or(old.first()).copied();
        if same.is_none() {
            pairs.push((place, Some(row)));
        }
        // A row that is there twice is there once too often.
        pairs.extend(old.iter().filter(|old| Some(**old) != place).map(|old| (Some(*old), None)));
    }
    for (row, key) in stored.keys.iter().enumerate() {
        if wanted.of(key).is_empty() {
            pairs.push((Some(row), None));
        }
    }
    pairs.sort_unstable();
    Ok(Difference { pairs, stored, wanted })
}

/// Columns of a row as a JSON object: numbers and booleans as such, all else as text.
fn json(rows: &RecordBatch, row: usize, wanted: impl Fn(&str) -> bool) -> Result<String> {
    let options = FormatOptions::default();
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut members = Vec::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if !wanted(field.name()) {
            continue;
        }
        let text = ArrayFormatter::try_new(column, &options)?.value(row).try_to_string()?;
        let value = match field.data_type() {
            _ if column.is_null(row) => "null".to_string(),
            DataType::Boolean => text,
            // JSON has no NaN and no infinity.
            data_type if data_type.is_numeric() && !text.ends_with(['N', 'f']) => text,
            _ => quoted(&text),
        };
        members.push(format!("{}:{value}", quoted(field.name())));
    }
    Ok(format!("{{{}}}", members.join(",")))
}

impl Difference {
    /// The rows whose keys are to go, and those that come: each key that differs goes whole.
    fn replacement(&self) -> Result<(RecordBatch, RecordBatch)> {
        let (mut gone, mut new) = (BTreeSet::new(), BTreeSet::new());
        for (old, row) in &self.pairs {
            gone.extend(*old);
            new.extend(*row);
            new.extend(old.iter().flat_map(|old| self.wanted.of(&self.stored.keys[*old])));
        }
        let take = |side: &Side, rows: BTreeSet<usize>| {
            let rows = UInt32Array::from_iter_values(rows.into_iter().map(|row| row as u32));
            take_record_batch(&side.rows, &rows)
        };
        Ok((take(&self.stored, gone)?, take(&self.wanted, new)?))
    }

    /// Keys, old and new values, and when they were corrected.
    fn corrections(&self, keys: &[String]) -> Result<RecordBatch> {
        let schema = self.stored.rows.schema();
        let both = concat_batches(&schema, [&self.stored.rows, &self.wanted.rows])?;
        let after = self.stored.rows.num_rows();
        let rows = self.pairs.iter().filter_map(|(old, new)| new.map(|new| after + new).or(*old));
        let rows = UInt32Array::from_iter_values(rows.map(|row| row as u32));
        let chosen = take_record_batch(&both, &rows)?;
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for key in keys {
            fields.push(schema.field_with_name(key)?.clone());
            columns.push(chosen.column(schema.index_of(key)?).clone());
        }
        let other = |name: &str| !keys.iter().any(|key| key == name);
        let text = |side: &Side, row: Option<usize>| -> Result<Option<String>> {
            row.map(|row| json(&side.rows, row, other)).transpose()
        };
        let old = self.pairs.iter().map(|(old, _)| text(&self.stored, *old));
        let old = StringArray::from(old.collect::<Result<Vec<_>>>()?);
        let new = self.pairs.iter().map(|(_, new)| text(&self.wanted, *new));
        let new = StringArray::from(new.collect::<Result<Vec<_>>>()?);
        let now = TimestampMicrosecondArray::from(vec![
            crate::stream::time::clock::now_us();
            self.pairs.len()
        ]);
        fields.push(Field::new("old", DataType::Utf8, true));
        fields.push(Field::new("new", DataType::Utf8, true));
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        fields.push(Field::new("corrected_at", time, false));
        columns.extend([Arc::new(old) as ArrayRef, Arc::new(new), Arc::new(now)]);
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }
}
