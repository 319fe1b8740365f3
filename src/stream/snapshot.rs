//! States of queries on the disk, tied to an epoch: a restart goes on from there.
//!
//! `snapshots/N/` holds what every query keeps after epoch N: `snapshot.json` and Arrow files. It
//! is written beside, brought to the disk, and then named; the two newest are kept. It may be lost:
//! everything is in the log, which is then read again. Spilled state is not read for it: its files
//! get a second name there, or are copied.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use super::definitions::is_same;
use super::graph::spill::{Facts, Folder};
use super::graph::{Part, Saved};
use super::query::Query;
use crate::error::{Error, Result};

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

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    fingerprint: String,
    /// Last epoch that had results, which the sink held then.
    written: u64,
    /// Files by part of the state.
    parts: BTreeMap<String, String>,
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
                write_rows(&folder.join(&file), &rows)?;
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
            parts.insert(part.clone(), read_rows(&folder.join(file))?.into());
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
            Error::Io(error) => Error::User(format!("{}: {error}", target.display())),
            Error::Arrow(error) => Error::User(format!("{}: {error}", target.display())),
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
            let (parts, spilled) = (BTreeMap::new(), BTreeMap::new());
            let mut entry = Entry { fingerprint, written, parts, spilled };
            entry.put(&unfinished, &nth.to_string(), saved)?;
            index.queries.insert(application, entry);
        }
        let path = unfinished.join(INDEX);
        std::fs::write(&path, serde_json::to_vec(&index).map_err(std::io::Error::from)?)?;
        crate::lake::sync(&path)?;
        crate::lake::sync(&unfinished)?;
        if target.exists() {
            std::fs::remove_dir_all(target)?;
        }
        std::fs::rename(&unfinished, target)?;
        crate::lake::sync(all)
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
            Err(Error::User(format!("{}: {error}", all.display())))
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
        let Ok(index) = std::fs::read(folder.join(INDEX)) else { continue };
        let Ok(index) = serde_json::from_slice::<Index>(&index) else { continue };
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
            Err(error) => {
                tracing::warn!("{}: {error}: the log is read again instead", folder.display());
            }
        }
    }
    Ok(())
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

fn write_rows(path: &PathBuf, batches: &[RecordBatch]) -> Result<()> {
    let Some(first) = batches.first() else { return Ok(()) };
    let file = File::create(path)?;
    let mut writer = FileWriter::try_new_buffered(&file, &first.schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    drop(writer);
    Ok(file.sync_all()?)
}

fn read_rows(path: &Path) -> Result<Vec<RecordBatch>> {
    let rows = FileReader::try_new(File::open(path)?, None)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
