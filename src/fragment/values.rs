//! What twins read of arenas, value by value, and how they hash keys.

use super::arena::{self, HEADER};
use super::spec::ArenaColumn;
use crate::expr::ir::Rep;

/// No row.
pub const NIL: u32 = u32::MAX;

/// Offsets of a column from its arena's header.
fn offsets(words: &[u32], column: usize) -> (usize, usize) {
    let at = HEADER + 2 * column;
    (words[at] as usize, words[at + 1] as usize)
}

/// The value of a column at a row; `None` for NULL, and where there is no row.
pub fn load(words: &[u32], column: usize, spec: &ArenaColumn, row: u32) -> Option<u128> {
    if row == NIL {
        return None;
    }
    arena::load(words, offsets(words, column), spec, row)
}

/// The twin of `hash_word` and `hash_end` over the words of a key; NULL hashes as zeros.
pub fn hash_key(reps: &[Rep], values: &[Option<u128>]) -> u32 {
    let mut hash = 0;
    for (rep, value) in reps.iter().zip(values) {
        let value = value.unwrap_or(0);
        for word in 0..rep.words() {
            hash = hash_word(hash, (value >> (32 * word)) as u32);
        }
    }
    hash_end(hash)
}

/// See `shaders/lib/hash.wgsl`.
pub fn hash_word(hash: u32, word: u32) -> u32 {
    let k = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (hash ^ k).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

/// See `shaders/lib/hash.wgsl`.
pub fn hash_end(hash: u32) -> u32 {
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}
