//! The log of a folder of files: one after another in the order of their paths, rows by position.
//! What comes while it is followed comes behind what there was: new files, and what is written
//! behind the end of files of text, whose last line is read when it has its newline.
//!
//! A file is read when it is seen: one that is not only appended to is written elsewhere and
//! renamed into place. Of directories inside, those whose names tell a value, such as `day=1`, are
//! read too; others, and names that begin with `.` or `_`, are passed over.
//! A file whose rows have all been read may be removed, or written anew: it is another one then.
//!
//! ```text
//!  segments     a.csv          b.csv      a.csv, skip 5: it has grown
//!  records   0 1 2 3 4       0 1 2 3       5 6
//!  offsets   0 1 2 3 4       5 6 7 8       9 10
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::dead_letter::Rejects;
use super::fingerprint::{Content, Print, time};
use crate::error::{Error, Result};
use crate::stream::connector::api::{Opening, Place, Read, Rows, Segment, Source};
use crate::stream::connector::format::text::{Handed, Records};
use crate::stream::connector::source::file::options::File;

/// Bytes that are added to a file until its content is summed anew.
const PRINT_BYTES: u64 = 4096;

/// Looking for new files takes at most one part in so many of the time.
const LOOK_SHARE: u32 = 10;

pub struct Directory {
    file: File,
    opening: Arc<Opening>,
    /// The last segment of each file.
    seen: BTreeMap<PathBuf, Segment>,
    /// Length and time of each file when its content was compared last.
    compared: BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
    /// Up to where the content of each file was told to be recorded: anew when it has doubled.
    printed: BTreeMap<PathBuf, u64>,
    strange: BTreeSet<PathBuf>,
    /// When the folder is looked at next; `None` before the first time.
    look: Option<Instant>,
    /// Segments of an earlier reading that are still to come.
    known: VecDeque<Segment>,
    /// New files, and those that have grown.
    queue: VecDeque<PathBuf>,
    current: Option<Current>,
    /// The segment that was read last, when its end was reached.
    last: Option<Segment>,
    /// Of the next record.
    offset: i64,
    /// Segments that nobody has asked for.
    told: Vec<Segment>,
    rejects: Rejects,
}

struct Current {
    segment: Segment,
    path: PathBuf,
    records: Box<dyn Records>,
    /// Of the first record, were all of them read here.
    base: i64,
    /// Where the next known segment begins.
    end: Option<i64>,
    /// Records of the file before the piece.
    before: u64,
    piece: Option<Handed>,
}

impl Current {
    /// Has a piece with records that were not handed on; false at the end.
    fn load(&mut self) -> Result<bool> {
        loop {
            if let Some(open) = &self.piece {
                if open.left() > 0 {
                    return Ok(true);
                }
                self.before += open.records();
                self.piece = None;
            }
            let Some(piece) = self.records.next()? else { return Ok(false) };
            self.piece = Some(Handed::new(piece));
        }
    }

    /// Records of the file that were handed on.
    fn read(&self) -> u64 {
        self.before + self.piece.as_ref().map_or(0, Handed::records)
    }

    /// Passes over records until so many of the file have been; false where it has fewer.
    fn skip(&mut self, records: u64) -> Result<bool> {
        while self.read() < records {
            if !self.load()? {
                return Ok(false);
            }
            let Some(open) = &mut self.piece else { return Ok(false) };
            open.skip(records - self.before);
        }
        Ok(true)
    }

    /// Whether everything that the file has now was handed on.
    fn ended(&mut self) -> Result<bool> {
        let left = self.piece.as_ref().map_or(0, Handed::left);
        Ok(left == 0 && self.records.ended()?)
    }
}

impl Directory {
    pub fn open(file: File, opening: Opening) -> Self {
        let rejects = Rejects::new(&opening);
        let Place { offset, segments } = opening.from.clone();
        let segments = latest(segments);
        let at = segments.partition_point(|segment| segment.first <= offset).saturating_sub(1);
        let of = |segment: &Segment| (PathBuf::from(&segment.path), segment.clone());
        let mut seen = BTreeMap::new();
        seen.extend(segments.iter().map(of));
        Self {
            file,
            opening: Arc::new(opening),
            seen,
            compared: BTreeMap::new(),
            printed: BTreeMap::new(),
            strange: BTreeSet::new(),
            look: None,
            known: segments.into_iter().skip(at).collect(),
            queue: VecDeque::new(),
            current: None,
            last: None,
            offset,
            told: Vec::new(),
            rejects,
        }
    }

