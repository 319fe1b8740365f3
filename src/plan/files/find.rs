//! From a name to files: what is there, of which form, in which partition layout.

use std::collections::HashMap;
use std::path::{Path as LocalPath, PathBuf};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use url::Url;

use super::error::{cause, data, user};
use super::found::{CONCURRENT_REQUESTS, Files, Form, Found, file_name, form_of, shown};
use super::table::partitions::NULL;
use crate::error::{did_you_mean, nearest};

/// Looks a name up. Errors: it names files and there are none, or files of several forms.
///
/// `form` is that of the files wanted, where the request tells it and not their names.
pub async fn find(state: &SessionState, name: &str, form: Option<Form>) -> Result<Found> {
    let (base, whole, paths) = match Url::parse(name) {
        // A single letter is a drive of Windows.
        Ok(url) if url.scheme().len() > 1 => match remote(state, &url).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Found::Delta(url)),
            Err(error) => return Err(unreachable(name, error)),
        },
        _ => match local(name)? {
            Local::Nothing => return Ok(Found::Nothing),
            Local::Delta(url) => return Ok(Found::Delta(url)),
            Local::Files(base, whole, paths) => (base, whole, paths),
        },
    };
    let store = state.runtime_env().object_store(ListingTableUrl::try_new(base.clone(), None)?)?;
    let heads = futures::stream::iter(paths).map(|path| {
        let store = Arc::clone(&store);
        async move { store.head(&path).await.map_err(|error| (path, error)) }
    });
    let objects: Result<Vec<ObjectMeta>, _> =
        heads.buffered(CONCURRENT_REQUESTS).try_collect().await;
    let objects = match objects {
        Ok(objects) => objects,
        Err((_, error)) if base.scheme() == "file" => return Err(error.into()),
        Err((path, error)) => return Err(unreachable(&shown(&base, &path), error.into())),
    };
    let (form, compression, objects) = one_form(name, objects, form)?;
    let (partitions, null_partitions) = partitions(&base, &objects)?;
    let options = HashMap::new();
    let encoding = None;
    Ok(Found::Files(Files {
        store,
        base,
        whole,
        form,
        compression,
        objects,
        partitions,
        null_partitions,
        options,
        encoding,
    }))
}

enum Local {
    Nothing,
    Delta(Url),
    /// A directory, whether all in it is asked for, and files in it.
    Files(Url, bool, Vec<Path>),
}

fn local(name: &str) -> Result<Local> {
    let pattern = name.contains(['*', '?', '[']);
    let path = LocalPath::new(name);
    if pattern && !path.exists() {
        return local_pattern(name);
    }
    // A name with a slash or a file's ending was meant as a file.
    let meant = name.contains('/') || form_of(name).is_some();
    if !path.exists() {
        return match meant {
            true => Err(user(format!("file '{name}' does not exist{}", near_files(path)))),
            false => Ok(Local::Nothing),
        };
    }
    let absolute = absolute(path)?;
    if path.is_file() {
        let parent = absolute.parent().unwrap_or(&absolute);
        return Ok(Local::Files(directory_url(parent)?, false, vec![object_path(&absolute)?]));
    }
    if path.join("_delta_log").is_dir() {
        return Ok(Local::Delta(directory_url(&absolute)?));
    }
    let mut files = Vec::new();
    walk(&absolute, &mut files)?;
    if files.is_empty() && meant {
        return Err(user(format!("directory '{name}' holds no data files")));
    }
    if files.is_empty() {
        return Ok(Local::Nothing);
    }
    let files: Result<Vec<Path>> = files.iter().map(|file| object_path(file)).collect();
    Ok(Local::Files(directory_url(&absolute)?, true, files?))
}

