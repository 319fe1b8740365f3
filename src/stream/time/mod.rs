//! Event time, when results are given out, and days of a time zone.

pub mod calendar;
pub mod clock;
pub mod emit;
pub mod watermark;
