//! Where results go and in which form. Rows are written as they arrive; a file gets its name when
//! all went well, so nobody ever reads half a result.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use super::args::Format;
use super::encode::{self, Encoder};
use super::failure::{Failure, Outcome};
use super::following::Following;
use super::script::Stopped;

/// The results of one script.
pub struct Output {
    format: Format,
    sink: Sink,
    results: usize,
}

enum Sink {
    Stdout(BufWriter<io::Stdout>),
    File(PendingFile),
}

impl Output {
    /// Errors: the file cannot be made; a binary form would go to a terminal.
    pub fn open(format: Format, path: Option<&Path>) -> Outcome<Self> {
        let sink = match path {
            Some(path) => Sink::File(PendingFile::create(path)?),
            None => Sink::Stdout(BufWriter::new(io::stdout())),
        };
        let binary = matches!(format, Format::Parquet | Format::Arrow);
        if binary && path.is_none() && io::stdout().is_terminal() {
            let message = "this format is binary: name a file with -o, or pipe it on";
            return Err(Failure::failed(message));
        }
        Ok(Self { format, sink, results: 0 })
    }

    /// Writes all rows of one result; answers how many there were.
    pub async fn write(&mut self, rows: SendableRecordBatchStream) -> Result<u64, Stopped> {
        let encoder = self.start(rows.schema()).map_err(Stopped::Output)?;
        self.encode(rows, encoder).await
    }

    /// The same for rows that come over time: each is written when it is there.
    pub async fn follow(&mut self, rows: SendableRecordBatchStream) -> Result<u64, Stopped> {
        let mut encoder = self.start(rows.schema()).map_err(Stopped::Output)?;
        if self.format == Format::Table {
            encoder = Box::new(Following::new(rows.schema()));
        }
        self.encode(rows, encoder).await
    }

    async fn encode(
        &mut self,
        mut rows: SendableRecordBatchStream,
        mut encoder: Box<dyn Encoder>,
    ) -> Result<u64, Stopped> {
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|error| Stopped::By(error.into()))?;
            count += batch.num_rows() as u64;
            let bytes = encoder.write(&batch).map_err(Failure::from).map_err(Stopped::Output)?;
            self.put(&bytes).map_err(Stopped::Output)?;
        }
        let rest = encoder.finish().map_err(Failure::from).map_err(Stopped::Output)?;
        self.put(&rest).map_err(Stopped::Output)?;
        Ok(count)
    }

    /// Gives a file its name. Without it, the file is removed.
    pub fn finish(self) -> Outcome {
        match self.sink {
            Sink::Stdout(_) => Ok(()),
            Sink::File(file) => file.persist(),
        }
    }

    /// Whether all there is to write is one table.
    pub fn is_binary(&self) -> bool {
        matches!(self.format, Format::Parquet | Format::Arrow)
    }

    fn start(&mut self, schema: SchemaRef) -> Outcome<Box<dyn Encoder>> {
        self.results += 1;
        if self.results > 1 && self.is_binary() {
            return Err(Failure::failed(
                "a parquet or arrow output holds one result and the script has several: \
                 use one query, or COPY (..) TO 'file' for each",
            ));
        }
        if self.results > 1 {
            self.put(b"\n")?;
        }
        let seekable = matches!(self.sink, Sink::File(_));
        Ok(encode::encoder(self.format, schema, seekable)?)
    }

    fn put(&mut self, bytes: &[u8]) -> Outcome {
        match &mut self.sink {
            // Rows are seen when they are there, not when a buffer is full.
            Sink::Stdout(stdout) => {
                stdout.write_all(bytes)?;
                stdout.flush()?;
                Ok(())
            }
            Sink::File(file) => file.put(bytes),
        }
    }
}

/// A file that is written beside its name and renamed when complete.
pub struct PendingFile {
    writer: BufWriter<File>,
    /// None once it has its name.
    unfinished: Option<PathBuf>,
    target: PathBuf,
}

impl PendingFile {
    /// Errors name the path.
    pub fn create(target: &Path) -> Outcome<Self> {
        let name = target.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(name) = name.filter(|_| !target.is_dir()) else {
            let message = format!("{}: is a directory, not a file", target.display());
            return Err(Failure::failed(message));
        };
        let unfinished = target.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let file = File::create(&unfinished)
            .map_err(|error| Failure::failed(format!("{}: {error}", target.display())))?;
        let target = target.to_path_buf();
        Ok(Self { writer: BufWriter::new(file), unfinished: Some(unfinished), target })
    }

    /// Errors name the path.
    pub fn put(&mut self, bytes: &[u8]) -> Outcome {
        let written = self.writer.write_all(bytes);
        written.map_err(|error| self.refused(error))
    }

    /// Makes the bytes durable and gives the file its name.
    pub fn persist(mut self) -> Outcome {
        let flushed = self.writer.flush().and_then(|()| self.writer.get_ref().sync_all());
        flushed.map_err(|error| self.refused(error))?;
        if let Some(unfinished) = self.unfinished.take() {
            std::fs::rename(&unfinished, &self.target).map_err(|error| {
                let _ = std::fs::remove_file(&unfinished);
                self.refused(error)
            })?;
        }
        Ok(())
    }

    fn refused(&self, error: io::Error) -> Failure {
        Failure::failed(format!("{}: {error}", self.target.display()))
    }
}

/// For writers that want a file; their errors do not name it.
impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if let Some(unfinished) = self.unfinished.take() {
            let _ = std::fs::remove_file(unfinished);
        }
    }
}
