//! SQL to plans: the session, our rule's place among DataFusion's, the device node.

mod aggregate;
mod describe;
mod exec;
pub mod files;
mod lower;
mod options;
mod place;
mod rule;
mod session;

pub use exec::{CpuExec, DeviceExec};
pub use options::SqlOptions;
pub use place::{Decision, Side};
pub use session::{session, session_with};
