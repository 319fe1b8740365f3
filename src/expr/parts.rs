//! The hand-written WGSL that generated parts call.

use crate::device::Tier;

/// The shader parts (name and text) to link for a program that holds expressions on `tier`. The
/// flags tell whether it computes with floats; comparing and ordering them needs no flag.
pub fn parts(tier: Tier, _uses_f32: bool, _uses_f64: bool) -> Vec<(&'static str, &'static str)> {
    let base = if tier >= Tier::T2 {
        ("lib/num_t2", include_str!("../../shaders/lib/num_t2.wgsl"))
    } else {
        ("lib/num_t0", include_str!("../../shaders/lib/num_t0.wgsl"))
    };
    vec![
        base,
        ("lib/int", include_str!("../../shaders/lib/int.wgsl")),
        ("lib/wide", include_str!("../../shaders/lib/wide.wgsl")),
        ("lib/date", include_str!("../../shaders/lib/date.wgsl")),
    ]
}
