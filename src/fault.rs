//! Faults on purpose: tests kill the process, or panic, at named points, and hold slots up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Variable that names a point and which passing of it kills: `stored:3`.
pub const VARIABLE: &str = "THALWEG_KILL_AT";

/// As `VARIABLE`; the passing panics instead.
pub const PANIC: &str = "THALWEG_PANIC_AT";

/// Where a fault is asked for, and how often it was passed.
struct Planted {
    asked: OnceLock<Option<(String, u64)>>,
    passed: AtomicU64,
}

static KILL: Planted = Planted { asked: OnceLock::new(), passed: AtomicU64::new(0) };
static PANICS: Planted = Planted { asked: OnceLock::new(), passed: AtomicU64::new(0) };

impl Planted {
    /// Whether this passing is the one that a variable of the environment asks for.
    fn is_due(&self, variable: &str, name: &str) -> bool {
        let asked = self.asked.get_or_init(|| {
            let text = std::env::var(variable).ok()?;
            let (point, nth) = text.split_once(':')?;
            Some((point.to_string(), nth.parse().ok()?))
        });
        let Some((point, nth)) = asked else { return false };
        point == name && self.passed.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    }
}

/// A point that a crash may be asked for at (the process is gone without a word, as by `kill -9`),
/// or a panic.
pub fn point(name: &str) {
    if KILL.is_due(VARIABLE, name) {
        std::process::abort();
    }
    if PANICS.is_due(PANIC, name) {
        std::panic::panic_any(format!("a planted panic at {name}"));
    }
}

/// The number that the next delay follows from; 0: none are wanted.
static DELAYS: AtomicU64 = AtomicU64::new(0);

/// From now on each stage of a slot takes longer by a random time, so that slots overtake each
/// other in ways that they hardly do by themselves. The times follow from the seed; 0 ends it.
pub fn delay(seed: u64) {
    let first = if seed == 0 { 0 } else { mixed(seed).max(1) };
    DELAYS.store(first, Ordering::Relaxed);
}

/// Holds a stage up on a thread of its own, where that is planted.
pub fn hold() {
    if let Some(time) = next_delay() {
        std::thread::sleep(time);
    }
}

/// As `hold`, between two stages.
pub async fn held() {
    if let Some(time) = next_delay() {
        tokio::time::sleep(time).await;
    }
}

/// Half of the stages pass at once; of the others some wait as long as whole slots take.
fn next_delay() -> Option<Duration> {
    if DELAYS.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let number = mixed(DELAYS.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed));
    let most = match number % 8 {
        0..=3 => return None,
        4..=6 => 300,
        _ => 3_000,
    };
    Some(Duration::from_micros((number >> 8) % most))
}

/// The finaliser of SplitMix64.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
