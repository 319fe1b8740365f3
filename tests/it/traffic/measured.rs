//! What a case's dispatches moved, from their logs.

use std::fmt::Write;

use arrow::array::{Array, AsArray, UInt64Array};
use arrow::compute::kernels::cmp::neq;
use arrow::compute::sort;
use arrow::datatypes::UInt64Type;

use thalweg::config::WORKGROUP;
use thalweg::record::Access;

use super::counted::{LOG_ENTRY, Site, What};
use super::player::{Dispatch, Submit};

/// Bytes that memory is read and written by, at least, and words of them.
const SECTOR_BYTES: u64 = 32;
const SECTOR_WORDS: u32 = 8;

/// Invocations that a device runs in step, of the widest that is common.
const LANES: u32 = 32;

/// What the dispatches of one program did to one of its buffers.
#[derive(Default)]
struct Used {
    name: String,
    /// Bytes of different words that were loaded, that were stored or changed.
    read: u64,
    written: u64,
    /// Accesses, and different sectors of each row, without what all rows read.
    accesses: u64,
    sectors: u64,
    /// Read-modify-writes; those of which the result is used.
    atomics: u64,
    waited: u64,
    /// Bytes of sectors, as they are asked for.
    moved: u64,
}

/// What the dispatches of one program did.
struct Measured {
    label: String,
    dispatches: u64,
    groups: u64,
    /// Rows, or entries.
    items: u64,
    barriers: u64,
    shared: u64,
    shared_waited: u64,
    loops: Vec<(String, u64)>,
    used: Vec<Used>,
}

impl Measured {
    fn moved(&self) -> u64 {
        self.used.iter().map(|used| used.moved).sum()
    }

    fn new(dispatch: &Dispatch) -> Self {
        let name = |name: &String| Used { name: name.clone(), ..Used::default() };
        let loops = dispatch.counted.sites.iter().filter(|site| site.what == What::Loop);
        Self {
            label: dispatch.label.clone(),
            dispatches: 0,
            groups: 0,
            items: 0,
            barriers: 0,
            shared: 0,
            shared_waited: 0,
            loops: loops.map(|site| (site.function.clone(), 0)).collect(),
            used: dispatch.counted.buffers.iter().map(name).collect(),
        }
    }

    /// Takes in one more dispatch of the program.
    fn add(&mut self, dispatch: &Dispatch, log: &[u32]) {
        self.dispatches += 1;
        self.groups += u64::from(dispatch.groups);
        let mut loops = self.loops.iter_mut();
        let mut rows = None;
        for (site, count) in dispatch.counted.sites.iter().zip(&dispatch.counts) {
            let count = u64::from(*count);
            match site.what {
                What::Barrier => self.barriers += count,
                What::Shared { waited, .. } => {
                    self.shared += count;
                    self.shared_waited += if waited { count } else { 0 };
                }
                What::Loop => {
                    if let Some((_, passed)) = loops.next() {
                        *passed += count;
                    }
                    // The first of the entry point's is that over rows.
                    if site.function == "main" {
                        rows.get_or_insert(count);
                    }
                }
                _ => {}
            }
        }
        self.items += rows.unwrap_or(u64::from(dispatch.groups * WORKGROUP));
        let access = dispatch.counted.bindings.iter();
        let mut told: Vec<Told> = access.map(|access| Told::new(*access)).collect();
        for entry in log.chunks_exact(LOG_ENTRY) {
            let site = &dispatch.counted.sites[(entry[0] & 0xffff) as usize];
            told[site.binding].add(site, entry[0] >> 16, entry[1], entry[2]);
        }
        for (told, used) in told.into_iter().zip(&mut self.used) {
            told.sum(used);
        }
    }
}

/// The accesses of one buffer in one dispatch.
struct Told {
    access: Access,
    used: Used,
    loads: Marks,
    stores: Marks,
    /// Sectors of a workgroup: what is loaded again stays near, stores meet on their way.
    near: Marks,
    /// Sector of a row; words at the head of a buffer are the same for all rows.
    rows: Vec<u64>,
    /// Sector of invocations in step: atomics are done far off each time.
    far: Vec<u64>,
}

