// IEEE 754 floats by integer operations: exact on every adapter, whatever its floats do. On `int`,
// `wide` and their base functions. A binary64 is two words, the low one first; binary32 goes
// through binary64, which is exact for one operation (53 >= 2 * 24 + 2). NaNs come out as the
// host's do: the first operand that is one, quieted, else HOST_NAN (`lib/nan_*`).

// A number that is not zero, infinite or NaN is m / 2^63 * 2^exponent, m >= 2^63.
struct Unpacked {
    exponent: i32,
    m: vec2<u32>,
}

fn is_nan_f64(a: vec2<u32>) -> bool {
    let high = a.y & 0x7fffffffu;
    return high > 0x7ff00000u || (high == 0x7ff00000u && a.x != 0u);
}

fn is_inf_f64(a: vec2<u32>) -> bool { return (a.y & 0x7fffffffu) == 0x7ff00000u && a.x == 0u; }
fn is_zero_f64(a: vec2<u32>) -> bool { return ((a.y << 1u) | a.x) == 0u; }
fn quiet_f64(a: vec2<u32>) -> vec2<u32> { return vec2<u32>(a.x, a.y | 0x00080000u); }

// The NaN that an operation on a and b gives.
fn nan_of(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    if (is_nan_f64(a)) { return quiet_f64(a); }
    if (is_nan_f64(b)) { return quiet_f64(b); }
    return vec2<u32>(0u, HOST_NAN);
}

fn unpack_f64(a: vec2<u32>) -> Unpacked {
    let exponent = bitcast<i32>((a.y >> 20u) & 0x7ffu);
    let fraction = shl_64(vec2<u32>(a.x, a.y & 0xfffffu), 11u);
    if (exponent == 0) {
        let zeros = min(leading_zeros_64(fraction), 63u);
        return Unpacked(-1022 - bitcast<i32>(zeros), shl_64(fraction, zeros));
    }
    return Unpacked(exponent - 1023, vec2<u32>(fraction.x, fraction.y | 0x80000000u));
}

// m / 2^shift, rounded to nearest, ties to even; `sticky` if there are bits below m. m >= 2^63,
// shift > 0.
fn round_shift(m: vec2<u32>, shift: u32, sticky: bool) -> vec2<u32> {
    if (shift > 64u) { return vec2<u32>(0u, 0u); }
    let t = shr_u64(m, shift - 1u);
    let kept = shr_u64(t, 1u);
    let rest = shl_64(m, 65u - shift);
    let below = sticky || (rest.x | rest.y) != 0u;
    let up = (t.x & 1u) != 0u && (below || (kept.x & 1u) != 0u);
    return add_64(kept, vec2<u32>(select(0u, 1u, up), 0u));
}

// The binary64 nearest to m / 2^63 * 2^exponent; `sign` is the sign bit in place.
fn pack_f64(sign: u32, exponent: i32, m: vec2<u32>, sticky: bool) -> vec2<u32> {
    if (exponent > 1023) { return vec2<u32>(0u, sign | 0x7ff00000u); }
    if (exponent < -1022) {
        let bits = round_shift(m, bitcast<u32>(min(-1022 - exponent, 100)) + 11u, sticky);
        return vec2<u32>(bits.x, bits.y | sign);
    }
    // The leading bit adds one to the exponent, as does a carry out of the fraction.
    let bits = round_shift(m, 11u, sticky);
    return vec2<u32>(bits.x, (bits.y + (bitcast<u32>(exponent + 1022) << 20u)) | sign);
}

fn pack_f32(sign: u32, exponent: i32, m: vec2<u32>, sticky: bool) -> u32 {
    if (exponent > 127) { return sign | 0x7f800000u; }
    if (exponent < -126) {
        return sign | round_shift(m, bitcast<u32>(min(-126 - exponent, 100)) + 40u, sticky).x;
    }
    return sign | (round_shift(m, 40u, sticky).x + (bitcast<u32>(exponent + 126) << 23u));
}

