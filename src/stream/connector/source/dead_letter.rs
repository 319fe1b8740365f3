//! Rows that cannot be read: an error, or counted and kept aside with their offsets.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::disk::Unfinished;
use crate::error::{Error, Result};
use crate::stream::connector::api::{OnError, Opening, Rejected};

/// Where the malformed rows of one partition go: a file of lines of JSON, in log order. A reading
/// that begins in the middle of the log writes what follows there anew, so that each row is in it
/// once, however often it was read.
#[derive(Debug)]
pub struct Rejects {
    on_error: OnError,
    /// `None` only counts.
    path: Option<PathBuf>,
    file: Option<File>,
    /// Offset of the first record that is read.
    from: i64,
    count: u64,
}

impl Rejects {
    pub fn new(opening: &Opening) -> Self {
        let path = opening.rejects.as_ref().map(|path| match opening.partition {
            0 => path.clone(),
            nth => path.with_extension(format!("{nth}.jsonl")),
        });
        let (on_error, from) = (opening.on_error, opening.from.offset);
        Self { on_error, path, file: None, from, count: 0 }
    }

    /// Behind all that are there: for records that are never read again.
    pub fn behind(opening: &Opening) -> Self {
        Self { from: i64::MAX, ..Self::new(opening) }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Keeps rows aside; they are on the disk when this returns.
    ///
    /// Errors: of any row with `on_error = 'fail'`, naming its place; else where the file cannot
    /// be written.
    pub fn keep(&mut self, rows: &[Rejected]) -> Result<()> {
        let Some(first) = rows.first() else { return Ok(()) };
        if self.on_error == OnError::Fail {
            return Err(Error::Data(format!(
                "{}: {} (on_error = 'skip' keeps such rows aside and goes on)",
                first.place, first.reason
            )));
        }
        self.count += rows.len() as u64;
        let Some(path) = self.path.clone() else { return Ok(()) };
        let written = self.write(&path, rows);
        written.map_err(|error| Error::user(format!("{}: rejected rows: {error}", path.display())))
    }

    fn write(&mut self, path: &Path, rows: &[Rejected]) -> std::io::Result<()> {
        let mut text = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut text, row)?;
            text.push(b'\n');
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(path, self.from)?),
        };
        file.write_all(&text)?;
        file.sync_data()
    }
}

/// The file with the rows before an offset, to be appended to.
fn open(path: &Path, from: i64) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let before = |line: &&str| {
        let row: Option<Rejected> = serde_json::from_str(line).ok();
        row.is_some_and(|row| row.offset < from)
    };
    let kept: Vec<&str> = text.lines().filter(before).collect();
    // A stream that a query names twice is read twice at the same time: each writes to a file of
    // its own, and the one renamed last, which has all rows, stays.
    let mut file = Unfinished::create_among_many(path)?;
    file.write_all(kept.iter().flat_map(|line| [*line, "\n"]).collect::<String>().as_bytes())?;
    file.publish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::connector::api::testing;

    fn rejected(offset: i64) -> Rejected {
        let place = format!("x.csv, line {offset}");
        Rejected { offset, place, reason: "torn".to_string(), row: "1,".to_string() }
    }

    #[test]
    fn each_row_is_kept_once_however_often_it_is_read() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("s.rejected.jsonl");
        let reading = |from: i64, offsets: &[i64]| {
            let mut opening = testing::opening(Vec::new());
            (opening.on_error, opening.rejects) = (OnError::Skip, Some(path.clone()));
            opening.from.offset = from;
            let mut rejects = Rejects::new(&opening);
            for offset in offsets {
                rejects.keep(&[rejected(*offset)]).unwrap();
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let row = |line| serde_json::from_str::<Rejected>(line).unwrap().offset;
            text.lines().map(row).collect::<Vec<_>>()
        };
        assert_eq!(reading(0, &[1, 4, 9]), [1, 4, 9]);
        // Back to a recorded place, where other rows are malformed now.
        assert_eq!(reading(4, &[4, 8]), [1, 4, 8]);
        let torn = std::fs::read_to_string(&path).unwrap() + "{\"offset\":8,\"pla";
        std::fs::write(&path, torn).unwrap();
        assert_eq!(reading(9, &[12]), [1, 4, 8, 12]);
        assert_eq!(reading(0, &[1]), [1]);
    }
}
