//! Additions to counters by how many invocations meet at one.

use super::meter::gb_s;
use super::programs::Add;
use super::{Asked, Bench, Experiment, UNSUPPORTED, programs};
use crate::device::player::Player;
use crate::error::DeviceError;

/// Counters that invocations spread over.
const ADDRESSES: [u32; 4] = [1, 32, 1 << 10, 1 << 20];

impl Bench {
    pub(super) async fn atomics(&mut self) -> Result<(), DeviceError> {
        for add in Add::ALL {
            for addresses in ADDRESSES {
                let asked = Asked::new(Experiment::Atomics, name(add), "billion/s");
                let asked = asked.at("addresses", addresses);
                // The memory of a workgroup has no room for them.
                let too_many = add == Add::Workgroup32
                    && 4 * addresses > self.capabilities().max_workgroup_bytes;
                if too_many {
                    continue;
                }
                if add.tier() > self.capabilities().tier {
                    self.missing(asked, UNSUPPORTED);
                    continue;
                }
                let rate = self.added(add, addresses).await;
                self.note(asked, rate)?;
            }
        }
        Ok(())
    }

    /// 10^9 additions a second.
    async fn added(&self, add: Add, addresses: u32) -> Result<f64, DeviceError> {
        let counters = self.player.buffer(8 * u64::from(addresses), "measured")?;
        let kept = self.small()?;
        let groups = self.effort.groups;
        let meter = self.meter()?;
        let command = || programs::atomics(add, addresses, &counters, &kept, groups);
        let took = meter.warm(command).await?;
        Ok(gb_s(programs::invocations(groups) * u64::from(add.adds()), took))
    }
}

fn name(add: Add) -> &'static str {
    match add {
        Add::Unused32 => "32-bit additions, results unused",
        Add::Waited32 => "32-bit additions, each waits for the one before",
        Add::Unused64 => "64-bit additions, results unused",
        Add::Workgroup32 => "32-bit additions in a workgroup's memory",
    }
}
