//! SQL to plans: the session, our rule's place among DataFusion's, the device node.

mod session;

pub use session::session;
