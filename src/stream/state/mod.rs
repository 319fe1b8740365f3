//! Rows that wait: buffers in memory, their segments on the disk, and what both take.

pub mod batch_size;
pub mod buffer;
pub(super) mod size;
pub mod spill;
