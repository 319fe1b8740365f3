//! A player without a device: it answers each submit at once with what another player has answered
//! to the same one before, so that what a run takes is the host's part of it alone.
//!
//! Uploads are written to memory of the host and forgotten. A submit is known by its label and the
//! shape of its commands; those of one shape are answered in their order, and from the start again
//! where the run begins again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::pool::class_of;
use super::{Capabilities, MemoryUse, Player};
use crate::error::DeviceError;
use crate::record::{Buffer, Command, Completed, Home, Program, Recording, Staging, Words};

/// Plays on another player, and keeps what it answers.
pub struct Recorder {
    inner: Arc<dyn Player>,
    answers: Mutex<HashMap<u64, Vec<Vec<Vec<u32>>>>>,
}

impl Recorder {
    pub fn new(inner: Arc<dyn Player>) -> Self {
        Self { inner, answers: Mutex::default() }
    }

    /// The player that answers like this.
    pub fn replay(&self) -> Arc<Replay> {
        let answers = self.answers.lock().clone();
        let downloads = |words: Vec<Vec<u32>>| words.into_iter().map(Download::new).collect();
        let shape = |answers: Vec<Vec<Vec<u32>>>| Answers {
            all: answers.into_iter().map(downloads).collect(),
            next: 0,
        };
        let answers = answers.into_iter().map(|(key, all)| (key, shape(all))).collect();
        Arc::new(Replay {
            capabilities: self.inner.capabilities().clone(),
            answers: Mutex::new(answers),
            staging: Arc::default(),
        })
    }
}

