//! NEXMark: an auction site's persons, auctions and bids (Tucker, Tufte, Papadimos and Maier,
//! "NEXMark: a benchmark for queries over data streams", 2002; proportions, hot ratios and columns
//! as in the Beam and Flink suites of that name).
//!
//! Every row is a pure function of the seed and of the row's event number, so batches of any size
//! give the same rows and a source can start anywhere. Events come in rounds of 50:
//! one person, three auctions, 46 bids. Event times never go back.
//!
//! ```text
//! let nexmark = Nexmark { seed: 7, ..Nexmark::default() };
//! let events = nexmark.events(0..1_000);              // three batches, by event number
//! let bids = nexmark.rows(Kind::Bid, 500..1_000);     // one table, by row number
//! ```

use std::iter::StepBy;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int64Array, Int64Builder, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::draw::Draw;
use super::words::{CHANNEL_LIST, CITIES, FIRST_NAMES, HOT_CHANNELS, LAST_NAMES, STATES};
use super::{Batches, Table};

/// Events of one round, in the order person, auctions, bids.
const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;
const BIDS: u64 = 46;
const ROUND: u64 = PERSONS + AUCTIONS + BIDS;

/// Ids start here, so that queries over small data find something.
const FIRST_PERSON: u64 = 1000;
const FIRST_AUCTION: u64 = 1000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;

/// Persons who still bid and sell; auctions that are still open.
const ACTIVE_PERSONS: u64 = 1000;
const OPEN_AUCTIONS: u64 = 100;

/// How far ahead of what exists an id may be drawn: references that a join finds only later.
const LEAD: u64 = 10;

/// The hot person or auction is the first (for bidders the second) in each hundred.
const HOT_EVERY: u64 = 100;

/// All but one in so many go to the hot one.
const HOT_SELLER_RATIO: u64 = 4;
const HOT_BIDDER_RATIO: u64 = 4;
const HOT_AUCTION_RATIO: u64 = 2;
const HOT_CHANNEL_RATIO: u64 = 2;

/// Average bytes of a row; column `extra` makes up what the others do not fill.
const PERSON_BYTES: usize = 200;
const AUCTION_BYTES: usize = 500;
const BID_BYTES: usize = 100;

/// Rows of the batches that files are written from.
const BATCH_ROWS: u64 = 8192;

/// Row numbers of one table.
type Rows = StepBy<Range<u64>>;

/// The three tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Person,
    Auction,
    Bid,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Person, Self::Auction, Self::Bid];

    /// The table's name: `person`, `auction`, `bid`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Auction => "auction",
            Self::Bid => "bid",
        }
    }

    /// The table's columns; none is ever NULL, times are microseconds without a zone.
    pub fn schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<[SchemaRef; 3]> =
            LazyLock::new(|| [person_schema(), auction_schema(), bid_schema()]);
        Arc::clone(&SCHEMAS[self as usize])
    }

    /// Position in a round of the first event of this kind, and how many there are.
    fn place(self) -> (u64, u64) {
        match self {
            Self::Person => (0, PERSONS),
            Self::Auction => (PERSONS, AUCTIONS),
            Self::Bid => (PERSONS + AUCTIONS, BIDS),
        }
    }

    /// The event number of this table's row `row` (from 0).
    pub fn event(self, row: u64) -> u64 {
        let (first, count) = self.place();
        row / count * ROUND + first + row % count
    }

    /// How many rows of this table the events before `event` hold.
    pub fn rows_before(self, event: u64) -> u64 {
        let (first, count) = self.place();
        event / ROUND * count + (event % ROUND).saturating_sub(first).min(count)
    }
}

/// The generator: what its rows depend on, nothing that changes while they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nexmark {
    pub seed: u64,
    /// Events of all kinds per second of event time, at least 1.
    pub rate: u64,
    /// Event time of event 0, in microseconds since 1970-01-01T00:00:00.
    pub start_us: i64,
}

impl Default for Nexmark {
    /// Ten thousand events a second from 2026-01-01T00:00:00 on.
    fn default() -> Self {
        Self { seed: 0, rate: 10_000, start_us: 1_767_225_600_000_000 }
    }
}

