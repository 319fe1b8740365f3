//! The memory that queries may take, as one pool of the session.
//!
//! Below the limit everybody takes what they need. Near it, those that can spill are held to their
//! fair share, so that one sort does not leave the others nothing to merge with; who cannot spill
//! and finds nothing left ends the query with an error that says what to do.

mod machine;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};
use datafusion::execution::runtime_env::RuntimeEnv;
use parking_lot::Mutex;

pub use machine::{bytes, machine_memory};

/// Of the limit, one part in so many is kept for consumers below their fair share.
const KEPT_PART: usize = 4;

/// Consumers that an error names beside the one that asked.
const NAMED_CONSUMERS: usize = 3;

/// Bytes that all queries of a session may hold.
#[derive(Debug)]
pub struct Pool(Mutex<State>);

#[derive(Debug)]
struct State {
    limit_bytes: usize,
    spillable_bytes: usize,
    unspillable_bytes: usize,
    /// How many consumers can spill.
    spillers: usize,
    /// Who holds how much, by their ids.
    held: HashMap<usize, (String, usize)>,
}

impl Pool {
    pub fn new(limit_bytes: usize) -> Self {
        Self(Mutex::new(State {
            limit_bytes,
            spillable_bytes: 0,
            unspillable_bytes: 0,
            spillers: 0,
            held: HashMap::new(),
        }))
    }
}

/// Sets the limit of a session's pool; those who hold more keep it until they ask for more.
pub fn set_limit(runtime: &Arc<RuntimeEnv>, limit_bytes: usize) {
    if let Some(pool) = runtime.memory_pool.downcast_ref::<Pool>() {
        pool.0.lock().limit_bytes = limit_bytes;
    }
}

impl State {
    fn add(&mut self, reservation: &MemoryReservation, bytes: usize) {
        let consumer = reservation.consumer();
        match consumer.can_spill() {
            true => self.spillable_bytes += bytes,
            false => self.unspillable_bytes += bytes,
        }
        let name = || (consumer.name().to_string(), 0);
        self.held.entry(consumer.id()).or_insert_with(name).1 += bytes;
    }

    /// Whether a consumer may take more.
    fn has(&self, reservation: &MemoryReservation, bytes: usize) -> bool {
        let used = self.spillable_bytes + self.unspillable_bytes;
        let Some(total) = used.checked_add(bytes).filter(|total| *total <= self.limit_bytes) else {
            return false;
        };
        if !reservation.consumer().can_spill() {
            return true;
        }
        let open = self.limit_bytes - self.limit_bytes / KEPT_PART;
        let share = self.limit_bytes.saturating_sub(self.unspillable_bytes) / self.spillers.max(1);
        total <= open || reservation.size() + bytes <= share
    }

    fn refusal(&self, reservation: &MemoryReservation, bytes: usize) -> DataFusionError {
        let consumer = reservation.consumer();
        let used = self.spillable_bytes + self.unspillable_bytes;
        let mut held: Vec<_> = self.held.values().filter(|(_, bytes)| *bytes > 0).collect();
        held.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let held = held.iter().take(NAMED_CONSUMERS);
        let held = held.map(|(name, bytes)| format!("{name} {}", human_readable_size(*bytes)));
        DataFusionError::ResourcesExhausted(format!(
            "{} needs {} more than the {} it holds, and of the memory limit of {} there is {} \
             left (held by {}); raise the limit: --memory 8GiB, or SET thalweg.memory = '8GiB'{}",
            consumer.name(),
            human_readable_size(bytes),
            human_readable_size(reservation.size()),
            human_readable_size(self.limit_bytes),
            human_readable_size(self.limit_bytes.saturating_sub(used)),
            held.collect::<Vec<_>>().join(", "),
            advice(consumer.name()),
        ))
    }
}

/// Who holds what an operator of a pipeline gives for an epoch.
pub const EPOCH_OUTPUT: &str = "the output of an epoch";

/// What helps where memory cannot be had, by the consumer's name in DataFusion.
fn advice(consumer: &str) -> &'static str {
    let is = |part: &str| consumer.contains(part);
    if is("HashJoin") {
        "; a hash join keeps its smaller side in memory: SET \
         datafusion.optimizer.prefer_hash_join = false joins by sorting, which spills to the disk"
    } else if is("NestedLoopJoin") || is("CrossJoin") {
        "; a join without an equality keeps one side in memory: join on a column, or filter before"
    } else if is(EPOCH_OUTPUT) {
        "; or have less at once: a smaller thalweg.batch_rows, a narrower interval to join by, or \
         another column to join on"
    } else if is("TopK") {
        "; ORDER BY with LIMIT keeps that many rows in memory: a smaller LIMIT or OFFSET"
    } else if is("ExternalSorter") || is("GroupedHashAggregate") || is("SortMergeJoin") {
        "; or have fewer do it at once: SET datafusion.execution.target_partitions = 1"
    } else {
        ""
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thalweg({})", human_readable_size(self.0.lock().limit_bytes))
    }
}

impl MemoryPool for Pool {
    fn name(&self) -> &str {
        "thalweg"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        if consumer.can_spill() {
            self.0.lock().spillers += 1;
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.0.lock();
        if consumer.can_spill() {
            state.spillers = state.spillers.saturating_sub(1);
        }
        state.held.remove(&consumer.id());
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.0.lock().add(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut state = self.0.lock();
        let consumer = reservation.consumer();
        let bytes = match consumer.can_spill() {
            true => &mut state.spillable_bytes,
            false => &mut state.unspillable_bytes,
        };
        *bytes = bytes.saturating_sub(shrink);
        if let Some((_, held)) = state.held.get_mut(&consumer.id()) {
            *held = held.saturating_sub(shrink);
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut state = self.0.lock();
        if !state.has(reservation, additional) {
            return Err(state.refusal(reservation, additional));
        }
        state.add(reservation, additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        let state = self.0.lock();
        state.spillable_bytes + state.unspillable_bytes
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.0.lock().limit_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spiller_takes_no_more_than_leaves_others_their_share() {
        let pool: Arc<dyn MemoryPool> = Arc::new(Pool::new(1000));
        let spiller = |name: &str| MemoryConsumer::new(name).with_can_spill(true).register(&pool);
        let (large, small) = (spiller("large"), spiller("small"));
        large.try_grow(750).unwrap();
        // Above its half, and the rest is kept.
        assert!(large.try_grow(1).is_err());
        small.try_grow(250).unwrap();
        assert!(small.try_grow(1).is_err());
        large.shrink(500);
        // A consumer that cannot spill takes all there is.
        let fixed = MemoryConsumer::new("HashJoinInput").register(&pool);
        fixed.try_grow(500).unwrap();
        let error = fixed.try_grow(1).unwrap_err().to_string();
        for word in ["HashJoinInput", "1000.0 B", "--memory", "thalweg.memory", "prefer_hash_join"]
        {
            assert!(error.contains(word), "{word}: {error}");
        }
        drop(fixed);
        assert_eq!(pool.reserved(), 500);
        drop((large, small));
        assert_eq!(pool.reserved(), 0);
    }
}
