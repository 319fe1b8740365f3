//! The functions registered over DataFusion's, so that its operators on the CPU give the same bits
//! as the device, whatever the order, the batches or the partitions of the rows.
//!
//! * `sum` and `avg` of Float64 (to which DataFusion casts all floats, and for `avg` integers) keep
//!   the state of [`super::float_sum`].
//! * `sum` and `avg` of decimals are added in 256 bits and held against the digits of their type
//!   at the end; DataFusion's wrap. Averages round half away from zero.
//! * `min` and `max` of intervals compare them as `=` and `<` do.
//! * `min` and `max` of floats follow Arrow's total order with GROUP BY as well. DataFusion's own
//!   grouped accumulators compare by `partial_cmp`, where what they answer for NaN depends on the
//!   order of the rows, and start from the largest finite number, which wins over infinity.
//!
//! * `string_agg` and `nth_value` take rows in any order, whatever they are to be sorted by.
//!
//! Everything else, from names to DISTINCT, is DataFusion's function, called through.

mod accumulator;
mod bounded;
mod decimals;
mod intervals;
mod in_order;
mod sliding;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::ArrowPrimitiveType;
use arrow::datatypes::{DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::{average, bit_and_or_xor, bool_and_or, count, min_max, sum};
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, WindowFunctionParams,
};
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs,
};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Expr, GroupsAccumulator,
    LogicalPlan, Operator, ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
    WindowFunctionDefinition,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op;

use super::decimal::Averager;
use accumulator::STATE_BYTES;

pub(super) use accumulator::state_array;

/// Our `sum`, `avg`, `min`, `max`, `string_agg` and `nth_value`, to be registered over
/// DataFusion's of the same names.
pub fn udafs() -> Vec<Arc<AggregateUDF>> {
    let reproducible = |kind, native| {
        AggregateUDF::new_from_impl(Reproducible { kind, native, fast: false, rounds: true })
    };
    [
        reproducible(Kind::Sum, sum::sum_udaf()),
        reproducible(Kind::Avg, average::avg_udaf()),
        reproducible(Kind::Min, min_max::min_udaf()),
        reproducible(Kind::Max, min_max::max_udaf()),
    ]
    .into_iter()
    .chain(in_order::udafs())
    .map(Arc::new)
    .collect()
}

/// DataFusion's function behind one of ours.
pub fn native(udaf: &AggregateUDF) -> Option<&Arc<AggregateUDF>> {
    Some(&udaf.inner().downcast_ref::<Reproducible>()?.native)
}

/// Whether an aggregate's partial states are the same in any order of merging.
pub fn merges_in_any_order(udaf: &AggregateUDF) -> bool {
    let native = native(udaf).map_or(udaf, Arc::as_ref);
    let known = [
        count::count_udaf(),
        sum::sum_udaf(),
        average::avg_udaf(),
        min_max::min_udaf(),
        min_max::max_udaf(),
        bool_and_or::bool_and_udaf(),
        bool_and_or::bool_or_udaf(),
        bit_and_or_xor::bit_and_udaf(),
        bit_and_or_xor::bit_or_udaf(),
        bit_and_or_xor::bit_xor_udaf(),
    ];
    known.iter().any(|known| known.as_ref() == native)
}

/// Whether averages of decimals round; `None` for another function than our `avg`.
pub(super) fn rounds(udaf: &AggregateUDF) -> Option<bool> {
    let ours = udaf.inner().downcast_ref::<Reproducible>()?;
    (ours.kind == Kind::Avg).then_some(ours.rounds)
}

/// Whether one of our functions leaves floats to DataFusion.
pub fn is_fast(udaf: &AggregateUDF) -> bool {
    udaf.inner().downcast_ref::<Reproducible>().is_some_and(|ours| ours.fast)
}

/// `min(value)`.
pub fn min(value: Expr) -> Expr {
    let native = min_max::min_udaf();
    let min = Reproducible { kind: Kind::Min, native, fast: false, rounds: true };
    let call =
        |function| AggregateFunction::new_udf(function, vec![value], false, None, vec![], None);
    Expr::AggregateFunction(call(Arc::new(AggregateUDF::new_from_impl(min))))
}

/// What options change about our `sum` and `avg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Floats are added as DataFusion does it: faster on the CPU, with last digits that depend on
    /// batches and partitions.
    FastFloats,
    /// Averages of decimals are cut instead of rounded.
    CutAverages,
}

