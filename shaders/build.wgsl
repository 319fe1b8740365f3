// Rows of a join's build side -> chains by hash of the key: the head of a bucket is exchanged for
// the row, the row's link is what stood there. Row r stands as r + 1; 0 ends a chain.
//
// Holes: `key_hash(row)`, `key_valid(row)`.

@group(0) @binding(0) var<storage, read_write> table: array<atomic<u32>>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let rows = atomicLoad(&table[0]);
    let mask = atomicLoad(&table[1]);
    let heads = atomicLoad(&table[2]);
    let next = atomicLoad(&table[3]);
    let stride = nwg.x * nwg.y * WORKGROUP;
    for (var row = flat_group(wid, nwg) * WORKGROUP + lane; row < rows; row += stride) {
        if (key_valid(row)) {
            let before = atomicExchange(&table[heads + (key_hash(row) & mask)], row + 1u);
            atomicStore(&table[next + row], before);
        }
    }
}
