//! State folders that a disk or a copy has damaged: what comes out is right, or refused, never
//! wrong.
//!
//! `THALWEG_DAMAGE_SEED` and `THALWEG_DAMAGE_RUNS` choose more damages than the few of each run.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use thalweg::generate::draw::Draw;

use super::support::{copy, files, number};

const SCRIPT: &str = "
    SET thalweg.epoch_rows = 500; SET thalweg.epoch_ms = 0; SET thalweg.snapshot_ms = 0;
    CREATE STREAM s (k BIGINT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
      WITH (connector = 'file', path = 'in', format = 'csv', store = 'store');
    CREATE SINK sums WITH (connector = 'file', path = 'sums', format = 'csv');
    CREATE SINK rows WITH (connector = 'file', path = 'rows', format = 'csv');
    INSERT INTO sums SELECT window_start, window_end, k, sum(v) AS total
      FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' HOUR))
      GROUP BY window_start, window_end, k;
    INSERT INTO rows SELECT k, v FROM s;";

const ROWS: u64 = 4000;

fn run(folder: &Path, kill: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.current_dir(folder);
    command.args(["run", "p.sql", "--until-end", "--state", "state", "--device", "cpu"]);
    command.envs(kill.map(|at| ("THALWEG_KILL_AT", at)));
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A pipeline that was killed in its midst, with open windows in two snapshots.
fn begun(folder: &Path) {
    std::fs::create_dir_all(folder.join("in")).unwrap();
    let mut text = "k,v,ts\n".to_string();
    for n in 0..ROWS {
        let (hour, minute, second) = (n / 3000, n / 60 % 50, n % 60);
        text += &format!("{},{n},2026-01-01T{hour:02}:{minute:02}:{second:02}\n", n % 7);
    }
    std::fs::write(folder.join("in/a.csv"), text).unwrap();
    std::fs::write(folder.join("p.sql"), SCRIPT).unwrap();
    let killed = run(folder, Some("saved:4"));
    assert!(killed.status.code().is_none(), "{}", told(&killed));
}

/// The rows in a sink, sorted.
fn sunk(folder: &Path, sink: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join(sink)).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|end| end == "csv"));
    let texts: Vec<String> = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let mut rows: Vec<String> =
        texts.iter().flat_map(|text| text.lines().skip(1)).map(str::to_string).collect();
    rows.sort();
    rows
}

/// Damages one file of a state folder; answers how.
fn damage(state: &Path, mut draw: Draw) -> String {
    let mut below = |limit: usize| draw.below(limit as u64) as usize;
    let all: Vec<_> = files(state).into_iter().filter(|path| !path.ends_with("lock")).collect();
    let path = &all[below(all.len())];
    let name = path.strip_prefix(state).unwrap().display().to_string();
    let mut bytes = std::fs::read(path).unwrap();
    let at = below(bytes.len());
    match below(5) {
        0 | 1 if !bytes.is_empty() => {
            bytes[at] ^= 1 << below(8);
            std::fs::write(path, bytes).unwrap();
            format!("a bit of byte {at} of {name}")
        }
        2 => {
            std::fs::write(path, &bytes[..at]).unwrap();
            format!("{name} is cut at byte {at}")
        }
        3 => {
            std::fs::remove_file(path).unwrap();
            format!("{name} is removed")
        }
        _ => {
            let end = path.extension();
            let alike: Vec<_> = all.iter().filter(|other| other.extension() == end).collect();
            let other = alike[below(alike.len())];
            let theirs = std::fs::read(other).unwrap();
            std::fs::write(path, theirs).unwrap();
            std::fs::write(other, bytes).unwrap();
            format!("{name} and {} are swapped", other.display())
        }
    }
}

