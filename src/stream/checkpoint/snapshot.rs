//! States of queries on the disk, tied to an epoch: a restart goes on from there.
//!
//! `snapshots/N/` holds what every query keeps after epoch N: `snapshot.json` and Arrow files. It
//! is written beside, brought to the disk, and then named; the two newest are kept. It may be lost:
//! everything is in the log, which is then read again. Spilled state is not read for it: its files
//! get a second name there, or are copied.
//!
//! Each file has a checksum in `snapshot.json`, and that one of its own; earlier versions wrote
//! none. A snapshot of which anything is damaged is told and passed over: the older one is taken,
//! or the log is read again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use super::catalog::is_same;
use crate::disk;
use crate::error::{Error, Result};
use crate::stream::checksum;
use crate::stream::dataflow::Saved;
use crate::stream::dataflow::query::Query;
use crate::stream::state::size::Part;
use crate::stream::state::spill::{Facts, Folder, Summed, sum};

/// How many snapshots are kept.
const KEPT: usize = 2;

const FOLDER: &str = "snapshots";
const INDEX: &str = "snapshot.json";

/// What a snapshot holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    epoch: u64,
    queries: BTreeMap<String, Entry>,
}

impl Index {
    /// Reads that of an epoch.
    ///
    /// Errors: it is not there or not whole; it is another epoch's.
    fn read(folder: &Path, epoch: u64) -> Result<Self> {
        let damaged = |what: String| Error::Data(format!("{INDEX}: {what}"));
        let read =
            std::fs::read(folder.join(INDEX)).and_then(|text| checksum::parse::<Self>(&text));
        let index = read.map_err(|error| damaged(error.to_string()))?;
        if index.epoch != epoch {
            return Err(damaged(format!("expected epoch {epoch}, found {}", index.epoch)));
        }
        Ok(index)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Entry {
    fingerprint: String,
    /// Last epoch that had results, which the sink held then.
    written: u64,
    /// Files by part of the state.
    parts: BTreeMap<String, String>,
    /// Their checksums, by file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sums: BTreeMap<String, u32>,
    /// Those of spilled rows, in their order.
    #[serde(default)]
    spilled: BTreeMap<String, Vec<Spilled>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Spilled {
    file: String,
    #[serde(flatten)]
    facts: Facts,
}

impl Entry {
    /// Writes the parts of a query's state to a folder; `name` is what their files begin with.
    fn put(&mut self, folder: &Path, name: &str, saved: Vec<Saved>) -> Result<()> {
        for (part, Part { rows, spilled }) in saved {
            let stem = format!("{name}-{part}");
            if !rows.is_empty() {
                let file = format!("{stem}.arrow");
                let sum = write_rows(&folder.join(&file), &rows)?;
                self.sums.insert(file.clone(), sum);
                self.parts.insert(part.clone(), file);
            }
            let mut files = Vec::with_capacity(spilled.len());
            for (nth, segment) in spilled.iter().enumerate() {
                let file = format!("{stem}-{nth}.arrows");
                segment.save(&folder.join(&file))?;
                files.push(Spilled { file, facts: segment.facts });
            }
            if !files.is_empty() {
                self.spilled.insert(part, files);
            }
        }
        Ok(())
    }

    /// The parts of a query's state; spilled rows stay on the disk.
    fn get(&self, folder: &Path, spill: &Folder) -> Result<BTreeMap<String, Part>> {
        let mut parts: BTreeMap<String, Part> = BTreeMap::new();
        for (part, file) in &self.parts {
            let path = folder.join(file);
            let known = self.sums.get(file);
            if known.is_some_and(|known| sum(&path).is_ok_and(|sum| sum != *known)) {
                return Err(Error::Data(format!("{file}: its checksum is not its own")));
            }
            parts.insert(part.clone(), read_rows(&path)?.into());
        }
        for (part, files) in &self.spilled {
            let adopt = |of: &Spilled| spill.adopt(&folder.join(&of.file), of.facts);
            let spilled = files.iter().map(adopt).collect::<Result<_>>()?;
            parts.entry(part.clone()).or_default().spilled = spilled;
        }
        Ok(parts)
    }
}

/// What the queries keep after an epoch.
pub struct Snapshot {
    epoch: u64,
    /// By application: fingerprint, last epoch with results, state.
    queries: Vec<(String, String, u64, Vec<Saved>)>,
}

impl Snapshot {
    /// Of queries whose results of the epoch are given out before it is written.
    pub fn of(epoch: u64, queries: &mut [Query]) -> Result<Self> {
        let queries = queries.iter_mut().map(|query| {
            let saved = query.save()?;
            let fingerprint = query.graph.fingerprint.clone();
            Ok((query.application.clone(), fingerprint, query.written(), saved))
        });
        Ok(Self { epoch, queries: queries.collect::<Result<_>>()? })
    }

    /// Writes it to a state folder. Blocks.
    pub fn write(self, folder: &Path) -> Result<()> {
        let all = folder.join(FOLDER);
        let target = all.join(name(self.epoch));
        self.put(&all, &target).map_err(|error| match error {
            Error::Io(error) => disk::failed(&target, error),
            Error::Arrow(error) => disk::failed(&target, error),
            other => other,
        })?;
        let old = list(&all);
        for epoch in old.iter().rev().skip(KEPT) {
            let _ = std::fs::remove_dir_all(all.join(name(*epoch))); // tried again next time
        }
        Ok(())
    }

    fn put(self, all: &Path, target: &Path) -> Result<()> {
        forget_unfinished(all)?;
        let unfinished = all.join(format!(".{}.part", name(self.epoch)));
        std::fs::create_dir_all(&unfinished)?;
        let mut index = Index { epoch: self.epoch, ..Index::default() };
        for (nth, (application, fingerprint, written, saved)) in
            self.queries.into_iter().enumerate()
        {
            let mut entry = Entry { fingerprint, written, ..Entry::default() };
            entry.put(&unfinished, &nth.to_string(), saved)?;
            index.queries.insert(application, entry);
        }
        let path = unfinished.join(INDEX);
        std::fs::write(&path, checksum::line(&index)?)?;
        disk::sync(&path)?;
        disk::sync(&unfinished)?;
        if target.exists() {
            std::fs::remove_dir_all(target)?;
        }
        Ok(disk::rename(&unfinished, target)?)
    }
}

/// Removes what a run has left that was killed while it wrote a snapshot.
fn forget_unfinished(all: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(all) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".part") {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Forgets all snapshots.
pub fn discard(folder: &Path) -> Result<()> {
    let all = folder.join(FOLDER);
    match std::fs::remove_dir_all(&all) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(disk::failed(&all, error))
        }
        _ => Ok(()),
    }
}

/// The epoch of the oldest snapshot there is.
pub fn oldest(folder: &Path) -> Option<u64> {
    list(&folder.join(FOLDER)).first().copied()
}

/// Gives a query the newest state that was saved of it after an epoch that is `known`; it stays as
/// it is where there is none that fits.
pub fn restore(
    folder: &Path,
    spill: &Folder,
    query: &mut Query,
    known: impl Fn(u64) -> bool,
) -> Result<()> {
    let all = folder.join(FOLDER);
    for epoch in list(&all).into_iter().rev().filter(|epoch| known(*epoch)) {
        let folder = all.join(name(epoch));
        let index = match Index::read(&folder, epoch) {
            Ok(index) => index,
            Err(error) => {
                passed_over(&folder, &error);
                continue;
            }
        };
        let Some(entry) = index.queries.get(&query.application) else { continue };
        // A sink that has lost what it had is filled again from the log.
        let lost = query.exactly_once() && entry.written > query.written();
        let names = entry.parts.keys().chain(entry.spilled.keys());
        let same = is_same(&query.graph, &entry.fingerprint) && query.graph.has_parts(names);
        if !same || lost {
            continue;
        }
        match entry.get(&folder, spill) {
            Ok(parts) => return query.restore(epoch, parts),
            Err(error) => passed_over(&folder, &error),
        }
    }
    Ok(())
}

fn passed_over(folder: &Path, error: &Error) {
    tracing::warn!(
        "the snapshot {} is damaged and is not used: {error}: the log is read again instead, from \
         an older snapshot if there is one",
        folder.display()
    );
}

fn name(epoch: u64) -> String {
    format!("{epoch:020}")
}

/// Epochs of the snapshots there are, in order.
fn list(all: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(all).into_iter().flatten().filter_map(Result::ok);
    let mut epochs: Vec<u64> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    epochs.sort_unstable();
    epochs
}

/// Writes rows to a file and brings it to the disk; answers its checksum.
fn write_rows(path: &Path, batches: &[RecordBatch]) -> Result<u32> {
    let mut summed = Summed::new(File::create(path)?);
    if let Some(first) = batches.first() {
        let buffered = BufWriter::new(summed);
        let mut writer = FileWriter::try_new(buffered, &first.schema())?;
        for batch in batches {
            writer.write(batch)?;
        }
        let buffered = writer.into_inner()?;
        summed = buffered.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    }
    let (file, sum) = summed.done();
    file.sync_all()?;
    Ok(sum)
}

fn read_rows(path: &Path) -> Result<Vec<RecordBatch>> {
    let rows = FileReader::try_new(File::open(path)?, None)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    /// Rows of one part, as a query saves them: some in memory, some spilled.
    fn saved(spill: &Folder) -> Saved {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..99));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let facts = Facts { rows: 99, ..Facts::default() };
        let spilled = spill.write(&rows.schema(), [Ok(rows.clone())].into_iter(), facts).unwrap();
        ("p".to_string(), Part { rows: vec![rows], spilled: vec![spilled] })
    }

