//! Clocks, memory and random reads: experiments of one kernel each.

use std::time::Duration;

use super::clocks::Clocks;
use super::meter::{gb_s, us};
use super::{Asked, Bench, Experiment, programs};
use crate::device::player::Player;
use crate::error::DeviceError;
use crate::record::{Buffer, Command};

/// Before the first kernel, for clocks at rest.
const REST_MS: u32 = 200;

impl Bench {
    fn buffers(&self, bytes: u64) -> Result<[Buffer; 2], DeviceError> {
        Ok([self.player.buffer(bytes, "measured")?, self.player.buffer(bytes, "measured")?])
    }

    pub(super) async fn clocks(&mut self) -> Result<(), DeviceError> {
        let clocks = Clocks::start(&self.capabilities().name);
        if clocks.is_some() {
            tokio::time::sleep(self.effort.idle.min(Duration::from_millis(REST_MS.into()))).await;
        }
        self.note_clocks("clocks at rest", clocks.as_ref())?;
        for rows in self.effort.rows.clone() {
            let what = "a kernel that reads rows of 4 bytes";
            let asked = Asked::new(Experiment::Clocks, what, "us").at("rows", rows);
            for repeats in [1, self.effort.together] {
                let each = self.read_rows(rows, repeats).await;
                self.note(asked.clone().at("repeats", repeats), each)?;
            }
        }
        self.note_clocks("clocks under kernels", clocks.as_ref())
    }

    /// Microseconds of each of so many in one submit.
    async fn read_rows(&self, rows: u64, repeats: u32) -> Result<f64, DeviceError> {
        let meter = self.meter()?;
        let a = self.player.buffer(4 * rows, "measured")?;
        let kept = self.player.buffer(16, "measured")?;
        let took = meter.together(repeats, || programs::read(&a, &kept)).await?;
        Ok(us(took) / f64::from(repeats))
    }

    fn note_clocks(&mut self, what: &str, clocks: Option<&Clocks>) -> Result<(), DeviceError> {
        let samples = clocks.map(Clocks::take).unwrap_or_default();
        let middle = |of: fn(&super::clocks::Sample) -> u32| {
            let mut all: Vec<u32> = samples.iter().map(of).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied()
        };
        let numbers = [
            ("multiprocessors", "MHz", middle(|sample| sample.sm_mhz)),
            ("memory", "MHz", middle(|sample| sample.memory_mhz)),
            ("generation of the link", "", middle(|sample| sample.pcie_generation)),
        ];
        for (part, unit, value) in numbers {
            let asked = Asked::new(Experiment::Clocks, what, unit).part(part);
            match value {
                Some(value) => self.note(asked, Ok(value.into()))?,
                None => self.missing(asked, "not available: nvidia-smi does not tell"),
            }
        }
        Ok(())
    }

    pub(super) async fn memory(&mut self) -> Result<(), DeviceError> {
        let asked = |what: String, bytes: u64| {
            Asked::new(Experiment::Memory, what, "GB/s").at("bytes", bytes)
        };
        for bytes in self.effort.bytes.clone() {
            for way in Way::ALL {
                let rate = self.moved(way, bytes, false).await;
                self.note(asked(way.name().into(), bytes), rate)?;
            }
        }
        // One size is enough to tell: large, but nothing that takes long by itself.
        let bytes = self.effort.bytes.iter().copied().filter(|bytes| *bytes <= 512 << 20).max();
        for way in Way::ALL {
            let what = format!("{}, after {:?} idle", way.name(), self.effort.idle);
            let bytes = bytes.unwrap_or(self.effort.piece_bytes);
            let rate = self.moved(way, bytes, true).await;
            self.note(asked(what, bytes), rate)?;
        }
        Ok(())
    }

    /// 10^9 bytes a second that are read and written.
    async fn moved(&self, way: Way, bytes: u64, cold: bool) -> Result<f64, DeviceError> {
        let [a, b] = self.buffers(bytes)?;
        let command = || way.command(&a, &b, bytes);
        let meter = self.meter()?;
        let took = match cold {
            true => meter.cold(command).await?,
            false => meter.warm(command).await?,
        };
        Ok(gb_s(bytes * way.passes(), took))
    }

    pub(super) async fn sectors(&mut self) -> Result<(), DeviceError> {
        for bytes in self.effort.tables.clone() {
            let rate = self.probed(bytes).await;
            let asked = Asked::new(Experiment::Sectors, "random sectors of 32 bytes", "billion/s");
            self.note(asked.at("bytes", bytes), rate)?;
        }
        Ok(())
    }

    /// 10^9 sectors a second.
    async fn probed(&self, bytes: u64) -> Result<f64, DeviceError> {
        let [table, kept] = [self.player.buffer(bytes, "measured")?, self.small()?];
        let groups = self.effort.groups;
        let meter = self.meter()?;
        let took = meter.warm(|| programs::sectors(&table, &kept, groups)).await?;
        Ok(gb_s(programs::invocations(groups) * u64::from(programs::READS), took))
    }

    /// What kernels keep next to nothing in.
    pub(super) fn small(&self) -> Result<Buffer, DeviceError> {
        self.player.buffer(16, "measured")
    }
}

/// How bytes are moved within the device.
#[derive(Clone, Copy)]
enum Way {
    CopyKernel,
    CopyCommand,
    ReadKernel,
}

impl Way {
    const ALL: [Self; 3] = [Self::CopyKernel, Self::CopyCommand, Self::ReadKernel];

    fn name(self) -> &'static str {
        match self {
            Self::CopyKernel => "a kernel that copies, read and written",
            Self::CopyCommand => "the driver's command to copy, read and written",
            Self::ReadKernel => "a kernel that reads",
        }
    }

    /// How often each byte goes to or from the memory.
    fn passes(self) -> u64 {
        match self {
            Self::CopyKernel | Self::CopyCommand => 2,
            Self::ReadKernel => 1,
        }
    }

    fn command(self, a: &Buffer, b: &Buffer, bytes: u64) -> Command {
        match self {
            Self::CopyKernel => programs::copy(a, b),
            Self::CopyCommand => {
                Command::Copy { from: a.clone(), from_at: 0, to: b.clone(), to_at: 0, bytes }
            }
            // What little is written goes to the other buffer.
            Self::ReadKernel => programs::read(a, b),
        }
    }
}
