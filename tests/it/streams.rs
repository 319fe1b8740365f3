//! Pipelines in files, `tests/streams/*.sql`: each gives its expected rows, and those of the batch
//! over the stored history, in every variant. `tests/streams/README.md` tells how to add one.

mod case;
mod golden;
mod variants;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tempfile::TempDir;
use thalweg::config::{DeviceChoice, Options};
use thalweg::sql::variables::{Values, substitute};
use thalweg::sql::{Engine, Kind, Outcome};
use thalweg::stream::progress::{Observer, Progress};

use crate::support;
use crate::support::pipelines::Run;
use case::{Case, cases};
use golden::{Results, difference};
use variants::{NAMES as VARIANTS, Source, Variant};

/// Streams that generators can make as well: the seed, and of how many events one is a row.
const GENERATED: [(&str, u64, usize); 2] = [("bids", 7, 1), ("asks", 70, 2)];

/// Runs every file in the variants that `variants` makes of it, then fails with all that differ.
async fn run_all(source: Source, variants: fn(&Case, Source) -> Vec<Variant>) {
    let cases = cases();
    let mut failed = Vec::new();
    for case in cases.iter().filter(|case| case.refused.is_empty() && case.has(source)) {
        for variant in variants(case, source) {
            if case.skips(variant.name) {
                continue;
            }
            if variant.device != DeviceChoice::Cpu
                && support::engine_on(DeviceChoice::Gpu).is_none()
            {
                return;
            }
            let begun = Instant::now();
            let checked = Box::pin(check(case, &variant)).await;
            println!("{} ms: {}, {variant}", begun.elapsed().as_millis(), case.path.display());
            if let Err(error) = checked {
                failed.push(format!("{}, {variant}:\n{error}", case.path.display()));
            }
        }
    }
    assert!(failed.is_empty(), "{} failures\n\n{}", failed.len(), failed.join("\n"));
}

impl Case {
    /// Whether the file can take its rows from there.
    fn has(&self, source: Source) -> bool {
        let generated = GENERATED.iter().any(|(name, ..)| self.asks_for(name));
        source == Source::Files || (generated && !self.skips("partitions"))
    }
}

/// The folders of `tests/streams/inputs`, each the files of a stream.
fn inputs() -> Vec<(String, Vec<PathBuf>)> {
    let folders = std::fs::read_dir(Path::new(case::FOLDER).join("inputs")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    folders.map(|path| (name(&path), support::files(&path))).collect()
}

/// What progress has told in a run.
#[derive(Default)]
struct Seen {
    /// Bytes of state on the disk, at most.
    spilled: u64,
    /// Sides of fragments, and why these.
    sides: BTreeSet<(String, String)>,
}

impl Seen {
    fn add(&mut self, progress: &Progress) {
        let bytes = progress.state_operators.iter().map(|state| state.spilled_bytes).sum();
        self.spilled = self.spilled.max(bytes);
        let sides = progress.fragments.iter().map(|part| (part.side.clone(), part.reason.clone()));
        self.sides.extend(sides);
    }

    fn check(&self, case: &Case, variant: &Variant) -> Result<(), String> {
        let turns = ["cpu", "gpu"].map(|side| {
            let told = (side.to_string(), "one side after the other".to_string());
            self.sides.contains(&told)
        });
        match variant.spills {
            // One that is killed while it spills has done so, and may have left no more to do.
            Some(true) if self.spilled == 0 && variant.kills.is_empty() => {
                Err("  nothing was spilled".to_string())
            }
            Some(false) if self.spilled > 0 => {
                Err(format!("  {} bytes were spilled", self.spilled))
            }
            _ if case.sides && variant.name == "alternating" && turns != [true; 2] => {
                Err(format!("  expected both sides in turns, found {:?}", self.sides))
            }
            _ => Ok(()),
        }
    }
}

/// Where one check has its files.
struct Place<'a> {
    case: &'a Case,
    variant: &'a Variant,
    folder: TempDir,
}

