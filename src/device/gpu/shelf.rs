//! Memory of answers that nobody reads any more, for those to come. To copy into fresh memory takes
//! more than three times as long: the system clears each of its pages first.
//!
//! Answers are copied out of the mapped buffers, and not handed on in them: a device that is lost
//! frees its buffers at once (wgpu 30, `Device::lose`), those included that somebody still reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::pool::class_of;
use crate::record::{Home, Words};

/// Answers below this many words are left to the allocator, which keeps such memory by itself.
const LEAST_WORDS: usize = 1 << 18;

/// Words that one thread copies at a time: 4 MiB.
const PIECE_WORDS: usize = 1 << 20;

/// Words that lie here at most: as much as the readback buffers that are kept.
const MOST_WORDS: usize = 64 << 20;

#[derive(Default)]
pub struct Shelf(Mutex<Free>);

#[derive(Default)]
struct Free {
    /// By capacity.
    memory: BTreeMap<usize, Vec<Vec<u32>>>,
    /// Sum of the capacities.
    words: usize,
}

impl Free {
    /// Memory for so many words that is not much too large.
    fn take(&mut self, words: usize) -> Option<Vec<u32>> {
        let (capacity, all) = self.memory.range_mut(words..2 * words).next()?;
        let (capacity, memory) = (*capacity, all.pop()?);
        if all.is_empty() {
            self.memory.remove(&capacity);
        }
        self.words -= capacity;
        Some(memory)
    }
}

impl Shelf {
    /// The words, copied.
    pub fn copy(self: &Arc<Self>, from: &[u32]) -> Words {
        if from.len() < LEAST_WORDS {
            return from.to_vec().into();
        }
        let kept = self.0.lock().take(from.len());
        let mut words = kept.unwrap_or_else(|| {
            let bytes = class_of(4 * from.len() as u64);
            Vec::with_capacity(bytes as usize / 4)
        });
        words.clear();
        let room = words.spare_capacity_mut()[..from.len()].par_chunks_mut(PIECE_WORDS);
        room.zip(from.par_chunks(PIECE_WORDS)).for_each(|(to, from)| {
            to.write_copy_of_slice(from);
        });
        // SAFETY: all of them are written now, within the capacity.
        unsafe { words.set_len(from.len()) };
        Words::of(words, self.clone())
    }
}

impl Home for Shelf {
    fn welcome(&self, memory: Vec<u32>) {
        let capacity = memory.capacity();
        let mut free = self.0.lock();
        if free.words + capacity > MOST_WORDS {
            *free = Free::default(); // of sizes that are not asked for any more, perhaps
        }
        if capacity <= MOST_WORDS {
            free.words += capacity;
            free.memory.entry(capacity).or_default().push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_bounded() {
        let shelf = Arc::<Shelf>::default();
        let large: Vec<u32> = (0..LEAST_WORDS as u32).collect();
        let first = shelf.copy(&large);
        assert_eq!(first, large);
        let place = first.as_ptr();
        drop(first);
        let again = shelf.copy(&large[1..]); // small: from the allocator
        assert_ne!(again.as_ptr(), place);
        let larger: Vec<u32> = (0..LEAST_WORDS as u32 + 9).rev().collect();
        let third = shelf.copy(&larger);
        assert_eq!(third, larger); // does not fit what is kept
        let second = shelf.copy(&large);
        assert_eq!(second, large);
        assert_eq!(second.as_ptr(), place);
        drop((second, third));
        assert!(shelf.0.lock().words > 2 * LEAST_WORDS);
        let all: Vec<Words> =
            (0..MOST_WORDS / LEAST_WORDS + 9).map(|_| shelf.copy(&large)).collect();
        drop(all);
        assert!(shelf.0.lock().words <= MOST_WORDS);
    }
}
