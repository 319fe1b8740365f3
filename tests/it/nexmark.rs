//! The NEXMark queries of `examples/nexmark`: as batches against plain SQL that says the same, and
//! as pipelines against the batch.

use std::process::Command;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;
use thalweg::sql::Engine;

use super::support;

/// Small enough for a binary that is not optimized.
const EVENTS: &str = "events = 20000";

/// A query's number, and SQL without windows that gives the same rows.
const QUERIES: [(u32, &str); 12] = [
    (0, "SELECT auction, bidder, price, date_time, extra FROM bid"),
    (
        1,
        "SELECT auction, bidder, CAST(price * 908 AS DECIMAL(24, 3)) / 1000 AS price, date_time,
         extra FROM bid",
    ),
    (2, "SELECT auction, price FROM bid WHERE auction - auction / 123 * 123 = 0"),
    (
        5,
        "WITH spread AS (SELECT auction, date_bin(INTERVAL '2 seconds', date_time) - back AS s
           FROM bid CROSS JOIN (VALUES (INTERVAL '0 seconds'), (INTERVAL '2 seconds'),
             (INTERVAL '4 seconds'), (INTERVAL '6 seconds'), (INTERVAL '8 seconds')) AS k (back)),
         counts AS (SELECT s, auction, count(*) AS num FROM spread GROUP BY s, auction)
         SELECT auction, num
         FROM (SELECT *, rank() OVER (PARTITION BY s ORDER BY num DESC) AS place FROM counts)
         WHERE place = 1",
    ),
    (
        7,
        "SELECT auction, bidder, price, date_time, extra FROM (SELECT *, rank() OVER (
           PARTITION BY date_bin(INTERVAL '10 seconds', date_time) ORDER BY price DESC) AS place
           FROM bid) WHERE place = 1",
    ),
    (
        8,
        "SELECT id, name, s FROM (SELECT DISTINCT id, name,
           date_bin(INTERVAL '10 seconds', date_time) AS s FROM person) AS p
         WHERE EXISTS (SELECT 1 FROM auction AS a
           WHERE a.seller = p.id AND date_bin(INTERVAL '10 seconds', a.date_time) = p.s)",
    ),
    (
        10,
        "SELECT auction, bidder, price, date_time, extra,
           substr(CAST(date_time AS VARCHAR), 1, 10), substr(CAST(date_time AS VARCHAR), 12, 5)
         FROM bid",
    ),
    (
        11,
        "WITH gaps AS (SELECT bidder, date_time, CASE WHEN date_time - lag(date_time)
             OVER (PARTITION BY bidder ORDER BY date_time) <= INTERVAL '10 seconds'
             THEN 0 ELSE 1 END AS new FROM bid),
         islands AS (SELECT bidder, date_time, sum(new) OVER (PARTITION BY bidder
             ORDER BY date_time RANGE UNBOUNDED PRECEDING) AS nth FROM gaps)
         SELECT bidder, count(*), min(date_time), max(date_time) + INTERVAL '10 seconds'
         FROM islands GROUP BY bidder, nth",
    ),
    (
        13,
        "SELECT auction, bidder, price, date_time, 'side-' || CAST(auction AS VARCHAR)
         FROM bid WHERE auction BETWEEN 1000 AND 1199",
    ),
    (
        14,
        "SELECT auction, bidder, CAST(price * 908 AS DECIMAL(24, 3)) / 1000,
           CASE substr(CAST(date_time AS VARCHAR), 12, 2)
             WHEN '07' THEN 'otherTime' WHEN '19' THEN 'otherTime'
             ELSE CASE WHEN substr(CAST(date_time AS VARCHAR), 12, 2) BETWEEN '08' AND '18'
               THEN 'dayTime' ELSE 'nightTime' END END,
           date_time, extra, coalesce(cardinality(string_to_array(extra, 'c')) - 1, 0)
         FROM bid WHERE price * 908 > 1000000000 AND price * 908 < 50000000000",
    ),
    (
        21,
        "SELECT auction, bidder, price, channel, coalesce(
           CAST(nullif(array_position(['apple', 'google', 'facebook', 'baidu'], lower(channel)), 0)
             AS BIGINT) - 1, CAST(split_part(split_part(url, '&channel_id=', 2), '&', 1) AS BIGINT))
         FROM bid WHERE url LIKE '%&channel_id=%'
           OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')",
    ),
    (
        22,
        "SELECT auction, bidder, price, channel, coalesce(string_to_array(url, '/')[4], ''),
           coalesce(string_to_array(url, '/')[5], ''), coalesce(string_to_array(url, '/')[6], '')
         FROM bid",
    ),
];

/// Files whose rows are others each time: q12 counts by the time at which bids are processed.
const NOT_COMPARED: [u32; 1] = [12];

/// What stands before the INSERT of a file, and its query.
fn script(number: u32) -> (String, String) {
    let path = format!("examples/nexmark/q{number}.sql");
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.matches("events = 1000000)").count(), text.matches("CREATE STREAM").count());
    let text = text.replace("events = 1000000", EVENTS);
    let insert = format!("INSERT INTO nexmark_q{number}\n");
    let (before, query) = text.split_once(&insert).unwrap();
    (before.to_string(), query.trim_end().trim_end_matches(';').to_string())
}

