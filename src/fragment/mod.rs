//! A fragment: pipelines of filters, probes and one sink, as data, as WGSL and as twins.
//!
//! Never touches a device: `run` does.

pub mod spec;
pub mod intern;
pub mod key;
pub mod coder;
pub mod arena;
pub mod load;
pub mod values;
pub mod join;
pub mod text;
pub mod cells;
pub mod compact;
pub mod fold;
pub mod rounds;
pub mod twin;
