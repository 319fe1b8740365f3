//! Runs a query on the GPU, on the CPU and on stock DataFusion, and says where they differ.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use thalweg::config::{DeviceChoice, Options};
use thalweg::device::fault::Fault;
use thalweg::device::gpu;
use thalweg::error::{DeviceError, Error};
use thalweg::sql::Engine;

use super::super::support;
use super::data::Data;
use super::query::Query;

/// Whether the device fails now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    None,
    Planted,
}

/// Rows as text, or the kind of error.
type Rows = Result<Vec<Vec<String>>, String>;

pub struct Bench {
    cpu: Engine,
    gpu: Engine,
    stock: SessionContext,
    faults: Faults,
    seed: Cell<u64>,
    counts: RefCell<Counts>,
    /// A planted fault of the comparison's own test.
    pub loses_rows: bool,
}

#[derive(Debug, Default)]
struct Counts {
    rows: usize,
    errors: usize,
    against_stock: usize,
    faults: usize,
}

impl Bench {
    /// `None` where there is no device and that is allowed.
    pub fn new(faults: Faults) -> Option<Self> {
        let gpu = support::engine_on(DeviceChoice::Gpu)?;
        let cpu = support::engine_on(DeviceChoice::Cpu)?;
        let stock = SessionContext::new();
        let (seed, counts) = (Cell::new(0), RefCell::default());
        Some(Self { cpu, gpu, stock, faults, seed, counts, loses_rows: false })
    }

    pub fn begin(&self, seed: u64) {
        self.seed.set(seed);
    }

    /// What was compared so far.
    pub fn told(&self) -> String {
        let Counts { rows, errors, against_stock, faults } = &*self.counts.borrow();
        format!(
            "{rows} rows the same on both sides, {errors} queries with the same error, \
             {against_stock} queries also as stock DataFusion, {faults} device faults"
        )
    }

    /// How the answers differ; `None` where they do not.
    pub async fn differs(&self, data: &Data, query: &Query) -> Option<String> {
        for context in [&self.cpu.context, &self.gpu.context, &self.stock] {
            for table in &data.tables {
                let batches = table.batches();
                let table_of = MemTable::try_new(batches[0].schema(), vec![batches]).unwrap();
                context.deregister_table(table.name.as_str()).unwrap();
                context.register_table(table.name.as_str(), Arc::new(table_of)).unwrap();
            }
        }
        // Averages of decimals are cut, as stock DataFusion does it.
        for engine in [&self.cpu, &self.gpu] {
            let cut = "SET thalweg.decimal_division = 'truncate'";
            support::run(engine, cut).await.unwrap();
        }
        let sql = query.to_string();
        let cpu = answer(&self.cpu, &sql).await;
        let mut gpu = self.on_device(data, &sql).await;
        if let (true, Ok(rows)) = (self.loses_rows, &mut gpu)
            && rows.len() > 1
        {
            rows.remove(0);
        }
        if let Some(difference) = compare("gpu", &gpu, "cpu", &cpu, query, |a, b, _| a == b) {
            return Some(difference);
        }
        match &cpu {
            Ok(rows) => self.counts.borrow_mut().rows += rows.len(),
            Err(_) => self.counts.borrow_mut().errors += 1,
        }
        if !query.for_stock() {
            return None;
        }
        let stock = self.stock(&format!("{query:#}")).await;
        // Where one of them raises, the other may not have looked at the row: README promises
        // less than the same errors as another engine's.
        let (Ok(_), Ok(_)) = (&cpu, &stock) else { return None };
        self.counts.borrow_mut().against_stock += 1;
        compare("cpu", &cpu, "stock DataFusion", &stock, query, alike)
    }

    async fn on_device(&self, data: &Data, sql: &str) -> Rows {
        let Data { slot_rows, group_entries, .. } = data;
        let set = format!(
            "SET thalweg.slot_rows = {slot_rows}; SET thalweg.group_entries = {group_entries}"
        );
        support::run(&self.gpu, &set).await.unwrap();
        if self.faults == Faults::None {
            return answer(&self.gpu, sql).await;
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.seed.get() ^ 0x5eed);
        let fault = match random.random_range(0..4) {
            0 => Fault::Lose { nth: random.random_range(1..6) },
            1 => Fault::Squeeze { nth: random.random_range(1..10) },
            _ => Fault::OutOfMemory { nth: random.random_range(1..20) },
        };
        let options = Options { device: DeviceChoice::Gpu, ..Options::default() };
        gpu::plant(&options, fault).unwrap();
        self.counts.borrow_mut().faults += 1;
        let faulted = support::run(&self.gpu, sql).await;
        let none =
            [Fault::Lose { nth: 0 }, Fault::Squeeze { nth: 0 }, Fault::OutOfMemory { nth: 0 }];
        none.into_iter().for_each(|none| gpu::plant(&options, none).unwrap());
        match faulted {
            // Rows had left the fragment: it may not run again.
            Err(error) if gave_up(&error) => answer(&self.gpu, sql).await,
            other => rows_of(other),
        }
    }

