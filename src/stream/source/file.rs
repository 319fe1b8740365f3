//! The `file` connector: a directory is one partition (see `directory`), its files CSV, JSON or
//! Parquet, text also compressed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;

use super::csv::Csv;
use super::directory::Directory;
use super::json::{Json, Unknown};
use super::parquet::Parquet;
use super::text::{Dialect, Input, Records, Text};
use super::{Connector, Mark, Opening, Source};
use crate::error::{Error, Result};
use crate::stream::settings::Settings;

/// The connector with its options.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    /// `csv`, `json` or `parquet`; `auto` goes by the file's name.
    format: &'static str,
    header: bool,
    missing: Missing,
    unknown: Unknown,
}

/// What a declared column is that a file of CSV or Parquet lacks. In JSON it is NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Fail,
    Null,
}

/// Ends of names that tell how text is packed.
const PACKED: [&str; 4] = [".gz", ".zst", ".bz2", ".xz"];

impl File {
    pub fn new(settings: &mut Settings, schema: &Schema) -> Result<Self> {
        let path = PathBuf::from(settings.required("path")?);
        let format = settings.choice("format", &["auto", "csv", "json", "parquet"])?;
        let header = settings.choice("header", &["true", "false"])? == "true";
        let missing = match settings.choice("missing", &["fail", "null"])? {
            "null" => Missing::Null,
            _ => Missing::Fail,
        };
        let unknown = Unknown::new(settings, schema, matches!(format, "auto" | "json"))?;
        Ok(Self { path, format, header, missing, unknown })
    }

    /// The format of a file by its name; `None` for one that is not ours to read.
    fn format(&self, name: &str) -> Option<&'static str> {
        let name = name.to_ascii_lowercase();
        let plain = PACKED.iter().find_map(|end| name.strip_suffix(end));
        let plain = plain.unwrap_or(&name);
        let format = match plain.rsplit_once('.')?.1 {
            "csv" => "csv",
            "json" | "ndjson" | "jsonl" => "json",
            "parquet" => "parquet",
            _ => return None,
        };
        (self.format == "auto" || self.format == format).then_some(format)
    }

    /// The format that a file is read in.
    fn read_as(&self, path: &Path) -> Option<&'static str> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.format(&name).or((self.format != "auto").then_some(self.format))
    }

    /// Whether more may be written behind what a file holds.
    pub fn grows(&self, path: &Path) -> bool {
        packed(path).is_none() && self.read_as(path).is_some_and(|format| format != "parquet")
    }

    /// Whether there is anything at the path.
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Files in the order of their names; `strange` is told of those that are passed over.
    pub fn list(&self, strange: &mut dyn FnMut(PathBuf)) -> Result<Vec<PathBuf>> {
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
                None => strange(entry.path()),
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens a file behind what an earlier reading has marked, or behind so many records, where
    /// it is one whose records have numbers; answers the records that are before what comes.
    ///
    /// Errors: without the file's name.
    pub fn open_file(
        &self,
        path: &Path,
        opening: &Arc<Opening>,
        mark: Option<Mark>,
        skip: u64,
    ) -> Result<(Box<dyn Records>, u64)> {
        let dialect: Arc<dyn Dialect> = match self.read_as(path) {
            Some("csv") => Arc::new(Csv { header: self.header, missing: self.missing }),
            Some("json") => Arc::new(Json { unknown: self.unknown.clone() }),
            Some("parquet") => {
                let file = std::fs::File::open(path)?;
                let records = Parquet::open(file, opening, self.missing, skip)?;
                return Ok((Box::new(records), skip));
            }
            _ => {
                return Err(Error::Data(
                    "the name does not tell the format: format = 'csv', 'json' or 'parquet'".into(),
                ));
            }
        };
        let input = input(path)?;
        let mark = mark.filter(|mark| mark.records <= skip && packed(path).is_none());
        let text = Text::new(input, dialect, opening, mark);
        Ok((Box::new(text), mark.map_or(0, |mark| mark.records)))
    }

    /// For messages.
    pub fn wanted(&self) -> &'static str {
        match self.format {
            "auto" => "CSV, JSON or Parquet by its name",
            format => format,
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
        // A header or not, another format: other rows at the same offsets.
        let (path, unknown) = (path.display(), self.unknown.identity());
        format!("{path}, format {}, header {}{unknown}", self.format, self.header)
    }

    fn open(&self, opening: Opening) -> Result<Box<dyn Source>> {
        Ok(Box::new(Directory::open(self.clone(), opening)))
    }
}

/// For each declared column, which of a file's columns it is: by its name, or by the only one
/// that differs in case.
pub fn pick(declared: &Schema, names: &[String], missing: Missing) -> Result<Vec<Option<usize>>> {
    let find = |wanted: &String| {
        if let Some(at) = names.iter().position(|name| name == wanted) {
            return Ok(Some(at));
        }
        let mut alike = (0..names.len()).filter(|at| names[*at].eq_ignore_ascii_case(wanted));
        match (alike.next(), alike.next()) {
            (Some(at), None) => Ok(Some(at)),
            (None, _) if missing == Missing::Null => Ok(None),
            _ => Err(Error::Data(format!(
                "there is no column {wanted}; there are {} (missing = 'null' reads NULL)",
                names.join(", ")
            ))),
        }
    };
    declared.fields().iter().map(|field| find(field.name())).collect()
}

/// How a file is packed, by its name.
fn packed(path: &Path) -> Option<FileCompressionType> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "gz" => Some(FileCompressionType::GZIP),
        "zst" => Some(FileCompressionType::ZSTD),
        "bz2" => Some(FileCompressionType::BZIP2),
        "xz" => Some(FileCompressionType::XZ),
        _ => None,
    }
}

/// A file's bytes, unpacked.
fn input(path: &Path) -> Result<Input> {
    let file = std::fs::File::open(path)?;
    let Some(packed) = packed(path) else { return Ok(Input::Plain(file)) };
    let reader = packed.convert_read(file).map_err(|error| Error::Data(error.to_string()))?;
    Ok(Input::Packed(Box::new(reader)))
}