fn neg_f64(a: vec2<u32>) -> vec2<u32> { return vec2<u32>(a.x, a.y ^ 0x80000000u); }
fn abs_f64(a: vec2<u32>) -> vec2<u32> { return vec2<u32>(a.x, a.y & 0x7fffffffu); }
fn neg_f32(a: u32) -> u32 { return a ^ 0x80000000u; }
fn abs_f32(a: u32) -> u32 { return a & 0x7fffffffu; }

fn add_f64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    if (is_nan_f64(a) || is_nan_f64(b)) { return nan_of(a, b); }
    let differ = ((a.y ^ b.y) >> 31u) != 0u;
    if (is_inf_f64(a)) {
        if (is_inf_f64(b) && differ) { return nan_of(a, b); }
        return a;
    }
    if (is_inf_f64(b)) { return b; }
    if (is_zero_f64(a)) {
        if (is_zero_f64(b)) { return vec2<u32>(0u, a.y & b.y); }
        return b;
    }
    if (is_zero_f64(b)) { return a; }
    let swap = lt_u64(abs_f64(a), abs_f64(b));
    let large = select(a, b, swap);
    let x = unpack_f64(large);
    let y = unpack_f64(select(b, a, swap));
    // Both a bit lower, which makes room for a carry; ten bits below the fraction remain.
    let distance = min(bitcast<u32>(x.exponent - y.exponent) + 1u, 64u);
    let p = shr_u64(x.m, 1u);
    var q = vec2<u32>(0u, 0u);
    var sticky = true;
    if (distance < 64u) {
        q = shr_u64(y.m, distance);
        sticky = any(shl_64(q, distance) != y.m);
    }
    var sum = add_64(p, q);
    if (differ) {
        // What lies below q is taken from the last bit.
        sum = sub_64(sub_64(p, q), vec2<u32>(select(0u, 1u, sticky), 0u));
        if ((sum.x | sum.y) == 0u && !sticky) { return vec2<u32>(0u, 0u); }
    }
    let zeros = leading_zeros_64(sum);
    let exponent = x.exponent + 1 - bitcast<i32>(zeros);
    return pack_f64(large.y & 0x80000000u, exponent, shl_64(sum, zeros & 63u), sticky);
}

// A NaN keeps its sign when it is subtracted.
fn sub_f64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    if (is_nan_f64(b)) { return nan_of(a, b); }
    return add_f64(a, neg_f64(b));
}

fn mul_f64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    if (is_nan_f64(a) || is_nan_f64(b)) { return nan_of(a, b); }
    let sign = (a.y ^ b.y) & 0x80000000u;
    let zero = is_zero_f64(a) || is_zero_f64(b);
    if (is_inf_f64(a) || is_inf_f64(b)) {
        if (zero) { return nan_of(a, b); }
        return vec2<u32>(0u, sign | 0x7ff00000u);
    }
    if (zero) { return vec2<u32>(0u, sign); }
    let x = unpack_f64(a);
    let y = unpack_f64(b);
    let p = mul_u64_wide(x.m, y.m);
    let zeros = (p.w >> 31u) ^ 1u;
    let m = shl_128(p, zeros);
    let exponent = x.exponent + y.exponent + 1 - bitcast<i32>(zeros);
    return pack_f64(sign, exponent, m.zw, (m.x | m.y) != 0u);
}

fn div_f64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    if (is_nan_f64(a) || is_nan_f64(b)) { return nan_of(a, b); }
    let sign = (a.y ^ b.y) & 0x80000000u;
    if (is_inf_f64(a)) {
        if (is_inf_f64(b)) { return nan_of(a, b); }
        return vec2<u32>(0u, sign | 0x7ff00000u);
    }
    if (is_zero_f64(b)) {
        if (is_zero_f64(a)) { return nan_of(a, b); }
        return vec2<u32>(0u, sign | 0x7ff00000u);
    }
    if (is_zero_f64(a) || is_inf_f64(b)) { return vec2<u32>(0u, sign); }
    let x = unpack_f64(a);
    let y = unpack_f64(b);
    let q = div_2by1_64(shr_u64(x.m, 1u), shl_64(x.m, 63u), y.m);
    let zeros = (q.y >> 31u) ^ 1u;
    let exponent = x.exponent - y.exponent - bitcast<i32>(zeros);
    return pack_f64(sign, exponent, shl_64(q.xy, zeros), (q.z | q.w) != 0u);
}

