//! The mergeable, reproducible sum of floats: the same addends give the same bits, in any order,
//! split into any batches, on any device.
//!
//! After Demmel and Nguyen, *Parallel Reproducible Summation* (IEEE Transactions on Computers 64,
//! 2015), with integer bins in place of their float ones.
//!
//! # The state
//!
//! Every finite `f64` is an integer multiple of 2^-1074, of at most 2098 bits. Bin `b` covers bits
//! `32 b .. 32 b + 32` of that integer, for every addend alike: the boundaries are *absolute*, so
//! 66 bins cover all of `f64`. An addend is cut into one unsigned 32-bit slice per bin (a mantissa
//! of 53 bits meets at most three), and each slice is added, with the sign of the addend, to the
//! integer that the bin holds.
//!
//! Only three bins are kept: `top - 1`, `top - 2` and `top - 3`, where `top - 1` is the highest bin
//! in which any addend so far had its leading bit. When `top` rises, the bins move down by as much,
//! and what falls off is dropped whole. Nothing is ever carried from one bin to the next before the
//! end.
//!
//! # Why the order does not matter
//!
//! The final state is a function of the multiset of addends: `top` is a maximum, and bin `b` with
//! `top - 3 <= b < top` holds the sum over *all* addends of their slices in `b`. For take one
//! addend and one of its slices, in such a bin `b`. When it was added, `top` (raised for it) was no
//! larger than the final one, so `b >= top - 3` already held; and `b < top`, since no slice lies
//! above its addend's leading bit. So the slice was added, not cut off. Later `top` never exceeded
//! the final one, so `b` never fell off. Sums of integers do not depend on order or grouping, and
//! merging two states (align to the higher `top`, drop what falls off, add bin by bin) is the same
//! argument for many addends at once. A carry from bin to bin would break it: part of a bin that
//! is dropped later would have been saved, or not, by the moment of the carry.
//!
//! # How exact it is
//!
//! Let M be the largest |addend|, of n. Its leading bit lies in bin `top - 1`, so in units of
//! 2^-1074 `M >= 2^(32 (top - 1))`, while what an addend loses lies below bin `top - 3`, so is less
//! than `2^(32 (top - 3)) <= 2^-64 M`. Hence, before the one rounding to nearest even at the end,
//! **the error is below n * 2^-64 * M**; it is zero if no addend has a bit more than 64 places
//! below the leading bit of M, and always if M < 2^-978. The plain loop's bound is about
//! n * 2^-53 times the sum of all |addend|.
//!
//! # How much it holds
//!
//! A slice is below 2^32, so a 64-bit bin is safe up to [`DEVICE_ADDENDS`] = 2^31 addends, and a
//! device table must be merged into the host's states before it has taken more. Here an 8-bit
//! number beside each bin counts how often it wrapped (the pair is unique: wraps * 2^64 + bin, the
//! bin signed), which holds 2^38 addends of the worst kind. Beyond that the flag [`FULL`] is set
//! for good, and [`FloatSum::value`] refuses. It never wraps unseen.

use crate::error::{Error, Result};

/// Words of a state: `[flags, top and wraps, bin0 lo, hi, bin1 lo, hi, bin2 lo, hi]`, where bin0 is
/// `top - 1`, and word 1 has `top` in its low byte and the signed wraps of bin0, bin1, bin2 in the
/// next three. Kernels, which stay below [`DEVICE_ADDENDS`], see `top` alone in word 1. All zero is
/// the sum of nothing.
pub const WORDS: usize = 8;

/// Addends, of the worst kind, that a bin of 64 bits holds without wrapping.
pub const DEVICE_ADDENDS: u64 = 1 << 31;

/// Flag: there was an addend.
pub const SEEN: u32 = 1;
/// Flag: a NaN was among the addends.
pub const NAN: u32 = 2;
/// Flag: plus infinity was.
pub const PLUS_INFINITY: u32 = 4;
/// Flag: minus infinity was.
pub const MINUS_INFINITY: u32 = 8;
/// Flag: more was added than the bins hold.
pub const FULL: u32 = 16;

