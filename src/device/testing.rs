//! For unit tests: the player to test with, small programs with twins, uploads and downloads in
//! one call. A test without an adapter fails, unless `THALWEG_ALLOW_NO_DEVICE=1`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::gpu;
use super::player::{Player, Tier};
use crate::config::Options;
use crate::error::DeviceError;
use crate::kernel::link;
use crate::record::{Access, Bound, Buffer, Code, Command, Program, Recording};

/// The GPU player, shared by all tests of one tier; None where tests may do without.
pub fn shared(tier: Option<Tier>) -> Option<Arc<dyn Player>> {
    found(gpu::open_with_tier(&Options::default(), tier))
}

/// A GPU player of the test's own, for planted faults.
pub fn alone() -> Option<Arc<gpu::Gpu>> {
    found(gpu::open_alone(&Options::default(), None))
}

fn found<T>(opened: Result<T, DeviceError>) -> Option<T> {
    static SKIPPED: AtomicU32 = AtomicU32::new(0);
    let error = match opened {
        Ok(player) => return Some(player),
        Err(error) => error,
    };
    let allowed = std::env::var("THALWEG_ALLOW_NO_DEVICE").is_ok_and(|value| value == "1");
    assert!(allowed, "{error} (THALWEG_ALLOW_NO_DEVICE=1 skips the tests that need a device)");
    let skipped = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    eprintln!("{skipped} device tests skipped so far: {error}");
    None
}

/// A program of `lib/grid` and `body`.
pub fn program(
    label: &str,
    body: &str,
    bindings: &[Access],
    twin: impl Fn(&mut Bound<'_>) -> Result<(), DeviceError> + Send + Sync + 'static,
) -> Arc<Program> {
    let grid = include_str!("../../shaders/lib/grid.wgsl");
    let (wgsl, parts) = link::link(&[("lib/grid", grid), ("<test>", body)]);
    let code = Arc::new(Code::new(wgsl, bindings.to_vec()));
    Arc::new(Program { label: label.into(), code, parts, twin: Arc::new(twin) })
}

/// `b[i] = a[i] + 1` for all `i` below `b[0]` (the count), 64 rows per workgroup.
pub fn add_one() -> Arc<Program> {
    let body = "
@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> b: array<u32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = flat_group(wid, nwg) * 64u + lane;
    if (row < a[0]) { b[row] = a[row] + 1u; }
}
";
    program("add_one", body, &[Access::Read, Access::ReadWrite], |bound| {
        let [a, b] = &mut bound.buffers[..] else { unreachable!("two bindings") };
        let rows = (a[0] as usize).min(bound.groups as usize * 64);
        for row in 0..rows {
            b[row] = a[row] + 1;
        }
        Ok(())
    })
}

/// An upload of `words` to the start of a buffer.
pub async fn upload(
    player: &dyn Player,
    to: &Buffer,
    at: u64,
    words: &[u32],
) -> Result<Command, DeviceError> {
    let bytes = words.len() as u64 * 4;
    let mut from = player.staging(bytes).await?;
    from.words().copy_from_slice(words);
    Ok(Command::Upload { from, bytes, to: to.clone(), at })
}

/// A recording of these commands.
pub fn recording(label: &str, commands: Vec<Command>) -> Recording {
    Recording { label: label.into(), commands }
}