// Below zero; neither -0.0 nor NaN is.
fn is_negative_f64(a: vec2<u32>) -> bool {
    return (a.y >> 31u) != 0u && !is_zero_f64(a) && !is_nan_f64(a);
}

fn is_negative_f32(a: u32) -> bool { return a > 0x80000000u && a <= 0xff800000u; }

// Digit by digit, 64 bits of the root of m * 2^64 or m * 2^63 (whichever exponent is even).
fn sqrt_f64(a: vec2<u32>) -> vec2<u32> {
    if (is_nan_f64(a) || is_zero_f64(a)) { return select(a, quiet_f64(a), is_nan_f64(a)); }
    if ((a.y >> 31u) != 0u) { return vec2<u32>(0u, HOST_NAN); }
    if (is_inf_f64(a)) { return a; }
    let x = unpack_f64(a);
    let odd = bitcast<u32>(x.exponent) & 1u;
    // Two digits of the radicand enter with each of the root; 56 digits are 3 more than needed.
    var radicand = shr_u64(x.m, 1u - odd);
    var rest = vec2<u32>(0u, 0u);
    var root = vec2<u32>(0u, 0u);
    for (var step = 0u; step < 56u; step += 1u) {
        rest = vec2<u32>(shl_64(rest, 2u).x | (radicand.y >> 30u), shl_64(rest, 2u).y);
        radicand = shl_64(radicand, 2u);
        let trial = vec2<u32>(shl_64(root, 2u).x | 1u, shl_64(root, 2u).y);
        root = shl_64(root, 1u);
        if (!lt_u64(rest, trial)) {
            rest = sub_64(rest, trial);
            root.x |= 1u;
        }
    }
    let exponent = (x.exponent - bitcast<i32>(odd)) / 2;
    return pack_f64(0u, exponent, shl_64(root, 8u), (rest.x | rest.y) != 0u);
}

// Toward zero to a whole number, then one further from zero if asked: `mode` 0 never, 1 where the
// fraction is at least a half, 2 where a negative number has one, 3 where a positive one has.
fn whole_f64(a: vec2<u32>, mode: u32) -> vec2<u32> {
    let exponent = bitcast<i32>((a.y >> 20u) & 0x7ffu) - 1023;
    // As on the host, only rounding to nearest quiets a NaN.
    if (mode == 1u && is_nan_f64(a)) { return quiet_f64(a); }
    if (exponent >= 52 || is_zero_f64(a)) { return a; }
    let sign = a.y & 0x80000000u;
    let away = (mode == 2u && sign != 0u) || (mode == 3u && sign == 0u);
    if (exponent < 0) {
        let one = away || (mode == 1u && exponent == -1);
        return vec2<u32>(0u, sign | select(0u, 0x3ff00000u, one));
    }
    let unit = shl_64(vec2<u32>(1u, 0u), bitcast<u32>(52 - exponent));
    let mask = sub_64(unit, vec2<u32>(1u, 0u));
    let step = select(vec2<u32>(0u, 0u), select(shr_u64(unit, 1u), mask, away), away || mode == 1u);
    return add_64(a, step) & ~mask;
}

fn trunc_f64(a: vec2<u32>) -> vec2<u32> { return whole_f64(a, 0u); }
fn round_f64(a: vec2<u32>) -> vec2<u32> { return whole_f64(a, 1u); }
fn floor_f64(a: vec2<u32>) -> vec2<u32> { return whole_f64(a, 2u); }
fn ceil_f64(a: vec2<u32>) -> vec2<u32> { return whole_f64(a, 3u); }

