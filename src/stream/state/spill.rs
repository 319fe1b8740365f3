//! State on the disk: rows that are final late wait in files of a narrow range of time each.
//!
//! A file belongs to a run: it goes with the last who knows it, and a snapshot that needs it has a
//! link of its own. So what a crashed run has left is of no use and is removed at the start.

use std::fs::File;
use std::io::{BufWriter, Cursor, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::error::{Error, Result};
use crate::task;

/// The folder within a state folder.
const FOLDER: &str = "spill";

/// Number of the next file of this process: a run's last files may go when the next has begun.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Where a run spills.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

/// What is known of a segment without reading it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub rows: usize,
    /// When the first of its rows is final, and the last, in microseconds.
    pub first_us: i64,
    pub last_us: i64,
    /// The number after the greatest of its rows.
    pub next: u64,
    /// Of the file.
    pub bytes: u64,
    pub crc32: u32,
}

/// Rows in a file: an Arrow IPC stream. Clones are the same file.
#[derive(Debug, Clone)]
pub struct Segment {
    file: Arc<OwnFile>,
    pub facts: Facts,
}

/// A file that goes when nobody knows it any more.
#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    /// Whether it has been brought to the disk.
    synced: AtomicBool,
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // else the next run removes it
    }
}

/// Counts and sums what is written.
pub struct Summed<W> {
    to: W,
    bytes: u64,
    crc32: crc32fast::Hasher,
}

impl<W> Summed<W> {
    pub fn new(to: W) -> Self {
        Self { to, bytes: 0, crc32: crc32fast::Hasher::new() }
    }

    /// Where it was written, and the checksum of it.
    pub fn done(self) -> (W, u32) {
        (self.to, self.crc32.finalize())
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.crc32.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// The checksum of a file, which is read piece by piece.
pub fn sum(path: &Path) -> std::io::Result<u32> {
    let mut summed = Summed::new(std::io::sink());
    std::io::copy(&mut File::open(path)?, &mut summed)?;
    Ok(summed.done().1)
}

impl Folder {
    /// The folder of a run that begins, which has its state folder for itself.
    ///
    /// Errors: files of an earlier run cannot be removed.
    pub fn open(state: &Path) -> Result<Self> {
        let path = state.join(FOLDER);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::user(format!(
                "{}: {error}: what an earlier run has left there is of no use: remove the folder",
                path.display()
            ))),
            _ => Ok(Self { path }),
        }
    }

    fn new_file(&self) -> std::io::Result<OwnFile> {
        match std::fs::create_dir(&self.path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let (run, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = self.path.join(format!("{run}-{number:010}.arrows"));
        Ok(OwnFile { path, synced: AtomicBool::new(false) })
    }

    /// Takes a segment from a snapshot, which keeps it.
    ///
    /// Errors: the file is not the one that was saved.
    pub fn adopt(&self, saved: &Path, facts: Facts) -> Result<Segment> {
        let length = std::fs::metadata(saved)?.len();
        if length != facts.bytes {
            let name = saved.display();
            return Err(Error::Data(format!(
                "{name}: expected {} bytes, found {length}",
                facts.bytes
            )));
        }
        if sum(saved)? != facts.crc32 {
            return Err(Error::Data(format!("{}: its checksum is not its own", saved.display())));
        }
        let file = self.new_file()?;
        let same = link(saved, &file.path)?;
        file.synced.store(same, Ordering::Relaxed);
        Ok(Segment { file: Arc::new(file), facts })
    }

    /// Writes rows, of which `facts` knows all but what the file is.
    ///
    /// Errors: the disk is full, or the folder cannot be written.
    pub fn write(
        &self,
        schema: &SchemaRef,
        rows: impl Iterator<Item = Result<RecordBatch>>,
        facts: Facts,
    ) -> Result<Segment> {
        let file = self.new_file().map_err(|error| unwritten(&self.path, &error))?;
        let written =
            task::in_place(|| write(&file.path, schema, rows, facts)).map_err(
                |error| match error {
                    Error::Io(error) => unwritten(&file.path, &error),
                    Error::Arrow(error) => unwritten(&file.path, &error),
                    other => other,
                },
            );
        Ok(Segment { facts: written?, file: Arc::new(file) })
    }
}

impl Segment {
    /// Its rows.
    ///
    /// Errors: the file is gone or is not what was written.
    pub fn read(&self) -> Result<Vec<RecordBatch>> {
        let path = &self.file.path;
        let bytes = task::in_place(|| std::fs::read(path)).map_err(|error| unread(path, &error))?;
        if bytes.len() as u64 != self.facts.bytes || crc32fast::hash(&bytes) != self.facts.crc32 {
            return Err(unread(path, &"it is not what was written"));
        }
        let rows = StreamReader::try_new(Cursor::new(bytes), None).and_then(Iterator::collect);
        let rows: Vec<RecordBatch> = rows.map_err(|error| unread(path, &error))?;
        Ok(rows)
    }

    /// Puts the file into a snapshot's folder and brings it to the disk.
    pub fn save(&self, target: &Path) -> Result<()> {
        let same = link(&self.file.path, target)?;
        if !same || !self.file.synced.load(Ordering::Relaxed) {
            disk::sync(target)?;
        }
        self.file.synced.fetch_or(same, Ordering::Relaxed);
        Ok(())
    }
}

fn write(
    path: &Path,
    schema: &SchemaRef,
    rows: impl Iterator<Item = Result<RecordBatch>>,
    facts: Facts,
) -> Result<Facts> {
    let summed = Summed::new(File::create(path)?);
    let mut writer = StreamWriter::try_new(BufWriter::new(summed), schema)?;
    for batch in rows {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    let summed = writer.into_inner()?.into_inner();
    let summed = summed.map_err(std::io::IntoInnerError::into_error)?;
    Ok(Facts { bytes: summed.bytes, crc32: summed.crc32.finalize(), ..facts })
}

/// A second name for a file, or a copy where the disk has none; answers whether it is the same.
fn link(from: &Path, to: &Path) -> std::io::Result<bool> {
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(_) => std::fs::copy(from, to).map(|_| false),
    }
}

fn unwritten(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::user(format!(
        "{}: {error}: state above thalweg.state_memory cannot be written there: make room on the \
         disk, or raise thalweg.state_memory; then run the same command again",
        path.display()
    ))
}

fn unread(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Data(format!(
        "{}: {error}: state that was written there cannot be read again. Run the same command \
         again: it goes on from the last snapshot; if that says the same, remove the folder \
         snapshots in the state folder, and the log is read again instead",
        path.display()
    ))
}