#[test]
fn damaged_state_gives_what_is_right_or_is_refused() {
    let folder = TempDir::new().unwrap();
    let (begun_in, whole) = (folder.path().join("begun"), folder.path().join("whole"));
    begun(&begun_in);
    copy(&begun_in, &whole);
    let output = run(&whole, None);
    assert!(output.status.success(), "{}", told(&output));
    let want = ["sums", "rows"].map(|sink| sunk(&whole, sink));
    assert_eq!(want[1].len() as u64, ROWS);
    let (first, runs) = (number("THALWEG_DAMAGE_SEED", 1), number("THALWEG_DAMAGE_RUNS", 12));
    let mut right = 0;
    for seed in first..first + runs {
        let here = folder.path().join("here");
        copy(&begun_in, &here);
        let how = damage(&here.join("state"), Draw::new(seed, 0));
        let output = run(&here, None);
        let told = told(&output);
        match output.status.code() {
            Some(0) => {
                let got = ["sums", "rows"].map(|sink| sunk(&here, sink));
                assert!(got == want, "seed {seed}: {how}: wrong results\n{told}");
                right += 1;
            }
            Some(1 | 2) => assert!(!told.contains("internal error"), "seed {seed}: {how}: {told}"),
            other => panic!("seed {seed}: {how}: {other:?}\n{told}"),
        }
        std::fs::remove_dir_all(&here).unwrap();
    }
    assert!(runs < 12 || right > 0, "all of {runs} were refused");
}

/// A sum in the newest snapshot that is another is noticed, and the older one is taken.
#[test]
fn a_flipped_bit_of_a_snapshot_is_told() {
    let folder = TempDir::new().unwrap();
    begun(folder.path());
    let snapshots = files(&folder.path().join("state/snapshots"));
    let path = snapshots.iter().rfind(|path| path.extension().is_some_and(|end| end == "arrow"));
    let path = path.unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let output = run(folder.path(), None);
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("its checksum is not its own"), "{}", told(&output));
    assert_eq!(sunk(folder.path(), "rows").len() as u64, ROWS);
}

/// A project that is moved as a whole goes on.
#[test]
fn a_moved_project_goes_on() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    begun(&one);
    std::fs::rename(&one, &two).unwrap();
    let output = run(&two, None);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(sunk(&two, "rows").len() as u64, ROWS);
}

/// The rows of a table.
fn stored(folder: &Path, table: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.current_dir(folder).args(["sql", "--device", "cpu", "--format", "csv", "-c"]);
    let create = format!("CREATE EXTERNAL TABLE t STORED AS DELTA LOCATION '{table}'");
    let count = "SELECT count(*), count(DISTINCT v), min(v), max(v) FROM t";
    let output = command.arg(format!("{create}; {count}")).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_string()
}

/// A store and a sink that somebody has restored to an older version are filled again.
#[tokio::test]
async fn a_restored_table_is_filled_again() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir_all(folder.path().join("in")).unwrap();
    let rows = |from: u64, to: u64| -> String {
        let row = |n| format!("{},{n},2026-01-01T00:00:{:02}\n", n % 7, n % 60);
        std::iter::once("k,v,ts\n".to_string()).chain((from..to).map(row)).collect()
    };
    std::fs::write(folder.path().join("in/a.csv"), rows(0, 2000)).unwrap();
    let script = SCRIPT.replace("SET thalweg.epoch_rows = 500", "SET thalweg.epoch_rows = 250");
    let delta = "rows WITH (connector = 'delta', path = 'rows'";
    let script =
        script.replace("rows WITH (connector = 'file', path = 'rows', format = 'csv'", delta);
    let script =
        script.replace("WATERMARK FOR ts AS ts", "WATERMARK FOR ts AS ts - INTERVAL '1' DAY");
    std::fs::write(folder.path().join("p.sql"), script).unwrap();
    let output = run(folder.path(), None);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(stored(folder.path(), "rows"), "2000,2000,0,1999");
    for table in ["store", "rows"] {
        let url = url::Url::from_directory_path(folder.path().join(table)).unwrap();
        let table = deltalake::open_table(url).await.unwrap();
        table.restore().with_version_to_restore(3).await.unwrap();
    }
    assert!(!stored(folder.path(), "store").starts_with("2000,"));
    std::fs::write(folder.path().join("in/b.csv"), rows(2000, 3000)).unwrap();
    let output = run(folder.path(), None);
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("has restored version 3"), "{}", told(&output));
    for table in ["store", "rows"] {
        assert_eq!(stored(folder.path(), table), "3000,3000,0,2999", "{table}");
    }
}
