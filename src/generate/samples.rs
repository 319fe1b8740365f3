//! Small tables with what real ones have: NULLs, quotes, dates, rows that are late.
//!
//! ```text
//! flights   date, carrier, flight, origin, destination, departs, delay, note   a file a month
//! readings  sensor, value, ts: out of order, one in fifty late                 events
//! quotes    symbol, bid, ask, ts: prices that change                           events
//! trades    trade, symbol, price, quantity, ts: each between the prices         events
//! products  product, name, category, price, stock: two versions                a Delta table
//! ```

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Builder, Decimal128Array, Float64Builder, Int32Builder, Int64Array,
    StringBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::Table;
use super::draw::Draw;

/// The same in every version, so that files are made again as they were.
const SEED: u64 = 2026;

const DAY_US: i64 = 86_400_000_000;
const MINUTE_US: i64 = 60_000_000;

/// 2026-01-01, in days and in microseconds.
const YEAR_DAYS: i32 = 20_454;
const YEAR_US: i64 = YEAR_DAYS as i64 * DAY_US;

/// Flights of a day.
const FLIGHTS: u64 = 24;

const CARRIERS: [&str; 5] = ["AA", "DL", "LH", "QF", "ZZ"];
const AIRPORTS: [&str; 6] = ["AMS", "FRA", "JFK", "NRT", "SFO", "SYD"];

/// Of flights that something is said of.
const NOTES: [&str; 4] = [
    "weather, wind over 60 km/h",
    "crew said \"wait\"",
    "late arrival of the aircraft",
    "Ölwechsel",
];

/// Flights of a month of 2026, `month` from 0 to 1: `flights/2026-01` and `flights/2026-02`.
pub fn flights(month: usize) -> Table {
    let (name, before, days) = match month {
        0 => ("flights/2026-01", 0, 31),
        _ => ("flights/2026-02", 31, 28),
    };
    let field = |name: &str, kind: DataType, null| Field::new(name, kind, null);
    let schema = Arc::new(Schema::new(vec![
        field("date", DataType::Date32, false),
        field("carrier", DataType::Utf8, false),
        field("flight", DataType::Int32, false),
        field("origin", DataType::Utf8, false),
        field("destination", DataType::Utf8, false),
        field("departs", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        field("delay", DataType::Int32, true),
        field("note", DataType::Utf8, true),
    ]));
    let made = schema.clone();
    Table::new(name, schema, 1, move |_| {
        let (mut dates, mut departs) = (Date32Builder::new(), TimestampMicrosecondBuilder::new());
        let (mut flights, mut delays) = (Int32Builder::new(), Int32Builder::new());
        let mut texts: [StringBuilder; 4] = std::array::from_fn(|_| StringBuilder::new());
        for row in before * FLIGHTS..(before + days) * FLIGHTS {
            let mut draw = Draw::new(SEED, row);
            let day = (row / FLIGHTS) as i32;
            dates.append_value(YEAR_DAYS + day);
            let minute = row % FLIGHTS * 55 + draw.below(50);
            departs.append_value(YEAR_US + i64::from(day) * DAY_US + minute as i64 * MINUTE_US);
            flights.append_value(100 + draw.below(900) as i32);
            let from = draw.below(AIRPORTS.len() as u64) as usize;
            let to = (from + 1 + draw.below(AIRPORTS.len() as u64 - 1) as usize) % AIRPORTS.len();
            texts[0].append_value(draw.one_of(&CARRIERS));
            texts[1].append_value(AIRPORTS[from]);
            texts[2].append_value(AIRPORTS[to]);
            // One in forty was cancelled, half are a little early or late, the rest much.
            let delay = match draw.below(40) {
                0 => None,
                1..=20 => Some(draw.below(15) as i32 - 7),
                _ => Some(draw.below(180) as i32),
            };
            delays.append_option(delay);
            let told = delay.is_none_or(|delay| delay > 90);
            texts[3].append_option(told.then(|| draw.one_of(&NOTES)));
        }
        let [carrier, origin, destination, note] = texts.map(|mut text| Arc::new(text.finish()));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(dates.finish()),
            carrier,
            Arc::new(flights.finish()),
            origin,
            destination,
            Arc::new(departs.finish()),
            Arc::new(delays.finish()),
            note,
        ];
        rows(&made, columns)
    })
}

/// Seconds between two readings, of which one in `LATE_ONE_IN` comes after much later ones.
const READING_SECONDS: i64 = 5;
const READINGS: u64 = 2000;
const LATE_ONE_IN: u64 = 50;

