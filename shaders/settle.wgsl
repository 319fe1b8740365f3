// Between two rounds of a grouped aggregation: where a leading word of a state has risen, what was
// kept relative to the old one is shifted or dropped.
//
// Holes: LIMBS, ENTRY, `settle(state)`.

@group(0) @binding(2) var<storage, read_write> tab: array<atomic<u32>>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let entries = slot[2] + 1u;
    let stride = nwg.x * nwg.y * WORKGROUP;
    for (var i = flat_group(wid, nwg) * WORKGROUP + lane; i < entries; i += stride) {
        let entry = i * ENTRY;
        if (atomicLoad(&tab[entry]) != 0u) {
            settle(entry + LIMBS);
        }
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
