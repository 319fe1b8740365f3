//! JSON that is read back: an object on a line, with a checksum that tells damage.
//!
//! ```text
//!  {"crc":1234567890,..}    CRC-32 of the line without that field
//! ```

use std::io::{Error, Result};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a line begins with that has a checksum.
const SUM: &str = "{\"crc\":";

/// An object as a line.
pub fn line(of: &impl Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_string(of)?;
    let sum = crc32fast::hash(text.as_bytes());
    let rest = text.strip_prefix('{').unwrap_or(&text);
    Ok(format!("{SUM}{sum},{rest}\n").into_bytes())
}

/// Whether a line has a checksum.
pub fn is_summed(line: &[u8]) -> bool {
    line.starts_with(SUM.as_bytes())
}

/// Reads a line; those of earlier versions have no checksum.
///
/// Errors: damage, as `InvalidData`.
pub fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T> {
    let line = line.trim_ascii_end();
    if let Some(rest) = line.strip_prefix(SUM.as_bytes()) {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (told, rest) = rest.split_at(digits);
        let mut sum = crc32fast::Hasher::new();
        sum.update(b"{");
        sum.update(rest.strip_prefix(b",").unwrap_or(rest));
        let (told, found) = (String::from_utf8_lossy(told), sum.finalize().to_string());
        if told != found {
            let text = format!("expected the checksum {told}, found {found}");
            return Err(Error::new(std::io::ErrorKind::InvalidData, text));
        }
    }
    serde_json::from_slice(line).map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Named {
        name: String,
        #[serde(default)]
        number: u64,
    }

    #[test]
    fn no_flipped_bit_gives_another_object() {
        let of = Named { name: "a, \"b\"".to_string(), number: 17 };
        let whole = line(&of).unwrap();
        assert_eq!(parse::<Named>(&whole).unwrap(), of);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = parse::<Named>(&flipped) {
                // In the name of the checksum, or the end of the line.
                assert_eq!(read, of, "{bit}");
            }
        }
        assert!(parse::<Named>(&whole[..whole.len() / 2]).is_err());
        let earlier = br#"{"name": "c"}"#;
        let named = Named { name: "c".to_string(), number: 0 };
        assert_eq!(parse::<Named>(earlier).unwrap(), named);
    }
}
