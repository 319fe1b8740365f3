//! SQL to plans: the session, our rule's place among DataFusion's, the device node.
//!
//! ```text
//! session      every query's: options, memory/, files/ as tables, functions/, rules
//! analyze/     rules over logical plans: right answers where DataFusion gives others
//! rules/       rules over physical plans
//! offload/     what of a plan runs on the device
//! ```

mod analyze;
mod beside;
mod date_bin;
mod extension;
pub mod files;
mod floats;
mod functions;
pub mod guard;
pub mod memory;
mod offload;
mod options;
mod rules;
mod session;
mod zoned_types;

pub use beside::beside;
pub use date_bin::date_bin;
pub use extension::ExtensionNode;
pub use functions::dates::is_unit;
pub use offload::exec::{CpuExec, DeviceExec, decisions, played_by};
pub use offload::measured::Measured;
pub use offload::place::{Decision, Side};
pub use offload::rule::for_each_side;
pub use options::SqlOptions;
pub use session::{session, session_with};
