// Rows that a group table has no room for, or whose keys do not fit how it packs them: put down, to
// be played again. See `group_hash`.

// 0: rows put down; 1: those whose keys do not fit; from word 4 on two words a row: the row, and
// the number of its first tuple that is not counted.
@group(0) @binding(3) var<storage, read_write> spill: array<atomic<u32>>;

const SPILL: u32 = 4u;

// The number of the row's next tuple, and of the first that is played.
var<private> ordinal: u32;
var<private> wanted: u32;

fn put_down(row: u32, number: u32) {
    let at = atomicAdd(&spill[0], 1u);
    atomicStore(&spill[SPILL + 2u * at], row);
    atomicStore(&spill[SPILL + 2u * at + 1u], number);
}

fn put_down_misfit(row: u32, number: u32) {
    atomicAdd(&spill[1], 1u);
    put_down(row, number);
}
