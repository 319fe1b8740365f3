//! What keeps rows or states between epochs: one file for each stateful operator.

pub(super) mod aggregate;
pub(super) mod asof_join;
pub(super) mod interval_join;
pub(super) mod late;
pub(super) mod lookup_table;
pub(super) mod panes;
pub(super) mod session;
pub(super) mod updating_aggregate;
pub(super) mod versioned_table;
pub(super) mod window_tables;
