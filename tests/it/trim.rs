//! Records of many tiny epochs are merged: whatever is lost or joins then, results are those of the
//! batch, and nothing is given out twice.

use std::fmt::Write as _;
use std::path::Path;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;

use crate::support::pipelines::{at, kill, pipeline_on, sorted, write};

const GROUP: &str = "GROUP BY window_start, window_end, k";

/// Queries by name: what they give, and how.
fn queries() -> Vec<(&'static str, String, &'static str)> {
    let windows = |call: &str| {
        format!(
            "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s
             FROM TABLE({call}) {GROUP}"
        )
    };
    let tumble = |stream: &str| {
        windows(&format!("TUMBLE(TABLE {stream}, DESCRIPTOR(ts), INTERVAL '10' SECOND)"))
    };
    let hop = "HOP(TABLE asks, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND)";
    let session = format!(
        "SELECT window_start, window_end, k, count(*) AS n FROM TABLE(SESSION(TABLE bids
         PARTITION BY k, DESCRIPTOR(ts), INTERVAL '4' SECOND)) {GROUP}"
    );
    let join = "SELECT b.k, b.v, b.ts, a.v AS av, a.ts AS ats FROM bids b LEFT JOIN asks a
         ON b.k = a.k AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '3' SECOND";
    let updated = "SELECT k, count(*) AS n, sum(v) AS s FROM bids GROUP BY k";
    vec![
        ("tumble", tumble("bids"), ""),
        ("files", tumble("asks"), ""),
        ("session", session, ""),
        ("joined", join.to_string(), ""),
        ("updated", updated.to_string(), "EMIT ON UPDATE"),
        // Joins the pipeline later.
        ("hop", windows(hop), ""),
    ]
}

/// `bids` is a generator with a store, `asks` are files without one.
fn script(folder: &Path, events: u64, queries: &[(&str, String, &str)], set: &str) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let columns = "(k BIGINT, v BIGINT, ts TIMESTAMP,
        WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)";
    let mut text = format!(
        "{set} SET thalweg.epoch_ms = 0; SET thalweg.snapshot_ms = 0;
         CREATE STREAM bids {columns} WITH (connector = 'random', partitions = 2,
           events = {events}, rate = 3, 'fields.k.min' = '0', 'fields.k.max' = '3',
           'fields.v.min' = '0', 'fields.v.max' = '99', 'fields.ts.jitter' = '9 seconds',
           store = '{}');
         CREATE STREAM asks {columns} WITH (connector = 'file', path = '{}', format = 'csv');",
        path("lake/bids"),
        path("asks")
    );
    for (name, query, emit) in queries {
        write!(
            text,
            "CREATE SINK {name} WITH (connector = 'delta', path = '{}');
             INSERT INTO {name} {query} {emit};",
            path(&format!("lake/{name}"))
        )
        .unwrap();
    }
    for (name, query, _) in queries {
        write!(
            text,
            "CREATE EXTERNAL TABLE {name}_t STORED AS DELTA LOCATION '{}';
             SELECT * FROM {name}_t; {query};",
            path(&format!("lake/{name}"))
        )
        .unwrap();
    }
    text
}

/// A file of rows that are out of order.
fn arrive(folder: &Path, part: u64) {
    let mut text = String::from("k,v,ts\n");
    for row in part * 40..(part + 1) * 40 {
        writeln!(text, "{},{row},{}", row % 4, at(row / 3 + (row * 7) % 9)).unwrap();
    }
    write(&folder.join("asks"), &format!("{part}.csv"), &text);
}

const SET: &str = "SET thalweg.epoch_rows = 5; SET thalweg.journal_epochs = 4;";

/// Runs to the end; every result is that of the batch.
async fn check(folder: &Path, events: u64, queries: &[(&str, String, &str)]) {
    let text = script(folder, events, queries, SET);
    let answers = pipeline_on(DeviceChoice::Cpu, folder, &text).await.unwrap();
    for ((name, ..), pair) in queries.iter().zip(answers.chunks(2)) {
        let (got, want) = (sorted(&pair[0]), sorted(&pair[1]));
        assert!(got.len() > 1, "{name}: {} rows", got.len());
        assert_eq!(got, want, "{name}");
    }
}