/// Bits of a mantissa, with the hidden one.
const MANTISSA_BITS: u32 = 53;
/// Bins that a state keeps.
const KEPT: usize = 3;
/// Bins that cover all of `f64`.
pub(super) const BINS: usize = 66;

/// One addend, cut at the boundaries of the bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slices {
    /// 1 + the bin of the leading bit; 0 for zeros, NaN and infinities, which touch no bin.
    pub top: u32,
    /// [`SEEN`], with [`NAN`] or the infinity it is.
    pub flags: u32,
    /// Of bin `top - 1` and the next two below it. Those of bins that do not exist are zero.
    pub slices: [u32; KEPT],
    /// The slices count as negative.
    pub negative: bool,
}

/// Cuts one `f64`, given as bits. `shaders/lib/float_sum.wgsl` does the same in words of 32 bits.
pub fn slices(bits: u64) -> Slices {
    let negative = bits >> 63 == 1;
    let exponent = exponent(bits);
    let fraction = bits & ((1 << 52) - 1);
    if exponent == 0x7ff {
        let flag = match (fraction, negative) {
            (0, false) => PLUS_INFINITY,
            (0, true) => MINUS_INFINITY,
            _ => NAN,
        };
        return Slices { top: 0, flags: SEEN | flag, slices: [0; KEPT], negative: false };
    }
    // |x| = mantissa * 2^place units of 2^-1074; subnormals have place 0 and no hidden bit.
    let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
    let place = exponent.saturating_sub(1);
    // At most 53 + 31 bits: the slices of the bins lowest, lowest + 1 and lowest + 2.
    let wide = u128::from(mantissa) << (place % 32);
    let [w0, w1, w2] = [wide as u32, (wide >> 32) as u32, (wide >> 64) as u32];
    let lowest = place / 32;
    let (top, slices) = match (w2, w1, w0) {
        (0, 0, 0) => (0, [0, 0, 0]),
        (0, 0, _) => (lowest + 1, [w0, 0, 0]),
        (0, _, _) => (lowest + 2, [w1, w0, 0]),
        _ => (lowest + 3, [w2, w1, w0]),
    };
    Slices { top, flags: SEEN, slices, negative }
}

fn exponent(bits: u64) -> u32 {
    (bits >> 52) as u32 & 0x7ff
}

/// Whether finite numbers of this exponent have no bit in bin `top` and above.
fn fits(exponent: u32, top: u8) -> bool {
    exponent.saturating_sub(1) + MANTISSA_BITS <= 32 * u32::from(top)
}

/// The slices, with sign, of a number that [`fits`] in bins `top - 1`, `top - 2` and `top - 3`: one
/// shift, without asking in which bin it begins.
#[inline]
fn cut_below(bits: u64, top: u8) -> [i64; KEPT] {
    let exponent = exponent(bits);
    let hidden = u64::from(exponent > 0) << 52;
    let mantissa = u128::from(bits & ((1 << 52) - 1) | hidden);
    // Places above 32 bits below the lowest of the three, so that most shifts are to the left.
    let up = exponent.saturating_sub(1) as i32 + 32 - 32 * (i32::from(top) - KEPT as i32);
    let wide = match u32::try_from(up) {
        Ok(up) => mantissa << up >> 32,
        Err(_) => mantissa >> (32 - up).min(127),
    };
    let sign = (bits as i64) >> 63;
    [wide >> 64, wide >> 32, wide].map(|slice| (i64::from(slice as u32) ^ sign) - sign)
}

/// The state, unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FloatSum {
    /// Of bins `top - 1`, `top - 2`, `top - 3`: the sum of slices, modulo 2^64.
    bins: [i64; KEPT],
    /// How often each bin wrapped: its sum is `wraps * 2^64 + bin`.
    wraps: [i8; KEPT],
    /// 1 + the highest bin in which an addend had its leading bit.
    top: u8,
    flags: u8,
}