/// What tells a submit from others: its label, and of each command what does not depend on the
/// values of rows.
fn shape(recording: &Recording) -> u64 {
    let mut hasher = DefaultHasher::new();
    recording.label.hash(&mut hasher);
    for command in &recording.commands {
        std::mem::discriminant(command).hash(&mut hasher);
        match command {
            Command::Upload { bytes, at, .. } => (bytes, at).hash(&mut hasher),
            Command::Clear { range, .. } | Command::Download { range, .. } => {
                range.hash(&mut hasher);
            }
            Command::Copy { from_at, to_at, bytes, .. } => {
                (from_at, to_at, bytes).hash(&mut hasher);
            }
            Command::Dispatch { program, groups, .. } => {
                (&program.code, groups).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

#[async_trait]
impl Player for Recorder {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn memory_use(&self) -> MemoryUse {
        self.inner.memory_use()
    }

    fn compile_ahead(&self, programs: Vec<Arc<Program>>) {
        self.inner.compile_ahead(programs);
    }

    fn buffer(&self, bytes: u64, what: &str) -> Result<Buffer, DeviceError> {
        self.inner.buffer(bytes, what)
    }

    async fn staging(&self, bytes: u64) -> Result<Staging, DeviceError> {
        self.inner.staging(bytes).await
    }

    fn submit<'a, 'b>(&'a self, recording: Recording) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let shape = shape(&recording);
        // Places are taken in the order of the submits, whatever that of the answers.
        let mut answers = self.answers.lock();
        let of_shape = answers.entry(shape).or_default();
        let place = of_shape.len();
        of_shape.push(Vec::new());
        let answered = self.inner.submit(recording);
        drop(answers);
        Box::pin(async move {
            let completed = answered.await?;
            let words = completed.downloads.iter().map(|words| words.to_vec()).collect();
            if let Some(kept) =
                self.answers.lock().get_mut(&shape).and_then(|all| all.get_mut(place))
            {
                *kept = words;
            }
            Ok(completed)
        })
    }
}

type Answer<'b> = std::pin::Pin<
    Box<dyn std::future::Future<Output = Result<Completed, DeviceError>> + Send + 'b>,
>;

/// Answers as another player did.
pub struct Replay {
    capabilities: Capabilities,
    answers: Mutex<HashMap<u64, Answers>>,
    staging: Arc<Shelf>,
}

/// The answers to submits of one shape.
struct Answers {
    all: Vec<Vec<Arc<Download>>>,
    /// Which is due.
    next: usize,
}

/// Words that are handed out again and again.
struct Download {
    words: Vec<u32>,
    /// Copies that came back.
    copies: Shelf,
}

/// Memory that nobody uses.
#[derive(Default)]
struct Shelf(Mutex<Vec<Vec<u32>>>);

impl Replay {
    /// The next run gets the answers that the first got.
    pub fn rewind(&self) {
        self.answers.lock().values_mut().for_each(|answers| answers.next = 0);
    }
}

impl Download {
    fn new(words: Vec<u32>) -> Arc<Self> {
        let copies = Shelf(Mutex::new(vec![words.clone()]));
        Arc::new(Self { words, copies })
    }

    fn hand_out(self: &Arc<Self>) -> Words {
        let kept = self.copies.0.lock().pop();
        Words::of(kept.unwrap_or_else(|| self.words.clone()), Arc::clone(self) as Arc<dyn Home>)
    }
}

impl Home for Download {
    fn welcome(&self, memory: Vec<u32>) {
        self.copies.0.lock().push(memory);
    }
}

/// Staging memory that goes back to its shelf.
struct Staged {
    words: Vec<u32>,
    shelf: Arc<Shelf>,
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.shelf.0.lock().push(std::mem::take(&mut self.words));
    }
}

impl Shelf {
    /// Memory of so many words, with whatever was there.
    fn take(&self, words: usize) -> Vec<u32> {
        let mut free = self.0.lock();
        match free.iter().position(|memory| memory.len() == words) {
            Some(at) => free.swap_remove(at),
            None => vec![0; words],
        }
    }
}

#[async_trait]
impl Player for Replay {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn memory_use(&self) -> MemoryUse {
        MemoryUse::default()
    }

    fn compile_ahead(&self, _: Vec<Arc<Program>>) {}

    fn buffer(&self, bytes: u64, what: &str) -> Result<Buffer, DeviceError> {
        let most = self.capabilities.max_binding_bytes;
        if bytes > most {
            let text = format!("{what} needs {bytes} bytes, one buffer holds {most}");
            return Err(DeviceError::TableFull(text));
        }
        // As large as a GPU's: runs look at it.
        let bytes = match self.capabilities.backend.as_str() {
            "twin" => bytes.max(4).next_multiple_of(4),
            _ => class_of(bytes).min(most),
        };
        Ok(Buffer { bytes, handle: Arc::new(()) })
    }

    async fn staging(&self, bytes: u64) -> Result<Staging, DeviceError> {
        let bytes = bytes.next_multiple_of(4);
        // By class, so that memory is used again.
        let words = self.staging.take(class_of(bytes) as usize / 4);
        let mut staged = Staged { words, shelf: Arc::clone(&self.staging) };
        let pointer = staged.words.as_mut_ptr().cast();
        Ok(Staging { bytes, pointer, handle: Box::new(staged) })
    }

    async fn submit(&self, recording: Recording) -> Result<Completed, DeviceError> {
        let mut answers = self.answers.lock();
        let of_shape = answers.get_mut(&shape(&recording)).filter(|of| !of.all.is_empty());
        let Some(of_shape) = of_shape else {
            let text = format!("no answer was recorded for '{}'", recording.label);
            return Err(DeviceError::Validation(text));
        };
        let answer = &of_shape.all[of_shape.next % of_shape.all.len()];
        let downloads = answer.iter().map(Download::hand_out).collect();
        of_shape.next += 1;
        Ok(Completed { downloads, ..Completed::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::{add_one, recording, upload};
    use crate::device::twin;

    async fn play(player: &dyn Player, add: u32, count: u32) -> Result<Completed, DeviceError> {
        let words: Vec<u32> = (0..count).map(|at| if at == 0 { count } else { at + add }).collect();
        let bytes = 4 * u64::from(count);
        let (a, b) = (player.buffer(bytes, "a")?, player.buffer(bytes, "b")?);
        let commands = vec![
            upload(player, &a, 0, &words).await?,
            Command::Dispatch { program: add_one(), bindings: vec![a, b.clone()], groups: 16 },
            Command::Download { buffer: b, range: 0..bytes },
        ];
        player.submit(recording("add", commands)).await
    }

    #[tokio::test]
    async fn a_replay_answers_as_the_run_did_in_its_order() {
        let recorder = Recorder::new(twin::twin());
        let mut expected = Vec::new();
        for (add, count) in [(1, 100), (2, 100), (3, 200)] {
            let completed = play(&recorder, add, count).await.unwrap();
            expected.push(completed.downloads[0].to_vec());
        }
        assert_eq!(expected[1][1..4], [4, 5, 6]);
        let replay = recorder.replay();
        for _ in 0..3 {
            // Shapes do not wait for one another.
            for (number, count) in [(2, 200), (0, 100), (1, 100)] {
                let completed = play(&*replay, 7, count).await.unwrap();
                assert_eq!(completed.downloads[0], expected[number]);
            }
            replay.rewind();
        }
        let one = play(&*replay, 7, 100).await.unwrap();
        let two = play(&*replay, 7, 100).await.unwrap();
        replay.rewind();
        let again = play(&*replay, 7, 100).await.unwrap();
        assert_ne!(one.downloads[0], two.downloads[0].to_vec());
        assert_eq!(again.downloads[0], one.downloads[0].to_vec(), "while the first is held");
        let error = play(&*replay, 7, 300).await.unwrap_err();
        assert!(error.to_string().contains("no answer was recorded for 'add'"), "{error}");
    }
}