/// A logical plan whose calls of our `sum` and `avg` are changed, between analysis and
/// optimization.
pub fn changed(plan: LogicalPlan, change: Change) -> Result<LogicalPlan> {
    let swap = |mut expr: Expr| {
        let function = match &mut expr {
            Expr::AggregateFunction(call) => Some(&mut call.func),
            Expr::WindowFunction(call) => match &mut call.fun {
                WindowFunctionDefinition::AggregateUDF(function) => Some(function),
                WindowFunctionDefinition::WindowUDF(_) => None,
            },
            _ => None,
        };
        let ours = function.and_then(|function| {
            let ours = function.inner().downcast_ref::<Reproducible>()?;
            if !matches!(ours.kind, Kind::Sum | Kind::Avg) {
                return None;
            }
            let fast = ours.fast || change == Change::FastFloats;
            let rounds = ours.rounds && change != Change::CutAverages;
            let other =
                Reproducible { kind: ours.kind, native: Arc::clone(&ours.native), fast, rounds };
            *function = Arc::new(AggregateUDF::new_from_impl(other));
            Some(())
        });
        Ok(if ours.is_some() { Transformed::yes(expr) } else { Transformed::no(expr) })
    };
    let in_node = |node: LogicalPlan| node.map_expressions(|expr| expr.transform_up(swap));
    Ok(plan.transform_up_with_subqueries(in_node)?.data)
}

/// Whether a state field is that of a reproducible float sum.
pub(super) fn is_state(field: Option<&FieldRef>) -> bool {
    field.is_some_and(|field| field.data_type() == &DataType::FixedSizeBinary(STATE_BYTES))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Avg,
    Min,
    Max,
}

/// One of DataFusion's functions, with other accumulators for floats, decimals and intervals.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Reproducible {
    kind: Kind,
    native: Arc<AggregateUDF>,
    /// Floats are left to DataFusion's accumulators.
    fast: bool,
    /// Averages of decimals round.
    rounds: bool,
}

impl Reproducible {
    fn inner(&self) -> &Arc<dyn AggregateUDFImpl> {
        self.native.inner()
    }

    /// Whether a call with these arguments keeps a reproducible float sum.
    fn sums(&self, args: &[FieldRef], is_distinct: bool) -> bool {
        let float = |arg: &FieldRef| arg.data_type() == &DataType::Float64;
        matches!(self.kind, Kind::Sum | Kind::Avg)
            && !self.fast
            && !is_distinct
            && args.first().is_some_and(float)
    }

    /// The type of the first argument where a call sums decimals.
    fn decimal(&self, args: &[FieldRef]) -> Option<DataType> {
        let summed = matches!(self.kind, Kind::Sum | Kind::Avg);
        let input = args.first().filter(|_| summed)?.data_type();
        input.is_decimal().then(|| input.clone())
    }

    /// How a call sums decimals; `None` for other calls.
    fn recipe(&self, args: &AccumulatorArgs) -> Result<Option<decimals::Recipe>> {
        let Some(input) = self.decimal(args.expr_fields) else { return Ok(None) };
        let result = args.return_type().clone();
        let (sum, averager) = match self.kind {
            Kind::Avg => {
                let sum = average_sum(&input);
                let averager = Averager::new(&sum, &result, self.rounds)?;
                (sum, Some(averager))
            }
            _ => (decimals::sum_type(&input), None),
        };
        Ok(Some(decimals::Recipe { input, sum, result, averager }))
    }

    /// Whether a call looks for the longest interval (true) or the shortest.
    fn longest(&self, data_type: &DataType) -> Option<bool> {
        match (self.kind, data_type) {
            (Kind::Max, DataType::Interval(_)) => Some(true),
            (Kind::Min, DataType::Interval(_)) => Some(false),
            _ => None,
        }
    }
}

/// The type in which the sums of averages are handed on: no narrower than their values.
fn average_sum(input: &DataType) -> DataType {
    match *input {
        // Thirteen digits more, for the rows and for the digits that an average has more.
        DataType::Decimal128(26.., scale) | DataType::Decimal256(_, scale) => {
            DataType::Decimal256(76, scale)
        }
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
            DataType::Decimal128(38, scale)
        }
        DataType::Decimal128(_, scale) => DataType::Decimal128(38, scale),
        ref other => other.clone(),
    }
}

