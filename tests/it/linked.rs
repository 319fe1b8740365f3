//! The programs that fragments link, at each tier, as the twin plays them: what compiles kernels
//! for other systems, or reads their code, takes them from here.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use arrow::datatypes::DataType;
use naga::Module;
use naga::valid::{Capabilities as Caps, ModuleInfo, ValidationFlags, Validator};

use thalweg::device::around::{Answer, Around};
use thalweg::device::{self, Capabilities, Player, Tier};
use thalweg::kernel::KERNELS;
use thalweg::record::{Command, Program, Recording};
use thalweg::run::SlotLimits;

use super::parity::data::{some_types, table};
use super::parity::groups::shifting;
use super::parity::joins::{KINDS, both, side};
use super::parity::play::{Planned, Setup, Tables, plan};
use super::parity::{block_on, queries_of};

pub const TIERS: [Tier; 5] = [Tier::T0, Tier::T1, Tier::T2, Tier::T3, Tier::T4];

/// Rows of each table.
const ROWS: usize = 300;

/// Types of every representation and store; `i64` is beside each of them.
const TYPES: [&str; 8] = ["bool", "i32", "u64", "f32", "f64", "decimal9", "decimal38", "string"];

/// A program, of all tiers that have the same text.
pub struct Linked {
    pub tiers: Vec<Tier>,
    /// The stem of the kernel's file.
    pub kernel: &'static str,
    pub program: Arc<Program>,
    /// The parsed text, valid by what the lowest of the tiers allows.
    pub module: Module,
    pub info: ModuleInfo,
}

impl Linked {
    fn new(program: Arc<Program>, tiers: Vec<Tier>) -> Self {
        let (module, info) = parse(&program.code.wgsl, allowed(tiers[0]))
            .unwrap_or_else(|error| panic!("{} at {tiers:?}: {error}", program.label));
        Self { tiers, kernel: kernel_of(&program), program, module, info }
    }

    /// The lowest tier that has this text.
    pub fn tier(&self) -> Tier {
        self.tiers[0]
    }

    /// The program's label and its tiers, for failures.
    pub fn place(&self) -> String {
        format!("{} at {:?}", self.program.label, self.tiers)
    }
}

/// What WGSL of a tier may use: the features of the tier, as naga has them.
pub fn allowed(tier: Tier) -> Caps {
    let added = [
        (Tier::T1, Caps::SUBGROUP),
        (Tier::T2, Caps::SHADER_INT64),
        (Tier::T3, Caps::SHADER_INT64_ATOMIC_ALL_OPS),
        (Tier::T4, Caps::FLOAT64),
    ];
    let added = added.into_iter().filter(|(from, _)| *from <= tier);
    added.fold(Caps::empty(), |all, (_, caps)| all | caps)
}

/// Parses and validates.
pub fn parse(wgsl: &str, allowed: Caps) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|error| error.emit_to_string(wgsl))?;
    let info = validated(&module, allowed)?;
    Ok((module, info))
}

pub fn validated(module: &Module, allowed: Caps) -> Result<ModuleInfo, String> {
    let mut validator = Validator::new(ValidationFlags::all(), allowed);
    validator.validate(module).map_err(|error| format!("{:?}", error.into_inner()))
}

/// The kernel of a program: the one of its parts that is one.
pub fn kernel_of(program: &Program) -> &'static str {
    let names = program.parts.iter().map(|(_, name)| name.as_str());
    let mut kernels = names.filter_map(|name| KERNELS.iter().find(|kernel| kernel.name == name));
    kernels.next().unwrap_or_else(|| panic!("no kernel in {}", program.label)).name
}

/// Plays on the twin, and keeps the programs it is given.
struct Collector {
    twin: Arc<dyn Player>,
    programs: Mutex<Vec<Arc<Program>>>,
}

impl Around for Collector {
    fn inner(&self) -> &Arc<dyn Player> {
        &self.twin
    }

    fn ahead(&self, programs: Vec<Arc<Program>>) {
        self.programs.lock().unwrap().extend(programs);
    }

    fn play(&self, recording: Recording) -> Answer<'_> {
        let mut programs = self.programs.lock().unwrap();
        for command in &recording.commands {
            if let Command::Dispatch { program, .. } = command {
                programs.push(program.clone());
            }
        }
        self.twin.submit(recording)
    }
}

