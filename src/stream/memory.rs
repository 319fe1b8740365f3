//! The bound of what all queries of a pipeline keep in memory: what is above it waits on the disk,
//! of all queries that first which is needed last.

use std::path::Path;

use super::graph::Times;
use super::graph::spill::Folder;
use super::query::Query;
use crate::error::Result;

/// What a row adds to the state, at most, for the question whether it is time to measure it.
const ROW_BYTES: usize = 4096;

/// The state in memory, as it was last measured.
#[derive(Debug)]
pub struct Memory {
    pub folder: Folder,
    bytes: usize,
    /// Rows that came since.
    rows: usize,
    /// Whether it was told that the bound does not hold.
    warned: bool,
}

impl Memory {
    /// For a run that has its state folder for itself.
    pub fn open(state: &Path) -> Result<Self> {
        Ok(Self { folder: Folder::open(state)?, bytes: 0, rows: 0, warned: false })
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
        if self.rows.saturating_mul(ROW_BYTES) < limit.saturating_sub(self.bytes) {
            return Ok(()); // it cannot be above yet
        }
        (self.rows, self.bytes) = (0, total(queries));
        if self.bytes <= limit {
            return Ok(());
        }
        // Down to half, so that files are few and large.
        let excess = self.bytes - limit / 2;
        let mut waits = Vec::new();
        for query in queries.iter() {
            waits.extend(query.graph.spillable(&times(query))?);
        }
        if let Some(wait) = cut(waits, excess) {
            for query in queries.iter_mut() {
                let times = times(query);
                query.graph.spill(wait, &times, &self.folder)?;
            }
            self.bytes = total(queries);
            crate::fault::point("spilled");
        }
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