/// Which words or sectors somebody has touched, who come one after the other.
#[derive(Default)]
struct Marks {
    last: Vec<u32>,
    count: u64,
}

impl Marks {
    fn mark(&mut self, at: u32, who: u32) {
        let at = at as usize;
        if at >= self.last.len() {
            self.last.resize(at + 1, u32::MAX);
        }
        if self.last[at] != who {
            self.last[at] = who;
            self.count += 1;
        }
    }
}

impl Told {
    fn new(access: Access) -> Self {
        let (used, loads, stores, near, rows, far) = Default::default();
        Self { access, used, loads, stores, near, rows, far }
    }

    fn add(&mut self, site: &Site, step: u32, invocation: u32, address: u32) {
        let (loads, stores, atomic) = match site.what {
            What::Load { atomic } => (true, false, atomic),
            What::Store { atomic } => (false, true, atomic),
            What::Atomic { waited, .. } => {
                self.used.atomics += 1;
                self.used.waited += u64::from(waited);
                (true, true, true)
            }
            other => panic!("{other:?} has no address"),
        };
        self.used.accesses += 1;
        for word in address..address + site.words {
            if loads {
                self.loads.mark(word, 0);
            }
            if stores {
                self.stores.mark(word, 0);
            }
        }
        let far = atomic && self.access == Access::ReadWrite;
        let last = (address + site.words - 1) / SECTOR_WORDS;
        for sector in address / SECTOR_WORDS..=last {
            if !(site.constant && self.access == Access::Read) {
                self.rows.push(number(invocation, step, sector));
            }
            match far {
                true => self.far.push(number(invocation / LANES, step, sector)),
                false => self.near.mark(sector, invocation / WORKGROUP),
            }
        }
    }

    fn sum(self, used: &mut Used) {
        used.accesses += self.used.accesses;
        used.atomics += self.used.atomics;
        used.waited += self.used.waited;
        used.read += 4 * self.loads.count;
        used.written += 4 * self.stores.count;
        used.sectors += distinct(self.rows);
        used.moved += SECTOR_BYTES * (self.near.count + distinct(self.far));
    }
}

/// One number for a sector that somebody touches in a step.
fn number(who: u32, step: u32, sector: u32) -> u64 {
    assert!(who < 1 << 22 && step < 1 << 16 && sector < 1 << 26);
    u64::from(who) << 42 | u64::from(step) << 26 | u64::from(sector)
}

/// How many different numbers there are. Arrow counts: it is built for speed, tests are not.
fn distinct(numbers: Vec<u64>) -> u64 {
    let sorted = sort(&UInt64Array::from(numbers), None).unwrap();
    let Some(pairs) = sorted.len().checked_sub(1) else { return 0 };
    let (these, next) = (sorted.slice(0, pairs), sorted.slice(1, pairs));
    1 + neq(&these.as_primitive::<UInt64Type>(), &next.as_primitive::<UInt64Type>())
        .unwrap()
        .true_count() as u64
}

/// All that a case did.
pub struct Ran {
    programs: Vec<Measured>,
    submits: u64,
    dispatches: u64,
    fills: u64,
    fill_bytes: u64,
    copy_bytes: u64,
    up: u64,
    down: u64,
}

