//! The twins of what kernels do with the index of a build side.

use super::super::arena::{
    H_ROWS, T_FIELDS_WORDS, T_FORM, T_MATCHES, T_SEVERAL, T_SLOTS, T_SLOTS_AT,
};
use super::super::spec::Table;
use super::super::values::{self, hash_end, hash_word};
use super::index::{BITMAP, DIRECT, INDEX_HEADER, Lookup, WIDE, fields_at};
use super::payload;
use crate::expr::ir::Rep;

/// The packed key; `None` where no row of the build side has it.
fn packed(words: &[u32], table: &Table, lookup: Lookup, keys: &[Option<u128>]) -> Option<[u32; 2]> {
    let reps = table.keys.iter().map(|column| table.columns[*column].rep);
    if words[T_FORM] & WIDE != 0 {
        let reps: Vec<Rep> = reps.collect();
        return Some([values::hash_key(&reps, keys), 0]);
    }
    let mut key = 0;
    for (number, (rep, value)) in reps.zip(keys).enumerate() {
        let at = fields_at(table) + T_FIELDS_WORDS * number;
        let pair = |low: usize| u64::from(words[at + low]) | u64::from(words[at + low + 1]) << 32;
        let digit = match value {
            None => 0,
            Some(value) => {
                let low = *value as u64;
                if rep == Rep::I128 && i128::from(low as i64) != *value as i128 {
                    return None;
                }
                let all = u64::MAX >> (64 - 32 * rep.words().min(2));
                let digit = low.wrapping_sub(pair(0)) & all;
                if digit > pair(2) {
                    return None;
                }
                digit.wrapping_add(u64::from(lookup.null_equals_null))
            }
        };
        key |= digit.checked_shl(words[at + 4]).unwrap_or(0);
    }
    Some([key as u32, (key >> 32) as u32])
}

/// Where among the slots a key has its own, or an empty one that would be it.
fn slot_of(
    words: &[u32],
    table: &Table,
    slots: &[u32],
    key: [u32; 2],
    keys: &[Option<u128>],
) -> usize {
    if words[T_FORM] & DIRECT != 0 {
        return payload::slot_words(table, true) * key[0] as usize;
    }
    let wide = words[T_FORM] & WIDE != 0;
    let same = |slot: &[u32]| match wide {
        true => row_keys(words, table, slot[3]) == keys,
        false => slot[3] == key[1],
    };
    let hash = if wide { key[0] } else { hash_end(hash_word(hash_word(0, key[0]), key[1])) };
    let mut place = hash & (words[T_SLOTS] - 1);
    loop {
        let at = payload::slot_words(table, false) * place as usize;
        let slot = &slots[at..at + 4];
        if slot[1] == 0 || (slot[2] == key[0] && same(slot)) {
            return at;
        }
        place = (place + 1) & (words[T_SLOTS] - 1);
    }
}

/// The rows of a build side that have a key, in the order of the index; of an index for existence
/// any row.
pub fn find(words: &[u32], table: &Table, lookup: Lookup, keys: &[Option<u128>]) -> Vec<u32> {
    let Some(key) = packed(words, table, lookup, keys) else { return Vec::new() };
    let slots = words[T_SLOTS_AT] as usize;
    if words[T_FORM] & BITMAP != 0 {
        let bit = words[slots + key[0] as usize / 32] >> (key[0] % 32) & 1;
        return vec![0; bit as usize];
    }
    let slot = slots + slot_of(words, table, &words[slots..], key, keys);
    let (first, count) = (words[slot], words[slot + 1]);
    if lookup.existence {
        return vec![0; count.min(1) as usize];
    }
    match words[T_SEVERAL] {
        0 => (0..count).map(|_| first - 1).collect(),
        _ => words[(words[T_MATCHES] + first) as usize..][..count as usize].to_vec(),
    }
}

/// The key of a row of the build side.
fn row_keys(words: &[u32], table: &Table, row: u32) -> Vec<Option<u128>> {
    let load = |column: &usize| values::load(words, *column, &table.columns[*column], row);
    table.keys.iter().map(load).collect()
}

/// The twin of `build`: one phase over an arena and its index.
pub fn build(table: &Table, lookup: Lookup, phase: u32, words: &[u32], index: &mut [u32]) {
    match phase {
        1 => give_places(words, table, index),
        2 if index[0] == 0 => {}
        _ => {
            for row in 0..words[H_ROWS] {
                let keys = row_keys(words, table, row);
                if !lookup.null_equals_null && keys.iter().any(Option::is_none) {
                    continue;
                }
                let key = packed(words, table, lookup, &keys).unwrap_or_default();
                if words[T_FORM] & BITMAP != 0 {
                    index[INDEX_HEADER + key[0] as usize / 32] |= 1 << (key[0] % 32);
                    continue;
                }
                let slots = &index[INDEX_HEADER..];
                let at = INDEX_HEADER + slot_of(words, table, slots, key, &keys);
                match phase {
                    0 => put_row(words, index, at, key, row),
                    _ => put_match(words, index, at, row),
                }
            }
        }
    }
}

/// Counts a row in its key's slot.
fn put_row(words: &[u32], index: &mut [u32], at: usize, key: [u32; 2], row: u32) {
    if words[T_FORM] & DIRECT == 0 && index[at + 1] == 0 {
        let second = if words[T_FORM] & WIDE != 0 { row } else { key[1] };
        index[at + 2..at + 4].copy_from_slice(&[key[0], second]);
    }
    index[at] = row + 1;
    index[at + 1] += 1;
    if index[at + 1] > 1 {
        index[0] = 1;
    }
}

/// Writes a row where its key's rows stand.
fn put_match(words: &[u32], index: &mut [u32], at: usize, row: u32) {
    index[at] -= 1;
    let matches = words[T_MATCHES] - words[T_SLOTS_AT];
    index[INDEX_HEADER + (matches + index[at]) as usize] = row;
}

fn give_places(words: &[u32], table: &Table, index: &mut [u32]) {
    if index[0] == 0 {
        return;
    }
    let slot_words = payload::slot_words(table, words[T_FORM] & DIRECT != 0);
    let slots = words[T_SLOTS] as usize;
    let mut end = 0;
    for slot in index[INDEX_HEADER..][..slot_words * slots].chunks_exact_mut(slot_words) {
        if slot[1] != 0 {
            end += slot[1];
            slot[0] = end;
        }
    }
    index[1] = end;
}
