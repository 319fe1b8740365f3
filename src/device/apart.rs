//! A player that times each dispatch: it plays on another one, each dispatch in a submit of its
//! own, which the device stamps. What runs together elsewhere runs apart here: times of whole
//! queries are longer, those of dispatches are right.

use std::sync::Arc;

use parking_lot::Mutex;

use super::around::{Answer, Around};
use super::player::Player;
use crate::record::{Command, Completed, Program, Recording};

/// The player.
pub struct Apart {
    inner: Arc<dyn Player>,
    dispatched: Arc<Mutex<Vec<Dispatched>>>,
}

/// A dispatch that has run.
#[derive(Clone)]
pub struct Dispatched {
    pub program: Arc<Program>,
    pub groups: u32,
    /// Zero where the device has no timestamps.
    pub kernel_ns: u64,
}

impl Apart {
    pub fn new(inner: Arc<dyn Player>) -> Self {
        Self { inner, dispatched: Arc::default() }
    }

    /// What has run since the start or the call before.
    pub fn take(&self) -> Vec<Dispatched> {
        std::mem::take(&mut *self.dispatched.lock())
    }
}

/// Commands up to a dispatch, the dispatch, commands up to the next.
struct Part {
    recording: Recording,
    dispatch: Option<(Arc<Program>, u32)>,
}

fn parts(recording: Recording) -> Vec<Part> {
    let Recording { label, commands } = recording;
    let mut parts: Vec<Part> = Vec::new();
    for command in commands {
        let dispatch = match &command {
            Command::Dispatch { program, groups, .. } => Some((program.clone(), *groups)),
            _ => None,
        };
        match parts.last_mut() {
            Some(last) if dispatch.is_none() && last.dispatch.is_none() => {
                last.recording.commands.push(command);
            }
            _ => {
                let recording = Recording { label: label.clone(), commands: vec![command] };
                parts.push(Part { recording, dispatch });
            }
        }
    }
    parts
}

impl Around for Apart {
    fn inner(&self) -> &Arc<dyn Player> {
        &self.inner
    }

    fn play(&self, recording: Recording) -> Answer<'_> {
        let submitted: Vec<_> = parts(recording)
            .into_iter()
            .map(|part| (part.dispatch, self.inner.submit(part.recording)))
            .collect();
        let dispatched = Arc::clone(&self.dispatched);
        Box::pin(async move {
            let mut all = Completed::default();
            for (dispatch, answer) in submitted {
                let Completed { downloads, upload_ns, kernel_ns, download_ns, pipelines_made } =
                    answer.await?;
                all.downloads.extend(downloads);
                all.upload_ns += upload_ns;
                all.kernel_ns += kernel_ns;
                all.download_ns += download_ns;
                all.pipelines_made += pipelines_made;
                if let Some((program, groups)) = dispatch {
                    dispatched.lock().push(Dispatched { program, groups, kernel_ns });
                }
            }
            Ok(all)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::{add_one, recording, shared, upload};
    use crate::device::twin;
    use crate::record::Buffer;

    #[tokio::test]
    async fn what_runs_apart_gives_what_runs_together() {
        let players = [Some(twin::twin()), shared(None)];
        for player in players.into_iter().flatten() {
            let apart = Apart::new(player);
            let words: Vec<u32> = (500..1500).collect();
            let buffer = || apart.buffer(4000, "a").unwrap();
            let (a, b) = (buffer(), buffer());
            let dispatch = |from: &Buffer, to: &Buffer| Command::Dispatch {
                program: add_one(),
                bindings: vec![from.clone(), to.clone()],
                groups: 16,
            };
            let commands = vec![
                upload(&apart, &a, 0, &words).await.unwrap(),
                dispatch(&a, &b),
                Command::Download { buffer: b.clone(), range: 0..4000 },
                dispatch(&b, &a),
                Command::Download { buffer: a.clone(), range: 0..4000 },
            ];
            let completed = apart.submit(recording("both", commands)).await.unwrap();
            let plus = |more| words.iter().map(|word| word + more).collect::<Vec<_>>();
            // The first word is how many are added to.
            let found = completed.downloads.iter().map(|words| &words[..500]);
            assert!(found.eq([&plus(1)[..500], &plus(2)[..500]]));
            let ran = apart.take();
            assert_eq!(ran.iter().map(|one| one.groups).collect::<Vec<_>>(), [16, 16]);
            assert_eq!(ran.iter().map(|one| one.kernel_ns).sum::<u64>(), completed.kernel_ns);
            assert!(apart.take().is_empty());
        }
    }
}
