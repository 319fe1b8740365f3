//! What a pipeline has done, in its state folder: one record an epoch, on the disk before any
//! effect of that epoch. It says which records of each partition the epoch holds, so that it can be
//! repeated exactly.
//!
//! ```text
//!  state folder/
//!    lock              held by the run that is going on
//!    epochs.jsonl      a header, then a record an epoch, each line with a checksum; of old epochs,
//!                      one for many (see `compact`)
//!    snapshots/N/      states after epoch N (see `snapshot`)
//!    spill/            state that memory has no room for, of the run that is going on
//!    <stream>/         what a source that cannot be read again keeps
//! ```

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{self, Unfinished};
use crate::error::{Error, Result};
use crate::stream::checksum;
use crate::stream::connector::api::{Place, Segment};
use crate::stream::log::position::Start;
use crate::stream::time::watermark::{Clock, Forced};
use crate::task;

/// One epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1, without gaps.
    pub epoch: u64,
    /// When it was processed, in microseconds since 1970 (UTC); later than that of the one before.
    pub time_us: i64,
    /// What of each stream's partitions; those that stood still are left out.
    pub streams: BTreeMap<String, Vec<Span>>,
    /// Versions of the tables that were read, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, i64>,
    /// Of merged epochs the first; `epoch` is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Of merged epochs the last that has a part of each stream.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, u64>,
    /// Of merged epochs the last whose results each sink held when they were merged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub given: BTreeMap<String, u64>,
}

/// Consecutive records of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub partition: usize,
    /// Offset of the first record.
    pub from: i64,
    /// Offset after the last.
    pub to: i64,
    /// Segments that begin in it, or were read to their end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
    /// Advances in or behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forced: Vec<Forced>,
    /// The event time behind it.
    pub clock: Clock,
}

impl Span {
    /// Nothing yet, from an offset on.
    pub fn at(partition: usize, offset: i64, clock: Clock) -> Self {
        let (segments, forced) = (Vec::new(), Vec::new());
        Self { partition, from: offset, to: offset, segments, forced, clock }
    }
}

/// The first line of the file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    thalweg: u32,
    pipeline: String,
    /// Number of the last epoch that was forgotten by `--start-fresh`; 0 at first.
    #[serde(default)]
    base: u64,
}

/// Form of the file; those before it, without merged epochs, are read as well.
const FORMAT: u32 = 2;

/// The record of a pipeline's epochs, open for this run alone.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    file: File,
    base: u64,
    records: Vec<EpochRecord>,
    /// Held until the run is over.
    _lock: File,
}

impl Journal {
    /// Opens the state folder of a pipeline, making it if it is not there.
    ///
    /// Errors: another run has it open; it is another pipeline's; it is damaged.
    pub fn open(folder: &Path, pipeline: &str) -> Result<Self> {
        let lock = lock(folder, pipeline)?;
        let path = folder.join("epochs.jsonl");
        let wrong = |error: std::io::Error| disk::failed(&path, error);
        let options = OpenOptions::new().read(true).append(true).create(true).clone();
        let mut file = options.open(&path).map_err(wrong)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(wrong)?;
        // A line that was cut off while it was written was followed by no effect.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(wrong)?;
            file.sync_all().map_err(wrong)?;
        }
        let text = String::from_utf8_lossy(&bytes[..whole]);
        let mut lines = text.lines().enumerate();
        let base = match lines.next() {
            None => {
                let header = Header { thalweg: FORMAT, pipeline: pipeline.to_string(), base: 0 };
                append(&mut file, &header).map_err(wrong)?;
                disk::sync(folder)?;
                0
            }
            Some((_, line)) => header(&path, line, pipeline)?,
        };
        let mut records: Vec<EpochRecord> = Vec::new();
        let mut ends = BTreeMap::new();
        for (at, line) in lines {
            let damaged = |what: &str| {
                let (path, line) = (path.display(), at + 1);
                Error::Data(format!(
                    "{path}, line {line}: {what}: the state folder is damaged: put it back from a \
                     copy, or remove it to begin with the stored history"
                ))
            };
            let record = checksum::parse::<EpochRecord>(line.as_bytes());
            let record = record.map_err(|error| damaged(&error.to_string()))?;
            let before = records.last().map_or(base, |record| record.epoch);
            if record.first() != before + 1 || record.epoch < record.first() {
                return Err(damaged(&format!("epoch {} is out of order", record.epoch)));
            }
            goes_on(&mut ends, &record).map_err(|error| damaged(&error))?;
            records.push(record);
        }
        Ok(Self { folder: folder.to_path_buf(), file, base, records, _lock: lock })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All epochs that are recorded, in order.
    pub fn records(&self) -> &[EpochRecord] {
        &self.records
    }

