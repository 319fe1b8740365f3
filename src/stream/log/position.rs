//! Where a reading of a log begins.

use crate::stream::connector::api::Place;
use crate::stream::time::watermark::{Clock, Forced};

/// Where a reading begins, and what is known of the log from there on.
#[derive(Debug, Clone, Default)]
pub struct Start {
    pub place: Place,
    /// As it stands before the first row.
    pub clock: Clock,
    /// Advances at or after the first row, by offset.
    pub forced: Vec<Forced>,
}