impl FloatSum {
    /// The sum of nothing.
    pub const EMPTY: Self = Self { bins: [0; KEPT], wraps: [0; KEPT], top: 0, flags: 0 };

    /// Adds one number.
    #[inline]
    pub fn add(&mut self, addend: f64) {
        let bits = addend.to_bits();
        let exponent = exponent(bits);
        if exponent == 0x7ff || !fits(exponent, self.top) {
            return self.add_cut(&slices(bits));
        }
        self.flags |= SEEN as u8;
        for (bin, slice) in cut_below(bits, self.top).into_iter().enumerate() {
            self.add_to(bin, slice);
        }
    }

    /// Adds one number that was cut.
    #[inline(never)]
    fn add_cut(&mut self, cut: &Slices) {
        self.flags |= cut.flags as u8;
        if cut.top == 0 {
            return;
        }
        self.raise(cut.top as u8);
        let below = usize::from(self.top) - cut.top as usize;
        for (bin, &slice) in (below..KEPT).zip(&cut.slices) {
            let slice = i64::from(slice);
            self.add_to(bin, if cut.negative { -slice } else { slice });
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.flags |= other.flags;
        self.raise(other.top);
        let below = usize::from(self.top - other.top);
        for (bin, from) in (below..KEPT).zip(0..) {
            self.add_to(bin, other.bins[from]);
            self.add_wraps(bin, other.wraps[from]);
        }
    }

    /// The sum, rounded once, to nearest even; `None` of no addends. Zero is plus zero. Sums beyond
    /// the largest `f64` are infinite; opposite infinities or a NaN make NaN.
    ///
    /// Errors: more addends than the state holds (at least 2^38).
    pub fn value(&self) -> Result<Option<f64>> {
        let flags = u32::from(self.flags);
        if flags & SEEN == 0 {
            return Ok(None);
        }
        const BOTH: u32 = PLUS_INFINITY | MINUS_INFINITY;
        if flags & NAN != 0 || flags & BOTH == BOTH {
            return Ok(Some(f64::NAN));
        }
        if flags & BOTH != 0 {
            let plus = flags & PLUS_INFINITY != 0;
            return Ok(Some(if plus { f64::INFINITY } else { f64::NEG_INFINITY }));
        }
        if flags & FULL != 0 {
            return Err(Error::user(
                "a sum of floats took more than 2^38 values in one group, more than its state \
                 holds: split the group, or SET thalweg.float_sum = 'fast'",
            ));
        }
        Ok(Some(self.round()))
    }

    /// Reads a state of [`WORDS`] words.
    pub fn from_words(words: &[u32]) -> Self {
        let bin = |at: usize| (u64::from(words[at + 1]) << 32 | u64::from(words[at])) as i64;
        let [top, wraps @ ..] = words[1].to_le_bytes();
        Self {
            bins: [bin(2), bin(4), bin(6)],
            wraps: wraps.map(|wraps| wraps as i8),
            top,
            flags: words[0] as u8,
        }
    }

    pub fn to_words(self) -> [u32; WORDS] {
        let [w0, w1, w2] = self.wraps.map(|wraps| wraps as u8);
        let [b0, b1, b2] = self.bins.map(|bin| [bin as u32, (bin >> 32) as u32]);
        let tops = u32::from_le_bytes([self.top, w0, w1, w2]);
        [u32::from(self.flags), tops, b0[0], b0[1], b1[0], b1[1], b2[0], b2[1]]
    }

    /// The state whose bins are given in full, bin `top - 1` first.
    pub(super) fn from_bins(top: usize, bins: [i128; KEPT], mut flags: u32) -> Self {
        let wraps = bins.map(|bin| {
            let wraps = (bin - i128::from(bin as i64)) >> 64;
            i8::try_from(wraps).unwrap_or_else(|_| {
                flags |= FULL;
                0
            })
        });
        Self { bins: bins.map(|bin| bin as i64), wraps, top: top as u8, flags: flags as u8 }
    }

    /// Makes room for leading bits in bin `top - 1`.
    #[inline]
    fn raise(&mut self, top: u8) {
        if top <= self.top {
            return;
        }
        let by = usize::from(top - self.top);
        for bin in (0..KEPT).rev() {
            let from = bin.checked_sub(by);
            self.bins[bin] = from.map_or(0, |from| self.bins[from]);
            self.wraps[bin] = from.map_or(0, |from| self.wraps[from]);
        }
        self.top = top;
    }

    #[inline]
    fn add_to(&mut self, bin: usize, value: i64) {
        let (sum, wrapped) = self.bins[bin].overflowing_add(value);
        self.bins[bin] = sum;
        if wrapped {
            self.add_wraps(bin, if value < 0 { -1 } else { 1 });
        }
    }

    #[inline]
    fn add_wraps(&mut self, bin: usize, wraps: i8) {
        match self.wraps[bin].checked_add(wraps) {
            Some(sum) => self.wraps[bin] = sum,
            None => self.flags |= FULL as u8,
        }
    }

    /// What the bins add up to: now they may carry.
    fn round(&self) -> f64 {
        let bins: [i128; KEPT] = std::array::from_fn(|bin| {
            (i128::from(self.wraps[bin]) << 64) + i128::from(self.bins[bin])
        });
        let (high, low) = carry(bins);
        let negative = high < 0;
        let (high, low) = if negative { carry(bins.map(|bin| -bin)) } else { (high, low) };
        // |high| < 2^72: 16 bits off the low end leave it within 128; a sticky bit stands for them.
        let (number, off) = if high >> 64 == 0 {
            ((high as u128) << 64 | u128::from(low), 0)
        } else {
            let sticky = u128::from(low & 0xffff != 0);
            ((high as u128) << 48 | u128::from(low >> 16) | sticky, 16)
        };
        let magnitude = round_to_f64(number, off + 32 * (i32::from(self.top) - KEPT as i32));
        if negative { -magnitude } else { magnitude }
    }
}

/// The bins' sum as `high * 2^64 + low`, in units of the lowest.
fn carry([top, middle, bottom]: [i128; KEPT]) -> (i128, u64) {
    let middle = middle + (bottom >> 32);
    let low = (middle as u64) << 32 | bottom as u64 & 0xffff_ffff;
    (top + (middle >> 32), low)
}

/// `number * 2^(place - 1074)`, rounded to nearest even. Where `place` is negative, `number` has
/// that many zeros at its low end (the bins below 2^-1074, which nothing can touch).
fn round_to_f64(number: u128, place: i32) -> f64 {
    let (number, mut place) = match u32::try_from(place) {
        Ok(place) => (number, place),
        Err(_) => (number >> place.unsigned_abs(), 0),
    };
    let excess = (u128::BITS - number.leading_zeros()).saturating_sub(MANTISSA_BITS);
    let mut mantissa = (number >> excess) as u64;
    if excess > 0 {
        let rest = number & ((1 << excess) - 1);
        let half = 1 << (excess - 1);
        if rest > half || (rest == half && mantissa & 1 == 1) {
            mantissa += 1;
        }
        place += excess;
    }
    if mantissa == 0 {
        return 0.0;
    }
    // Normal numbers have the leading bit at 52; what cannot get there is subnormal, and exact. A
    // mantissa rounded up to 2^53 moves down, losing a zero.
    let lead = mantissa.ilog2();
    if lead > 52 {
        mantissa >>= 1;
        place += 1;
    } else {
        let up = place.min(52 - lead);
        mantissa <<= up;
        place -= up;
    }
    if mantissa >> 52 == 0 {
        return f64::from_bits(mantissa);
    }
    if place + 1 >= 0x7ff {
        return f64::INFINITY;
    }
    f64::from_bits(u64::from(place + 1) << 52 | (mantissa & ((1 << 52) - 1)))
}

#[cfg(test)]
mod tests;
