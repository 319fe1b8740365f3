//! The kernels of the experiments. They measure adapters: the CPU player has no twins of them.

use std::fmt::Write;
use std::sync::Arc;

use crate::config::WORKGROUP;
use crate::device::player::Tier;
use crate::error::DeviceError;
use crate::record::{Access, Buffer, Code, Command, Program};

const GRID: (&str, &str) = ("lib/grid", include_str!("../../../shaders/lib/grid.wgsl"));
const RANDOM: (&str, &str) = ("probe/random", include_str!("../../../shaders/probe/random.wgsl"));
const COPY: (&str, &str) = ("probe/copy", include_str!("../../../shaders/probe/copy.wgsl"));
const READ: (&str, &str) = ("probe/read", include_str!("../../../shaders/probe/read.wgsl"));
const SECTORS: (&str, &str) =
    ("probe/sectors", include_str!("../../../shaders/probe/sectors.wgsl"));
const ATOMICS: (&str, &str) =
    ("probe/atomics", include_str!("../../../shaders/probe/atomics.wgsl"));

/// Workgroups of kernels that stride over a buffer: what fills the largest GPUs several times, so
/// that those that end early are made up for.
const GROUPS: u32 = 2048;

/// Reads of each invocation of `sectors`.
pub const READS: u32 = 16;

/// How counters are added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Add {
    /// Nobody asks what was there before.
    Unused32,
    /// Each addition waits for the result of the one before it.
    Waited32,
    /// As `Unused32`, of 64 bits.
    Unused64,
    /// In the memory of the workgroup, added to the device's at its end.
    Workgroup32,
}

impl Add {
    pub const ALL: [Self; 4] = [Self::Unused32, Self::Waited32, Self::Unused64, Self::Workgroup32];

    /// The tier that has it.
    pub fn tier(self) -> Tier {
        match self {
            Self::Unused64 => Tier::T3,
            _ => Tier::T0,
        }
    }

    /// Additions of each invocation: many where the workgroup's end is to weigh little.
    pub fn adds(self) -> u32 {
        match self {
            Self::Workgroup32 => 128,
            _ => 16,
        }
    }
}

/// Copies `a` to `b`.
pub fn copy(a: &Buffer, b: &Buffer) -> Command {
    let program = program("copy", Access::Read, "", &[GRID, COPY]);
    dispatch(program, vec![a.clone(), b.clone()], GROUPS)
}

/// Reads all of `a`.
pub fn read(a: &Buffer, kept: &Buffer) -> Command {
    let program = program("read", Access::Read, "", &[GRID, READ]);
    dispatch(program, vec![a.clone(), kept.clone()], GROUPS)
}

/// Reads sectors of `table`, which has a power of two of bytes: `groups * WORKGROUP * READS`.
pub fn sectors(table: &Buffer, kept: &Buffer, groups: u32) -> Command {
    let holes = format!("const READS = {READS}u;\n");
    let program = program("sectors", Access::Read, &holes, &[GRID, RANDOM, SECTORS]);
    dispatch(program, vec![table.clone(), kept.clone()], groups)
}

/// Adds to so many of the counters: `groups * WORKGROUP * add.adds()`.
pub fn atomics(add: Add, addresses: u32, counters: &Buffer, kept: &Buffer, groups: u32) -> Command {
    let mut holes = format!("const ADDRESSES = {addresses}u;\nconst ADDS = {}u;\n", add.adds());
    let word = if add == Add::Unused64 { "u64" } else { "u32" };
    writeln!(holes, "alias Word = {word};").ok(); // a String takes all
    holes.push_str(match add {
        Add::Unused32 | Add::Unused64 => {
            "fn begin(lane: u32) {}
fn add(at: u32) -> u32 { atomicAdd(&counters[at], Word(1u)); return 0u; }
fn finish(lane: u32) {}
"
        }
        Add::Waited32 => {
            "fn begin(lane: u32) {}
fn add(at: u32) -> u32 { return atomicAdd(&counters[at], 1u); }
fn finish(lane: u32) {}
"
        }
        Add::Workgroup32 => {
            "var<workgroup> loc: array<atomic<u32>, ADDRESSES>;
fn begin(lane: u32) {
    for (var i = lane; i < ADDRESSES; i += WORKGROUP) { atomicStore(&loc[i], 0u); }
    workgroupBarrier();
}
fn add(at: u32) -> u32 { atomicAdd(&loc[at], 1u); return 0u; }
fn finish(lane: u32) {
    workgroupBarrier();
    for (var i = lane; i < ADDRESSES; i += WORKGROUP) {
        atomicAdd(&counters[i], atomicLoad(&loc[i]));
    }
}
"
        }
    });
    let program = program("atomics", Access::ReadWrite, &holes, &[GRID, RANDOM, ATOMICS]);
    dispatch(program, vec![counters.clone(), kept.clone()], groups)
}

/// Invocations of so many workgroups.
pub fn invocations(groups: u32) -> u64 {
    u64::from(groups) * u64::from(WORKGROUP)
}

fn program(label: &str, first: Access, holes: &str, parts: &[(&str, &str)]) -> Arc<Program> {
    let mut wgsl = String::new();
    let mut lines = Vec::new();
    let all = parts.iter().copied().chain([("<holes>", holes)]);
    for (name, text) in all {
        lines.push((wgsl.lines().count() + 1, name.to_string()));
        wgsl.push_str(text);
    }
    let code = Code::new(wgsl, vec![first, Access::ReadWrite]);
    let twin = |_: &mut crate::record::Bound<'_>| {
        Err(DeviceError::Validation("the CPU player is not measured".into()))
    };
    Arc::new(Program {
        label: label.into(),
        code: Arc::new(code),
        parts: lines,
        twin: Arc::new(twin),
    })
}

fn dispatch(program: Arc<Program>, bindings: Vec<Buffer>, groups: u32) -> Command {
    Command::Dispatch { program, bindings, groups }
}
