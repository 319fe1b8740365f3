//! What a run has at hand: the player, the fragment, the limits of slots and the counters.

use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::memory::HostMemory;
use super::stats::Stats;
use crate::agg::float_sum::DEVICE_ADDENDS;
use crate::device::Player;
use crate::error::Result;
use crate::fragment::intern::Interner;
use crate::fragment::spec::Fragment;
use crate::kernel::Linker;
use crate::kernel::link::programs::Programs;
use crate::record::{Buffer, Command};

/// How slots are cut; tests make them small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLimits {
    /// Rows of a slot at most.
    pub rows: usize,
    /// Bytes of a slot's arena at most.
    pub bytes: u64,
    /// Slots in flight at most: one encoding, one computing, one being read.
    pub in_flight: usize,
    /// Entries of a group table to start with, a power of two.
    pub group_entries: u32,
    /// Rows from which on a slot is asked first which ranges the keys of groups have.
    pub range_rows: u32,
    /// Bytes up to which a group table comes down as it is.
    pub whole_table_bytes: u64,
    /// Rows that one group table takes in at most: its 64-bit bins of float sums hold so many.
    pub table_rows: u64,
}

impl Default for SlotLimits {
    fn default() -> Self {
        // A million rows amortise a submit (some hundred microseconds) to nothing; 32 MiB fit the
        // smallest binding limit seen (128 MiB) and the staging ring of a small GPU.
        Self {
            rows: 1 << 20,
            bytes: 32 << 20,
            in_flight: 3,
            group_entries: 1 << 14,
            range_rows: 1 << 16,
            whole_table_bytes: 32 << 10,
            table_rows: DEVICE_ADDENDS,
        }
    }
}

impl SlotLimits {
    /// The same, with a group table to start with that is at most half full of this many groups.
    pub fn with_room_for(self, groups: u64) -> Self {
        let wanted = groups.saturating_mul(2).min(1 << 26).next_power_of_two() as u32;
        Self { group_entries: self.group_entries.max(wanted), ..self }
    }
}

/// Runs one fragment once.
pub struct Runner {
    pub player: Arc<dyn Player>,
    pub linker: Linker,
    pub fragment: Arc<Fragment>,
    pub limits: SlotLimits,
    pub stats: Arc<Stats>,
    pub memory: HostMemory,
    /// Linked by this run, or by those before it of the same fragment.
    pub programs: Arc<Programs>,
    pub(super) interners: Arc<Vec<RwLock<Interner>>>,
}

/// Where a pipeline's batches go.
pub type Sender = mpsc::Sender<Result<RecordBatch>>;

impl Runner {
    pub fn new(player: Arc<dyn Player>, fragment: Arc<Fragment>, limits: SlotLimits) -> Self {
        let linker = Linker::new(player.capabilities());
        let interners = (0..fragment.domains).map(|_| RwLock::new(Interner::default())).collect();
        let (stats, programs) = (Arc::default(), Arc::default());
        let memory = HostMemory::default();
        let interners = Arc::new(interners);
        Self { player, linker, fragment, limits, stats, memory, programs, interners }
    }

    /// A buffer of so many bytes, and the command that writes these words to its start.
    pub(super) async fn sent(
        &self,
        words: &[u32],
        bytes: u64,
        what: &str,
    ) -> Result<(Buffer, Command)> {
        let to = self.player.buffer(bytes, what)?;
        let upload = self.upload(words, &to).await?;
        Ok((to, upload))
    }

    /// The command that writes words to the start of a buffer.
    pub(super) async fn upload(&self, words: &[u32], to: &Buffer) -> Result<Command> {
        let bytes = 4 * words.len() as u64;
        let mut from = self.player.staging(bytes).await?;
        from.words()[..words.len()].copy_from_slice(words);
        Ok(Command::Upload { from, bytes, to: to.clone(), at: 0 })
    }
}
