//! The files of `examples/`, by the real binary: what they find is what plain SQL finds in what
//! they have read, and a second run goes on where the first was.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;
use thalweg::sql::Engine;

use super::support;

/// An example that has run in a folder of its own.
struct Example {
    folder: TempDir,
    name: &'static str,
    /// What it printed.
    first: String,
}

fn thalweg(folder: &Path, arguments: &[&str]) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

impl Example {
    fn run(name: &'static str, set: &[&str]) -> Self {
        let mut example = Self { folder: TempDir::new().unwrap(), name, first: String::new() };
        let (out, told) = example.once(set);
        example.first = out;
        if set.is_empty() {
            example.try_next(&told);
        }
        example
    }

    fn again(&self, set: &[&str]) -> String {
        self.once(set).0
    }

    /// What it prints, and what is told beside.
    fn once(&self, set: &[&str]) -> (String, String) {
        let script = std::path::absolute(format!("examples/{}.sql", self.name)).unwrap();
        let script = script.display().to_string();
        let mut arguments = vec!["run", &script, "--until-end", "--format", "csv"];
        arguments.extend(["--device", "cpu"]);
        set.iter().for_each(|value| arguments.extend(["--set", value]));
        let (out, told, code) = thalweg(self.folder.path(), &arguments);
        assert_eq!(code, Some(0), "{}\n{out}\n{told}", self.name);
        (out, told)
    }

    /// What it says may be tried next answers something.
    fn try_next(&self, told: &str) {
        let (_, next) = told.split_once("Next: ").unwrap();
        let queries = next.lines().filter_map(|line| {
            line.strip_prefix("  thalweg sql -c \"").and_then(|line| line.strip_suffix('"'))
        });
        let queries: Vec<_> = queries.collect();
        assert!(!queries.is_empty(), "{next}");
        for query in queries {
            let arguments = ["sql", "--device", "cpu", "--format", "csv", "-c", query];
            let (out, told, code) = thalweg(self.folder.path(), &arguments);
            assert!(code == Some(0) && out.lines().count() > 1, "{query}\n{out}\n{told}");
        }
    }

    /// The lines that a second run does not print again; all others it prints the same.
    fn only_first(&self, set: &[&str]) -> Vec<&str> {
        let again = self.again(set);
        let mut lines = again.lines().peekable();
        let mut only = Vec::new();
        for line in self.first.lines() {
            if lines.next_if_eq(&line).is_none() {
                only.push(line);
            }
        }
        assert_eq!(
            lines.next(),
            None,
            "{}: another line in\n{again}\nnot\n{}",
            self.name,
            self.first
        );
        let kept: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().collect();
        assert_eq!(kept.len(), 2, "beside its folder and the state: {kept:?}");
        only
    }

    /// The line of AUDIT: rows equal, missing, unexpected, different.
    fn audited(&self) -> Vec<u64> {
        let mut lines = self.first.lines();
        lines.find(|line| line.starts_with("result,final_until,equal")).unwrap();
        let line = lines.next().unwrap();
        line.split(',').skip(2).take(4).map(|number| number.parse().unwrap()).collect()
    }

    /// A table or files that it has made.
    fn at(&self, path: &str) -> String {
        format!("'{}/{}-data/{path}'", self.folder.path().display(), self.name)
    }

    /// The rows of a result are those of plain SQL; `{path}` in either is what it has made.
    async fn same(&self, result: &str, plain: &str) {
        let engine = engine();
        let (got, want) = (self.rows(&engine, result).await, self.rows(&engine, plain).await);
        assert!(!want.is_empty(), "{}: nothing is found by {plain}", self.name);
        let only = |one: &[String], other: &[String]| {
            let only = one.iter().filter(|line| other.binary_search(line).is_err());
            only.take(3).cloned().collect::<Vec<_>>().join("\n  ")
        };
        assert!(
            got == want,
            "{}: {result}\n{} rows, not {}\nonly there:\n  {}\nonly by plain SQL:\n  {}",
            self.name,
            got.len(),
            want.len(),
            only(&got, &want),
            only(&want, &got)
        );
    }