impl AggregateUDFImpl for Reproducible {
    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if self.sums(args.expr_fields, args.is_distinct) {
            return Ok(Box::new(accumulator::OneFloatSum::new(self.kind == Kind::Avg)));
        }
        if let Some(recipe) = self.recipe(&args)? {
            return if args.is_distinct { Ok(recipe.distinct()) } else { recipe.one() };
        }
        if let Some(longest) = self.longest(args.return_type()) {
            let result = args.return_type().clone();
            return Ok(Box::new(intervals::BestInterval::new(longest, result, false)));
        }
        self.inner().accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if self.sums(args.expr_fields, args.is_distinct) {
            return Ok(Box::new(sliding::SlidingFloatSum::new(self.kind == Kind::Avg)));
        }
        if !args.is_distinct
            && let Some(recipe) = self.recipe(&args)?
        {
            return recipe.one();
        }
        if let Some(longest) = self.longest(args.return_type()) {
            let result = args.return_type().clone();
            return Ok(Box::new(intervals::BestInterval::new(longest, result, true)));
        }
        self.inner().create_sliding_accumulator(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        if self.sums(args.expr_fields, args.is_distinct) {
            return Ok(Box::new(accumulator::GroupedFloatSum::new(self.kind == Kind::Avg)));
        }
        if let Some(recipe) = self.recipe(&args)? {
            return recipe.grouped();
        }
        let max = match self.kind {
            Kind::Max => true,
            Kind::Min => false,
            Kind::Sum | Kind::Avg => return self.inner().create_groups_accumulator(args),
        };
        // The first and the last in the total order: NaNs with all bits set but the sign, and all.
        macro_rules! best {
            ($type:ty, $first:expr, $last:expr) => {
                best::<$type>(args.return_type(), max, $first, $last, |a, b| a.total_cmp(&b))
            };
        }
        type Half = <Float16Type as ArrowPrimitiveType>::Native;
        Ok(match args.return_type() {
            DataType::Float16 => {
                best!(Float16Type, Half::from_bits(!0), Half::from_bits(!0 >> 1))
            }
            DataType::Float32 => best!(Float32Type, f32::from_bits(!0), f32::from_bits(!0 >> 1)),
            DataType::Float64 => best!(Float64Type, f64::from_bits(!0), f64::from_bits(!0 >> 1)),
            _ => return self.inner().create_groups_accumulator(args),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, data_type| {
            Arc::new(Field::new(format_state_name(args.name, name), data_type, true))
        };
        let sum = match self.decimal(args.input_fields) {
            Some(input) if args.is_distinct => {
                let values = DataType::new_list(input, true);
                return Ok(vec![field("distinct", values)]);
            }
            Some(input) if self.kind == Kind::Avg => field("sum", average_sum(&input)),
            Some(input) => field("sum", decimals::sum_type(&input)),
            None if self.sums(args.input_fields, args.is_distinct) => {
                field("sum", DataType::FixedSizeBinary(STATE_BYTES))
            }
            None => return self.inner().state_fields(args),
        };
        Ok(match self.kind {
            Kind::Avg => vec![field("count", DataType::UInt64), sum],
            _ => vec![sum],
        })
    }

    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        // Statistics of files leave NaN out and do not tell the zeros apart.
        if args.return_type.is_floating() {
            return None;
        }
        self.inner().value_from_stats(args)
    }

    /// None of the four depends on order. DataFusion's `avg` does not say so, and its grouped
    /// accumulator panics on the ORDER BY it then gets as an argument.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        beneficial_ordering: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let other = self.inner().clone().with_beneficial_ordering(beneficial_ordering)?;
        Ok(other.map(|other| {
            let native = Arc::new(AggregateUDF::new_from_shared_impl(other));
            let (kind, fast, rounds) = (self.kind, self.fast, self.rounds);
            Arc::new(Self { kind, native, fast, rounds }) as Arc<dyn AggregateUDFImpl>
        }))
    }

    // From here on, all is DataFusion's.

    fn name(&self) -> &str {
        self.inner().name()
    }

    fn aliases(&self) -> &[String] {
        self.inner().aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner().signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner().return_type(arg_types)
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        self.inner().return_field(arg_fields)
    }

    fn is_nullable(&self) -> bool {
        self.inner().is_nullable()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner().default_value(data_type)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner().coerce_types(arg_types)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.longest(args.return_type()).is_none()
            && self.inner().groups_accumulator_supported(args)
    }

    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.inner().schema_name(params)
    }

    fn human_display(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.inner().human_display(params)
    }

    fn display_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.inner().display_name(params)
    }

    fn window_function_schema_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.inner().window_function_schema_name(params)
    }

    fn window_function_display_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.inner().window_function_display_name(params)
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner().is_descending()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner().set_monotonicity(data_type)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner().reverse_expr()
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.inner().simplify()
    }

    fn simplify_expr_op_literal(
        &self,
        agg_function: &AggregateFunction,
        arg: &Expr,
        op: Operator,
        lit: &Expr,
        arg_is_left: bool,
    ) -> Result<Option<Expr>> {
        // A count does not fit the digits of a literal, and a sum has another type.
        if let Expr::Literal(value, _) = lit
            && value.data_type().is_decimal()
        {
            return Ok(None);
        }
        self.inner().simplify_expr_op_literal(agg_function, arg, op, lit, arg_is_left)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner().supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner().supports_within_group_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }
}

/// Keeps the largest float of each group, or the smallest, between the `first` and the `last`.
fn best<T: ArrowPrimitiveType + Send>(
    data_type: &DataType,
    max: bool,
    first: T::Native,
    last: T::Native,
    compare: impl Fn(T::Native, T::Native) -> Ordering + Send + Sync + 'static,
) -> Box<dyn GroupsAccumulator> {
    let (start, better) = if max { (first, Ordering::Greater) } else { (last, Ordering::Less) };
    let keep = move |kept: &mut T::Native, new: T::Native| {
        if compare(new, *kept) == better {
            *kept = new;
        }
    };
    let best = prim_op::PrimitiveGroupsAccumulator::<T, _>::new(data_type, keep);
    Box::new(best.with_starting_value(start))
}
