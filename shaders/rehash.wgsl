// A table of groups into a hash table, larger or with other packed keys; states stay as they are.
//
// Groups differ, so that an entry's place, once won, is written by one invocation only.
//
// Holes: OLD_HEAD, OLD_ENTRY (cells of an entry before its states, and in all), LIMBS, HEAD, ENTRY,
// IDENTITY of the new table, STATES (cells behind the head), `key_cells(limbs)`,
// `packed(entry, number)`.

@group(0) @binding(0) var<storage, read> old_tab: array<Cell>;
@group(0) @binding(1) var<storage, read_write> tab: array<atomic<Cell>>;
// 0: entries of the old table; 1: entries - 1 of the new one; 2: set where an entry found no place;
// from word 4 on the bases of the old keys.
@group(0) @binding(2) var<storage, read_write> sizes: array<atomic<u32>>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let entries = atomicLoad(&sizes[0]);
    let stride = nwg.x * nwg.y * WORKGROUP;
    for (var i = flat_group(wid, nwg) * WORKGROUP + lane; i < entries; i += stride) {
        let old = i * OLD_ENTRY;
        if (u32(old_tab[old]) != 0u) {
            let state = place(packed(old, i), atomicLoad(&sizes[1]), true);
            if (state == NIL) {
                atomicStore(&sizes[2], 1u);
            } else {
                for (var cell = 0u; cell < STATES; cell++) {
                    atomicStore(&tab[state + cell], old_tab[old + OLD_HEAD + cell]);
                }
            }
        }
    }
}
