//! What survives a crash: the journal of epochs, snapshots of states, and how a run goes on from
//! them.

pub(in crate::stream) mod catalog;
pub(in crate::stream) mod compact;
pub mod journal;
pub(in crate::stream) mod recover;
pub(in crate::stream) mod replay;
pub(in crate::stream) mod snapshot;
