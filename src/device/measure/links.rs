//! The way from the host: staging memory by kind and threads, and what of it hides behind kernels.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Asked, Bench, Experiment, UNSUPPORTED, programs};
use crate::device::measure::staging::{self, PIECES_AT_ONCE};
use crate::device::player::{Player, StagingKind};
use crate::error::DeviceError;
use crate::record::{Buffer, Command, Recording};

/// Slots of which the mean counts.
const SLOTS: u32 = 8;

impl Bench {
    pub(super) async fn staging(&mut self) -> Result<(), DeviceError> {
        let (bytes, each) = (self.effort.piece_bytes, self.effort.each);
        let threads = self.effort.threads.clone();
        let asked = |kind: StagingKind, part: &str| {
            let what = format!("uploads through {kind} memory: {part}");
            Asked::new(Experiment::Staging, what, "GB/s").at("bytes", bytes)
        };
        let rates = staging::measure(&*self.player, bytes, &threads, each).await?;
        for rate in &rates {
            let asked = |part| asked(rate.kind, part).at("threads", rate.threads as u64);
            self.note(asked("written and copied"), Ok(rate.upload_gb_s))?;
            self.note(asked("the host's writing alone"), Ok(rate.write_gb_s))?;
            let copying = asked("the device's copying alone");
            match rate.copy_gb_s {
                Some(copy) => self.note(copying, Ok(copy))?,
                None => self.missing(copying, UNSUPPORTED),
            }
        }
        for kind in StagingKind::ALL {
            if rates.iter().all(|rate| rate.kind != kind) {
                self.missing(asked(kind, "written and copied"), UNSUPPORTED);
            }
        }
        Ok(())
    }

    pub(super) async fn overlap(&mut self) -> Result<(), DeviceError> {
        let bytes = self.effort.piece_bytes;
        let repeats = self.as_long_as_an_upload(bytes).await?;
        for (what, parts) in [
            ("uploads alone", Parts { upload: true, kernels: 0, apart: false }),
            ("kernels alone", Parts { upload: false, kernels: repeats, apart: false }),
            (
                "both, in submits of their own",
                Parts { upload: true, kernels: repeats, apart: true },
            ),
            (
                "both, the upload of the next slot before the kernels of this one",
                Parts { upload: true, kernels: repeats, apart: false },
            ),
        ] {
            let took = self.slots(bytes, &parts).await;
            let ms = took.map(|took| took.as_secs_f64() * 1e3);
            let asked = Asked::new(Experiment::Overlap, format!("a slot: {what}"), "ms");
            self.note(asked.at("bytes", bytes), ms)?;
        }
        Ok(())
    }

    /// How many reads of a slot's buffer take as long as its upload.
    async fn as_long_as_an_upload(&self, bytes: u64) -> Result<u32, DeviceError> {
        let (a, kept) = (self.player.buffer(bytes, "measured")?, self.small()?);
        let kernel = self.meter()?.warm(|| programs::read(&a, &kept)).await?;
        let upload = self.slots(bytes, &Parts { upload: true, kernels: 0, apart: false }).await?;
        Ok((upload.as_secs_f64() / kernel.as_secs_f64().max(1e-9)).clamp(1.0, 256.0) as u32)
    }

    /// What a slot takes where several are under way.
    async fn slots(&self, bytes: u64, parts: &Parts) -> Result<Duration, DeviceError> {
        let [a, b] =
            [self.player.buffer(bytes, "measured")?, self.player.buffer(bytes, "measured")?];
        let kept = self.small()?;
        let slot = |number: u32| {
            let (next, this) = if number.is_multiple_of(2) { (&a, &b) } else { (&b, &a) };
            self.slot(parts, next, this, &kept)
        };
        // Fills the ring.
        futures::future::try_join_all((0..PIECES_AT_ONCE as u32).map(slot)).await?;
        let began = Instant::now();
        stream::iter(0..SLOTS).map(slot).buffered(PIECES_AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(began.elapsed() / SLOTS)
    }

    async fn slot(
        &self,
        parts: &Parts,
        next: &Buffer,
        this: &Buffer,
        kept: &Buffer,
    ) -> Result<(), DeviceError> {
        let mut commands = Vec::new();
        if parts.upload {
            let bytes = self.effort.piece_bytes;
            let mut from = self.player.staging(bytes).await?;
            from.words().iter_mut().zip(0..).for_each(|(word, at)| *word = at);
            commands.push(Command::Upload { from, bytes, to: next.clone(), at: 0 });
        }
        let kernels = (0..parts.kernels).map(|_| programs::read(this, kept));
        let label = || "measure".to_string();
        if !parts.apart {
            commands.extend(kernels);
            return self.player.submit(Recording { label: label(), commands }).await.map(drop);
        }
        let upload = self.player.submit(Recording { label: label(), commands });
        let kernels = Recording { label: label(), commands: kernels.collect() };
        futures::future::try_join(upload, self.player.submit(kernels)).await.map(drop)
    }
}

/// What a slot is made of.
struct Parts {
    upload: bool,
    /// How many.
    kernels: u32,
    /// In two submits.
    apart: bool,
}
