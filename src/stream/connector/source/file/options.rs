//! The options of the `file` connector, and which files they name.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use encoding_rs::{Encoding, UTF_8};

use crate::error::{Error, Result};
use crate::stream::connector::api::{Mark, Opening};
use crate::stream::connector::format::columns::Missing;
use crate::stream::connector::format::csv::{self, COMMA, Csv, TAB};
use crate::stream::connector::format::encoding::{self, Decoded};
use crate::stream::connector::format::json::{Json, Unknown};
use crate::stream::connector::format::parquet::Parquet;
use crate::stream::connector::format::text::{Dialect, Input, Records, Text};
use crate::stream::connector::forms::{Form, Origin};
use crate::stream::connector::options::Settings;

/// The connector with its options.
#[derive(Debug, Clone)]
pub struct File {
    pub(super) path: PathBuf,
    /// `csv`, `tsv`, `json` or `parquet`; `auto` goes by the file's name.
    pub(super) format: &'static str,
    pub(super) header: bool,
    /// Between fields of CSV, where it is not as the format has it.
    pub(super) delimiter: Option<u8>,
    pub(super) missing: Missing,
    pub(super) unknown: Unknown,
    pub(super) encoding: Option<&'static Encoding>,
}

/// What stands for NULL in a folder's name.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// Folders within one another that are looked into, at most: links may make a ring.
const FOLDERS: usize = 16;

/// Ends of names that tell how text is packed.
const PACKED: [&str; 4] = [".gz", ".zst", ".bz2", ".xz"];

impl File {
    pub fn new(settings: &mut Settings, schema: &Schema) -> Result<Self> {
        let path = PathBuf::from(settings.required("path")?);
        let format = settings.choice("format", &["auto", "csv", "tsv", "json", "parquet"])?;
        let delimiter = csv::delimiter(settings, format)?;
        let header = settings.choice("header", &["true", "false"])? == "true";
        let missing = match settings.choice("missing", &["fail", "null"])? {
            "null" => Missing::Null,
            _ => Missing::Fail,
        };
        let unknown = Unknown::new(settings, schema, matches!(format, "auto" | "json"))?;
        let encoding = encoding::option(settings)?;
        Ok(Self { path, format, header, delimiter, missing, unknown, encoding })
    }

    pub(super) fn identity_at(&self, path: &Path) -> String {
        // A header or not, another format: other rows at the same offsets.
        let (path, unknown) = (path.display(), self.unknown.identity());
        let (format, header) = (self.format, self.header);
        let text = encoding::identity(self.encoding) + &csv::identity(self.delimiter);
        format!("{path}, format {format}, header {header}{unknown}{text}")
    }

    /// The format of a file by its name; `None` for one that is not ours to read.
    pub(super) fn format(&self, name: &str) -> Option<&'static str> {
        let name = name.to_ascii_lowercase();
        let plain = PACKED.iter().find_map(|end| name.strip_suffix(end));
        let plain = plain.unwrap_or(&name);
        let format = match plain.rsplit_once('.')?.1 {
            "csv" => "csv",
            "tsv" => "tsv",
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
        let plain = packed(path).is_none() && self.encoding.is_none_or(|e| e == UTF_8);
        plain && self.read_as(path).is_some_and(|format| format != "parquet")
    }

    /// The file or folder that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is anything at the path.
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Files in the order of their paths, those in folders such as `day=2026-01-31` among them;
    /// `strange` is told of those that are passed over.
    pub fn list(&self, strange: &mut dyn FnMut(PathBuf)) -> Result<Vec<PathBuf>> {
        let metadata = std::fs::metadata(&self.path).map_err(|error| self.unlisted(&error))?;
        if metadata.is_file() {
            return Ok(vec![self.path.clone()]);
        }
        let mut paths = Vec::new();
        self.list_in(&self.path, 0, &mut paths, strange)?;
        paths.sort();
        Ok(paths)
    }

    fn unlisted(&self, error: &std::io::Error) -> Error {
        Error::user(format!("the stream's path '{}': {error}", self.path.display()))
    }

    fn list_in(
        &self,
        folder: &Path,
        depth: usize,
        paths: &mut Vec<PathBuf>,
        strange: &mut dyn FnMut(PathBuf),
    ) -> Result<()> {
        let entries = match std::fs::read_dir(folder) {
            // It went while its own folder was read.
            Err(error) if depth > 0 && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(());
            }
            entries => entries.map_err(|error| self.unlisted(&error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| self.unlisted(&error))?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name.starts_with('.') || name.starts_with('_') {
                continue;
            }
            match (path.is_dir(), self.format(&name)) {
                (true, _) if depth < FOLDERS && partition(&name).is_some() => {
                    self.list_in(&path, depth + 1, paths, strange)?;
                }
                (false, Some(_)) => paths.push(path),
                _ => strange(path),
            }
        }
        Ok(())
    }

