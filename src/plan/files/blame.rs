//! Which file of text, and which line of it, a failed read is about. The readers do not tell: they
//! see parts of files, and count lines from the start of the part. So the files of the failed plan
//! are gone through once more, one by one, until one fails. Files of other forms name themselves
//! (`named`).

use std::fs::File;
use std::io::{Cursor, Read};
use std::sync::Arc;

use arrow::error::ArrowError;
use bytes::Bytes;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};

use super::error::{data, placed};
use super::found::shown;
use super::named;
use super::text::csv_rows;
use super::text::json::{self, Rows, RowsReader};
use super::text::parse::{Fault, Form, Reading};
use super::text::source::{TextSource, fault};
use super::text::utf8::Utf8Reader;
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

fn is_of_reading(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::ObjectStore(_) => true,
        DataFusionError::ArrowError(inner, _) => matches!(
            **inner,
            ArrowError::CsvError(_) | ArrowError::JsonError(_) | ArrowError::ParseError(_)
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
    let Some(text) = named::source(scan).downcast_ref::<TextSource>() else { return Ok(None) };
    let reading = text.reading(scan.file_compression_type);
    let what = "looking for the row that failed";
    let scanned = match store.get(path).await?.payload {
        GetResultPayload::File(_, path) => {
            let open = move || Ok(Box::new(File::open(&path)?) as Packed);
            task::blocking(what, move || Ok(text_failure(&reading, &open)?)).await
        }
        GetResultPayload::Stream(parts) => {
            let parts: Vec<Bytes> = parts.try_collect().await?;
            let bytes: Bytes = parts.concat().into();
            let open = move || Ok(Box::new(Cursor::new(bytes.clone())) as Packed);
            task::blocking(what, move || Ok(text_failure(&reading, &open)?)).await
        }
    };
    Ok(scanned?)
}

/// The bytes of a file, as they are stored.
type Packed = Box<dyn Read + Send>;

/// How a file of text fails. It is read once for the fault, and once more for its line where only
/// the row is known.
fn text_failure(
    reading: &Reading,
    open: &dyn Fn() -> std::io::Result<Packed>,
) -> Result<Option<String>> {
    let unpacked = || reading.compression.convert_read(open()?);
    let plain = || Ok::<_, DataFusionError>(Utf8Reader::new(unpacked()?, reading.encoding));
    let Some(mut found) = fault(reading, unpacked()?)? else { return Ok(None) };
    let placed_by = |found: &Fault| found.line.is_some() || found.row.is_some();
    if matches!(reading.form, Form::Json) && !placed_by(&found) {
        if let Some(told) = json::syntax(plain()?) {
            return Ok(Some(placed(&told)));
        }
        let one = Reading { batch_size: 1, ..reading.clone() };
        found = fault(&one, unpacked()?)?.unwrap_or(found);
    }
    if let (None, Some(row)) = (found.line, found.row) {
        found.line = match &reading.form {
            Form::Json => line_of_row(plain()?, row),
            Form::Csv(options) => {
                let header = u64::from(options.has_header.unwrap_or(true));
                csv_rows::line_of(csv_rows::form(options), plain()?, row + header)
            }
        };
    }
    Ok(Some(placed(&found.to_string())))
}

/// The line on which a row of JSON begins.
fn line_of_row(from: impl Read, row: u64) -> Option<u64> {
    let mut rows = RowsReader::new(from, Rows::looking_for(row));
    let mut buffer = vec![0; 1 << 16];
    while rows.rows().line().is_none() && rows.read(&mut buffer).ok()? > 0 {}
    rows.rows().line()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::file_format::file_compression_type::FileCompressionType;

    use super::*;

    fn failure_of(form: Form, text: &'static str) -> Option<String> {
        let field = |name| Field::new(name, DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![field("a"), field("b")]));
        let reading = Reading {
            form,
            encoding: None,
            compression: FileCompressionType::UNCOMPRESSED,
            schema: Arc::clone(&schema),
            table: schema,
            batch_size: 100,
        };
        let open = || Ok(Box::new(text.as_bytes()) as Packed);
        text_failure(&reading, &open).unwrap()
    }

    #[test]
    fn faults_of_text_are_told_with_their_lines() {
        let csv = |text| failure_of(Form::Csv(Box::default()), text);
        assert_eq!(csv("b,a,c\n1,2,\"x\ny\"\n"), None);
        for (text, place) in [
            ("a,b\n\n1,2\n\"3\n4\",5\n", ", line 4, column 'a': '3\\n4' is no Int64"),
            ("b,c\n1,x\r\ny,2\n", ", line 3, column 'b': 'y' is no Int64"),
            ("a,b\n1,2\n1,2,3\n", ", line 3: 2 values expected, 3 values found"),
            ("a,b\n1,2\n1\n", ", line 3: 2 values expected, 1 values found"),
            ("a,b\n1,2\n\"1,\n2\n", ", line 3: a quote opens a value"),
        ] {
            let found = csv(text).unwrap_or_default();
            assert!(found.starts_with(place), "{text:?}: {found}");
        }
    }

    #[test]
    fn faults_of_json_are_told_with_their_lines() {
        let json = |text| failure_of(Form::Json, text);
        assert_eq!(json("{\"a\":1}\n{\n\"a\":2e0}\n"), None);
        for (text, place) in [
            ("{\"a\":1}\n{\"a\":x}\n", ", line 2, column 6: "),
            ("{\"a\":1}\n\n{\"a\":\"y\"}\n", ", line 3, column 'a': 'y' is no Int64"),
            ("[{\"a\":1},\n{\n\"b\":2.5}]", ", line 2, column 'b': '2.5' is no Int64"),
            ("{\"a\":1}\n{\"a\":[1]}\n", ", line 2: "),
            ("{\"a\":1}\n{\"a\":", ", line 2: "),
        ] {
            let found = json(text).unwrap_or_default();
            assert!(found.starts_with(place), "{text:?}: {found}");
        }
    }
}
