// 128-bit signed integers as four words, the lowest first: decimals. On the base functions of
// `num_t0` or `num_t2` and on `int`. Products and quotients take a short way where both operands
// fit 64 bits, which nearly all do: the branch is the same for a whole workgroup then.

fn i128_from_i64(a: vec2<u32>) -> vec4<u32> {
    let s = sign_32(a.y);
    return vec4<u32>(a.x, a.y, s, s);
}

fn i128_from_u64(a: vec2<u32>) -> vec4<u32> { return vec4<u32>(a.x, a.y, 0u, 0u); }
fn low_64(a: vec4<u32>) -> vec2<u32> { return a.xy; }
fn order_i128(a: vec4<u32>) -> vec4<u32> { return vec4<u32>(a.xyz, a.w ^ 0x80000000u); }
fn eq_128(a: vec4<u32>, b: vec4<u32>) -> bool { return all(a == b); }
fn lt_u128(a: vec4<u32>, b: vec4<u32>) -> bool {
    return select(lt_u64(a.zw, b.zw), lt_u64(a.xy, b.xy), all(a.zw == b.zw));
}

fn lt_i128(a: vec4<u32>, b: vec4<u32>) -> bool { return lt_u128(order_i128(a), order_i128(b)); }
fn le_i128(a: vec4<u32>, b: vec4<u32>) -> bool { return !lt_i128(b, a); }

fn add_i128(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    let low = add_64(a.xy, b.xy);
    let carry = select(0u, 1u, lt_u64(low, a.xy));
    return vec4<u32>(low, add_64(add_64(a.zw, b.zw), vec2<u32>(carry, 0u)));
}

fn sub_i128(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    let borrow = select(0u, 1u, lt_u64(a.xy, b.xy));
    let high = sub_64(sub_64(a.zw, b.zw), vec2<u32>(borrow, 0u));
    return vec4<u32>(sub_64(a.xy, b.xy), high);
}

fn neg_i128(a: vec4<u32>) -> vec4<u32> { return sub_i128(vec4<u32>(0u, 0u, 0u, 0u), a); }

fn add_i128_fails(a: vec4<u32>, b: vec4<u32>) -> bool {
    let s = add_i128(a, b).w;
    return (((a.w ^ s) & (b.w ^ s)) >> 31u) != 0u;
}

fn sub_i128_fails(a: vec4<u32>, b: vec4<u32>) -> bool {
    let s = sub_i128(a, b).w;
    return (((a.w ^ b.w) & (a.w ^ s)) >> 31u) != 0u;
}

fn is_min_i128(a: vec4<u32>) -> bool {
    return a.w == 0x80000000u && (a.x | a.y | a.z) == 0u;
}

fn magnitude_128(a: vec4<u32>) -> vec4<u32> {
    return select(a, neg_i128(a), (a.w >> 31u) != 0u);
}

fn abs_i128(a: vec4<u32>) -> vec4<u32> { return magnitude_128(a); }

fn fits_i64(a: vec4<u32>) -> bool {
    let s = sign_32(a.y);
    return a.z == s && a.w == s;
}

fn mul_i128(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    if (fits_i64(a) && fits_i64(b)) {
        let p = mul_u64_wide(magnitude_64(a.xy), magnitude_64(b.xy));
        return select(p, neg_i128(p), ((a.w ^ b.w) >> 31u) != 0u);
    }
    let p = mul_u64_wide(a.xy, b.xy);
    let cross = add_64(mul_64(a.xy, b.zw), mul_64(a.zw, b.xy));
    return vec4<u32>(p.xy, add_64(p.zw, cross));
}

fn mul_i128_fails(a: vec4<u32>, b: vec4<u32>) -> bool {
    if (fits_i64(a) && fits_i64(b)) { return false; }
    let x = magnitude_128(a);
    let y = magnitude_128(b);
    let x_long = (x.z | x.w) != 0u;
    if (x_long && (y.z | y.w) != 0u) { return true; }
    // One of them is shorter than 64 bits: its product with the high half of the other, and that
    // with the low half, must together stay below 2^128.
    let long = select(y, x, x_long);
    let short = select(x.xy, y.xy, x_long);
    let high = mul_u64_wide(long.zw, short);
    let low = mul_u64_wide(long.xy, short);
    let top = add_64(high.xy, low.zw);
    if ((high.z | high.w) != 0u || lt_u64(top, low.zw)) { return true; }
    // A magnitude of 2^127 fits only when negative.
    let negative = ((a.w ^ b.w) >> 31u) != 0u;
    let is_min = top.y == 0x80000000u && (top.x | low.x | low.y) == 0u;
    return (top.y >> 31u) != 0u && !(negative && is_min);
}

// One digit of a division in base 2^32: `rest` < `d`, whose highest bit is set; returns the digit
// (first word) and the new rest (last two).
fn div_digit_32(rest: vec2<u32>, next: u32, d: vec2<u32>) -> vec4<u32> {
    let guess = divrem_u64(rest, vec2<u32>(d.y, 0u));
    var q = guess.xy;
    var r = guess.zw;
    // The guess is at most two too large.
    if (q.y != 0u || lt_u64(vec2<u32>(next, r.x), mul_wide(q.x, d.x))) {
        q = sub_64(q, vec2<u32>(1u, 0u));
        r = add_64(r, vec2<u32>(d.y, 0u));
        if (r.y == 0u && (q.y != 0u || lt_u64(vec2<u32>(next, r.x), mul_wide(q.x, d.x)))) {
            q = sub_64(q, vec2<u32>(1u, 0u));
        }
    }
    return vec4<u32>(q.x, 0u, sub_64(vec2<u32>(next, rest.x), mul_64(q, d)));
}