/// The rows of a range of events, by table.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    pub persons: RecordBatch,
    pub auctions: RecordBatch,
    pub bids: RecordBatch,
}

impl Nexmark {
    /// The rows of the events with these numbers. Any table may have none.
    pub fn events(&self, range: Range<u64>) -> Events {
        let rows = |kind: Kind| {
            self.rows(kind, kind.rows_before(range.start)..kind.rows_before(range.end))
        };
        Events { persons: rows(Kind::Person), auctions: rows(Kind::Auction), bids: rows(Kind::Bid) }
    }

    /// The rows of one table with these row numbers (from 0, not event numbers).
    pub fn rows(&self, kind: Kind, range: Range<u64>) -> RecordBatch {
        self.rows_by(kind, range.step_by(1))
    }

    /// Every so many-th row of one table.
    pub fn rows_by(&self, kind: Kind, rows: Rows) -> RecordBatch {
        match kind {
            Kind::Person => self.persons(rows),
            Kind::Auction => self.auctions(rows),
            Kind::Bid => self.bids(rows),
        }
    }

    /// Event time of an event, in microseconds since 1970-01-01T00:00:00; never goes back.
    pub fn time_us(&self, event: u64) -> i64 {
        let after = u128::from(event) * 1_000_000 / u128::from(self.rate.max(1));
        self.start_us.saturating_add(i64::try_from(after).unwrap_or(i64::MAX))
    }

    /// The tables of events `0..events`, to be written in parts of about `rows_per_part` rows.
    pub fn tables(self, events: u64, rows_per_part: u64) -> Vec<Table> {
        let table = move |kind: Kind| {
            let rows = kind.rows_before(events);
            let parts = rows.div_ceil(rows_per_part);
            Table::new(kind.name(), kind.schema(), parts, move |part| {
                let start = part * rows_per_part;
                self.batches(kind, start..rows.min(start + rows_per_part))
            })
        };
        Kind::ALL.into_iter().map(table).collect()
    }

    fn batches(self, kind: Kind, rows: Range<u64>) -> Batches {
        let starts = rows.clone().step_by(BATCH_ROWS as usize);
        Box::new(starts.map(move |at| self.rows(kind, at..rows.end.min(at + BATCH_ROWS))))
    }

    fn draw(&self, event: u64) -> Draw {
        Draw::new(self.seed, event)
    }

    fn times(&self, kind: Kind, rows: Rows) -> ArrayRef {
        let times = rows.map(|row| self.time_us(kind.event(row)));
        Arc::new(TimestampMicrosecondArray::from_iter_values(times))
    }

