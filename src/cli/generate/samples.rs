//! `thalweg gen samples`: the small sets that stand in `datasets/` and that examples read.

use std::path::Path;

use serde_json::{Value, json};

use super::write::{progress, write_parquet, write_text};
use crate::cli::args::Format;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::encode;
use crate::cli::output::pending::PendingFile;
use crate::generate::nexmark::{Kind, Nexmark};
use crate::generate::{Table, samples, tpch};

/// Of TPC-H: 1,500 orders.
const SCALE: f64 = 0.001;

/// Events of the auction site, of which 92 % are bids.
const EVENTS: u64 = 600;
const EVENTS_PER_SECOND: u64 = 1;

/// Rows of a part: each table has one.
const PART_ROWS: u64 = 1 << 20;

/// 2026-01-01 in milliseconds: when the versions of the Delta table are said to be from.
const YEAR_MS: i64 = 1_767_225_600_000;
const MONTH_MS: i64 = 31 * 86_400_000;

/// Writes all sets into a folder.
pub async fn write(output: &Path) -> Outcome {
    let bar = progress(0);
    for folder in ["tpch", "nexmark", "flights", "products/_delta_log"] {
        let folder = output.join(folder);
        std::fs::create_dir_all(&folder)
            .map_err(|error| Failure::failed(format!("{}: {error}", folder.display())))?;
    }
    for name in ["orders", "lineitem"] {
        if let Some(table) = tpch::table(name, SCALE, PART_ROWS) {
            write_parquet(&table, &output.join(format!("tpch/{name}.parquet")), &bar).await?;
        }
    }
    let nexmark = Nexmark { rate: EVENTS_PER_SECOND, ..Nexmark::default() };
    let mut tables = nexmark.tables(EVENTS, PART_ROWS).into_iter();
    if let Some(bids) = tables.find(|table| table.name == Kind::Bid.name()) {
        write_text(&bids, Format::Json, &output.join("nexmark/bid.json"), &bar).await?;
    }
    let (january, february) = (samples::flights(0), samples::flights(1));
    let events = [samples::readings(), samples::quotes(), samples::trades()];
    for table in [january, february].into_iter().chain(events) {
        let path = output.join(format!("{}.csv", table.name));
        write_text(&table, Format::Csv, &path, &bar).await?;
    }
    products(&output.join("products"))
}

/// A Delta table of two versions, the second in the place of the first. Its log has fixed names and
/// times, so that it is made again as it was.
fn products(folder: &Path) -> Outcome {
    let mut before = None;
    for version in 0..2 {
        let table = samples::products(version);
        let name = format!("part-{version:05}.parquet");
        let size = put(&folder.join(&name), &table)?;
        let time = YEAR_MS + version as i64 * MONTH_MS;
        let mode = if version == 0 { "ErrorIfExists" } else { "Overwrite" };
        let mut actions = vec![json!({"commitInfo": {
            "timestamp": time, "operation": "WRITE", "operationParameters": {"mode": mode},
        }})];
        if version == 0 {
            actions.push(json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}));
            actions.push(metadata(&table, time));
        }
        if let Some(path) = before.replace(name.clone()) {
            actions.push(json!({"remove": {
                "path": path, "deletionTimestamp": time, "dataChange": true,
            }}));
        }
        actions.push(json!({"add": {
            "path": name, "size": size, "modificationTime": time, "partitionValues": {},
            "dataChange": true,
        }}));
        let lines: String = actions.iter().map(|action| format!("{action}\n")).collect();
        let mut file = PendingFile::create(&folder.join(format!("_delta_log/{version:020}.json")))?;
        file.put(lines.as_bytes())?;
        file.persist()?;
    }
    Ok(())
}

/// Writes a table as Parquet; answers the bytes.
fn put(path: &Path, table: &Table) -> Outcome<usize> {
    let mut encoder = encode::encoder(Format::Parquet, table.schema.clone(), true)?;
    let mut bytes = Vec::new();
    for part in 0..table.parts {
        for batch in table.part(part) {
            bytes.extend(encoder.write(&batch)?);
        }
    }
    bytes.extend(encoder.finish()?);
    let mut file = PendingFile::create(path)?;
    file.put(&bytes)?;
    file.persist()?;
    Ok(bytes.len())
}

fn metadata(table: &Table, time: i64) -> Value {
    let kind = |name: &str| match name {
        "product" | "stock" => "long",
        "price" => "decimal(10,2)",
        "changed" => "timestamp",
        _ => "string",
    };
    let field =
        |name: &String| json!({"name": name, "type": kind(name), "nullable": true, "metadata": {}});
    let fields: Vec<_> = table.schema.fields().iter().map(|f| field(f.name())).collect();
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    json!({"metaData": {
        "id": "5f0c7a52-6d0e-4f7b-9f0a-000000002026",
        "name": table.name,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema,
        "partitionColumns": [],
        "configuration": {},
        "createdTime": time,
    }})
}
