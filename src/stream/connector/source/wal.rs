//! The log of what was received once and cannot be asked for again: on the disk before its sender
//! is told so, and read from there.
//!
//! ```text
//!  folder/
//!    00000000000000000000.log    frames of rows, from this offset on
//!    00000000000000081920.log
//! ```
//!
//! What was cut off while it was written was promised to nobody, and is forgotten: it has no whole
//! frame behind it. Anything else that cannot be read is damage, and is never cut off. Files whose
//! rows are all in the stream's store are removed. Where the folder has less than the pipeline has
//! read, new rows begin a file of their own behind that.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arrow::array::{Int64Array, new_null_array};
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parking_lot::Mutex;

use super::wal_frame::{Frame, HEADER_BYTES};
use crate::disk;
use crate::error::{Error, Result};
use crate::stream::connector::api::Rows;

/// A file that is longer is followed by another.
const FILE_BYTES: u64 = 64 << 20;

/// The log, for those who write to it.
pub struct Received {
    folder: PathBuf,
    tail: Mutex<Tail>,
    /// Held while the disk is waited for: those who wait meanwhile find their rows there.
    syncing: Mutex<()>,
    /// Offset after the last row that is on the disk.
    synced: AtomicI64,
    /// The disk has failed: nobody knows what it holds.
    broken: AtomicBool,
}

struct Tail {
    file: Arc<File>,
    bytes: u64,
    /// Of the next row.
    offset: i64,
}

impl Received {
    /// Opens the log in a folder, making it if it is not there. New rows get offsets from `from`
    /// on, before which the pipeline reads nothing any more, or behind what the log has.
    ///
    /// Errors: the file that is written to is damaged before its end.
    pub fn open(folder: &Path, from: i64) -> Result<Self> {
        let wrong = |error: std::io::Error| disk::failed(folder, error);
        std::fs::create_dir_all(folder).map_err(wrong)?;
        let last = files(folder)?.pop();
        let known = last.is_some();
        let (path, first) = last.unwrap_or_else(|| (named(folder, from), from));
        let (mut file, mut bytes, mut offset) = tail(&path, first)?;
        if offset < from || !known && from > 0 {
            let gone = match known {
                true => format!("ends at row {offset}"),
                false => "is empty".to_string(),
            };
            tracing::warn!(
                "{}: the log of what was received {gone}, and the pipeline has read the rows \
                 before {from}: its end was removed, cut or replaced by an older copy. Rows that \
                 were received behind it and not read yet are missing; new ones begin at {from}",
                folder.display()
            );
        }
        if offset < from {
            (file, bytes, offset) = tail(&named(folder, from), from)?;
        }
        disk::sync(folder)?;
        Ok(Self {
            folder: folder.to_path_buf(),
            tail: Mutex::new(Tail { file: Arc::new(file), bytes, offset }),
            syncing: Mutex::new(()),
            synced: AtomicI64::new(offset),
            broken: AtomicBool::new(false),
        })
    }

    /// Writes rows behind the others, all or none; answers the offset after them. They count when
    /// `sync` has returned.
    pub fn append(&self, rows: &RecordBatch) -> Result<i64> {
        let frame = Frame::of(rows)?;
        let mut tail = self.tail.lock();
        if self.broken.load(Ordering::SeqCst) {
            return Err(disk::failed(&self.folder, "the disk has failed before"));
        }
        if tail.bytes >= FILE_BYTES {
            self.next_file(&mut tail)?;
        }
        let frame = frame.framed();
        if let Err(error) = (&*tail.file).write_all(&frame) {
            // Half a frame must not stay before the next one.
            if tail.file.set_len(tail.bytes).is_err() {
                self.broken.store(true, Ordering::SeqCst);
            }
            return Err(disk::failed(&self.folder, error));
        }
        tail.bytes += frame.len() as u64;
        tail.offset += rows.num_rows() as i64;
        Ok(tail.offset)
    }

    /// Whether the next rows begin another file.
    pub fn is_full(&self) -> bool {
        self.tail.lock().bytes >= FILE_BYTES
    }

    fn next_file(&self, tail: &mut Tail) -> Result<()> {
        let path = named(&self.folder, tail.offset);
        tail.file.sync_all().map_err(|error| disk::failed(&self.folder, error))?;
        let file = opened(&path).map_err(|error| disk::failed(&path, error))?;
        disk::sync(&self.folder)?;
        (tail.file, tail.bytes) = (Arc::new(file), 0);
        Ok(())
    }

