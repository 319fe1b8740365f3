//! A file that gets its name when all of it is written.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::cli::failure::{Failure, Outcome};
use crate::error::cause;

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
        Failure::failed(format!("{}: {}", self.target.display(), cause(&error)))
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
