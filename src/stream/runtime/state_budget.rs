//! The bound of what all queries of a pipeline keep in memory: what is above it waits on the disk,
//! of all queries that first which is needed last.

use std::path::Path;

use crate::error::Result;
use crate::stream::dataflow::query::Query;
use crate::stream::state::spill::Folder;
use crate::stream::time::clock::Times;

/// The state is measured after so many rows, or so many times that rows came; each time, where it
/// is above half of the bound.
const ROWS: usize = 16_384;
const TIMES: usize = 64;

/// A part of the bound that is worth files.
const WORTH: usize = 16;

/// The state in memory, as it was last measured.
#[derive(Debug)]
pub struct Memory {
    pub folder: Folder,
    bytes: usize,
    /// Rows that came since, and how many times.
    rows: usize,
    times: usize,
    /// What must stay in memory was so much when it was above the bound.
    stays: usize,
    /// Whether that was told.
    warned: bool,
}

impl Memory {
    /// For a run that has its state folder for itself.
    pub fn open(state: &Path) -> Result<Self> {
        let folder = Folder::open(state)?;
        Ok(Self { folder, bytes: usize::MAX, rows: 0, times: 0, stays: 0, warned: false })
    }

    /// Makes the next `bound` measure: the queries are others, or have other states.
    pub fn forget(&mut self) {
        self.bytes = usize::MAX;
    }

    /// Keeps the queries within the bound, after they have taken some rows; `times` are the clocks
    /// of each.
    pub fn bound(
        &mut self,
        limit: usize,
        rows: usize,
        queries: &mut [Query],
        times: impl Fn(&Query) -> Times,
    ) -> Result<()> {
        self.rows = self.rows.saturating_add(rows);
        self.times += 1;
        if self.bytes < limit / 2 && self.rows < ROWS && self.times < TIMES {
            return Ok(());
        }
        (self.rows, self.times, self.bytes) = (0, 0, total(queries));
        self.stays = if self.bytes > limit { self.stays.min(self.bytes) } else { 0 };
        let worth = limit / WORTH;
        if self.bytes <= limit || (self.stays > 0 && self.bytes < self.stays + worth) {
            return Ok(());
        }
        // Down to half, so that files are few and large.
        let excess = self.bytes - limit / 2;
        let mut waits = Vec::new();
        for query in queries.iter() {
            waits.extend(query.graph.spillable(&times(query))?);
        }
        let most = waits.iter().map(|(_, bytes)| bytes).sum::<usize>();
        if let Some(wait) = cut(waits, excess)
            && most >= worth
        {
            for query in queries.iter_mut() {
                let times = times(query);
                query.graph.spill(wait, &times, &self.folder)?;
            }
            self.bytes = total(queries);
            crate::fault::point("spilled");
        }
        self.stays = if self.bytes > limit { self.bytes } else { 0 };
        if self.bytes > limit && !self.warned {
            self.warned = true;
            warn(self.bytes, limit, queries);
        }
        Ok(())
    }
}

fn total(queries: &[Query]) -> usize {
    queries.iter().map(|query| query.graph.size().bytes).sum()
}

/// From which waiting time on parts are to be spilled so that so many bytes are.
fn cut(mut waits: Vec<(i128, usize)>, excess: usize) -> Option<i128> {
    waits.sort_unstable_by(|one, other| other.cmp(one));
    let (mut bytes, mut wait) = (0, None);
    for (next, more) in waits {
        if bytes >= excess {
            break;
        }
        (bytes, wait) = (bytes + more, Some(next));
    }
    wait
}

/// Tells that what must stay in memory is above the bound.
fn warn(bytes: usize, limit: usize, queries: &[Query]) {
    let Some(query) = queries.iter().max_by_key(|query| query.graph.size().bytes) else { return };
    let of = query.graph.size();
    tracing::warn!(
        "sink {}: its query keeps {} rows, of which {} bytes have to stay in memory; all queries \
         keep {bytes} there, more than thalweg.state_memory = {limit}. Raise it, or let the query \
         keep less: fewer groups, shorter intervals or sessions, a watermark that is closer",
        query.name,
        of.rows,
        of.bytes
    );
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn what_is_needed_last_goes_first() {
        let waits = || vec![(5, 10), (90, 10), (40, 10), (90, 10)];
        assert_eq!(cut(waits(), 1), Some(90));
        assert_eq!(cut(waits(), 20), Some(90));
        assert_eq!(cut(waits(), 21), Some(40));
        assert_eq!(cut(waits(), 1000), Some(5));
        assert_eq!(cut(Vec::new(), 1), None);
    }
}
