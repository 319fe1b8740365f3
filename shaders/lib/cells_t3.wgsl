// Atomic updates of accumulators in a table whose cells have 64 bits (tier T3): the functions of
// `cells_t0`, each of which updates a cell at once and waits for no carry.

fn tab_get(at: u32) -> u32 {
    return u32(atomicLoad(&tab[at]));
}

fn tab_get64(at: u32) -> vec2<u32> {
    let cell = atomicLoad(&tab[at]);
    return vec2<u32>(u32(cell), u32(cell >> 32u));
}

fn tab_differ(a: u32, b: u32) -> bool {
    return atomicLoad(&tab[a]) != atomicLoad(&tab[b]);
}

fn tab_keep(to: u32, value: u32) {
    atomicStore(&tab[to], atomicLoad(&tab[value]));
}

fn tab_clear(at: u32) {
    atomicStore(&tab[at], u64());
}

fn tab_add64(at: u32, value: vec2<u32>) {
    if ((value.x | value.y) != 0u) {
        atomicAdd(&tab[at], cell_of(value));
    }
}

// A cell of each 32 bits, the last one of all that is above: no row carries into another cell.
fn tab_add128(at: u32, value: vec4<u32>) {
    tab_add64(at, vec2<u32>(value.x, 0u));
    tab_add64(at + 1u, vec2<u32>(value.y, 0u));
    tab_add64(at + 2u, value.zw);
}

// 160 bits: `high` is the fifth word.
fn tab_add160(at: u32, value: vec4<u32>, high: u32) {
    tab_add64(at, vec2<u32>(value.x, 0u));
    tab_add64(at + 1u, vec2<u32>(value.y, 0u));
    tab_add64(at + 2u, vec2<u32>(value.z, 0u));
    tab_add64(at + 3u, vec2<u32>(value.w, high));
}

// Most rows do not raise a maximum: look before the atomic.
fn tab_max(at: u32, value: u32) {
    tab_max64(at, vec2<u32>(value, 0u));
}

fn tab_max64(at: u32, value: vec2<u32>) {
    let cell = cell_of(value);
    if (atomicLoad(&tab[at]) < cell) {
        atomicMax(&tab[at], cell);
    }
}

fn tab_or(at: u32, value: u32) {
    if ((tab_get(at) & value) != value) {
        atomicOr(&tab[at], u64(value));
    }
}