    fn persons(&self, rows: Rows) -> RecordBatch {
        let mut text: [StringBuilder; 6] = Default::default();
        let mut buffer = String::new();
        for row in rows.clone() {
            let draw = &mut self.draw(Kind::Person.event(row));
            let [name, email, card, city, state, extra] = &mut text;
            let before = name.values_slice().len();
            let name_text = format!("{} {}", draw.one_of(&FIRST_NAMES), draw.one_of(&LAST_NAMES));
            name.append_value(&name_text);
            buffer.clear();
            draw.letters(7, &mut buffer);
            buffer.push('@');
            draw.letters(5, &mut buffer);
            buffer.push_str(".com");
            email.append_value(&buffer);
            let digits = [(); 4].map(|()| format!("{:04}", draw.below(10_000)));
            card.append_value(digits.join(" "));
            let (city_text, state_text) = (draw.one_of(&CITIES), draw.one_of(&STATES));
            city.append_value(city_text);
            state.append_value(state_text);
            let written = name.values_slice().len() - before + buffer.len() + 19;
            let size = 8 + written + city_text.len() + state_text.len();
            append_extra(draw, size, PERSON_BYTES, &mut buffer, extra);
        }
        let ids = rows.clone().map(|row| (FIRST_PERSON + row) as i64);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(ids))];
        let [mut name, mut email, mut card, mut city, mut state, mut extra] = text;
        for column in [&mut name, &mut email, &mut card, &mut city, &mut state] {
            columns.push(Arc::new(column.finish()));
        }
        columns.push(self.times(Kind::Person, rows));
        columns.push(Arc::new(extra.finish()));
        batch(Kind::Person, columns)
    }

    fn auctions(&self, rows: Rows) -> RecordBatch {
        let mut names: [StringBuilder; 3] = Default::default();
        let mut numbers: [Int64Builder; 4] = Default::default();
        let mut expires = Vec::new();
        let mut buffer = String::new();
        for row in rows.clone() {
            let event = Kind::Auction.event(row);
            let draw = &mut self.draw(event);
            let [name, description, extra] = &mut names;
            for (column, length) in [(name, 20), (description, 100)] {
                buffer.clear();
                draw.letters(length, &mut buffer);
                column.append_value(&buffer);
            }
            let [initial_bid, reserve, seller, category] = &mut numbers;
            let first_bid = price(draw);
            initial_bid.append_value(first_bid);
            reserve.append_value(first_bid + price(draw));
            expires.push(self.expiry(event, draw));
            seller.append_value((FIRST_PERSON + seller_of(event, draw)) as i64);
            category.append_value((FIRST_CATEGORY + draw.below(CATEGORIES)) as i64);
            append_extra(draw, 8 + 120 + 5 * 8, AUCTION_BYTES, &mut buffer, extra);
        }
        let [mut name, mut description, mut extra] = names;
        let [mut initial_bid, mut reserve, mut seller, mut category] = numbers;
        let ids = rows.clone().map(|row| (FIRST_AUCTION + row) as i64);
        batch(
            Kind::Auction,
            vec![
                Arc::new(Int64Array::from_iter_values(ids)),
                Arc::new(name.finish()),
                Arc::new(description.finish()),
                Arc::new(initial_bid.finish()),
                Arc::new(reserve.finish()),
                self.times(Kind::Auction, rows),
                Arc::new(TimestampMicrosecondArray::from(expires)),
                Arc::new(seller.finish()),
                Arc::new(category.finish()),
                Arc::new(extra.finish()),
            ],
        )
    }

    /// When an auction ends: on average after as many events as keep `OPEN_AUCTIONS` open.
    fn expiry(&self, event: u64, draw: &mut Draw) -> i64 {
        let now = self.time_us(event);
        let horizon = self.time_us(event + OPEN_AUCTIONS * ROUND / AUCTIONS) - now;
        now + 1 + draw.below((2 * horizon).max(1) as u64) as i64
    }

    fn bids(&self, rows: Rows) -> RecordBatch {
        let count = rows.size_hint().0;
        let mut auctions = Vec::with_capacity(count);
        let mut bidders = Vec::with_capacity(count);
        let mut prices = Vec::with_capacity(count);
        let mut channels = StringBuilder::with_capacity(count, count * 10);
        let mut urls = StringBuilder::with_capacity(count, count * 64);
        let mut extras = StringBuilder::with_capacity(count, count * 70);
        let mut buffer = String::new();
        for row in rows.clone() {
            let event = Kind::Bid.event(row);
            let draw = &mut self.draw(event);
            auctions.push((FIRST_AUCTION + auction_of(event, draw)) as i64);
            bidders.push((FIRST_PERSON + bidder_of(event, draw)) as i64);
            prices.push(price(draw));
            let (hot, cold) = CHANNEL_LIST.split_at(HOT_CHANNELS.len());
            let channel = match draw.below(HOT_CHANNEL_RATIO) {
                0 => draw.one_of(cold),
                _ => draw.one_of(hot),
            };
            channels.append_value(&channel.name);
            urls.append_value(&channel.url);
            append_extra(draw, 4 * 8, BID_BYTES, &mut buffer, &mut extras);
        }
        batch(
            Kind::Bid,
            vec![
                Arc::new(Int64Array::from(auctions)),
                Arc::new(Int64Array::from(bidders)),
                Arc::new(Int64Array::from(prices)),
                Arc::new(channels.finish()),
                Arc::new(urls.finish()),
                self.times(Kind::Bid, rows),
                Arc::new(extras.finish()),
            ],
        )
    }
}

/// The last person that exists at an event, counted from 0.
fn last_person(event: u64) -> u64 {
    (Kind::Person.rows_before(event + 1)).saturating_sub(1)
}

