//! State folders, stores and sinks that earlier versions have left when they were killed, made by
//! `scripts/state-fixtures`: every one is resumed to the answers that stand beside it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use tempfile::TempDir;

use crate::support::files;

/// What stands in the archives for the folder of a fixture.
const MARK: &str = "@FOLDER@";

/// A test for each kill of `scripts/state-fixtures`, and the list of them in the order of names.
macro_rules! kills {
    ($($test:ident: $kill:literal,)*) => {
        const KILLS: &[&str] = &[$($kill),*];
        $(
            #[test]
            fn $test() {
                is_resumed($kill);
            }
        )*
    };
}

kills! {
    corrected_and_not_reconciled: "late/corrections-1",
    received_and_forgotten: "received/forgotten-1",
    received_and_recorded: "received/recorded-3",
    a_store_created: "shapes/created-1",
    a_finished_run: "shapes/finished",
    a_snapshot_of_spilled_state: "shapes/memory-saved-5",
    state_spilled: "shapes/memory-spilled-3",
    an_epoch_recorded: "shapes/recorded-4",
    an_epoch_repeated: "shapes/repeated-3",
    a_store_restored: "shapes/restored-1",
    a_snapshot_saved: "shapes/saved-4",
    an_epoch_stored: "shapes/stored-5",
    results_of_some_sinks: "shapes/sunk-17",
    a_record_trimmed: "shapes/trimmed-1",
    a_record_not_yet_trimmed: "shapes/trimming-1",
}

/// The archives there are, one a version.
fn archives() -> Vec<PathBuf> {
    let all = files(Path::new("tests/state"));
    let archives: Vec<PathBuf> =
        all.into_iter().filter(|path| path.to_string_lossy().ends_with(".tar.xz")).collect();
    assert!(!archives.is_empty(), "tests/state has no archive");
    archives
}

/// The files of an archive with their paths; of an empty folder the path ends with `/`.
fn unpacked(archive: &Path) -> Vec<(String, Vec<u8>)> {
    let file = std::fs::File::open(archive).unwrap();
    let mut tar = Vec::new();
    FileCompressionType::XZ.convert_read(file).unwrap().read_to_end(&mut tar).unwrap();
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    };
    let (mut entries, mut at) = (Vec::new(), 0);
    // Headers of 512 bytes, each with its file behind it in blocks of as many; an empty one ends.
    while tar[at] != 0 {
        let header = &tar[at..at + 512];
        let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
        let size = usize::from_str_radix(text(&header[124..136]).trim(), 8).unwrap();
        let folder = if header[156] == b'5' { "/" } else { "" };
        let path = match prefix.as_str() {
            "" => name + folder,
            prefix => format!("{prefix}/{name}{folder}"),
        };
        entries.push((path, tar[at + 512..at + 512 + size].to_vec()));
        at += 512 + size.next_multiple_of(512);
    }
    entries
}

/// Puts what an archive has below a path into a folder.
fn put(entries: &[(String, Vec<u8>)], below: &str, folder: &Path) {
    let here = folder.canonicalize().unwrap().display().to_string();
    for (path, data) in entries {
        let Some(path) = path.strip_prefix(&format!("{below}/")) else { continue };
        let path = folder.join(path);
        if path.to_string_lossy().ends_with('/') {
            std::fs::create_dir_all(path).unwrap();
            continue;
        }
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match std::str::from_utf8(data) {
            Ok(text) => std::fs::write(path, text.replace(MARK, &here)).unwrap(),
            Err(_) => std::fs::write(path, data).unwrap(),
        }
    }
}

/// The answers of a scenario or of one of its kills: names, and rows under a header.
fn golden(archive: &Path, of: &str) -> Vec<(String, String)> {
    let path = archive.to_string_lossy().replace(".tar.xz", ".golden");
    let text = std::fs::read_to_string(path).unwrap();
    let parts = text.split("# ").filter_map(|part| part.split_once('\n'));
    let parts = parts.filter_map(|(title, rows)| {
        let name = title.strip_prefix(of)?.strip_prefix(' ')?;
        Some((name.to_string(), rows.to_string()))
    });
    parts.collect()
}

