// Atomic updates of accumulators in a table whose cells are words of 32 bits; see `cells_t3` and
// `src/fragment/cells.rs`. Written for `tab`, the group table in device memory; for `loc`, the
// workgroup's own, the linker puts `loc` for `tab`: WGSL has no argument for either.

fn tab_get(at: u32) -> u32 {
    return atomicLoad(&tab[at]);
}

fn tab_get64(at: u32) -> vec2<u32> {
    return vec2<u32>(tab_get(at), tab_get(at + 1u));
}

fn tab_differ(a: u32, b: u32) -> bool {
    return tab_get(a) != tab_get(b);
}

fn tab_keep(to: u32, value: u32) {
    atomicStore(&tab[to], atomicLoad(&tab[value]));
}

fn tab_clear(at: u32) {
    atomicStore(&tab[at], 0u);
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

// 160 bits: `high` is the fifth word.
fn tab_add160(at: u32, value: vec4<u32>, high: u32) {
    var carry = 0u;
    for (var i = 0u; i < 4u; i++) {
        let sum = value[i] + carry;
        carry = select(0u, 1u, sum < carry);
        if (sum != 0u) {
            let old = atomicAdd(&tab[at + i], sum);
            carry += select(0u, 1u, old + sum < old);
        }
    }
    if (high + carry != 0u) {
        atomicAdd(&tab[at + 4u], high + carry);
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