    async fn rows(&self, engine: &Engine, sql: &str) -> Vec<String> {
        let mut text = String::new();
        for (at, part) in sql.split(['{', '}']).enumerate() {
            let part = if at % 2 == 0 { part.to_string() } else { self.at(part) };
            text.write_str(&part).unwrap();
        }
        let rows = support::rows(engine, &text).await.rows;
        let mut lines: Vec<_> = rows.into_iter().map(|row| row.join("|")).collect();
        lines.sort();
        lines
    }
}

fn engine() -> Engine {
    support::engine_on(DeviceChoice::Cpu).unwrap()
}

/// What an example prints on a side, in the order of lines, without when corrections were made.
fn printed(name: &str, device: &str, set: &str) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let file = format!("{name}.sql");
    let text = std::fs::read_to_string(format!("examples/{file}")).unwrap();
    std::fs::write(folder.path().join(&file), format!("{set}\n{text}")).unwrap();
    let arguments = ["run", &file, "--until-end", "--format", "csv", "--device", device];
    let (out, told, code) = thalweg(folder.path(), &arguments);
    assert_eq!(code, Some(0), "{name} on {device}\n{out}\n{told}");
    let corrected = |line: &str| match line.rsplit_once("}\",") {
        Some((before, _when)) => before.to_string(),
        None => line.to_string(),
    };
    let mut lines: Vec<_> = out.lines().map(corrected).collect();
    lines.sort();
    lines
}

#[test]
fn any_side_prints_the_same() {
    if support::engine_on(DeviceChoice::Gpu).is_none() {
        return;
    }
    let turns = "SET thalweg.auto = 'alternating'; SET thalweg.batch_rows = 700;
                 SET thalweg.epoch_rows = 2000;";
    for name in ["fraud", "retail", "patients", "telecom"] {
        let want = printed(name, "cpu", "");
        assert!(want.len() > 10, "{name}: {want:?}");
        for (device, set) in [("gpu", "SET thalweg.batch_rows = 4096;"), ("auto", turns)] {
            assert_eq!(printed(name, device, set), want, "{name} on {device}");
        }
    }
}

/// Before each result stands what it is, and at the end what to try next.
#[test]
fn every_result_is_announced() {
    for name in ["fraud", "patients", "quickstart", "report", "retail", "telecom"] {
        let text = std::fs::read_to_string(format!("examples/{name}.sql")).unwrap();
        let statements: Vec<&str> = text.split(";\n").map(without_comments).collect();
        let mut before = "";
        let mut results = 0;
        for statement in &statements {
            if ["SELECT", "AUDIT", "RECONCILE"].iter().any(|word| statement.starts_with(word)) {
                assert!(before.starts_with("PRINT '"), "{name}: {statement}");
                results += 1;
            }
            before = statement;
        }
        assert!(results > 1, "{name}");
        let last = statements.iter().rev().find(|statement| !statement.is_empty());
        assert!(name == "report" || last.unwrap().starts_with("PRINT 'Next: "), "{name}");
    }
}

/// A statement from its first word on.
fn without_comments(statement: &str) -> &str {
    let mut text = statement.trim_start();
    while text.starts_with("--") {
        text = text.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
    }
    text
}

/// The stored rows with the watermark before each: what the watermark filter needs, in plain SQL.
fn seen(time: &str, delay: &str) -> String {
    format!(
        "WITH seen AS (SELECT *, max({time}) OVER (ORDER BY __offset ROWS BETWEEN UNBOUNDED
           PRECEDING AND 1 PRECEDING) - INTERVAL '{delay}' AS mark FROM {{history}})"
    )
}

