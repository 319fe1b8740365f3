//! Files of text, such as CSV and lines of JSON: cut into blocks of whole records, which are parsed
//! beside one another and handed on in order.
//!
//! ```text
//!  bytes ──► block ──► parser (a thread a block) ──► piece ──► rows, in order
//!            whole     columns, typed                records with their ordinals and lines
//!            records
//! ```

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::cast;
use crate::error::{Error, Result};
use crate::stream::connector::api::{Mark, Opening, Rejected, Rows};
use crate::task::Thread;

/// Bytes that are parsed at once: some 10 ms of work, beside which a thread costs nothing.
const BLOCK_BYTES: usize = 1 << 20;

/// Bytes that are looked at first: a header is shorter.
const HEAD_BYTES: usize = 1 << 14;

/// A longer record is an error: with a quote that is never closed, all the rest would be one.
pub const RECORD_BYTES: usize = 1 << 28;

/// Blocks that are parsed beside one another, at most.
const MOST_BLOCKS: usize = 8;

/// Records that follow one another, those that are malformed apart.
#[derive(Debug)]
pub struct Piece {
    /// The declared columns.
    pub batch: RecordBatch,
    /// Each row's number among the records, from 0.
    pub ordinals: Vec<u64>,
    /// Malformed ones included.
    pub records: u64,
    /// Lines of the file before it, and in it.
    pub lines_before: u64,
    pub lines: u64,
    /// In order.
    pub wrong: Vec<Wrong>,
}

/// A malformed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub at: Position,
    pub reason: String,
    /// Its text.
    pub row: String,
}

/// A piece that is being handed on.
pub struct Handed {
    piece: Piece,
    /// Records, rows and malformed records that were.
    records: u64,
    rows: usize,
    wrong: usize,
}

impl Handed {
    pub fn new(piece: Piece) -> Self {
        Self { piece, records: 0, rows: 0, wrong: 0 }
    }

    /// Records that were handed on.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Those that were not.
    pub fn left(&self) -> u64 {
        self.piece.records - self.records
    }

    /// Records before the first that is malformed.
    pub fn sound(&self) -> usize {
        let first = self.piece.wrong.first().map_or(self.piece.records, |wrong| wrong.at.ordinal);
        usize::try_from(first).unwrap_or(usize::MAX)
    }

    /// Passes over records, up to this one.
    pub fn skip(&mut self, record: u64) {
        self.records = record.min(self.piece.records);
        self.rows = self.piece.ordinals.partition_point(|ordinal| *ordinal < self.records);
        let before = |wrong: &Wrong| wrong.at.ordinal < self.records;
        self.wrong = self.piece.wrong.partition_point(before);
    }

    /// The next records: rows and those that are malformed, with their offsets, of which `base` is
    /// that of the piece's first. `place` is what a line belongs to, such as `x.csv, line`.
    pub fn take(&mut self, limit: usize, base: i64, place: &str) -> (Rows, Vec<Rejected>) {
        let (rows, wrong) = (self.rows, self.wrong);
        self.skip(self.records.saturating_add(limit as u64));
        let offset = |ordinal: u64| base + ordinal as i64;
        let offsets = self.piece.ordinals[rows..self.rows].iter().map(|nth| offset(*nth));
        let offsets = Int64Array::from_iter_values(offsets);
        let batch = self.piece.batch.slice(rows, self.rows - rows);
        let reject = |wrong: &Wrong| Rejected {
            offset: offset(wrong.at.ordinal),
            place: format!("{place} {}", self.piece.lines_before + wrong.at.line),
            reason: wrong.reason.clone(),
            row: wrong.row.clone(),
        };
        let rejected = self.piece.wrong[wrong..self.wrong].iter().map(reject).collect();
        (Rows { batch, offsets }, rejected)
    }
}

/// Where a record stands in a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 0.
    pub ordinal: u64,
    /// From 1; of a Parquet file, the row.
    pub line: u64,
}

/// A file that is being read.
pub trait Records: Send {
    /// What `Position::line` counts.
    fn unit(&self) -> &'static str;

    /// The next records; `None` at the end, for now.
    fn next(&mut self) -> Result<Option<Piece>>;

    /// Whether there are no more, for now.
    fn ended(&mut self) -> Result<bool>;

    /// Where reading can go on when more is there: behind the last record that is whole; and the
    /// bytes that were seen. `None` in a file that does not grow.
    fn mark(&self) -> Option<(Mark, u64)> {
        None
    }
}

/// How text is divided into records.
pub trait Dialect: Send + Sync {
    /// Bytes of the whole records at the beginning of these, which begin with a record.
    fn whole(&self, bytes: &[u8]) -> usize;