// Zero of either sign gives 0.0, NaN the positive quiet one.
fn signum_f64(a: vec2<u32>) -> vec2<u32> {
    if (is_nan_f64(a)) { return vec2<u32>(0u, 0x7ff80000u); }
    let one = vec2<u32>(0u, (a.y & 0x80000000u) | 0x3ff00000u);
    return select(one, vec2<u32>(0u, 0u), is_zero_f64(a));
}

fn f64_from_f32(a: u32) -> vec2<u32> {
    let sign = a & 0x80000000u;
    let exponent = (a >> 23u) & 0xffu;
    let fraction = a & 0x7fffffu;
    if (exponent == 0xffu) {
        let quiet = select(0u, 0x00080000u, fraction != 0u);
        return vec2<u32>(fraction << 29u, sign | 0x7ff00000u | quiet | (fraction >> 3u));
    }
    if (exponent == 0u) {
        if (fraction == 0u) { return vec2<u32>(0u, sign); }
        let zeros = countLeadingZeros(fraction);
        let m = vec2<u32>(0u, fraction << zeros);
        return pack_f64(sign, -118 - bitcast<i32>(zeros), m, false);
    }
    return vec2<u32>(fraction << 29u, sign | ((exponent + 896u) << 20u) | (fraction >> 3u));
}

fn f32_from_f64(a: vec2<u32>) -> u32 {
    let sign = a.y & 0x80000000u;
    if (is_nan_f64(a)) { return sign | 0x7fc00000u | (shl_64(a, 3u).y & 0x3fffffu); }
    if (is_inf_f64(a)) { return sign | 0x7f800000u; }
    if (is_zero_f64(a)) { return sign; }
    let x = unpack_f64(a);
    return pack_f32(sign, x.exponent, x.m, false);
}

fn add_f32(a: u32, b: u32) -> u32 {
    return f32_from_f64(add_f64(f64_from_f32(a), f64_from_f32(b)));
}
fn sub_f32(a: u32, b: u32) -> u32 {
    return f32_from_f64(sub_f64(f64_from_f32(a), f64_from_f32(b)));
}
fn mul_f32(a: u32, b: u32) -> u32 {
    return f32_from_f64(mul_f64(f64_from_f32(a), f64_from_f32(b)));
}
fn div_f32(a: u32, b: u32) -> u32 {
    return f32_from_f64(div_f64(f64_from_f32(a), f64_from_f32(b)));
}
fn sqrt_f32(a: u32) -> u32 { return f32_from_f64(sqrt_f64(f64_from_f32(a))); }
// `r` as a binary32, but `a` as it is if it is a NaN.
fn keep_nan(a: u32, r: vec2<u32>) -> u32 {
    return select(f32_from_f64(r), a, (a & 0x7fffffffu) > 0x7f800000u);
}

fn trunc_f32(a: u32) -> u32 { return keep_nan(a, trunc_f64(f64_from_f32(a))); }
fn round_f32(a: u32) -> u32 { return f32_from_f64(round_f64(f64_from_f32(a))); }
fn floor_f32(a: u32) -> u32 { return keep_nan(a, floor_f64(f64_from_f32(a))); }
fn ceil_f32(a: u32) -> u32 { return keep_nan(a, ceil_f64(f64_from_f32(a))); }
fn signum_f32(a: u32) -> u32 { return f32_from_f64(signum_f64(f64_from_f32(a))); }

fn f64_from_u64(a: vec2<u32>) -> vec2<u32> {
    if ((a.x | a.y) == 0u) { return a; }
    let zeros = leading_zeros_64(a);
    return pack_f64(0u, 63 - bitcast<i32>(zeros), shl_64(a, zeros), false);
}

fn f64_from_i64(a: vec2<u32>) -> vec2<u32> {
    let magnitude = f64_from_u64(magnitude_64(a));
    return vec2<u32>(magnitude.x, magnitude.y | (a.y & 0x80000000u));
}

fn f32_from_u64(a: vec2<u32>) -> u32 {
    if ((a.x | a.y) == 0u) { return 0u; }
    let zeros = leading_zeros_64(a);
    return pack_f32(0u, 63 - bitcast<i32>(zeros), shl_64(a, zeros), false);
}

