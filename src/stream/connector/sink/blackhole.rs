//! The `blackhole` sink: rows are counted and gone, so that a benchmark measures what is before it.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;

use super::api::{Guarantee, Mode, Sink, SinkConnector, Writer};
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

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Append, Mode::Update]
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    async fn open(&self, _: Writer, _: &SchemaRef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Blackhole))
    }
}

#[async_trait]
impl Sink for Blackhole {
    async fn append(&mut self, _: &[RecordBatch], _: Option<u64>) -> Result<()> {
        Ok(())
    }
}
