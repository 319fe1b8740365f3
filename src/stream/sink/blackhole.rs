//! The `blackhole` sink: rows are counted and gone, so that a benchmark measures what is before it.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;

use super::{Sink, SinkConnector, Writer};
use crate::error::Result;

/// The connector, which has no options.
#[derive(Debug)]
pub struct Blackhole;

#[async_trait]
impl SinkConnector for Blackhole {
    fn name(&self) -> &'static str {
        "blackhole"
    }

    fn keeps(&self) -> bool {
        false
    }

    fn updates(&self) -> bool {
        true
    }

    async fn open(&self, _: Writer, _: &SchemaRef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Blackhole))
    }
}

#[async_trait]
impl Sink for Blackhole {
    fn exactly_once(&self) -> bool {
        false
    }

    async fn append(&mut self, _: &[RecordBatch], _: Option<u64>) -> Result<()> {
        Ok(())
    }
}