impl Place<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self) -> String {
        format!("{} {}", self.variant.set, self.case.text)
    }

    /// What the file's `${name}` stand for in the run of a number, from 1.
    fn values(&self, output: &Path, run: usize) -> Values {
        let mut values = Values::new();
        let mut give = |name: &str, value: String| {
            if self.case.asks_for(name) {
                values.insert(name.to_string(), value);
            }
        };
        give("output", output.display().to_string());
        give("store", self.path("store").display().to_string());
        for (name, _) in inputs() {
            let path = self.path("inputs").join(&name);
            give(&name, format!("connector = 'file', path = '{}'", path.display()));
        }
        if self.variant.source == Source::Partitions {
            for (name, seed, share) in GENERATED {
                give(name, generator(seed, self.variant.events * run / share));
            }
        }
        values
    }

    /// The files of a run, from 1, and of those before it.
    fn arrive(&self, run: usize) {
        for (name, files) in inputs().into_iter().filter(|(name, _)| self.case.asks_for(name)) {
            let folder = self.path("inputs").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            // Some in the first run, all in the last.
            for file in &files[..(files.len() * run).div_ceil(self.variant.runs)] {
                let to = folder.join(file.file_name().unwrap());
                if !to.exists() {
                    std::fs::copy(file, to).unwrap();
                }
            }
        }
    }

    /// Runs it up to each kill, then to the end; answers what its sinks hold.
    async fn run(&self, run: usize) -> Result<Results, String> {
        let (folder, text) = (self.folder.path(), self.text());
        let output = self.path("output");
        let new = || {
            let values = self.values(&output, run);
            Run { values, ..Run::new(self.variant.device, folder, &text) }
        };
        for (nth, point) in self.variant.kills.iter().filter(|_| run == 1).enumerate() {
            if new().until_killed(point) {
                self.spilled_at(point)?;
            } else if nth == 0 {
                return Err(format!("  the run has ended without passing {point}"));
            }
            // What the first run leaves to do is for the clock to say: it may be nothing.
        }
        let seen = Arc::<Mutex<Seen>>::default();
        let observed = seen.clone();
        let observer = Observer(Arc::new(move |progress: &Progress| {
            observed.lock().unwrap().add(progress);
        }));
        let done = Run { observer: Some(observer), ..new() }.until_end().await;
        done.map_err(|error| format!("  {error}"))?;
        seen.lock().unwrap().check(self.case, self.variant)?;
        match count(&self.path("state/spill"), "") {
            0 => Ok(golden::written(&output, self.case.ordered).await),
            files => Err(format!("  {files} files of spilled state are left")),
        }
    }

    /// A run that spills has left files, and snapshots name some of the first.
    fn spilled_at(&self, point: &str) -> Result<(), String> {
        if self.variant.spills != Some(true) {
            return Ok(());
        }
        let state = self.path("state");
        let files = count(&state.join("spill"), "");
        let saved = count(&state.join("snapshots"), ".arrows");
        match files == 0 || (saved == 0 && point == "spilled:3") {
            true => Err(format!("  at {point} {files} files are spilled and {saved} in snapshots")),
            false => Ok(()),
        }
    }

    /// The rows of the same text as a batch over what streams have stored.
    async fn batch(&self, run: usize) -> Result<Results, String> {
        let output = self.path(&format!("batch{run}"));
        let told = |error: thalweg::error::Error| format!("  as a batch: {error}");
        let options = Options { device: DeviceChoice::Cpu, ..Options::default() };
        let engine = Engine::new(options).map_err(told)?.with_state(Some(self.path("state")));
        let text = substitute(&self.case.text, &self.values(&output, run)).map_err(told)?;
        for statement in engine.parse(&text).map_err(told)? {
            if matches!(statement.kind, Kind::Check { .. }) {
                continue;
            }
            if let Outcome::Rows(rows) = Box::pin(engine.execute(statement)).await.map_err(told)? {
                futures::TryStreamExt::try_collect::<Vec<_>>(rows)
                    .await
                    .map_err(|error| format!("  as a batch: {error}"))?;
            }
        }
        Ok(golden::written(&output, false).await)
    }
}

/// The watermark before each stored row is the largest time before it in its own partition, less
/// the delay; some rows are late by it, in every partition.
async fn clocks(store: &Path) -> Result<(), String> {
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let sql = format!(
        "SELECT sum(CASE WHEN __watermark IS DISTINCT FROM w THEN 1 ELSE 0 END) AS wrong,
           count(DISTINCT CASE WHEN ts <= w THEN __partition END) AS late, max(__partition) + 1
         FROM (SELECT *, max(ts) OVER (PARTITION BY __partition ORDER BY __offset ROWS BETWEEN
           UNBOUNDED PRECEDING AND 1 PRECEDING) - INTERVAL '3' SECOND AS w FROM '{}')",
        store.display()
    );
    let found = support::rows(&engine, &sql).await.rows;
    match found == [["0", "4", "4"]] {
        true => Ok(()),
        false => {
            Err(format!("  wrong watermarks, partitions with late rows, partitions: {found:?}"))
        }
    }
}

/// Files below a folder whose names end so.
fn count(folder: &Path, ending: &str) -> usize {
    if !folder.is_dir() {
        return 0;
    }
    support::files(folder).iter().filter(|path| path.to_string_lossy().ends_with(ending)).count()
}

