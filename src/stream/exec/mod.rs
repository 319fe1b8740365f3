//! Leaves and other physical nodes of the plans that run anew in each epoch.

pub mod adaptive;
pub(in crate::stream) mod in_order;
pub mod input;
