//! As-of joins: each row of the left side beside the one row of the right side that was in force
//! at its time.
//!
//! That is, of the rows with equal keys, the one whose time is the greatest that is not after the
//! left row's (or is before it). Of several at the same time it is the last of the log, by
//! partition and offset; where there is no log, the greatest by all columns in their order. So the
//! row that is chosen does not depend on the order in which rows come. A NULL among the keys, or as
//! a time, matches nothing.

pub mod exec;
pub mod node;
pub mod plan;
