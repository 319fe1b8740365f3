//! The ways in which each file is run: whole, in tiny epochs, killed, spilled, on each side.

use thalweg::config::DeviceChoice;

use super::case::Case;
use crate::support;

/// What `--skip` may name: ways of running, and what results are compared with.
pub const NAMES: [&str; 10] = [
    "whole",
    "tiny",
    "killed",
    "spilled",
    "grown",
    "gpu",
    "alternating",
    "partitions",
    "golden",
    "batch",
];

/// Where the rows of streams come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `tests/streams/inputs`, a folder for each stream, of one partition.
    Files,
    /// Generators of four partitions, whose rows are out of order and partly late, as in the files.
    Partitions,
}

/// One way of running a file.
#[derive(Debug, Clone)]
pub struct Variant {
    pub name: &'static str,
    pub device: DeviceChoice,
    pub source: Source,
    /// Rows that generators make.
    pub events: usize,
    /// Settings, put before the file's first line.
    pub set: String,
    /// Where the process is killed, once after another, before the run to the end.
    pub kills: Vec<&'static str>,
    /// Runs to the end, each with more rows than the one before.
    pub runs: usize,
    /// Whether state waits on the disk; `None` where it may.
    pub spills: Option<bool>,
}

/// Each epoch is committed and saved by itself.
const EAGER: &str = "SET thalweg.epoch_ms = 0; SET thalweg.snapshot_ms = 0;";

/// Points one behind another: the second run is killed on its way back, or further on.
const KILLS: [&[&str]; 7] = [
    &["recorded:3", "repeated:1"],
    &["sunk:2", "repeated:1"],
    &["saved:2", "recorded:2"],
    &["sunk:1", "recorded:1"],
    // These need a stream with a store.
    &["stored:2", "sunk:1"],
    &["recorded:2", "restored:1"],
    &["created:1", "stored:2"],
];

/// Of them, those without a store.
const KILLS_WITHOUT_STORE: usize = 4;

/// While files are there that a snapshot needs, and others that none does.
const KILLS_OF_SPILLED: [&[&str]; 3] = [&["spilled:3"], &["spilled:3", "saved:1"], &["spilled:2"]];

/// The round of kill points begins elsewhere with another seed.
fn seed() -> usize {
    usize::try_from(support::number("THALWEG_STREAMS_SEED", 0)).unwrap()
}

/// Whether all kill points are tried with each file, not one after the other from file to file.
fn all() -> bool {
    support::number("THALWEG_STREAMS_ALL", 0) > 0
}

/// Of several things the one whose turn it is for a file, or all of them.
fn turns<T: Clone>(case: &Case, step: usize, things: &[T]) -> Vec<T> {
    match all() {
        true => things.to_vec(),
        false => vec![things[(case.nth + step + seed()) % things.len()].clone()],
    }
}

impl Variant {
    fn new(name: &'static str, source: Source, set: impl Into<String>) -> Self {
        Self {
            name,
            device: DeviceChoice::Cpu,
            source,
            events: 120,
            set: set.into(),
            kills: Vec::new(),
            runs: 1,
            spills: None,
        }
    }

    fn on(self, device: DeviceChoice) -> Self {
        Self { device, ..self }
    }

    fn killed_at(&self, chains: Vec<&'static [&'static str]>) -> Vec<Self> {
        chains.into_iter().map(|kills| Self { kills: kills.to_vec(), ..self.clone() }).collect()
    }
}

/// One epoch.
pub fn whole(_case: &Case, source: Source) -> Vec<Variant> {
    let set = "SET thalweg.epoch_ms = 60000;";
    vec![Variant { spills: Some(false), ..Variant::new("whole", source, set) }]
}

/// Batches of so few rows, in epochs that are little larger or as small.
pub fn tiny(case: &Case, source: Source) -> Vec<Variant> {
    let variant = |rows: &usize| {
        let epoch = if *rows == 1 { 20 } else { *rows };
        let set =
            format!("SET thalweg.batch_rows = {rows}; SET thalweg.epoch_rows = {epoch}; {EAGER}");
        Variant::new("tiny", source, set)
    };
    // These take a minute a file.
    let smallest: &[usize] = if all() { &[1, 2] } else { &[] };
    let sizes = turns(case, source as usize, &case.batch_rows);
    smallest.iter().chain(&sizes).map(variant).collect()
}

/// Settings for some epochs to be killed in, of two batches.
fn epochs(case: &Case) -> String {
    let (batch, epoch) = (case.epoch_rows.div_ceil(2), case.epoch_rows);
    format!("SET thalweg.batch_rows = {batch}; SET thalweg.epoch_rows = {epoch}; {EAGER}")
}

/// Killed twice.
pub fn killed(case: &Case, source: Source) -> Vec<Variant> {
    let set = epochs(case);
    let is_stored = case.text.contains(" store = ");
    let known = if is_stored { KILLS.len() } else { KILLS_WITHOUT_STORE };
    let chains = turns(case, source as usize * 3, &KILLS[..known]);
    Variant::new("killed", source, set).killed_at(chains)
}

/// With so little memory for state that all of it waits on the disk, killed as well; and with as
/// much that a part does.
pub fn spilled(case: &Case, source: Source) -> Vec<Variant> {
    let set = |memory: &str| format!("SET thalweg.state_memory = '{memory}'; {}", epochs(case));
    let none = Variant::new("spilled", source, set("1"));
    let none = Variant { spills: (case.spills > 0).then_some(true), ..none };
    let mut variants = match case.spills {
        0 => vec![none],
        1 | 2 => none.killed_at(vec![&["spilled:1"]]),
        _ => none.killed_at(turns(case, source as usize, &KILLS_OF_SPILLED)),
    };
    if source == Source::Files {
        let some = turns(case, 0, &["2kB", "6kB", "20kB"]);
        variants.extend(some.into_iter().map(|some| Variant::new("spilled", source, set(some))));
    }
    variants
}

/// Rows arrive between runs, each of which closes its windows.
pub fn grown(_case: &Case, source: Source) -> Vec<Variant> {
    let set = format!("SET thalweg.epoch_rows = 40; {EAGER}");
    vec![Variant { runs: 3, events: 60, ..Variant::new("grown", source, set) }]
}

/// On the device, killed in the middle.
pub fn gpu(case: &Case, source: Source) -> Vec<Variant> {
    let strict = if case.strict { "SET thalweg.strict = true;" } else { "" };
    let set = format!(
        "SET thalweg.batch_rows = 40; SET thalweg.epoch_rows = 60; SET thalweg.epoch_ms = 0;
         {strict}"
    );
    Variant::new("gpu", source, set).on(DeviceChoice::Gpu).killed_at(vec![&["sunk:1"]])
}

/// The host and the device take turns, batch by batch; killed in the middle where progress need not
/// tell of both sides, as a killed run tells nothing.
pub fn alternating(case: &Case, source: Source) -> Vec<Variant> {
    let set = format!(
        "SET thalweg.auto = 'alternating'; SET thalweg.batch_rows = 32;
         SET thalweg.epoch_rows = 64; {EAGER}"
    );
    let kills: &[&str] = if case.sides { &[] } else { &["sunk:1"] };
    Variant::new("alternating", source, set).on(DeviceChoice::Auto).killed_at(vec![kills])
}

impl std::fmt::Display for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let set: Vec<&str> = self.set.split_whitespace().collect();
        write!(f, "{} over {:?} ({}", self.name, self.source, set.join(" "))?;
        match self.kills.as_slice() {
            [] => write!(f, ")"),
            kills => write!(f, " killed at {})", kills.join(", then ")),
        }
    }
}