    /// A bit more or less anywhere in a snapshot is noticed before its state is used.
    #[test]
    fn damage_of_any_file_is_noticed() {
        let folder = tempfile::TempDir::new().unwrap();
        let spill = Folder::open(folder.path()).unwrap();
        let fingerprint = "scan".to_string();
        let mut entry = Entry { fingerprint, written: 12_345, ..Entry::default() };
        entry.put(folder.path(), "0", vec![saved(&spill)]).unwrap();
        let queries = BTreeMap::from([("q".to_string(), entry)]);
        let index = Index { epoch: 7, queries };
        std::fs::write(folder.path().join(INDEX), checksum::line(&index).unwrap()).unwrap();
        let get = || {
            let index = Index::read(folder.path(), 7)?;
            index.queries.values().map(|entry| entry.get(folder.path(), &spill)).collect()
        };
        let whole: Result<Vec<_>> = get();
        assert_eq!(whole.unwrap()[0]["p"].rows[0].num_rows(), 99);
        let other = Index::read(folder.path(), 8).unwrap_err().to_string();
        assert!(other.contains("expected epoch 8, found 7"), "{other}");
        for file in ["0-p.arrow", "0-p-0.arrows"] {
            let path = folder.path().join(file);
            let bytes = std::fs::read(&path).unwrap();
            for at in (0..bytes.len()).step_by(37) {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                std::fs::remove_file(&path).unwrap(); // the spilled file is the same one
                std::fs::write(&path, flipped).unwrap();
                assert!(get().is_err(), "{file}, byte {at}");
            }
            std::fs::write(&path, bytes).unwrap();
        }
        let text = std::fs::read_to_string(folder.path().join(INDEX)).unwrap();
        for (is, other) in [("12345", "12344"), ("\"scan\"", "\"scam\""), ("\"sums\"", "\"suns\"")]
        {
            assert!(text.contains(is), "{text}");
            std::fs::write(folder.path().join(INDEX), text.replace(is, other)).unwrap();
            assert!(get().is_err(), "{other}");
        }
    }

    /// What earlier versions wrote has no checksums.
    #[test]
    fn snapshots_without_checksums_are_read() {
        let folder = tempfile::TempDir::new().unwrap();
        let entry = r#"{"fingerprint": "scan", "written": 3, "parts": {}}"#;
        let text = format!(r#"{{"epoch": 7, "queries": {{"q": {entry}}}}}"#);
        std::fs::write(folder.path().join(INDEX), text).unwrap();
        assert_eq!(Index::read(folder.path(), 7).unwrap().queries["q"].written, 3);
    }
}
