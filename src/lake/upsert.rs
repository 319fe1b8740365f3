//! Rows that take the place of those with the same keys: Delta's MERGE, by deltalake.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Column, TableReference};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, Operator, binary_expr, lit};
use datafusion::prelude::SessionContext;
use deltalake::DeltaTableError;

use super::{Change, Table};
use crate::disk::sync;
use crate::error::{Error, Result};

/// Names of the two sides in a MERGE.
const OLD: &str = "old";
const NEW: &str = "new";

/// Column of the new side: whether a row only tells the keys of what goes.
const GONE: &str = "__gone";

fn of(side: &str, name: &str) -> Expr {
    Expr::Column(Column::new(Some(TableReference::bare(side)), name))
}

/// Whether a new row only tells the keys of what goes, or does not.
fn marked(mark: bool) -> Expr {
    of(NEW, GONE).eq(lit(mark))
}

/// Whether an old and a new row have the same keys.
fn same(keys: &[String]) -> Result<Expr> {
    let same =
        keys.iter().map(|key| binary_expr(of(OLD, key), Operator::IsNotDistinctFrom, of(NEW, key)));
    same.reduce(Expr::and).ok_or_else(|| Error::Bug("a MERGE without keys".to_string()))
}

impl Table {
    /// Puts rows in the place of those with the same `keys`, in one commit that reaches this far
    /// for each application; of several new rows with the same keys the last counts.
    ///
    /// Errors: a key that is no column; another writer; disk full. Nothing is visible then.
    pub async fn upsert(
        &mut self,
        rows: &[RecordBatch],
        keys: &[String],
        reached: &[(String, i64)],
    ) -> Result<()> {
        let rows: Vec<RecordBatch> = rows.iter().map(|b| self.cast(b)).collect::<Result<_>>()?;
        let rows = last_of_each(&concat_batches(&self.schema, &rows)?, keys)?;
        let source = SessionContext::new().read_batch(rows)?;
        let same = same(keys)?;
        self.make(&Change::Upsert { source, same }, reached).await?;
        self.settle().await
    }

    /// Takes out every row that has the `keys` of a row in `gone`, however often it is there, and
    /// puts `new` in, in one commit that reaches this far for each application.
    ///
    /// Errors: as of `upsert`. Nothing is visible then.
    pub async fn replace(
        &mut self,
        gone: &RecordBatch,
        new: &RecordBatch,
        keys: &[String],
        reached: &[(String, i64)],
    ) -> Result<()> {
        let gone = last_of_each(&self.cast(gone)?, keys)?;
        let rows = concat_batches(&self.schema, [&gone, &self.cast(new)?])?;
        let marks = (0..rows.num_rows()).map(|row| Some(row < gone.num_rows()));
        let marks: BooleanArray = marks.collect();
        let mut columns = vec![(GONE.to_string(), Arc::new(marks) as ArrayRef, false)];
        let fields = self.schema.fields().iter().zip(rows.columns());
        columns.extend(fields.map(|(field, column)| (field.name().clone(), column.clone(), true)));
        let rows = RecordBatch::try_from_iter_with_nullable(columns)?;
        let source = SessionContext::new().read_batch(rows)?;
        // What is put in matches nothing: so it comes once, whatever was there.
        let same = same(keys)?.and(marked(true));
        self.make(&Change::Replace { source, same }, reached).await?;
        self.settle().await
    }

    pub(super) async fn merge(
        &mut self,
        source: &DataFrame,
        same: &Expr,
        reached: &[(String, i64)],
    ) -> Result<(), DeltaTableError> {
        let builder = self.table.clone().merge(source.clone(), same.clone());
        let builder = builder.with_source_alias(NEW).with_target_alias(OLD);
        let builder = builder.when_matched_update(|update| {
            let names = self.schema.fields().iter().map(|field| field.name());
            names.fold(update, |update, name| update.update(Column::from_name(name), of(NEW, name)))
        })?;
        let builder = builder.when_not_matched_insert(|insert| {
            let names = self.schema.fields().iter().map(|field| field.name());
            names.fold(insert, |insert, name| insert.set(Column::from_name(name), of(NEW, name)))
        })?;
        let (merged, _) = builder.with_commit_properties(self.properties(reached)).await?;
        self.table = merged;
        Ok(())
    }

    pub(super) async fn put(
        &mut self,
        source: &DataFrame,
        same: &Expr,
        reached: &[(String, i64)],
    ) -> Result<(), DeltaTableError> {
        let builder = self.table.clone().merge(source.clone(), same.clone());
        let builder = builder.with_source_alias(NEW).with_target_alias(OLD);
        let builder = builder.when_matched_delete(|delete| delete)?;
        let builder = builder.when_not_matched_insert(|insert| {
            let names = self.schema.fields().iter().map(|field| field.name());
            names.fold(insert.predicate(marked(false)), |insert, name| {
                insert.set(Column::from_name(name), of(NEW, name))
            })
        })?;
        let (replaced, _) = builder.with_commit_properties(self.properties(reached)).await?;
        self.table = replaced;
        Ok(())
    }

    /// Brings the newest commit and the files it names to the disk.
    async fn settle(&mut self) -> Result<()> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let log = folder.join("_delta_log");
        let commit = log.join(format!("{:020}.json", self.table.version().unwrap_or_default()));
        let text = std::fs::read_to_string(&commit)?;
        for line in text.lines() {
            let action: serde_json::Value =
                serde_json::from_str(line).map_err(std::io::Error::from)?;
            if let Some(path) = action["add"]["path"].as_str() {
                sync(&folder.join(path))?;
            }
        }
        sync(&folder)?;
        sync(&commit)?;
        sync(&log)
    }
}

/// Of the rows with the same keys the last.
fn last_of_each(rows: &RecordBatch, keys: &[String]) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(keys.len());
    for key in keys {
        let column = rows.column_by_name(key);
        columns.push(
            column
                .cloned()
                .ok_or_else(|| Error::Bug(format!("the key {key} is no column of the result")))?,
        );
    }
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let values = converter.convert_columns(&columns)?;
    let (mut seen, mut kept) = (HashSet::new(), Vec::new());
    for row in (0..rows.num_rows()).rev() {
        if seen.insert(values.row(row).owned()) {
            kept.push(row as u32);
        }
    }
    kept.reverse();
    Ok(take_record_batch(rows, &UInt32Array::from(kept))?)
}
