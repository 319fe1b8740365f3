// Integer primitives of the expression language, on the base functions of `num_t0` or `num_t2`.
// Signed values are held in two's complement; 8 and 16 bits in 32. A function `..._fails` tells
// where the row raises. What divides is never zero where the result counts.

fn u32_from_b1(a: bool) -> u32 { return select(0u, 1u, a); }
fn b1_from_u32(a: u32) -> bool { return a != 0u; }
fn same_32(a: u32) -> u32 { return a; }
fn same_64(a: vec2<u32>) -> vec2<u32> { return a; }
fn low_32(a: vec2<u32>) -> u32 { return a.x; }

// All ones if the word's highest bit is set, else zero.
fn sign_32(a: u32) -> u32 { return bitcast<u32>(bitcast<i32>(a) >> 31u); }

fn i64_from_i32(a: u32) -> vec2<u32> { return vec2<u32>(a, sign_32(a)); }
fn i64_from_u32(a: u32) -> vec2<u32> { return vec2<u32>(a, 0u); }
fn wrap_i8(a: u32) -> u32 { return bitcast<u32>(bitcast<i32>(a << 24u) >> 24u); }
fn wrap_i16(a: u32) -> u32 { return bitcast<u32>(bitcast<i32>(a << 16u) >> 16u); }
fn wrap_u8(a: u32) -> u32 { return a & 0xffu; }
fn wrap_u16(a: u32) -> u32 { return a & 0xffffu; }

fn add_32(a: u32, b: u32) -> u32 { return a + b; }
fn sub_32(a: u32, b: u32) -> u32 { return a - b; }
fn mul_32(a: u32, b: u32) -> u32 { return a * b; }
fn neg_32(a: u32) -> u32 { return 0u - a; }
fn neg_64(a: vec2<u32>) -> vec2<u32> { return sub_64(vec2<u32>(0u, 0u), a); }

fn add_checked_i64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return add_64(a, b); }
fn sub_checked_i64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return sub_64(a, b); }
fn mul_checked_i64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return mul_64(a, b); }
fn neg_checked_i64(a: vec2<u32>) -> vec2<u32> { return neg_64(a); }

fn add_i64_fails(a: vec2<u32>, b: vec2<u32>) -> bool {
    let s = add_64(a, b).y;
    return (((a.y ^ s) & (b.y ^ s)) >> 31u) != 0u;
}

fn sub_i64_fails(a: vec2<u32>, b: vec2<u32>) -> bool {
    let s = sub_64(a, b).y;
    return (((a.y ^ b.y) & (a.y ^ s)) >> 31u) != 0u;
}

fn mul_i64_fails(a: vec2<u32>, b: vec2<u32>) -> bool {
    let p = mul_u64_wide(magnitude_64(a), magnitude_64(b));
    if ((p.z | p.w) != 0u) { return true; }
    let negative = ((a.y ^ b.y) >> 31u) != 0u;
    // A magnitude of 2^63 fits only when negative.
    return (p.y >> 31u) != 0u && !(negative && p.y == 0x80000000u && p.x == 0u);
}

fn magnitude_32(a: u32) -> u32 { return select(a, 0u - a, (a >> 31u) != 0u); }
fn magnitude_64(a: vec2<u32>) -> vec2<u32> { return select(a, neg_64(a), (a.y >> 31u) != 0u); }
fn abs_i32(a: u32) -> u32 { return magnitude_32(a); }
fn abs_i64(a: vec2<u32>) -> vec2<u32> { return magnitude_64(a); }
fn is_min_i32(a: u32) -> bool { return a == 0x80000000u; }
fn is_min_i64(a: vec2<u32>) -> bool { return a.y == 0x80000000u && a.x == 0u; }

fn divisor_32(a: u32, b: u32) -> u32 { return b; }
fn divisor_32_fails(a: u32, b: u32) -> bool { return b == 0u; }
fn divisor_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return b; }
fn divisor_64_fails(a: vec2<u32>, b: vec2<u32>) -> bool { return (b.x | b.y) == 0u; }

// By zero, 32-bit divisions give zero and remainders the dividend, as the wider ones do.
fn div_u32(a: u32, b: u32) -> u32 { return select(a / max(b, 1u), 0u, b == 0u); }
fn rem_u32(a: u32, b: u32) -> u32 { return a - div_u32(a, b) * b; }

fn div_i32(a: u32, b: u32) -> u32 {
    let q = div_u32(magnitude_32(a), magnitude_32(b));
    return select(q, 0u - q, ((a ^ b) >> 31u) != 0u);
}

fn div_i32_fails(a: u32, b: u32) -> bool { return is_min_i32(a) && b == 0xffffffffu; }

fn rem_i32(a: u32, b: u32) -> u32 {
    let r = rem_u32(magnitude_32(a), magnitude_32(b));
    return select(r, 0u - r, (a >> 31u) != 0u);
}

fn div_u64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return divrem_u64(a, b).xy; }
fn rem_u64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return divrem_u64(a, b).zw; }

fn div_i64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let q = divrem_u64(magnitude_64(a), magnitude_64(b)).xy;
    return select(q, neg_64(q), ((a.y ^ b.y) >> 31u) != 0u);
}

fn div_i64_fails(a: vec2<u32>, b: vec2<u32>) -> bool {
    return is_min_i64(a) && (b.x & b.y) == 0xffffffffu;
}

fn rem_i64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let r = divrem_u64(magnitude_64(a), magnitude_64(b)).zw;
    return select(r, neg_64(r), (a.y >> 31u) != 0u);
}

// Rounded toward minus infinity, by a positive divisor: for negative a, -1 - (-1 - a) / b.
fn floor_div_i64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let s = sign_32(a.y);
    let flip = vec2<u32>(s, s);
    return divrem_u64(a ^ flip, b).xy ^ flip;
}

