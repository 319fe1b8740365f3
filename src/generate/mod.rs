//! Data generators: the same arguments give the same rows, on every machine and in any order.
//!
//! A table comes in parts that can be made independently and in parallel; it is the rows of part 0,
//! then those of part 1, and so on. Nothing here writes files or knows formats.

pub mod draw;
pub mod nexmark;
pub mod samples;
pub mod tpch;
mod words;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

/// The batches of one part, in order.
pub type Batches = Box<dyn Iterator<Item = RecordBatch> + Send>;

/// A table to be made, in parts.
#[derive(Clone)]
pub struct Table {
    pub name: &'static str,
    pub schema: SchemaRef,
    /// Number of parts, at least one.
    pub parts: u64,
    make: Arc<dyn Fn(u64) -> Batches + Send + Sync>,
}

impl Table {
    pub fn new(
        name: &'static str,
        schema: SchemaRef,
        parts: u64,
        make: impl Fn(u64) -> Batches + Send + Sync + 'static,
    ) -> Self {
        Self { name, schema, parts: parts.max(1), make: Arc::new(make) }
    }

    /// The rows of one part, `part < self.parts`.
    pub fn part(&self, part: u64) -> Batches {
        (self.make)(part)
    }
}
