//! The keys by which senders name what they send, so that what is sent again is taken once.
//!
//! A key is part of the frame that holds its rows, in the metadata of their schema: both are on the
//! disk or neither. Those of the last file are found there; those of files before it are kept
//! beside them, as they may be removed.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use super::wal::{self, Received};
use crate::disk;
use crate::error::{Error, Result};
use crate::stream::checksum;

/// Keys that are remembered, the newest.
const KEYS: usize = 10_000;

/// In the metadata of a schema.
const NAME: &str = "thalweg.key";

/// What came under a key, and was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    /// CRC-32 of the body.
    pub body: u32,
    pub rows: usize,
    pub rejected: usize,
    /// Offset after its rows.
    #[serde(default)]
    pub to: i64,
}

/// The keys as they are kept beside the log.
#[derive(Serialize, Deserialize)]
struct Saved {
    keys: Vec<Entry>,
}

/// The keys of a log.
pub struct Keys {
    folder: PathBuf,
    entries: HashMap<String, Entry>,
    /// From the oldest on.
    order: VecDeque<String>,
}

impl Keys {
    /// The keys of a log that was just opened.
    ///
    /// Errors: the file of keys is damaged.
    pub fn open(folder: &Path, received: &Received) -> Result<Self> {
        let (entries, order) = (HashMap::new(), VecDeque::new());
        let mut keys = Self { folder: folder.to_path_buf(), entries, order };
        let end = received.synced();
        let saved = keys.saved()?;
        let lost = saved.iter().any(|entry| entry.to > end);
        // What was never answered: its rows have not come to the disk.
        saved.into_iter().filter(|entry| entry.to <= end).for_each(|entry| keys.insert(entry));
        for (metadata, to) in wal::metadata(folder)? {
            let entry =
                metadata.get(NAME).and_then(|text| serde_json::from_str::<Entry>(text).ok());
            if let Some(entry) = entry {
                keys.insert(Entry { to, ..entry });
            }
        }
        if lost {
            keys.save()?;
        }
        Ok(keys)
    }

    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Remembers a key; the oldest is forgotten where there are too many.
    pub fn insert(&mut self, entry: Entry) {
        let key = entry.key.clone();
        if self.entries.insert(key.clone(), entry).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    /// Appends rows to the log, with their key where they have one; answers the offset after them.
    pub fn append(
        &mut self,
        received: &Received,
        rows: &RecordBatch,
        entry: Option<Entry>,
    ) -> Result<i64> {
        if rows.num_rows() > 0 && received.is_full() {
            self.save()?;
        }
        let to = match (&entry, rows.num_rows()) {
            (_, 0) => received.synced(),
            (None, _) => received.append(rows)?,
            (Some(entry), _) => received.append(&named(rows, entry)?)?,
        };
        if let Some(entry) = entry {
            self.insert(Entry { to, ..entry });
        }
        Ok(to)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("keys.json")
    }

    /// Those beside the log.
    fn saved(&self) -> Result<Vec<Entry>> {
        let path = self.path();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::Data(format!("{}: {error}", path.display()))),
        };
        let saved = checksum::parse(&text).map(|Saved { keys }| keys);
        saved.map_err(|error| {
            let path = path.display();
            Error::Data(format!(
                "{path}: {error}: the Idempotency-Keys of earlier requests are damaged. Put the \
                 file back from a copy; or remove it, and what is sent again may be taken twice"
            ))
        })
    }

    /// Writes all of them beside the log, whole or not at all.
    fn save(&self) -> Result<()> {
        let keys: Vec<_> = self.order.iter().filter_map(|key| self.get(key)).cloned().collect();
        if keys.is_empty() && !self.path().exists() {
            return Ok(());
        }
        let text = checksum::line(&Saved { keys })?;
        let path = self.path();
        disk::replace(&path, &text).map_err(|error| disk::failed(&path, error))
    }
}

/// Rows that carry their key.
fn named(rows: &RecordBatch, entry: &Entry) -> Result<RecordBatch> {
    let text = serde_json::to_string(entry).map_err(|error| Error::Bug(error.to_string()))?;
    let mut schema = rows.schema().as_ref().clone();
    schema.metadata.insert(NAME.to_string(), text);
    Ok(rows.clone().with_schema(Arc::new(schema))?)
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn entry(key: &str) -> Entry {
        Entry { key: key.to_string(), body: 7, rows: 2, rejected: 1, to: 0 }
    }

    fn rows() -> RecordBatch {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
        let numbers = Int64Array::from(vec![1, 2]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers)]).unwrap()
    }

    #[test]
    fn keys_are_there_again_with_their_rows() {
        let folder = tempfile::TempDir::new().unwrap();
        let log = Received::open(folder.path(), 0).unwrap();
        let mut keys = Keys::open(folder.path(), &log).unwrap();
        let (a, b) = (entry("a"), entry("b"));
        assert_eq!(keys.append(&log, &rows(), Some(a)).unwrap(), 2);
        assert_eq!(keys.append(&log, &rows(), None).unwrap(), 4);
        keys.save().unwrap();
        assert_eq!(keys.append(&log, &rows(), Some(b.clone())).unwrap(), 6);
        drop(log);
        let log = Received::open(folder.path(), 0).unwrap();
        let keys = Keys::open(folder.path(), &log).unwrap();
        assert_eq!(keys.get("a").unwrap().to, 2);
        assert_eq!(keys.get("b"), Some(&Entry { to: 6, ..b }));
        assert_eq!(keys.order, ["a", "b"]);
        // Those whose rows are not there are no more.
        std::fs::write(folder.path().join("00000000000000000000.log"), "").unwrap();
        let log = Received::open(folder.path(), 0).unwrap();
        let keys = Keys::open(folder.path(), &log).unwrap();
        assert!(keys.order.is_empty() && keys.saved().unwrap().is_empty());
        std::fs::write(keys.path(), "{\"crc\":0,\"keys\":[]}").unwrap();
        assert!(Keys::open(folder.path(), &log).is_err());
    }
}
