//! The `nexmark` connector: one table of the NEXMark generator as an endless or bounded log.
//!
//! Which table is told by `table`, or by the declared columns where they fit one only. The event
//! time may be declared as `ts`.

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::generator::{Generator as Rows, Log, Numbers, bounded, partitions};
use crate::error::Result;
use crate::generate::nexmark::{Kind, Nexmark as Generator};
use crate::stream::connector::api::{Connector, Opening, Source};
use crate::stream::connector::options::Settings;

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
    partitions: usize,
}

impl Nexmark {
    /// `events` counts persons, auctions and bids together.
    pub fn new(settings: &mut Settings, schema: &SchemaRef) -> Result<Self> {
        let seed = settings.parsed("seed", "a whole number")?;
        let rate: Option<u64> = settings.parsed("rate", "a whole number of events a second")?;
        let events: Option<u64> = settings.parsed("events", "a whole number")?;
        let table = settings.text("table");
        let partitions = partitions(settings)?;
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
        Ok(Self { generator, kind, rows, columns, partitions })
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
        bounded(self)
    }

    fn identity(&self) -> String {
        let (kind, generator) = (self.kind.name(), &self.generator);
        format!("{kind}, seed {}, rate {}", generator.seed, generator.rate)
    }

    fn partitions(&self) -> usize {
        self.partitions
    }

    fn open(&self, opening: Opening) -> Result<Box<dyn Source>> {
        Ok(Box::new(Log::open(self.clone(), opening, self.partitions)))
    }
}

impl Rows for Nexmark {
    fn rows(&self) -> Option<u64> {
        self.rows
    }

    fn due(&self, first: u64, seconds: f64) -> u64 {
        let events = seconds * self.generator.rate as f64;
        self.kind.rows_before(self.kind.event(first) + events as u64)
    }

    fn make(&self, opening: &Opening, rows: Numbers) -> Result<RecordBatch> {
        let made = self.generator.rows_by(self.kind, rows);
        let declared = opening.schema.fields().iter();
        let typed = declared
            .zip(&self.columns)
            .map(|(field, column)| Ok(cast(made.column(*column), field.data_type())?));
        let typed = typed.collect::<Result<Vec<ArrayRef>>>()?;
        Ok(RecordBatch::try_new(opening.schema.clone(), typed)?)
    }
}
