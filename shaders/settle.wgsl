// Between two rounds of a grouped aggregation: where a leading word of a state has risen, what was
// kept relative to the old one is shifted or dropped.
//
// Holes: LIMBS, ENTRY, `settle(state)`.

@group(0) @binding(2) var<storage, read_write> tab: array<atomic<u32>>;

const TAB: u32 = 4u;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    if (atomicLoad(&tab[0]) != 0u) {
        return;
    }
    let entries = slot[2] + 1u;
    let stride = nwg.x * nwg.y * 256u;
    for (var i = flat_group(wid, nwg) * 256u + lane; i < entries; i += stride) {
        let entry = TAB + i * ENTRY;
        if (atomicLoad(&tab[entry]) != 0u) {
            settle(entry + LIMBS);
        }
    }
}
