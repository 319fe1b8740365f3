//! The one integration binary: a module per subject. Tests run in the folder of the package and
//! name files relative to it, so that the binary also runs elsewhere (`scripts/gpu-check`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// What host and shader must agree on.
mod abi;
/// What is not allocated for each group or row.
mod allocations;
/// What is drawn for a person to read.
mod answers;
/// Accumulators, and our aggregate functions, against DataFusion's.
mod aggregates;
/// Results that change and tables beside streams, killed and resumed.
mod changes;
/// The command line by its real binary.
mod cli;
/// Pipelines that are compiled once.
mod compiled;
/// As-of joins over streams.
mod asof;
/// State folders that are damaged or moved.
mod damaged;
/// Right answers where those of the foundations are wrong.
mod differences;
/// Streams, files and sinks that are others than in the run before.
mod evolve;
/// The files of `examples/`.
mod examples;
/// What earlier versions have left, resumed.
mod fixtures;
/// The first rows of files.
mod first_rows;
/// Damaged SQL, files and requests.
mod fuzz;
/// Rows that are posted, under what senders do.
mod http;
/// Inputs that are too deep, too long or too far off.
mod inputs;
/// The laws of the repository.
mod laws;
/// The programs of all kernels.
mod linked;
/// A SELECT that follows a stream.
mod live;
/// What is said of statements that fail.
mod messages;
/// Every kernel against its twin, and its planted faults.
mod parity;
/// Planted panics are errors, in the library without any hook.
mod panics;
/// Every example of the documents and of `--help`, as it stands.
#[cfg(unix)]
mod printed;
/// Random data and queries on all sides.
mod random;
/// Real files, the same on both sides.
mod real;
/// Tables behind HTTP and S3.
mod remote;
/// SQL logic tests under every placement.
mod sql;
/// Pipelines in files, `tests/streams/*.sql`.
mod streams;
/// Streams, as a batch and as pipelines.
mod stream;
/// The queries of the NEXMark suite.
mod nexmark;
/// Results that are brought to what they were had no row been late.
mod reconcile;
/// What a fragment keeps of the nodes it stands for.
mod replaced;
/// Answers that were recorded, and dispatches one by one.
mod replayed;
/// Files as tables by functions, and types that widen from file to file.
mod readers;
/// What sources make of values, texts and folders.
mod readings;
/// What comes only once, across restarts.
mod received;
/// Sources by themselves.
mod samples;
/// What of Parquet files is sent to a device.
mod sent;
mod sources;
/// Statements and options as stock DataFusion has them, and the memory of queries.
mod statements;
/// Many small slots, held up on their way, against one large slot.
mod stress;
/// Rows and keys that are equal, times that are far.
mod ties;
/// Kernels in the languages of Metal and DirectX 12, and the limits of small adapters.
mod translated;
/// What kernels touch of memory, counted; laws about their code.
mod traffic;
/// State folders that do not grow, and what goes on from them.
mod trim;
/// Streams in a UNION, a delay for late rows, subqueries over streams.
mod unions;
/// Windows in all their spellings, tables as they were.
mod windows;
/// TPC-H at scale 1 against known answers.
mod tpch;
/// The binary that runs pipelines.
mod pipeline;
