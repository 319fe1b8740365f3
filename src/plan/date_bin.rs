//! `date_bin` of timestamps, exact over all times of their type: DataFusion's goes by nanoseconds,
//! and is NULL before 1677 and after 2262 whatever the type. The windows of streams start here too.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::functions::datetime;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

const DAY_NS: i64 = 86_400_000_000_000;

/// `date_bin(stride, time[, origin])`.
pub fn date_bin() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let stock = datetime::date_bin();
        Arc::new(ScalarUDF::from(DateBin { stock }))
    });
    FUNCTION.clone()
}

/// The stock function, for what it says of itself, and for other types than timestamps.
#[derive(Debug, PartialEq, Eq, Hash)]
struct DateBin {
    stock: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for DateBin {
    fn name(&self) -> &str {
        self.stock.name()
    }

    fn signature(&self) -> &Signature {
        self.stock.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.stock.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(bins) = Bins::of(&args.args) else { return self.stock.invoke_with_args(args) };
        match &args.args[1] {
            ColumnarValue::Array(times) => {
                let ticks = cast(times, &DataType::Int64)?;
                let starts = bins.starts(ticks.as_primitive())?;
                Ok(ColumnarValue::Array(cast(&starts, times.data_type())?))
            }
            ColumnarValue::Scalar(time) => {
                let ticks = cast(&time.to_array()?, &DataType::Int64)?;
                let start = cast(&bins.starts(ticks.as_primitive())?, &time.data_type())?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&start, 0)?))
            }
        }
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.stock.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.stock.documentation()
    }
}

/// Bins of a whole number of ticks.
struct Bins {
    stride: i64,
    /// A bin starts here.
    origin: i64,
    data_type: DataType,
}

impl Bins {
    /// `None` where the bins are not a whole number of the times' ticks, or not the same for all.
    fn of(args: &[ColumnarValue]) -> Option<Self> {
        let data_type = args.get(1)?.data_type();
        let DataType::Timestamp(unit, _) = &data_type else { return None };
        let tick_ns = match unit {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Nanosecond => 1,
        };
        let ColumnarValue::Scalar(stride) = &args[0] else { return None };
        let stride_ns = match stride {
            ScalarValue::IntervalDayTime(Some(value)) => i64::from(value.days)
                .checked_mul(DAY_NS)?
                .checked_add(i64::from(value.milliseconds) * 1_000_000)?,
            ScalarValue::IntervalMonthDayNano(Some(value)) if value.months == 0 => {
                i64::from(value.days).checked_mul(DAY_NS)?.checked_add(value.nanoseconds)?
            }
            _ => return None,
        };
        let origin_ns = match args.get(2) {
            None => 0,
            Some(ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(Some(origin), _))) => {
                *origin
            }
            Some(_) => return None,
        };
        let is_whole = stride_ns > 0 && stride_ns % tick_ns == 0 && origin_ns % tick_ns == 0;
        let (stride, origin) = (stride_ns / tick_ns, origin_ns / tick_ns);
        is_whole.then_some(Self { stride, origin, data_type })
    }

    /// The start of the bin of each time.
    fn starts(&self, ticks: &Int64Array) -> Result<Int64Array> {
        let phase = self.origin.rem_euclid(self.stride);
        ticks.try_unary::<_, Int64Type, _>(|tick| {
            // Both are below the stride, so that their difference does not overflow.
            let within = (tick.rem_euclid(self.stride) - phase).rem_euclid(self.stride);
            tick.checked_sub(within).ok_or_else(|| {
                exec_datafusion_err!(
                    "the bin of the time {} begins before all times of {}",
                    shown(tick, &self.data_type),
                    self.data_type
                )
            })
        })
    }
}

/// A time as text.
fn shown(tick: i64, data_type: &DataType) -> String {
    let time = cast(&Int64Array::from(vec![tick]), data_type);
    let text = time.and_then(|time| cast(&time, &DataType::Utf8));
    match text {
        Ok(text) if text.is_valid(0) => text.as_string::<i32>().value(0).to_string(),
        _ => format!("{tick}"),
    }
}
