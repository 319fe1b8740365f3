//! Keys of groups, packed into as few bits as their values need: limbs for a hash table, or an
//! index where the bits are few.

use std::fmt::Write;

use super::arena::MAX_BASES;
use super::load::words;
use super::spec::Key;
use crate::expr::ir::{Kind, Rep};
use crate::expr::prim;
use crate::expr::wgsl::Emitter;

/// Bits of a limb; its top bit is always set, so that no limb is the empty word.
const LIMB: usize = 31;

/// Bits in all up to which each key has exactly as many as it needs; above, a multiple of four, so
/// that few texts of kernels differ.
const EXACT_BITS: usize = 12;

/// Codes up to which a string's key is narrow: of more there are soon many more.
const MOST_CODES: u32 = 1 << 12;

/// How one key is packed: its value, then a bit that says whether it is not NULL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Field {
    /// Bits of the value.
    pub bits: usize,
    /// Number of the base that is taken from the value first; of a key that follows, what it is
    /// more.
    pub base: Option<usize>,
    /// The key that this one follows: it is that key's value and the base, and needs no bits.
    pub follows: Option<usize>,
    /// Whether a value may need more bits than there are: its row does not fit then.
    pub narrow: bool,
    /// Whether there is a bit for NULL. A string's code is 0 where it is NULL.
    pub nullable: bool,
}

/// How the keys of a group are packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packing {
    pub fields: Vec<Field>,
    /// The bases' values; no text depends on them.
    pub bases: Vec<u64>,
}

/// The least and the largest value of a key, as bits of its type; `None` where there was none.
pub type Range = Option<(u128, u128)>;

/// Whether the range of a key's values tells how many bits it needs.
pub fn has_range(key: &Key) -> bool {
    key.domain.is_none() && matches!(key.expr.rep, Rep::I32 | Rep::U32 | Rep::I64 | Rep::U64)
}

impl Packing {
    /// All bits of all keys: every row fits. Keys that follow others need none.
    pub fn full(keys: &[Key]) -> Self {
        let mut bases = Vec::new();
        let mut field = |(number, key): (usize, &Key)| {
            let (bits, nullable) = (full_bits(key.expr.rep), key.expr.nullable);
            let field = Field { bits, base: None, follows: None, narrow: false, nullable };
            match follows(keys, number).filter(|_| bases.len() < MAX_BASES) {
                Some((first, more)) => {
                    bases.push(more);
                    let base = Some(bases.len() - 1);
                    Field { bits: 0, base, follows: Some(first), nullable: false, ..field }
                }
                None => field,
            }
        };
        let fields = keys.iter().enumerate().map(&mut field).collect();
        Self { fields, bases }
    }

    /// The bits that codes below the given numbers need, and all bits of all else.
    pub fn coded(keys: &[Key], codes: &dyn Fn(usize) -> u32) -> Self {
        let mut packing = Self::full(keys);
        for (key, field) in keys.iter().zip(&mut packing.fields) {
            let codes = key.domain.map_or(u32::MAX, codes);
            if codes <= MOST_CODES {
                let bits = codes.max(2).next_power_of_two().ilog2() as usize;
                *field = Field { bits, narrow: true, nullable: false, ..field.clone() };
            }
        }
        packing
    }

    /// The same, and the bits that integers in these ranges need.
    pub fn narrow(keys: &[Key], ranges: &[Range], codes: &dyn Fn(usize) -> u32) -> Self {
        let mut packing = Self::coded(keys, codes);
        for ((key, field), range) in keys.iter().zip(&mut packing.fields).zip(ranges) {
            let (least, most) = range.unwrap_or((0, 0));
            let width = full_bits(key.expr.rep);
            let span = most.wrapping_sub(least) & (u128::MAX >> (128 - width));
            let bits = (128 - span.leading_zeros() as usize).max(1);
            let narrows = has_range(key) && bits < width && field.follows.is_none();
            if narrows && packing.bases.len() < MAX_BASES {
                (field.bits, field.narrow) = (bits, true);
                field.base = Some(packing.bases.len());
                packing.bases.push(least as u64);
            }
        }
        if packing.bits() > EXACT_BITS {
            let fields = keys.iter().zip(&mut packing.fields).filter(|(_, field)| field.narrow);
            for (key, field) in fields {
                field.bits = field.bits.next_multiple_of(4).min(full_bits(key.expr.rep));
            }
        }
        packing
    }

    /// Bits of all keys.
    pub fn bits(&self) -> usize {
        self.fields.iter().map(|field| field.bits + usize::from(field.nullable)).sum()
    }

    /// Limbs that the keys take.
    pub fn limbs(&self) -> usize {
        self.bits().div_ceil(LIMB).max(1)
    }

