//! The hand-written WGSL that generated parts call.

use crate::device::Tier;
use crate::expr::ir::{Expr, Kind};

/// The NaN that an invalid operation gives on this host, for floats computed by integers.
const HOST_NAN: (&str, &str) = if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
    ("lib/nan_negative", include_str!("../../shaders/lib/nan_negative.wgsl"))
} else {
    ("lib/nan_positive", include_str!("../../shaders/lib/nan_positive.wgsl"))
};

/// The shader parts (name and text) to link for a program that holds expressions on `tier`.
/// `uses_f32` and `uses_f64` tell whether it computes with floats; comparing, ordering and keys
/// need neither.
pub fn parts(tier: Tier, uses_f32: bool, uses_f64: bool) -> Vec<(&'static str, &'static str)> {
    let base = if tier >= Tier::T2 {
        ("lib/num_t2", include_str!("../../shaders/lib/num_t2.wgsl"))
    } else {
        ("lib/num_t0", include_str!("../../shaders/lib/num_t0.wgsl"))
    };
    let mut parts = vec![
        base,
        ("lib/int", include_str!("../../shaders/lib/int.wgsl")),
        ("lib/wide", include_str!("../../shaders/lib/wide.wgsl")),
        ("lib/date", include_str!("../../shaders/lib/date.wgsl")),
    ];
    if uses_f32 || uses_f64 {
        parts.push(HOST_NAN);
        parts.push(("lib/float", include_str!("../../shaders/lib/float.wgsl")));
    }
    if uses_f64 && tier >= Tier::T4 {
        parts.push(("lib/float_t4", include_str!("../../shaders/lib/float_t4.wgsl")));
    }
    parts
}

/// Whether expressions compute with binary32 and with binary64: what `parts` wants to know.
pub fn float_use<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> (bool, bool) {
    let (mut f32, mut f64) = (false, false);
    for expr in exprs {
        expr.walk(&mut |node| {
            if let Kind::Call(prim, _) = node.kind {
                f32 |= prim.name.ends_with("_f32") || prim.name.contains("f32_");
                f64 |= prim.name.ends_with("_f64") || prim.name.contains("f64_");
            }
        });
    }
    (f32, f64)
}