fn generator(seed: u64, events: usize) -> String {
    format!(
        "connector = 'random', partitions = 4, events = {events}, rate = 3, seed = {seed},
         'fields.k.min' = '0', 'fields.k.max' = '3', 'fields.v.min' = '0', 'fields.v.max' = '99',
         'fields.f.max' = '1000', 'fields.ts.jitter' = '9 seconds'"
    )
}

/// Errors: what differs, sink by sink.
async fn check(case: &Case, variant: &Variant) -> Result<(), String> {
    let place = Place { case, variant, folder: TempDir::new().unwrap() };
    let as_expected =
        |expected: &Results, found: &Results, what: &str| match difference(expected, found) {
            Some(text) => Err(format!("  expected (-) is {what}\n{text}")),
            None => Ok(()),
        };
    for run in 1..=variant.runs {
        place.arrive(run);
        let found = place.run(run).await?;
        if !case.skips("batch") {
            // A batch has another order, where there is none.
            let (batch, mut rows) = (place.batch(run).await?, found.clone());
            rows.values_mut().for_each(|rows| rows.sort());
            as_expected(&batch, &rows, "the batch over the stored history")?;
        }
        let few = found.iter().find(|(_, rows)| rows.len() < 2 && run == variant.runs);
        if let Some((sink, _)) = few {
            return Err(format!("  sink {sink}: expected at least two rows"));
        }
        let stored = place.path("store/bids");
        if variant.source == Source::Partitions && variant.name == "tiny" && stored.is_dir() {
            clocks(&stored).await?;
        }
        if variant.source == Source::Files && variant.runs == 1 && !case.skips("golden") {
            if updates(variant) {
                golden::write(&case.golden(), &found);
            }
            as_expected(&golden::read(&case.golden())?, &found, "the golden file")?;
        }
        if variant.runs > 1 && run == variant.runs {
            as_expected(&found, &place.run(run).await?, "the run before, nothing is new")?;
        }
    }
    Ok(())
}

/// Whether the expected rows are written anew, by the plainest run.
fn updates(variant: &Variant) -> bool {
    variant.name == "whole" && support::number("THALWEG_STREAMS_UPDATE", 0) > 0
}

/// What does not run continuously says why, and where it stands.
#[tokio::test]
async fn refused() {
    let mut failed = Vec::new();
    for case in cases() {
        for refused in &case.refused {
            let folder = TempDir::new().unwrap();
            let variant = variants::whole(&case, Source::Files).remove(0);
            let place = Place { case: &case, variant: &variant, folder };
            place.arrive(1);
            let values = place.values(&place.path("output"), 1);
            let run =
                Run { values, ..Run::new(variant.device, place.folder.path(), &refused.text) };
            let told = match run.until_end().await {
                Ok(_) => "no error".to_string(),
                Err(error) => error.to_string(),
            };
            let line = match refused.placed {
                true => format!("pipe.sql: line {}: ", refused.line),
                false => String::new(),
            };
            let noise = ["a bug", "MonthDayNano"].iter().any(|noise| told.contains(noise));
            if noise || !told.contains(&refused.message) || !told.contains(&line) {
                let (path, message) = (case.path.display(), &refused.message);
                failed.push(format!(
                    "{path}:{}: expected '{line}.. {message} ..', found {told}",
                    refused.line
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

mod files {
    use super::{Source::Files, run_all, variants};

    #[tokio::test]
    async fn whole() {
        run_all(Files, variants::whole).await;
    }

    #[tokio::test]
    async fn tiny() {
        run_all(Files, variants::tiny).await;
    }

    #[tokio::test]
    async fn killed() {
        run_all(Files, variants::killed).await;
    }

    #[tokio::test]
    async fn spilled() {
        run_all(Files, variants::spilled).await;
    }

    #[tokio::test]
    async fn grown() {
        run_all(Files, variants::grown).await;
    }

    #[tokio::test]
    async fn gpu() {
        run_all(Files, variants::gpu).await;
    }

    #[tokio::test]
    async fn alternating() {
        run_all(Files, variants::alternating).await;
    }
}

mod partitions {
    use super::{Source::Partitions, run_all, variants};

    #[tokio::test]
    async fn tiny() {
        run_all(Partitions, variants::tiny).await;
    }

    #[tokio::test]
    async fn killed() {
        run_all(Partitions, variants::killed).await;
    }

    #[tokio::test]
    async fn spilled() {
        run_all(Partitions, variants::spilled).await;
    }

    #[tokio::test]
    async fn grown() {
        run_all(Partitions, variants::grown).await;
    }

    #[tokio::test]
    async fn gpu() {
        run_all(Partitions, variants::gpu).await;
    }

    #[tokio::test]
    async fn alternating() {
        run_all(Partitions, variants::alternating).await;
    }
}
