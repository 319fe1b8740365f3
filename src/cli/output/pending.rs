//! A file that gets its name when all of it is written.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::cli::failure::{Failure, Outcome};
use crate::disk::Unfinished;
use crate::error::cause;

/// A file that is written beside its name and renamed when complete.
pub struct PendingFile {
    writer: BufWriter<Unfinished>,
}

impl PendingFile {
    /// Errors name the path.
    pub fn create(target: &Path) -> Outcome<Self> {
        if target.is_dir() || target.file_name().is_none() {
            let message = format!("{}: is a directory, not a file", target.display());
            return Err(Failure::failed(message));
        }
        let file = Unfinished::create_among_many(target)
            .map_err(|error| Failure::failed(format!("{}: {error}", target.display())))?;
        Ok(Self { writer: BufWriter::new(file) })
    }

    /// Errors name the path.
    pub fn put(&mut self, bytes: &[u8]) -> Outcome {
        let written = self.writer.write_all(bytes);
        written.map_err(|error| refused(self.writer.get_ref().target(), &error))
    }

    /// Makes the bytes durable and gives the file its name.
    pub fn persist(self) -> Outcome {
        let target = self.writer.get_ref().target().to_path_buf();
        let file = self.writer.into_inner().map_err(io::IntoInnerError::into_error);
        let published = file.and_then(Unfinished::publish);
        published.map(drop).map_err(|error| refused(&target, &error))
    }
}

fn refused(target: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{}: {}", target.display(), cause(error)))
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
