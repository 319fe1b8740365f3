//! A player that has each dispatch tell its accesses, workgroup by workgroup in their order, so
//! that what is counted does not depend on how a device's threads meet. The answers are the
//! kernels' own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use thalweg::device::Player;
use thalweg::device::around::{Answer, Around};
use thalweg::record::{Buffer, Code, Command, Completed, Program, Recording, Words};

use super::counted::{Counted, LOG_COUNTS, LOG_ENTRY, LOG_HEADER, counted};

/// Bytes of the log of one submit.
const LOG_BYTES: u64 = 120 << 20;

/// Workgroups of a dispatch at most.
const MAX_GROUPS: u32 = 1 << 12;

/// What one dispatch told.
pub struct Dispatch {
    pub counted: Arc<Counted>,
    pub label: String,
    pub groups: u32,
    /// Times that each place was passed which is no access of device memory.
    pub counts: Vec<u32>,
    /// Entries in the log of the submit.
    pub entries: std::ops::Range<usize>,
}

/// What one submit did.
#[derive(Default)]
pub struct Submit {
    pub dispatches: Vec<Dispatch>,
    pub log: Words,
    pub fills: u64,
    pub fill_bytes: u64,
    pub copy_bytes: u64,
    pub up_bytes: u64,
    pub down_bytes: u64,
}

pub struct Counting {
    inner: Arc<dyn Player>,
    /// Each word is its own place.
    numbers: Buffer,
    programs: Mutex<HashMap<Arc<Code>, Arc<Counted>>>,
    /// By the order of the calls.
    submits: Mutex<Vec<Option<Submit>>>,
}

impl Counting {
    pub async fn new(inner: Arc<dyn Player>) -> Arc<Self> {
        let bytes = 4 * u64::from(MAX_GROUPS + 1);
        let numbers = inner.buffer(bytes, "numbers").unwrap();
        let mut from = inner.staging(bytes).await.unwrap();
        for (number, word) in (0..=MAX_GROUPS).zip(from.words()) {
            *word = number;
        }
        let commands = vec![Command::Upload { from, bytes, to: numbers.clone(), at: 0 }];
        inner.submit(Recording { label: "numbers".into(), commands }).await.unwrap();
        let (programs, submits) = Default::default();
        Arc::new(Self { inner, numbers, programs, submits })
    }

    /// What was told since the last time.
    pub fn take(&self) -> Vec<Submit> {
        self.submits.lock().unwrap().drain(..).map(Option::unwrap).collect()
    }

    fn counted(&self, program: &Program) -> Arc<Counted> {
        let mut programs = self.programs.lock().unwrap();
        let make = || Arc::new(counted(program, self.inner.capabilities().tier));
        programs.entry(program.code.clone()).or_insert_with(make).clone()
    }

    /// One word of the log: the number.
    fn number(&self, number: u32, log: &Buffer, word: u64) -> Command {
        let (from, from_at) = (self.numbers.clone(), 4 * u64::from(number));
        Command::Copy { from, from_at, to: log.clone(), to_at: 4 * word, bytes: 4 }
    }

    /// The commands that play a recording and have it told.
    fn told(&self, commands: Vec<Command>, log: &Buffer, submit: &mut Submit) -> Told {
        let head = 0..4 * LOG_HEADER as u64;
        let mut told = Told { commands: Vec::new(), own: Vec::new() };
        told.commands.push(Command::Clear { buffer: log.clone(), range: head.clone() });
        for command in commands {
            let Command::Dispatch { program, mut bindings, groups } = command else {
                submit.count(&command);
                if let Command::Download { .. } = command {
                    told.own.push(false);
                }
                told.commands.push(command);
                continue;
            };
            assert!(groups <= MAX_GROUPS, "{}: {groups} workgroups", program.label);
            let counted = self.counted(&program);
            bindings.push(log.clone());
            let counters = 4 * LOG_COUNTS as u64..4 * LOG_HEADER as u64;
            told.commands.push(Command::Clear { buffer: log.clone(), range: counters });
            told.commands.push(self.number(groups, log, 1));
            for group in 0..groups {
                let program = counted.program.clone();
                let bindings = bindings.clone();
                told.commands.push(self.number(group, log, 0));
                told.commands.push(Command::Dispatch { program, bindings, groups: 1 });
            }
            told.commands.push(Command::Download { buffer: log.clone(), range: head.clone() });
            told.own.push(true);
            let (label, counts, entries) = (program.label.clone(), Vec::new(), 0..0);
            submit.dispatches.push(Dispatch { counted, label, groups, counts, entries });
        }
        told
    }
}

/// Commands, and of each of their downloads whether it is the log's.
struct Told {
    commands: Vec<Command>,
    own: Vec<bool>,
}

impl Submit {
    fn count(&mut self, command: &Command) {
        match command {
            Command::Upload { bytes, .. } => self.up_bytes += bytes,
            Command::Clear { range, .. } => {
                self.fills += 1;
                self.fill_bytes += range.end - range.start;
            }
            Command::Copy { bytes, .. } => self.copy_bytes += bytes,
            Command::Download { range, .. } => self.down_bytes += range.end - range.start,
            Command::Dispatch { .. } => {}
        }
    }

    /// Takes the log's downloads out of those that came; how many entries there are.
    fn heads(&mut self, completed: &mut Completed, own: &[bool]) -> usize {
        let all = std::mem::take(&mut completed.downloads);
        let mut dispatches = self.dispatches.iter_mut();
        let mut entries = 0;
        for (words, own) in all.into_iter().zip(own) {
            if !own {
                completed.downloads.push(words);
                continue;
            }
            let Some(dispatch) = dispatches.next() else { continue };
            let end = words[2] as usize;
            dispatch.entries = entries..end;
            let counters = words[LOG_COUNTS..].iter();
            dispatch.counts = counters.take(dispatch.counted.sites.len()).copied().collect();
            entries = end;
        }
        entries
    }
}

impl Around for Counting {
    fn inner(&self) -> &Arc<dyn Player> {
        &self.inner
    }

    // The programs that are played are others.
    fn ahead(&self, _: Vec<Arc<Program>>) {}

    fn play(&self, recording: Recording) -> Answer<'_> {
        let mut submit = Submit::default();
        let log = self.inner.buffer(LOG_BYTES, "log").unwrap();
        let Told { commands, own } = self.told(recording.commands, &log, &mut submit);
        let number = {
            let mut submits = self.submits.lock().unwrap();
            submits.push(None);
            submits.len() - 1
        };
        let played = self.inner.submit(Recording { label: recording.label, commands });
        Box::pin(async move {
            let mut completed = played.await?;
            let entries = submit.heads(&mut completed, &own);
            let from = 4 * LOG_HEADER as u64;
            let range = from..from + 4 * (LOG_ENTRY * entries) as u64;
            assert!(range.end <= LOG_BYTES, "{entries} accesses are more than the log holds");
            if entries > 0 {
                let commands = vec![Command::Download { buffer: log, range }];
                let log = self.inner.submit(Recording { label: "log".into(), commands }).await?;
                submit.log = log.downloads.into_iter().next().unwrap();
            }
            self.submits.lock().unwrap()[number] = Some(submit);
            Ok(completed)
        })
    }
}