async fn sorted(engine: &Engine, sql: &str) -> Vec<String> {
    let rows = support::rows(engine, sql).await.rows;
    // Decimals of different scales are equal.
    let value = |value: String| match value.contains('.') && value.parse::<f64>().is_ok() {
        true => value.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => value,
    };
    let line = |row: Vec<String>| row.into_iter().map(value).collect::<Vec<_>>().join("|");
    let mut lines: Vec<_> = rows.into_iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn queries_are_what_plain_sql_says() {
    for (number, plain) in QUERIES {
        let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
        let (before, query) = script(number);
        support::run(&engine, &before).await.unwrap();
        let (got, want) = (sorted(&engine, &query).await, sorted(&engine, plain).await);
        assert!(!want.is_empty(), "q{number} is about nothing");
        if got != want {
            let only = |one: &[String], other: &[String]| {
                let only = one.iter().filter(|line| other.binary_search(line).is_err());
                only.take(3).cloned().collect::<Vec<_>>().join("\n  ")
            };
            panic!(
                "q{number}: {} rows, not {}\nonly in the query:\n  {}\nonly in plain SQL:\n  {}",
                got.len(),
                want.len(),
                only(&got, &want),
                only(&want, &got)
            );
        }
    }
}

/// Windows by the time of processing are others each time, but every bid is in one.
#[tokio::test]
async fn q12_counts_every_bid() {
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let (before, query) = script(12);
    support::run(&engine, &before).await.unwrap();
    let sql = format!("SELECT sum(bid_count), count(DISTINCT bidder) FROM ({query})");
    let got = sorted(&engine, &sql).await;
    assert_eq!(got, sorted(&engine, "SELECT count(*), count(DISTINCT bidder) FROM bid").await);
}

#[test]
fn every_file_is_known_and_parses() {
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir("examples/nexmark").unwrap() {
        let path = entry.unwrap().path();
        let Some(number) = path.file_stem().unwrap().to_str().unwrap().strip_prefix('q') else {
            continue;
        };
        let number: u32 = number.parse().unwrap();
        assert!(
            QUERIES.iter().any(|(known, _)| *known == number) || NOT_COMPARED.contains(&number),
            "q{number} is not checked"
        );
        let statements = engine.parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(statements.len() >= 3, "q{number}");
        files += 1;
    }
    assert_eq!(files, QUERIES.len() + NOT_COMPARED.len());
}

/// What the queries go by, of so many events: kinds in order, ids, and shares in thousandths.
#[derive(Debug, Default)]
struct Profile {
    kinds: String,
    ids: Vec<i64>,
    times_ms: Vec<i64>,
    /// Bids on the first auction of a hundred, by the second person; auctions of the first person.
    hot: [usize; 3],
    /// Bids below 1,000 and 100,000.
    cheap: [usize; 2],
    extra: usize,
    categories: std::collections::BTreeSet<i64>,
}

impl Profile {
    fn person(&mut self, id: i64, time_ms: i64) {
        self.kinds.push('p');
        self.ids.push(id);
        self.times_ms.push(time_ms);
    }

    fn auction(&mut self, id: i64, time_ms: i64, seller: i64, category: i64) {
        self.kinds.push('a');
        self.ids.push(id);
        self.times_ms.push(time_ms);
        self.hot[2] += usize::from((seller - 1000) % 100 == 0);
        self.categories.insert(category);
    }

    fn bid(&mut self, ids: [i64; 2], price: i64, time_ms: i64, extra: usize) {
        self.kinds.push('b');
        self.times_ms.push(time_ms);
        self.hot[0] += usize::from((ids[0] - 1000) % 100 == 0);
        self.hot[1] += usize::from((ids[1] - 1000) % 100 == 1);
        self.cheap[0] += usize::from(price < 1_000);
        self.cheap[1] += usize::from(price < 100_000);
        self.extra += extra;
    }
}

const PROFILED: u64 = 50_000;

/// As the `nexmark` crate makes them, which follows the Java generator of Beam and Flink.
fn published() -> Profile {
    use nexmark::event::Event;
    let config = nexmark::config::NexmarkConfig { base_time: 0, ..Default::default() };
    let mut profile = Profile::default();
    for event in nexmark::EventGenerator::new(config).take(PROFILED as usize) {
        match event {
            Event::Person(p) => profile.person(p.id as i64, p.date_time as i64),
            Event::Auction(a) => {
                let (id, seller) = (a.id as i64, a.seller as i64);
                profile.auction(id, a.date_time as i64, seller, a.category as i64);
            }
            Event::Bid(b) => {
                let ids = [b.auction as i64, b.bidder as i64];
                profile.bid(ids, b.price as i64, b.date_time as i64, b.extra.len());
            }
        }
    }
    profile
}

fn ours() -> Profile {
    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    use thalweg::generate::nexmark::{Kind, Nexmark};
    let made = Nexmark { start_us: 0, ..Nexmark::default() };
    let mut profile = Profile::default();
    for event in 0..PROFILED {
        for kind in Kind::ALL {
            let row = kind.rows_before(event);
            if kind.rows_before(event + 1) == row {
                continue;
            }
            let rows = made.rows(kind, row..row + 1);
            let number = |name: &str| {
                rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(0)
            };
            let time = rows.column_by_name("date_time").unwrap();
            let time_ms = time.as_primitive::<TimestampMicrosecondType>().value(0) / 1_000;
            match kind {
                Kind::Person => profile.person(number("id"), time_ms),
                Kind::Auction => {
                    profile.auction(number("id"), time_ms, number("seller"), number("category"));
                }
                Kind::Bid => {
                    let extra = rows.column_by_name("extra").unwrap();
                    let extra = extra.as_string::<i32>().value(0).len();
                    let ids = [number("auction"), number("bidder")];
                    profile.bid(ids, number("price"), time_ms, extra);
                }
            }
        }
    }
    profile
}

/// The draws are others (the crate's are not columnar), what queries go by is the same.
#[test]
fn a_prefix_is_as_the_nexmark_crate_has_it() {
    let (theirs, ours) = (published(), ours());
    assert_eq!(ours.kinds, theirs.kinds);
    assert_eq!(ours.ids, theirs.ids);
    assert_eq!(ours.categories, theirs.categories);
    let apart = ours.times_ms.iter().zip(&theirs.times_ms);
    // The crate computes times in 32-bit floats.
    assert!(apart.clone().all(|(ours, theirs)| (ours - theirs).abs() <= 1), "times");
    let near = |what: &str, ours: usize, theirs: usize, of: usize| {
        let thousandths = (ours as i64 - theirs as i64).unsigned_abs() as usize * 1_000 / of;
        assert!(thousandths <= 12, "{what}: {ours} and {theirs} of {of}");
    };
    let (bids, auctions) = (46_000, 3_000);
    near("hot auctions", ours.hot[0], theirs.hot[0], bids);
    near("hot bidders", ours.hot[1], theirs.hot[1], bids);
    // Of 3,000 draws a share is known to a hundredth: three times that.
    near("hot sellers", ours.hot[2], theirs.hot[2], auctions * 3);
    near("prices below 1,000", ours.cheap[0], theirs.cheap[0], bids);
    near("prices below 100,000", ours.cheap[1], theirs.cheap[1], bids);
    near("bytes", ours.extra, theirs.extra, theirs.extra);
}

/// Runs a file as README says, on a side and with settings before it; answers the rows of its sink
/// and those of the batch.
fn piped(number: u32, device: &str, set: &str, events: &str) -> (Vec<String>, Vec<String>) {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (before, query) = script(number);
    let sink = format!("'nexmark/q{number}'");
    assert!(before.contains(&sink), "q{number}: another sink");
    let mut before = before.replace(&sink, &format!("'{}'", path("sink"))).replace(EVENTS, events);
    if NOT_COMPARED.contains(&number) {
        // The batch goes by the times that the store holds.
        before = before.replace(events, &format!("{events}, store = '{}'", path("store")));
    }
    let text = format!(
        "{set} {before} INSERT INTO nexmark_q{number} {query};
         CREATE EXTERNAL TABLE sunk STORED AS DELTA LOCATION '{}';
         SELECT * FROM sunk; SELECT 'of the batch' AS mark; {query};",
        path("sink")
    );
    std::fs::write(path("q.sql"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.args(["run", "--until-end", "--device", device, "--format", "csv", "--state"]);
    let output = command.arg(path("state")).arg(path("q.sql")).output().unwrap();
    let (out, told) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success(), "q{number}: {told}");
    assert!(!told.contains("WARN"), "q{number}: {told}");
    let (sunk, batch) = out.split_once("\nmark\nof the batch\n\n").unwrap();
    let sorted = |rows: &str| {
        let mut lines: Vec<_> = rows.lines().skip(1).map(str::to_string).collect();
        lines.sort();
        lines
    };
    (sorted(sunk), sorted(batch))
}

fn every_pipeline_gives_what_the_batch_gives(device: &str, set: &str, events: &str) {
    let numbers = QUERIES.iter().map(|(number, _)| *number).chain(NOT_COMPARED);
    for number in numbers {
        let (sunk, batch) = piped(number, device, set, events);
        assert!(
            !batch.is_empty() && sunk == batch,
            "q{number}, {device}, {set}: {} rows, not {}",
            sunk.len(),
            batch.len()
        );
    }
}

#[test]
fn pipelines_give_what_the_batch_gives() {
    every_pipeline_gives_what_the_batch_gives("cpu", "", EVENTS);
}

/// The host and the device take turns, batch by batch, over four partitions.
#[test]
fn sides_in_turns_give_what_the_batch_gives() {
    if support::engine_on(DeviceChoice::Gpu).is_none() {
        return;
    }
    let set = "SET thalweg.auto = 'alternating'; SET thalweg.batch_rows = 6000;";
    let events = format!("{EVENTS}, partitions = 4");
    every_pipeline_gives_what_the_batch_gives("auto", set, &events);
}