fn thalweg(folder: &Path, args: &[&str], input: &[u8]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.current_dir(folder).args(args).args(["--device", "cpu"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let written = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {}\n{told}", output.status);
    written.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Resumes a pipeline to the end.
fn resume(folder: &Path) {
    let input = std::fs::read(folder.join("stdin.csv")).unwrap_or_default();
    let run = ["run", "p.sql", "--until-end", "--state", "state", "--set", "epoch_rows=1000000"];
    thalweg(folder, &run, &input);
}

/// What the queries of a script answer is what is wanted, the rows of each in any order.
fn compare(folder: &Path, script: &str, want: &[(String, String)], what: &str) {
    let output = thalweg(folder, &["sql", "-f", script, "--format", "csv"], b"");
    let results: Vec<&str> = output.split("\n\n").collect();
    for ((name, want), result) in want.iter().zip(&results) {
        let (header, rows) = result.split_once('\n').unwrap_or((result, ""));
        let mut rows: Vec<&str> = rows.lines().collect();
        rows.sort_unstable();
        let want: Vec<&str> = want.lines().collect();
        assert_eq!(want[0], header, "{what}, {name}");
        let lacking: Vec<_> = want[1..].iter().filter(|row| !rows.contains(row)).collect();
        let others: Vec<_> = rows.iter().filter(|row| !want[1..].contains(row)).collect();
        assert!(rows == want[1..], "{what}, {name}: it lacks {lacking:#?} and has {others:#?}");
    }
    assert_eq!(want.len(), results.len(), "{what}: results");
}

/// The results in a folder: every file with its size.
fn held(folder: &Path) -> Vec<(PathBuf, u64)> {
    let folders = ["lake", "out"].map(|name| folder.join(name));
    let all = folders.iter().filter(|folder| folder.exists()).flat_map(|folder| files(folder));
    all.map(|path| (path.clone(), path.metadata().unwrap().len())).collect()
}

/// Resumes what a kill has left, of every version, and compares all results.
fn is_resumed(kill: &str) {
    let (scenario, _) = kill.split_once('/').unwrap();
    for archive in archives() {
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        let what = format!("{}, {kill}", archive.display());
        let entries = unpacked(&archive);
        put(&entries, kill, folder);
        put(&entries, &format!("{scenario}/later"), folder);
        assert!(folder.join("state").exists(), "{what}: not in the archive");
        let own = if scenario == "received" { kill } else { scenario };
        let want = golden(&archive, own);
        if scenario == "shapes" {
            // What is stored, and the rest of the source.
            compare(folder, "batch.sql", &want[..want.len() - 2], &format!("{what}, as a batch"));
        }
        resume(folder);
        compare(folder, "sinks.sql", &want, &what);
        if scenario == "shapes" {
            let rejected = std::fs::read_to_string(folder.join("state/bids.rejected.jsonl"));
            assert_eq!(rejected.unwrap().lines().count(), 1, "{what}: rejected rows");
            let before = held(folder);
            resume(folder);
            assert_eq!(before, held(folder), "{what}: a run without new rows has written");
        }
    }
}

/// The answers are those of today's engine too, by a batch and by a run that nothing interrupts.
#[test]
fn the_answers_are_those_of_an_uninterrupted_run() {
    for archive in archives() {
        let mut entries = unpacked(&archive);
        let kill = |path: &str| path.splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
        let mut kills: Vec<String> = entries.iter().map(|(path, _)| kill(path)).collect();
        kills.retain(|kill| !kill.ends_with("/later"));
        kills.sort();
        kills.dedup();
        assert_eq!(kills, KILLS, "{}", archive.display());
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        let made = ["state/", "out/", "lake/bids/", "lake/ticks/"];
        let made = |path: &str| {
            let rest = path.strip_prefix("shapes/finished/").unwrap_or_default();
            let sink = rest.starts_with("lake/") && !rest.starts_with("lake/names/");
            sink || made.iter().any(|folder| rest.starts_with(folder))
        };
        entries.retain(|(path, _)| !made(path));
        put(&entries, "shapes/finished", folder);
        put(&entries, "shapes/later", folder);
        let want = golden(&archive, "shapes");
        // The last two are stores.
        compare(folder, "batch.sql", &want[..want.len() - 2], "the batch");
        resume(folder);
        compare(folder, "sinks.sql", &want, "an uninterrupted run");
    }
}
