//! The `stdin` connector: lines of JSON or CSV from standard input.
//!
//! Nobody can ask for them again, so a pipeline writes them to a log in its state folder (see
//! `wal`) and reads them from there: after a restart first those, then what comes. Malformed
//! ones are not in the log and have no offset. Outside a pipeline they are read as they come, by
//! one query.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel};

use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use encoding_rs::Encoding;
use parking_lot::Mutex;

use super::dead_letter::Rejects;
use super::wal::{self, Reader, Received};
use crate::error::{Error, Result};
use crate::stream::connector::api::{Connector, Opening, Read, Source};
use crate::stream::connector::format::columns::Missing;
use crate::stream::connector::format::csv::{self, COMMA, Csv, TAB};
use crate::stream::connector::format::encoding::{self, Decoded};
use crate::stream::connector::format::json::{Json, Unknown};
use crate::stream::connector::format::text::{
    Dialect, Handed, Parse, Piece, RECORD_BYTES, lines, too_long,
};
use crate::stream::connector::options::Settings;
use crate::task::Thread;

/// Bytes that are asked for at once.
const READ_BYTES: usize = 1 << 16;

/// Pieces that wait to be taken, at most.
const AHEAD: usize = 4;

/// Pieces that are brought to the disk at once, at most.
const TOGETHER: usize = 64;

/// Where the state of the reading that has taken standard input is; there is only one.
static TAKEN: Mutex<Option<Option<PathBuf>>> = Mutex::new(None);

/// The connector with its options.
#[derive(Debug, Clone)]
pub struct Stdin {
    /// The sign between fields; `None` in JSON.
    csv: Option<u8>,
    header: bool,
    unknown: Unknown,
    encoding: Option<&'static Encoding>,
}

impl Stdin {
    pub fn new(settings: &mut Settings, schema: &Schema) -> Result<Self> {
        let format = settings.choice("format", &["json", "csv", "tsv"])?;
        let delimiter = csv::delimiter(settings, format)?;
        let csv = match format {
            "csv" => Some(delimiter.unwrap_or(COMMA)),
            "tsv" => Some(delimiter.unwrap_or(TAB)),
            _ => None,
        };
        let header = settings.choice("header", &["true", "false"])? == "true";
        let unknown = Unknown::new(settings, schema, csv.is_none())?;
        let encoding = encoding::option(settings)?;
        Ok(Self { csv, header, unknown, encoding })
    }

    fn dialect(&self) -> Arc<dyn Dialect> {
        match self.csv {
            Some(delimiter) => {
                Arc::new(Csv { header: self.header, delimiter, missing: Missing::Fail })
            }
            None => Arc::new(Json { unknown: self.unknown.clone() }),
        }
    }
}

impl Connector for Stdin {
    fn name(&self) -> &'static str {
        "stdin"
    }

    fn typed(&self) -> bool {
        true
    }

    fn bounded(&self) -> Result<(), String> {
        Ok(())
    }

    fn received(&self) -> bool {
        true
    }

    fn forget(&self, state: &Path, before: i64) -> Result<()> {
        wal::forget(state, before)
    }

    fn identity(&self) -> String {
        "standard input".to_string()
    }

    fn open(&self, opening: Opening) -> Result<Box<dyn Source>> {
        let opening = Arc::new(opening);
        let input =
            Input { stdin: self.clone(), opening: opening.clone(), pieces: None, reading: None };
        let rejects = Rejects::behind(&opening);
        let Some(folder) = opening.state.clone() else {
            let offset = 0;
            return Ok(Box::new(Direct { input, handed: None, offset, rejects }));
        };
        let log = Reader::new(&folder, &opening.schema, opening.from.offset);
        Ok(Box::new(Kept { input, folder, log, received: None, rejects }))
    }
}

/// What comes from standard input, if this reading may have it.
struct Input {
    stdin: Stdin,
    opening: Arc<Opening>,
    /// `None` before it is asked for the first time.
    pieces: Option<Receiver<Result<Piece>>>,
    /// What reads, until it has ended.
    reading: Option<Thread<()>>,
}

impl Input {
    /// Begins to read, unless an earlier reading of the same log has read all.
    ///
    /// Errors: another log has it.
    fn pieces(&mut self) -> Result<&Receiver<Result<Piece>>> {
        if self.pieces.is_none() {
            let (sender, receiver) = sync_channel(AHEAD);
            let mut taken = TAKEN.lock();
            match &*taken {
                None => {
                    let (dialect, opening) = (self.stdin.dialect(), self.opening.clone());
                    let encoding = self.stdin.encoding;
                    let read = move || read(dialect.as_ref(), &opening, encoding, &sender);
                    self.reading = Some(Thread::spawn("stdin", read)?);
                    *taken = Some(self.opening.state.clone());
                }
                Some(state) if state.is_some() && *state == self.opening.state => {}
                Some(_) => {
                    return Err(Error::user(
                        "standard input has been read by another query: read it by one INSERT in \
                         `thalweg run`, with a store for what is asked of it later",
                    ));
                }
            }
            self.pieces = Some(receiver);
        }
        self.pieces.as_ref().ok_or_else(|| Error::Bug("standard input is not open".to_string()))
    }

    /// Whether the end is one: who has read may have panicked instead.
    fn ended(&mut self) -> Result<()> {
        self.reading.take().map_or(Ok(()), Thread::join)
    }
}

