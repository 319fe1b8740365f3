//! What a name stands for: files of one form, and what is known of them before they are read.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use encoding_rs::Encoding;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use url::{Position, Url};

use super::error::user;
use super::text::parse::HEAD_BYTES;
use super::text::sample::Sample;
use super::text::utf8::Utf8;

/// Requests for files' sizes and headers under way at once.
pub const CONCURRENT_REQUESTS: usize = 32;

/// What a name stands for.
pub enum Found {
    /// No table by this name, and no reason to think that files were meant.
    Nothing,
    Delta(Url),
    Files(Files),
}

/// Forms of a data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Parquet,
    Csv,
    /// CSV by tabs.
    Tsv,
    Json,
    Arrow,
    Avro,
}

/// Files of one form that are to be one table; at least one.
pub struct Files {
    pub store: Arc<dyn ObjectStore>,
    /// The store's URL with the directory that all files are in.
    pub base: Url,
    /// Whether all that is in that directory was asked for, not some files.
    pub whole: bool,
    pub form: Form,
    pub compression: FileCompressionType,
    /// In the order of their paths.
    pub objects: Vec<ObjectMeta>,
    /// Columns that the directories' names hold, outermost first.
    pub partitions: Vec<(String, DataType)>,
    /// Whether one of them is NULL somewhere.
    pub null_partitions: bool,
    /// As in `OPTIONS (..)`, such as `format.delimiter`.
    pub options: HashMap<String, String>,
    /// Of text; none is UTF-8, unless a mark tells another.
    pub encoding: Option<&'static Encoding>,
}

/// Form and compression by a file's name; none for names that tell nothing.
pub fn form_of(name: &str) -> Option<(Form, FileCompressionType)> {
    let lower = name.to_ascii_lowercase();
    let (stem, last) = lower.rsplit_once('.')?;
    let compression = last.parse::<FileCompressionType>().ok();
    let compression = compression.filter(FileCompressionType::is_compressed);
    let form = match compression {
        Some(_) => stem.rsplit_once('.')?.1,
        None => last,
    };
    let form = match form {
        "parquet" | "pq" => Form::Parquet,
        "csv" => Form::Csv,
        "tsv" => Form::Tsv,
        "json" | "ndjson" | "jsonl" => Form::Json,
        "arrow" | "ipc" | "feather" => Form::Arrow,
        "avro" => Form::Avro,
        _ => return None,
    };
    Some((form, compression.unwrap_or(FileCompressionType::UNCOMPRESSED)))
}

/// The last part of a file's path, for messages about files of one directory.
pub fn file_name(object: &ObjectMeta) -> &str {
    object.location.filename().unwrap_or(object.location.as_ref())
}

impl Files {
    /// The first bytes, as text, of the first file that has some.
    pub async fn head(&self) -> Result<Vec<u8>> {
        let Some(first) = self.objects.iter().find(|object| object.size > 0) else {
            return Ok(Vec::new());
        };
        let plain = match self.compression.is_compressed() {
            true => Sample::of(&self.store, first, self.compression).await?.head(HEAD_BYTES),
            false => {
                let range = 0..first.size.min(HEAD_BYTES);
                self.store.get_range(&first.location, range).await?.to_vec()
            }
        };
        let text = Utf8::new(self.encoding).decode(&plain, false).map(|text| text.into_owned());
        Ok(text.unwrap_or_default())
    }

    /// The path of a file that is on this machine.
    pub fn local_path(&self, object: &ObjectMeta) -> Option<PathBuf> {
        let url = self.base.join(&format!("/{}", object.location)).ok()?;
        (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten()
    }

    /// What the table reads, and the ending that a listing of it keeps: the directory where it was
    /// asked for (it takes INSERTs) or its names hold columns, else each file by name. A file may
    /// get others beside it while the table is in use.
    pub async fn table_paths(
        &self,
        state: &SessionState,
    ) -> Result<(Vec<ListingTableUrl>, String)> {
        let name = file_name(&self.objects[0]);
        let endings = 1 + usize::from(self.compression.is_compressed());
        let start = name.rmatch_indices('.').nth(endings - 1).map_or(0, |(at, _)| at);
        let ending = name[start..].to_string();
        let directory = ListingTableUrl::try_new(self.base.clone(), None)?;
        if (self.whole || !self.partitions.is_empty())
            && !self.base.scheme().starts_with("http")
            && self.is_all_of(state, &directory, &ending).await?
        {
            return Ok((vec![directory], ending));
        }
        if !self.partitions.is_empty() {
            return Err(user(
                "the pattern picks some files of a directory whose names hold columns: name the \
                 directory, and pick by WHERE on the columns",
            ));
        }
        let url = |object: &ObjectMeta| {
            let mut url = self.base.clone();
            url.set_path(&format!("/{}", object.location));
            ListingTableUrl::try_new(url, None)
        };
        let urls: Result<Vec<_>> = self.objects.iter().map(url).collect();
        Ok((urls?, String::new()))
    }

    async fn is_all_of(
        &self,
        state: &SessionState,
        directory: &ListingTableUrl,
        ending: &str,
    ) -> Result<bool> {
        let listed = directory.list_all_files(state, self.store.as_ref(), ending).await?;
        let listed: Vec<Path> = listed.map_ok(|object| object.location).try_collect().await?;
        let ours = |path: &Path| self.objects.iter().any(|object| &object.location == path);
        Ok(listed.len() == self.objects.len() && listed.iter().all(ours))
    }

    /// A file as its user would name it.
    pub fn shown(&self, object: &ObjectMeta) -> String {
        shown(&self.base, &object.location)
    }
}

/// A location as its user would name it: below the working directory by the relative path.
pub fn shown(store: &Url, location: &Path) -> String {
    if store.scheme() != "file" {
        return format!("{}/{location}", &store[..Position::BeforePath]);
    }
    let absolute = PathBuf::from(format!("/{location}"));
    let here = std::env::current_dir().unwrap_or_default();
    absolute.strip_prefix(here).unwrap_or(&absolute).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_form_and_compression() {
        use FileCompressionType as C;
        assert_eq!(form_of("a.csv"), Some((Form::Csv, C::UNCOMPRESSED)));
        assert_eq!(form_of("a.b.NDJSON.gz"), Some((Form::Json, C::GZIP)));
        assert_eq!(form_of("a.csv.zst"), Some((Form::Csv, C::ZSTD)));
        assert_eq!(form_of("csv"), None);
        assert_eq!(form_of("a.gz"), None);
        assert_eq!(form_of("public.orders"), None);
    }
}