#[tokio::test]
async fn fraud_is_found() {
    let example = Example::run("fraud", &[]);
    let only = example.only_first(&[]);
    assert_eq!(only.iter().filter(|line| line.starts_with("burst,7,")).count(), 3, "{only:?}");
    assert_eq!(only.len(), 4, "{only:?}");
    assert_eq!(example.audited()[1..], [0, 0, 0]);
    let files = "SELECT id, card, amount, CAST(ts AS TIMESTAMP) AS ts FROM {payments}";
    example.same("SELECT id, card, amount, CAST(ts AS TIMESTAMP) FROM {history}", files).await;
    let seen = seen("ts", "1 minute");
    let windows = format!(
        "{seen} SELECT s, card, count(*), sum(amount) FROM (SELECT *,
           date_bin(INTERVAL '30 seconds', ts) - back AS s FROM seen CROSS JOIN
           (VALUES (INTERVAL '0 seconds'), (INTERVAL '30 seconds'), (INTERVAL '60 seconds'),
             (INTERVAL '90 seconds')) AS k (back))
         WHERE mark IS NULL OR s + INTERVAL '2 minutes' > mark
         GROUP BY s, card HAVING count(*) >= 5"
    );
    example.same("SELECT window_start, card, payments, amount FROM {velocity}", &windows).await;
    let amounts = "SELECT p.card, p.ts, p.id FROM {history} AS p WHERE p.amount >
        (SELECT avg(m.amount) + 6 * stddev(m.amount) FROM {months.parquet} AS m
         WHERE m.card = p.card)";
    example.same("SELECT card, ts, id FROM {alerts} WHERE alert = 'amount'", amounts).await;
    let travel = format!(
        "{seen}, timely AS (SELECT *, CAST(to_unixtime(ts) AS BIGINT) AS s FROM seen
           WHERE mark IS NULL OR ts > mark)
         SELECT b.card, b.ts, b.id FROM timely AS a JOIN timely AS b
           ON a.card = b.card AND b.s - a.s BETWEEN 0 AND 900 AND a.id <> b.id
         WHERE sqrt(power(b.x_km - a.x_km, 2) + power(b.y_km - a.y_km, 2)) > (b.s - a.s) / 4.0 + 50"
    );
    example.same("SELECT card, ts, id FROM {alerts} WHERE alert = 'travel'", &travel).await;
    let days = "SELECT date_trunc('day', ts), card, count(*), sum(amount) FROM {history}
        GROUP BY 1, card";
    example.same("SELECT day, card, payments, amount FROM {spending}", days).await;
}

/// What is to be found in the retail example, with the orders in `files`.
async fn shop(example: &Example, files: &str) {
    let history = "SELECT invoiceno, stockcode, quantity, unitprice, customerid FROM {history}";
    let columns = r#""InvoiceNo", "StockCode", "Quantity", "UnitPrice", "CustomerID""#;
    example.same(history, &format!("SELECT {columns} FROM {files}")).await;
    let seen = seen("invoicedate", "4 minutes");
    let days = format!(
        "{seen} SELECT date_trunc('day', invoicedate) AS d, country, count(*),
           round(sum(quantity * unitprice), 4) FROM seen
         WHERE mark IS NULL OR date_trunc('day', invoicedate) + INTERVAL '1 day' > mark
         GROUP BY d, country"
    );
    example.same("SELECT day, country, lines, round(amount, 4) FROM {revenue}", &days).await;
    let pairs = "FROM {clicks/clicks.csv} AS c JOIN timely AS o ON c.customer = o.customerid
           AND c.product = o.stockcode AND CAST(c.ts AS TIMESTAMP) <= o.invoicedate
           AND o.invoicedate <= CAST(c.ts AS TIMESTAMP) + INTERVAL '30 minutes'";
    let timely =
        format!("{seen}, timely AS (SELECT * FROM seen WHERE mark IS NULL OR invoicedate > mark)");
    let bought = format!(
        "{timely} SELECT date_trunc('hour', o.invoicedate), o.country, count(*),
           round(sum(o.quantity * o.unitprice), 4) {pairs} WHERE o.quantity > 0 GROUP BY 1, 2"
    );
    let conversions = "SELECT window_start, country, orders, round(amount, 4) FROM {conversions}";
    example.same(conversions, &bought).await;
    let abandoned = format!(
        "{timely}, bought AS (SELECT DISTINCT c.ts, c.customer, c.product {pairs})
         SELECT CAST(c.ts AS TIMESTAMP), c.customer, c.product FROM {{clicks/clicks.csv}} AS c
         LEFT JOIN bought AS b ON c.ts = b.ts AND c.customer = b.customer
           AND c.product = b.product WHERE b.ts IS NULL"
    );
    example.same("SELECT ts, customer, product FROM {abandoned}", &abandoned).await;
    let low = format!(
        "{seen} SELECT s.e, s.stockcode, s.sold FROM (SELECT e, stockcode, sum(quantity) AS sold
           FROM (SELECT *, date_trunc('day', invoicedate) + hours AS e FROM seen CROSS JOIN
             (SELECT CAST(concat(value, ' hours') AS INTERVAL) AS hours
              FROM generate_series(1, 24)))
           WHERE invoicedate < e AND (mark IS NULL OR e > mark) GROUP BY e, stockcode) AS s
         JOIN {{inventory.parquet}} AS i ON s.stockcode = i.product
         WHERE s.sold >= 0.75 * i.stock"
    );
    let ran_low = "SELECT window_end, product, sold FROM {low_stock}";
    // One day alone never sells three quarters of twice what a day sells.
    if example.rows(&engine(), ran_low).await.is_empty() {
        assert!(example.rows(&engine(), &low).await.is_empty());
    } else {
        example.same(ran_low, &low).await;
    }
}

