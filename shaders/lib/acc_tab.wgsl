// Atomic updates of accumulators in the group table in device memory.

fn tab_get(at: u32) -> u32 {
    return atomicLoad(&tab[at]);
}

// Exactly the addition that wraps a word sees its carry, so the sum is exact whatever the order.
fn tab_add64(at: u32, value: vec2<u32>) {
    let old = atomicAdd(&tab[at], value.x);
    let high = value.y + select(0u, 1u, old + value.x < old);
    if (high != 0u) {
        atomicAdd(&tab[at + 1u], high);
    }
}

fn tab_add128(at: u32, value: vec4<u32>) {
    var carry = 0u;
    for (var i = 0u; i < 4u; i++) {
        let sum = value[i] + carry;
        carry = select(0u, 1u, sum < carry);
        if (sum != 0u) {
            let old = atomicAdd(&tab[at + i], sum);
            carry += select(0u, 1u, old + sum < old);
        }
    }
}

// Most rows do not raise a maximum: look before the atomic.
fn tab_max(at: u32, value: u32) {
    if (atomicLoad(&tab[at]) < value) {
        atomicMax(&tab[at], value);
    }
}

fn tab_or(at: u32, value: u32) {
    if ((atomicLoad(&tab[at]) & value) != value) {
        atomicOr(&tab[at], value);
    }
}

// Three bins of 64 bits: bin i takes what bin i - d held, the first d become zero.
fn tab_shift_bins(bins: u32, d: u32) {
    for (var bin = 3u; bin > 0u; bin--) {
        let to = bins + 2u * (bin - 1u);
        let keep = bin - 1u >= d;
        let from_at = select(to, to - 2u * d, keep);
        let low = tab_get(from_at);
        let high = tab_get(from_at + 1u);
        atomicStore(&tab[to], select(0u, low, keep));
        atomicStore(&tab[to + 1u], select(0u, high, keep));
    }
}