/// Records in the journal, and the last epoch.
fn journal(folder: &Path) -> (usize, usize) {
    let text = std::fs::read_to_string(folder.join("state/epochs.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    (text.lines().count() - 1, last["epoch"].as_u64().unwrap() as usize)
}

fn commits(folder: &Path, table: &str) -> usize {
    std::fs::read_dir(folder.join("lake").join(table).join("_delta_log")).unwrap().count()
}

#[tokio::test]
async fn merged_epochs_are_read_again_as_they_were() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let all = queries();
    let first = &all[..5];
    arrive(folder, 0);
    for point in ["trimming:1", "trimmed:1", "trimming:2", "trimmed:2"] {
        kill(folder, point, &script(folder, 120, first, SET));
    }
    check(folder, 120, first).await;
    let (records, last) = journal(folder);
    assert!(last > 30 && records <= 10, "{records} records of {last} epochs");
    // From the record alone, and nothing twice.
    let state = folder.join("state/snapshots");
    let before: Vec<usize> = first.iter().map(|(name, ..)| commits(folder, name)).collect();
    std::fs::remove_dir_all(&state).unwrap();
    check(folder, 120, first).await;
    let after: Vec<usize> = first.iter().map(|(name, ..)| commits(folder, name)).collect();
    assert_eq!(before, after);
    // On from there, with a query that wants the history.
    arrive(folder, 1);
    check(folder, 200, first).await;
    check(folder, 200, &all).await;
    std::fs::remove_dir_all(&state).unwrap();
    arrive(folder, 2);
    check(folder, 260, &all).await;
    let (records, last) = journal(folder);
    assert!(last > 60 && records <= 12, "{records} records of {last} epochs");
    // Merged epochs whose last have no part of a stream that has a store.
    (3..7).for_each(|part| arrive(folder, part));
    kill(folder, "trimmed:3", &script(folder, 260, &all, SET));
    std::fs::remove_dir_all(&state).unwrap();
    check(folder, 260, &all).await;
    // A sink that has lost all is filled again.
    std::fs::remove_dir_all(folder.join("lake/files")).unwrap();
    check(folder, 260, &all).await;
}

/// An INSERT that is taken out and comes back has what it had, and the rest.
#[tokio::test]
async fn a_query_may_pause() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let all = queries();
    arrive(folder, 0);
    check(folder, 90, &all[..3]).await;
    arrive(folder, 1);
    check(folder, 180, &all[1..3]).await;
    arrive(folder, 2);
    check(folder, 240, &all[1..3]).await;
    check(folder, 240, &all[..3]).await;
}

/// A sink that has lost some of merged epochs is refused.
#[tokio::test]
async fn what_a_sink_lacks_of_merged_epochs_is_not_guessed() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let all = queries();
    arrive(folder, 0);
    check(folder, 120, &all[..1]).await;
    let log = folder.join("lake/tumble/_delta_log");
    let mut names: Vec<_> = std::fs::read_dir(&log).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    assert!(names.len() > 3, "{names:?}");
    names.iter().skip(2).for_each(|path| std::fs::remove_file(path).unwrap());
    let text = script(folder, 120, &all[..1], SET);
    let error = pipeline_on(DeviceChoice::Cpu, folder, &text).await.unwrap_err().to_string();
    assert!(error.contains("sink tumble holds this pipeline up to epoch"), "{error}");
}

/// Times of processing that no store has are in the record only.
#[tokio::test]
async fn times_of_processing_are_not_merged() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    arrive(folder, 0);
    for (stream, merged) in [("bids", true), ("asks", false)] {
        let query = format!(
            "SELECT k, count(*) AS n FROM TABLE(TUMBLE(DATA => (SELECT k, PROCTIME() AS p FROM
             {stream}), TIMECOL => DESCRIPTOR(p), SIZE => INTERVAL '1' HOUR)) GROUP BY
             window_start, window_end, k"
        );
        let name = format!("by_{stream}");
        let text = script(folder, 120, &[(&name, query, "")], SET);
        let state = folder.join("state");
        let _ = std::fs::remove_dir_all(&state);
        let _ = std::fs::remove_dir_all(folder.join("lake"));
        pipeline_on(DeviceChoice::Cpu, folder, &text).await.unwrap();
        let (records, last) = journal(folder);
        assert_eq!(records < last, merged, "{stream}: {records} records of {last} epochs");
    }
}
