//! The `file` connector: a directory is one partition (see `directory`), its files CSV, TSV,
//! JSON or Parquet, text also compressed.

pub(in crate::stream) mod options;

use super::directory::Directory;
use crate::error::Result;
use crate::stream::connector::api::{Connector, Opening, Source};
use options::File;

impl Connector for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn typed(&self) -> bool {
        true
    }

    fn bounded(&self) -> Result<(), String> {
        Ok(())
    }

    /// By the path as it is written: a project that is moved as a whole goes on.
    fn identity(&self) -> String {
        self.identity_at(self.path.strip_prefix(".").unwrap_or(&self.path))
    }

    /// By the absolute path, as earlier versions have it, and from the working directory.
    fn other_identities(&self) -> Vec<String> {
        let Ok(absolute) = std::path::absolute(&self.path) else { return Vec::new() };
        let here = std::env::current_dir().unwrap_or_default();
        let within = absolute.strip_prefix(here).ok().map(|path| self.identity_at(path));
        within.into_iter().chain([self.identity_at(&absolute)]).collect()
    }

    fn open(&self, opening: Opening) -> Result<Box<dyn Source>> {
        Ok(Box::new(Directory::open(self.clone(), opening)))
    }
}
