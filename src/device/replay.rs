//! A player without a device: it answers each submit at once with what another player has answered
//! to the same one before, so that what a run takes is the host's part of it alone.
//!
//! Uploads are written to memory of the host and forgotten. A submit is known by its label and the
//! shape of its commands; those of one shape are answered in their order, and from the start again
//! where the run begins again. Where a run that is answered at once comes to another shape than the
//! one on the device did, such as to a table that is sized earlier, what was asked for decides.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::around::{Answer, Around};
use super::gpu::pool::class_of;
use super::player::{Capabilities, MemoryUse, Player};
use crate::error::DeviceError;
use crate::record::{Buffer, Command, Completed, Home, Program, Recording, Staging, Words};

/// Plays on another player, and keeps what it answers.
pub struct Recorder {
    inner: Arc<dyn Player>,
    answered: Mutex<Vec<Answered>>,
}

/// A submit, with the words of each download once they are there.
struct Answered {
    shape: Shape,
    downloads: Vec<Arc<Download>>,
}

impl Recorder {
    pub fn new(inner: Arc<dyn Player>) -> Self {
        Self { inner, answered: Mutex::default() }
    }

    /// The player that answers like this.
    pub fn replay(&self) -> Arc<Replay> {
        let (mut alike, mut same): (HashMap<u64, Answers>, HashMap<u64, Answers>) =
            Default::default();
        for Answered { shape, downloads } in self.answered.lock().iter() {
            same.entry(shape.whole).or_default().all.push(downloads.clone());
            alike.entry(shape.asked).or_default().all.push(downloads.clone());
        }
        Arc::new(Replay {
            capabilities: self.inner.capabilities().clone(),
            answers: Mutex::new([same, alike]),
            staging: Arc::default(),
        })
    }
}

/// What tells a submit from others, as hashes.
#[derive(Clone, Copy)]
struct Shape {
    /// Its label, and of each command what does not depend on the values of rows.
    whole: u64,
    /// Its label and its downloads.
    asked: u64,
}

impl Shape {
    fn of(recording: &Recording) -> Self {
        let (mut whole, mut asked) = (DefaultHasher::new(), DefaultHasher::new());
        recording.label.hash(&mut whole);
        recording.label.hash(&mut asked);
        for command in &recording.commands {
            std::mem::discriminant(command).hash(&mut whole);
            match command {
                Command::Upload { bytes, at, .. } => (bytes, at).hash(&mut whole),
                Command::Clear { range, .. } => range.hash(&mut whole),
                Command::Copy { from_at, to_at, bytes, .. } => {
                    (from_at, to_at, bytes).hash(&mut whole);
                }
                Command::Dispatch { program, groups, .. } => {
                    (&program.code, groups).hash(&mut whole);
                }
                Command::Download { range, .. } => {
                    range.hash(&mut whole);
                    range.hash(&mut asked);
                }
            }
        }
        Self { whole: whole.finish(), asked: asked.finish() }
    }
}

impl Around for Recorder {
    fn inner(&self) -> &Arc<dyn Player> {
        &self.inner
    }

    fn play(&self, recording: Recording) -> Answer<'_> {
        let shape = Shape::of(&recording);
        // Places are taken in the order of the submits, whatever that of the answers.
        let mut all = self.answered.lock();
        let place = all.len();
        all.push(Answered { shape, downloads: Vec::new() });
        let answered = self.inner.submit(recording);
        drop(all);
        Box::pin(async move {
            let completed = answered.await?;
            let words = completed.downloads.iter().map(|words| Download::new(words.to_vec()));
            if let Some(kept) = self.answered.lock().get_mut(place) {
                kept.downloads = words.collect();
            }
            Ok(completed)
        })
    }
}

/// Answers as another player did.
pub struct Replay {
    capabilities: Capabilities,
    /// By the whole shape, and by what was asked for.
    answers: Mutex<[HashMap<u64, Answers>; 2]>,
    staging: Arc<Shelf>,
}

/// The answers to submits of one shape.
#[derive(Default)]
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
        let mut answers = self.answers.lock();
        answers.iter_mut().flat_map(HashMap::values_mut).for_each(|answers| answers.next = 0);
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
        let shape = Shape::of(&recording);
        let mut answers = self.answers.lock();
        let [same, alike] = &mut *answers;
        let found = same.get_mut(&shape.whole).or_else(|| alike.get_mut(&shape.asked));
        let Some(found) = found else {
            let text = format!("no answer was recorded for '{}'", recording.label);
            return Err(DeviceError::Validation(text));
        };
        let answer = &found.all[found.next % found.all.len()];
        let downloads = answer.iter().map(Download::hand_out).collect();
        found.next += 1;
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
        replay.rewind();
        let again = play(&*replay, 7, 100).await.unwrap();
        assert_eq!(again.downloads[0], one.downloads[0].to_vec(), "while the first is held");
        let two = play(&*replay, 7, 100).await.unwrap();
        assert_ne!(one.downloads[0], two.downloads[0].to_vec());
        let error = play(&*replay, 7, 300).await.unwrap_err();
        assert!(error.to_string().contains("no answer was recorded for 'add'"), "{error}");
    }

    #[tokio::test]
    async fn what_was_asked_for_decides_where_the_shape_is_new() {
        let recorder = Recorder::new(twin::twin());
        let expected = play(&recorder, 1, 100).await.unwrap().downloads[0].to_vec();
        let replay = recorder.replay();
        let buffer = replay.buffer(400, "b").unwrap();
        let commands = vec![
            Command::Clear { buffer: buffer.clone(), range: 0..8 },
            Command::Download { buffer: buffer.clone(), range: 0..400 },
        ];
        let answered = replay.submit(recording("add", commands)).await.unwrap();
        assert_eq!(answered.downloads[0], expected);
        let commands = vec![Command::Download { buffer, range: 0..404 }];
        assert!(replay.submit(recording("add", commands)).await.is_err());
    }
}
