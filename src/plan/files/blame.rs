//! Which file, and which line of it, a failed read is about. The readers do not tell: they see
//! parts of files, and count lines from the start of the part. So the files of the failed plan are
//! gone through once more, one by one, until one fails.

use std::error::Error;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::sync::Arc;

use arrow::csv::ReaderBuilder as CsvReader;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder as JsonReader;
use bytes::Bytes;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::physical_plan::{CsvSource, FileScanConfig, JsonSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::file::reader::ChunkReader;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::find::{Files, shown};
use super::{data, stores};
use crate::task;

/// The rows of a plan; an error of reading files names the file and, in text, the line.
pub fn blame(
    rows: SendableRecordBatchStream,
    plan: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let named = rows.then(move |batch| {
        let (plan, task) = (Arc::clone(&plan), Arc::clone(&task));
        async move {
            match batch {
                Err(error) if is_of_reading(&error) => Err(locate(error, &plan, &task).await),
                other => other,
            }
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, named))
}

/// The error of a statement that has run a plan inside, such as `CREATE TABLE .. AS`, with the file
/// and line where it is about reading.
pub async fn blame_plan(
    error: DataFusionError,
    state: &SessionState,
    plan: &LogicalPlan,
) -> DataFusionError {
    if !is_of_reading(&error) {
        return error;
    }
    match state.create_physical_plan(plan).await {
        Ok(plan) => locate(error, &plan, &state.task_ctx()).await,
        Err(_) => error,
    }
}

/// The innermost message of an error.
pub fn cause(error: &DataFusionError) -> String {
    if let Some(inner) = of_store(error) {
        return stores::told(inner);
    }
    match error.find_root() {
        DataFusionError::ArrowError(inner, _) => arrow_cause(inner),
        DataFusionError::ParquetError(inner) => {
            inner.to_string().trim_start_matches("Parquet error: ").to_string()
        }
        DataFusionError::External(inner) => inner.to_string(),
        other => {
            let text = other.to_string();
            text.split_once("error: ").map_or(text.clone(), |(_, rest)| rest.to_string())
        }
    }
}

/// The store's error that is at the bottom of this one.
pub fn of_store(error: &DataFusionError) -> Option<&object_store::Error> {
    let root = error.find_root();
    if let DataFusionError::ObjectStore(inner) = root {
        return Some(inner);
    }
    let mut inner: Option<&(dyn Error + 'static)> = Some(root);
    while let Some(error) = inner {
        if let Some(of_store) = error.downcast_ref::<object_store::Error>() {
            return Some(of_store);
        }
        // What a writer passes on as an error of input and output.
        let io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(of_store) = io.and_then(|error| error.downcast_ref()) {
            return Some(of_store);
        }
        inner = error.source();
    }
    None
}

fn arrow_cause(error: &ArrowError) -> String {
    match error {
        ArrowError::CsvError(text)
        | ArrowError::JsonError(text)
        | ArrowError::ParseError(text)
        | ArrowError::ParquetError(text)
        | ArrowError::IpcError(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_of_reading(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::ParquetError(_) | DataFusionError::ObjectStore(_) => true,
        DataFusionError::ArrowError(inner, _) => matches!(
            **inner,
            ArrowError::CsvError(_)
                | ArrowError::JsonError(_)
                | ArrowError::ParseError(_)
                | ArrowError::ParquetError(_)
                | ArrowError::IpcError(_)
        ),
        _ => false,
    }
}

/// The error with the place it is about; the error as it is where no file fails again.
async fn locate(
    error: DataFusionError,
    plan: &Arc<dyn ExecutionPlan>,
    task: &TaskContext,
) -> DataFusionError {
    let mut scans = Vec::new();
    collect_scans(plan, &mut scans);
    for scan in &scans {
        match first_failure(scan, task).await {
            Ok(Some(found)) => return data(found),
            Ok(None) => {}
            Err(_) => return error,
        }
    }
    error
}

fn collect_scans(plan: &Arc<dyn ExecutionPlan>, scans: &mut Vec<FileScanConfig>) {
    if let Some(source) = plan.downcast_ref::<DataSourceExec>()
        && let Some(scan) = source.data_source().downcast_ref::<FileScanConfig>()
    {
        scans.push(scan.clone());
    }
    for child in plan.children() {
        collect_scans(child, scans);
    }
}

/// The first file of a scan that cannot be read, with the reason.
async fn first_failure(scan: &FileScanConfig, task: &TaskContext) -> Result<Option<String>> {
    let store = task.runtime_env().object_store(&scan.object_store_url)?;
    let url: &url::Url = scan.object_store_url.as_ref();
    let groups = scan.file_groups.iter();
    let mut paths: Vec<Path> =
        groups.flat_map(|g| g.iter()).map(|file| file.object_meta.location.clone()).collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        let name = shown(url, &path);
        let found = failure(scan, &store, &path).await?;
        if let Some(found) = found {
            return Ok(Some(format!("file '{name}'{found}")));
        }
    }
    Ok(None)
}

/// How a file fails: `, line 3: why`, or `: why`.
async fn failure(
    scan: &FileScanConfig,
    store: &Arc<dyn ObjectStore>,
    path: &Path,
) -> Result<Option<String>> {
    let source = &scan.file_source;
    let schema = Arc::clone(source.table_schema().file_schema());
    let csv = source.downcast_ref::<CsvSource>().cloned();
    let json = source.downcast_ref::<JsonSource>().is_some();
    let parquet = source.file_type() == "parquet";
    let compression = scan.file_compression_type;
    let got = store.get(path).await?;
    let what = "looking for the row that failed";
    let scanned = match (csv, got.payload) {
        (None, GetResultPayload::File(file, _)) if parquet => {
            task::blocking(what, move || Ok(parquet_failure(file)?)).await
        }
        (csv, payload) => {
            let text = bytes_of(payload).await?;
            let scan = move || match csv {
                Some(csv) => csv_failure(&csv, &schema, &text, compression),
                None if json => json_failure(&schema, &text, compression),
                None if parquet => parquet_failure(text),
                None => Ok(None),
            };
            task::blocking(what, move || Ok(scan()?)).await
        }
    };
    Ok(scanned?)
}

async fn bytes_of(payload: GetResultPayload) -> Result<Bytes> {
    match payload {
        GetResultPayload::File(mut file, _) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes.into())
        }
        GetResultPayload::Stream(parts) => {
            let parts: Vec<Bytes> = parts.try_collect().await?;
            Ok(parts.concat().into())
        }
    }
}

fn parquet_failure(from: impl ChunkReader + 'static) -> Result<Option<String>> {
    let told = |error: String| Ok(Some(format!(": {}", error.replace("Parquet error: ", ""))));
    let rows = ParquetRecordBatchReaderBuilder::try_new(from).and_then(|builder| builder.build());
    match rows {
        Err(error) => told(error.to_string()),
        Ok(mut rows) => match rows.find_map(Result::err) {
            Some(error) => told(arrow_cause(&error)),
            None => Ok(None),
        },
    }
}

fn csv_failure(
    csv: &CsvSource,
    schema: &SchemaRef,
    text: &Bytes,
    compression: FileCompressionType,
) -> Result<Option<String>> {
    let from = compression.convert_read(Cursor::new(text.clone()))?;
    let mut builder = CsvReader::new(Arc::clone(schema))
        .with_header(csv.has_header())
        .with_delimiter(csv.delimiter())
        .with_quote(csv.quote())
        .with_truncated_rows(csv.truncate_rows());
    if let Some(escape) = csv.escape() {
        builder = builder.with_escape(escape);
    }
    if let Some(comment) = csv.comment() {
        builder = builder.with_comment(comment);
    }
    if let Some(terminator) = csv.terminator() {
        builder = builder.with_terminator(terminator);
    }
    let mut batches = builder.build_buffered(BufReader::new(from))?;
    let Some(error) = batches.find_map(Result::err) else { return Ok(None) };
    let mut plain = Vec::new();
    compression.convert_read(Cursor::new(text.clone()))?.read_to_end(&mut plain)?;
    Ok(Some(csv_place(&error, schema, &plain, csv.quote())))
}

/// `line 3: 2 values expected, 1 found` of arrow-csv's words for it.
pub fn unequal_lengths(cause: &str) -> Option<String> {
    let numbers: Vec<&str> = cause
        .strip_prefix("Encountered unequal lengths between records on CSV file.")?
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .collect();
    match numbers[..] {
        [expected, found, line] => {
            Some(format!("line {line}: {expected} values expected, {found} found"))
        }
        _ => None,
    }
}

/// Where a file stops being JSON: `line 3, column 7: expected value`.
pub async fn json_syntax(files: &Files, object: &ObjectMeta) -> Result<Option<String>> {
    let bytes = bytes_of(files.store.get(&object.location).await?.payload).await?;
    let mut text = Vec::new();
    files.compression.convert_read(Cursor::new(bytes))?.read_to_end(&mut text)?;
    let rows = serde_json::Deserializer::from_slice(&text).into_iter::<serde::de::IgnoredAny>();
    Ok(rows.filter_map(Result::err).next().map(|error| {
        let (line, column, text) = (error.line(), error.column(), error.to_string());
        let told = text.split(" at line ").next().unwrap_or_default();
        format!("line {line}, column {column}: {told}")
    }))
}

/// `, line 3, column 'b': 'x' is no Int64`, where the reader's message tells the record.
fn csv_place(error: &ArrowError, schema: &Schema, text: &[u8], quote: u8) -> String {
    let message = arrow_cause(error);
    let number = |after: &str| -> Option<usize> {
        let rest = &message[message.find(after)? + after.len()..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().ok()
    };
    let place = |record| format!(", line {}", line_of_record(text, quote, record));
    // A value that does not parse: records count from 0, the header's line being one.
    if let (Some(record), Some(column)) = (number(" at line "), number(" for column ")) {
        let name = schema.fields().get(column).map_or("?", |field| field.name());
        let value = message.split('\'').nth(1).unwrap_or_default().escape_debug();
        let kind = message.split('\'').nth(3).unwrap_or_default();
        return format!(
            "{}, column '{name}': '{value}' is no {kind}; a table that CREATE EXTERNAL TABLE \
             declares may have it as VARCHAR",
            place(record)
        );
    }
    // A record with more or fewer values than the header: records count from 1.
    if let Some(record) = number(" for line ") {
        return format!("{}: {message}", place(record - 1));
    }
    format!(": {message}")
}

/// The line, from 1, on which a record starts; records count from 0, blank lines are none.
fn line_of_record(text: &[u8], quote: u8, record: usize) -> usize {
    let mut quoted = false;
    let (mut line, mut records) = (1, 0);
    let mut start_of_line = true;
    for &byte in text {
        if byte == b'\n' {
            line += 1;
            records += usize::from(!quoted && !start_of_line);
            start_of_line = !quoted;
        } else if byte != b'\r' {
            if start_of_line && !quoted && records == record {
                return line;
            }
            start_of_line = false;
        }
        quoted ^= byte == quote;
    }
    line
}

fn json_failure(
    schema: &SchemaRef,
    text: &Bytes,
    compression: FileCompressionType,
) -> Result<Option<String>> {
    let from = BufReader::new(compression.convert_read(Cursor::new(text.clone()))?);
    let mut decoder = JsonReader::new(Arc::clone(schema)).build_decoder()?;
    for (number, line) in from.split(b'\n').enumerate() {
        let line = line?;
        let mut decode = || -> Result<(), ArrowError> {
            decoder.decode(&line)?;
            decoder.decode(b"\n")?;
            if !decoder.has_partial_record() {
                decoder.flush()?;
            }
            Ok(())
        };
        if let Err(error) = decode() {
            return Ok(Some(format!(", line {}: {}", number + 1, arrow_cause(&error))));
        }
    }
    match decoder.has_partial_record() {
        true => Ok(Some(": the last row is cut off".to_string())),
        false => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_past_quoted_line_breaks_and_blank_lines() {
        let text = b"a,b\n\n1,\"x\ny\"\n2,z\r\n3,w\n";
        let line = |record| line_of_record(text, b'"', record);
        assert_eq!([line(0), line(1), line(2), line(3)], [1, 3, 5, 6]);
    }

    #[test]
    fn json_lines_are_counted() {
        let field = arrow::datatypes::Field::new("a", arrow::datatypes::DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![field]));
        let found = |text: &'static str| {
            let bytes = Bytes::from_static(text.as_bytes());
            json_failure(&schema, &bytes, FileCompressionType::UNCOMPRESSED).unwrap()
        };
        assert_eq!(found("{\"a\":1}\n{\n\"a\":2}\n"), None);
        assert!(found("{\"a\":1}\n{\"a\":x}\n").unwrap().starts_with(", line 2: "));
        assert!(found("{\"a\":1}\n\n{\"a\":\"y\"}\n").unwrap().starts_with(", line 3: "));
        assert!(found("{\"a\":1}\n{\"a\":").is_some());
    }
}
