// Between two rounds of a grouped aggregation: where a leading cell of a state has risen, what was
// kept relative to the old one is shifted or dropped.
//
// Holes: HEAD, ENTRY (cells of an entry before its states, and in all), `settle(state)`.

@group(0) @binding(2) var<storage, read_write> tab: array<atomic<Cell>>;

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
        if (tab_get(entry) != 0u) {
            settle(entry + HEAD);
        }
    }
}

// Three bins: bin i takes what bin i - d held, the first d become zero.
fn tab_shift_bins(bins: u32, d: u32) {
    let by = min(d, 3u) * BIN;
    for (var at = 3u * BIN; at > 0u; at--) {
        let to = bins + at - 1u;
        if (at > by) {
            tab_keep(to, to - by);
        } else {
            tab_clear(to);
        }
    }
}