    /// A reading of one file: declared columns that the names of its folders tell are not read
    /// from it.
    fn placed(&self, path: &Path, opening: &Arc<Opening>) -> Arc<Opening> {
        let within = path.strip_prefix(&self.path).ok().and_then(Path::parent);
        let folders = within.into_iter().flat_map(Path::components);
        let told: Vec<_> =
            folders.filter_map(|folder| partition(&folder.as_os_str().to_string_lossy())).collect();
        if told.is_empty() {
            return opening.clone();
        }
        let fields = opening.schema.fields().iter().enumerate();
        let forms = fields.map(|(at, field)| {
            let form = opening.form(at);
            let (name, rescued) = (field.name(), Unknown::Rescue(field.name().clone()));
            let exact = told.iter().find(|(key, _)| key == name);
            let alike = || told.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            match (form.origin.clone(), exact.or_else(alike)) {
                (Origin::Source, Some((_, value))) if self.unknown != rescued => {
                    Form { origin: Origin::Path(value.clone()), ..form }
                }
                _ => form,
            }
        });
        Arc::new(Opening { forms: forms.collect(), ..opening.as_ref().clone() })
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
        let opening = &self.placed(path, opening);
        let dialect: Arc<dyn Dialect> = match self.read_as(path) {
            Some(text @ ("csv" | "tsv")) => {
                let usual = if text == "tsv" { TAB } else { COMMA };
                let delimiter = self.delimiter.unwrap_or(usual);
                Arc::new(Csv { header: self.header, delimiter, missing: self.missing })
            }
            Some("json") => Arc::new(Json { unknown: self.unknown.clone() }),
            Some("parquet") => {
                let file = std::fs::File::open(path)?;
                let records = Parquet::open(file, opening, self.missing, skip)?;
                return Ok((Box::new(records), skip));
            }
            _ => {
                return Err(Error::Data(
                    "the name does not tell the format: format = 'csv', 'tsv', 'json' or 'parquet'"
                        .into(),
                ));
            }
        };
        let input = self.input(path)?;
        let plain = matches!(input, Input::Plain(_));
        let mark = mark.filter(|mark| mark.records <= skip && plain);
        let text = Text::new(input, dialect, opening, mark);
        Ok((Box::new(text), mark.map_or(0, |mark| mark.records)))
    }

    /// For messages.
    pub fn wanted(&self) -> &'static str {
        match self.format {
            "auto" => "CSV, TSV, JSON or Parquet by its name",
            format => format,
        }
    }
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

/// The key and value of a folder's name such as `day=2026-01-31`, escapes decoded; the value that
/// stands for NULL is `None`.
fn partition(name: &str) -> Option<(String, Option<String>)> {
    let (key, value) = name.split_once('=').filter(|(key, _)| !key.is_empty())?;
    let value = (value != NO_VALUE).then(|| unescaped(value));
    Some((unescaped(key), value))
}

/// Text with its escapes such as `%3A` decoded; what is none stays.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escape = (*first == b'%').then(|| behind.get(..2)).flatten();
        let escape = escape.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = escape.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_string())
}

impl File {
    /// A file's bytes, unpacked, as UTF-8.
    pub(super) fn input(&self, path: &Path) -> Result<Input> {
        let mut file = std::fs::File::open(path)?;
        if let Some(packed) = packed(path) {
            let reader =
                packed.convert_read(file).map_err(|error| Error::Data(error.to_string()))?;
            return Ok(Input::Packed(Box::new(Decoded::new(reader, self.encoding))));
        }
        let mut first = Vec::new();
        std::io::Read::take(&mut file, 3).read_to_end(&mut first)?;
        std::io::Seek::rewind(&mut file)?;
        match encoding::decodes(self.encoding, &first) {
            Some(encoding) => Ok(Input::Packed(Box::new(Decoded::new(file, Some(encoding))))),
            None => Ok(Input::Plain(file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_tell_values() {
        let told = |name: &str| partition(name);
        let some = |key: &str, value: &str| Some((key.to_string(), Some(value.to_string())));
        assert_eq!(told("dt=2024-01-01"), some("dt", "2024-01-01"));
        assert_eq!(told("a%20b=x%3Ay=%C3%A4%"), some("a b", "x:y=ä%"));
        assert_eq!(told("a="), some("a", ""));
        assert_eq!(told("a=__HIVE_DEFAULT_PARTITION__"), Some(("a".to_string(), None)));
        assert_eq!(told("2024"), None);
        assert_eq!(told("=1"), None);
        assert_eq!(unescaped("%ff"), "%ff");
    }
}
