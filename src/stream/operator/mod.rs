//! What keeps rows or states between epochs: one file for each stateful operator.

pub(in crate::stream) mod aggregate;
pub(in crate::stream) mod asof_join;
pub(in crate::stream) mod buffered;
pub(in crate::stream) mod interval_join;
pub(in crate::stream) mod late;
pub(in crate::stream) mod lookup_table;
pub(in crate::stream) mod panes;
pub(in crate::stream) mod session;
pub(in crate::stream) mod steps;
pub(in crate::stream) mod updating_aggregate;
pub(in crate::stream) mod versioned_table;
pub(in crate::stream) mod window_tables;

use crate::stream::time::clock::Times;
use late::{Apart, Rows};

/// The rows of an epoch.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    pub rows: &'a Rows,
    pub times: Times,
    /// The same rows, where some of them came when the watermark had passed their time.
    pub apart: Option<&'a Apart>,
}
