// 64-bit integers as two words of 32 bits, the low one first, by native 64-bit operations (tier T2
// and above). `num_t0.wgsl` holds the same functions on 32-bit words; one of the two is linked.
// Bit functions (count, leading zeros) and constant expressions of 64 bits are avoided: naga
// translates them wrongly.

fn native_u64(a: vec2<u32>) -> u64 {
    return (u64(a.y) << 32u) | u64(a.x);
}

fn native_i64(a: vec2<u32>) -> i64 {
    return bitcast<i64>(native_u64(a));
}

fn words_64(a: u64) -> vec2<u32> {
    return vec2<u32>(u32(a), u32(a >> 32u));
}

// The 64-bit product of two 32-bit words.
fn mul_wide(a: u32, b: u32) -> vec2<u32> {
    return words_64(u64(a) * u64(b));
}

fn add_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return words_64(native_u64(a) + native_u64(b));
}

fn sub_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return words_64(native_u64(a) - native_u64(b));
}

fn mul_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return words_64(native_u64(a) * native_u64(b));
}

fn lt_u64(a: vec2<u32>, b: vec2<u32>) -> bool {
    return native_u64(a) < native_u64(b);
}

fn lt_i64(a: vec2<u32>, b: vec2<u32>) -> bool {
    return native_i64(a) < native_i64(b);
}

// Shifts by 0 to 63.
fn shl_64(a: vec2<u32>, n: u32) -> vec2<u32> {
    return words_64(native_u64(a) << n);
}

fn shr_u64(a: vec2<u32>, n: u32) -> vec2<u32> {
    return words_64(native_u64(a) >> n);
}

// The 128-bit product of two unsigned 64-bit numbers.
fn mul_u64_wide(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
    let p00 = u64(a.x) * u64(b.x);
    // Neither sum overflows: a product of two words leaves room for two words.
    let p10 = u64(a.y) * u64(b.x) + (p00 >> 32u);
    let p01 = u64(a.x) * u64(b.y) + u64(u32(p10));
    let p11 = words_64(u64(a.y) * u64(b.y) + (p10 >> 32u) + (p01 >> 32u));
    return vec4<u32>(u32(p00), u32(p01), p11.x, p11.y);
}

// Quotient (low two words) and remainder (high two); by zero: zero and the dividend.
fn divrem_u64(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
    if ((b.x | b.y) == 0u) {
        return vec4<u32>(0u, 0u, a.x, a.y);
    }
    if ((a.y | b.y) == 0u) {
        let small = a.x / b.x;
        return vec4<u32>(small, 0u, a.x - small * b.x, 0u);
    }
    let dividend = native_u64(a);
    let divisor = native_u64(b);
    let quotient = dividend / divisor;
    let q = words_64(quotient);
    let r = words_64(dividend - quotient * divisor);
    return vec4<u32>(q.x, q.y, r.x, r.y);
}
