//! Kinds of host memory that uploads are written into, and how fast each of them is, by threads.

use std::time::{Duration, Instant};

use futures::future::ready;
use futures::stream::{self, StreamExt, TryStreamExt};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::meter::gb_s;
use crate::device::player::{Player, StagingKind};
use crate::error::DeviceError;
use crate::record::{Buffer, Command, Recording, Staging};

/// How fast uploads are through one kind of staging memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StagingRate {
    pub kind: StagingKind,
    /// Threads that write a piece.
    pub threads: usize,
    /// 10^9 bytes per second, written and copied, several pieces under way.
    pub upload_gb_s: f64,
    /// 10^9 bytes per second of the host's writing alone.
    pub write_gb_s: f64,
    /// 10^9 bytes per second of the device's copying alone, by its clock; `None` where it has none.
    pub copy_gb_s: Option<f64>,
}

/// By how much another kind must be faster than the portable one to be taken.
const MARGIN: f64 = 1.05;

/// Uploads under way at once, as the scheduler has them: one is written, one is copied.
pub(crate) const PIECES_AT_ONCE: usize = 3;

/// Words of the self-test: more than one of the ring's small buffers.
const TEST_WORDS: usize = 1 << 18;

/// The kind with the highest rate; the portable one where nothing was measured.
pub fn fastest(rates: &[StagingRate]) -> StagingKind {
    let best = |kind| {
        let of_kind = rates.iter().filter(|rate| rate.kind == kind);
        of_kind.map(|rate| rate.upload_gb_s).fold(0.0, f64::max)
    };
    let faster =
        |kind: &StagingKind| best(*kind) > MARGIN * best(StagingKind::Portable).max(f64::EPSILON);
    StagingKind::ALL.into_iter().find(faster).unwrap_or(StagingKind::Portable)
}