/// Queries that reach every kernel with every kind of key and accumulator, planned once.
async fn planned() -> Vec<Planned> {
    let mut planned = Vec::new();
    for (_, data_type) in some_types(&TYPES) {
        let (tables, queries) = queries_of(&data_type, ROWS);
        planned.extend(plan(&tables, &queries).await);
    }
    let sides: &Tables = &[("b", side(60, 1)), ("p", side(ROWS, 2))];
    let mut queries = Vec::new();
    for (kind, columns) in KINDS {
        queries.extend(both(&format!("b {kind} JOIN p ON b.k = p.k AND b.s = p.s"), columns));
    }
    // Many groups, so that tables grow and rows are played again; beside a tail; times.
    queries.extend([
        "SELECT b.k, p.x, count(*), sum(p.y) FROM b LEFT JOIN p ON p.k = b.k AND p.x > b.x
         GROUP BY b.k, p.x"
            .into(),
        "SELECT y, x, count(*), max(y) FROM p GROUP BY y, x".into(),
    ]);
    planned.extend(plan(sides, &queries).await);
    let more: &Tables = &[("t", table(&DataType::Int64, ROWS, 11)), ("f", shifting(ROWS))];
    let queries = [
        "SELECT k, w, count(*), sum(v) FROM t GROUP BY k, w",
        "SELECT b, sum(v), avg(v) FROM f GROUP BY b",
        "SELECT k, sum(v), min(v) FROM f GROUP BY k",
        // As much workgroup memory as there is.
        "SELECT n / 200000 AS d, count(*), sum(v), sum(w), sum(u), min(v), max(w) FROM t
         GROUP BY n / 200000",
    ];
    planned.extend(plan(more, &queries.map(String::from)).await);
    planned
}

/// The programs of a player of these capabilities.
async fn programs_of(planned: &[Planned], capabilities: Capabilities) -> Vec<Arc<Program>> {
    let twin: Arc<dyn Player> = device::twin_with(capabilities);
    let collector = Arc::new(Collector { twin, programs: Mutex::default() });
    let player: Arc<dyn Player> = collector.clone();
    // Tables that grow.
    let limits = SlotLimits { group_entries: 16, ..Setup::default().limits };
    let setup = Setup { limits, ..Setup::default() };
    for planned in planned {
        let played = planned.play(&player, ROWS, &setup).await;
        played.unwrap_or_else(|error| panic!("{error}\nin {}", planned.sql));
    }
    std::mem::take(&mut *collector.programs.lock().unwrap())
}

/// The programs of all tiers, on an adapter of the least workgroup memory that one may have.
pub fn programs() -> &'static [Linked] {
    static ALL: LazyLock<Vec<Linked>> = LazyLock::new(|| {
        let mut found: Vec<(Arc<Program>, Vec<Tier>)> = Vec::new();
        let mut places = HashMap::new();
        block_on(async {
            let planned = planned().await;
            for tier in TIERS {
                let max_workgroup_bytes = LEAST_WORKGROUP_BYTES;
                let twin = device::twin_capabilities();
                let capabilities = Capabilities { tier, max_workgroup_bytes, ..twin };
                for program in programs_of(&planned, capabilities).await {
                    let place = *places.entry(program.code.clone()).or_insert_with(|| {
                        found.push((program, Vec::new()));
                        found.len() - 1
                    });
                    let tiers = &mut found[place].1;
                    if tiers.last() != Some(&tier) {
                        tiers.push(tier);
                    }
                }
            }
        });
        found.into_iter().map(|(program, tiers)| Linked::new(program, tiers)).collect()
    });
    &ALL
}

/// What WebGPU has every adapter offer.
pub const LEAST_WORKGROUP_BYTES: u32 = 16 << 10;

/// Nothing is checked that is not there.
#[test]
fn every_kernel_is_linked_at_each_tier() {
    for tier in TIERS {
        for kernel in KERNELS {
            let of = |linked: &Linked| linked.tiers.contains(&tier) && linked.kernel == kernel.name;
            assert!(programs().iter().any(of), "no program of {} at {tier:?}", kernel.name);
        }
    }
    // The variants of kernels that are rare.
    for label in ["replay", "tail", "round 2", "write", "count"] {
        assert!(programs().iter().any(|linked| linked.program.label.contains(label)), "{label}");
    }
}
