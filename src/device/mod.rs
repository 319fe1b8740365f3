//! Who does it: opens an adapter, plays recordings. The only module that names wgpu.
//!
//! ```text
//! player       what plays recordings, whoever it is, and what it can do
//! adapter/     which adapters there are, what each can do and what its driver says
//! gpu/         the player on wgpu: one opened device, its memory, pipelines and submits
//! twin         the player on the CPU
//! around       players on another player: apart times each dispatch, replay repeats answers
//! measure/     experiments on an adapter; calibrate measures what rates keeps on the disk
//! ```

mod adapter;
pub mod apart;
pub mod around;
pub mod calibrate;
mod caught;
mod check;
pub mod fault;
pub mod gpu;
pub mod measure;
mod player;
pub mod rates;
pub mod replay;
pub mod report;
pub mod twin;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use adapter::memories::Memories;
pub use adapter::quiet::{keep_drivers_quiet, let_speak};
pub use gpu::{finish, open, open_with_tier};
pub use measure::staging;
pub use player::{AdapterKind, Capabilities, FloatExactness, MemoryUse, Player, StagingKind, Tier};
pub use twin::{capabilities as twin_capabilities, twin, twin_with};