impl Ran {
    pub fn of(submits: &[Submit]) -> Self {
        let mut programs: Vec<Measured> = Vec::new();
        let sum = |of: fn(&Submit) -> u64| submits.iter().map(of).sum();
        for submit in submits {
            for dispatch in &submit.dispatches {
                let known = programs.iter().position(|known| known.label == dispatch.label);
                let at = known.unwrap_or_else(|| {
                    programs.push(Measured::new(dispatch));
                    programs.len() - 1
                });
                let entries = &dispatch.entries;
                let log = &submit.log[LOG_ENTRY * entries.start..LOG_ENTRY * entries.end];
                programs[at].add(dispatch, log);
            }
        }
        Self {
            submits: submits.len() as u64,
            dispatches: sum(|submit| submit.dispatches.len() as u64),
            fills: sum(|submit| submit.fills),
            fill_bytes: sum(|submit| submit.fill_bytes),
            copy_bytes: sum(|submit| submit.copy_bytes),
            up: sum(|submit| submit.up_bytes),
            down: sum(|submit| submit.down_bytes),
            programs,
        }
    }

    /// Bytes that dispatches, fills and copies move in device memory.
    pub fn moved(&self) -> u64 {
        let programs: u64 = self.programs.iter().map(Measured::moved).sum();
        programs + self.fill_bytes + 2 * self.copy_bytes
    }

    /// Bytes moved by the programs whose labels begin so.
    pub fn moved_by(&self, kernel: &str) -> u64 {
        let programs = self.programs.iter().filter(|of| of.label.starts_with(kernel));
        programs.map(Measured::moved).sum()
    }

    /// Sectors of a row in buffers that are neither its columns nor its result.
    pub fn table_sectors(&self, kernel: &str) -> f64 {
        let Some(program) = self.programs.iter().find(|of| of.label.starts_with(kernel)) else {
            return 0.0;
        };
        let own = ["slot", "slot_2", "slot_4", "status", "partials", "counts", "out"];
        let tables = program.used.iter().filter(|used| !own.contains(&used.name.as_str()));
        tables.map(|used| used.sectors).sum::<u64>() as f64 / program.items.max(1) as f64
    }

    /// The table of a case of so many rows, whose floor is so many bytes.
    pub fn text(&self, rows: u64, floor: u64) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "  submits {}, dispatches {}, fills {} of {} bytes, up {}, down {}",
            self.submits, self.dispatches, self.fills, self.fill_bytes, self.up, self.down
        );
        let _ = writeln!(
            out,
            "  {:<34} {:>6} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}",
            "of an item", "read", "written", "sectors", "repeats", "atomics", "waited", "moved"
        );
        for program in &self.programs {
            program.text(&mut out);
        }
        let each = |bytes: u64| bytes as f64 / rows as f64;
        let _ = writeln!(
            out,
            "  a row: floor {:.2}, moved {:.2}, ratio {:.2}",
            each(floor),
            each(self.moved()),
            self.moved() as f64 / floor as f64
        );
        out
    }
}

impl Measured {
    fn text(&self, out: &mut String) {
        let each = |count: u64| count as f64 / self.items.max(1) as f64;
        let _ = write!(
            out,
            "  {}: {} x {} groups, {} items",
            self.label,
            self.dispatches,
            self.groups / self.dispatches.max(1),
            self.items
        );
        let barriers = self.barriers as f64 / (self.groups * u64::from(WORKGROUP)) as f64;
        let told = [("barriers a group", barriers)].into_iter();
        let told = told
            .chain([("shared atomics", each(self.shared)), ("waited", each(self.shared_waited))]);
        for (what, number) in told.filter(|(_, number)| *number > 0.0) {
            let _ = write!(out, ", {what} {number:.2}");
        }
        out.push('\n');
        let inner = self.loops.iter().filter(|(name, count)| name != "main" && *count > 0);
        let inner: Vec<String> =
            inner.map(|(name, count)| format!("{name} {:.2}", each(*count))).collect();
        if !inner.is_empty() {
            let _ = writeln!(out, "    loops: {}", inner.join(", "));
        }
        for used in self.used.iter().filter(|used| used.accesses > 0) {
            let _ = writeln!(
                out,
                "    {:<32} {:>6.2} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>7.2}",
                used.name,
                each(used.read),
                each(used.written),
                each(used.sectors),
                each(used.accesses.saturating_sub(used.sectors)),
                each(used.atomics),
                each(used.waited),
                each(used.moved),
            );
        }
    }
}