    /// Whether some row may not fit.
    pub fn is_narrow(&self) -> bool {
        self.fields.iter().any(|field| field.narrow)
    }

    /// All that texts of kernels depend on: the fields, without the bases' values.
    pub fn variant(&self) -> Vec<u32> {
        let field = |field: &Field| {
            let number = |number: Option<usize>| number.map_or(0, |number| number as u32 + 1);
            let flags = u32::from(field.narrow) | u32::from(field.nullable) << 1;
            [field.bits as u32, number(field.base), number(field.follows), flags]
        };
        self.fields.iter().flat_map(field).collect()
    }

    /// The same with other bases, given as words.
    pub fn with_bases(&self, words: &[u32]) -> Self {
        let pairs = words.chunks_exact(2).take(self.bases.len());
        let bases = pairs.map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32).collect();
        Self { fields: self.fields.clone(), bases }
    }

    /// The bases as words, two each.
    pub fn base_words(&self) -> Vec<u32> {
        self.bases.iter().flat_map(|base| [*base as u32, (base >> 32) as u32]).collect()
    }

    fn base(&self, field: &Field) -> u128 {
        field.base.map_or(0, |base| u128::from(self.bases[base]))
    }

    /// The limbs of one key, as the kernels pack them; `None` where it does not fit.
    pub fn pack(&self, keys: &[Key], values: &[Option<u128>]) -> Option<Vec<u32>> {
        let mut limbs = vec![1 << LIMB; self.limbs()];
        let mut at = 0;
        let mut put = |value: u128, bits: usize| {
            for bit in 0..bits {
                limbs[(at + bit) / LIMB] |= (((value >> bit) & 1) as u32) << ((at + bit) % LIMB);
            }
            at += bits;
        };
        for ((key, field), value) in keys.iter().zip(&self.fields).zip(values) {
            if field.follows.is_some() {
                continue;
            }
            let mask = u128::MAX >> (128 - full_bits(key.expr.rep));
            let digit = value.map_or(0, |value| value.wrapping_sub(self.base(field)) & mask);
            if field.bits < 128 && digit >> field.bits != 0 {
                return None;
            }
            put(digit, field.bits);
            if field.nullable {
                put(value.is_some() as u128, 1);
            }
        }
        Some(limbs)
    }

    /// The keys that some limbs hold: bits, `None` for NULL.
    pub fn unpack(&self, keys: &[Key], limbs: &[u32]) -> Vec<Option<u128>> {
        let mut at = 0;
        let mut take = |bits: usize| {
            let (mut value, mut got) = (0u128, 0);
            while got < bits {
                let (limb, low) = ((at + got) / LIMB, (at + got) % LIMB);
                let count = (LIMB - low).min(bits - got);
                let part = (limbs[limb] >> low) & ((1 << count) - 1);
                value |= (part as u128) << got;
                got += count;
            }
            at += bits;
            value
        };
        let unpack = |(key, field): (&Key, &Field)| {
            let mask = u128::MAX >> (128 - full_bits(key.expr.rep));
            let value = take(field.bits).wrapping_add(self.base(field)) & mask;
            let coded = key.domain.is_some() && !field.nullable;
            let valid = if field.nullable { take(1) == 1 } else { !coded || value != 0 };
            valid.then_some(value)
        };
        let mut values: Vec<_> = keys.iter().zip(&self.fields).map(unpack).collect();
        for (number, field) in self.fields.iter().enumerate() {
            if let Some(first) = field.follows {
                let mask = u128::MAX >> (128 - full_bits(keys[number].expr.rep));
                let more = self.base(field);
                values[number] = values[first].map(|value| value.wrapping_add(more) & mask);
            }
        }
        values
    }
}

/// The key that a key follows, and by how much: both are the same value, such as the two ends of
/// a window, but for a constant that is added. That key follows none.
fn follows(keys: &[Key], number: usize) -> Option<(usize, u64)> {
    let (first, more) = sum_of(keys, &keys[number])?;
    sum_of(keys, &keys[first]).is_none().then_some((first, more))
}

/// The key that a key is the sum of with a constant, and the constant.
fn sum_of(keys: &[Key], key: &Key) -> Option<(usize, u64)> {
    let Kind::Call(prim, args) = &key.expr.kind else { return None };
    let sums = [&prim::ADD_CHECKED_I64, &prim::ADD_I64, &prim::ADD_U64];
    let [value, more] = args.as_slice() else { return None };
    let more = match &more.kind {
        Kind::Parameter(parameter) => parameter.bits() as u64,
        Kind::Literal(Some(bits)) => *bits as u64,
        _ => return None,
    };
    if key.domain.is_some() || !sums.into_iter().any(|sum| std::ptr::eq(sum, *prim)) {
        return None;
    }
    keys.iter().position(|of| of.expr == *value).map(|first| (first, more))
}

