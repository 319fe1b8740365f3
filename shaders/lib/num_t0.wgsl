// 64-bit integers as two words of 32 bits, the low one first, by 32-bit operations alone (tier T0).
// `num_t2.wgsl` holds the same functions on native 64-bit integers; one of the two is linked.

// The 64-bit product of two 32-bit words, by halves of 16 bits.
fn mul_wide(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let p00 = a0 * b0;
    let p10 = a1 * b0 + (p00 >> 16u);
    let p01 = a0 * b1 + (p10 & 0xffffu);
    return vec2<u32>((p01 << 16u) | (p00 & 0xffffu), a1 * b1 + (p10 >> 16u) + (p01 >> 16u));
}

fn add_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let x = a.x + b.x;
    return vec2<u32>(x, a.y + b.y + select(0u, 1u, x < a.x));
}

fn sub_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

fn mul_64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let p = mul_wide(a.x, b.x);
    return vec2<u32>(p.x, p.y + a.x * b.y + a.y * b.x);
}

fn lt_u64(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.y < b.y || (a.y == b.y && a.x < b.x);
}

fn lt_i64(a: vec2<u32>, b: vec2<u32>) -> bool {
    return bitcast<i32>(a.y) < bitcast<i32>(b.y) || (a.y == b.y && a.x < b.x);
}

// Shifts by 0 to 63.
fn shl_64(a: vec2<u32>, n: u32) -> vec2<u32> {
    if (n >= 32u) {
        return vec2<u32>(0u, a.x << (n - 32u));
    }
    // Two steps, for a shift by 32 is a shift by 0.
    return vec2<u32>(a.x << n, (a.y << n) | ((a.x >> 1u) >> (31u - n)));
}

fn shr_u64(a: vec2<u32>, n: u32) -> vec2<u32> {
    if (n >= 32u) {
        return vec2<u32>(a.y >> (n - 32u), 0u);
    }
    return vec2<u32>((a.x >> n) | ((a.y << 1u) << (31u - n)), a.y >> n);
}

// The 128-bit product of two unsigned 64-bit numbers.
fn mul_u64_wide(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
    let p00 = mul_wide(a.x, b.x);
    // Neither sum overflows: a product of two words leaves room for two words.
    let p10 = add_64(mul_wide(a.y, b.x), vec2<u32>(p00.y, 0u));
    let p01 = add_64(mul_wide(a.x, b.y), vec2<u32>(p10.x, 0u));
    let p11 = add_64(mul_wide(a.y, b.y), add_64(vec2<u32>(p10.y, 0u), vec2<u32>(p01.y, 0u)));
    return vec4<u32>(p00.x, p01.x, p11.x, p11.y);
}

// One digit of a division in base 2^16: `rest` < `d`, whose highest bit is set; returns the digit
// and the new rest.
fn div_digit_16(rest: u32, next: u32, d: u32) -> vec2<u32> {
    let d1 = d >> 16u;
    let d0 = d & 0xffffu;
    var q = rest / d1;
    var r = rest - q * d1;
    // The guess is at most two too large.
    if (q > 0xffffu || q * d0 > ((r << 16u) | next)) {
        q -= 1u;
        r += d1;
        if (r <= 0xffffu && (q > 0xffffu || q * d0 > ((r << 16u) | next))) {
            q -= 1u;
        }
    }
    return vec2<u32>(q, ((rest << 16u) | next) - q * d);
}

// Divides two words by one, `high` < `d`: quotient and remainder.
// Algorithm D of Knuth, volume 2, 4.3.1, for two digits by two.
fn div_2by1(high: u32, low: u32, d: u32) -> vec2<u32> {
    let s = countLeadingZeros(d);
    let v = d << s;
    let u1 = (high << s) | ((low >> 1u) >> (31u - s));
    let u0 = low << s;
    let first = div_digit_16(u1, u0 >> 16u, v);
    let second = div_digit_16(first.y, u0 & 0xffffu, v);
    return vec2<u32>((first.x << 16u) | second.x, second.y >> s);
}

// Quotient (low two words) and remainder (high two); by zero: zero and the dividend.
fn divrem_u64(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
    if (b.y == 0u) {
        if (b.x == 0u) {
            return vec4<u32>(0u, 0u, a.x, a.y);
        }
        let high = a.y / b.x;
        let step = div_2by1(a.y - high * b.x, a.x, b.x);
        return vec4<u32>(step.x, high, step.y, 0u);
    }
    // The quotient fits one word: divide by the divisor's highest 32 bits, then correct by one.
    let s = countLeadingZeros(b.y);
    let half = shr_u64(a, 1u);
    let guess = div_2by1(half.y, half.x, shl_64(b, s).y).x >> (31u - s);
    var q = select(guess - 1u, 0u, guess == 0u);
    var rest = sub_64(a, mul_64(b, vec2<u32>(q, 0u)));
    if (!lt_u64(rest, b)) {
        q += 1u;
        rest = sub_64(rest, b);
    }
    return vec4<u32>(q, 0u, rest.x, rest.y);
}