/// The last auction that exists at an event, counted from 0.
fn last_auction(event: u64) -> u64 {
    (Kind::Auction.rows_before(event + 1)).saturating_sub(1)
}

/// One of the active persons, or one of the next `LEAD` to come.
fn any_person(event: u64, draw: &mut Draw) -> u64 {
    let persons = last_person(event) + 1;
    let active = persons.min(ACTIVE_PERSONS);
    persons - active + draw.below(active + LEAD)
}

fn seller_of(event: u64, draw: &mut Draw) -> u64 {
    match draw.below(HOT_SELLER_RATIO) {
        0 => any_person(event, draw),
        _ => last_person(event) / HOT_EVERY * HOT_EVERY,
    }
}

fn bidder_of(event: u64, draw: &mut Draw) -> u64 {
    match draw.below(HOT_BIDDER_RATIO) {
        0 => any_person(event, draw),
        _ => last_person(event) / HOT_EVERY * HOT_EVERY + 1,
    }
}

fn auction_of(event: u64, draw: &mut Draw) -> u64 {
    let last = last_auction(event);
    if draw.below(HOT_AUCTION_RATIO) > 0 {
        return last / HOT_EVERY * HOT_EVERY;
    }
    let first = last.saturating_sub(OPEN_AUCTIONS);
    first + draw.below(last - first + 1 + LEAD)
}

/// A price in cents: 100 * 10^(6u), u uniform in 20 bits.
///
/// The power is a product of square roots of 10^6, one per bit of u. Multiplication and square
/// root are correctly rounded everywhere; `powf` is not, and would make other data elsewhere.
fn price(draw: &mut Draw) -> i64 {
    static ROOTS: LazyLock<[f64; 20]> = LazyLock::new(|| {
        let mut root = 1e6_f64;
        [(); 20].map(|()| {
            root = root.sqrt();
            root
        })
    });
    let bits = draw.word();
    let chosen = ROOTS.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
    (chosen.fold(100.0, |product, (_, root)| product * root)).round() as i64
}

/// Letters that bring a row of `size` bytes to `average` bytes, give or take a fifth.
fn append_extra(
    draw: &mut Draw,
    size: usize,
    average: usize,
    buffer: &mut String,
    to: &mut StringBuilder,
) {
    buffer.clear();
    let missing = average.saturating_sub(size);
    let delta = (missing + 2) / 5;
    let length = missing - delta + draw.below(2 * delta as u64) as usize;
    draw.letters(length, buffer);
    to.append_value(&buffer);
}

fn batch(kind: Kind, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(kind.schema(), columns).expect("the columns are made for this schema")
}

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), false);
    Arc::new(Schema::new(fields.iter().map(field).collect::<Vec<_>>()))
}

const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn person_schema() -> SchemaRef {
    schema(&[
        ("id", DataType::Int64),
        ("name", DataType::Utf8),
        ("email_address", DataType::Utf8),
        ("credit_card", DataType::Utf8),
        ("city", DataType::Utf8),
        ("state", DataType::Utf8),
        ("date_time", TIME),
        ("extra", DataType::Utf8),
    ])
}

fn auction_schema() -> SchemaRef {
    schema(&[
        ("id", DataType::Int64),
        ("item_name", DataType::Utf8),
        ("description", DataType::Utf8),
        ("initial_bid", DataType::Int64),
        ("reserve", DataType::Int64),
        ("date_time", TIME),
        ("expires", TIME),
        ("seller", DataType::Int64),
        ("category", DataType::Int64),
        ("extra", DataType::Utf8),
    ])
}

