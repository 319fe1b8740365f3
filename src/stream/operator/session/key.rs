//! The sessions of one key.
//!
//! Within a partition, rows make *local* sessions as they come. Local sessions of different
//! partitions are linked where two of their rows belong together; what is linked is one session.

use std::collections::{BTreeMap, HashMap};

/// Where a row is kept, its time and the watermark before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub batch: u32,
    pub row: u32,
    pub time: i64,
    pub watermark: i64,
}

impl Row {
    pub fn place(&self) -> (usize, usize) {
        (self.batch as usize, self.row as usize)
    }

    /// Whether rows of two partitions belong together.
    fn joins(&self, other: &Self, gap: i64) -> bool {
        let (end, other_end) = (self.time + gap, other.time + gap);
        let touch = self.time <= other_end && other.time <= end;
        touch && self.watermark < other_end && other.watermark < end
    }
}

/// A session that is over, with its rows by partition and as in its log.
#[derive(Debug)]
pub struct Closed {
    pub start: i64,
    pub end: i64,
    pub rows: Vec<(i32, Row)>,
}

/// A session of the rows of one partition.
#[derive(Debug)]
struct Local {
    partition: i32,
    end: i64,
    rows: Vec<Row>,
    /// Its place among the links.
    link: u32,
}

/// The sessions of a key.
#[derive(Debug)]
pub struct Key {
    /// By their start, and a number that tells those with the same one apart.
    locals: BTreeMap<(i64, u32), Local>,
    next: u32,
    /// A bound of their lengths.
    longest: i64,
    /// A forest: each points to its parent, a root to itself.
    links: Vec<u32>,
    /// No session ends before this.
    pub due: i64,
}

impl Default for Key {
    fn default() -> Self {
        let locals = BTreeMap::new();
        Self { locals, next: 0, longest: 0, links: Vec::new(), due: i64::MAX }
    }
}

impl Key {
    pub fn is_empty(&self) -> bool {
        self.locals.is_empty()
    }

    /// All rows with their partitions, in no order.
    pub fn rows(&self) -> impl Iterator<Item = (i32, Row)> + '_ {
        self.locals.values().flat_map(|local| local.rows.iter().map(|row| (local.partition, *row)))
    }

    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.locals.values_mut().flat_map(|local| &mut local.rows)
    }

    /// Takes the next row of a partition; false for one that is late.
    pub fn insert(&mut self, partition: i32, row: Row, gap: i64) -> bool {
        let (start, end) = (row.time, row.time + gap);
        let first = (start.saturating_sub(self.longest), 0);
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for (at, local) in self.locals.range(first..=(end, u32::MAX)) {
            if local.end < start {
                continue;
            }
            match local.partition == partition {
                true if local.end > row.watermark => own.push(*at),
                true => {}
                false => others.push(*at),
            }
        }
        let link = match own.as_slice() {
            [] if end <= row.watermark => return false,
            [] => {
                let link = self.links.len() as u32;
                self.links.push(link);
                let rows = vec![row];
                self.place(start, Local { partition, end, rows, link });
                link
            }
            [at] if at.0 <= start => {
                let Some(local) = self.locals.get_mut(at) else { return false };
                local.end = local.end.max(end);
                local.rows.push(row);
                self.longest = self.longest.max(local.end - at.0);
                local.link
            }
            _ => self.merge(&own, row, gap),
        };
        for at in others {
            let Some(local) = self.locals.get(&at) else { continue };
            let other = local.link;
            if self.root(other) != self.root(link)
                && local.rows.iter().rev().any(|theirs| row.joins(theirs, gap))
            {
                self.union(link, other);
            }
        }
        true
    }

    /// One local session of several and of a row that touches them all; answers its link.
    fn merge(&mut self, own: &[(i64, u32)], row: Row, gap: i64) -> u32 {
        let mut start = row.time;
        let mut merged: Option<Local> = None;
        for at in own {
            let Some(mut local) = self.locals.remove(at) else { continue };
            start = start.min(at.0);
            if let Some(mut before) = merged.take() {
                self.union(before.link, local.link);
                if before.rows.len() > local.rows.len() {
                    std::mem::swap(&mut before, &mut local);
                }
                local.rows.append(&mut before.rows);
                local.end = local.end.max(before.end);
            }
            merged = Some(local);
        }
        let Some(mut merged) = merged else { return 0 };
        merged.rows.push(row);
        merged.end = merged.end.max(row.time + gap);
        let link = merged.link;
        self.place(start, merged);
        link
    }

    fn place(&mut self, start: i64, local: Local) {
        self.longest = self.longest.max(local.end - start);
        self.locals.insert((start, self.next), local);
        self.next = self.next.wrapping_add(1);
    }

    fn root(&self, mut link: u32) -> u32 {
        while self.links[link as usize] != link {
            link = self.links[link as usize];
        }
        link
    }

    fn union(&mut self, one: u32, other: u32) {
        let (one, other) = (self.root(one), self.root(other));
        let (low, high) = (one.min(other), one.max(other));
        self.links[high as usize] = low;
    }

    /// Moves the sessions that are over at `until` to `closed`.
    pub fn close(&mut self, until: i64, closed: &mut Vec<Closed>) {
        let mut spans: HashMap<u32, (i64, i64)> = HashMap::new();
        for ((start, _), local) in &self.locals {
            let span = spans.entry(self.root(local.link)).or_insert((*start, local.end));
            *span = (span.0.min(*start), span.1.max(local.end));
        }
        let (mut open, mut over) = (BTreeMap::new(), HashMap::new());
        self.due = i64::MAX;
        for (at, mut local) in std::mem::take(&mut self.locals) {
            let root = self.root(local.link);
            let Some((start, end)) = spans.get(&root).copied() else { continue };
            if end <= until {
                let empty = || Closed { start, end, rows: Vec::new() };
                let session = over.entry(root).or_insert_with(empty);
                session.rows.extend(local.rows.into_iter().map(|row| (local.partition, row)));
                continue;
            }
            self.due = self.due.min(end);
            local.link = root;
            open.insert(at, local);
        }
        self.locals = open;
        self.relink();
        for mut session in over.into_values() {
            session.rows.sort_unstable();
            closed.push(session);
        }
    }

    /// Numbers the links anew; each local session points to a root.
    fn relink(&mut self) {
        let mut numbers = HashMap::new();
        for local in self.locals.values_mut() {
            let next = numbers.len() as u32;
            local.link = *numbers.entry(local.link).or_insert(next);
        }
        self.links = (0..numbers.len() as u32).collect();
        self.longest = self.locals.iter().map(|(at, local)| local.end - at.0).max().unwrap_or(0);
    }
}
