//! `thalweg bench latency`: how long a row takes from the input of a pipeline to its output, while
//! rows come at a steady rate. A pipeline of its own process counts by key and gives every changed
//! count out again; rows go in and results come out as lines of JSON, as with any other program
//! beside it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::cli::args::LatencyBench;
use crate::cli::failure::{Failure, Outcome};
use crate::generate::draw::Draw;

/// Rows that are sent at once are those of this long.
const TICK: Duration = Duration::from_millis(2);

/// Of the keys.
const SEED: u64 = 7;

/// Results of the first part of the run do not count: plans and tables grow warm.
const WARM_UP: Duration = Duration::from_secs(3);

const PIPELINE: &str = "CREATE STREAM events (
  k BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (connector = 'stdin', format = 'json'STORE);
CREATE SINK counts WITH (connector = 'stdout', format = 'json');
INSERT INTO counts SELECT k, count(*) AS n, max(ts) AS ts FROM events GROUP BY k EMIT ON UPDATE;
";

pub fn run(arguments: &LatencyBench) -> Outcome {
    println!("rows/s  keys  store  results  p50 ms  p90 ms  p99 ms  p99.9 ms  max ms");
    for store in [false, true] {
        let folder = std::env::temp_dir().join(format!("thalweg-latency-{}", std::process::id()));
        let wrong = |error| Failure::failed(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(&folder).map_err(wrong)?;
        let measured = measure(arguments, &folder, store);
        std::fs::remove_dir_all(&folder).map_err(wrong)?;
        let mut took = measured?;
        took.sort_unstable();
        let at = |part: f64| {
            let nth = ((took.len() as f64 * part) as usize).min(took.len().saturating_sub(1));
            took.get(nth).map_or(f64::NAN, |us| *us as f64 / 1e3)
        };
        println!(
            "{:6}  {:4}  {:5}  {:7}  {:6.1}  {:6.1}  {:6.1}  {:8.1}  {:6.1}",
            arguments.rate,
            arguments.keys,
            if store { "yes" } else { "no" },
            took.len(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
    Ok(())
}

/// Microseconds from a row's making to the reading of the count with it, by result.
fn measure(
    arguments: &LatencyBench,
    folder: &Path,
    store: bool,
) -> std::result::Result<Vec<i64>, Failure> {
    let wrong = |error: std::io::Error| Failure::failed(format!("the pipeline: {error}"));
    let store = match store {
        true => format!(", store = '{}'", folder.join("store").display()),
        false => String::new(),
    };
    let pipeline = folder.join("pipeline.sql");
    std::fs::write(&pipeline, PIPELINE.replace("STORE", &store)).map_err(wrong)?;
    let mut child = Command::new(std::env::current_exe().map_err(wrong)?)
        .arg("run")
        .arg(&pipeline)
        .arg("--state")
        .arg(folder.join("state"))
        .args(["--device", "cpu", "--progress"])
        .arg(folder.join("progress.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(wrong)?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Failure::failed("the pipeline has no input or output".to_string()));
    };
    let (sender, results) = mpsc::channel();
    let reader = std::thread::spawn(move || read(output, &sender));
    let sent = send(arguments, input);
    // Its input has ended: it drains.
    let ended = child.wait().map_err(wrong)?.success();
    let _ = reader.join();
    sent.map_err(wrong)?;
    if !ended {
        return Err(Failure::failed("the pipeline has failed".to_string()));
    }
    Ok(results.into_iter().collect())
}

/// Sends rows at the rate, each with the time of its making.
fn send(arguments: &LatencyBench, mut input: ChildStdin) -> std::io::Result<()> {
    let begun = Instant::now();
    let until = WARM_UP + Duration::from_secs(arguments.seconds);
    let (mut sent, mut lines) = (0, Vec::new());
    while begun.elapsed() < until {
        let due = (begun.elapsed().as_secs_f64() * arguments.rate as f64) as u64;
        lines.clear();
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        for row in sent..due {
            let key = Draw::new(SEED, row).below(arguments.keys);
            writeln!(lines, "{{\"k\":{key},\"ts\":\"{now}\"}}")?;
        }
        sent = due;
        input.write_all(&lines)?;
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// Reads results; tells how old the newest row of each is, behind the warm-up.
fn read(output: ChildStdout, results: &mpsc::Sender<i64>) {
    let mut begun = None;
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { return };
        let now = Utc::now();
        let Some(time) = line.split("\"ts\":\"").nth(1).and_then(|rest| rest.split('"').next())
        else {
            continue;
        };
        let zoned = format!("{}Z", time.trim_end_matches('Z'));
        let Ok(time) = DateTime::parse_from_rfc3339(&zoned) else { continue };
        let first: Instant = *begun.get_or_insert_with(Instant::now);
        if first.elapsed() < WARM_UP {
            continue;
        }
        let age = (now - time.with_timezone(&Utc)).num_microseconds().unwrap_or(i64::MAX);
        if results.send(age).is_err() {
            return;
        }
    }
}
