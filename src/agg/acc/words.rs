//! Integers as words, and words as values of WGSL.

use arrow::datatypes::i256;

/// Words as one value of WGSL.
pub fn vector(words: &[String]) -> String {
    match words {
        [word] => word.clone(),
        words => format!("vec{}<u32>({})", words.len(), words.join(", ")),
    }
}

/// Words, low first, as an integer.
pub fn join(words: &[u32]) -> u128 {
    words.iter().rev().fold(0, |bits, &word| bits << 32 | u128::from(word))
}

/// Words, low first, as a signed integer.
pub fn signed(words: &[u32]) -> i256 {
    let sign = words.last().map_or(0, |last| (*last as i32 >> 31) as u8);
    let mut bytes = [sign; 32];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    i256::from_le_bytes(bytes)
}

/// The words of an integer, low first.
pub fn split<const N: usize>(bits: u128) -> [u32; N] {
    std::array::from_fn(|word| (bits >> (32 * word)) as u32)
}

/// Adds integers of as many words, with wrapping.
pub fn add_words(into: &mut [u32], from: &[u32]) {
    let mut carry = false;
    for (into, &from) in into.iter_mut().zip(from) {
        (*into, carry) = into.carrying_add(from, carry);
    }
}
