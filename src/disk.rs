//! Files that are there whole or not at all, whenever the process or the machine is gone.
//!
//! What is written goes under another name first, then to the disk, then gets its name; at last
//! the folder that has the name goes to the disk (files of caches do without the disk). Who reads
//! meanwhile sees the old file or the new one. All of it blocks: not for a thread of the async
//! runtime.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// A file that is being written: removed again, unless it is published.
#[derive(Debug)]
pub struct Unfinished {
    file: File,
    /// `None` once it has its name.
    path: Option<PathBuf>,
    target: PathBuf,
}

impl Unfinished {
    /// One that will have the name `target`, of which there is one writer at a time. What a
    /// process has left that was killed meanwhile is written over.
    pub fn create(target: &Path) -> io::Result<Self> {
        Self::named(target, "")
    }

    /// The same where several threads or processes write: the one published last stays.
    pub fn create_among_many(target: &Path) -> io::Result<Self> {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        Self::named(target, &format!(".{}-{number}", std::process::id()))
    }

    fn named(target: &Path, of: &str) -> io::Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected the name of a file"));
        };
        let mut unfinished = OsString::from(".");
        unfinished.push(name);
        unfinished.push(format!("{of}.part"));
        let path = target.with_file_name(unfinished);
        let file = File::create(&path)?;
        Ok(Self { file, path: Some(path), target: target.to_path_buf() })
    }

    /// The name that it will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Gives it its name, durably; answers the file, to write on.
    pub fn publish(self) -> io::Result<File> {
        self.file.sync_all()?;
        self.renamed(rename)
    }

    fn renamed(mut self, by: impl FnOnce(&Path, &Path) -> io::Result<()>) -> io::Result<File> {
        if let Some(path) = &self.path {
            by(path, &self.target)?;
            self.path = None;
        }
        self.file.try_clone()
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path); // what went wrong before is what is told
        }
    }
}

/// Puts bytes in the place of what a file holds, durably; of one writer at a time.
pub fn replace(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = Unfinished::create(target)?;
    unfinished.write_all(bytes)?;
    unfinished.publish().map(drop)
}

/// Puts bytes in the place of what a file of a cache holds, which several processes write: the one
/// that ends last stays. Nobody waits for the disk: what is lost with the machine is made again.
pub fn replace_cached(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = Unfinished::create_among_many(target)?;
    unfinished.write_all(bytes)?;
    unfinished.renamed(|from, to| std::fs::rename(from, to)).map(drop)
}

/// Gives a file or a folder, which is on the disk, another name in the same folder, durably.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    match to.parent() {
        Some(folder) if folder.as_os_str().is_empty() => synced(Path::new(".")),
        Some(folder) => synced(folder),
        None => Ok(()),
    }
}

/// Brings a file or a folder to the disk.
///
/// Errors: what the system says, with the path.
pub fn sync(path: &Path) -> Result<()> {
    synced(path).map_err(|error| failed(path, error))
}

fn synced(path: &Path) -> io::Result<()> {
    // Only Unix opens folders.
    if cfg!(unix) || path.is_file() { File::open(path)?.sync_all() } else { Ok(()) }
}

/// What went wrong with a file or a folder, for who runs the query.
pub fn failed(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::user(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        for text in ["one", "another"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        replace_cached(&path, b"last").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "last");
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn what_is_not_published_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        replace(&path, b"kept").unwrap();
        let mut unfinished = Unfinished::create(&path).unwrap();
        unfinished.write_all(b"half").unwrap();
        assert_eq!(names(folder.path()), [".a.part", "a"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
        drop(unfinished);
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn many_who_write_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut one = Unfinished::create_among_many(&path).unwrap();
        let mut other = Unfinished::create_among_many(&path).unwrap();
        one.write_all(b"one").unwrap();
        other.write_all(b"other").unwrap();
        other.publish().unwrap();
        one.publish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = replace(&folder.path().join("none").join("a"), b"").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(replace(Path::new("/"), b"").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
