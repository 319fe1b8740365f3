//! The end of a pipeline: what its kernels leave of each slot. A sink is a file here, but for that
//! of groups and that of build sides, which have rooms of their own.

pub mod mark;
pub mod output;
pub mod reduce;
pub mod select;

use std::sync::Arc;

use arrow::error::ArrowError;
use async_trait::async_trait;
use futures::future::BoxFuture;

use super::chunk::Chunk;
use crate::config::WORKGROUP;
use crate::error::{DeviceError, Result};
use crate::expr::ir::Fault;
use crate::fragment::arena::HEADER;
use crate::kernel::Shape;
use crate::record::{Buffer, Command, Completed};

/// Bytes of a slot's status: faults, overflow, two spare.
pub const STATUS_BYTES: u64 = 16;

/// One slot on the device.
pub struct Slot {
    pub chunk: Arc<Chunk>,
    pub buffer: Buffer,
    pub status: Buffer,
    /// Rows that drive the kernels: the chunk's, or a table's in its tail.
    pub rows: u32,
    pub header: [u32; HEADER],
    /// What the sink keeps with the slot.
    pub own: Vec<Buffer>,
    /// Which of the sink's tables it was played on.
    pub lot: usize,
    /// What of it is still to be played, where that is not all.
    pub spilled: Option<Spilled>,
}

/// Rows of a slot that its table had no room for.
#[derive(Clone)]
pub struct Spilled {
    pub list: Buffer,
    pub rows: u32,
    /// Some of them do not fit how keys are packed.
    pub misfits: bool,
}

/// What becomes of a slot that was played.
pub enum Verdict<'a> {
    Done,
    /// Its rows leave while other slots are submitted.
    Emit(BoxFuture<'a, Result<()>>),
    /// All of it, or what the sink has put down in the slot, was not applied: make room and play
    /// that again.
    Again,
}

/// The end of a pipeline: which kernels run for a slot, and what happens with their answer.
#[async_trait]
pub trait Sink<'a>: Send {
    /// Prepares the programs for slots, or for a tail.
    fn begin(&mut self, shape: &Shape) -> Result<()>;

    /// The commands after the slot's upload; the first download is the status.
    fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>>;

    /// Takes in a slot's answer.
    fn done(&mut self, slot: &mut Slot, completed: Completed) -> Result<Verdict<'a>>;

    /// Before a slot is played again.
    async fn make_room(&mut self, slot: &Slot) -> Result<()>;

    /// After the last slot and the last tail.
    async fn finish(&mut self) -> Result<()>;
}

/// The bindings that joins add to every kernel.
#[derive(Clone, Default)]
pub struct Joins {
    pub buffers: Vec<Buffer>,
}

impl Joins {
    /// All bindings of a fused kernel.
    pub fn bind(&self, slot: &Slot, own: &[Buffer]) -> Vec<Buffer> {
        let mut all = vec![slot.buffer.clone(), slot.status.clone()];
        all.extend(own.iter().cloned());
        all.extend(self.buffers.iter().cloned());
        all
    }
}

/// Workgroups for kernels that stride over the rows: enough to fill any GPU, few enough that each
/// invocation folds several rows before it merges.
pub fn stride_groups(rows: u32) -> u32 {
    rows.div_ceil(WORKGROUP * 8).clamp(1, 1024)
}

/// The download of a slot's status.
pub fn download_status(slot: &Slot) -> Command {
    Command::Download { buffer: slot.status.clone(), range: 0..STATUS_BYTES }
}

/// Errors that rows raised, as DataFusion words them; more matches than a kernel may visit.
pub fn check_status(status: &[u32]) -> Result<()> {
    let raised = |fault: Fault| status[0] & (1 << fault as u32) != 0;
    if raised(Fault::DivideByZero) {
        return Err(ArrowError::DivideByZero.into());
    }
    if raised(Fault::ArithmeticOverflow) {
        let text = "a row's result does not fit its type (raised on the device)";
        return Err(ArrowError::ArithmeticOverflow(text.into()).into());
    }
    if raised(Fault::CastOverflow) {
        let text = "a row's value does not fit the type it is cast to (raised on the device)";
        return Err(ArrowError::CastError(text.into()).into());
    }
    if raised(Fault::Lookup) {
        let text = "an expression over a string failed for a value that a row holds";
        return Err(ArrowError::ComputeError(text.into()).into());
    }
    if status[1] != 0 {
        let text = "a row of a join has more matches than a kernel may visit".to_string();
        return Err(DeviceError::TableFull(text).into());
    }
    Ok(())
}