/// Files beside one that is not there, if any is called much like it.
fn near_files(path: &LocalPath) -> String {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else {
        return String::new();
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Ok(entries) = std::fs::read_dir(folder.unwrap_or(LocalPath::new("."))) else {
        return String::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names: Vec<String> = names.filter(|name| !is_hidden(name)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let near = nearest(&name, &names).into_iter().map(|near| path.with_file_name(near));
    let near: Vec<String> = near.map(|path| path.display().to_string()).collect();
    match near.is_empty() {
        true => String::new(),
        false => did_you_mean(&path.to_string_lossy(), near.iter().map(String::as_str)),
    }
}

fn local_pattern(name: &str) -> Result<Local> {
    let wrong = |error: glob::PatternError| user(format!("'{name}' is no file pattern: {error}"));
    let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
    let mut files = Vec::new();
    for entry in glob::glob_with(name, options).map_err(wrong)? {
        let path = absolute(&entry.map_err(std::io::Error::from)?)?;
        match path.is_dir() {
            true => walk(&path, &mut files)?,
            false => files.push(path),
        }
    }
    files.retain(|file| file.file_name().is_some_and(|name| !is_hidden(&name.to_string_lossy())));
    files.sort();
    files.dedup();
    if files.is_empty() {
        return Err(user(format!("no file matches '{name}'")));
    }
    let fixed = name.find(['*', '?', '[']).map_or(name, |at| &name[..at]);
    let fixed = fixed.rsplit_once('/').map_or(".", |(directory, _)| directory);
    let base = absolute(LocalPath::new(if fixed.is_empty() { "/" } else { fixed }))?;
    let files: Result<Vec<Path>> = files.iter().map(|file| object_path(file)).collect();
    Ok(Local::Files(directory_url(&base)?, is_every(name), files?))
}

/// Whether a pattern takes every file of a directory, or every one of an ending.
fn is_every(pattern: &str) -> bool {
    let (directory, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    let some = |part: &str| part.contains(['*', '?', '[']);
    let rest = last.strip_prefix('*');
    !some(directory)
        && rest.is_some_and(|rest| !some(rest) && (rest.is_empty() || rest.starts_with('.')))
}

/// All data files below a directory, by name; what starts with `_` or `.` is another program's.
fn walk(directory: &LocalPath, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries: std::io::Result<Vec<_>> = std::fs::read_dir(directory)?.collect();
    let mut entries: Vec<PathBuf> = entries?.into_iter().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if is_hidden(&name) {
            continue;
        }
        match path.is_dir() {
            true => walk(&path, files)?,
            false if form_of(&name).is_some() => files.push(path),
            false => {}
        }
    }
    Ok(())
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// The path from the root. Object stores know no `..`; it is resolved as the file system does,
/// through links.
fn absolute(path: &LocalPath) -> Result<PathBuf> {
    let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
    Ok(if climbs { path.canonicalize()? } else { std::path::absolute(path)? })
}

fn directory_url(path: &LocalPath) -> Result<Url> {
    let wrong = |()| user(format!("'{}' is no path of a directory", path.display()));
    Url::from_directory_path(path).map_err(wrong)
}

fn object_path(path: &LocalPath) -> Result<Path> {
    Path::from_absolute_path(path).map_err(|error| user(error.to_string()))
}

/// What a URL names: its base, whether that is all it names, and paths; or none for the root of a
/// Delta table.
async fn remote(state: &SessionState, url: &Url) -> Result<Option<(Url, bool, Vec<Path>)>> {
    let store = state.runtime_env().object_store(ListingTableUrl::try_new(url.clone(), None)?)?;
    let full = percent_free(url.path());
    let fixed = full.find(['*', '?', '[']).unwrap_or(full.len());
    let fixed = full[..fixed].rfind('/').map_or(0, |at| at + 1);
    let base = url.join(&full[..fixed]).map_err(|error| user(format!("'{url}': {error}")))?;
    let single = fixed < full.len() && !full.contains(['*', '?', '[']);
    if single && (form_of(&full).is_some() || url.scheme().starts_with("http")) {
        return Ok(Some((base, false, vec![Path::from_url_path(url.path())?])));
    }
    // A directory, with or without its slash; or a pattern over what lies below the base.
    let below = if single { full.as_str() } else { &full[..fixed] };
    let prefix = Path::parse(below.trim_matches('/'))?;
    let listed: Vec<ObjectMeta> = store.list(Some(&prefix)).try_collect().await?;
    let mut paths: Vec<Path> = listed.into_iter().map(|object| object.location).collect();
    paths.sort();
    if paths.iter().any(|path| path.as_ref().contains("/_delta_log/")) && full.len() == below.len()
    {
        return Ok(None);
    }
    let picked = full.contains(['*', '?', '[']);
    if picked {
        let pattern = glob::Pattern::new(full.trim_start_matches('/'))
            .map_err(|error| user(format!("'{url}' is no file pattern: {error}")))?;
        let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
        paths.retain(|path| pattern.matches_with(path.as_ref(), options));
    }
    paths.retain(|path| path.filename().is_some_and(|name| !is_hidden(name)));
    if paths.is_empty() {
        return Err(user(format!("there are no files at '{url}'")));
    }
    let base = if single { url.join(&format!("{full}/")).unwrap_or(base) } else { base };
    Ok(Some((base, !picked || is_every(&full), paths)))
}

/// An error of asking a store, with the name it was asked for.
fn unreachable(name: &str, error: DataFusionError) -> DataFusionError {
    match error.find_root() {
        DataFusionError::External(ours) if ours.is::<crate::error::Error>() => error,
        _ => match cause(&error) {
            // A URL of http:// is the request itself.
            cause if cause.starts_with(name) => data(cause),
            cause => data(format!("'{name}': {cause}")),
        },
    }
}

fn percent_free(path: &str) -> String {
    Path::from_url_path(path).map_or_else(
        |_| path.to_string(),
        |clean| {
            let slash = if path.ends_with('/') && !clean.is_root() { "/" } else { "" };
            format!("/{clean}{slash}")
        },
    )
}

/// The files that tell their form, which must be the same for all.
fn one_form(
    name: &str,
    objects: Vec<ObjectMeta>,
    wanted: Option<Form>,
) -> Result<(Form, FileCompressionType, Vec<ObjectMeta>)> {
    let known = |object: &ObjectMeta| form_of(object.location.filename().unwrap_or_default());
    let only = objects.len() == 1;
    if let (Some(form), true) = (wanted, only) {
        let name = objects[0].location.as_ref();
        let last = name.rsplit_once('.').and_then(|(_, last)| last.parse().ok());
        return Ok((form, last.unwrap_or(FileCompressionType::UNCOMPRESSED), objects));
    }
    // What was asked for by a pattern, and tells nothing of itself, is of the form wanted.
    if let (Some(form), true) = (wanted, objects.iter().all(|object| known(object).is_none())) {
        return Ok((form, FileCompressionType::UNCOMPRESSED, objects));
    }
    let of_form = |object: &ObjectMeta| {
        wanted.is_none_or(|form| known(object).is_some_and(|(known, _)| known == form))
    };
    let objects: Vec<ObjectMeta> = objects.into_iter().filter(of_form).collect();
    let objects: Vec<ObjectMeta> =
        objects.into_iter().filter(|object| only || known(object).is_some()).collect();
    let Some(first) = objects.first() else {
        return Err(user(format!("'{name}' holds no data files")));
    };
    let Some((form, compression)) = known(first) else {
        return Err(user(format!(
            "'{name}': the name does not tell the form of the file; it should end in .parquet, \
             .csv, .tsv, .json, .ndjson, .arrow or .avro, text also in .gz, .bz2, .xz or .zst"
        )));
    };
    if let Some(other) = objects.iter().find(|object| known(object) != Some((form, compression))) {
        return Err(data(format!(
            "'{name}' is not one table: '{}' and '{}' are files of different forms; \
             a pattern such as '*.parquet' picks some of them",
            file_name(first),
            file_name(other)
        )));
    }
    Ok((form, compression, objects))
}

/// The columns that directories named `column=value` hold, and whether one is NULL. Errors: not all
/// files lie in the same columns' directories.
fn partitions(base: &Url, objects: &[ObjectMeta]) -> Result<(Vec<(String, DataType)>, bool)> {
    let root = ListingTableUrl::try_new(base.clone(), None)?;
    let layout = |object: &ObjectMeta| -> Vec<(String, String)> {
        let segments = root.strip_prefix(&object.location).into_iter().flatten();
        let pairs = segments.filter_map(|segment| segment.split_once('='));
        pairs.map(|(column, value)| (column.to_string(), value.to_string())).collect()
    };
    let layouts: Vec<_> = objects.iter().map(layout).collect();
    let columns = |at: usize| layouts[at].iter().map(|(column, _)| column.as_str());
    for at in 1..layouts.len() {
        if !columns(at).eq(columns(0)) {
            return Err(data(format!(
                "files lie in different partition directories: '{}' and '{}'",
                objects[0].location, objects[at].location
            )));
        }
    }
    let kind = |column: usize| {
        let values = layouts.iter().map(|layout| layout[column].1.as_str());
        kind_of(values.filter(|value| *value != NULL))
    };
    let nulls = layouts.iter().flatten().any(|(_, value)| value == NULL);
    let kinds = columns(0).enumerate().map(|(at, column)| (column.to_string(), kind(at)));
    Ok((kinds.collect(), nulls))
}

/// Numbers where there are some and all are written as numbers are, else text. `01` stays text: a
/// filter on a number 1 would look for a directory named 1.
fn kind_of<'a>(values: impl Iterator<Item = &'a str>) -> DataType {
    let plain = |value: &str| value.parse::<i64>().is_ok_and(|number| number.to_string() == value);
    let mut values = values.peekable();
    match values.peek().is_some() && values.all(plain) {
        true => DataType::Int64,
        false => DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_every_file() {
        let every = ["*", "d/*.csv", "/a/b/*.csv.gz", "d/*"];
        assert_eq!(every.map(is_every), [true; 4]);
        let some = ["d/2026*.csv", "d/*/*.csv", "d/?.csv", "d/*x", "d/a.csv"];
        assert_eq!(some.map(is_every), [false; 5]);
    }

    #[test]
    fn partition_values_are_numbers_only_where_written_so() {
        assert_eq!(kind_of(["2025", "2026", "-1"].into_iter()), DataType::Int64);
        assert_ne!(kind_of(["1", "02"].into_iter()), DataType::Int64);
        assert_ne!(kind_of(["1", "x"].into_iter()), DataType::Int64);
        assert_ne!(kind_of(std::iter::empty()), DataType::Int64);
    }
}
