//! Programs are linked once for a fragment and kept from run to run: their text takes longer to
//! make than a small slot takes to compute.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::fragment::text::Drive;
use crate::record::Program;

/// Which program of a fragment: that of a kernel, for what drives a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Number of the pipeline: that of the table it builds, or the number of tables.
    pub pipeline: usize,
    pub drive: Drive,
    pub kernel: &'static str,
    /// What else the text depends on: a round, the sizes of a table.
    pub variant: Vec<u32>,
}

/// The programs of one fragment on one adapter.
#[derive(Default)]
pub struct Programs {
    kept: Mutex<HashMap<Place, Option<Arc<Program>>>>,
    linked: AtomicU64,
}

impl Programs {
    /// The program of a place, made where it is asked for first.
    pub fn get(&self, place: Place, make: impl Fn() -> Arc<Program>) -> Arc<Program> {
        self.get_if_any(place, || Some(make())).unwrap_or_else(make)
    }

    /// The same where possibly none is needed.
    pub fn get_if_any(
        &self,
        place: Place,
        make: impl FnOnce() -> Option<Arc<Program>>,
    ) -> Option<Arc<Program>> {
        // Held while one is made: nobody makes the same one meanwhile.
        let mut kept = self.kept.lock();
        let program = kept.entry(place).or_insert_with(|| {
            let program = make();
            self.linked.fetch_add(u64::from(program.is_some()), Ordering::Relaxed);
            program
        });
        program.clone()
    }

    /// How many were made so far.
    pub fn linked(&self) -> u64 {
        self.linked.load(Ordering::Relaxed)
    }
}