    /// The record that an epoch is in.
    pub fn record(&self, epoch: u64) -> Option<&EpochRecord> {
        let at = self.records.partition_point(|record| record.epoch < epoch);
        self.records.get(at).filter(|record| record.first() <= epoch)
    }

    /// The records behind one epoch up to another.
    pub fn between(&self, after: u64, until: u64) -> &[EpochRecord] {
        let at = |epoch: u64| self.records.partition_point(|record| record.epoch <= epoch);
        self.records.get(at(after)..at(until)).unwrap_or_default()
    }

    /// The last epoch of the record that an epoch is in.
    pub fn end_of(&self, epoch: u64) -> u64 {
        self.record(epoch).map_or(epoch, |record| record.epoch)
    }

    /// The epoch behind which this record begins.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Number of the last epoch.
    pub fn last(&self) -> u64 {
        self.records.last().map_or(self.base, |record| record.epoch)
    }

    /// When the last epoch was processed.
    pub fn last_time_us(&self) -> i64 {
        self.records.last().map_or(i64::MIN, |record| record.time_us)
    }

    /// Adds the record of the next epoch and answers its number; it is on the disk when this
    /// returns. `streams` are the spans of logs that are its own, `tables` the versions of tables
    /// beside them.
    pub fn append_next(
        &mut self,
        time_us: i64,
        streams: BTreeMap<String, Vec<Span>>,
        tables: BTreeMap<String, i64>,
    ) -> Result<u64> {
        let epoch = self.last() + 1;
        self.append(EpochRecord { epoch, time_us, streams, tables, ..EpochRecord::default() })?;
        Ok(epoch)
    }

    fn append(&mut self, record: EpochRecord) -> Result<()> {
        let path = self.folder.join("epochs.jsonl");
        let end = self.file.seek(SeekFrom::End(0)).map_err(|error| disk::failed(&path, error))?;
        if let Err(error) = append(&mut self.file, &record) {
            let _ = self.file.set_len(end); // the record did not count: a full disk may be mended
            return Err(disk::failed(&path, error));
        }
        self.records.push(record);
        Ok(())
    }

    /// Forgets all epochs; the next is numbered after `base`.
    pub fn start_fresh(&mut self, pipeline: &str, base: u64) -> Result<()> {
        self.base = base;
        self.rewrite(pipeline, Vec::new())
    }

    /// Puts other records in the place of those there are: all of them or none, whenever the
    /// process is gone.
    pub fn rewrite(&mut self, pipeline: &str, records: Vec<EpochRecord>) -> Result<()> {
        let path = self.folder.join("epochs.jsonl");
        let wrong = |error: std::io::Error| disk::failed(&path, error);
        let header = Header { thalweg: FORMAT, pipeline: pipeline.to_string(), base: self.base };
        let mut text = checksum::line(&header).map_err(wrong)?;
        for record in &records {
            text.extend(checksum::line(record).map_err(wrong)?);
        }
        let mut new = Unfinished::create(&path).map_err(wrong)?;
        new.write_all(&text).map_err(wrong)?;
        crate::fault::point("trimming");
        new.publish().map_err(wrong)?;
        crate::fault::point("trimmed");
        self.file = OpenOptions::new().read(true).append(true).open(&path).map_err(wrong)?;
        self.records = records;
        Ok(())
    }

    /// Where a partition stands after the last epoch, with all that is known of its log.
    pub fn place(&self, stream: &str, partition: usize) -> Start {
        let mut start = Start::default();
        for span in self.spans(stream, partition) {
            start.place.offset = span.to;
            start.place.segments.extend(span.segments.iter().cloned());
            start.forced.extend(span.forced.iter().copied());
            start.clock = span.clock.clone();
        }
        start
    }