fn floor_mod_i64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return sub_64(a, mul_64(floor_div_i64(a, b), b));
}

fn and_32(a: u32, b: u32) -> u32 { return a & b; }
fn or_32(a: u32, b: u32) -> u32 { return a | b; }
fn xor_32(a: u32, b: u32) -> u32 { return a ^ b; }
fn and_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return a & b; }
fn or_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return a | b; }
fn xor_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return a ^ b; }
fn shl_32(a: u32, b: u32) -> u32 { return a << (b & 31u); }
fn shr_u32(a: u32, b: u32) -> u32 { return a >> (b & 31u); }
fn shr_i32(a: u32, b: u32) -> u32 { return bitcast<u32>(bitcast<i32>(a) >> (b & 31u)); }
fn shl_by_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return shl_64(a, b.x & 63u); }
fn shr_by_u64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return shr_u64(a, b.x & 63u); }

fn shr_by_i64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let s = sign_32(a.y);
    let flip = vec2<u32>(s, s);
    return shr_u64(a ^ flip, b.x & 63u) ^ flip;
}

fn eq_b1(a: bool, b: bool) -> bool { return a == b; }
fn lt_b1(a: bool, b: bool) -> bool { return !a && b; }
fn le_b1(a: bool, b: bool) -> bool { return !a || b; }
fn eq_32(a: u32, b: u32) -> bool { return a == b; }
fn lt_u32(a: u32, b: u32) -> bool { return a < b; }
fn le_u32(a: u32, b: u32) -> bool { return a <= b; }
fn lt_i32(a: u32, b: u32) -> bool { return bitcast<i32>(a) < bitcast<i32>(b); }
fn le_i32(a: u32, b: u32) -> bool { return bitcast<i32>(a) <= bitcast<i32>(b); }
fn eq_64(a: vec2<u32>, b: vec2<u32>) -> bool { return all(a == b); }
fn le_u64(a: vec2<u32>, b: vec2<u32>) -> bool { return !lt_u64(b, a); }
fn le_i64(a: vec2<u32>, b: vec2<u32>) -> bool { return !lt_i64(b, a); }

fn range_i32(a: u32, low: u32, high: u32) -> u32 { return a; }
fn bound_i32(a: u32, low: u32, high: u32) -> u32 { return a; }
fn range_i32_fails(a: u32, low: u32, high: u32) -> bool {
    return lt_i32(a, low) || lt_i32(high, a);
}
fn range_u32(a: u32, low: u32, high: u32) -> u32 { return a; }
fn range_u32_fails(a: u32, low: u32, high: u32) -> bool { return a < low || high < a; }
fn range_i64(a: vec2<u32>, low: vec2<u32>, high: vec2<u32>) -> vec2<u32> { return a; }
fn bound_i64(a: vec2<u32>, low: vec2<u32>, high: vec2<u32>) -> vec2<u32> { return a; }

fn range_i64_fails(a: vec2<u32>, low: vec2<u32>, high: vec2<u32>) -> bool {
    return lt_i64(a, low) || lt_i64(high, a);
}

fn range_u64(a: vec2<u32>, low: vec2<u32>, high: vec2<u32>) -> vec2<u32> { return a; }

fn range_u64_fails(a: vec2<u32>, low: vec2<u32>, high: vec2<u32>) -> bool {
    return lt_u64(a, low) || lt_u64(high, a);
}

// Order-preserving words: signs flipped; of floats, all bits of a negative one.
fn order_i32(a: u32) -> u32 { return a ^ 0x80000000u; }
fn order_i64(a: vec2<u32>) -> vec2<u32> { return vec2<u32>(a.x, a.y ^ 0x80000000u); }
fn order_f32(a: u32) -> u32 { return a ^ (sign_32(a) | 0x80000000u); }

fn order_f64(a: vec2<u32>) -> vec2<u32> {
    let s = sign_32(a.y);
    return a ^ vec2<u32>(s, s | 0x80000000u);
}

fn unorder_f32(a: u32) -> u32 { return a ^ (~sign_32(a) | 0x80000000u); }

fn unorder_f64(a: vec2<u32>) -> vec2<u32> {
    let s = ~sign_32(a.y);
    return a ^ vec2<u32>(s, s | 0x80000000u);
}

// IEEE 754 total order: -NaN < -inf < ... < -0.0 < +0.0 < ... < inf < NaN.
fn lt_f32(a: u32, b: u32) -> bool { return order_f32(a) < order_f32(b); }
fn le_f32(a: u32, b: u32) -> bool { return order_f32(a) <= order_f32(b); }
fn lt_f64(a: vec2<u32>, b: vec2<u32>) -> bool { return lt_u64(order_f64(a), order_f64(b)); }
fn le_f64(a: vec2<u32>, b: vec2<u32>) -> bool { return le_u64(order_f64(a), order_f64(b)); }

// -0.0 becomes 0.0.
fn plus_zero_f32(a: u32) -> u32 { return select(a, 0u, a == 0x80000000u); }
fn one_nan_f32(a: u32) -> u32 {
    return select(a, 0x7fc00000u, (a & 0x7fffffffu) > 0x7f800000u);
}
fn one_nan_f64(a: vec2<u32>) -> vec2<u32> {
    let high = a.y & 0x7fffffffu;
    let nan = high > 0x7ff00000u || (high == 0x7ff00000u && a.x != 0u);
    return select(a, vec2<u32>(0u, 0x7ff80000u), nan);
}
fn plus_zero_f64(a: vec2<u32>) -> vec2<u32> {
    return select(a, vec2<u32>(0u, 0u), a.y == 0x80000000u && a.x == 0u);
}
