//! The command line's grammar and its help: the contract that scripts rely on.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::slt::styles::Style;
use crate::config::{DeviceChoice, Options};
use crate::generate::tpch;
use crate::plan::memory::bytes;
use crate::sql::variables::in_name;

const EXAMPLES: &str = "\
Examples, in the project's folder:
  thalweg sql -c \"SELECT count(*) FROM 'datasets/flights/*.csv'\"
  thalweg sql                                  a prompt with history and completion
  thalweg run examples/fraud.sql --until-end   a stream over the files there are, then exit
  thalweg gen tpch --scale 0.01 -o tpch        test data
  thalweg devices                              the GPUs this machine has

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage,
130 interrupted.";

const SQL_EXAMPLES: &str = "\
Files are tables; quote their names (datasets/ is a folder of the project):
  thalweg sql -c \"SELECT * FROM 'datasets/readings.csv' LIMIT 5\"
  thalweg sql -c \"SELECT carrier, avg(delay) FROM 'datasets/flights/*.csv' GROUP BY carrier\"
  thalweg sql -c \"SELECT count(*) FROM 's3://bucket/logs/*.ndjson.gz'\"
A directory is one table; year=2026/month=01/ in its paths become columns.
s3:// takes AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for another server than
Amazon's, AWS_ENDPOINT from the environment; a public bucket needs AWS_SKIP_SIGNATURE=true.
https:// reads single files, from servers that answer range requests.

Several statements, results as CSV, in a file:
  thalweg sql -f examples/report.sql --format csv -o report.csv
A file that says '${month:-2026-01}' reads 2026-01, or what --set names:
  thalweg sql -f examples/report.sql --set month=2026-02
From another program:
  echo 'SELECT 1 AS one' | thalweg sql --format json
A SELECT with EMIT follows a stream and prints rows as they come, until Ctrl-C (exit 130):
  thalweg sql -c \"CREATE STREAM readings (sensor VARCHAR, value DOUBLE)
                    WITH (connector = 'file', path = 'datasets/readings.csv');
                  SELECT * FROM readings WHERE value > 29 EMIT CHANGES\"
Where does it run, and why there?
  thalweg sql -c \"EXPLAIN SELECT sum(o_totalprice) FROM 'datasets/tpch/orders.parquet'\"";

const RUN_EXAMPLES: &str = "\
A pipeline is a file of statements, such as bids.sql:
  CREATE STREAM bids (auction BIGINT, price BIGINT, date_time TIMESTAMP,
                      WATERMARK FOR date_time AS date_time - INTERVAL '5' SECOND)
    WITH (connector = 'file', path = 'datasets/nexmark/bid.json');
  CREATE SINK per_window WITH (connector = 'console');
  INSERT INTO per_window
    SELECT window_start, auction, max(price) AS top
    FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(date_time), INTERVAL '1' MINUTE))
    GROUP BY window_start, window_end, auction;

  thalweg run bids.sql                 until interrupted; then drains, commits, exits 0
  thalweg run bids.sql --until-end     to the end of the files, all windows closed
  thalweg run examples/telecom.sql --until-end --set split=2019-12-02
                                       ${split} in the file is 2019-12-02

PRINT 'text' is a line above the next result. On a terminal a run ends with a line on stderr that
counts rows and tells the time.";

const SLT_EXAMPLES: &str = "\
Each file runs in an engine of its own, every record of it, also behind one that fails or panics.
For `onlyif` and `skipif` this engine is datafusion and thalweg, and its device's name.
Paths in the files are relative to the working directory:
  thalweg slt tests/slt/dates.slt
  thalweg slt --device gpu --style duckdb tests/slt/join.slt
The styles are those of the files of DataFusion (from its folder datafusion/sqllogictest), DuckDB
and SQLite; the project's own, in tests/slt, go by that of DuckDB.
Prints passed, failed and skipped of each file, what differs, and exits with 1 if any has failed.
Programs that a file wants to run (`system`) are not run.";

const GEN_EXAMPLES: &str = "\
Examples:
  thalweg gen tpch --scale 1 -o tpch
  thalweg gen tpch --scale 0.01 --tables customer,orders --format csv -o tiny
  thalweg gen nexmark --events 100000 --seed 7 -o nexmark

Each table is one file, DIR/<table>.<format>. The same arguments give the same rows anywhere.";

/// One SQL over stored history and live data, on any GPU.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, about, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs SQL statements, or opens a prompt
    #[command(after_help = SQL_EXAMPLES)]
    Sql(Sql),
    /// Runs a pipeline of streams
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Runs sqllogictest files and counts what passes
    #[command(after_help = SLT_EXAMPLES)]
    Slt(Slt),
    /// Lists the adapters of this machine with what they can do
    Devices(Devices),
    /// Measures this machine; `--device auto` goes by what is found
    Calibrate,
    /// Runs known benchmarks on this machine
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
    /// Writes test data: the tables of a benchmark
    #[command(after_help = GEN_EXAMPLES)]
    Gen {
        #[command(subcommand)]
        dataset: Dataset,
    },
    /// Writes a script that completes this command line: `source <(thalweg completions bash)`
    Completions { shell: clap_complete::Shell },
}

