//! The command line: what each word does, what goes to stdout and to stderr, exit codes.
//!
//! Results go to stdout and nothing else does. Exit 0: done. 1: failed. 2: the command line itself
//! is wrong. 130: interrupted. Never decides anything about plans or devices.
//!
//! ```text
//! script, pipeline, prompt              statements of a file, of a pipeline, of a person
//! bench/, generate/, slt/, devices      the other words
//! output/, view/                        results as files and text, and as a terminal shows them
//! failure, caret, interrupt, waiting    what is told meanwhile
//! ```

mod args;
mod bench;
mod caret;
mod complete;
mod devices;
mod failure;
mod generate;
mod interrupt;
mod lexer;
mod output;
mod pipeline;
mod prompt;
mod script;
pub mod slt;
mod view;
mod waiting;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{CommandFactory, Parser};

use args::{Arguments, Command};
use failure::{Failure, Outcome};
use interrupt::Interrupt;

use crate::device;
use crate::error::Error;
use crate::task::Thread;
use crate::trace;

/// Stack of each thread that plans or computes. The deepest expressions that `sql::depth` lets
/// through need up to 8 KB a level in debug builds, half of this; memory is taken as it is used.
const STACK_BYTES: usize = 64 << 20;

/// Parses the command line, runs it, answers the exit code.
pub fn main() -> ExitCode {
    failure::install_panic_hook();
    let arguments = Arguments::parse();
    let whole = Thread::deep("thalweg", STACK_BYTES, || run(arguments));
    let ended = whole.map_err(Error::from).and_then(Thread::join);
    failure::exit_code(ended.unwrap_or_else(|error| Err(error.into())))
}

fn run(arguments: Arguments) -> Outcome {
    install_log();
    let traced = trace_of(&arguments.command);
    if let Some(path) = &traced {
        trace::enable(path);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = match arguments.command {
                Command::Sql(sql) if script::is_prompt(&sql) => prompt::run(&runtime, sql),
                command => interrupt::watch_signals(matches!(command, Command::Run(_)))
                    .and_then(|()| runtime.block_on(until_interrupted(command))),
            };
            // Work that is still running has nobody left to answer to.
            runtime.shutdown_background();
            device::finish();
            outcome
        }
        Err(error) => Err(Failure::from(error)),
    };
    let written = match traced {
        Some(path) => trace::flush()
            .map_err(|error| Failure::failed(format!("trace {}: {error}", path.display()))),
        None => Ok(()),
    };
    outcome.and(written)
}

/// Where the command is to leave a trace of its run.
fn trace_of(command: &Command) -> Option<PathBuf> {
    match command {
        Command::Sql(arguments) => arguments.device.trace.clone(),
        Command::Run(arguments) => arguments.device.trace.clone(),
        Command::Slt(arguments) => arguments.device.trace.clone(),
        _ => None,
    }
}

/// Runs a command in a task of its own, so that an interrupt is seen while it computes.
async fn until_interrupted(command: Command) -> Outcome {
    let (interrupt, reading) = (Interrupt::default(), Arc::default());
    let runs = matches!(command, Command::Run(_));
    let mut task = tokio::spawn(dispatch(command, interrupt.clone(), Arc::clone(&reading)));
    let done = match runs {
        true => interrupt::unless_elsewhere(&mut task, &reading).await?,
        false => interrupt.run(&mut task).await?,
    };
    if let Some(done) = done {
        return done.unwrap_or_else(|error| Err(Failure::ended("a command", error)));
    }
    task.abort();
    // Long enough for unfinished files to be removed, too short to annoy.
    tokio::select! {
        _ = task => {}
        () = interrupt::passed(std::time::Duration::from_millis(500)) => {}
    }
    Err(Failure::Interrupted)
}

async fn dispatch(command: Command, interrupt: Interrupt, reading: Arc<AtomicBool>) -> Outcome {
    match command {
        Command::Sql(arguments) => script::run(arguments, &interrupt).await,
        Command::Run(arguments) => pipeline::run(arguments, reading).await,
        Command::Slt(arguments) => slt::run(arguments).await,
        Command::Bench { bench } => bench::run(bench).await,
        Command::Devices(arguments) => devices::list(arguments.json).await,
        Command::Calibrate => devices::calibrate().await,
        Command::Gen { dataset } => generate::run(dataset).await,
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "thalweg", &mut script);
            std::io::Write::write_all(&mut std::io::stdout(), &script)?;
            Ok(())
        }
    }
}

/// Logs go to stderr; `THALWEG_LOG` holds the filter, such as `thalweg=debug`. What drivers write
/// there is left out without it.
fn install_log() {
    // Who asks for logs wants to hear drivers too.
    if std::env::var_os("THALWEG_LOG").is_none() {
        crate::device::keep_drivers_quiet();
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("THALWEG_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("thalweg=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| pipeline::Stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
}
