// Native binary64 (tier T4), for adapters whose results a probe has found exact. NaNs come out as
// in `float`, and operands are hidden as there. Never compared with `!=`, which naga translates
// wrongly for NaN.

fn hidden_f64(a: vec2<u32>, zero: u32) -> f64 {
    return bitcast<f64>(native_u64(a ^ vec2<u32>(zero)));
}

fn fix_nan_f64(r: f64, a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let bits = words_64(bitcast<u64>(r));
    if (is_nan_f64(bits)) { return nan_of(a, b); }
    return bits;
}

fn native_add_f64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let z = zeros();
    return fix_nan_f64(hidden_f64(a, z.x) + hidden_f64(b, z.y), a, b);
}

fn native_sub_f64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let z = zeros();
    return fix_nan_f64(hidden_f64(a, z.x) - hidden_f64(b, z.y), a, b);
}

fn native_mul_f64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let z = zeros();
    return fix_nan_f64(hidden_f64(a, z.x) * hidden_f64(b, z.y), a, b);
}

fn native_div_f64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let z = zeros();
    return fix_nan_f64(hidden_f64(a, z.x) / hidden_f64(b, z.y), a, b);
}
