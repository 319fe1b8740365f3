// Tuples of one slot -> rows of a join table's columns, behind those of the slots before.
//
// Holes: `put_row(tuple, row)`, by `word(first, words, at, tuple)` and the `put` functions.

// As `select` wrote them: each column at so many words times the capacity.
@group(0) @binding(0) var<storage, read> tuples: array<u32>;
// 0: how many tuples; 1: capacity; 2: the first row; then of each column where its values and its
// bits of validity start (0: it has none).
@group(0) @binding(1) var<storage, read> places: array<u32>;
// Bits are cleared.
@group(0) @binding(2) var<storage, read_write> columns: array<atomic<u32>>;

// Word `at` of a tuple's value in the column of `words` words that has `first` words before it.
fn word(first: u32, words: u32, at: u32, tuple: u32) -> u32 {
    return tuples[first * places[1] + tuple * words + at];
}

fn put(place: u32, at: u32, value: u32) {
    atomicStore(&columns[places[place] + at], value);
}

fn put_bit(place: u32, row: u32, bit: bool) {
    if (bit && places[place] != 0u) {
        atomicOr(&columns[places[place] + (row >> 5u)], 1u << (row & 31u));
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let stride = nwg.x * nwg.y * WORKGROUP;
    let count = places[0];
    for (var tuple = flat_group(wid, nwg) * WORKGROUP + lane; tuple < count; tuple += stride) {
        put_row(tuple, places[2] + tuple);
    }
}