fn f32_from_i64(a: vec2<u32>) -> u32 {
    return f32_from_u64(magnitude_64(a)) | (a.y & 0x80000000u);
}

fn f64_from_i128(a: vec4<u32>) -> vec2<u32> {
    let x = magnitude_128(a);
    let high_zeros = leading_zeros_64(x.zw);
    let zeros = select(high_zeros, 64u + leading_zeros_64(x.xy), high_zeros == 64u);
    if (zeros == 128u) { return vec2<u32>(0u, 0u); }
    let m = shl_128(x, zeros);
    let exponent = 127 - bitcast<i32>(zeros);
    return pack_f64(a.w & 0x80000000u, exponent, m.zw, (m.x | m.y) != 0u);
}

// The magnitude's whole part; what does not fit 128 bits gives any bits.
fn whole_u128(a: vec2<u32>) -> vec4<u32> {
    let x = unpack_f64(a);
    if (x.exponent < 0 || is_zero_f64(a)) { return vec4<u32>(0u, 0u, 0u, 0u); }
    let places = bitcast<u32>(min(127 - x.exponent, 127)) & 127u;
    return shr_u128(vec4<u32>(0u, 0u, x.m), places);
}

// Exponents of 127 hold -2^127 alone.
fn i128_from_f64_fails(a: vec2<u32>) -> bool {
    let exponent = bitcast<i32>((a.y >> 20u) & 0x7ffu) - 1023;
    return exponent >= 127 && !(exponent == 127 && a.y == 0xc7e00000u && a.x == 0u);
}

fn i128_from_f64(a: vec2<u32>) -> vec4<u32> {
    let x = whole_u128(a);
    return select(x, neg_i128(x), (a.y >> 31u) != 0u);
}

fn i64_from_f64(a: vec2<u32>) -> vec2<u32> { return i128_from_f64(a).xy; }

fn i64_from_f64_fails(a: vec2<u32>) -> bool {
    let exponent = bitcast<i32>((a.y >> 20u) & 0x7ffu) - 1023;
    return exponent >= 63 && !(exponent == 63 && a.y == 0xc3e00000u && a.x == 0u);
}

fn u64_from_f64_fails(a: vec2<u32>) -> bool {
    let exponent = bitcast<i32>((a.y >> 20u) & 0x7ffu) - 1023;
    return exponent >= 64 || (exponent >= 0 && (a.y >> 31u) != 0u);
}

// Natively, where a probe has found the adapter's binary32 exact; NaNs as above.
fn fix_nan_f32(r: u32, a: u32, b: u32) -> u32 {
    if ((r & 0x7fffffffu) <= 0x7f800000u) { return r; }
    return f32_from_f64(nan_of(f64_from_f32(a), f64_from_f32(b)));
}

// Native operations, for adapters whose results a probe has found exact. Each operand passes
// through an exclusive or with a word that only the host knows to be zero: a driver may otherwise
// fold a constant (Mesa: x * 0.0 to 0.0) or round a product and a sum at once. The two operands
// have a word each, so that x - x is not cancelled either.
fn hidden_f32(a: u32, zero: u32) -> f32 { return bitcast<f32>(a ^ zero); }

fn native_add_f32(a: u32, b: u32) -> u32 {
    let z = zeros();
    return fix_nan_f32(bitcast<u32>(hidden_f32(a, z.x) + hidden_f32(b, z.y)), a, b);
}
fn native_sub_f32(a: u32, b: u32) -> u32 {
    let z = zeros();
    return fix_nan_f32(bitcast<u32>(hidden_f32(a, z.x) - hidden_f32(b, z.y)), a, b);
}
fn native_mul_f32(a: u32, b: u32) -> u32 {
    let z = zeros();
    return fix_nan_f32(bitcast<u32>(hidden_f32(a, z.x) * hidden_f32(b, z.y)), a, b);
}
fn native_div_f32(a: u32, b: u32) -> u32 {
    let z = zeros();
    return fix_nan_f32(bitcast<u32>(hidden_f32(a, z.x) / hidden_f32(b, z.y)), a, b);
}
