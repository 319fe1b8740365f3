//! Event time, a function of the log alone: within a partition the watermark at a row is the
//! largest time of the rows before it, less the delay, or what it was forced to at a recorded
//! offset before the row. Never of batch sizes or of a clock.

use arrow::array::{Array, PrimitiveArray};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::logical_expr::Expr;
use serde::{Deserialize, Serialize};

/// A time in microseconds before all others: the watermark before the first row.
pub const BEFORE_ALL: i64 = i64::MIN;

/// How a stream's watermark follows its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTime {
    /// Index of the column that holds the time.
    pub column: usize,
    /// How far the watermark stays behind the largest time, in microseconds.
    pub delay_us: i64,
    /// How far one row may move the watermark, in microseconds. The first row moves it freely.
    pub max_advance_us: Option<i64>,
}

/// The event time of one partition, as far as it has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Largest time so far, each step bounded by `max_advance_us`.
    latest_us: Option<i64>,
    /// The farthest that the watermark was forced to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forced_us: Option<i64>,
    /// Rows whose step was bounded.
    #[serde(default)]
    pub bounded: u64,
}

/// An advance of a partition's watermark that no row causes: an idle time-out, or the end of a
/// bounded reading. Recorded, so that every other reading of the log repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// The first row it holds for.
    pub offset: i64,
    /// The watermark from there on, in microseconds, unless it is farther already.
    pub to_us: i64,
}

impl Clock {
    /// The watermark after the rows so far, in microseconds.
    pub fn watermark(&self, rule: &EventTime) -> i64 {
        let followed = self.latest_us.map(|latest| latest.saturating_sub(rule.delay_us));
        followed.max(self.forced_us).unwrap_or(BEFORE_ALL)
    }

    /// Largest time of the rows so far, in microseconds.
    pub fn latest_us(&self) -> Option<i64> {
        self.latest_us
    }

    /// Counts a time that the rows so far have reached.
    pub fn reach(&mut self, time_us: i64) {
        self.latest_us = self.latest_us.max(Some(time_us));
    }

    /// Moves the watermark to `to_us`, unless it is farther already.
    pub fn force(&mut self, to_us: i64) {
        self.forced_us = self.forced_us.max(Some(to_us));
    }

    /// Reads the times of the next rows and answers the watermark *before* each of them.
    ///
    /// Times are never NULL: a row without one is malformed and does not get here; it would move
    /// nothing.
    pub fn advance(
        &mut self,
        rule: &EventTime,
        times: &PrimitiveArray<TimestampMicrosecondType>,
    ) -> PrimitiveArray<TimestampMicrosecondType> {
        let mut before = Vec::with_capacity(times.len());
        match (self.latest_us, rule.max_advance_us) {
            (Some(first), None) if times.null_count() == 0 => {
                let forced = self.forced_us.unwrap_or(BEFORE_ALL);
                let mut latest = first;
                before.extend(times.values().iter().map(|time| {
                    let watermark = latest.saturating_sub(rule.delay_us).max(forced);
                    latest = latest.max(*time);
                    watermark
                }));
                self.latest_us = Some(latest);
            }
            _ => {
                for time in times.iter() {
                    before.push(self.watermark(rule));
                    if let Some(time) = time {
                        self.step(rule, time);
                    }
                }
            }
        }
        PrimitiveArray::from(before).with_timezone_opt(zone(times))
    }

    fn step(&mut self, rule: &EventTime, time: i64) {
        let Some(latest) = self.latest_us else {
            self.latest_us = Some(time);
            return;
        };
        let farthest = rule.max_advance_us.map_or(i64::MAX, |most| latest.saturating_add(most));
        self.bounded += u64::from(time > farthest);
        self.latest_us = Some(latest.max(time.min(farthest)));
    }
}

fn zone(times: &PrimitiveArray<TimestampMicrosecondType>) -> Option<std::sync::Arc<str>> {
    match times.data_type() {
        arrow::datatypes::DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    }
}

/// Whether a row came when the watermark had passed its time.
pub fn late(time: Expr, watermark: Expr) -> Expr {
    time.lt_eq(watermark)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(delay_us: i64, max_advance_us: Option<i64>) -> EventTime {
        EventTime { column: 0, delay_us, max_advance_us }
    }

    proptest! {
        /// The prefix maximum by its definition, row by row, whatever the cuts between batches.
        #[test]
        fn equals_the_definition_at_any_cut(
            times in prop::collection::vec(-100_i64..100, 0..60),
            cuts in prop::collection::vec(1_usize..9, 60),
            delay in 0_i64..20,
        ) {
            let rule = rule(delay, None);
            let (mut clock, mut got, mut at) = (Clock::default(), Vec::new(), 0);
            for cut in cuts {
                let end = (at + cut).min(times.len());
                let part = PrimitiveArray::from(times[at..end].to_vec());
                got.extend(clock.advance(&rule, &part).values().iter().copied());
                at = end;
            }
            let want = |row: usize| {
                times[..row].iter().max().map_or(BEFORE_ALL, |latest| latest - delay)
            };
            prop_assert_eq!(got, (0..at).map(want).collect::<Vec<_>>());
            prop_assert_eq!(clock.watermark(&rule), want(at));
        }
    }

    #[test]
    fn a_forced_advance_holds_until_rows_pass_it() {
        let rule = rule(5, None);
        let mut clock = Clock::default();
        clock.force(20);
        let before = clock.advance(&rule, &PrimitiveArray::from(vec![10, 24, 40, 41]));
        assert_eq!(before.values(), &[20, 20, 20, 35]);
        clock.force(30);
        assert_eq!(clock.watermark(&rule), 36);
    }

    #[test]
    fn a_poisoned_row_moves_it_by_the_bound_and_is_counted() {
        let rule = rule(1, Some(10));
        let mut clock = Clock::default();
        let times = PrimitiveArray::from(vec![100, 1_000_000, 105, 109, 130]);
        let before = clock.advance(&rule, &times);
        assert_eq!(before.values(), &[BEFORE_ALL, 99, 109, 109, 109]);
        assert_eq!((clock.watermark(&rule), clock.bounded), (119, 2));
    }
}