    /// Reads what tells how the records are to be read; answers the parser and the bytes that
    /// stand before the first record. `None` where more bytes are needed, which there are unless
    /// `all`.
    fn begin(
        &self,
        opening: &Opening,
        bytes: &[u8],
        all: bool,
    ) -> Result<Option<(Arc<dyn Parse>, usize)>>;
}

/// Reads whole records.
pub trait Parse: Send + Sync {
    fn parse(&self, opening: &Opening, bytes: &[u8]) -> Result<Piece>;
}

/// Typed rows from the columns of records at these places; `wrong` are those found malformed
/// before, `records` all of them.
pub fn piece(
    opening: &Opening,
    columns: &[ArrayRef],
    places: &[Position],
    mut wrong: Vec<Wrong>,
    records: u64,
    lines: u64,
) -> Result<Piece> {
    if places.is_empty() {
        let batch = RecordBatch::new_empty(opening.schema.clone());
        let ordinals = Vec::new();
        return Ok(Piece { batch, ordinals, records, lines_before: 0, lines, wrong });
    }
    let before = wrong.len();
    let (batch, keep) = cast::typed(opening, columns, places.len(), &mut |row, reason| {
        let row_text = text(columns, row);
        wrong.push(Wrong { at: places[row], reason: reason.to_string(), row: row_text });
        Ok(())
    })?;
    if before > 0 && wrong.len() > before {
        wrong.sort_by_key(|wrong| wrong.at);
    }
    let kept = |row: &usize| keep.as_ref().is_none_or(|keep| keep.value(*row));
    let ordinals = (0..places.len()).filter(kept).map(|row| places[row].ordinal).collect();
    Ok(Piece { batch, ordinals, records, lines_before: 0, lines, wrong })
}

/// A record's declared columns as text.
fn text(columns: &[ArrayRef], row: usize) -> String {
    let options = FormatOptions::default();
    let field = |column: &ArrayRef| {
        ArrayFormatter::try_new(column, &options)
            .map_or_else(|error| error.to_string(), |format| format.value(row).to_string())
    };
    columns.iter().map(field).collect::<Vec<_>>().join(",")
}

/// What a text begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// More bytes are needed.
    Short,
    /// Text of UTF-8 behind so many bytes: a byte order mark is no part of it.
    Text(usize),
}

/// Looks at the first bytes of a text, which are `all` or not.
///
/// Errors: its byte order mark tells another encoding.
pub fn head(bytes: &[u8], all: bool) -> Result<Head> {
    const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
    if bytes.starts_with(&MARK) {
        return Ok(Head::Text(MARK.len()));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Error::Data(
            "the text is UTF-16, by its byte order mark, and UTF-8 is read here".to_string(),
        ));
    }
    if bytes.iter().take(4).any(|byte| *byte == 0) {
        return Err(Error::Data(
            "the text has bytes of zero: is it UTF-16, encoding = 'utf-16le'?".to_string(),
        ));
    }
    let short = !all && bytes.len() < MARK.len() && (MARK.starts_with(bytes) || bytes.len() < 2);
    Ok(if short { Head::Short } else { Head::Text(0) })
}

/// How many lines end in these bytes.
pub fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Errors: a record that begins at a line is longer than any.
pub fn too_long(line: u64) -> Error {
    let most = RECORD_BYTES >> 20;
    Error::Data(format!(
        "a record from line {line} on is longer than {most} MiB: is a quote never closed, or is \
         it a long array of JSON? Write its objects one a line"
    ))
}

/// Where the bytes come from.
pub enum Input {
    /// A file that may grow.
    Plain(File),
    Packed(Box<dyn Read + Send>),
}

/// A file of text.
pub struct Text {
    input: Input,
    dialect: Arc<dyn Dialect>,
    opening: Arc<Opening>,
    parser: Option<Arc<dyn Parse>>,
    /// Read and not yet in a block.
    buffer: Vec<u8>,
    /// Of what the input has now.
    end: bool,
    blocks: VecDeque<Block>,
    /// Where to begin, if not with the first record.
    resume: Option<Mark>,
    /// Behind what was handed on, the last line without an end left out.
    mark: Mark,
    /// Bytes that were seen.
    size: u64,
}

struct Block {
    bytes: u64,
    /// The last line of a file, which may not be whole yet.
    torn: bool,
    work: Work,
}

enum Work {
    Waits(Vec<u8>),
    Runs(Thread<Result<Piece>>),
}

impl Text {
    /// Reads from the first record, or from the mark of an earlier reading.
    pub fn new(
        input: Input,
        dialect: Arc<dyn Dialect>,
        opening: &Arc<Opening>,
        resume: Option<Mark>,
    ) -> Self {
        Self {
            input,
            dialect,
            opening: opening.clone(),
            parser: None,
            buffer: Vec::new(),
            end: false,
            blocks: VecDeque::new(),
            resume,
            mark: Mark::default(),
            size: 0,
        }
    }

