//! Event time, when results are given out, and days of a time zone.

pub mod clock;
pub mod calendar;
pub mod emit;
pub mod watermark;
