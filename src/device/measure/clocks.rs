//! The clocks of a card while it works, by `nvidia-smi` where that is installed and knows the card.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::task::Thread;

/// What is asked for, in the order of `Sample`'s fields, behind the name.
const QUERY: &str = "--query-gpu=name,clocks.sm,clocks.mem,pcie.link.gen.current";

/// Milliseconds from one sample to the next.
const EVERY_MS: &str = "20";

/// The clocks at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub sm_mhz: u32,
    pub memory_mhz: u32,
    pub pcie_generation: u32,
}

/// Reads samples until it is stopped or dropped.
pub struct Clocks {
    child: Child,
    reader: Option<Thread<()>>,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Clocks {
    /// `None` where there is no such program.
    pub fn start(adapter: &str) -> Option<Self> {
        let mut command = Command::new("nvidia-smi");
        command.args([QUERY, "--format=csv,noheader,nounits", "-lms", EVERY_MS]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self::of(command, adapter)
    }

    fn of(mut command: Command, adapter: &str) -> Option<Self> {
        let mut child = command.spawn().ok()?;
        let out = child.stdout.take();
        let samples = Arc::<Mutex<Vec<Sample>>>::default();
        let (told, adapter) = (Arc::clone(&samples), adapter.to_string());
        let read = move || {
            let lines = out.map(|out| BufReader::new(out).lines());
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                told.lock().extend(sample(&line, &adapter));
            }
        };
        let reader = Thread::spawn("thalweg-clocks", read).ok();
        Some(Self { child, reader, samples })
    }

    /// What was read since the start or the call before.
    pub fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut *self.samples.lock())
    }
}

impl Drop for Clocks {
    fn drop(&mut self) {
        self.child.kill().ok(); // it may have ended by itself
        self.child.wait().ok();
        if let Some(Err(error)) = self.reader.take().map(Thread::join) {
            tracing::debug!(%error, "reading clocks");
        }
    }
}

/// A line of the program, if it is of this card and complete.
fn sample(line: &str, adapter: &str) -> Option<Sample> {
    let mut fields = line.split(',').map(str::trim);
    if fields.next()? != adapter {
        return None;
    }
    let mut number = || fields.next()?.parse().ok();
    Some(Sample { sm_mhz: number()?, memory_mhz: number()?, pcie_generation: number()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_cards_and_without_numbers_are_none() {
        let card = "NVIDIA H100 80GB HBM3";
        let expected = Sample { sm_mhz: 345, memory_mhz: 2619, pcie_generation: 5 };
        assert_eq!(sample("NVIDIA H100 80GB HBM3, 345, 2619, 5", card), Some(expected));
        for line in ["NVIDIA L4, 345, 2619, 5", "NVIDIA H100 80GB HBM3, [N/A], 2619, 5", ""] {
            assert_eq!(sample(line, card), None, "{line}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn samples_are_read_while_the_program_runs_and_it_is_ended() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo card, 1, 2, 3; echo other, 1, 2, 3; exec sleep 1000"]);
        command.stdout(Stdio::piped());
        let clocks = Clocks::of(command, "card").unwrap();
        let mut found = Vec::new();
        while found.is_empty() {
            std::thread::yield_now();
            found = clocks.take();
        }
        assert_eq!(found, [Sample { sm_mhz: 1, memory_mhz: 2, pcie_generation: 3 }]);
        drop(clocks);
        let absent = Command::new("no-such-program-of-this-name");
        assert!(Clocks::of(absent, "card").is_none());
    }
}
