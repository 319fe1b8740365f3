// Rows -> the tuples that pass, in the order of the rows.
//
// In one pass (phase 2) each tile of rows counts its tuples, takes room for them behind those of
// the tiles that were there before it, and writes them: the rows are read from memory once, and
// who reads the tuples puts the tiles in order. Where they are to stay on the device: phase 0
// counts the tuples of each tile, `scan` turns counts into offsets, phase 1 writes.
//
// Holes: PHASE, `count(row)` (adds the row's tuples to `cursor`), `process(row)` (writes them at
// `cursor`, each column at so many words times the capacity), `row_count()`.

// 0: tiles; 1: tuples, once `scan` has run; from word 4 on a word a tile: its tuples, or their
// offset once `scan` has run. In one pass two: where its tuples start, and how many they are.
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

const ITEMS: u32 = 4u;
const COUNTS: u32 = 4u;

const COUNT: u32 = 0u;
const WRITE: u32 = 1u;
const ONE_PASS: u32 = 2u;

var<private> cursor: u32;
var<workgroup> tile_start: u32;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = flat_group(wid, nwg);
    let rows = row_count();
    let first = (tile * WORKGROUP + lane) * ITEMS;
    cursor = 0u;
    var some = 0u;
    for (var i = 0u; i < ITEMS; i++) {
        if (first + i < rows) {
            let before = cursor;
            count(first + i);
            some |= select(0u, 1u << i, cursor > before);
        }
    }
    let sum = workgroup_scan(lane, cursor);
    let tiles = (rows + WORKGROUP * ITEMS - 1u) / (WORKGROUP * ITEMS);
    if (PHASE == COUNT && tile == 0u && lane == 0u) {
        counts[0] = tiles;
    }
    if (PHASE == ONE_PASS) {
        if (lane == 0u && tile < tiles) {
            let start = atomicAdd(&status[2], sum.y);
            counts[COUNTS + 2u * tile] = start;
            counts[COUNTS + 2u * tile + 1u] = sum.y;
            tile_start = start;
        }
        workgroupBarrier();
    }
    if (tile >= tiles) {
        return;
    }
    if (PHASE == COUNT) {
        if (lane == 0u) {
            counts[COUNTS + tile] = sum.y;
        }
        return;
    }
    if (PHASE == WRITE) {
        cursor = counts[COUNTS + tile] + sum.x;
    } else {
        cursor = tile_start + sum.x;
    }
    for (var i = 0u; i < ITEMS; i++) {
        if (((some >> i) & 1u) != 0u) {
            process(first + i);
        }
    }
}
