//! Keys of groups: packed into limbs for a hash table, or an index among few groups.

use std::fmt::Write;

use super::fold;
use super::spec::{Aggregation, Key};
use super::text::words;
use crate::expr::ir::Rep;
use crate::expr::wgsl::Emitter;

/// How keys become an index: key `i` (its value, 0 for NULL) times the product of the sizes before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dense {
    /// Values of each key: one more than the largest.
    pub sizes: Vec<u32>,
}

impl Dense {
    pub fn groups(&self) -> u32 {
        self.sizes.iter().product()
    }

    /// Words of an entry: the group's existence, the states, their shadows.
    pub fn entry(aggregation: &Aggregation) -> usize {
        1 + aggregation.words() + fold::shadows(aggregation)
    }

    /// The index of a group's keys, given as bits.
    pub fn index(&self, keys: &[Key], values: impl Iterator<Item = Option<u128>>) -> usize {
        let (mut index, mut stride) = (0, 1);
        for ((key, value), size) in keys.iter().zip(values).zip(&self.sizes) {
            let digit = match (key.expr.rep, value) {
                (_, None) => 0,
                // NULL, false, true.
                (Rep::B1, Some(bits)) => bits as usize + 1,
                (_, Some(bits)) => bits as usize,
            };
            index += digit * stride;
            stride *= *size as usize;
        }
        index
    }

    /// The keys of a group, as bits.
    pub fn values(&self, keys: &[Key], group: u32) -> Vec<Option<u128>> {
        let mut rest = group;
        keys.iter()
            .zip(&self.sizes)
            .map(|(key, size)| {
                let digit = u128::from(rest % size);
                rest /= size;
                match key.expr.rep {
                    _ if digit == 0 => None,
                    Rep::B1 => Some(digit - 1),
                    _ => Some(digit),
                }
            })
            .collect()
    }
}

/// Bits a key takes in its limbs: the value, and one for validity where it may be NULL.
pub fn key_bits(key: &Key) -> usize {
    let value = match key.expr.rep {
        Rep::B1 => 1,
        rep => 32 * rep.words(),
    };
    value + usize::from(key.expr.nullable)
}

/// Limbs of 31 bits that the keys take.
pub fn limbs(keys: &[Key]) -> usize {
    keys.iter().map(key_bits).sum::<usize>().div_ceil(31).max(1)
}

/// Emits the keys and packs them: `let key = array<u32, LIMBS>(..)`.
pub fn emit_limbs(keys: &[Key], emitter: &mut Emitter<'_>) {
    let mut fields: Vec<(String, usize)> = Vec::new();
    for key in keys {
        let text = emitter.emit(&key.expr, "true");
        let bits = if key.expr.rep == Rep::B1 { 1 } else { 32 };
        for word in words(&key.expr, &text.value) {
            let word = match key.expr.nullable {
                true => format!("select(0u, {word}, {})", text.valid),
                false => word,
            };
            fields.push((word, bits));
        }
        if key.expr.nullable {
            fields.push((format!("select(0u, 1u, {})", text.valid), 1));
        }
    }
    let mut names = Vec::new();
    for (at, (field, bits)) in fields.into_iter().enumerate() {
        let _ = writeln!(emitter.text, "    let f{at} = {field};");
        names.push((format!("f{at}"), bits));
    }
    let limbs: Vec<String> = (0..limbs(keys)).map(|limb| limb_text(&names, limb)).collect();
    let count = limbs.len();
    let _ = writeln!(emitter.text, "    let key = array<u32, {count}>({});", limbs.join(", "));
}

/// The bits `[31 * limb, 31 * limb + 31)` of the fields laid end to end, and the top bit.
fn limb_text(fields: &[(String, usize)], limb: usize) -> String {
    let low = 31 * limb;
    let mut start = 0;
    let mut parts = Vec::new();
    for (name, bits) in fields {
        let end = start + bits;
        if start < low + 31 && end > low {
            parts.push(match start.cmp(&low) {
                std::cmp::Ordering::Less => format!("({name} >> {}u)", low - start),
                std::cmp::Ordering::Equal => name.clone(),
                std::cmp::Ordering::Greater => format!("({name} << {}u)", start - low),
            });
        }
        start = end;
    }
    let all = if parts.is_empty() { "0u".into() } else { parts.join(" | ") };
    format!("(({all}) | 0x80000000u)")
}

/// The keys of one entry from its limbs: bits and validity, in order.
pub fn unpack_limbs(keys: &[Key], limbs: &[u32]) -> Vec<Option<u128>> {
    let mut at = 0;
    let mut take = |bits: usize| {
        let (mut value, mut got) = (0u128, 0);
        while got < bits {
            let (limb, low) = ((at + got) / 31, (at + got) % 31);
            let count = (31 - low).min(bits - got);
            let part = (limbs[limb] >> low) & ((1 << count) - 1);
            value |= (part as u128) << got;
            got += count;
        }
        at += bits;
        value
    };
    keys.iter()
        .map(|key| {
            let nullable = usize::from(key.expr.nullable);
            let value = take(key_bits(key) - nullable);
            (nullable == 0 || take(1) == 1).then_some(value)
        })
        .collect()
}

/// The limbs of one key, as the kernels pack them.
pub fn pack_limbs(keys: &[Key], values: &[Option<u128>]) -> Vec<u32> {
    let mut limbs = vec![0x8000_0000u32; limbs(keys)];
    let mut at = 0;
    let mut put = |value: u128, bits: usize| {
        for bit in 0..bits {
            let position = at + bit;
            limbs[position / 31] |= (((value >> bit) & 1) as u32) << (position % 31);
        }
        at += bits;
    };
    for (key, value) in keys.iter().zip(values) {
        let nullable = usize::from(key.expr.nullable);
        put(value.unwrap_or(0), key_bits(key) - nullable);
        if nullable == 1 {
            put(value.is_some() as u128, 1);
        }
    }
    limbs
}
