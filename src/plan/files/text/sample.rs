//! The start of a file of text, from which its columns are told.

use std::io::{Cursor, Read};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::Bytes;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::error::{DataFusionError, Result};
use encoding_rs::Encoding;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::{GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::parse::Fault;
use super::utf8::{Utf8, Utf8Reader};
use crate::task;

/// Bytes of a file elsewhere that are fetched to tell its columns.
const SAMPLE_BYTES: u64 = 4 << 20;

/// A file as far as it is read to tell its columns.
pub struct Sample {
    from: Box<dyn Read + Send>,
    /// Whether that is all of it.
    pub whole: bool,
}

impl Sample {
    /// A file of this machine is opened, of others the start is fetched.
    pub async fn of(
        store: &Arc<dyn ObjectStore>,
        object: &ObjectMeta,
        compression: FileCompressionType,
    ) -> Result<Self> {
        // No range: there are servers that know none. What comes behind the start is not awaited.
        let parts = match store.get(&object.location).await?.payload {
            GetResultPayload::File(file, _) => {
                return Ok(Self { from: compression.convert_read(file)?, whole: true });
            }
            GetResultPayload::Stream(parts) => parts,
        };
        let packed = first_bytes(parts).await?;
        let whole = packed.len() as u64 >= object.size;
        let mut plain = Vec::new();
        let mut from = compression.convert_read(Cursor::new(packed))?.take(SAMPLE_BYTES);
        // What is packed ends in the middle.
        let read = from.read_to_end(&mut plain);
        if whole {
            read?;
        }
        let whole = whole && (plain.len() as u64) < SAMPLE_BYTES;
        Ok(Self { from: Box::new(Cursor::new(plain)), whole })
    }

    /// So many bytes of the start, as they are; what fails else fails when it is read.
    pub fn head(self, bytes: u64) -> Vec<u8> {
        let mut head = Vec::new();
        let _ = self.from.take(bytes).read_to_end(&mut head);
        head
    }

    /// As UTF-8; where it is not all of the file, up to the end of a line.
    pub fn text(mut self, named: Option<&'static Encoding>) -> Result<Box<dyn Read + Send>> {
        if self.whole {
            return Ok(Box::new(Utf8Reader::new(self.from, named)));
        }
        let mut bytes = Vec::new();
        self.from.read_to_end(&mut bytes)?;
        let text = Utf8::new(named).decode(&bytes, false).map_err(|fault| failed(&fault))?;
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1);
        Ok(Box::new(Cursor::new(text[..end].to_vec())))
    }
}

fn failed(fault: &Fault) -> DataFusionError {
    DataFusionError::ArrowError(Box::new(ArrowError::ParseError(fault.to_string())), None)
}

async fn first_bytes(
    mut parts: BoxStream<'static, object_store::Result<Bytes>>,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(part) = parts.try_next().await? {
        bytes.extend_from_slice(&part);
        if bytes.len() as u64 >= SAMPLE_BYTES {
            break;
        }
    }
    Ok(bytes)
}

/// The columns of JSON by its first rows.
pub async fn json(
    sample: Sample,
    named: Option<&'static Encoding>,
    rows: usize,
) -> Result<SchemaRef> {
    let infer = move || {
        let whole = sample.whole;
        let inferred = super::json::infer(sample.text(named)?, rows, whole);
        inferred.map(Arc::new).map_err(|why| ArrowError::JsonError(why).into())
    };
    Ok(task::blocking("reading the first rows of JSON", infer).await?)
}