/// Readings of eight sensors in the order in which they arrive: some seconds out of order, one in
/// fifty two to five minutes late: `readings`.
pub fn readings() -> Table {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let schema = Arc::new(Schema::new(vec![
        Field::new("sensor", DataType::Utf8, false),
        Field::new("value", DataType::Float64, true),
        Field::new("ts", time, false),
    ]));
    let made = schema.clone();
    Table::new("readings", schema, 1, move |_| {
        let (mut sensors, mut values) = (StringBuilder::new(), Float64Builder::new());
        let mut times = TimestampMicrosecondBuilder::new();
        for row in 0..READINGS {
            let mut draw = Draw::new(SEED + 1, row);
            let sensor = draw.below(8);
            sensors.append_value(format!("s{sensor}"));
            // Tenths, around a level of each sensor; one in a hundred gives none.
            let tenths = 200 + 10 * sensor as i64 + draw.below(60) as i64 - 30;
            values.append_option((draw.below(100) > 0).then_some(tenths as f64 / 10.0));
            let back = match draw.below(LATE_ONE_IN) {
                0 => 120 + draw.below(180) as i64,
                _ => draw.below(20) as i64,
            };
            let seconds = row as i64 * READING_SECONDS + 300 - back;
            times.append_value(YEAR_US + seconds * 1_000_000);
        }
        let columns: Vec<ArrayRef> =
            vec![Arc::new(sensors.finish()), Arc::new(values.finish()), Arc::new(times.finish())];
        rows(&made, columns)
    })
}

const SYMBOLS: [&str; 4] = ["ALFA", "BETA", "GAMA", "DELT"];

/// Quotes come each second, of one symbol after another; trades each three.
const QUOTES: u64 = 400;
const TRADES: u64 = 120;
const TRADE_SECONDS: u64 = 3;

/// Cents of the lower price in the `nth` quote of a symbol: it wanders around its level.
fn bid_cents(symbol: u64, nth: u64) -> i128 {
    let steps = (1..=nth).map(|n| i128::from(Draw::new(SEED + 6 + symbol, n).below(21)) - 10);
    4_000 + 2_500 * i128::from(symbol) + steps.sum::<i128>()
}

/// Cents between the prices of a quote.
fn spread_cents(symbol: u64) -> i128 {
    4 + 2 * i128::from(symbol)
}

fn cents(values: Vec<i128>) -> ArrayRef {
    let precise = Decimal128Array::from(values).with_data_type(DataType::Decimal128(10, 2));
    Arc::new(precise)
}

