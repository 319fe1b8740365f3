//! Rules over physical plans that have nothing to do with the device.

pub mod by_name;
pub mod in_order;
pub mod large_limits;