    /// Returns when the rows before an offset are on the disk. Many who wait are served by one
    /// turn of it.
    pub fn sync(&self, to: i64) -> Result<()> {
        let _turn = self.syncing.lock();
        if self.synced.load(Ordering::SeqCst) >= to {
            return Ok(());
        }
        if self.broken.load(Ordering::SeqCst) {
            return Err(disk::failed(&self.folder, "the disk has failed before"));
        }
        let (file, offset) = {
            let tail = self.tail.lock();
            (tail.file.clone(), tail.offset)
        };
        if let Err(error) = file.sync_data() {
            self.broken.store(true, Ordering::SeqCst);
            return Err(disk::failed(&self.folder, error));
        }
        self.synced.store(offset, Ordering::SeqCst);
        Ok(())
    }

    /// Offset after the last row that is on the disk.
    pub fn synced(&self) -> i64 {
        self.synced.load(Ordering::SeqCst)
    }
}

/// A file to append to, made if it is not there.
fn opened(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

/// A file that begins at an offset, its torn end cut off, with its length and the offset behind its
/// last row.
///
/// Errors: a frame that is not whole stands before another, or was whole.
fn tail(path: &Path, first: i64) -> Result<(File, u64, i64)> {
    let wrong = |error: std::io::Error| disk::failed(path, error);
    let mut file = opened(path).map_err(wrong)?;
    let (mut bytes, mut offset) = (0, first);
    while let Some(frame) = Frame::read(&mut file).map_err(wrong)? {
        bytes += (HEADER_BYTES + frame.bytes.len()) as u64;
        offset += i64::from(frame.rows);
    }
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(bytes)).map_err(wrong)?;
    file.read_to_end(&mut rest).map_err(wrong)?;
    if Frame::is_within(&rest) || Frame::is_damaged(&rest) {
        return Err(damaged(path, offset));
    }
    if !rest.is_empty() {
        tracing::warn!(
            "{}: the last {} bytes, behind row {offset}, were cut off while they were written, and \
             are forgotten",
            path.display(),
            rest.len()
        );
        file.set_len(bytes).map_err(wrong)?;
    }
    file.sync_all().map_err(wrong)?;
    Ok((file, bytes, offset))
}

fn damaged(path: &Path, offset: i64) -> Error {
    Error::Data(format!(
        "{}: damaged behind offset {offset}: rows that were received cannot be read. Put the file \
         back from a copy; or move the folder away and go on with --start-fresh, without the rows \
         that are in no store",
        path.display()
    ))
}

fn named(folder: &Path, offset: i64) -> PathBuf {
    folder.join(format!("{offset:020}.log"))
}

/// The files of a log with the offsets they begin at, in order.
fn files(folder: &Path) -> Result<Vec<(PathBuf, i64)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(disk::failed(folder, error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| disk::failed(folder, error))?.path();
        let stem = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log"));
        if let Some(first) = stem.and_then(|stem| stem.parse().ok()) {
            files.push((path, first));
        }
    }
    files.sort();
    Ok(files)
}

/// The metadata of the frames of the last file, with the offsets after them.
pub fn metadata(folder: &Path) -> Result<Vec<(HashMap<String, String>, i64)>> {
    let Some((path, mut offset)) = files(folder)?.pop() else { return Ok(Vec::new()) };
    let mut file = File::open(&path).map_err(|error| disk::failed(&path, error))?;
    let mut found = Vec::new();
    while let Some(frame) = Frame::read(&mut file).map_err(|error| disk::failed(&path, error))? {
        offset += i64::from(frame.rows);
        let schema = StreamReader::try_new(frame.bytes.as_slice(), None)?.schema();
        if !schema.metadata().is_empty() {
            found.push((schema.metadata().clone(), offset));
        }
    }
    Ok(found)
}

/// Removes files that hold only rows before an offset; the last stays, it is written to.
pub fn forget(folder: &Path, before: i64) -> Result<()> {
    let files = files(folder)?;
    let next = files.iter().skip(1).map(|(_, first)| *first);
    for ((path, _), next) in files.iter().zip(next) {
        if next > before {
            break;
        }
        std::fs::remove_file(path).map_err(|error| disk::failed(path, error))?;
        crate::fault::point("forgotten");
    }
    Ok(())
}

/// Reads the log from an offset on.
pub struct Reader {
    folder: PathBuf,
    schema: SchemaRef,
    file: Option<File>,
    /// Offset that the file begins at.
    first: i64,
    /// Where the next frame of the file begins.
    place: u64,
    /// Of the rows that are decoded, or of the next frame.
    offset: i64,
    /// Decoded and not handed on.
    rest: Option<RecordBatch>,
    /// Rows before it are passed over.
    from: i64,
}

impl Reader {
    pub fn new(folder: &Path, schema: &SchemaRef, from: i64) -> Self {
        Self {
            folder: folder.to_path_buf(),
            schema: schema.clone(),
            file: None,
            first: 0,
            place: 0,
            offset: 0,
            rest: None,
            from,
        }
    }

    /// Offset of the next row.
    pub fn offset(&self) -> i64 {
        self.offset.max(self.from)
    }

