//! As-of joins: each row of the left side beside the one row of the right side that was in force
//! at its time.
//!
//! That is, of the rows with equal keys, the one whose time is the greatest that is not after the
//! left row's (or is before it). Of several at the same time it is the last of the log, by
//! partition and offset; where there is no log, the greatest by all columns in their order. So the
//! row that is chosen does not depend on the order in which rows come. A NULL among the keys, or as
//! a time, matches nothing.

mod exec;
mod node;
mod plan;
#[cfg(test)]
mod tests;
mod versions;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};

use crate::error::{Error, Result};

pub use exec::AsOfPlanner;
pub use node::AsOfNode;
pub use plan::{AsOfRelations, is_as_of};
pub use versions::Versions;

/// What an as-of join compares, by the places of columns.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Of the right rows.
    right: SchemaRef,
    /// Of the result: the columns of the left, then those of the right.
    output: SchemaRef,
    /// Columns that are equal, left and right, of the same type.
    keys: Vec<(usize, usize)>,
    /// The time of each side, of the same type.
    times: (usize, usize),
    /// Columns of the right that decide between rows of the same time.
    ties: Vec<usize>,
    /// Whether a right row of the left row's own time is none of its.
    before: bool,
    /// Whether left rows without a match are kept, with NULLs.
    outer: bool,
}

impl Spec {
    /// The type of both times.
    fn time(&self) -> &DataType {
        self.right.field(self.times.1).data_type()
    }

    /// A time in microseconds as ticks of the times; `None` where no stream has such times.
    fn ticks_of(&self, us: i64) -> Option<i64> {
        match self.time() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => Some(us),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(us.saturating_mul(1_000)),
            _ => None,
        }
    }
}

/// A column of times in ticks.
fn ticks(column: &ArrayRef) -> Result<Int64Array> {
    Ok(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// Errors: a type whose values are not whole ticks.
fn check_time(data_type: &DataType) -> Result<()> {
    use DataType::{Date32, Date64, Int8, Int16, Int32, Int64, Timestamp, UInt8, UInt16, UInt32};
    match data_type {
        Timestamp(..) | Date32 | Date64 => Ok(()),
        Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 => Ok(()),
        other => Err(Error::User(format!(
            "the times of an as-of join are TIMESTAMPs, DATEs or whole numbers, and these are \
             compared as {other}: cast them"
        ))),
    }
}
