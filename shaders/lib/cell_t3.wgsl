// A cell of a group table of 64 bits; see `cell_t0`.

alias Cell = u64;

const BIN: u32 = 1u;

fn cell_of(words: vec2<u32>) -> u64 {
    return (u64(words.y) << 32u) | u64(words.x);
}