/// Prices of four symbols at which one may sell and buy: `quotes`.
pub fn quotes() -> Table {
    let schema = Arc::new(Schema::new(vec![
        Field::new("symbol", DataType::Utf8, false),
        Field::new("bid", DataType::Decimal128(10, 2), false),
        Field::new("ask", DataType::Decimal128(10, 2), false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
    ]));
    let made = schema.clone();
    Table::new("quotes", schema, 1, move |_| {
        let (mut symbols, mut times) = (StringBuilder::new(), TimestampMicrosecondBuilder::new());
        let (mut bids, mut asks) = (Vec::new(), Vec::new());
        for row in 0..QUOTES {
            let symbol = row % SYMBOLS.len() as u64;
            symbols.append_value(SYMBOLS[symbol as usize]);
            let bid = bid_cents(symbol, row / SYMBOLS.len() as u64);
            bids.push(bid);
            asks.push(bid + spread_cents(symbol));
            times.append_value(YEAR_US + row as i64 * 1_000_000);
        }
        let times: ArrayRef = Arc::new(times.finish());
        rows(&made, vec![Arc::new(symbols.finish()), cents(bids), cents(asks), times])
    })
}

/// Trades at one of the prices that were in force, some with a cent more or less: `trades`.
pub fn trades() -> Table {
    let schema = Arc::new(Schema::new(vec![
        Field::new("trade", DataType::Int64, false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("price", DataType::Decimal128(10, 2), false),
        Field::new("quantity", DataType::Int64, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
    ]));
    let made = schema.clone();
    Table::new("trades", schema, 1, move |_| {
        let (mut symbols, mut times) = (StringBuilder::new(), TimestampMicrosecondBuilder::new());
        let (mut prices, mut quantities) = (Vec::new(), Vec::new());
        for row in 0..TRADES {
            let mut draw = Draw::new(SEED + 5, row);
            let symbol = draw.below(SYMBOLS.len() as u64);
            symbols.append_value(SYMBOLS[symbol as usize]);
            let second = 10 + row * TRADE_SECONDS;
            let bid = bid_cents(symbol, (second - symbol) / SYMBOLS.len() as u64);
            let side = if draw.below(2) == 0 { 0 } else { spread_cents(symbol) };
            prices.push(bid + side + i128::from(draw.below(3)) - 1);
            quantities.push(10 * (1 + draw.below(40) as i64));
            // Half a second after a quote, so that none is of the same time.
            times.append_value(YEAR_US + second as i64 * 1_000_000 + 500_000);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(1..=TRADES as i64)),
            Arc::new(symbols.finish()),
            cents(prices),
            Arc::new(Int64Array::from(quantities)),
            Arc::new(times.finish()),
        ];
        rows(&made, columns)
    })
}

const PRODUCTS: i64 = 200;

const CATEGORIES: [&str; 5] = ["books", "garden", "kitchen", "music", "tools"];

/// Products with prices, as of one of two versions: in the second a third of them costs more, and
/// the stock is another: `products`.
pub fn products(version: u64) -> Table {
    let schema = Arc::new(Schema::new(vec![
        Field::new("product", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("category", DataType::Utf8, true),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("stock", DataType::Int64, true),
        Field::new("changed", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]));
    let made = schema.clone();
    Table::new("products", schema, 1, move |_| {
        let (mut names, mut categories) = (StringBuilder::new(), StringBuilder::new());
        let (mut prices, mut stock, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        for product in 1..=PRODUCTS {
            let mut draw = Draw::new(SEED + 2, product as u64);
            let mut name = String::new();
            draw.letters(6, &mut name);
            names.append_value(name);
            categories.append_value(draw.one_of(&CATEGORIES));
            let price = 100 + i128::from(draw.below(20_000));
            let more = version > 0 && draw.below(3) == 0;
            prices.push(if more { price + price / 10 } else { price });
            stock.push(Draw::new(SEED + 3 + version, product as u64).below(500) as i64);
            changed.push(YEAR_US + if more { 31 * DAY_US } else { 0 });
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(1..=PRODUCTS)),
            Arc::new(names.finish()),
            Arc::new(categories.finish()),
            cents(prices),
            Arc::new(Int64Array::from(stock)),
            Arc::new(TimestampMicrosecondArray::from(changed).with_timezone("UTC")),
        ];
        rows(&made, columns)
    })
}

/// One batch; none where the columns do not fit, which tests would see.
fn rows(schema: &Arc<Schema>, columns: Vec<ArrayRef>) -> super::Batches {
    Box::new(RecordBatch::try_new(schema.clone(), columns).into_iter())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::TimestampMicrosecondType;

    use super::*;

    #[test]
    fn every_table_has_its_rows_and_oddities() {
        let only = |table: Table| table.part(0).next().unwrap();
        let (january, february) = (only(flights(0)), only(flights(1)));
        assert_eq!((january.num_rows(), february.num_rows()), (744, 672));
        let notes = january.column(7).as_string::<i32>();
        assert!(january.column(6).null_count() > 5 && notes.null_count() > 100);
        for odd in ["\"wait\"", ", ", "Ö"] {
            assert!(notes.iter().flatten().any(|note| note.contains(odd)), "{odd}");
        }
        let readings = only(readings());
        let times = readings.column(2).as_primitive::<TimestampMicrosecondType>();
        let (mut latest, mut out_of_order, mut late) = (i64::MIN, 0, 0);
        for time in times.values() {
            out_of_order += usize::from(*time < latest);
            late += usize::from(*time < latest.saturating_sub(MINUTE_US));
            latest = latest.max(*time);
        }
        assert!(out_of_order > 500 && (20..80).contains(&late), "{out_of_order} {late}");
        assert!(readings.column(1).null_count() > 5);
        let (quotes, trades) = (only(quotes()), only(trades()));
        assert_eq!((quotes.num_rows(), trades.num_rows()), (400, 120));
        let last = |batch: &RecordBatch, column| {
            let times = batch.column(column).as_primitive::<TimestampMicrosecondType>();
            times.value(times.len() - 1)
        };
        assert!(last(&trades, 4) < last(&quotes, 3));
        let (first, second) = (only(products(0)), only(products(1)));
        assert_eq!(first.column(1), second.column(1));
        assert_ne!(first.column(3), second.column(3));
    }
}
