//! The longest and the shortest interval: a month counts as 30 days, a day as 24 hours; of equal
//! ones the one of fewest months, then days, so that the order of the rows does not decide.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

const DAY_NANOS: i128 = 86_400_000_000_000;

/// What intervals are ordered by: the nanoseconds, then how they are written.
type Rank = (i128, i32, i32);

fn rank(value: IntervalMonthDayNano) -> Rank {
    let days = i128::from(value.months) * 30 + i128::from(value.days);
    (days * DAY_NANOS + i128::from(value.nanoseconds), value.months, value.days)
}

/// The longest interval, or the shortest; values may leave again.
#[derive(Debug)]
pub(super) struct BestInterval {
    longest: bool,
    result: DataType,
    /// How often each is there.
    seen: BTreeMap<Rank, u64>,
    /// Only the best is kept.
    sliding: bool,
}

impl BestInterval {
    pub(super) fn new(longest: bool, result: DataType, sliding: bool) -> Self {
        Self { longest, result, seen: BTreeMap::new(), sliding }
    }

    fn best(&self) -> Option<Rank> {
        let best = match self.longest {
            // Of equal ones the first, as for the shortest.
            true => {
                let (longest, ..) = *self.seen.last_key_value()?.0;
                self.seen.range((longest, i32::MIN, i32::MIN)..).next()
            }
            false => self.seen.first_key_value(),
        };
        best.map(|(rank, _)| *rank)
    }
}

fn values(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(column, &DataType::Interval(IntervalUnit::MonthDayNano))?)
}

impl Accumulator for BestInterval {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let column = values(&columns[0])?;
        for value in column.as_primitive::<IntervalMonthDayNanoType>().iter().flatten() {
            *self.seen.entry(rank(value)).or_default() += 1;
        }
        if !self.sliding
            && let Some(best) = self.best()
        {
            self.seen = BTreeMap::from([(best, 1)]);
        }
        Ok(())
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let column = values(&columns[0])?;
        for value in column.as_primitive::<IntervalMonthDayNanoType>().iter().flatten() {
            let rank = rank(value);
            match self.seen.get_mut(&rank) {
                Some(1) | None => drop(self.seen.remove(&rank)),
                Some(count) => *count -= 1,
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.sliding
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some((nanos, months, days)) = self.best() else {
            return ScalarValue::try_from(&self.result);
        };
        let rest = nanos - (i128::from(months) * 30 + i128::from(days)) * DAY_NANOS;
        let nanos = i64::try_from(rest).unwrap_or_default();
        match self.result {
            // These have no finer part, and months or milliseconds within their type.
            DataType::Interval(IntervalUnit::YearMonth) => {
                Ok(ScalarValue::IntervalYearMonth(Some(months)))
            }
            DataType::Interval(IntervalUnit::DayTime) => {
                Ok(ScalarValue::new_interval_dt(days, (nanos / 1_000_000) as i32))
            }
            _ => Ok(ScalarValue::new_interval_mdn(months, days, nanos)),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.seen.len() * size_of::<(Rank, u64)>()
    }
}
