//! Faults on purpose: tests kill the process at named points.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Variable that names a point and which passing of it kills: `stored:3`.
pub const VARIABLE: &str = "THALWEG_KILL_AT";

static ASKED: OnceLock<Option<(String, u64)>> = OnceLock::new();
static PASSED: AtomicU64 = AtomicU64::new(0);

/// A point that a crash may be asked for at: the process is gone without a word, as by `kill -9`.
pub fn point(name: &str) {
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (point, nth) = text.split_once(':')?;
        Some((point.to_string(), nth.parse().ok()?))
    });
    let Some((point, nth)) = asked else { return };
    if point == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *nth {
        std::process::abort();
    }
}
