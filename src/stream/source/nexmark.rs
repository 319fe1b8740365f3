//! The `nexmark` connector: one table of the NEXMark generator as an endless or bounded log.
//!
//! Which table is told by `table`, or by the declared columns where they fit one only. The event
//! time may be declared as `ts`. Rows come as fast as they are read, but one that is followed
//! without an end keeps to its rate, as live data does.

use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::{Connector, Opening, Read, Rows, Source};
use crate::error::Result;
use crate::generate::nexmark::{Kind, Nexmark as Generator};
use crate::stream::settings::Settings;

/// The generator's name of the event time, and the one that streams mostly use.
const TIME: (&str, &str) = ("date_time", "ts");

/// The connector with its options.
#[derive(Debug, Clone)]
pub struct Nexmark {
    generator: Generator,
    kind: Kind,
    /// Rows of the table; `None` without an end.
    rows: Option<u64>,
    /// For each declared column, the generator's.
    columns: Vec<usize>,
}

impl Nexmark {
    /// `events` counts persons, auctions and bids together.
    pub fn new(settings: &mut Settings, schema: &SchemaRef) -> Result<Self> {
        let seed = settings.parsed("seed", "a whole number")?;
        let rate: Option<u64> = settings.parsed("rate", "a whole number of events a second")?;
        let events: Option<u64> = settings.parsed("events", "a whole number")?;
        let table = settings.text("table");
        if rate == Some(0) {
            return Err(settings.error("rate = '0': one event a second at least"));
        }
        let standard = Generator::default();
        let generator = Generator {
            seed: seed.unwrap_or(standard.seed),
            rate: rate.unwrap_or(standard.rate),
            ..standard
        };
        let named =
            |kind: &Kind| table.as_ref().is_none_or(|t| t.eq_ignore_ascii_case(kind.name()));
        let fits = |kind: Kind| Some((kind, columns(schema, &kind.schema())?));
        let mut fitting = Kind::ALL.into_iter().filter(named).filter_map(fits);
        let (Some((kind, columns)), None) = (fitting.next(), fitting.next()) else {
            let tables = Kind::ALL.map(|kind| {
                let names: Vec<_> =
                    kind.schema().fields().iter().map(|f| f.name().clone()).collect();
                format!("{} ({})", kind.name(), names.join(", "))
            });
            return Err(settings.error(format!(
                "the columns are not those of one table; choose with table = '..' from {}",
                tables.join(", ")
            )));
        };
        let rows = events.map(|events| kind.rows_before(events));
        Ok(Self { generator, kind, rows, columns })
    }
}

/// For each declared column, the table's; `None` where there is one that the table lacks.
fn columns(declared: &Schema, table: &Schema) -> Option<Vec<usize>> {
    let find = |name: &str| {
        let name = if name.eq_ignore_ascii_case(TIME.1) { TIME.0 } else { name };
        table.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name))
    };
    declared.fields().iter().map(|field| find(field.name())).collect()
}

impl Connector for Nexmark {
    fn name(&self) -> &'static str {
        "nexmark"
    }

    fn bounded(&self) -> Result<(), String> {
        match self.rows {
            Some(_) => Ok(()),
            None => Err("a generator without an end: say how many with events = '..'".to_string()),
        }
    }

    fn identity(&self) -> String {
        let (kind, generator) = (self.kind.name(), &self.generator);
        format!("{kind}, seed {}, rate {}", generator.seed, generator.rate)
    }

    fn open(&self, opening: Opening) -> Result<Box<dyn Source>> {
        let next = opening.from.offset.max(0).unsigned_abs();
        let live = (opening.follow && self.rows.is_none()).then(|| (Instant::now(), next));
        Ok(Box::new(Log { connector: self.clone(), opening, next, live }))
    }
}

struct Log {
    connector: Nexmark,
    opening: Opening,
    next: u64,
    /// When the reading began and with which row, where the generator keeps to its rate.
    live: Option<(Instant, u64)>,
}

impl Source for Log {
    fn next(&mut self, limit: usize) -> Result<Read> {
        let Nexmark { generator, kind, rows, columns } = &self.connector;
        let mut end = self.next.saturating_add(limit as u64).min(rows.unwrap_or(u64::MAX));
        if self.next >= end {
            return Ok(Read::End);
        }
        if let Some((start, first)) = self.live {
            let events = start.elapsed().as_secs_f64() * generator.rate as f64;
            end = end.min(kind.rows_before(kind.event(first) + events as u64));
            if self.next >= end {
                return Ok(Read::Idle);
            }
        }
        let made = generator.rows(*kind, self.next..end);
        let declared = self.opening.schema.fields().iter();
        let typed = declared
            .zip(columns)
            .map(|(field, column)| Ok(cast(made.column(*column), field.data_type())?));
        let typed = typed.collect::<Result<Vec<ArrayRef>>>()?;
        let offsets = Int64Array::from_iter_values(self.next as i64..end as i64);
        self.next = end;
        let batch = RecordBatch::try_new(self.opening.schema.clone(), typed)?;
        Ok(Read::Rows(Rows { batch, offsets }))
    }

    fn offset(&self) -> i64 {
        self.next as i64
    }
}