    /// Opens the segment that the offset is in, if there is more of it to read; with `end`, a next
    /// one is known.
    fn begin(&mut self, segment: Segment, end: Option<i64>) -> Result<()> {
        let path = PathBuf::from(&segment.path);
        let gone = |what: &str| {
            Error::Data(format!(
                "{}: {what} since this stream has read it: its rows cannot be read again",
                path.display()
            ))
        };
        let read = segment.end.is_some_and(|end| end <= self.offset) && end.is_none();
        let size = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(_) if segment.end.is_some_and(|end| end <= self.offset) => {
                self.last = Some(segment);
                return Ok(());
            }
            Err(_) => return Err(gone("the file is gone")),
        };
        let print_known = segment.print.is_some();
        let print = segment.print.filter(|print| print.to <= size);
        let content = match print {
            Some(print) => print.compare(&path)?,
            None if size < segment.size => Content::Other,
            None => Content::Same,
        };
        match content {
            Content::Same => {}
            // All its rows have been read: what is there now is told when the folder is looked at.
            Content::Other if read && print_known => {
                self.last = Some(segment);
                return Ok(());
            }
            Content::Other if size < segment.size => {
                return Err(gone("the file has become shorter"));
            }
            Content::Other | Content::Changed => return Err(changed(&path)),
        }
        if read && !grown(&path, &segment, self.opening.follow) {
            self.last = Some(segment);
            return Ok(());
        }
        let base = segment.first - segment.skip as i64;
        let skip = (self.offset - base).max(0).unsigned_abs();
        // The farthest place that is known and not too far.
        let same = |seen: &&Segment| seen.skip > 0 || seen.first == segment.first;
        let marks = [segment.mark, self.seen.get(&path).filter(same).and_then(|seen| seen.mark)];
        let marks = marks.into_iter().flatten().filter(|mark| mark.records <= skip);
        let mark = marks.max_by_key(|mark| mark.records);
        let opened = self.file.open_file(&path, &self.opening, mark, skip);
        let (records, before) = opened.map_err(|error| named(&path, error))?;
        let mut current = Current { segment, path, records, base, end, before, piece: None };
        if !current.skip(skip).map_err(|error| named(&current.path, error))? {
            let path = PathBuf::from(&current.path);
            return Err(named(&path, Error::Data("the file has lost records".to_string())));
        }
        self.current = Some(current);
        Ok(())
    }

    /// Goes to the next segment, a known or a new one; false where there is none.
    fn advance(&mut self) -> Result<bool> {
        while let Some(segment) = self.known.pop_front() {
            let end = self.known.front().map(|next| next.first);
            self.begin(segment, end)?;
            if self.current.is_some() {
                return Ok(true);
            }
        }
        if self.queue.is_empty() {
            self.look()?;
        }
        let Some(path) = self.queue.pop_front() else { return Ok(false) };
        let size = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            // It went before it was read, or what it had was.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return self.advance(),
            Err(error) => return Err(named(&path, Error::Io(error))),
        };
        let name = path.display().to_string();
        if let Some(last) = self.last.clone() {
            if last.path == name {
                self.begin(last, None)?; // it goes on where it was
                return Ok(self.current.is_some());
            }
            self.left(&last, &path);
        }
        let seen = self.seen.get(&path);
        let skip = seen.map_or(0, Segment::records);
        let mut segment = Segment { skip, ..Segment::new(name, self.offset, size) };
        segment.mark = seen.and_then(|seen| seen.mark);
        segment.print = match seen.and_then(|seen| seen.print) {
            Some(print) => Some(print),
            None => Some(Print::of(&path, size).map_err(|e| named(&path, Error::Io(e)))?),
        };
        self.begin(segment.clone(), None)?;
        self.tell(segment);
        Ok(true)
    }

    /// Another file comes behind the last: what is known of its end is so for good.
    fn left(&mut self, last: &Segment, next: &Path) {
        self.tell(last.clone());
        if last.mark.is_some_and(|mark| mark.bytes < last.size && last.records() == mark.records) {
            tracing::warn!(
                "{}: its last line has no newline yet and is read when it has one; {} comes first",
                last.path,
                next.display()
            );
        }
    }

    /// Looks for new files and for those that have grown.
    fn look(&mut self) -> Result<()> {
        let begun = Instant::now();
        match self.look {
            Some(_) if !self.opening.follow => return Ok(()),
            Some(next) if begun < next => return Ok(()),
            // A file that was read, and then removed.
            _ if !self.seen.is_empty() && !self.file.is_there() => return Ok(()),
            _ => {}
        }
        let (strange, wanted) = (&mut self.strange, self.file.wanted());
        let paths = self.file.list(&mut |path| {
            let strange_folder = path.is_dir();
            if strange.insert(path.clone()) {
                let path = path.display();
                match strange_folder {
                    true => tracing::warn!(
                        "{path}: a folder that is passed over: those whose names tell a column's \
                         value, such as day=2026-01-31, are read"
                    ),
                    false => tracing::warn!("{path}: passed over, not {wanted}"),
                }
            }
        })?;
        if paths.is_empty() && self.look.is_none() && self.seen.is_empty() {
            let what = if self.opening.follow { "waiting for some" } else { "nothing is read" };
            tracing::warn!("{}: holds no files of {wanted}: {what}", self.file.path().display());
        }
        for path in &paths {
            self.recognise(path);
        }
        for path in paths {
            if self.is_new(&path)? {
                self.queue.push_back(path);
            }
        }
        self.look = Some(Instant::now() + begun.elapsed().min(Duration::from_secs(1)) * LOOK_SHARE);
        Ok(())
    }

    /// A file that was read under another name is not read again: it has the length, the time and
    /// the content of one whose name is gone, or is another file's now.
    fn recognise(&mut self, path: &Path) {
        if self.seen.contains_key(path) {
            return;
        }
        let Ok(metadata) = std::fs::metadata(path) else { return };
        let is_it = |segment: &&Segment| {
            let Some(print) = segment.print.filter(|print| print.to > 0) else { return false };
            let was = |now: &std::fs::Metadata| {
                now.len() == segment.size && print.time.is_some() && print.time == time(now)
            };
            segment.end.is_some()
                && was(&metadata)
                && !std::fs::metadata(&segment.path).is_ok_and(|now| was(&now))
                && print.compare(path).is_ok_and(|content| content == Content::Same)
        };
        let Some(known) = self.seen.values().find(is_it).cloned() else { return };
        tracing::warn!("{}: it was read as {}, and is not read again", path.display(), known.path);
        if let Some(last) = self.last.take() {
            self.left(&last, path);
        }
        // As of a file that has come again, and has nothing new.
        let segment = Segment {
            path: path.display().to_string(),
            first: self.offset,
            skip: known.records(),
            end: Some(self.offset),
            ..known
        };
        self.tell(segment.clone());
        self.last = Some(segment);
    }

    /// Whether a file has rows that were not read. One that was written anew since it was read to
    /// its end is another file.
    ///
    /// Errors: what was read of a file has changed in part.
    fn is_new(&mut self, path: &Path) -> Result<bool> {
        let Some(seen) = self.seen.get(path) else { return Ok(true) };
        let Ok(metadata) = std::fs::metadata(path) else { return Ok(false) };
        let now = (metadata.len(), metadata.modified().ok());
        let untouched = |print: &Print| now.0 == seen.size && print.time == time(&metadata);
        if let (Some(print), Some(_)) = (seen.print.filter(|p| !untouched(p)), seen.end)
            && self.compared.get(path) != Some(&now)
        {
            let grows = self.file.grows(path);
            let content = match print.compare(path) {
                Ok(Content::Same) if !grows && now.0 != seen.size => Content::Changed,
                Ok(_) if grows && now.0 < seen.size => Content::Other,
                Ok(content) => content,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(named(path, Error::Io(error))),
            };
            match content {
                Content::Same => {}
                Content::Changed => return Err(changed(path)),
                Content::Other => {
                    tracing::warn!(
                        "{}: written anew since it was read: all of it is read, as of a new file",
                        path.display()
                    );
                    self.forget(path);
                    return Ok(true);
                }
            }
            self.compared.insert(path.to_path_buf(), now);
        }
        let Some(seen) = self.seen.get(path) else { return Ok(true) };
        Ok(grown(path, seen, self.opening.follow) && self.file.grows(path))
    }

    /// Another file comes under a name.
    fn forget(&mut self, path: &Path) {
        if let Some(last) = self.last.take_if(|last| Path::new(&last.path) == path) {
            self.tell(last);
        }
        self.seen.remove(path);
        self.compared.remove(path);
        self.printed.remove(path);
    }

    /// Has a segment recorded, in place of what was known of it.
    fn tell(&mut self, segment: Segment) {
        self.seen.insert(PathBuf::from(&segment.path), segment.clone());
        match self.told.iter_mut().find(|told| told.same(&segment)) {
            Some(told) => *told = segment,
            None => self.told.push(segment),
        }
    }

    /// Notes that a file was read to its present end.
    fn end(&mut self) {
        let Some(current) = self.current.take() else { return };
        let Current { mut segment, path, records, .. } = current;
        let first = segment.end.is_none();
        segment.end = Some(self.offset);
        let mut to = segment.size;
        if let Some((mark, size)) = records.mark() {
            (segment.mark, segment.size) = (Some(mark), size);
            to = mark.bytes;
        }
        // Of a file that grows, until its first bytes are known; then now and then.
        let known = segment.print.map_or(0, |print| print.to);
        let more = to >= known + PRINT_BYTES || (known < PRINT_BYTES && to > known);
        let mut told = first;
        if first || more {
            // One that has gone needs none.
            segment.print = Print::of(&path, to).ok().or(segment.print);
            told |= known < PRINT_BYTES && to >= self.printed.get(&path).map_or(0, |to| 2 * to);
        }
        if told {
            self.printed.insert(path.clone(), to.min(PRINT_BYTES));
        }
        self.seen.insert(path, segment.clone());
        if told {
            self.tell(segment.clone());
        }
        self.last = Some(segment);
    }

    /// The next rows of the file that is open; `None` at its end.
    fn rows(&mut self, limit: usize) -> Result<Option<Rows>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        if !current.load()? {
            return Ok(None);
        }
        let (base, before) = (current.base, current.before);
        let Some(open) = &mut current.piece else { return Ok(None) };
        let place = format!("{}, {}", current.path.display(), current.records.unit());
        let (rows, rejected) = open.take(limit, base + before as i64, &place);
        self.offset = base + current.read() as i64;
        self.rejects.keep(&rejected)?;
        Ok(Some(rows))
    }
}

