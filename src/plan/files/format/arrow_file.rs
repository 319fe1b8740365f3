//! What an Arrow file claims, before it is believed: its readers take memory for as many bytes as
//! its messages say that they have, or that their packed buffers unpack to.

use std::ops::Range;
use std::sync::Arc;

use arrow::ipc::{
    Block, CompressionType, Message, MessageHeader, RecordBatch as Header, root_as_footer,
    root_as_message,
};
use bytes::Bytes;
use datafusion::error::Result;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::plan::files::error::data;

/// What a file begins and ends with.
const MAGIC: &[u8] = b"ARROW1";

/// Bytes at a file's end: the length of the footer, and the magic.
const TAIL: u64 = 10;

/// Stands before the length of a message, in all but files of old.
const CONTINUES: u32 = 0xFFFF_FFFF;

/// Bytes that one packed byte may unpack to: a block of zstd is 128 KiB, and four bytes at least.
const PACKED: u64 = 32 << 10;

/// Goes through the messages of a file: its dictionaries, and the batches that begin in a part of
/// it.
///
/// Errors: messages that lie outside of the file, or unpack to more than they can.
pub async fn check(
    store: &Arc<dyn ObjectStore>,
    object: &ObjectMeta,
    part: Range<u64>,
) -> Result<()> {
    let file = File { store, object };
    let head = file.bytes(0, (MAGIC.len() as u64).min(object.size)).await?;
    if head.as_ref() != MAGIC {
        return file.stream().await;
    }
    let Some(end) = object.size.checked_sub(TAIL) else { return Err(cut(object.size)) };
    let tail = file.bytes(end, TAIL).await?;
    let length = word(&tail, 0).map(u64::from).filter(|_| tail.ends_with(MAGIC));
    let footer = length.and_then(|length| Some((end.checked_sub(length)?, length)));
    let Some((at, length)) = footer else {
        return Err(data("expected a footer at the end of an Arrow file, found none"));
    };
    let bytes = file.bytes(at, length).await?;
    let footer = root_as_footer(&bytes)
        .map_err(|_| data("expected the footer of an Arrow file, found other bytes"))?;
    let in_part = |block: &&Block| u64::try_from(block.offset()).is_ok_and(|at| part.contains(&at));
    for block in footer.dictionaries().into_iter().flatten() {
        file.block(block, at).await?;
    }
    for block in footer.recordBatches().into_iter().flatten().filter(in_part) {
        file.block(block, at).await?;
    }
    Ok(())
}

fn cut(at: u64) -> datafusion::error::DataFusionError {
    data(format!("expected a whole message of Arrow at byte {at}, found the end of the file"))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

struct File<'a> {
    store: &'a Arc<dyn ObjectStore>,
    object: &'a ObjectMeta,
}

impl File<'_> {
    async fn bytes(&self, at: u64, length: u64) -> Result<Bytes> {
        match at.checked_add(length) {
            Some(_) if length == 0 => Ok(Bytes::new()),
            Some(end) if end <= self.object.size => {
                Ok(self.store.get_range(&self.object.location, at..end).await?)
            }
            _ => Err(cut(at)),
        }
    }

    /// A message that a footer names, before the footer.
    async fn block(&self, block: &Block, footer: u64) -> Result<()> {
        let at = u64::try_from(block.offset()).ok();
        let head = u64::try_from(block.metaDataLength()).ok();
        let body = u64::try_from(block.bodyLength()).ok();
        let (Some(at), Some(head), Some(body)) = (at, head, body) else {
            return Err(data(
                "expected offsets in the footer of an Arrow file, found other numbers",
            ));
        };
        let end = at.checked_add(head).and_then(|end| end.checked_add(body));
        if end.is_none_or(|end| end > footer) {
            return Err(cut(at));
        }
        let bytes = self.bytes(at, head).await?;
        let skipped = if word(&bytes, 0) == Some(CONTINUES) { 8 } else { 4 };
        self.message(bytes.get(skipped..).unwrap_or_default(), at + head, body).await.map(drop)
    }

    /// The messages of a stream that is stored as a file, one after another.
    async fn stream(&self) -> Result<()> {
        let mut at = 0;
        while at < self.object.size {
            let mut prefix = 4;
            let mut length = word(&self.bytes(at, 4).await?, 0);
            if length == Some(CONTINUES) {
                length = word(&self.bytes(at + 4, 4).await?, 0);
                prefix = 8;
            }
            let Some(length) = length.filter(|length| *length > 0) else { return Ok(()) };
            let body = at + prefix + u64::from(length);
            let bytes = self.bytes(at + prefix, length.into()).await?;
            at = body + self.message(&bytes, body, u64::MAX).await?;
        }
        Ok(())
    }

    /// One message, whose body may have `most` bytes; answers how many it has.
    async fn message(&self, bytes: &[u8], body: u64, most: u64) -> Result<u64> {
        let Ok(message) = root_as_message(bytes) else {
            return Err(data("expected a message of Arrow, found other bytes"));
        };
        let length = u64::try_from(message.bodyLength()).unwrap_or(u64::MAX);
        if length > most || body.checked_add(length).is_none_or(|end| end > self.object.size) {
            return Err(cut(body));
        }
        for buffer in packed(&message) {
            self.unpacks(buffer, body, length).await?;
        }
        Ok(length)
    }

    /// One packed buffer: eight bytes that say how long it is, and the rest.
    async fn unpacks(&self, (at, length): (i64, i64), body: u64, of: u64) -> Result<()> {
        let (at, length) = (u64::try_from(at).ok(), u64::try_from(length).ok());
        let (Some(at), Some(length)) = (at, length) else {
            return Err(data("expected the place of a buffer, found a negative one"));
        };
        if at.checked_add(length).is_none_or(|end| end > of) {
            return Err(data(format!("expected a buffer within a message of {of} bytes")));
        }
        if length == 0 {
            return Ok(());
        }
        let claim = self.bytes(body + at, 8.min(length)).await?;
        let claim = claim.as_ref().try_into().map(i64::from_le_bytes).unwrap_or(-2);
        match u64::try_from(claim) {
            // -1 says that it is plain.
            Err(_) if claim == -1 => Ok(()),
            Ok(claim) if claim <= length.saturating_mul(PACKED) => Ok(()),
            _ => Err(data(format!(
                "expected a buffer of {length} packed bytes, found one that is said to have \
                 {claim} when unpacked"
            ))),
        }
    }
}

/// Places and lengths of the buffers of a message, where they are packed.
fn packed(message: &Message<'_>) -> Vec<(i64, i64)> {
    let batch: Option<Header<'_>> = match message.header_type() {
        MessageHeader::DictionaryBatch => {
            message.header_as_dictionary_batch().and_then(|batch| batch.data())
        }
        _ => message.header_as_record_batch(),
    };
    let known = [CompressionType::LZ4_FRAME, CompressionType::ZSTD];
    let batch =
        batch.filter(|batch| batch.compression().is_some_and(|by| known.contains(&by.codec())));
    let buffers = batch.and_then(|batch| batch.buffers());
    buffers.into_iter().flatten().map(|buffer| (buffer.offset(), buffer.length())).collect()
}
