//! What windows of a fixed size there are.

use std::fmt;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, plan_err};

use super::columns::MILLISECOND_NS;

pub const DAY_NS: i64 = 86_400_000_000_000;

/// Windows that one row may be in; more is a slip of the pen, and would exhaust memory.
const MOST_COPIES: i64 = 10_000;

/// The window functions of a fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    Tumble,
    Hop,
    Cumulate,
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tumble => "TUMBLE",
            Self::Hop => "HOP",
            Self::Cumulate => "CUMULATE",
        })
    }
}

/// What windows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Windows {
    pub function: Function,
    pub size_ns: i64,
    /// The slide of HOP, the step of CUMULATE; the size of TUMBLE.
    pub step_ns: i64,
    pub offset_ns: i64,
    /// Whether size and slide are given in days, which start at the midnights of a time zone.
    pub days: bool,
}

impl Windows {
    /// Errors: lengths that give no windows over times of this unit, or too many for a row.
    pub fn check(&self, unit: TimeUnit) -> Result<()> {
        let unit_ns = match unit {
            TimeUnit::Second | TimeUnit::Millisecond => MILLISECOND_NS,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Nanosecond => 1,
        };
        if self.size_ns <= 0 || self.step_ns <= 0 {
            return plan_err!("a window's size and slide are longer than nothing");
        }
        if [self.size_ns, self.step_ns, self.offset_ns].iter().any(|length| length % unit_ns != 0) {
            return plan_err!("a window is a whole number of the time column's {unit:?}s");
        }
        if self.function == Function::Cumulate && self.size_ns % self.step_ns != 0 {
            return plan_err!("the size of a CUMULATE window is a multiple of its step");
        }
        let copies = (self.size_ns - 1) / self.step_ns + 1;
        if copies > MOST_COPIES {
            return plan_err!("each row would be in {copies} windows; {MOST_COPIES} at most");
        }
        Ok(())
    }

    /// Whether windows over times of this type start at the midnights of a time zone.
    pub fn are_local(&self, data_type: &DataType) -> bool {
        let DataType::Timestamp(_, Some(zone)) = data_type else { return false };
        self.days && !["UTC", "+00:00"].contains(&zone.as_ref())
    }
}
