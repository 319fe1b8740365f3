//! Rows that cannot be read: an error, or counted and kept aside.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::stream::definition::OnError;

/// Where the malformed rows of one reading go.
#[derive(Debug)]
pub struct Rejects {
    on_error: OnError,
    /// `None` only counts.
    path: Option<PathBuf>,
    file: Option<BufWriter<File>>,
    count: u64,
}

impl Rejects {
    /// The file at `path` is written anew by the first row that is rejected.
    pub fn new(on_error: OnError, path: Option<PathBuf>) -> Self {
        Self { on_error, path, file: None, count: 0 }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Keeps a row aside. `place` names the file and the line or row.
    ///
    /// Errors: always with `on_error = 'fail'`, naming the place; else where the file cannot be
    /// written.
    pub fn reject(&mut self, place: &str, reason: &str, row: &str) -> Result<()> {
        if self.on_error == OnError::Fail {
            return Err(Error::Data(format!(
                "{place}: {reason} (on_error = 'skip' keeps such rows aside and goes on)"
            )));
        }
        let line = serde_json::json!({ "place": place, "reason": reason, "row": row });
        self.count += 1;
        let Some(path) = self.path.clone() else { return Ok(()) };
        let written =
            self.file(&path).and_then(|file| writeln!(file, "{line}").and_then(|()| file.flush()));
        written.map_err(|error| Error::User(format!("{}: rejected rows: {error}", path.display())))
    }

    fn file(&mut self, path: &Path) -> std::io::Result<&mut BufWriter<File>> {
        if self.file.is_none() {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            self.file = Some(BufWriter::new(File::create(path)?));
        }
        self.file.as_mut().ok_or_else(|| std::io::Error::other("no file"))
    }
}