#[tokio::test]
async fn the_shop_sells() {
    let example = Example::run("retail", &[]);
    assert_eq!(example.only_first(&[]), [""; 0]);
    assert_eq!(example.audited()[1..], [0, 0, 0]);
    assert!(!example.rows(&engine(), "SELECT product FROM {low_stock}").await.is_empty());
    shop(&example, &example.at("orders")).await;
}

#[tokio::test]
async fn a_day_of_the_real_shop() {
    let Some(shared) = support::shared_data("online_retail/by-day") else { return };
    let day = shared.join("2010-12-01.csv").canonicalize().unwrap();
    let example = Example::run("retail", &[&format!("data={}", day.display())]);
    assert_eq!(example.audited()[1..], [0, 0, 0]);
    shop(&example, &format!("'{}'", day.display())).await;
}

/// What is to be found in the patients example.
async fn ward(example: &Example) {
    let seen = seen("ts", "10 minutes");
    let hours = format!(
        "{seen}, hours AS (SELECT *, date_trunc('hour', ts) AS h FROM seen),
         timely AS (SELECT * FROM hours WHERE mark IS NULL OR h + INTERVAL '1 hour' > mark)"
    );
    // The hours that RECONCILE has corrected hold their late rows too.
    let hourly = format!(
        "{hours} SELECT h, patient, parameter, count(*), round(avg(value), 6), min(value),
           max(value) FROM hours
         WHERE mark IS NULL OR h + INTERVAL '1 hour' > mark OR h >= '2026-01-03T09:00:00'
         GROUP BY h, patient, parameter"
    );
    let got = "SELECT window_start, patient, parameter, n, round(mean, 6), lowest, highest
        FROM {hourly}";
    example.same(got, &hourly).await;
    let alerts = format!(
        "{hours} SELECT h + INTERVAL '1 hour', patient, parameter, m > high FROM (
           SELECT h, patient, parameter, avg(value) AS m FROM timely GROUP BY h, patient, parameter)
         JOIN {{records.parquet}} USING (patient, parameter) WHERE m NOT BETWEEN low AND high"
    );
    let got = "SELECT window_end, patient, parameter, alert = 'high' FROM {alerts}
        WHERE alert <> 'missing'";
    example.same(got, &alerts).await;
    let missing = format!(
        "{hours} SELECT DISTINCT t.h + INTERVAL '1 hour', r.patient FROM timely AS t
         JOIN {{records.parquet}} AS r ON r.since <= t.h AND r.until >= t.h + INTERVAL '1 hour'
         WHERE NOT EXISTS (SELECT 1 FROM timely AS o WHERE o.h = t.h AND o.patient = r.patient)"
    );
    let got = "SELECT window_end, patient FROM {alerts} WHERE alert = 'missing'";
    example.same(got, &missing).await;
    let days = format!(
        "{seen} SELECT date_trunc('day', ts) AS d, patient, max(ts), count(*) FROM seen
         WHERE mark IS NULL OR date_trunc('day', ts) + INTERVAL '1 day' > mark GROUP BY d, patient"
    );
    example.same("SELECT day, patient, last, n FROM {seen}", &days).await;
}