/// Bits that all values of a key take.
pub fn full_bits(rep: Rep) -> usize {
    match rep {
        Rep::B1 => 1,
        rep => 32 * rep.words(),
    }
}

// ---------------------------------------------------------------------------------------- text

/// Emits the keys and packs them: `let key = array<u32, LIMBS>(..)`, and `let fits = ..`. `base`
/// is the text of a word of the bases.
pub fn emit(
    keys: &[Key],
    packing: &Packing,
    base: &dyn Fn(usize) -> String,
    emitter: &mut Emitter<'_>,
) {
    let mut fields: Vec<(String, usize)> = Vec::new();
    let mut tests = Vec::new();
    for (number, (key, field)) in keys.iter().zip(&packing.fields).enumerate() {
        // What it raises is raised, also where nothing else is asked of it.
        let text = emitter.emit(&key.expr, "true");
        if field.follows.is_some() {
            continue;
        }
        let value = match field.base {
            None => text.value,
            Some(at) if key.expr.rep.words() == 1 => format!("({} - {})", text.value, base(2 * at)),
            Some(at) => {
                let base = format!("vec2<u32>({}, {})", base(2 * at), base(2 * at + 1));
                format!("acc_add64({}, acc_neg64({base}))", text.value)
            }
        };
        let _ = writeln!(emitter.text, "    let k{number} = {value};");
        let guarded = |word: String| match text.valid.as_str() {
            "true" => word,
            valid => format!("select(0u, {word}, {valid})"),
        };
        let mut left = field.bits;
        for (at, word) in words(&key.expr, &format!("k{number}")).into_iter().enumerate() {
            let _ = writeln!(emitter.text, "    let k{number}_{at} = {};", guarded(word));
            let name = format!("k{number}_{at}");
            match left {
                0 => tests.push(format!("{name} == 0u")),
                1..32 if field.narrow => tests.push(format!("({name} >> {left}u) == 0u")),
                _ => {}
            }
            if left > 0 {
                fields.push((name, left.min(32)));
            }
            left -= left.min(32);
        }
        if field.nullable {
            fields.push((format!("select(0u, 1u, {})", text.valid), 1));
        }
    }
    let fits = if tests.is_empty() { "true".into() } else { tests.join(" && ") };
    let _ = writeln!(emitter.text, "    let fits = {fits};");
    let _ = writeln!(emitter.text, "    let key = {};", limbs_text(&fields));
}

/// `array<u32, LIMBS>(..)` of fields laid end to end.
pub fn limbs_text(fields: &[(String, usize)]) -> String {
    let bits: usize = fields.iter().map(|(_, bits)| bits).sum();
    let count = bits.div_ceil(LIMB).max(1);
    let limbs: Vec<String> = (0..count).map(|limb| limb_text(fields, limb)).collect();
    format!("array<u32, {count}>({})", limbs.join(", "))
}

