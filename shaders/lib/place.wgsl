// Places of keys in an open-addressing table with linear probing; see `group_hash`.

const PROBES_MAX: u32 = 64u;

fn first_place(key: array<u32, LIMBS>, mask: u32) -> u32 {
    var k = key;
    if (IDENTITY) {
        return k[0] & mask;
    }
    var h = 0u;
    for (var i = 0u; i < LIMBS; i++) {
        h = hash_word(h, k[i]);
    }
    return hash_end(h) & mask;
}

// Index of the first state word of the key's entry. Where it is not there, it is made, or the
// answer is NIL; NIL too where there is no room near its place.
fn place(key: array<u32, LIMBS>, mask: u32, make: bool) -> u32 {
    var k = key;
    var at = first_place(key, mask);
    for (var probes = 0u; probes < PROBES_MAX; probes++) {
        let entry = at * ENTRY;
        var mine = true;
        for (var i = 0u; i < LIMBS; i++) {
            let word = limb(entry + i, k[i], make);
            if (word == 0u && !make) {
                return NIL;
            }
            if (word != k[i]) {
                mine = false;
                break;
            }
        }
        if (mine) {
            return entry + LIMBS;
        }
        at = (at + 1u) & mask;
    }
    return NIL;
}

// What stands in the word, after an attempt to put `wanted` there if it is to be made.
fn limb(at: u32, wanted: u32, make: bool) -> u32 {
    var word = atomicLoad(&tab[at]);
    // The exchange may fail without cause on some hardware; thirty-two times it does not.
    for (var tries = 0u; make && word == 0u && tries < 32u; tries++) {
        let swap = atomicCompareExchangeWeak(&tab[at], 0u, wanted);
        word = select(swap.old_value, wanted, swap.exchanged);
    }
    return word;
}
