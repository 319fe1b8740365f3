//! Faults on purpose: tests kill the process, or panic, at named points.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

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
