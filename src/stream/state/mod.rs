//! Rows that wait: buffers in memory, their segments on the disk, and what both take.

pub mod batch_size;
pub mod buffer;
pub mod final_key;
pub(in crate::stream) mod size;
pub mod spill;