    async fn stock(&self, sql: &str) -> Rows {
        let frame = self.stock.sql(sql).await.map_err(|error| kind(&error.to_string()))?;
        let batches = frame.collect().await.map_err(|error| kind(&error.to_string()))?;
        support::texts(&batches).map_err(|error| kind(&error.to_string()))
    }
}

/// Whether the device failed, in any of the ways that are planted.
fn gave_up(error: &Error) -> bool {
    let text = error.to_string();
    matches!(error, Error::Device(DeviceError::Lost(_) | DeviceError::OutOfMemory { .. }))
        || text.contains("device lost")
        || text.contains("could not be allocated")
}

async fn answer(engine: &Engine, sql: &str) -> Rows {
    rows_of(support::run(engine, sql).await)
}

fn rows_of(result: thalweg::error::Result<Option<support::Answer>>) -> Rows {
    match result {
        Ok(answer) => Ok(answer.map(|answer| answer.rows).unwrap_or_default()),
        Err(error) => Err(kind(&error.to_string())),
    }
}

/// An error without what may differ: the side names no row.
fn kind(text: &str) -> String {
    let text = text.to_lowercase();
    let known = ["divi", "overflow", "cast", "plan", "bug", "panicked"];
    let found = known.iter().find(|word| text.contains(**word));
    found.map_or_else(|| text.clone(), |word| format!("{word}: {text}"))
}

/// What an error is about: its first word.
fn about(error: &str) -> &str {
    error.split(':').next().unwrap_or(error)
}

fn compare(
    left: &str,
    a: &Rows,
    right: &str,
    b: &Rows,
    query: &Query,
    same: impl Fn(&str, &str, bool) -> bool,
) -> Option<String> {
    let (a, b) = match (a, b) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(a), Err(b)) => {
            let bug = a.contains("bug in thalweg") || b.contains("bug in thalweg");
            let same = about(a) == about(b) && !bug;
            // Casts out of range and overflow are told by either word.
            let alike = ["overflow", "cast"].contains(&about(a))
                && ["overflow", "cast"].contains(&about(b));
            return (!same && !alike).then(|| format!("{left}: {a}\n{right}: {b}"));
        }
        (Err(error), Ok(rows)) => {
            return Some(format!("{left}: {error}\n{right}: {} rows", rows.len()));
        }
        (Ok(rows), Err(error)) => {
            return Some(format!("{left}: {} rows\n{right}: {error}", rows.len()));
        }
    };
    if a.len() != b.len() {
        return Some(format!("{left}: {} rows\n{right}: {} rows", a.len(), b.len()));
    }
    if !query.is_fixed() {
        return None;
    }
    let loose = query.loose();
    let sorted = |rows: &Vec<Vec<String>>| {
        let mut rows = rows.clone();
        // Columns that may differ a little order rows only where nothing else does.
        rows.sort_by_key(|row| {
            let exact = row.iter().zip(&loose).filter(|(_, loose)| !**loose);
            let key: Vec<_> = exact.map(|(value, _)| one_zero(value).to_string()).collect();
            (key, row.clone())
        });
        rows
    };
    let (a, b) = (sorted(a), sorted(b));
    for (x, y) in a.iter().zip(&b) {
        let equal = x.iter().zip(y).zip(&loose).all(|((x, y), loose)| same(x, y, *loose));
        if !equal {
            return Some(format!("{left}: {x:?}\n{right}: {y:?}"));
        }
    }
    None
}

/// A value without the sign of zero.
fn one_zero(value: &str) -> &str {
    if value == "-0.0" { "0.0" } else { value }
}

/// Equal but for the sign of zero; floats that were summed in another order to nine digits.
fn alike(a: &str, b: &str, loose: bool) -> bool {
    if one_zero(a) == one_zero(b) {
        return true;
    }
    if !loose {
        return false;
    }
    match (a.parse::<f64>(), b.parse::<f64>()) {
        // A sum that passes the end of the type on its way, or cancels, is another's own.
        (Ok(a), Ok(b)) if !a.is_finite() || !b.is_finite() => true,
        (Ok(a), Ok(b)) => {
            let scale = a.abs().max(b.abs());
            (a - b).abs() <= 1e-9 * scale || scale > 1e200 || (a - b).abs() < 1e-6
        }
        _ => false,
    }
}