#[tokio::test]
async fn patients_are_watched() {
    let example = Example::run("patients", &[]);
    let only = example.only_first(&[]);
    // The console's lines, and what RECONCILE has changed.
    let lost = only.iter().filter(|line| line.starts_with("signal lost,")).count();
    let corrected = only.iter().filter(|line| line.starts_with("2026-01-03T")).count();
    assert!(lost == 3 && corrected > 0 && only.len() == 1 + lost + corrected, "{only:?}");
    let kept = example.rows(&engine(), "SELECT patient FROM {hourly__corrections}").await;
    assert_eq!(kept.len(), corrected);
    assert_eq!(example.audited()[1..], [0, 0, 0]);
    ward(&example).await;
}

#[tokio::test]
async fn real_patients_are_watched() {
    let Some(shared) = support::shared_data("physionet2012") else { return };
    let events = shared.join("events_a.parquet").canonicalize().unwrap();
    // Some of the stays: the binary of the tests is not optimized.
    let made = TempDir::new().unwrap();
    let some = made.path().join("some.parquet");
    let copy = format!(
        "COPY (SELECT * FROM '{}' WHERE record_id < 132600) TO '{}' STORED AS PARQUET",
        events.display(),
        some.display()
    );
    support::run(&engine(), &copy).await.unwrap();
    let example = Example::run("patients", &[&format!("events={}", some.display())]);
    assert_eq!(example.audited()[1..], [0, 0, 0]);
    ward(&example).await;
}

/// What is to be found in the telecom example.
async fn network(example: &Example) {
    let seen = seen("ts", "90 seconds");
    let bins = |size: &str| {
        format!(
            "{seen}, bins AS (SELECT *, date_bin(INTERVAL '{size}', ts) AS b FROM seen),
             timely AS (SELECT * FROM bins WHERE mark IS NULL OR b + INTERVAL '{size}' > mark)"
        )
    };
    let carried = "SELECT b, cell, count(*) AS n, sum(rate) AS total, max(rate) AS peak FROM timely
        GROUP BY b, cell";
    let hours = bins("1 hour");
    let got = "SELECT window_start, cell, n, total, peak FROM {carried}";
    example.same(got, &format!("{hours} {carried}")).await;
    let busiest = format!(
        "{hours}, sums AS ({carried}) SELECT a.b, a.cell, a.total, count(o.cell) + 1 FROM sums AS a
         LEFT JOIN sums AS o ON a.b = o.b
           AND (o.total > a.total OR o.total = a.total AND o.cell < a.cell)
         GROUP BY a.b, a.cell, a.total HAVING count(o.cell) < 3"
    );
    let got = "SELECT window_start, cell, total, place FROM {busiest}";
    example.same(got, &busiest).await;
    let load = format!(
        "{hours} SELECT b, cell, round(avg(rate), 6), max(ts) FROM timely GROUP BY b, cell"
    );
    example.same("SELECT hour, cell, round(mean, 6), last FROM {load}", &load).await;
    let anomalies = format!(
        "{}, means AS (SELECT b, cell, avg(rate) AS m FROM timely GROUP BY b, cell)
         SELECT w.b, w.cell, round(w.m, 6), w.m > c.mean FROM means AS w
         JOIN {{capacity.parquet}} AS c ON w.cell = c.cell AND c.hour = date_part('hour', w.b)
         WHERE c.spread > 0 AND abs(w.m - c.mean) > 4 * c.spread",
        bins("10 minutes")
    );
    let got = "SELECT window_start, cell, round(mean, 6), z > 0 FROM {anomalies}";
    if example.rows(&engine(), got).await.is_empty() {
        assert!(example.rows(&engine(), &anomalies).await.is_empty());
    } else {
        example.same(got, &anomalies).await;
    }
}

