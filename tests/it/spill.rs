//! State above its bound waits on the disk: the same rows, stopped, killed and resumed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use thalweg::config::DeviceChoice;
use thalweg::stream::progress::{Observer, Progress};

use crate::exact::{Source, arrive, check, queries, script, sorted};
use crate::stream::{kill, observed};

/// So little that everything that can spills, with every batch.
const NOTHING: &str = "SET thalweg.state_memory = 1;";

#[tokio::test]
async fn every_query_equals_its_batch_with_all_state_on_the_disk() {
    let mut before: Option<Vec<String>> = None;
    for (batch_rows, epoch_ms) in [(7, 0), (64, 1000)] {
        let folder = TempDir::new().unwrap();
        arrive(folder.path(), 0, 240);
        let set = format!(
            "{NOTHING} SET thalweg.batch_rows = {batch_rows}; SET thalweg.epoch_ms = {epoch_ms};
             SET thalweg.epoch_rows = 64; SET thalweg.snapshot_ms = 50;"
        );
        let mut got = check(DeviceChoice::Cpu, folder.path(), Source::Files, &set).await;
        got.pop(); // the last is by the time of the run
        assert_eq!(*before.get_or_insert_with(|| got.clone()), got, "{set}");
        assert_eq!(files(&folder.path().join("state/spill")), 0);
    }
}

/// Between runs nothing is closed twice, and what was spilled is there again.
#[tokio::test]
async fn spilled_state_goes_on_where_it_was() {
    let folder = TempDir::new().unwrap();
    for part in 0..2 {
        arrive(folder.path(), part, 150);
        let set = format!("{NOTHING} SET thalweg.epoch_rows = {};", 40 + part);
        check(DeviceChoice::Cpu, folder.path(), Source::Files, &set).await;
    }
}

/// Killed while files are there that a snapshot needs, and others that none does.
#[tokio::test]
async fn a_killed_run_loses_and_repeats_no_spilled_state() {
    let set = format!(
        "{NOTHING} SET thalweg.epoch_rows = 60; SET thalweg.epoch_ms = 0;
         SET thalweg.snapshot_ms = 0;"
    );
    for (source, point) in [
        (Source::Files, "spilled:3"),
        (Source::Files, "saved:2"),
        (Source::Random { partitions: 4, events: 200 }, "recorded:4"),
    ] {
        let folder = TempDir::new().unwrap();
        arrive(folder.path(), 0, 150);
        kill(folder.path(), point, &script(folder.path(), source, &set));
        if point != "spilled:3" {
            let state = folder.path().join("state");
            assert!(files(&state.join("spill")) > 0, "{point}: nothing was spilled");
            assert!(saved(&state) > 0, "{point}: no snapshot has spilled state");
        }
        check(DeviceChoice::Cpu, folder.path(), source, &set).await;
    }
}

/// However much of the state fits; the order of rows is as it comes, as that of any hash join.
#[tokio::test]
async fn rows_are_those_of_a_run_in_memory() {
    let source = TempDir::new().unwrap();
    arrive(source.path(), 0, 240);
    let mut before: Option<Vec<String>> = None;
    for (memory, spills) in [("1GB", false), ("1", true), ("20kB", true), ("100kB", true)] {
        let folder = TempDir::new().unwrap();
        let (given, most) = given(source.path(), folder.path(), memory).await;
        assert_eq!(most > 0, spills, "{memory}: {most} bytes were spilled at most");
        let before = before.get_or_insert_with(|| given.clone());
        for ((name, query), (got, want)) in queries().iter().zip(given.iter().zip(&*before)) {
            let same = sorted(got) == sorted(want);
            assert!(*name == "processed" || same, "{name}, {memory}\n{got}\n{want}\n{query}");
        }
    }
}

/// What every query gives to a file, and how many bytes one of them had spilled at most.
async fn given(source: &Path, folder: &Path, memory: &str) -> (Vec<String>, u64) {
    let script = script(source, Source::Files, "");
    let definitions = script.split("CREATE SINK").next().unwrap().replace(", store =", ", x =");
    let definitions: Vec<&str> = definitions.split(", x = '").collect();
    let mut text = format!(
        "SET thalweg.state_memory = '{memory}'; SET thalweg.batch_rows = 16;
         SET thalweg.epoch_rows = 48; SET thalweg.epoch_ms = 100000;\n"
    );
    for (nth, piece) in definitions.iter().enumerate() {
        let piece = if nth == 0 { piece } else { piece.split_once('\'').unwrap().1 };
        text.push_str(piece);
    }
    for (name, query) in queries() {
        let path = folder.join(name);
        text.push_str(&format!(
            "CREATE SINK {name}_out WITH (connector = 'file', format = 'csv', path = '{}');
             INSERT INTO {name}_out {query};\n",
            path.display()
        ));
    }
    let most = Arc::new(AtomicU64::new(0));
    let seen = most.clone();
    let observer = Observer(Arc::new(move |progress: &Progress| {
        let bytes = progress.state_operators.iter().map(|state| state.spilled_bytes).sum();
        seen.fetch_max(bytes, Ordering::Relaxed);
    }));
    observed(DeviceChoice::Cpu, folder, &text, Some(observer)).await.unwrap();
    let rows = queries().iter().map(|(name, _)| crate::stream::sunk(&folder.join(name))).collect();
    (rows, most.load(Ordering::Relaxed))
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).into_iter().flatten().count()
}

/// Files of spilled state in snapshots.
fn saved(state: &Path) -> usize {
    let snapshots = std::fs::read_dir(state.join("snapshots")).unwrap();
    let files = snapshots.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".arrows")).count()
}
