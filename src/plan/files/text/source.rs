//! Scans of files of text, CSV and JSON: bytes are unpacked, decoded and turned into rows, of whole
//! files, or of parts of them where those can be told apart by line breaks.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bytes::Bytes;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileOpenFuture, FileOpener, FileScanConfig, FileSource,
};
use datafusion::datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::boundary_stream::AlignedBoundaryStream;
use encoding_rs::{Encoding, UTF_8};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::csv_rows::{self, CsvRows};
use super::json::Rows;
use super::json_rows::JsonRows;
use super::parse::{Fault, Form, HEAD_BYTES, Parse, Reading};
use super::quotes::Quotes;
use super::utf8::{Utf8, is_utf8};
use crate::task;

/// Bytes that are read from a local file at once: some milliseconds of work.
const CHUNK_BYTES: usize = 1 << 20;

impl Reading {
    /// Reads a file from its start, or from the start of a line within it, where `head` is how the
    /// file starts.
    pub fn parser(&self, head: Option<&[u8]>) -> Result<Box<dyn Parse>, Fault> {
        Ok(match &self.form {
            Form::Csv(options) => Box::new(CsvRows::new(self, options, head)?),
            Form::Json => Box::new(JsonRows::new(self)),
        })
    }
}

/// The source of scans of text.
#[derive(Clone)]
pub struct TextSource {
    form: Form,
    encoding: Option<&'static Encoding>,
    table: TableSchema,
    batch_size: Option<usize>,
    projection: SplitProjection,
    metrics: ExecutionPlanMetricsSet,
    cuts: Cuts,
}

/// Whether files can be cut at line breaks, found out once for all parts of each.
type Cuts = Arc<Mutex<HashMap<Path, Arc<OnceCell<bool>>>>>;

impl TextSource {
    pub fn new(form: Form, encoding: Option<&'static Encoding>, table: TableSchema) -> Self {
        Self {
            form,
            encoding,
            projection: SplitProjection::unprojected(&table),
            table,
            batch_size: None,
            metrics: ExecutionPlanMetricsSet::new(),
            cuts: Cuts::default(),
        }
    }

    /// The source with another form.
    pub fn with_form(&self, form: Form) -> Self {
        Self { form, ..self.clone() }
    }

    /// How all columns of a file are read.
    pub fn reading(&self, compression: FileCompressionType) -> Reading {
        let table = Arc::clone(self.table.file_schema());
        Reading {
            form: self.form.clone(),
            encoding: self.encoding,
            compression,
            schema: Arc::clone(&table),
            table,
            batch_size: self.batch_size.unwrap_or(8192),
        }
    }
}

impl FileSource for TextSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        scan: &FileScanConfig,
        _: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let mut reading = self.reading(scan.file_compression_type);
        reading.schema = Arc::new(reading.table.project(&self.projection.file_indices)?);
        let opener = Arc::new(Opener { reading, store, cuts: Arc::clone(&self.cuts) });
        ProjectionOpener::try_new(self.projection.clone(), opener, self.table.file_schema())
    }

    fn table_schema(&self) -> &TableSchema {
        &self.table
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { batch_size: Some(batch_size), ..self.clone() })
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let merged = self.projection.source.try_merge(projection)?;
        let projection = SplitProjection::new(self.table.file_schema(), &merged);
        Ok(Some(Arc::new(Self { projection, ..self.clone() })))
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        match self.form {
            Form::Csv(_) => "csv",
            Form::Json => "json",
        }
    }

    fn supports_repartitioning(&self) -> bool {
        match &self.form {
            Form::Csv(options) => options.newlines_in_values != Some(true),
            Form::Json => true,
        }
    }

    fn fmt_extra(&self, kind: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        match (&self.form, kind) {
            (_, DisplayFormatType::TreeRender) | (Form::Json, _) => Ok(()),
            (Form::Csv(options), _) => {
                write!(f, ", has_header={}", options.has_header.unwrap_or(true))
            }
        }
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut roots = self.projection.source.iter();
        roots.try_fold(TreeNodeRecursion::Continue, |_, root| f(&root.expr))
    }
}

#[derive(Clone)]
struct Opener {
    reading: Reading,
    store: Arc<dyn ObjectStore>,
    cuts: Cuts,
}

impl FileOpener for Opener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let this = self.clone();
        Ok(Box::pin(async move { this.rows(file).await }))
    }
}

