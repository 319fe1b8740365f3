//! Dates, intervals, time zones, decimals.