/// Whether what is written into memory of this kind is what the device copies from there, in fresh
/// memory and in memory that is used again.
pub(crate) async fn works(player: &dyn Player, kind: StagingKind) -> Result<bool, DeviceError> {
    let bytes = 4 * TEST_WORDS as u64;
    let to = player.buffer(bytes, "a test of staging memory")?;
    for round in 1..=2u32 {
        let written = |at: u32| (at ^ 0xa5a5_0000).wrapping_mul(2 * round + 1);
        let mut from = player.staging_of(kind, bytes).await?;
        let words = from.words()[..TEST_WORDS].iter_mut().zip(0..);
        words.for_each(|(word, at)| *word = written(at));
        let commands = vec![
            Command::Upload { from, bytes, to: to.clone(), at: 0 },
            Command::Download { buffer: to.clone(), range: 0..bytes },
        ];
        let recording = Recording { label: "a test of staging memory".into(), commands };
        let completed = player.submit(recording).await?;
        let found = completed.downloads.first().map_or(&[][..], |words| words);
        let same = found.iter().zip(0..).all(|(word, at)| *word == written(at));
        if found.len() != TEST_WORDS || !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Measures the kinds that this player has with so many threads, each for about this time.
pub(crate) async fn measure(
    player: &dyn Player,
    bytes: u64,
    threads: &[usize],
    each: Duration,
) -> Result<Vec<StagingRate>, DeviceError> {
    let to = player.buffer(bytes, "measured")?;
    let words: Vec<u32> = (0..bytes as u32 / 4).collect();
    let mut rates = Vec::new();
    for kind in player.staging_kinds() {
        for threads in threads {
            let pieces = Pieces { player, kind, words: &words, to: &to };
            rates.push(pieces.measure(*threads, each).await?);
        }
    }
    Ok(rates)
}

/// Uploads of the same words.
struct Pieces<'a> {
    player: &'a dyn Player,
    kind: StagingKind,
    words: &'a [u32],
    to: &'a Buffer,
}

/// What one upload took on each side.
struct Piece {
    write: Duration,
    copy_ns: u64,
}

impl Pieces<'_> {
    async fn measure(&self, threads: usize, each: Duration) -> Result<StagingRate, DeviceError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| {
            DeviceError::Validation(format!("no {threads} threads to write with: {error}"))
        })?;
        let piece = || self.piece(&pool);
        // Fills the ring, and the driver's pages with it.
        futures::future::try_join_all((0..PIECES_AT_ONCE).map(|_| piece())).await?;
        let began = Instant::now();
        let pieces: Vec<Piece> = stream::iter(0..)
            .take_while(|n| ready(*n < PIECES_AT_ONCE || began.elapsed() < each))
            .map(|_| piece())
            .buffered(PIECES_AT_ONCE)
            .try_collect()
            .await?;
        let took = began.elapsed();
        let bytes = 4 * (self.words.len() * pieces.len()) as u64;
        let write = pieces.iter().map(|piece| piece.write).sum();
        let copy = Duration::from_nanos(pieces.iter().map(|piece| piece.copy_ns).sum());
        Ok(StagingRate {
            kind: self.kind,
            threads,
            upload_gb_s: gb_s(bytes, took),
            write_gb_s: gb_s(bytes, write),
            copy_gb_s: (!copy.is_zero()).then(|| gb_s(bytes, copy)),
        })
    }

    async fn piece(&self, pool: &rayon::ThreadPool) -> Result<Piece, DeviceError> {
        let bytes = 4 * self.words.len() as u64;
        let mut from = self.player.staging_of(self.kind, bytes).await?;
        let write = self.write(pool, &mut from);
        let commands = vec![Command::Upload { from, bytes, to: self.to.clone(), at: 0 }];
        let recording = Recording { label: "measure".into(), commands };
        let copy_ns = self.player.submit(recording).await?.upload_ns;
        Ok(Piece { write, copy_ns })
    }

    /// Each thread writes a part of its own, from its start to its end.
    fn write(&self, pool: &rayon::ThreadPool, to: &mut Staging) -> Duration {
        let part = self.words.len().div_ceil(pool.current_num_threads()).max(1);
        let began = Instant::now();
        pool.install(|| {
            let to = to.words()[..self.words.len()].par_chunks_mut(part);
            to.zip(self.words.par_chunks(part)).for_each(|(to, from)| to.copy_from_slice(from));
        });
        began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;

    use super::*;
    use crate::device::{Capabilities, MemoryUse, testing, twin};
    use crate::record::Completed;

    fn rate(kind: StagingKind, threads: usize, upload_gb_s: f64) -> StagingRate {
        StagingRate { kind, threads, upload_gb_s, write_gb_s: 1.0, copy_gb_s: None }
    }

    #[test]
    fn the_fastest_kind_is_taken_and_the_portable_one_where_they_are_alike() {
        use StagingKind::{HostCached, Portable};
        assert_eq!(fastest(&[]), Portable);
        let portable = [rate(Portable, 1, 13.0), rate(Portable, 4, 20.0)];
        assert_eq!(fastest(&portable), Portable);
        let alike = [&portable[..], &[rate(HostCached, 8, 20.5)]].concat();
        assert_eq!(fastest(&alike), Portable);
        let faster = [&portable[..], &[rate(HostCached, 8, 40.0)]].concat();
        assert_eq!(fastest(&faster), HostCached);
    }

    #[tokio::test]
    async fn every_kind_of_the_device_brings_what_was_written() {
        let Some(player) = testing::alone() else { return };
        let kinds = player.staging_kinds();
        assert_eq!(kinds[0], StagingKind::Portable);
        // Mesa's software device has it: were it lost to an upgrade of wgpu, that is noticed here.
        if player.capabilities().backend == "vulkan" {
            assert_eq!(kinds, StagingKind::ALL);
        }
        for kind in kinds {
            player.prefer_staging(kind);
            let buffer = player.buffer(1 << 20, "a").unwrap();
            // Headers and columns, several at once, in memory that is used again.
            for round in 0..20u32 {
                let words: Vec<u32> = (0..1 << 18).map(|at| at * 7 + round).collect();
                let (head, all) = (&words[..64], &words[..]);
                let commands = vec![
                    testing::upload(&*player, &buffer, 0, all).await.unwrap(),
                    testing::upload(&*player, &buffer, 4096, head).await.unwrap(),
                    Command::Download { buffer: buffer.clone(), range: 0..1 << 20 },
                ];
                let recording = testing::recording("both", commands);
                let found = player.submit(recording).await.unwrap();
                let mut expected = words.clone();
                expected[1024..1088].copy_from_slice(head);
                assert!(found.downloads[0] == expected, "{kind}, round {round}");
            }
        }
    }

    /// Gives back other words than were written, from the second submit on.
    struct Forgetful(Arc<dyn Player>, std::sync::atomic::AtomicU32);

    #[async_trait]
    impl Player for Forgetful {
        fn capabilities(&self) -> &Capabilities {
            self.0.capabilities()
        }

        fn memory_use(&self) -> MemoryUse {
            self.0.memory_use()
        }

        fn buffer(&self, bytes: u64, what: &str) -> Result<Buffer, DeviceError> {
            self.0.buffer(bytes, what)
        }

        async fn staging(&self, bytes: u64) -> Result<Staging, DeviceError> {
            self.0.staging(bytes).await
        }

        async fn submit(&self, recording: Recording) -> Result<Completed, DeviceError> {
            let mut completed = self.0.submit(recording).await?;
            if self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
                let mut words = completed.downloads[0].to_vec();
                words[TEST_WORDS / 2] ^= 1;
                completed.downloads[0] = words.into();
            }
            Ok(completed)
        }
    }

    #[tokio::test]
    async fn memory_that_forgets_is_noticed() {
        let kind = StagingKind::HostCached;
        assert_eq!(works(&*twin::twin(), kind).await, Ok(true));
        let forgetful = Forgetful(twin::twin(), Default::default());
        assert_eq!(works(&forgetful, kind).await, Ok(false));
    }
}
