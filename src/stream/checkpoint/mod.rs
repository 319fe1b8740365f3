//! What survives a crash: the journal of epochs, snapshots of states, and how a run goes on from
//! them.

pub(super) mod catalog;
pub(super) mod compact;
pub mod journal;
pub(super) mod recover;
pub(super) mod replay;
pub(super) mod snapshot;