    /// The next rows before an offset; `None` where there are none, for now.
    pub fn next(&mut self, limit: usize, until: i64) -> Result<Option<Rows>> {
        while self.offset < until {
            let Some(batch) = self.rest.take() else {
                if !self.load()? {
                    return Ok(None);
                }
                continue;
            };
            let skip = usize::try_from(self.from - self.offset).unwrap_or(0);
            if skip >= batch.num_rows() {
                self.offset += batch.num_rows() as i64;
                continue;
            }
            let rows = limit.min(batch.num_rows() - skip);
            let first = self.offset + skip as i64;
            self.offset = first + rows as i64;
            if skip + rows < batch.num_rows() {
                self.rest = Some(batch.slice(skip + rows, batch.num_rows() - skip - rows));
            }
            let columns = batch.slice(skip, rows).columns().to_vec();
            let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
            let offsets = Int64Array::from_iter_values(first..self.offset);
            return Ok(Some(Rows { batch, offsets }));
        }
        Ok(None)
    }

    /// Decodes the next frame; false where there is none.
    fn load(&mut self) -> Result<bool> {
        if self.file.is_none() {
            let from = self.from.max(self.offset);
            let of = files(&self.folder)?;
            let oldest = of.first().map(|(_, first)| *first);
            let Some((path, first)) = of.into_iter().rfind(|(_, first)| *first <= from) else {
                let Some(oldest) = oldest else { return Ok(false) };
                return Err(Error::Data(format!(
                    "{}: rows {from} to {oldest} are gone: they were removed when the stream's \
                     store had them; give the stream that store again",
                    self.folder.display()
                )));
            };
            self.turn_to(&path, first)?;
        }
        let Some(file) = &mut self.file else { return Ok(false) };
        let wrong = |error: std::io::Error| disk::failed(&self.folder, error);
        file.seek(SeekFrom::Start(self.place)).map_err(wrong)?;
        if let Some(frame) = Frame::read(file).map_err(wrong)? {
            self.place += (HEADER_BYTES + frame.bytes.len()) as u64;
            self.rest = Some(widened(frame.decode()?, &self.schema)?);
            return Ok(true);
        }
        let files = files(&self.folder)?;
        // What is missing before `from` is not asked for.
        let next = self.offset.max(self.from);
        let next = files.iter().rfind(|(_, first)| *first <= next);
        if let Some((path, first)) = next.filter(|(_, first)| *first >= self.offset)
            && *first > self.first
        {
            self.turn_to(path, *first)?;
            return self.load();
        }
        if files.last().is_some_and(|(_, first)| *first > self.first) {
            return Err(damaged(&named(&self.folder, self.first), self.offset));
        }
        Ok(false)
    }

    fn turn_to(&mut self, path: &Path, first: i64) -> Result<()> {
        self.file = Some(File::open(path).map_err(|error| disk::failed(path, error))?);
        (self.first, self.place, self.offset) = (first, 0, first);
        Ok(())
    }
}

