//! The `file` connector: a directory is one partition, its files in the order of their names, rows
//! by position. Files that arrive while it is followed come behind those there were.
//!
//! A file is read when it is seen, so write it elsewhere and rename it into place. Names that
//! begin with `.` or `_` and directories inside are passed over.

use std::collections::{BTreeSet, VecDeque};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use arrow::array::{ArrayRef, Int64Array};
use arrow::compute::filter;
use arrow::datatypes::Schema;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;

use super::{
    Connector, Opening, Place, Read, Rejects, Rows, Segment, Source, convert, csv, json, parquet,
};
use crate::error::{Error, Result};
use crate::stream::settings::Settings;

/// The connector with its options.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    /// `csv`, `json` or `parquet`; `auto` goes by the file's name.
    format: &'static str,
    header: bool,
}

impl File {
    pub fn new(settings: &mut Settings) -> Result<Self> {
        let path = PathBuf::from(settings.required("path")?);
        let format = settings.choice("format", &["auto", "csv", "json", "parquet"])?;
        let header = settings.choice("header", &["true", "false"])? == "true";
        Ok(Self { path, format, header })
    }

    /// The format of a file by its name; `None` for one that is not ours to read.
    fn format(&self, name: &str) -> Option<&'static str> {
        let name = name.to_ascii_lowercase();
        let plain = [".gz", ".zst", ".bz2", ".xz"].iter().find_map(|end| name.strip_suffix(end));
        let plain = plain.unwrap_or(&name);
        let format = match plain.rsplit_once('.')?.1 {
            "csv" => "csv",
            "json" | "ndjson" | "jsonl" => "json",
            "parquet" => "parquet",
            _ => return None,
        };
        (self.format == "auto" || self.format == format).then_some(format)
    }

    /// Files in the order of their names.
    fn list(&self) -> Result<Vec<PathBuf>> {
        let wrong = |error: std::io::Error| {
            Error::User(format!("the stream's path '{}': {error}", self.path.display()))
        };
        let metadata = std::fs::metadata(&self.path).map_err(wrong)?;
        if metadata.is_file() {
            return Ok(vec![self.path.clone()]);
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let hidden = name.starts_with('.') || name.starts_with('_');
            if hidden || entry.path().is_dir() {
                continue;
            }
            match self.format(&name) {
                Some(_) => names.push(entry.path()),
                None => {
                    tracing::warn!("{}: passed over, not {}", entry.path().display(), self.format)
                }
            }
        }
        names.sort();
        Ok(names)
    }

    fn open_file(&self, path: &Path, opening: &Opening) -> Result<Box<dyn Format>> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let by_name = self.format(&name);
        match by_name.or((self.format != "auto").then_some(self.format)) {
            Some("csv") => Ok(Box::new(csv::Csv::open(path, opening, self.header)?)),
            Some("json") => Ok(Box::new(json::Json::open(path, opening)?)),
            Some("parquet") => Ok(Box::new(parquet::Parquet::open(path, opening)?)),
            _ => Err(Error::User(format!(
                "{}: the name does not tell the format: format = 'csv', 'json' or 'parquet'",
                path.display()
            ))),
        }
    }
}

impl Connector for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn bounded(&self) -> Result<(), String> {
        Ok(())
    }

    fn identity(&self) -> String {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        path.display().to_string()
    }

    fn open(&self, opening: Opening) -> Result<Box<dyn Source>> {
        let rejects = Rejects::new(opening.on_error, opening.rejects.clone());
        let Place { offset, segments } = opening.from.clone();
        let at = segments.partition_point(|segment| segment.first <= offset).saturating_sub(1);
        Ok(Box::new(Directory {
            file: self.clone(),
            opening,
            seen: segments.iter().map(|segment| PathBuf::from(&segment.path)).collect(),
            listed: false,
            known: segments.into_iter().skip(at).collect(),
            queue: VecDeque::new(),
            current: None,
            offset,
            begun: Vec::new(),
            rejects,
        }))
    }
}

