//! SQL to plans: the session, our rule's place among DataFusion's, the device node.

pub mod files;
mod session;

pub use session::session;
