// Additions of 64 and 128 bits over words, low word first; used by accumulators on every tier.

fn acc_add64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn acc_neg64(a: vec2<u32>) -> vec2<u32> {
    return acc_add64(~a, vec2<u32>(1u, 0u));
}

fn acc_add128(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    let low = acc_add64(a.xy, b.xy);
    let carry = low.y < a.y || (low.y == a.y && low.x < a.x);
    let high = acc_add64(acc_add64(a.zw, b.zw), vec2<u32>(select(0u, 1u, carry), 0u));
    return vec4<u32>(low, high);
}

fn acc_less64(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.y < b.y || (a.y == b.y && a.x < b.x);
}

fn acc_less128(a: vec4<u32>, b: vec4<u32>) -> bool {
    return acc_less64(a.zw, b.zw) || (all(a.zw == b.zw) && acc_less64(a.xy, b.xy));
}

// Sign extension of narrowed decimals.
fn acc_widen32(a: u32) -> vec4<u32> {
    let sign = u32(i32(a) >> 31u);
    return vec4<u32>(a, sign, sign, sign);
}

fn acc_widen64(a: vec2<u32>) -> vec4<u32> {
    let sign = u32(i32(a.y) >> 31u);
    return vec4<u32>(a, sign, sign);
}

// The word above a signed value.
fn acc_sign(a: vec4<u32>) -> u32 {
    return u32(i32(a.w) >> 31u);
}