/// The bits `[31 * limb, 31 * limb + 31)` of the fields laid end to end, and the top bit.
fn limb_text(fields: &[(String, usize)], limb: usize) -> String {
    let low = LIMB * limb;
    let mut start = 0;
    let mut parts = Vec::new();
    for (name, bits) in fields {
        let end = start + bits;
        if start < low + LIMB && end > low {
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

/// Texts of a key that was packed: its words, and whether it is not NULL.
pub struct Unpacked {
    pub words: Vec<String>,
    pub valid: String,
}

/// Emits what reads the keys from limbs, `limb(i)` being the text of one and `base(i)` that of a
/// word of the bases.
pub fn unpack_text(
    keys: &[Key],
    packing: &Packing,
    limb: &dyn Fn(usize) -> String,
    base: &dyn Fn(usize) -> String,
    out: &mut String,
) -> Vec<Unpacked> {
    let mut place = 0;
    let mut take = |bits: usize| {
        let (at, low) = (place / LIMB, place % LIMB);
        place += bits;
        let get = |at: usize| format!("({} & 0x7fffffffu)", limb(at));
        let mut text = format!("({} >> {low}u)", get(at));
        if low + bits > LIMB {
            text = format!("({text} | ({} << {}u))", get(at + 1), LIMB - low);
        }
        if bits < 32 { format!("({text} & {}u)", (1u32 << bits) - 1) } else { text }
    };
    let mut unpacked: Vec<Unpacked> = Vec::new();
    for (number, (key, field)) in keys.iter().zip(&packing.fields).enumerate() {
        if field.follows.is_some() {
            unpacked.push(Unpacked { words: Vec::new(), valid: String::new() });
            continue;
        }
        let mut left = field.bits;
        let mut words = Vec::new();
        for _ in 0..key.expr.rep.words() {
            words.push(if left > 0 { take(left.min(32)) } else { "0u".into() });
            left -= left.min(32);
        }
        let name = format!("u{number}");
        let words = match (field.base, words.len()) {
            (None, _) => words,
            (Some(at), 1) => {
                let _ = writeln!(out, "    let {name} = {} + {};", words[0], base(2 * at));
                vec![name]
            }
            (Some(at), _) => {
                let base = format!("vec2<u32>({}, {})", base(2 * at), base(2 * at + 1));
                let value = format!("vec2<u32>({})", words.join(", "));
                let _ = writeln!(out, "    let {name} = acc_add64({value}, {base});");
                vec![format!("{name}.x"), format!("{name}.y")]
            }
        };
        let valid = if field.nullable { format!("{} != 0u", take(1)) } else { "true".into() };
        unpacked.push(Unpacked { words, valid });
    }
    for (number, field) in packing.fields.iter().enumerate() {
        if let (Some(first), Some(at)) = (field.follows, field.base) {
            let Unpacked { words, valid } = &unpacked[first];
            let value = format!("vec2<u32>({})", words.join(", "));
            let more = format!("vec2<u32>({}, {})", base(2 * at), base(2 * at + 1));
            let _ = writeln!(out, "    let u{number} = acc_add64({value}, {more});");
            let (words, valid) =
                (vec![format!("u{number}.x"), format!("u{number}.y")], valid.clone());
            unpacked[number] = Unpacked { words, valid };
        }
    }
    unpacked
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::expr::ir::Expr;

    fn key(rep: Rep, nullable: bool, domain: Option<usize>) -> Key {
        Key { expr: Expr::input(0, rep, nullable), data_type: DataType::Null, domain }
    }

    fn bits(value: i64) -> u128 {
        u128::from(value as u64)
    }

    #[test]
    fn what_fits_comes_back() {
        let keys = [
            key(Rep::I64, true, None),
            key(Rep::U32, true, Some(0)),
            key(Rep::B1, true, None),
            key(Rep::F64, false, None),
        ];
        let ranges = [Some((bits(-5), bits(700))), None, None, None];
        let float = u128::from(1.5f64.to_bits());
        for packing in [
            Packing::full(&keys),
            Packing::narrow(&keys, &ranges, &|_| 9),
            Packing::coded(&keys, &|_| 9),
        ] {
            for row in [
                [Some(bits(-5)), Some(8), Some(1), Some(float)],
                [Some(bits(700)), Some(1), Some(0), Some(0)],
                [None, None, None, Some(float)],
            ] {
                let limbs = packing.pack(&keys, &row).unwrap();
                assert_eq!(limbs.len(), packing.limbs());
                assert!(limbs.iter().all(|limb| limb >> 31 == 1));
                assert_eq!(packing.unpack(&keys, &limbs), row, "{packing:?}");
            }
        }
    }

    #[test]
    fn the_end_of_a_window_follows_its_start() {
        let start = Expr::input(0, Rep::I64, true);
        let size = Expr::parameter(10, Rep::I64);
        let end = Expr::call(&prim::ADD_CHECKED_I64, vec![start.clone(), size.clone()]);
        let other = Expr::call(&prim::ADD_CHECKED_I64, vec![Expr::input(1, Rep::I64, true), size]);
        let keys =
            [end, start, other].map(|expr| Key { expr, data_type: DataType::Int64, domain: None });
        let packing = Packing::full(&keys);
        assert_eq!((packing.bits(), packing.base_words()), (2 * 65, vec![10, 0]));
        let ranges = [Some((bits(5), bits(9))), Some((bits(-5), bits(-1))), None];
        let narrow = Packing::narrow(&keys, &ranges, &|_| 9);
        assert!(narrow.bits() < packing.bits());
        for packing in [packing, narrow] {
            for row in [[Some(bits(5)), Some(bits(-5)), Some(0)], [None, None, Some(0)]] {
                let limbs = packing.pack(&keys, &row).unwrap();
                assert_eq!(packing.unpack(&keys, &limbs), row, "{packing:?}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let keys = [key(Rep::I64, false, None), key(Rep::U32, false, Some(0))];
        let packing = Packing::narrow(&keys, &[Some((bits(10), bits(25))), None], &|_| 4);
        assert_eq!((packing.bits(), packing.limbs()), (4 + 2, 1));
        assert!(packing.pack(&keys, &[Some(bits(25)), Some(3)]).is_some());
        for row in [[bits(26), 3], [bits(9), 3], [bits(10), 4]] {
            assert!(packing.pack(&keys, &row.map(Some)).is_none(), "{row:?}");
            let wider = Packing::coded(&keys, &|_| 5);
            assert!(wider.pack(&keys, &row.map(Some)).is_some(), "{row:?}");
        }
    }
}
