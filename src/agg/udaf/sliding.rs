//! Float sums over a sliding window frame, from which rows are taken back.
//!
//! A [`FloatSum`] cannot forget: bins that fell off are gone. Here all 66 are kept, with the number
//! of addends whose leading bit lies in each, so that the state of what is left is known at any
//! time: the same bits as if the frame were summed alone, and no residue of large numbers that have
//! left it, which subtraction in floats leaves behind.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Float64Type;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::accumulator::{State, to_columns};
use crate::agg::float_sum::{self, BINS, FloatSum};

/// The sum or average of a sliding frame.
#[derive(Debug)]
pub(super) struct SlidingFloatSum {
    average: bool,
    /// Sums of slices, lowest bin first.
    bins: Box<[i128; BINS]>,
    /// Addends in the frame, by [`float_sum::Slices::top`].
    tops: Box<[u64; BINS + 1]>,
    /// NaN, plus infinity and minus infinity in the frame.
    specials: [u64; SPECIALS.len()],
}

const SPECIALS: [u32; 3] = [float_sum::NAN, float_sum::PLUS_INFINITY, float_sum::MINUS_INFINITY];

impl SlidingFloatSum {
    pub(super) fn new(average: bool) -> Self {
        let (bins, tops) = (Box::new([0; BINS]), Box::new([0; BINS + 1]));
        Self { average, bins, tops, specials: [0; SPECIALS.len()] }
    }

    /// Adds a value `times` 1, or takes it back `times` -1.
    fn add(&mut self, value: f64, times: i64) {
        let cut = float_sum::slices(value.to_bits());
        let count = |number: &mut u64| *number = number.wrapping_add_signed(times);
        let top = cut.top as usize;
        count(&mut self.tops[top]);
        for (number, flag) in self.specials.iter_mut().zip(SPECIALS) {
            if cut.flags & flag != 0 {
                count(number);
            }
        }
        let sign = if cut.negative { -times } else { times };
        for (bin, slice) in self.bins[..top].iter_mut().rev().zip(cut.slices) {
            *bin += i128::from(sign) * i128::from(slice);
        }
    }

    fn add_all(&mut self, values: &[ArrayRef], times: i64) {
        let values = values[0].as_primitive::<Float64Type>();
        values.iter().flatten().for_each(|value| self.add(value, times));
    }

    /// What is in the frame.
    fn frame(&self) -> State {
        let count = self.tops.iter().sum();
        let top = self.tops.iter().rposition(|&addends| addends > 0).unwrap_or(0);
        let mut flags = if count > 0 { float_sum::SEEN } else { 0 };
        for (&number, flag) in self.specials.iter().zip(SPECIALS) {
            flags |= if number > 0 { flag } else { 0 };
        }
        let bin = |below: usize| top.checked_sub(below + 1).map_or(0, |bin| self.bins[bin]);
        State { sum: FloatSum::from_bins(top, std::array::from_fn(bin), flags), count }
    }
}

impl Accumulator for SlidingFloatSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_all(values, 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_all(values, -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.frame().value(self.average)?))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = to_columns(&[self.frame()], self.average);
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        datafusion::common::not_impl_err!("the sum of a sliding frame does not merge")
    }

    fn size(&self) -> usize {
        size_of_val(self) + size_of_val(&*self.bins) + size_of_val(&*self.tops)
    }
}
