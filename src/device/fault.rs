//! Planted faults, for tests: the n-th allocation fails, the n-th submit loses or hangs the device.
//!
//! By environment, `THALWEG_FAULT=oom:3`, `squeeze:1`, `lose:2`, `hang:1` or several with commas
//! (numbers count from 1, on the first context that the process opens); or by `Gpu::inject`.
//! `delay:7` holds up the slots of all queries by random times, of which 7 is the seed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A fault to plant; `nth` counts from now, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The n-th request for device or staging memory fails, and no other.
    OutOfMemory { nth: u64 },
    /// The driver refuses its n-th allocation of device memory until cached memory is given back.
    Squeeze { nth: u64 },
    /// The device goes away at the n-th submit.
    Lose { nth: u64 },
    /// From the n-th wait for a submit on, none ends.
    Hang { nth: u64 },
    /// Every stage of every slot takes longer, by times that follow from the seed.
    Delay { seed: u64 },
}

/// Countdowns to the planted faults; zero: none.
#[derive(Debug, Default)]
pub(super) struct Faults {
    requests: AtomicU64,
    allocations: AtomicU64,
    submits: AtomicU64,
    waits: AtomicU64,
    hung: AtomicBool,
}

impl Faults {
    /// Plants what the environment asks for, once per process: the context that replaces a lost
    /// one must not be lost in turn.
    pub fn plant_from_env(&self) {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let Ok(text) = std::env::var("THALWEG_FAULT") else { return };
        if TAKEN.swap(true, Ordering::Relaxed) {
            return;
        }
        for part in text.split(',') {
            match parse(part) {
                Some(fault) => self.plant(fault),
                None => {
                    let known = "oom:N, squeeze:N, lose:N, hang:N, delay:SEED";
                    tracing::warn!(part, "THALWEG_FAULT takes {known}")
                }
            }
        }
    }

    pub fn plant(&self, fault: Fault) {
        match fault {
            Fault::OutOfMemory { nth } => self.requests.store(nth, Ordering::Relaxed),
            Fault::Squeeze { nth } => self.allocations.store(nth, Ordering::Relaxed),
            Fault::Lose { nth } => self.submits.store(nth, Ordering::Relaxed),
            Fault::Hang { nth } => self.waits.store(nth, Ordering::Relaxed),
            Fault::Delay { seed } => crate::fault::delay(seed),
        }
    }

    /// To be asked once per request for memory: shall it fail?
    pub fn fails_allocation(&self) -> bool {
        strikes(&self.requests)
    }

    /// To be asked once per allocation by the driver: shall it fail at first?
    pub fn squeezes_allocation(&self) -> bool {
        strikes(&self.allocations)
    }

    /// To be asked once per submit: shall it lose the device?
    pub fn loses_device(&self) -> bool {
        strikes(&self.submits)
    }

    /// To be asked once per wait: shall it end with nothing done, as all that follow?
    pub fn hangs(&self) -> bool {
        if strikes(&self.waits) {
            self.hung.store(true, Ordering::Relaxed);
        }
        self.hung.load(Ordering::Relaxed)
    }
}

fn parse(part: &str) -> Option<Fault> {
    let (kind, nth) = part.trim().split_once(':')?;
    let nth = nth.parse().ok()?;
    match kind {
        "oom" => Some(Fault::OutOfMemory { nth }),
        "squeeze" => Some(Fault::Squeeze { nth }),
        "lose" => Some(Fault::Lose { nth }),
        "hang" => Some(Fault::Hang { nth }),
        "delay" => Some(Fault::Delay { seed: nth }),
        _ => None,
    }
}

/// Counts down; true when one becomes zero.
fn strikes(counter: &AtomicU64) -> bool {
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) == Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_alone_strikes() {
        let faults = Faults::default();
        assert!(!faults.fails_allocation());
        faults.plant(Fault::OutOfMemory { nth: 2 });
        let struck: Vec<bool> = (0..4).map(|_| faults.fails_allocation()).collect();
        assert_eq!(struck, [false, true, false, false]);
        assert!(!faults.loses_device());
    }

    #[test]
    fn text_of_the_environment() {
        assert_eq!(parse(" oom:3"), Some(Fault::OutOfMemory { nth: 3 }));
        assert_eq!(parse("lose:1"), Some(Fault::Lose { nth: 1 }));
        assert_eq!(parse("lose"), None);
        assert_eq!(parse("burn:1"), None);
    }
}
