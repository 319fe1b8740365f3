//! Tables written to files: parts made side by side, and put down in their order.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use datafusion::parquet::basic::Compression;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::file::writer::SerializedFileWriter;
use futures::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::args::Format;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::encode;
use crate::cli::output::pending::PendingFile;
use crate::generate::Table;

/// A bar over parts; drawn on a terminal only.
pub fn progress(parts: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{msg:10} {wide_bar} {pos}/{len} parts, {elapsed} ({eta} left)";
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(parts).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Runs `make` on each part, a few at a time, and answers in the order of the parts.
fn in_order<T: Send + 'static>(
    table: &Table,
    make: impl Fn(Table, u64) -> Outcome<T> + Clone + Send + 'static,
) -> impl futures::Stream<Item = Outcome<T>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let table = table.clone();
    let tasks = (0..table.parts).map(move |part| {
        let (table, make) = (table.clone(), make.clone());
        tokio::task::spawn_blocking(move || make(table, part))
    });
    let answers = futures::stream::iter(tasks).buffered(threads);
    answers.map(|answer| answer.unwrap_or_else(|error| Err(Failure::ended("a writer", error))))
}

pub async fn write_text(table: &Table, format: Format, path: &Path, bar: &ProgressBar) -> Outcome {
    let mut file = PendingFile::create(path)?;
    let mut parts = std::pin::pin!(in_order(table, move |table, part| {
        let mut encoder = encode::encoder(format, Arc::clone(&table.schema), true)?;
        // The header stands in the file once, above the first part's rows.
        if part > 0 {
            encoder.finish()?;
        }
        let mut bytes = Vec::new();
        for batch in table.part(part) {
            bytes.extend(encoder.write(&batch)?);
        }
        bytes.extend(encoder.finish()?);
        Ok(bytes)
    }));
    while let Some(bytes) = parts.try_next().await? {
        file.put(&bytes)?;
        bar.inc(1);
    }
    file.persist()
}

pub async fn write_parquet(table: &Table, path: &Path, bar: &ProgressBar) -> Outcome {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut file = PendingFile::create(path)?;
    let refused = |error| parquet_failure(path, error);
    let writer = ArrowWriter::try_new(&mut file, Arc::clone(&table.schema), Some(properties));
    let (mut writer, factory) =
        writer.and_then(ArrowWriter::into_serialized_writer).map_err(refused)?;
    let factory = Arc::new(factory);
    let named = path.to_path_buf();
    let mut parts = std::pin::pin!(in_order(table, move |table, part| {
        encode_row_group(&factory, &table, part).map_err(|error| parquet_failure(&named, error))
    }));
    while let Some(columns) = parts.try_next().await? {
        append_row_group(&mut writer, columns).map_err(refused)?;
        bar.inc(1);
    }
    writer.close().map_err(refused)?;
    file.persist()
}

fn encode_row_group(
    factory: &ArrowRowGroupWriterFactory,
    table: &Table,
    part: u64,
) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
    let mut writers = factory.create_column_writers(part as usize)?;
    for batch in table.part(part) {
        // Columns are flat, so each has one leaf, in the order of the fields.
        let columns = table.schema.fields().iter().zip(batch.columns());
        for (writer, (field, column)) in writers.iter_mut().zip(columns) {
            for leaf in compute_leaves(field, column)? {
                writer.write(&leaf)?;
            }
        }
    }
    writers.into_iter().map(ArrowColumnWriter::close).collect()
}

fn append_row_group<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    columns: Vec<ArrowColumnChunk>,
) -> Result<(), ParquetError> {
    let mut row_group = writer.next_row_group()?;
    for column in columns {
        column.append_to_row_group(&mut row_group)?;
    }
    row_group.close()?;
    Ok(())
}

fn parquet_failure(path: &Path, error: ParquetError) -> Failure {
    let told = crate::error::Error::DataFusion(error.into()).told();
    Failure::failed(format!("{}: {told}", path.display()))
}
