// A hash table of groups into a larger one: every entry as it is, keys and states.
//
// Entries of `from` differ, so that an entry's place, once won, is written by one invocation only.
//
// Holes: LIMBS, ENTRY (words of an entry).

@group(0) @binding(0) var<storage, read> old_tab: array<u32>;
@group(0) @binding(1) var<storage, read_write> tab: array<atomic<u32>>;
// 0: entries of the old table; 1: entries - 1 of the new one; 2: set where an entry found no place.
@group(0) @binding(2) var<storage, read_write> sizes: array<atomic<u32>>;

const TAB: u32 = 4u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let entries = atomicLoad(&sizes[0]);
    let stride = nwg.x * nwg.y * WORKGROUP;
    for (var i = flat_group(wid, nwg) * WORKGROUP + lane; i < entries; i += stride) {
        let old = TAB + i * ENTRY;
        if (old_tab[old] != 0u) {
            var key: array<u32, LIMBS>;
            for (var limb = 0u; limb < LIMBS; limb++) {
                key[limb] = old_tab[old + limb];
            }
            let state = place(key, atomicLoad(&sizes[1]));
            if (state == NIL) {
                atomicStore(&sizes[2], 1u);
            } else {
                for (var word = LIMBS; word < ENTRY; word++) {
                    atomicStore(&tab[state - LIMBS + word], old_tab[old + word]);
                }
            }
        }
    }
}