/// Where a record stands in its file.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    /// From 0.
    pub ordinal: u64,
    /// From 1; of a Parquet file, the row.
    pub line: u64,
}

/// Records of a file, one column per declared one, in the file's types.
pub struct Parsed {
    pub columns: Vec<ArrayRef>,
    pub places: Vec<Position>,
}

/// Told about a record that cannot be read: where, why, its text.
pub type Reject<'a> = &'a mut dyn FnMut(Position, &str, &str) -> Result<()>;

/// An open file.
pub trait Format: Send {
    /// What `Position::line` counts.
    fn unit(&self) -> &'static str;

    /// Records read so far, rejected ones included.
    fn read(&self) -> u64;

    /// The next records, at most `limit`; `None` at the end.
    fn next(&mut self, path: &Path, limit: usize, reject: Reject<'_>) -> Result<Option<Parsed>>;
}

struct Directory {
    file: File,
    opening: Opening,
    seen: BTreeSet<PathBuf>,
    listed: bool,
    /// Segments of an earlier reading that are still to come.
    known: VecDeque<Segment>,
    /// New files.
    queue: VecDeque<PathBuf>,
    current: Option<Current>,
    /// Of the next record.
    offset: i64,
    /// Segments that nobody has asked for.
    begun: Vec<Segment>,
    rejects: Rejects,
}

struct Current {
    path: PathBuf,
    format: Box<dyn Format>,
    /// Offset of the file's first record, were all of them read here.
    base: i64,
    /// Where the next known segment begins.
    end: Option<i64>,
}

impl Directory {
    /// Opens the segment that the offset is in; with `end`, a next one is known.
    fn begin(&mut self, segment: &Segment, end: Option<i64>) -> Result<()> {
        let path = PathBuf::from(&segment.path);
        let gone = |what: &str| {
            Error::Data(format!(
                "{}: {what} since this stream has read it: its rows cannot be read again",
                path.display()
            ))
        };
        let size = std::fs::metadata(&path).map_err(|_| gone("the file is gone"))?.len();
        if size < segment.size {
            return Err(gone("the file has become shorter"));
        }
        let mut format = self.file.open_file(&path, &self.opening)?;
        let base = segment.first - segment.skip as i64;
        let before = (self.offset - base).max(0).unsigned_abs();
        while format.read() < before {
            let limit = (before - format.read()).min(SKIP_RECORDS) as usize;
            if format.next(&path, limit, &mut |_, _, _| Ok(()))?.is_none() {
                return Err(gone("the file has lost records"));
            }
        }
        self.current = Some(Current { path, format, base, end });
        Ok(())
    }

