//! Random draws for one row: a stream of numbers that depends on a seed and the row's number only.

/// The additive constant and the mixing function are those of SplitMix64 (Steele, Lea and Flood,
/// "Fast splittable pseudorandom number generators", OOPSLA 2014). A counter-based generator is
/// what makes rows seekable: starting at row a billion costs what starting at row 0 costs.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The draws of one row.
pub struct Draw(u64);

impl Draw {
    /// The draws of row `row` under `seed`.
    pub fn new(seed: u64, row: u64) -> Self {
        Self(mix(mix(seed.wrapping_add(GAMMA)) ^ row.wrapping_mul(GAMMA)))
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// A number in `0..limit`; 0 where `limit` is 0. The bias is below limit / 2^64.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(limit)) >> 64) as u64
    }

    /// One of several.
    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// Appends `length` letters a to z.
    pub fn letters(&mut self, length: usize, text: &mut String) {
        /// 26^13 < 2^64: so many letters lie in one word.
        const LETTERS_PER_WORD: usize = 13;
        let mut left = length;
        while left > 0 {
            let mut word = self.word();
            let now = left.min(LETTERS_PER_WORD);
            for _ in 0..now {
                let wide = u128::from(word) * 26;
                text.push(char::from(b'a' + (wide >> 64) as u8));
                word = wide as u64;
            }
            left -= now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_never_change() {
        let words = |seed, row| {
            let mut draw = Draw::new(seed, row);
            [draw.word(), draw.word()]
        };
        assert_ne!(words(0, 0), words(0, 1));
        assert_ne!(words(0, 1), words(1, 0));
        // A file made with one version is made again, the same, by the next.
        assert_eq!(words(42, 7), [483231565967908813, 16482985722323447685]);
    }

    #[test]
    fn draws_spread_over_their_range() {
        let mut seen = [0_u32; 10];
        for row in 0..10_000 {
            seen[Draw::new(1, row).below(10) as usize] += 1;
        }
        // Binomial, sigma 30: six sigmas either way.
        assert!(seen.iter().all(|&count| (820..1180).contains(&count)), "{seen:?}");
    }

    #[test]
    fn letters_are_letters_and_as_many_as_asked() {
        let mut text = String::new();
        Draw::new(3, 4).letters(100, &mut text);
        assert_eq!(text.len(), 100);
        assert!(text.bytes().all(|letter| letter.is_ascii_lowercase()));
        let distinct: std::collections::HashSet<u8> = text.bytes().collect();
        assert!(distinct.len() > 20, "{text}");
    }
}