impl Opener {
    async fn rows(self, file: PartitionedFile) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let place = &file.object_meta.location;
        let Some(range) = &file.range else { return self.whole(place).await };
        let (start, end) = (range.start.unsigned_abs(), range.end.unsigned_abs());
        let size = file.object_meta.size;
        let head = self.store.get_range(place, 0..size.min(HEAD_BYTES)).await?;
        let cell = Arc::clone(self.cuts.lock().entry(place.clone()).or_default());
        if !*cell.get_or_try_init(|| self.can_cut(place, &head)).await? {
            // The first part is all of it.
            return match start {
                0 => self.whole(place).await,
                _ => Ok(futures::stream::empty().boxed()),
            };
        }
        let terminator = match &self.reading.form {
            Form::Csv(options) => options.terminator.unwrap_or(b'\n'),
            Form::Json => b'\n',
        };
        let store = Arc::clone(&self.store);
        let bytes =
            AlignedBoundaryStream::new(store, place.clone(), start, end, size, terminator).await?;
        let (head, text) = match start {
            0 => (None, Utf8::new(self.reading.encoding)),
            _ => (Some(&head[..]), Utf8::within()),
        };
        let parser = self.reading.parser(head).map_err(|fault| self.failed(&fault))?;
        Ok(self.parsed(Chunks::Stream(bytes.map_err(Into::into).boxed()), text, parser))
    }

    async fn whole(self, place: &Path) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let compression = self.reading.compression;
        let chunks = match self.store.get(place).await?.payload {
            GetResultPayload::File(file, _) => Chunks::File(compression.convert_read(file)?),
            GetResultPayload::Stream(bytes) => {
                Chunks::Stream(compression.convert_stream(bytes.map_err(Into::into).boxed())?)
            }
        };
        let parser = self.reading.parser(None).map_err(|fault| self.failed(&fault))?;
        let text = Utf8::new(self.reading.encoding);
        Ok(self.parsed(chunks, text, parser))
    }

    /// Whether a file can be cut at its line breaks.
    async fn can_cut(&self, place: &Path, head: &[u8]) -> Result<bool> {
        let other = self.reading.encoding.is_some_and(|encoding| encoding != UTF_8);
        if other || !is_utf8(head) {
            return Ok(false);
        }
        let form = match &self.reading.form {
            Form::Json => return Ok(Rows::by_lines(head)),
            Form::Csv(options) if options.newlines_in_values == Some(false) => return Ok(true),
            Form::Csv(options) => csv_rows::form(options),
        };
        let GetResultPayload::File(file, _) = self.store.get(place).await?.payload else {
            return Ok(false); // all of it would have to be fetched to tell
        };
        let scan = move || Ok(no_line_ends_in_quotes(file, form)?);
        Ok(task::blocking("looking for line breaks in values", scan).await?)
    }

    fn parsed(
        self,
        chunks: Chunks,
        text: Utf8,
        parser: Box<dyn Parse>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let running = Running { chunks, text, parser, ended: false, opener: self };
        let next = |mut running: Running| async move {
            Ok(running.next().await?.map(|batch| (batch, running)))
        };
        futures::stream::try_unfold(running, next).boxed()
    }

    /// An error of reading, which `blame` finds the place of.
    fn failed(&self, fault: &Fault) -> DataFusionError {
        let error = match self.reading.form {
            Form::Csv(_) => ArrowError::CsvError(fault.to_string()),
            Form::Json => ArrowError::JsonError(fault.to_string()),
        };
        DataFusionError::ArrowError(Box::new(error), None)
    }
}

/// A file that is being read.
struct Running {
    chunks: Chunks,
    text: Utf8,
    parser: Box<dyn Parse>,
    ended: bool,
    opener: Opener,
}

impl Running {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let batch = self.parser.next().map_err(|fault| self.opener.failed(&fault))?;
            if batch.is_some() || self.ended {
                return Ok(batch);
            }
            let chunk = self.chunks.next().await?;
            self.ended = chunk.is_none();
            let chunk = chunk.unwrap_or_default();
            let text = self.text.decode(&chunk, self.ended);
            let pushed = text.and_then(|text| self.parser.push(&text, self.ended));
            pushed.map_err(|fault| self.opener.failed(&fault))?;
        }
    }
}

/// The bytes of a file, unpacked.
enum Chunks {
    File(Box<dyn Read + Send>),
    Stream(BoxStream<'static, Result<Bytes>>),
}

impl Chunks {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Stream(bytes) => bytes.try_next().await,
            Self::File(file) => {
                let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                file.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
                Ok((!chunk.is_empty()).then(|| chunk.into()))
            }
        }
    }
}

/// Whether a CSV file can be cut at its line breaks.
pub fn no_line_ends_in_quotes(
    mut from: impl Read,
    form: super::quotes::Form,
) -> std::io::Result<bool> {
    let (mut quotes, mut buffer) = (Quotes::new(form), vec![0; CHUNK_BYTES]);
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(quotes.open().is_none());
        }
        if quotes.pass(&buffer[..read]) {
            return Ok(false);
        }
    }
}

/// Why a file, read once more from its start, is no rows. Where rows come one by one, that of the
/// fault is the next.
pub fn fault(reading: &Reading, mut from: impl Read) -> std::io::Result<Option<Fault>> {
    let mut text = Utf8::new(reading.encoding);
    let mut parser = match reading.parser(None) {
        Ok(parser) => parser,
        Err(fault) => return Ok(Some(fault)),
    };
    let (mut ended, mut rows) = (false, 0);
    while !ended {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        (&mut from).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        ended = chunk.is_empty();
        let mut fault = text.decode(&chunk, ended).and_then(|text| parser.push(&text, ended)).err();
        while fault.is_none() {
            match parser.next() {
                Ok(Some(batch)) => rows += batch.num_rows() as u64,
                Ok(None) => break,
                Err(wrong) => fault = Some(wrong),
            }
        }
        if let Some(mut fault) = fault {
            if reading.batch_size == 1 && fault.line.is_none() {
                fault.row = fault.row.or(Some(rows));
            }
            return Ok(Some(fault));
        }
    }
    Ok(None)
}
