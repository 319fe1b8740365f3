//! Rows that wait: buffers in memory, their segments on the disk, and what both take.

pub mod final_key;
pub mod batch_size;
pub mod buffer;
pub(in crate::stream) mod size;
pub mod spill;