#[tokio::test]
async fn cells_are_compared_with_their_past() {
    let example = Example::run("telecom", &[]);
    assert_eq!(example.only_first(&[]), [""; 0]);
    assert_eq!(example.audited()[1..], [0, 0, 0]);
    let found = "SELECT cell, count(*), min(window_start), max(window_end) FROM {anomalies}
        GROUP BY cell";
    assert_eq!(
        example.rows(&engine(), found).await,
        [
            "4|4|2019-12-02T10:00:00|2019-12-02T10:40:00",
            "7|3|2019-12-02T15:00:00|2019-12-02T15:30:00"
        ]
    );
    network(&example).await;
    // No row is a quarter of an hour late, so that runs are those of all rows.
    let runs = "SELECT cell, min(ts), max(ts) + INTERVAL '15 minutes', count(*) FROM (
          SELECT cell, ts, sum(new) OVER (PARTITION BY cell ORDER BY ts) AS run FROM (
            SELECT cell, ts, CASE WHEN ts - lag(ts) OVER (PARTITION BY cell ORDER BY ts)
              <= INTERVAL '15 minutes' THEN 0 ELSE 1 END AS new FROM {history}))
        GROUP BY cell, run";
    example.same("SELECT cell, since, until, n FROM {silent}", runs).await;
}

#[tokio::test]
async fn real_cells_are_compared_with_their_past() {
    let Some(shared) = support::shared_data("telecom_5g") else { return };
    let traces = shared.join("traces.parquet").canonicalize().unwrap();
    let set = [&format!("traces={}", traces.display()), "split=2019-12-12"];
    let example = Example::run("telecom", &set);
    assert_eq!(example.audited()[1..], [0, 0, 0]);
    network(&example).await;
}

#[test]
fn values_are_set_and_what_is_wrong_with_them_is_told() {
    let folder = TempDir::new().unwrap();
    let script = "-- ${none}\nSELECT '${what:-nothing}' AS a,\n  ${n} AS b;\n";
    std::fs::write(folder.path().join("s.sql"), script).unwrap();
    for words in [&["sql", "-f", "s.sql"][..], &["run", "s.sql", "--until-end"]] {
        let run = |set: &[&str]| {
            let mut arguments = words.to_vec();
            arguments.extend(["--format", "csv", "--device", "cpu"]);
            set.iter().for_each(|value| arguments.extend(["--set", value]));
            thalweg(folder.path(), &arguments)
        };
        assert_eq!(run(&["n=7"]).0, "a,b\nnothing,7\n");
        assert_eq!(run(&["n=1 + 1", "what=a=b"]).0, "a,b\na=b,2\n");
        for (set, code, want) in [
            (&[][..], 1, "line 3, column 3: ${n} has no value: --set n=VALUE gives it one"),
            (&["n=1", "m=2"], 1, "--set m: nothing asks for ${m}; there are n, what"),
            (&["n"], 2, "NAME=VALUE is needed"),
            (&["n-o=1"], 2, "NAME=VALUE is needed"),
        ] {
            let (_, told, exit) = run(set);
            assert!(exit == Some(code) && told.contains(want), "{words:?} {set:?}: {told}");
        }
    }
}

/// A file that is alone in its folder is a table of its own still when others come beside it; a
/// pattern over all files of the folder takes them in.
#[tokio::test]
async fn a_file_does_not_take_in_those_beside_it() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let make = |name: &str| format!("COPY (SELECT 1 AS a) TO '{}' STORED AS PARQUET;", path(name));
    let view =
        |name: &str, of: &str| format!("CREATE VIEW {name} AS SELECT a FROM '{}';", path(of));
    let sql = [
        make("one.parquet"),
        view("one", "one.parquet"),
        view("picked", "o*.parquet"),
        view("folder", "*.parquet"),
        format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{}';", path("one.parquet")),
        make("other.parquet"),
        "SELECT (SELECT count(*) FROM one) AS f, (SELECT count(*) FROM picked) AS s,
           (SELECT count(*) FROM folder) AS e, (SELECT count(*) FROM t) AS t"
            .to_string(),
    ];
    let answer = support::rows(&engine(), &sql.concat()).await;
    assert_eq!(answer.rows, [["1", "1", "2", "1"]]);
}
