// Rows -> a bit each: whether the row passes.
//
// Holes: `process(row)`, which sets `passed`, `row_count()`.

// Bit r of word w is row 32 w + r.
@group(0) @binding(2) var<storage, read_write> bits: array<u32>;

const ITEMS: u32 = 8u;
const WORDS: u32 = WORKGROUP / 32u * ITEMS;

var<workgroup> tile_bits: array<atomic<u32>, WORDS>;

var<private> passed: bool;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = flat_group(wid, nwg);
    let rows = row_count();
    if (lane < WORDS) {
        atomicStore(&tile_bits[lane], 0u);
    }
    workgroupBarrier();
    for (var i = 0u; i < ITEMS; i++) {
        let at = i * WORKGROUP + lane;
        let row = tile * WORKGROUP * ITEMS + at;
        passed = false;
        if (row < rows) {
            process(row);
        }
        if (passed) {
            atomicOr(&tile_bits[at >> 5u], 1u << (at & 31u));
        }
    }
    workgroupBarrier();
    let word = tile * WORDS + lane;
    if (lane < WORDS && word < (rows + 31u) / 32u) {
        bits[word] = atomicLoad(&tile_bits[lane]);
    }
}