/// Rows with the columns that were declared since they came, NULL.
fn widened(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.num_columns() >= schema.fields().len() {
        return Ok(batch);
    }
    let columns = schema.fields().iter().map(|field| {
        let null = || new_null_array(field.data_type(), batch.num_rows());
        batch.column_by_name(field.name()).cloned().unwrap_or_else(null)
    });
    let counted = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns.collect(), &counted)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    fn batch(numbers: std::ops::Range<i64>) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
        let numbers = Int64Array::from_iter_values(numbers);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers)]).unwrap()
    }

    fn read(reader: &mut Reader, limit: usize, until: i64) -> Vec<i64> {
        let mut rows = Vec::new();
        while let Some(Rows { batch, offsets }) = reader.next(limit, until).unwrap() {
            let numbers = batch.column(0).as_primitive::<Int64Type>();
            assert_eq!(numbers.values(), offsets.values());
            rows.extend(numbers.values());
        }
        rows
    }

    #[test]
    fn what_is_synced_is_read_again_from_anywhere() {
        let folder = tempfile::TempDir::new().unwrap();
        let schema = batch(0..1).schema();
        let log = Received::open(folder.path(), 0).unwrap();
        log.append(&batch(0..5)).unwrap();
        let mut live = Reader::new(folder.path(), &schema, 0);
        assert!(read(&mut live, 9, log.synced()).is_empty());
        let to = log.append(&batch(5..7)).unwrap();
        log.sync(to).unwrap();
        assert_eq!(read(&mut live, 2, log.synced()), [0, 1, 2, 3, 4, 5, 6]);
        // A file of its own.
        log.tail.lock().bytes = FILE_BYTES;
        let to = log.append(&batch(7..10)).unwrap();
        log.sync(to).unwrap();
        assert_eq!(read(&mut live, 2, log.synced()), [7, 8, 9]);
        drop(log);
        // A frame that was cut off.
        let path = named(folder.path(), 7);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&Frame::of(&batch(10..20)).unwrap().framed()[..50]).unwrap();
        for from in 0..=10 {
            let mut reader = Reader::new(folder.path(), &schema, from);
            assert_eq!(read(&mut reader, 3, i64::MAX), (from..10).collect::<Vec<_>>());
            assert_eq!(reader.offset(), 10);
        }
        let log = Received::open(folder.path(), 0).unwrap();
        let to = log.append(&batch(10..12)).unwrap();
        log.sync(to).unwrap();
        let mut reader = Reader::new(folder.path(), &schema, 6);
        assert_eq!(read(&mut reader, 9, log.synced()), [6, 7, 8, 9, 10, 11]);
        // What is stored elsewhere goes file by file, never the last.
        forget(folder.path(), 6).unwrap();
        assert_eq!(files(folder.path()).unwrap().len(), 2);
        forget(folder.path(), 100).unwrap();
        assert_eq!(files(folder.path()).unwrap(), [(named(folder.path(), 7), 7)]);
        let mut reader = Reader::new(folder.path(), &schema, 8);
        assert_eq!(read(&mut reader, 9, log.synced()), [8, 9, 10, 11]);
        let error = Reader::new(folder.path(), &schema, 6).next(9, 9).unwrap_err().to_string();
        assert!(error.contains("rows 6 to 7 are gone"), "{error}");
        // A lost file is no end.
        std::fs::write(named(folder.path(), 0), "").unwrap();
        let error = Reader::new(folder.path(), &schema, 0).next(9, 9).unwrap_err().to_string();
        assert!(error.contains("damaged behind offset 0"), "{error}");
    }

    /// Appends these rows, and answers the log.
    fn written(folder: &Path, from: i64, numbers: std::ops::Range<i64>) -> Received {
        let log = Received::open(folder, from).unwrap();
        let to = log.append(&batch(numbers)).unwrap();
        log.sync(to).unwrap();
        log
    }

    /// A log that has less than the pipeline has read goes on behind that.
    #[test]
    fn a_log_that_is_too_short_goes_on_behind_what_was_read() {
        let folder = tempfile::TempDir::new().unwrap();
        let schema = batch(0..1).schema();
        let log = written(folder.path(), 7, 7..10);
        assert_eq!(read(&mut Reader::new(folder.path(), &schema, 7), 9, log.synced()), [7, 8, 9]);
        // It waits at the end of the older file while the newer begins.
        let mut waiting = Reader::new(folder.path(), &schema, 15);
        assert!(read(&mut waiting, 9, i64::MAX).is_empty());
        let log = written(folder.path(), 15, 15..18);
        assert_eq!(read(&mut waiting, 9, log.synced()), [15, 16, 17]);
        // Again at the same place: no file more.
        let log = written(folder.path(), 15, 18..19);
        assert_eq!(files(folder.path()).unwrap().len(), 2);
        let mut behind = Reader::new(folder.path(), &schema, 16);
        assert_eq!(read(&mut behind, 9, log.synced()), [16, 17, 18]);
        // What is asked for and missing is told.
        let error = Reader::new(folder.path(), &schema, 12).next(9, 99).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("damaged behind offset 10"), "{error}");
    }

    /// A frame that was cut off at the end is forgotten; any other that is not whole is damage, and
    /// stays.
    #[test]
    fn only_the_torn_end_is_cut_off() {
        let folder = tempfile::TempDir::new().unwrap();
        drop(written(folder.path(), 0, 0..5));
        drop(written(folder.path(), 0, 5..9));
        let path = named(folder.path(), 0);
        let bytes = std::fs::read(&path).unwrap();
        let first = Frame::of(&batch(0..5)).unwrap().framed().len();
        let places = [0, 3, 5, 9, HEADER_BYTES + 2, first - 1];
        let of = |frame: usize, offset: i64| places.map(|at| (frame + at, offset));
        for (at, offset) in of(0, 0).into_iter().chain(of(first, 5)) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            let error = Received::open(folder.path(), 5).map(|_| ()).unwrap_err().to_string();
            let want = format!("0.log: damaged behind offset {offset}");
            assert!(error.contains(&want), "{at}: {error}");
            assert_eq!(std::fs::read(&path).unwrap(), flipped, "{at}");
        }
        for end in [first, first + 7, first + 100, bytes.len() - 1] {
            // What is missing may be zeros.
            let zeros = if end == first + 100 { bytes.len() - end } else { 0 };
            std::fs::write(&path, [&bytes[..end], &vec![0; zeros]].concat()).unwrap();
            assert_eq!(Received::open(folder.path(), 0).unwrap().synced(), 5, "{end}");
            assert_eq!(std::fs::metadata(&path).unwrap().len(), first as u64, "{end}");
        }
    }
}