fn leading_zeros_64(a: vec2<u32>) -> u32 {
    return select(countLeadingZeros(a.y), 32u + countLeadingZeros(a.x), a.y == 0u);
}

fn shl_128(a: vec4<u32>, n: u32) -> vec4<u32> {
    if (n >= 64u) { return vec4<u32>(0u, 0u, shl_64(a.xy, n - 64u)); }
    let carried = shr_u64(shr_u64(a.xy, 1u), 63u - n);
    return vec4<u32>(shl_64(a.xy, n), shl_64(a.zw, n) | carried);
}

fn shr_u128(a: vec4<u32>, n: u32) -> vec4<u32> {
    if (n >= 64u) { return vec4<u32>(shr_u64(a.zw, n - 64u), 0u, 0u); }
    let carried = shl_64(shl_64(a.zw, 1u), 63u - n);
    return vec4<u32>(shr_u64(a.xy, n) | carried, shr_u64(a.zw, n));
}

// Divides 128 bits by 64, `high` < `d`: quotient (low two words) and remainder (high two).
// Algorithm D of Knuth, volume 2, 4.3.1, for two digits by two.
fn div_2by1_64(high: vec2<u32>, low: vec2<u32>, d: vec2<u32>) -> vec4<u32> {
    let s = leading_zeros_64(d);
    let v = shl_64(d, s);
    let u = shl_128(vec4<u32>(low, high), s);
    let first = div_digit_32(u.zw, u.y, v);
    let second = div_digit_32(first.zw, u.x, v);
    return vec4<u32>(second.x, first.x, shr_u64(second.zw, s));
}

struct Quotient128 {
    quotient: vec4<u32>,
    rest: vec4<u32>,
}

// Unsigned; by zero: zero and the dividend.
fn divrem_u128(a: vec4<u32>, b: vec4<u32>) -> Quotient128 {
    if ((b.z | b.w) == 0u) {
        if ((a.z | a.w) == 0u) {
            let short = divrem_u64(a.xy, b.xy);
            return Quotient128(vec4<u32>(short.xy, 0u, 0u), vec4<u32>(short.zw, 0u, 0u));
        }
        if ((b.x | b.y) == 0u) { return Quotient128(vec4<u32>(0u, 0u, 0u, 0u), a); }
        let high = divrem_u64(a.zw, b.xy);
        let low = div_2by1_64(high.zw, a.xy, b.xy);
        return Quotient128(vec4<u32>(low.xy, high.xy), vec4<u32>(low.zw, 0u, 0u));
    }
    // The quotient fits 64 bits: divide by the divisor's highest 64 bits, then correct by one.
    let s = leading_zeros_64(b.zw);
    let half = shr_u128(a, 1u);
    let guess = shr_u64(div_2by1_64(half.zw, half.xy, shl_128(b, s).zw).xy, 63u - s);
    var q = select(sub_64(guess, vec2<u32>(1u, 0u)), guess, (guess.x | guess.y) == 0u);
    let p = mul_u64_wide(b.xy, q);
    var rest = sub_i128(a, vec4<u32>(p.xy, add_64(p.zw, mul_64(b.zw, q))));
    if (!lt_u128(rest, b)) {
        q = add_64(q, vec2<u32>(1u, 0u));
        rest = sub_i128(rest, b);
    }
    return Quotient128(vec4<u32>(q, 0u, 0u), rest);
}

fn divisor_128(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> { return b; }
fn divisor_128_fails(a: vec4<u32>, b: vec4<u32>) -> bool { return (b.x | b.y | b.z | b.w) == 0u; }

fn div_i128_fails(a: vec4<u32>, b: vec4<u32>) -> bool {
    return is_min_i128(a) && (b.x & b.y & b.z & b.w) == 0xffffffffu;
}

fn div_i128(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    let q = divrem_u128(magnitude_128(a), magnitude_128(b)).quotient;
    return select(q, neg_i128(q), ((a.w ^ b.w) >> 31u) != 0u);
}

fn rem_i128(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    let r = divrem_u128(magnitude_128(a), magnitude_128(b)).rest;
    return select(r, neg_i128(r), (a.w >> 31u) != 0u);
}

// Rounds half away from zero; `b` is positive and even.
fn div_round_i128(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    let parts = divrem_u128(magnitude_128(a), b);
    let up = select(1u, 0u, lt_u128(parts.rest, shr_u128(b, 1u)) || divisor_128_fails(b, b));
    let q = add_i128(parts.quotient, vec4<u32>(up, 0u, 0u, 0u));
    return select(q, neg_i128(q), (a.w >> 31u) != 0u);
}

// Rounds half away from zero; by zero: zero.
fn div_half_i128(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    let size = magnitude_128(b);
    if (divisor_128_fails(b, b)) { return vec4<u32>(); }
    let parts = divrem_u128(magnitude_128(a), size);
    let up = select(1u, 0u, lt_u128(parts.rest, sub_i128(size, parts.rest)));
    let q = add_i128(parts.quotient, vec4<u32>(up, 0u, 0u, 0u));
    return select(q, neg_i128(q), ((a.w ^ b.w) >> 31u) != 0u);
}

fn range_i128(a: vec4<u32>, low: vec4<u32>, high: vec4<u32>) -> vec4<u32> { return a; }
fn bound_i128(a: vec4<u32>, low: vec4<u32>, high: vec4<u32>) -> vec4<u32> { return a; }

fn range_i128_fails(a: vec4<u32>, low: vec4<u32>, high: vec4<u32>) -> bool {
    return lt_i128(a, low) || lt_i128(high, a);
}
