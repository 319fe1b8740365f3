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

// Index of the first cell of the states in the key's entry. Where it is not there, it is made, or
// the answer is NIL; NIL too where there is no room near its place.
fn place(key: array<u32, LIMBS>, mask: u32, make: bool) -> u32 {
    var k = key_cells(key);
    var at = first_place(key, mask);
    for (var probes = 0u; probes < PROBES_MAX; probes++) {
        let entry = at * ENTRY;
        var mine = true;
        for (var i = 0u; i < HEAD; i++) {
            let cell = key_cell(entry + i, k[i], make);
            if (u32(cell) == 0u && !make) {
                return NIL;
            }
            if (cell != k[i]) {
                mine = false;
                break;
            }
        }
        if (mine) {
            return entry + HEAD;
        }
        at = (at + 1u) & mask;
    }
    return NIL;
}

// What stands in the cell, after an attempt to put `wanted` there if it is to be made.
fn key_cell(at: u32, wanted: Cell, make: bool) -> Cell {
    var cell = atomicLoad(&tab[at]);
    // The exchange may fail without cause on some hardware; thirty-two times it does not.
    for (var tries = 0u; make && u32(cell) == 0u && tries < 32u; tries++) {
        let swap = atomicCompareExchangeWeak(&tab[at], Cell(), wanted);
        cell = select(swap.old_value, wanted, swap.exchanged);
    }
    return cell;
}
