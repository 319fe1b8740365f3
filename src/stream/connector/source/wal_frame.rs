//! The frames of the log of what was received: rows with their length and checksum.
//!
//! ```text
//!  length u32, rows u32, CRC-32 u32 of rows and content    little-endian
//!  content: an Arrow IPC stream of one batch
//! ```

use std::io::Read;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};

/// Bytes before the content.
pub const HEADER_BYTES: usize = 12;

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Rows that were received together.
pub struct Frame {
    pub rows: u32,
    pub bytes: Vec<u8>,
}

impl Frame {
    /// Errors: more than a frame can tell.
    pub fn of(rows: &RecordBatch) -> Result<Self> {
        let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema())?;
        writer.write(rows)?;
        let (bytes, rows) = (writer.into_inner()?, rows.num_rows());
        match (u32::try_from(rows), u32::try_from(bytes.len())) {
            (Ok(rows), Ok(_)) => Ok(Self { rows, bytes }),
            _ => Err(Error::Data(format!("{rows} rows at once are too many"))),
        }
    }

    /// As it is written.
    pub fn framed(&self) -> Vec<u8> {
        let mut framed = Vec::with_capacity(HEADER_BYTES + self.bytes.len());
        framed.extend((self.bytes.len() as u32).to_le_bytes());
        framed.extend(self.rows.to_le_bytes());
        framed.extend(self.sum().to_le_bytes());
        framed.extend(&self.bytes);
        framed
    }

    fn sum(&self) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.rows.to_le_bytes());
        sum.update(&self.bytes);
        sum.finalize()
    }

    /// The next of a file; `None` where there is no whole one.
    pub fn read(file: &mut impl Read) -> std::io::Result<Option<Self>> {
        let mut header = [0; HEADER_BYTES];
        let word = |header: &[u8; HEADER_BYTES], at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let mut bytes = Vec::new();
        if let Err(error) = file.read_exact(&mut header) {
            return match error.kind() {
                std::io::ErrorKind::UnexpectedEof => Ok(None),
                _ => Err(error),
            };
        }
        let length = word(&header, 0);
        file.take(u64::from(length)).read_to_end(&mut bytes)?;
        let frame = Self { rows: word(&header, 4), bytes };
        let whole = frame.bytes.len() == length as usize && frame.sum() == word(&header, 8);
        Ok(whole.then_some(frame))
    }

    /// Whether a whole one stands anywhere in these bytes.
    pub fn is_within(bytes: &[u8]) -> bool {
        // What an Arrow stream begins with.
        let begun =
            |at: &usize| bytes.get(at + HEADER_BYTES..at + HEADER_BYTES + 4) == Some(&[0xff; 4]);
        let whole = |at: usize| matches!(Self::read(&mut &bytes[at..]), Ok(Some(_)));
        (0..bytes.len()).filter(begun).any(whole)
    }

    /// Whether these bytes are a frame that was written to its end and is another now. What a disk
    /// has not brought to the end is too short, or has zeros in the place of what is missing.
    pub fn is_damaged(bytes: &[u8]) -> bool {
        let word = |at: usize| {
            let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
            word.map_or(0, u32::from_le_bytes)
        };
        let content = bytes.get(HEADER_BYTES..).unwrap_or_default();
        let (length, rows) = (word(0) as usize, word(4));
        let whole = Self { rows, bytes: content.to_vec() };
        if !content.is_empty() && whole.sum() == word(8) {
            return true; // but for its length
        }
        // An Arrow stream ends with four zeros.
        let missing = content.ends_with(&[0; 9]) || content.windows(SECTOR).any(is_empty);
        (length, rows) != (0, 0) && content.len() >= length && !missing
    }

    pub fn decode(&self) -> Result<RecordBatch> {
        let mut batches = StreamReader::try_new(self.bytes.as_slice(), None)?;
        let batch = batches.next().transpose()?;
        batch.ok_or_else(|| Error::Data("a frame without rows".to_string()))
    }
}

fn is_empty(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
