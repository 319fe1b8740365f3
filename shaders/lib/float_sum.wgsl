// Cuts a 64-bit float at absolute 32-bit boundaries, for the reproducible sum of
// `src/agg/float_sum.rs` (after Demmel and Nguyen), whose `slices` gives the same words.
//
// |x| is an integer of 53 bits, `place` bits up in units of 2^-1074; bin b covers bits 32 b to
// 32 b + 31, so the number meets at most three bins. Words of 32 bits only, no loop, no float.

// The bits of `flags`, as in the state.
const FLOAT_SEEN = 1u;
const FLOAT_NAN = 2u;
const FLOAT_PLUS_INFINITY = 4u;
const FLOAT_MINUS_INFINITY = 8u;

struct Slices {
    // 1 + the bin of the leading bit; 0 for zeros, NaN and infinities, which touch no bin.
    top: u32,
    flags: u32,
    // The slices of bins top - 1, top - 2, top - 3; zero for those that do not exist.
    s0: u32,
    s1: u32,
    s2: u32,
    // They count as negative.
    neg: bool,
}

// bits: low word first.
fn float_slices(bits: vec2<u32>) -> Slices {
    let neg = (bits.y >> 31u) == 1u;
    let exponent = (bits.y >> 20u) & 0x7ffu;
    let fraction = bits.y & 0xfffffu;
    if (exponent == 0x7ffu) {
        let infinity = select(FLOAT_PLUS_INFINITY, FLOAT_MINUS_INFINITY, neg);
        let kind = select(infinity, FLOAT_NAN, (fraction | bits.x) != 0u);
        return Slices(0u, FLOAT_SEEN | kind, 0u, 0u, 0u, false);
    }
    // Subnormals have place 0, as the smallest normal numbers, and no hidden bit.
    let high = select(fraction, fraction | 0x100000u, exponent != 0u);
    let place = exponent - min(exponent, 1u);
    let up = place & 31u;
    // What moves into the next word; in two steps, since `up` may be 0 and a shift by 32 is not.
    let w0 = bits.x << up;
    let w1 = (high << up) | ((bits.x >> 1u) >> (31u - up));
    let w2 = (high >> 1u) >> (31u - up);
    let lowest = place >> 5u;
    if (w2 != 0u) {
        return Slices(lowest + 3u, FLOAT_SEEN, w2, w1, w0, neg);
    }
    if (w1 != 0u) {
        return Slices(lowest + 2u, FLOAT_SEEN, w1, w0, 0u, neg);
    }
    return Slices(select(0u, lowest + 1u, w0 != 0u), FLOAT_SEEN, w0, 0u, 0u, neg);
}