    /// Where a partition stood before an epoch, with all that is known of its log since.
    pub fn place_before(&self, epoch: u64, stream: &str, partition: usize) -> Start {
        let mut start = self.place(stream, partition);
        let before = self.records.iter().take_while(|record| record.epoch < epoch);
        let last = before.filter_map(|record| span(record, stream, partition)).last();
        let first = self.spans(stream, partition).next().map_or(0, |span| span.from);
        let (offset, clock) = last.map_or((first, Clock::default()), |s| (s.to, s.clock.clone()));
        // An advance behind the last record of the epoch before is in that epoch's clock.
        start.place = Place { offset, segments: start.place.segments };
        start.clock = clock;
        start
    }

    /// Where a partition's log begins, with all that is known of it.
    pub fn origin(&self, stream: &str, partition: usize) -> Start {
        self.place_before(self.base + 1, stream, partition)
    }

    /// Compares what a table holds of a stream up to an epoch; `next` tells the offset behind it
    /// by partition, 0 where it is not known.
    ///
    /// Errors: another offset than is recorded.
    pub fn compare(&self, stream: &str, epoch: u64, next: impl Fn(usize) -> i64) -> Result<()> {
        let mut ends = BTreeMap::new();
        for record in self.records.iter().take_while(|record| record.epoch <= epoch) {
            let spans = record.streams.get(stream).into_iter().flatten();
            ends.extend(spans.map(|span| (span.partition, span.to)));
        }
        let differs = |(partition, to): &(usize, i64)| ![0, *to].contains(&next(*partition));
        let Some((partition, to)) = ends.into_iter().find(differs) else { return Ok(()) };
        let (path, next) = (self.folder.join("epochs.jsonl"), next(partition));
        Err(Error::Data(format!(
            "{}: stream {stream}, partition {partition}: expected epoch {epoch} to end at {next} \
             as in the store, found {to}: the state folder is damaged, or the store is another \
             than it was: put back the one or the other from a copy, or go on with --start-fresh",
            path.display()
        )))
    }

    /// Whether anything of a partition is recorded.
    pub fn knows(&self, stream: &str, partition: usize) -> bool {
        self.spans(stream, partition).next().is_some()
    }

    fn spans(&self, stream: &str, partition: usize) -> impl Iterator<Item = &Span> {
        self.records.iter().filter_map(move |record| span(record, stream, partition))
    }
}

/// A partition's part of an epoch.
pub fn span<'a>(record: &'a EpochRecord, stream: &str, partition: usize) -> Option<&'a Span> {
    record.streams.get(stream)?.iter().find(|span| span.partition == partition)
}

/// Whether a record goes on where those before it have ended, by stream and partition.
fn goes_on(
    ends: &mut BTreeMap<(String, usize), i64>,
    record: &EpochRecord,
) -> std::result::Result<(), String> {
    for (stream, spans) in &record.streams {
        for span in spans {
            let before = ends.insert((stream.clone(), span.partition), span.to);
            let begin = before.unwrap_or(span.from);
            if span.from != begin || span.to < span.from {
                return Err(format!(
                    "stream {stream}: expected records from {begin} on, found {} to {}",
                    span.from, span.to
                ));
            }
        }
    }
    Ok(())
}

/// A line in one write, brought to the disk.
fn append(file: &mut File, of: &impl Serialize) -> std::io::Result<()> {
    let line = checksum::line(of)?;
    task::in_place(|| file.write_all(&line).and_then(|()| file.sync_data()))
}

fn header(path: &Path, line: &str, pipeline: &str) -> Result<u64> {
    let header: Header = checksum::parse(line.as_bytes()).map_err(|error| {
        Error::Data(format!("{}, line 1: {error}: the state folder is damaged", path.display()))
    })?;
    if header.thalweg > FORMAT {
        return Err(Error::user(format!(
            "{}: written in form {}, and this thalweg reads those up to {FORMAT}",
            path.display(),
            header.thalweg
        )));
    }
    if header.pipeline != pipeline {
        return Err(Error::user(format!(
            "the state folder is that of the pipeline {}, not of {pipeline}: choose another with \
             --state, or name this one by SET thalweg.pipeline = '{}'",
            header.pipeline, header.pipeline
        )));
    }
    Ok(header.base)
}

