//! What tells a file's content from other content under the same name: sums of its first bytes and
//! of the last before a place.

use std::fs::{File, Metadata};
use std::io::{Read, Result, Seek, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// Bytes that are looked at, at the beginning and before the place.
const BYTES: u64 = 4096;

/// Of a file's content up to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Print {
    /// Of its first bytes, `BYTES` at most.
    head: u64,
    /// Of those before `to`.
    tail: u64,
    pub to: u64,
    /// When the file was changed last, in microseconds since 1970.
    pub time: Option<i64>,
}

/// When a file was changed last, in microseconds since 1970.
pub fn time(metadata: &Metadata) -> Option<i64> {
    let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok()
}

/// How a file stands to what was read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It begins with what was read.
    Same,
    /// It is another file.
    Other,
    /// It begins in the same way, and is another before the place.
    Changed,
}

impl Print {
    /// Of the file as it is now, up to a place or its end.
    pub fn of(path: &Path, to: u64) -> Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let (to, time) = (to.min(metadata.len()), time(&metadata));
        let length = to.min(BYTES);
        let head = sum(&mut file, 0, length)?;
        let tail = if to > BYTES { sum(&mut file, to - length, length)? } else { head };
        Ok(Self { head, tail, to, time })
    }

    /// Looks at a file again.
    pub fn compare(&self, path: &Path) -> Result<Content> {
        let now = Self::of(path, self.to)?;
        Ok(match now {
            now if now.to < self.to || now.head != self.head => Content::Other,
            now if now.tail != self.tail => Content::Changed,
            _ => Content::Same,
        })
    }
}

/// FNV-1a of some bytes and their number.
fn sum(file: &mut File, from: u64, length: u64) -> Result<u64> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    let length = (bytes.len() as u64).to_le_bytes();
    let all = length.iter().chain(&bytes);
    Ok(all.fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_content_is_told_from_more_of_the_same() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("x");
        let text: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8).collect();
        for to in [0, 10, 4096, 5000, 20_000] {
            std::fs::write(&path, &text[..to]).unwrap();
            let print = Print::of(&path, to as u64).unwrap();
            std::fs::write(&path, &text).unwrap();
            assert_eq!(print.compare(&path).unwrap(), Content::Same);
            if to == 0 {
                continue;
            }
            std::fs::write(&path, &text[..to - 1]).unwrap();
            assert_eq!(print.compare(&path).unwrap(), Content::Other);
            for (at, want) in [(0, Content::Other), (to - 1, Content::Changed)] {
                let mut other = text.clone();
                other[at] ^= 1;
                std::fs::write(&path, &other).unwrap();
                let want = if to <= 4096 { Content::Other } else { want };
                assert_eq!(print.compare(&path).unwrap(), want, "{to} {at}");
            }
        }
    }
}