/// Which side runs the work.
#[derive(Debug, Clone, Args)]
pub struct Device {
    /// Where filters, aggregates and joins run: as the measured rates say, on the GPU whatever can,
    /// or on the CPU only
    #[arg(long, default_value = "auto", value_parser = device_parser())]
    pub device: DeviceChoice,
    /// With --device gpu: what cannot run on the GPU is an error
    #[arg(long)]
    pub strict: bool,
    /// Part of the name of the adapter to take, where there are several (see `thalweg devices`)
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// What queries hold in memory at most, such as 4GB or 512MiB; what they need above waits on
    /// the disk [default: three quarters of the machine's memory]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<usize>,
    /// Writes when what ran where; open the file in ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

impl Device {
    /// The engine's options. Exits with 2 where the arguments contradict each other.
    pub fn options(&self) -> Options {
        if self.strict && self.device != DeviceChoice::Gpu {
            let message = "--strict goes with --device gpu only";
            Arguments::command().error(clap::error::ErrorKind::ArgumentConflict, message).exit();
        }
        Options {
            device: self.device,
            strict: self.strict,
            adapter: self.adapter.clone(),
            memory: self.memory,
            trace: self.trace.clone(),
        }
    }
}

/// A number of bytes.
fn size(text: &str) -> Result<usize, String> {
    let found = bytes(text).filter(|bytes| *bytes > 0);
    found.ok_or_else(|| "a size is needed, such as 4GB, 512MiB or 536870912".to_string())
}

/// Seconds, at most a day.
fn seconds(text: &str) -> Result<f64, String> {
    let found = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0 && *seconds <= 86_400.0);
    found.ok_or_else(|| "a number of seconds above 0 is needed, such as 10".to_string())
}

/// `NAME=VALUE`.
fn named_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && name.chars().all(in_name) => {
            Ok((name.to_string(), value.to_string()))
        }
        _ => Err("NAME=VALUE is needed, such as data=2026/01".to_string()),
    }
}

fn device_parser() -> impl TypedValueParser<Value = DeviceChoice> {
    PossibleValuesParser::new(["auto", "gpu", "cpu"]).try_map(|text| text.parse::<DeviceChoice>())
}

#[derive(Debug, Args)]
pub struct Sql {
    /// The statements themselves, separated by ';'
    #[arg(short, long, value_name = "SQL", conflicts_with = "file", allow_hyphen_values = true)]
    pub command: Option<String>,
    /// A file of statements, separated by ';'
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What ${NAME} stands for in the file; ${NAME:-x} is x without it
    #[arg(long, value_name = "NAME=VALUE", value_parser = named_value, requires = "file")]
    pub set: Vec<(String, String)>,
    #[command(flatten)]
    pub device: Device,
    /// How results are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Where results are written; the file appears when all went well
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Tells rows and seconds of each statement
    #[arg(long)]
    pub timing: bool,
    /// In a table: a line for each value instead of one for each row
    #[arg(short = 'x', long)]
    pub expanded: bool,
    /// In a table on a terminal: the type of each column below its name
    #[arg(long)]
    pub types: bool,
}

/// Forms of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    /// Header line, RFC 4180 quoting, NULL as empty
    Csv,
    /// One object per line
    Json,
    Parquet,
    /// Arrow IPC: the file format in a file, the stream format on stdout
    Arrow,
}

#[derive(Debug, Args)]
pub struct Run {
    /// The file of statements
    pub pipeline: PathBuf,
    /// What ${NAME} stands for in the file; ${NAME:-x} is x without it
    #[arg(long, value_name = "NAME=VALUE", value_parser = named_value)]
    pub set: Vec<(String, String)>,
    /// Where offsets and open windows are kept between runs
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Forgets the state of earlier runs (after asking); stored history and results stay
    #[arg(long)]
    pub start_fresh: bool,
    /// With --start-fresh: does not ask
    #[arg(long, requires = "start_fresh")]
    pub yes: bool,
    /// Writes what every query has done in an epoch, a JSON object a line, to a file or to
    /// stdout (-)
    #[arg(long, value_name = "FILE")]
    pub progress: Option<PathBuf>,
    /// Reads bounded sources to their end, closes all windows, exits
    #[arg(long)]
    pub until_end: bool,
    /// Serves Prometheus metrics there (not available yet)
    #[arg(long, value_name = "ADDR", hide = true)]
    pub metrics: Option<std::net::SocketAddr>,
    #[command(flatten)]
    pub device: Device,
    /// How the rows of a plain SELECT are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Slt {
    /// Files, or folders of files that end in .slt, .test or .test_slow
    #[arg(required = true, value_name = "FILES")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub device: Device,
    /// Whose files they are: how answers are written and compared
    #[arg(long, value_enum, default_value_t = Style::Datafusion)]
    pub style: Style,
    /// Another name that `onlyif` and `skipif` may mean
    #[arg(long, value_name = "NAME")]
    pub label: Vec<String>,
    /// Seconds that a record may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    pub timeout: f64,
    /// How many differences are printed in full
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub differences: usize,
}