    /// Goes to the next segment, a known or a new one; false where there is none.
    fn advance(&mut self) -> Result<bool> {
        if let Some(segment) = self.known.pop_front() {
            let end = self.known.front().map(|next| next.first);
            self.begin(&segment, end)?;
            return Ok(true);
        }
        if self.queue.is_empty() && (!self.listed || self.opening.follow) {
            self.listed = true;
            let seen = &mut self.seen;
            let new = self.file.list()?.into_iter().filter(|path| seen.insert(path.clone()));
            self.queue.extend(new);
        }
        let Some(path) = self.queue.pop_front() else { return Ok(false) };
        let wrong = |error| Error::Data(format!("{}: {error}", path.display()));
        let size = std::fs::metadata(&path).map_err(wrong)?.len();
        let path = path.display().to_string();
        let segment = Segment { path, first: self.offset, skip: 0, size };
        self.begin(&segment, None)?;
        self.begun.push(segment);
        Ok(true)
    }
}

/// Records that are read at once to get past them.
const SKIP_RECORDS: u64 = 8192;

impl Source for Directory {
    fn next(&mut self, limit: usize) -> Result<Read> {
        loop {
            if let Some(current) = &mut self.current {
                let left =
                    current.end.map_or(usize::MAX, |end| (end - self.offset).max(0) as usize);
                let rows = match left {
                    0 => None,
                    _ => next(current, limit.min(left), &self.opening, &mut self.rejects)?,
                };
                if let Some(rows) = rows {
                    self.offset = current.base + current.format.read() as i64;
                    return Ok(Read::Rows(rows));
                }
                if left > 0 && current.end.is_some() {
                    let path = current.path.display();
                    return Err(Error::Data(format!("{path}: the file has lost records")));
                }
                self.current = None;
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
        std::mem::take(&mut self.begun)
    }

    fn rejected(&self) -> u64 {
        self.rejects.count()
    }
}

/// The next rows of one file, typed.
fn next(
    current: &mut Current,
    limit: usize,
    opening: &Opening,
    rejects: &mut Rejects,
) -> Result<Option<Rows>> {
    let Current { path, format, base, .. } = current;
    let (path, base) = (path.as_path(), *base);
    let (unit, mut wrong) = (format.unit(), Vec::new());
    let parsed = format.next(path, limit, &mut |place, reason, row| {
        wrong.push((place, reason.to_string(), row.to_string()));
        Ok(())
    })?;
    let Some(Parsed { columns, places }) = parsed else {
        return reject(path, unit, wrong, rejects).map(|()| None);
    };
    let offsets = places.iter().map(|place| base + place.ordinal as i64);
    let offsets = Int64Array::from_iter_values(offsets);
    if places.is_empty() {
        reject(path, unit, wrong, rejects)?;
        let batch = arrow::record_batch::RecordBatch::new_empty(opening.schema.clone());
        return Ok(Some(Rows { batch, offsets }));
    }
    let (batch, keep) = convert::typed(opening, &columns, places.len(), &mut |row, reason| {
        wrong.push((places[row], reason.to_string(), text(&columns, row)));
        Ok(())
    })
    .map_err(|error| match error {
        Error::Data(text) => Error::Data(format!("{}: {text}", path.display())),
        other => other,
    })?;
    reject(path, unit, wrong, rejects)?;
    let offsets = match keep {
        None => offsets,
        Some(keep) => Int64Array::from(filter(&offsets, &keep)?.to_data()),
    };
    Ok(Some(Rows { batch, offsets }))
}

/// Rejects records in their order, whichever way they were found to be wrong.
fn reject(
    path: &Path,
    unit: &str,
    mut wrong: Vec<(Position, String, String)>,
    rejects: &mut Rejects,
) -> Result<()> {
    wrong.sort_by_key(|(place, ..)| place.ordinal);
    for (place, reason, row) in wrong {
        rejects.reject(&format!("{}, {unit} {}", path.display(), place.line), &reason, &row)?;
    }
    Ok(())
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

/// For each declared column, which of a file's columns it is: by its name, or by the only one
/// that differs in case.
pub fn pick(path: &Path, declared: &Schema, names: &[String]) -> Result<Vec<usize>> {
    let find = |wanted: &String| {
        if let Some(at) = names.iter().position(|name| name == wanted) {
            return Ok(at);
        }
        let mut alike = (0..names.len()).filter(|at| names[*at].eq_ignore_ascii_case(wanted));
        match (alike.next(), alike.next()) {
            (Some(at), None) => Ok(at),
            _ => Err(Error::Data(format!(
                "{}: there is no column {wanted}; there are {}",
                path.display(),
                names.join(", ")
            ))),
        }
    };
    declared.fields().iter().map(|field| find(field.name())).collect()
}

/// A file's bytes, decompressed where its name says so.
pub fn reader(path: &Path) -> Result<Box<dyn std::io::Read + Send>> {
    let wrong = |error: &dyn std::fmt::Display| Error::Data(format!("{}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| wrong(&error))?;
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let compression = match extension.as_str() {
        "gz" => FileCompressionType::GZIP,
        "zst" => FileCompressionType::ZSTD,
        "bz2" => FileCompressionType::BZIP2,
        "xz" => FileCompressionType::XZ,
        _ => return Ok(Box::new(std::io::BufReader::new(file))),
    };
    let reader = compression.convert_read(file).map_err(|error| wrong(&error))?;
    Ok(Box::new(std::io::BufReader::new(reader.take(u64::MAX))))
}
