//! Results as text: expected rows in files, and where two results differ.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use thalweg::config::DeviceChoice;

use crate::support::{self, pipelines};

/// Rows by sink and columns: `name: column, column`.
pub type Results = BTreeMap<String, Vec<String>>;

/// What sinks have written below a folder, each to a folder of its name: a Delta table, or files.
/// Rows are sorted where their order is no part of the result.
pub async fn written(output: &Path, ordered: bool) -> Results {
    let mut results = Results::new();
    let Ok(entries) = std::fs::read_dir(output) else { return results };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (columns, mut rows) = match path.join("_delta_log").is_dir() {
            true => table(&path).await,
            false => files(&path),
        };
        if !ordered {
            rows.sort();
        }
        results.insert(format!("{name}: {columns}"), rows);
    }
    results
}

async fn table(path: &Path) -> (String, Vec<String>) {
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let sql = format!("SELECT * FROM '{}'", path.display());
    let answer = support::rows(&engine, &sql).await;
    let names: Vec<&str> =
        answer.schema.fields().iter().map(|field| field.name().as_str()).collect();
    (names.join(", "), answer.rows.into_iter().map(|row| row.join(",")).collect())
}

/// The rows of CSV files in the order of their names.
fn files(folder: &Path) -> (String, Vec<String>) {
    let first = support::files(folder).into_iter().find(|path| path.extension().is_some());
    let text = first.map(|path| std::fs::read_to_string(path).unwrap()).unwrap_or_default();
    let columns = text.lines().next().unwrap_or_default().replace(',', ", ");
    (columns, pipelines::sunk(folder).lines().map(str::to_string).collect())
}

/// The expected rows of a file.
pub fn read(path: &Path) -> Result<Results, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("{}: {error} (THALWEG_STREAMS_UPDATE=1 writes it)", path.display())
    })?;
    let mut results = Results::new();
    let mut name = None;
    for line in text.lines() {
        match (line.strip_prefix("# "), &name) {
            (Some(sink), _) => {
                results.entry(sink.to_string()).or_default();
                name = Some(sink.to_string());
            }
            (None, Some(name)) => {
                let rows: &mut Vec<String> = results.entry(name.clone()).or_default();
                rows.push(line.to_string());
            }
            (None, None) => return Err(format!("{}: no '# sink' is above a row", path.display())),
        }
    }
    Ok(results)
}

pub fn write(path: &Path, results: &Results) {
    let mut text = String::new();
    for (name, rows) in results {
        writeln!(text, "# {name}").unwrap();
        rows.iter().for_each(|row| writeln!(text, "{row}").unwrap());
    }
    std::fs::write(path, text).unwrap();
}

/// Rows of a difference that are shown.
const SHOWN: usize = 5;

/// Where results differ from what is expected, sink by sink; `None` where they do not.
pub fn difference(expected: &Results, found: &Results) -> Option<String> {
    let mut text = String::new();
    for (name, rows) in expected {
        match found.get(name) {
            None => writeln!(text, "  sink {name}: expected {} rows, found none", rows.len()),
            Some(others) if others == rows => Ok(()),
            Some(others) => write!(text, "  sink {name}: {}", of_rows(rows, others)),
        }
        .unwrap();
    }
    for name in found.keys().filter(|name| !expected.contains_key(*name)) {
        writeln!(text, "  sink {name}: expected no such sink").unwrap();
    }
    (!text.is_empty()).then_some(text)
}

fn of_rows(expected: &[String], found: &[String]) -> String {
    let mut text = format!("expected {} rows, found {}\n", expected.len(), found.len());
    let (missing, more) = (without(expected, found), without(found, expected));
    if missing.is_empty() && more.is_empty() {
        let at = expected.iter().zip(found).position(|(one, other)| one != other);
        let at = at.unwrap_or_default();
        writeln!(text, "    the same rows in another order, from row {} on:", at + 1).unwrap();
        writeln!(text, "    - {}\n    + {}", expected[at], found[at]).unwrap();
    }
    for (sign, rows) in [('-', missing), ('+', more)] {
        rows.iter().take(SHOWN).for_each(|row| writeln!(text, "    {sign} {row}").unwrap());
        if rows.len() > SHOWN {
            writeln!(text, "    {sign} .. {} more", rows.len() - SHOWN).unwrap();
        }
    }
    text
}

/// The rows of one that another lacks, as often as it lacks them.
fn without<'a>(rows: &'a [String], others: &[String]) -> Vec<&'a String> {
    let mut counts = BTreeMap::<&String, usize>::new();
    others.iter().for_each(|row| *counts.entry(row).or_default() += 1);
    let mut lacks = |row: &&String| match counts.get_mut(*row) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    rows.iter().filter(|row| lacks(row)).collect()
}