/// Reads to the end, or until nobody takes any more. A thread of its own, which is left alone where
/// nothing comes any more.
fn read(
    dialect: &dyn Dialect,
    opening: &Opening,
    encoding: Option<&'static Encoding>,
    sender: &SyncSender<Result<Piece>>,
) {
    let mut read = Reading { dialect, opening, parser: None, buffer: Vec::new(), lines: 0 };
    let mut input = Decoded::new(std::io::stdin().lock(), encoding);
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let count = match input.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let _ = sender.send(Err(error.into())); // nobody waits for it any more
                return;
            }
        };
        read.buffer.extend_from_slice(&bytes[..count]);
        let piece = read.piece(count == 0).transpose();
        let failed = matches!(piece, Some(Err(_)));
        let gone = piece.is_some_and(|piece| sender.send(piece).is_err());
        if count == 0 || failed || gone {
            return;
        }
    }
}

/// Text as it comes.
struct Reading<'a> {
    dialect: &'a dyn Dialect,
    opening: &'a Opening,
    parser: Option<Arc<dyn Parse>>,
    buffer: Vec<u8>,
    /// Lines before what is in the buffer.
    lines: u64,
}

impl Reading<'_> {
    /// The records that are whole; at the end, all.
    fn piece(&mut self, end: bool) -> Result<Option<Piece>> {
        if self.parser.is_none() {
            let Some((parser, used)) = self.dialect.begin(self.opening, &self.buffer, end)? else {
                return Ok(None);
            };
            self.lines = lines(&self.buffer[..used]);
            self.buffer.drain(..used);
            self.parser = Some(parser);
        }
        let whole = match end {
            true => self.buffer.len(),
            false => self.dialect.whole(&self.buffer),
        };
        if whole == 0 && self.buffer.len() > RECORD_BYTES {
            return Err(too_long(self.lines + 1));
        }
        let (Some(parser), true) = (&self.parser, whole > 0) else { return Ok(None) };
        let piece = parser.parse(self.opening, &self.buffer[..whole])?;
        self.buffer.drain(..whole);
        let lines_before = self.lines;
        self.lines += piece.lines;
        Ok(Some(Piece { lines_before, ..piece }))
    }
}

/// What a malformed line belongs to.
const PLACE: &str = "standard input, line";

/// A reading outside a pipeline.
struct Direct {
    input: Input,
    handed: Option<Handed>,
    /// Of the piece.
    offset: i64,
    rejects: Rejects,
}

impl Source for Direct {
    fn next(&mut self, limit: usize) -> Result<Read> {
        loop {
            if let Some(handed) = &mut self.handed {
                if handed.left() > 0 {
                    let (rows, rejected) = handed.take(limit, self.offset, PLACE);
                    self.rejects.keep(&rejected)?;
                    return Ok(Read::Rows(rows));
                }
                self.offset += handed.records() as i64;
                self.handed = None;
            }
            match self.input.pieces()?.recv() {
                Ok(piece) => self.handed = Some(Handed::new(piece?)),
                Err(RecvError) => {
                    self.input.ended()?;
                    return Ok(Read::End);
                }
            }
        }
    }

    fn offset(&self) -> i64 {
        self.offset + self.handed.as_ref().map_or(0, |handed| handed.records() as i64)
    }

    fn rejected(&self) -> u64 {
        self.rejects.count()
    }
}

/// A pipeline's reading.
struct Kept {
    input: Input,
    folder: PathBuf,
    log: Reader,
    /// From when more is read than the log holds.
    received: Option<Received>,
    rejects: Rejects,
}

impl Kept {
    /// Writes what has come to the log; false where there is nothing, `None` at the end.
    fn receive(&mut self) -> Result<Option<bool>> {
        let received = match &mut self.received {
            Some(received) => received,
            none => none.insert(Received::open(&self.folder, self.log.offset())?),
        };
        let mut pieces = Vec::new();
        let mut ended = false;
        while pieces.len() < TOGETHER {
            match self.input.pieces()?.try_recv() {
                Ok(piece) => pieces.push(piece?),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.input.ended()?;
                    ended = true;
                    break;
                }
            }
        }
        if pieces.is_empty() {
            return Ok((!ended).then_some(false));
        }
        let (mut batches, mut told) = (Vec::new(), Ok(()));
        for piece in pieces {
            let mut handed = Handed::new(piece);
            // What stands before an error counts.
            for limit in [handed.sound(), usize::MAX] {
                let (rows, mut rejected) = handed.take(limit, 0, PLACE);
                // Where it would stand.
                rejected.iter_mut().for_each(|rejected| rejected.offset = received.synced());
                told = told.and_then(|()| self.rejects.keep(&rejected));
                if told.is_ok() {
                    batches.push(rows.batch);
                }
            }
        }
        let batch = concat_batches(&self.input.opening.schema, &batches)?;
        if batch.num_rows() > 0 {
            let to = received.append(&batch)?;
            received.sync(to)?;
        }
        told?;
        Ok(Some(true))
    }
}

impl Source for Kept {
    /// Answers `Idle` also in a reading that comes to an end, so that it can be stopped.
    fn next(&mut self, limit: usize) -> Result<Read> {
        loop {
            let until = self.received.as_ref().map_or(i64::MAX, Received::synced);
            if let Some(rows) = self.log.next(limit, until)? {
                return Ok(Read::Rows(rows));
            }
            match self.receive()? {
                Some(true) => {}
                Some(false) => return Ok(Read::Idle),
                None => return Ok(Read::End),
            }
        }
    }

    fn offset(&self) -> i64 {
        self.log.offset()
    }

    fn rejected(&self) -> u64 {
        self.rejects.count()
    }
}