#[derive(Debug, Args)]
pub struct Devices {
    /// As one JSON document
    #[arg(long)]
    pub json: bool,
}

/// What `gen` can make.
#[derive(Debug, Subcommand)]
pub enum Dataset {
    /// The eight tables of TPC-H; scale 1 is about 8.7 million rows
    Tpch(Tpch),
    /// Persons, auctions and bids of an auction site
    Nexmark(Nexmark),
    /// The small sets that stand in the project's folder datasets/
    Samples {
        /// The folder the files go to; made if it is not there
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
    },
    /// The star schema benchmark (not available yet)
    #[command(hide = true)]
    Ssb(Target),
    /// The group-by and join tables of the H2O.ai benchmark (not available yet)
    #[command(hide = true)]
    H2o(Target),
}

/// Benchmarks that can be run.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Each family of kernels on the device beside the CPU operators of the same query, by rows
    Kernels(KernelBench),
    /// What the adapter gives to kernels, copies and the host: clocks, memory, staging by threads,
    /// each dispatch of the engine's kernels, atomics, random reads, overlap, compiling. About a
    /// minute
    Device(DeviceBench),
    /// NEXMark's queries over its generator, with and without a store; results are dropped
    Nexmark(NexmarkBench),
    /// How long a row takes through a count by key, from the input of a pipeline to its output
    Latency(LatencyBench),
    /// How fast a windowed count works off a backlog, by device and rows at once, and from where on
    /// the GPU is faster
    Backlog(BacklogBench),
}

#[derive(Debug, Args)]
pub struct KernelBench {
    /// Numbers of rows to compare the sides at
    #[arg(long, value_delimiter = ',', default_value = "100000,1000000,10000000",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: Vec<u64>,
    /// Only these families: reduce, select, group, join
    #[arg(long, value_delimiter = ',')]
    pub families: Vec<String>,
    /// Runs of which the median counts
    #[arg(long, default_value_t = 9)]
    pub runs: usize,
    /// Part of the name of the adapter to take, where there are several (see `thalweg devices`)
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// Also writes the table there, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also draws rows a second over rows there
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DeviceBench {
    /// Part of the name of the adapter to take, where there are several (see `thalweg devices`)
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// Prints JSON in place of the text, or writes it to a file beside the text
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BacklogBench {
    /// Rows that have piled up
    #[arg(long, default_value_t = 8_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: u64,
    /// How many different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// Sides to compare: cpu, gpu, auto
    #[arg(long, value_delimiter = ',', default_value = "cpu,gpu", value_parser = device_parser())]
    pub device: Vec<DeviceChoice>,
    /// Rows that queries are given at once
    #[arg(long, value_delimiter = ',', default_value = "16384,65536,262144,1048576,4194304",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub batch_rows: Vec<usize>,
    /// Runs of each; the fastest counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
}

#[derive(Debug, Args)]
pub struct LatencyBench {
    /// Rows a second
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    /// How many different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// How long, behind three seconds of warming up
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
}

#[derive(Debug, Args)]
pub struct NexmarkBench {
    /// Millions of events
    #[arg(long, default_value_t = 1.0, value_parser = parse_scale)]
    pub scale: f64,
    /// How many events instead
    #[arg(long, conflicts_with = "scale", value_parser = clap::value_parser!(u64).range(1..))]
    pub events: Option<u64>,
    /// Only these, such as q5,q7
    #[arg(long, value_delimiter = ',')]
    pub queries: Vec<String>,
    /// Sides to compare: cpu, gpu, auto
    #[arg(long, value_delimiter = ',', default_value = "cpu", value_parser = device_parser())]
    pub device: Vec<DeviceChoice>,
    /// Also writes the table there, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Where generated data goes.
#[derive(Debug, Args)]
pub struct Target {
    /// The size, in the benchmark's own measure; fractions are allowed
    #[arg(long, default_value_t = 1.0, value_parser = parse_scale)]
    pub scale: f64,
    /// The folder the files go to; made if it is not there
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    #[arg(long, value_enum, default_value_t = DataFormat::Parquet)]
    pub format: DataFormat,
}

#[derive(Debug, Args)]
pub struct Tpch {
    #[command(flatten)]
    pub target: Target,
    /// Only these tables, such as lineitem,orders
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(tpch::NAMES))]
    pub tables: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Nexmark {
    #[command(flatten)]
    pub target: Target,
    /// How many events, of which 92 % are bids; scale 1 is a million
    #[arg(long, conflicts_with = "scale", value_parser = clap::value_parser!(u64).range(1..))]
    pub events: Option<u64>,
    /// Another seed gives other data
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Events per second of event time
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
}

/// Forms of a generated file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DataFormat {
    Parquet,
    Csv,
    /// One object per line
    Json,
}

/// Largest scale: the benchmark's own generator stops there too.
const LARGEST_SCALE: f64 = 100_000.0;

fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale > 0.0 && scale <= LARGEST_SCALE => Ok(scale),
        _ => {
            Err(format!("a number above 0 and up to {LARGEST_SCALE} is needed, such as 0.01 or 10"))
        }
    }
}