fn bid_schema() -> SchemaRef {
    schema(&[
        ("auction", DataType::Int64),
        ("bidder", DataType::Int64),
        ("price", DataType::Int64),
        ("channel", DataType::Utf8),
        ("url", DataType::Utf8),
        ("date_time", TIME),
        ("extra", DataType::Utf8),
    ])
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::compute::concat_batches;

    use super::*;

    #[test]
    fn batches_of_any_size_give_the_same_rows() {
        let nexmark = Nexmark { seed: 11, ..Nexmark::default() };
        let whole = nexmark.events(0..5_000);
        for step in [1, 7, 50, 1_999] {
            let events = |at: u64| nexmark.events(at..5_000.min(at + step as u64));
            let cut: Vec<Events> = (0..5_000).step_by(step).map(events).collect();
            let bids: Vec<RecordBatch> = cut.iter().map(|events| events.bids.clone()).collect();
            assert_eq!(concat_batches(&Kind::Bid.schema(), &bids).unwrap(), whole.bids, "{step}");
            let auctions: Vec<_> = cut.iter().map(|events| events.auctions.clone()).collect();
            let auctions = concat_batches(&Kind::Auction.schema(), &auctions).unwrap();
            assert_eq!(auctions, whole.auctions, "{step}");
            let persons: Vec<_> = cut.iter().map(|events| events.persons.clone()).collect();
            let persons = concat_batches(&Kind::Person.schema(), &persons).unwrap();
            assert_eq!(persons, whole.persons, "{step}");
        }
    }

    #[test]
    fn the_mix_is_two_six_ninety_two() {
        let events = Nexmark::default().events(0..50_000);
        let rows = [&events.persons, &events.auctions, &events.bids].map(|b| b.num_rows());
        assert_eq!(rows, [1_000, 3_000, 46_000]);
    }

    #[test]
    fn event_numbers_and_row_numbers_agree() {
        for kind in Kind::ALL {
            for row in 0..1_000 {
                let event = kind.event(row);
                assert_eq!(kind.rows_before(event), row);
                assert_eq!(kind.rows_before(event + 1), row + 1);
            }
        }
    }

    #[test]
    fn times_never_go_back_however_far() {
        let nexmark = Nexmark { rate: 3_000_000, ..Nexmark::default() };
        let far = 5_000_000_000;
        let times: Vec<i64> = (far..far + 10_000).map(|event| nexmark.time_us(event)).collect();
        assert!(times.is_sorted());
        assert_eq!(times[9_999] - times[0], 3_333);
    }

    #[test]
    fn prices_are_log_uniform_in_their_range() {
        let prices: Vec<i64> = (0..20_000).map(|row| price(&mut Draw::new(5, row))).collect();
        assert!(prices.iter().all(|price| (100..=100_000_000).contains(price)));
        let below = prices.iter().filter(|&&price| price < 100_000).count();
        // Half of them: binomial, sigma 71.
        assert!((9_600..10_400).contains(&below), "{below}");
    }

    #[test]
    fn the_seed_matters_and_the_first_rows_never_change() {
        let bids = |seed| Nexmark { seed, ..Nexmark::default() }.rows(Kind::Bid, 0..3);
        assert_ne!(bids(0), bids(1));
        let options = arrow::util::display::FormatOptions::default();
        let shown = arrow::util::pretty::pretty_format_batches_with_options(
            &[bids(0).project(&[0, 1, 2, 3, 5]).unwrap()],
            &options,
        );
        insta::assert_snapshot!(shown.unwrap().to_string(), @r"
        +---------+--------+----------+--------------+----------------------------+
        | auction | bidder | price    | channel      | date_time                  |
        +---------+--------+----------+--------------+----------------------------+
        | 1000    | 1001   | 463307   | Apple        | 2026-01-01T00:00:00.000400 |
        | 1000    | 1006   | 3483     | channel-3006 | 2026-01-01T00:00:00.000500 |
        | 1009    | 1001   | 22672094 | channel-2030 | 2026-01-01T00:00:00.000600 |
        +---------+--------+----------+--------------+----------------------------+
        ");
    }

    #[test]
    fn references_point_at_what_exists_or_soon_will() {
        let events = Nexmark::default().events(0..100_000);
        let bids = events.bids.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        for (row, auction) in bids.values().iter().enumerate() {
            let last = FIRST_AUCTION + last_auction(Kind::Bid.event(row as u64));
            assert!(*auction as u64 <= last + LEAD, "bid {row} on auction {auction}");
            assert!(*auction as u64 >= FIRST_AUCTION);
        }
        let names = events.persons.column(1).as_any().downcast_ref::<StringArray>().unwrap();
        assert!(names.iter().flatten().all(|name| name.contains(' ')));
    }
}
