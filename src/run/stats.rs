//! What a run counted and measured.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one run; times in nanoseconds, bytes as they crossed the link.
#[derive(Debug, Default)]
pub struct Stats {
    pub rows_in: AtomicU64,
    pub slots: AtomicU64,
    pub bytes_up: AtomicU64,
    pub bytes_down: AtomicU64,
    pub encode_ns: AtomicU64,
    pub upload_ns: AtomicU64,
    pub kernel_ns: AtomicU64,
    pub download_ns: AtomicU64,
    /// Rows of all join tables.
    pub build_rows: AtomicU64,
    /// Times a group table moved into a larger one on the device.
    pub table_growths: AtomicU64,
    /// Times a group table was put aside, to be merged with the next on the host.
    pub table_flushes: AtomicU64,
    /// Groups that came out of group tables.
    pub groups: AtomicU64,
    /// Programs whose text was made: none where the plan has run before.
    pub programs_linked: AtomicU64,
    /// Pipelines that the device compiled for this run: none where all were known.
    pub pipelines_made: AtomicU64,
}

impl Stats {
    pub fn add(counter: &AtomicU64, value: u64) {
        counter.fetch_add(value, Ordering::Relaxed);
    }

    /// Takes over what a submit measured.
    pub fn completed(&self, completed: &crate::record::Completed) {
        Self::add(&self.upload_ns, completed.upload_ns);
        Self::add(&self.kernel_ns, completed.kernel_ns);
        Self::add(&self.download_ns, completed.download_ns);
        Self::add(&self.pipelines_made, completed.pipelines_made);
        let words: usize = completed.downloads.iter().map(|words| words.len()).sum();
        Self::add(&self.bytes_down, 4 * words as u64);
    }

    /// All counters by name, in the order of a reading.
    pub fn all(&self) -> [(&'static str, u64); 14] {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("rows_in", get(&self.rows_in)),
            ("build_rows", get(&self.build_rows)),
            ("slots", get(&self.slots)),
            ("bytes_up", get(&self.bytes_up)),
            ("bytes_down", get(&self.bytes_down)),
            ("table_growths", get(&self.table_growths)),
            ("table_flushes", get(&self.table_flushes)),
            ("groups", get(&self.groups)),
            ("programs_linked", get(&self.programs_linked)),
            ("pipelines_made", get(&self.pipelines_made)),
            ("encode_ns", get(&self.encode_ns)),
            ("upload_ns", get(&self.upload_ns)),
            ("kernel_ns", get(&self.kernel_ns)),
            ("download_ns", get(&self.download_ns)),
        ]
    }
}
