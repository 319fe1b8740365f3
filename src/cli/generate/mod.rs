//! `thalweg gen`: generated tables to files. Parts are made and encoded in parallel and written in
//! order, so memory holds a few parts, whatever the scale.

mod samples;
mod write;

use clap::CommandFactory;

use super::args::{Arguments, DataFormat, Dataset, Format, Nexmark, Target, Tpch};
use super::failure::{Failure, Outcome};
use crate::generate::{Table, nexmark, tpch};
use write::{progress, write_parquet, write_text};

/// Rows of a part. A Parquet part is a row group; a part of text is held in memory as text, which
/// takes four times the room.
const PARQUET_PART_ROWS: u64 = 1 << 20;
const TEXT_PART_ROWS: u64 = 1 << 17;

/// Events that scale 1 of NEXMark stands for.
const NEXMARK_EVENTS_AT_SCALE_ONE: f64 = 1e6;

/// Writes what the arguments name.
pub async fn run(dataset: Dataset) -> Outcome {
    match dataset {
        Dataset::Tpch(arguments) => tpch_tables(arguments).await,
        Dataset::Nexmark(arguments) => nexmark_tables(arguments).await,
        Dataset::Samples { output } => samples::write(&output).await,
        Dataset::Ssb(_) => not_available("ssb"),
        Dataset::H2o(_) => not_available("h2o"),
    }
}

fn not_available(name: &str) -> ! {
    let message = format!("gen {name} is not available yet; there are tpch, nexmark and samples");
    Arguments::command().error(clap::error::ErrorKind::InvalidSubcommand, message).exit()
}

async fn tpch_tables(arguments: Tpch) -> Outcome {
    let target = arguments.target;
    let rows = part_rows(target.format);
    let chosen = |name: &&str| {
        arguments.tables.is_empty() || arguments.tables.iter().any(|table| table == name)
    };
    let names = tpch::NAMES.into_iter().filter(chosen);
    let tables = names.filter_map(|name| tpch::table(name, target.scale, rows)).collect();
    write_tables(tables, &target).await
}

async fn nexmark_tables(arguments: Nexmark) -> Outcome {
    let target = arguments.target;
    let scaled = (target.scale * NEXMARK_EVENTS_AT_SCALE_ONE).round() as u64;
    let events = arguments.events.unwrap_or(scaled);
    let (seed, rate) = (arguments.seed, arguments.rate);
    let nexmark = nexmark::Nexmark { seed, rate, ..nexmark::Nexmark::default() };
    write_tables(nexmark.tables(events, part_rows(target.format)), &target).await
}

fn part_rows(format: DataFormat) -> u64 {
    match format {
        DataFormat::Parquet => PARQUET_PART_ROWS,
        DataFormat::Csv | DataFormat::Json => TEXT_PART_ROWS,
    }
}

async fn write_tables(tables: Vec<Table>, target: &Target) -> Outcome {
    std::fs::create_dir_all(&target.output)
        .map_err(|error| Failure::failed(format!("{}: {error}", target.output.display())))?;
    let bar = progress(tables.iter().map(|table| table.parts).sum());
    for table in tables {
        bar.set_message(table.name);
        let (extension, text) = match target.format {
            DataFormat::Parquet => ("parquet", None),
            DataFormat::Csv => ("csv", Some(Format::Csv)),
            DataFormat::Json => ("json", Some(Format::Json)),
        };
        let path = target.output.join(format!("{}.{extension}", table.name));
        match text {
            None => write_parquet(&table, &path, &bar).await?,
            Some(format) => write_text(&table, format, &path, &bar).await?,
        }
    }
    bar.finish_and_clear();
    Ok(())
}