/// Keeps every other run out of the folder.
fn lock(folder: &Path, pipeline: &str) -> Result<File> {
    let path = folder.join("lock");
    let wrong = |error: &std::io::Error| disk::failed(&path, error);
    std::fs::create_dir_all(folder).map_err(|error| wrong(&error))?;
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut file = options.open(&path).map_err(|error| wrong(&error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder); // only to tell who
            return Err(Error::user(format!(
                "the pipeline {pipeline} is running already (process {}, state folder {}): only \
                 one run at a time; stop that one, or give this one another name by SET \
                 thalweg.pipeline",
                holder.trim(),
                folder.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(wrong(&error)),
    }
    let write = |file: &mut File| -> std::io::Result<()> {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(|error| wrong(&error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: u64, from: i64, to: i64) -> EpochRecord {
        let span = Span {
            partition: 0,
            from,
            to,
            segments: Vec::new(),
            forced: Vec::new(),
            clock: Clock::default(),
        };
        let streams = BTreeMap::from([("s".to_string(), vec![span])]);
        EpochRecord { epoch, time_us: epoch as i64, streams, ..EpochRecord::default() }
    }

    #[test]
    fn records_are_read_again_and_a_torn_line_is_none() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut journal = Journal::open(folder.path(), "p").unwrap();
        journal.append(record(1, 0, 10)).unwrap();
        journal.append(record(2, 10, 12)).unwrap();
        drop(journal);
        let path = folder.path().join("epochs.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"epoch\":3,\"ti\xc3").unwrap();
        let journal = Journal::open(folder.path(), "p").unwrap();
        assert_eq!(journal.records(), [record(1, 0, 10), record(2, 10, 12)]);
        assert_eq!(journal.place("s", 0).place.offset, 12);
        journal.compare("s", 2, |_| 12).unwrap();
        journal.compare("s", 1, |_| 10).unwrap();
        journal.compare("s", 2, |_| 0).unwrap();
        let error = journal.compare("s", 2, |_| 13).unwrap_err().to_string();
        assert!(
            error.contains("expected epoch 2 to end at 13 as in the store, found 12"),
            "{error}"
        );
        assert_eq!(journal.place_before(2, "s", 0).place.offset, 10);
        assert_eq!(journal.place_before(1, "s", 0).place.offset, 0);
        drop(journal);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        let refused = |text: &str, want: &str| {
            std::fs::write(&path, text).unwrap();
            let error = Journal::open(folder.path(), "p").unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        refused(&text.replace("\"to\":12", "\"to\":11"), "line 3: expected the checksum");
        refused(&text.replace("\"base\":0", "\"base\":1"), "line 1: expected the checksum");
        // Lines of earlier versions have none.
        let old =
            |line: &str| match line.strip_prefix("{\"crc\":").and_then(|line| line.split_once(','))
            {
                Some((_, rest)) => format!("{{{rest}\n"),
                None => panic!("{line}"),
            };
        let text: String = text.lines().map(old).collect();
        refused(&text.replace("\"epoch\":1", "\"epoch\":4"), "line 2: epoch 4 is out of order");
        refused(
            &text.replace("\"from\":10", "\"from\":9"),
            "expected records from 10 on, found 9 to 12",
        );
        std::fs::write(&path, text).unwrap();
        let journal = Journal::open(folder.path(), "p").unwrap();
        assert_eq!(journal.records(), [record(1, 0, 10), record(2, 10, 12)]);
    }

    #[test]
    fn one_run_at_a_time_and_one_pipeline_a_folder() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut journal = Journal::open(folder.path(), "p").unwrap();
        let error = Journal::open(folder.path(), "p").unwrap_err().to_string();
        let process = format!("running already (process {}", std::process::id());
        assert!(error.contains(&process), "{error}");
        journal.append(record(1, 0, 10)).unwrap();
        journal.start_fresh("p", 7).unwrap();
        journal.append(record(8, 0, 10)).unwrap();
        drop(journal);
        assert_eq!(Journal::open(folder.path(), "p").unwrap().last(), 8);
        let error = Journal::open(folder.path(), "q").unwrap_err().to_string();
        assert!(error.contains("is that of the pipeline p, not of q"), "{error}");
    }
}
