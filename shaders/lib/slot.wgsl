// The first two bindings of every fused kernel: the slot's arena and its status words.

@group(0) @binding(0) var<storage, read> slot: array<u32>;
// 0: faults, one bit each; 1: a row had too many matches; 2: tuples counted.
@group(0) @binding(1) var<storage, read_write> status: array<atomic<u32>>;

// Always 0, which no compiler knows.
fn zeros() -> vec2<u32> {
    return vec2<u32>(slot[6], slot[7]);
}

// Matches of joins this invocation has visited; past TRIPS_MAX the kernel gives up.
var<private> trips: u32;

fn raise(code: u32) {
    atomicOr(&status[0], 1u << code);
}

fn overflow() {
    atomicOr(&status[1], 1u);
}

// Word `word` of the entry of lookup table `table` for a string's code. Entries lie word by word:
// all first words, then all second ones.
fn lookup_word(table: u32, code: u32, word: u32) -> u32 {
    let at = slot[LOOKUPS + table];
    return slot[at + 1u + word * slot[at] + code];
}
