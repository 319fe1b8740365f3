// Rows -> accumulator states per key, in one open-addressing table with linear probing.
//
// A key is LIMBS limbs of 31 bits with the top bit set, so that no limb is 0, the empty word. Each
// limb is written once, by the compare-and-swap that finds it empty; whoever loses to another key
// goes on to the next entry, whoever meets its own key shares it. The thread that has installed the
// longest prefix of a key always installs the next limb or finds it installed, so that no entry
// stays half written, no key has two entries, and nobody waits.
//
// Round 0 only installs keys. If the table is full, `tab[0]` is set, this and all later rounds and
// slots do nothing, and the host empties the table and plays the slot again: nothing is counted
// twice. Later rounds add the values.
//
// Holes: LIMBS, ENTRY (words of an entry), ROUND, `process(row)`, `row_count()`.

@group(0) @binding(2) var<storage, read_write> tab: array<atomic<u32>>;

const TAB: u32 = 4u;
const PROBES_MAX: u32 = 128u;

// Index of the first state word of the key's entry, or NIL.
fn find(key: array<u32, LIMBS>) -> u32 {
    var k = key;
    var h = 0u;
    for (var i = 0u; i < LIMBS; i++) {
        h = hash_word(h, k[i]);
    }
    var at = hash_end(h) & slot[2];
    for (var probes = 0u; probes < PROBES_MAX; probes++) {
        let entry = TAB + at * ENTRY;
        var mine = true;
        for (var i = 0u; i < LIMBS; i++) {
            if (install(entry + i, k[i]) != k[i]) {
                mine = false;
                break;
            }
        }
        if (mine) {
            return entry + LIMBS;
        }
        at = (at + 1u) & slot[2];
    }
    atomicStore(&tab[0], 1u);
    return NIL;
}

// What stands in the word after an attempt to put `limb` there.
fn install(at: u32, limb: u32) -> u32 {
    var word = atomicLoad(&tab[at]);
    // The exchange may fail without cause on some hardware; thirty-two times it does not.
    for (var tries = 0u; word == 0u && tries < 32u; tries++) {
        let swap = atomicCompareExchangeWeak(&tab[at], 0u, limb);
        word = select(swap.old_value, limb, swap.exchanged);
    }
    return word;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    if (atomicLoad(&tab[0]) != 0u) {
        return;
    }
    let stride = slot[1] * WORKGROUP;
    let rows = row_count();
    for (var row = flat_group(wid, nwg) * WORKGROUP + lane; row < rows; row += stride) {
        process(row);
    }
}
