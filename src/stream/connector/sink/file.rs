//! The `file` sink: complete files in a folder, one for each result. A file is written beside its
//! name, brought to the disk and renamed, so nobody reads half of one; its name holds the place
//! it reaches.

use std::path::{Path, PathBuf};

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;

use super::api::{Encoding, Sink, SinkConnector, Writer};
use crate::disk::{self, Unfinished};
use crate::error::{Error, Result};
use crate::stream::connector::options::Settings;
use crate::task;

/// The connector with its options.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    extension: &'static str,
    encoding: Encoding,
}

impl File {
    pub fn new(settings: &mut Settings) -> Result<Self> {
        let path = PathBuf::from(settings.required("path")?);
        let extension = settings.choice("format", &["parquet", "csv", "json"])?;
        let encoding = match extension {
            "csv" => Encoding::Csv { header: true },
            "json" => Encoding::Json,
            _ => Encoding::Parquet,
        };
        Ok(Self { path, extension, encoding })
    }
}

#[async_trait]
impl SinkConnector for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn takes(&self, sink: &str, columns: &Schema) -> Result<()> {
        self.encoding.takes(sink, columns)
    }

    async fn open(&self, writer: Writer, schema: &SchemaRef) -> Result<Box<dyn Sink>> {
        std::fs::create_dir_all(&self.path).map_err(|error| disk::failed(&self.path, error))?;
        // Epochs are told apart from the name by their fixed width.
        let Writer { pipeline, sink, insert, .. } = writer;
        let stem = match insert {
            0 => format!("{pipeline}-{sink}-"),
            nth => format!("{pipeline}-{sink}.{nth}-"),
        };
        let lock = lock(&self.path.join(format!(".{stem}lock")), &pipeline)?;
        let (folder, extension) = (self.path.clone(), self.extension);
        let (schema, encoding) = (schema.clone(), self.encoding);
        Ok(Box::new(Open { folder, stem, extension, encoding, schema, _lock: lock }))
    }
}

/// Keeps every other run of the pipeline from the files.
fn lock(path: &Path, pipeline: &str) -> Result<std::fs::File> {
    let file = std::fs::File::create(path).map_err(|error| disk::failed(path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::user(format!(
            "{}: another run of the pipeline {pipeline} writes here: only one may",
            path.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(disk::failed(path, error)),
    }
}

struct Open {
    folder: PathBuf,
    stem: String,
    extension: &'static str,
    encoding: Encoding,
    schema: SchemaRef,
    _lock: std::fs::File,
}

impl Open {
    /// The epoch in a file's name, if it is one of ours.
    fn epoch(&self, name: &str) -> Option<u64> {
        let name = name.strip_prefix(&self.stem)?.strip_suffix(self.extension)?;
        name.strip_suffix('.')?.parse().ok()
    }

    fn write(&self, rows: &[RecordBatch], target: &Path) -> Result<()> {
        let mut writer = std::io::BufWriter::new(Unfinished::create(target)?);
        self.encoding.write(rows, &self.schema, &mut writer)?;
        let file = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.publish()?;
        Ok(())
    }
}

#[async_trait]
impl Sink for Open {
    async fn reached(&mut self) -> Result<Option<u64>> {
        let entries =
            std::fs::read_dir(&self.folder).map_err(|error| disk::failed(&self.folder, error))?;
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        Ok(names.filter_map(|name| self.epoch(&name.to_string_lossy())).max())
    }

    async fn append(&mut self, rows: &[RecordBatch], epoch: Option<u64>) -> Result<()> {
        let place = match epoch {
            Some(epoch) => format!("{epoch:020}"),
            None => {
                // A batch query has no epoch: every one makes a file of its own.
                let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
                format!("at{:020}", now.as_nanos())
            }
        };
        let name = format!("{}{place}.{}", self.stem, self.extension);
        let target = self.folder.join(&name);
        let written = task::in_place(|| self.write(rows, &target));
        written.map_err(|error| disk::failed(&target, error))
    }
}
