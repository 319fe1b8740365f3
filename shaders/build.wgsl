// Rows of a join's build side -> an index of their keys.
//
// A slot is two words where keys are their own places (DIRECT), else four, by linear probing; then
// the columns that stand beside the key:
//   0: unless some key has several rows, the row + 1; else where the key's rows start in `matches`
//   1: rows of the key; 0: empty
//   2, 3: the key; of a WIDE one its hash, and a row that has it
// Where only the existence of a key is asked for (EXISTS), a DIRECT index is a bit for each key.
//
// Phase 0 puts rows into slots: whoever exchanges word 0 of an empty one owns it, all others
// compare their key with that row's. Only where a key has several rows, phase 1 gives each key a
// range of `matches`, and phase 2 writes the rows there.
//
// Holes: PHASE, DIRECT_WORDS and HASHED_WORDS (of a slot), `row_key(row)`, `row_valid(row)`,
// `same_key(row, other)`, `put_payload(row, at)`.

@group(0) @binding(0) var<storage, read> table: array<u32>;
// 0: whether some key has several rows; 1: rows given a place.
@group(0) @binding(1) var<storage, read_write> index: array<atomic<u32>>;

const ITEMS: u32 = 4u;
const SLOTS: u32 = 8u;

var<workgroup> start: u32;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = flat_group(wid, nwg);
    if (PHASE == 1u) {
        give_places(group * WORKGROUP + lane, lane);
        return;
    }
    if (PHASE == 2u && atomicLoad(&index[0]) == 0u) {
        return;
    }
    let rows = table[0];
    let stride = nwg.x * nwg.y * WORKGROUP;
    for (var row = group * WORKGROUP + lane; row < rows; row += stride) {
        if (row_valid(row)) {
            put_row(row);
        }
    }
}

fn slot_words() -> u32 {
    return select(HASHED_WORDS, DIRECT_WORDS, (table[5] & DIRECT) != 0u);
}

fn put_row(row: u32) {
    let key = row_key(row);
    if ((table[5] & BITMAP) != 0u) {
        atomicOr(&index[SLOTS + (key.x >> 5u)], 1u << (key.x & 31u));
        return;
    }
    let at = slot_of(row, key);
    if (PHASE == 2u) {
        let place = atomicSub(&index[at], 1u) - 1u;
        atomicStore(&index[SLOTS + table[1] * slot_words() + place], row);
        return;
    }
    let before = atomicAdd(&index[at + 1u], 1u);
    if (before == 1u) {
        atomicStore(&index[0], 1u);
    }
}

// The first word of the slot of a row's key, which is made in phase 0.
fn slot_of(row: u32, key: vec2<u32>) -> u32 {
    if ((table[5] & DIRECT) != 0u) {
        let at = SLOTS + DIRECT_WORDS * key.x;
        if (PHASE == 0u) {
            atomicStore(&index[at], row + 1u);
            put_payload(row, at + 2u);
        }
        return at;
    }
    let wide = (table[5] & WIDE) != 0u;
    var place = select(join_hash(key), key.x, wide) & (table[1] - 1u);
    loop {
        let at = SLOTS + HASHED_WORDS * place;
        if (PHASE == 0u) {
            var owner = atomicLoad(&index[at]);
            // The exchange may fail without cause on some hardware: the same slot again.
            while (owner == 0u) {
                let swap = atomicCompareExchangeWeak(&index[at], 0u, row + 1u);
                owner = select(swap.old_value, row + 1u, swap.exchanged);
            }
            if (owner == row + 1u) {
                atomicStore(&index[at + 2u], key.x);
                atomicStore(&index[at + 3u], select(key.y, row, wide));
                put_payload(row, at + 4u);
                return at;
            }
            if (same_key(row, owner - 1u)) {
                return at;
            }
        } else {
            let y = atomicLoad(&index[at + 3u]);
            let same = atomicLoad(&index[at + 2u]) == key.x && (wide || y == key.y);
            if (same && (!wide || same_key(row, y))) {
                return at;
            }
        }
        place = (place + 1u) & (table[1] - 1u);
    }
    return 0u;
}

// Gives the keys of four slots ranges of `matches`, of which their first words are the ends.
fn give_places(number: u32, lane: u32) {
    let words = slot_words();
    let several = atomicLoad(&index[0]) != 0u;
    var counts: array<u32, ITEMS>;
    var sum = 0u;
    for (var i = 0u; i < ITEMS; i++) {
        let slot = number * ITEMS + i;
        if (several && slot < table[1]) {
            counts[i] = atomicLoad(&index[SLOTS + slot * words + 1u]);
            sum += counts[i];
        }
    }
    let scanned = workgroup_scan(lane, sum);
    if (lane == 0u && scanned.y != 0u) {
        start = atomicAdd(&index[1], scanned.y);
    }
    workgroupBarrier();
    var end = start + scanned.x;
    for (var i = 0u; i < ITEMS; i++) {
        if (counts[i] != 0u) {
            end += counts[i];
            atomicStore(&index[SLOTS + (number * ITEMS + i) * words], end);
        }
    }
}