/// Segments without what was told of them before.
fn latest(segments: Vec<Segment>) -> Vec<Segment> {
    let mut latest: Vec<Segment> = Vec::with_capacity(segments.len());
    let mut places: BTreeMap<(String, i64), usize> = BTreeMap::new();
    for segment in segments {
        let at = *places.entry((segment.path.clone(), segment.first)).or_insert(latest.len());
        match latest.get_mut(at) {
            Some(known) => *known = segment,
            None => latest.push(segment),
        }
    }
    for at in 1..latest.len() {
        latest[at - 1].end = Some(latest[at].first);
    }
    latest
}

/// Whether more was written behind what was read of a file.
fn grown(path: &Path, seen: &Segment, follow: bool) -> bool {
    let Ok(metadata) = std::fs::metadata(path) else { return false };
    // The last line, if it has no newline, is read by a reading that comes to an end.
    let whole = seen.mark.filter(|mark| !follow && mark.records == seen.records());
    metadata.len() > whole.map_or(seen.size, |mark| mark.bytes)
}

/// Errors of a file that is no longer what was read.
fn changed(path: &Path) -> Error {
    Error::Data(format!(
        "{}: the file was written anew since this stream has read of it, so that what is new \
         cannot be told: write rows behind its end, or to a file of another name; or begin anew \
         with another state folder or --start-fresh",
        path.display()
    ))
}