    /// Reads on, so many bytes if they are there.
    fn read(&mut self, bytes: usize) -> Result<()> {
        let (limit, buffer) = (bytes as u64, &mut self.buffer);
        let read = match &mut self.input {
            Input::Plain(file) => file.take(limit).read_to_end(buffer),
            Input::Packed(reader) => reader.take(limit).read_to_end(buffer),
        };
        let read = read.map_err(|error| Error::Data(unreadable(&error, &self.input)))?;
        self.size += read as u64;
        self.end = read < bytes;
        Ok(())
    }

    /// Whether more may come behind the end.
    fn waits(&self) -> bool {
        self.opening.follow && matches!(self.input, Input::Plain(_))
    }

    /// Finds out how the records are to be read.
    fn begin(&mut self) -> Result<()> {
        let (parser, used) = loop {
            let all = self.end && !self.waits();
            if self.buffer.len() > RECORD_BYTES {
                return Err(too_long(1));
            }
            match self.dialect.begin(&self.opening, &self.buffer, all)? {
                Some(begun) => break begun,
                None if self.end => return Ok(()),
                None => self.read(HEAD_BYTES.max(self.buffer.len()))?,
            }
        };
        self.parser = Some(parser);
        self.mark = Mark { records: 0, bytes: used as u64, lines: lines(&self.buffer[..used]) };
        self.buffer.drain(..used);
        let resume = self.resume.take().filter(|resume| resume.bytes > used as u64);
        if let (Some(resume), Input::Plain(file)) = (resume, &mut self.input) {
            file.seek(SeekFrom::Start(resume.bytes))?;
            self.buffer.clear();
            (self.end, self.size, self.mark) = (false, resume.bytes, resume);
        }
        Ok(())
    }

    /// Has blocks parsed ahead.
    fn fill(&mut self) -> Result<()> {
        if self.parser.is_none() {
            self.begin()?;
        }
        let Some(parser) = self.parser.clone() else { return Ok(()) };
        while self.blocks.len() < ahead() && !(self.end && self.buffer.is_empty()) {
            if !self.end {
                self.read(BLOCK_BYTES.max(self.buffer.len()))?;
            }
            let whole = self.dialect.whole(&self.buffer);
            if whole > 0 {
                let rest = self.buffer.split_off(whole);
                let bytes = std::mem::replace(&mut self.buffer, rest);
                self.push(bytes, false, &parser)?;
            } else if self.end && self.waits() {
                return Ok(());
            } else if self.end {
                let bytes = std::mem::take(&mut self.buffer);
                self.push(bytes, true, &parser)?;
            } else if self.buffer.len() > RECORD_BYTES {
                return Err(too_long(self.mark.lines + 1));
            }
        }
        Ok(())
    }

    fn push(&mut self, bytes: Vec<u8>, torn: bool, parser: &Arc<dyn Parse>) -> Result<()> {
        let (length, alone) = (bytes.len() as u64, self.end && self.blocks.is_empty());
        let work = if alone || torn || ahead() == 1 {
            Work::Waits(bytes)
        } else {
            let (parser, opening) = (parser.clone(), self.opening.clone());
            Work::Runs(Thread::spawn("parsing", move || parser.parse(&opening, &bytes))?)
        };
        self.blocks.push_back(Block { bytes: length, torn, work });
        Ok(())
    }
}

impl Records for Text {
    fn unit(&self) -> &'static str {
        "line"
    }

    fn next(&mut self) -> Result<Option<Piece>> {
        self.fill()?;
        let Some(Block { bytes, torn, work }) = self.blocks.pop_front() else { return Ok(None) };
        let mut piece = match (work, &self.parser) {
            (Work::Waits(bytes), Some(parser)) => parser.parse(&self.opening, &bytes)?,
            (Work::Waits(_), None) => return Err(Error::Bug("a block without a parser".into())),
            (Work::Runs(thread), _) => thread.join()??,
        };
        piece.lines_before = self.mark.lines;
        if !torn {
            self.mark.records += piece.records;
            self.mark.bytes += bytes;
            self.mark.lines += piece.lines;
        }
        Ok(Some(piece))
    }

    fn ended(&mut self) -> Result<bool> {
        self.fill()?;
        Ok(self.blocks.is_empty())
    }

    fn mark(&self) -> Option<(Mark, u64)> {
        matches!(self.input, Input::Plain(_)).then_some((self.mark, self.size))
    }
}

/// Blocks that are parsed beside one another.
fn ahead() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get().min(MOST_BLOCKS))
}

fn unreadable(error: &std::io::Error, input: &Input) -> String {
    match input {
        Input::Plain(_) => error.to_string(),
        Input::Packed(_) => format!(
            "{error}: is it still being written? Write it elsewhere and rename it into place"
        ),
    }
}
