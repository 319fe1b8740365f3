// Places of keys in the index of a join's build side; see `build`.
//
// A key is packed into 64 bits: of each of its values the base is taken, and what is left is
// shifted to its place. Where values do not fit, a hash of all words stands for them, and the
// columns themselves are compared.

// Forms of an index (`fragment::join`).
const DIRECT: u32 = 1u;
const WIDE: u32 = 2u;
const BITMAP: u32 = 4u;

// A value less its base, and whether it is one of those that the build side may have.
struct Digit {
    value: vec2<u32>,
    fits: bool,
}

fn join_digit(value: vec2<u32>, base: vec2<u32>, span: vec2<u32>) -> Digit {
    let digit = acc_add64(value, acc_neg64(base));
    return Digit(digit, !acc_less64(span, digit));
}

// Of 32-bit values, whose differences wrap at 32 bits.
fn join_digit32(value: u32, base: u32, span: u32) -> Digit {
    let digit = value - base;
    return Digit(vec2<u32>(digit, 0u), digit <= span);
}

fn join_shift(value: vec2<u32>, bits: u32) -> vec2<u32> {
    let low = bits & 31u;
    if (bits >= 32u) {
        return vec2<u32>(0u, value.x << low);
    }
    return vec2<u32>(value.x << low, (value.y << low) | ((value.x >> 1u) >> (31u - low)));
}

fn join_hash(key: vec2<u32>) -> u32 {
    return hash_end(hash_word(hash_word(0u, key.x), key.y));
}