/// An error with the file that it is about.
fn named(path: &Path, error: Error) -> Error {
    match error {
        Error::Data(text) => Error::Data(format!("{}: {text}", path.display())),
        Error::Io(_) | Error::Arrow(_) => Error::Data(format!("{}: {error}", path.display())),
        other => other,
    }
}

impl Source for Directory {
    fn next(&mut self, limit: usize) -> Result<Read> {
        loop {
            if let Some(current) = &mut self.current {
                let path = current.path.clone();
                let left = current.end.map_or(i64::MAX, |end| end - self.offset);
                let limit = limit.min(usize::try_from(left.max(0)).unwrap_or(usize::MAX));
                let known = current.end.is_some();
                let rows = match limit {
                    0 => None,
                    _ => self.rows(limit).map_err(|error| match error {
                        // Those of rejected rows name it.
                        Error::Data(text) if text.starts_with(&*path.to_string_lossy()) => {
                            Error::Data(text)
                        }
                        other => named(&path, other),
                    })?,
                };
                if rows.is_none() && left > 0 && known {
                    return Err(named(&path, Error::Data("the file has lost records".into())));
                }
                if known && rows.is_none() {
                    self.last = self.current.take().map(|current| current.segment);
                    continue;
                }
                let ended = match &mut self.current {
                    Some(current) if !known => current.ended().map_err(|e| named(&path, e))?,
                    _ => false,
                };
                if ended {
                    self.end();
                }
                match rows {
                    Some(rows) => return Ok(Read::Rows(rows)),
                    None => continue,
                }
            }
            if !self.advance()? {
                return Ok(if self.opening.follow { Read::Idle } else { Read::End });
            }
        }
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn segments(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.told)
    }

    fn rejected(&self) -> u64 {
        self.rejects.count()
    }
}
