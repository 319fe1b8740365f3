// Rows -> the tuples that pass, in the order of the rows. Reduce-then-scan: phase 0 counts the
// tuples of each tile, `scan` turns counts into offsets, phase 1 writes.
//
// Holes: PHASE, `count(row)` (adds the row's tuples to `cursor`), `process(row)` (writes them at
// `cursor`, word k of a tuple at `out[k * capacity + cursor]`), `row_count()`.

@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

const ITEMS: u32 = 4u;
const COUNTS: u32 = 4u;

var<private> cursor: u32;

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
    if (PHASE == 0u && tile == 0u && lane == 0u) {
        counts[0] = tiles;
    }
    if (tile >= tiles) {
        return;
    }
    if (PHASE == 0u) {
        if (lane == 0u) {
            counts[COUNTS + tile] = sum.y;
        }
        return;
    }
    cursor = counts[COUNTS + tile] + sum.x;
    for (var i = 0u; i < ITEMS; i++) {
        if (((some >> i) & 1u) != 0u) {
            process(first + i);
        }
    }
}
