// A group table -> a column for each key and accumulator, in the order of the entries. As in
// `select`: phase 0 counts the groups of each tile of entries, `scan` turns counts into offsets,
// phase 1 writes.
//
// Holes: PHASE, ENTRY (words of an entry; the first is 0 where it is empty),
// `put_entry(entry, number, at)`.

@group(0) @binding(0) var<storage, read> tab: array<u32>;
// 0: tiles; 1: groups, once `scan` has run; 2: entries; then a word a tile.
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
// Bits of validity, cleared.
@group(0) @binding(3) var<storage, read_write> bits: array<atomic<u32>>;
// Of the keys.
@group(0) @binding(4) var<storage, read> bases: array<u32>;

const ITEMS: u32 = 4u;
const COUNTS: u32 = 4u;

var<private> groups: u32;

// Words of a column, up to the next column's start.
fn aligned(words: u32) -> u32 {
    return (words + 15u) & ~15u;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = flat_group(wid, nwg);
    let entries = counts[2];
    let first = (tile * WORKGROUP + lane) * ITEMS;
    var some = 0u;
    for (var i = 0u; i < ITEMS; i++) {
        if (first + i < entries && tab[(first + i) * ENTRY] != 0u) {
            some |= 1u << i;
        }
    }
    let sum = workgroup_scan(lane, countOneBits(some));
    if (tile >= counts[0]) {
        return;
    }
    if (PHASE == 0u) {
        if (lane == 0u) {
            counts[COUNTS + tile] = sum.y;
        }
        return;
    }
    groups = counts[1];
    var at = counts[COUNTS + tile] + sum.x;
    for (var i = 0u; i < ITEMS; i++) {
        if (((some >> i) & 1u) != 0u) {
            put_entry((first + i) * ENTRY, first + i, at);
            at += 1u;
        }
    }
}
