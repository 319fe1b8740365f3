//! Numbers as they are written, to their last digit.

/// The value of a number's text: `digits` times ten to the power of `-scale`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digits {
    negative: bool,
    /// Without zeros before or behind; none of them is zero.
    digits: String,
    scale: i64,
}

impl Digits {
    /// Reads `[+-]12.50e3`; `None` where that is no number.
    pub fn read(text: &str) -> Option<Self> {
        let (negative, text) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, part].concat();
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = all.trim_end_matches('0');
        let zeros = all.len() - digits.len();
        let scale =
            i64::try_from(part.len() as i128 - zeros as i128 - i128::from(exponent)).ok()?;
        let digits = digits.trim_start_matches('0').to_string();
        let scale = if digits.is_empty() { 0 } else { scale };
        Some(Self { negative, digits, scale })
    }

    /// Digits behind the point that are not 0 for good.
    pub fn fraction(&self) -> i64 {
        self.scale.max(0)
    }

    /// Digits before the point.
    pub fn whole(&self) -> i64 {
        (self.digits.len() as i64).saturating_sub(self.scale).max(0)
    }

    /// Times ten to a power.
    pub fn shifted(self, places: i64) -> Self {
        let scale = if self.digits.is_empty() { 0 } else { self.scale.saturating_sub(places) };
        Self { scale, ..self }
    }

    /// As an integer; `None` where it is none, or not within 38 digits.
    pub fn integer(&self) -> Option<i128> {
        if self.scale > 0 || self.whole() > 38 {
            return None;
        }
        self.plain().parse().ok()
    }

    /// Without an exponent. It may be long: look at its digits first.
    pub fn plain(&self) -> String {
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
        let sign = if self.negative { "-" } else { "" };
        let (digits, count) = (&self.digits, self.digits.len() as i64);
        if digits.is_empty() {
            return "0".to_string();
        }
        if self.scale <= 0 {
            return format!("{sign}{digits}{}", zeros(-self.scale));
        }
        if self.scale >= count {
            return format!("{sign}0.{}{digits}", zeros(self.scale - count));
        }
        let (whole, part) =
            digits.split_at(digits.len() - usize::try_from(self.scale).unwrap_or(0));
        format!("{sign}{whole}.{part}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        for (text, plain, fraction, whole) in [
            ("0", "0", 0, 0),
            ("-0.00", "0", 0, 0),
            ("1e3", "1000", 0, 4),
            ("1.50", "1.5", 1, 1),
            ("-12.5e-2", "-0.125", 3, 0),
            ("0.1E1", "1", 0, 1),
            ("9223372036854775808", "9223372036854775808", 0, 19),
            ("+5.", "5", 0, 1),
        ] {
            let digits = Digits::read(text).unwrap();
            assert_eq!((digits.plain().as_str(), digits.fraction()), (plain, fraction), "{text}");
            assert_eq!(digits.whole(), whole, "{text}");
        }
        for text in ["", "-", "e3", "1e", "1.2.3", "0x1", "1 ", "1e99999999999999999999"] {
            assert_eq!(Digits::read(text), None, "{text}");
        }
        let whole = |text: &str| Digits::read(text).unwrap().integer();
        assert_eq!(whole("20.9"), None);
        assert_eq!(whole("1.0"), Some(1));
        assert_eq!(whole("1e999999999"), None);
        assert_eq!(whole("0e999999999"), Some(0));
    }
}
