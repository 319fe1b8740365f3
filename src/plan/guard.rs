//! What guards an expression that may raise an error, and may not be taken from it.
//!
//! CASE evaluates a branch only for the rows that take it, and AND and OR their right side only
//! where the left one does not decide. DataFusion evaluates both sides of AND and OR for all rows,
//! turns CASE into AND and OR, and moves the parts of a condition each on its own. So a condition
//! over an expression that may raise becomes a CASE of the form `CASE condition WHEN true THEN ..`,
//! which DataFusion leaves alone and which both sides evaluate branch by branch.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Case, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, merge_schema, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, Join, LogicalPlan, Operator, lit,
};

/// Functions that have a value for every row; of others it is not known.
const TOTAL: &[&str] = &[
    "ascii",
    "atan",
    "atan2",
    "bit_length",
    "btrim",
    "cbrt",
    "ceil",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "contains",
    "cos",
    "cosh",
    "current_date",
    "current_time",
    "date_bin",
    "date_part",
    "date_trunc",
    "degrees",
    "ends_with",
    "exp",
    "float_key",
    "float_value",
    "floor",
    "get_field",
    "greatest",
    "initcap",
    "isnan",
    "iszero",
    "least",
    "local_days",
    "lower",
    "ltrim",
    "make_array",
    "md5",
    "named_struct",
    "nanvl",
    "now",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "pi",
    "processing_time",
    "proctime",
    "radians",
    "replace",
    "reverse",
    "round",
    "rtrim",
    "sign",
    "signum",
    "sin",
    "sinh",
    "starts_with",
    "strpos",
    "struct",
    "tan",
    "tanh",
    "to_local_time",
    "trunc",
    "upper",
];

/// Whether evaluating an expression may raise an error for a row.
pub fn may_raise(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    let mut found = false;
    expr.apply(|node| {
        found = raises(node, schema);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn raises(node: &Expr, schema: &DFSchema) -> bool {
    let type_of = |expr: &Expr| expr.get_type(schema).unwrap_or(DataType::Null);
    match node {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Divide | Operator::Modulo => {
                divides(&type_of(left), right) || overflows(node, schema)
            }
            Operator::Plus | Operator::Minus | Operator::Multiply => overflows(node, schema),
            Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch => !matches!(right.as_ref(), Expr::Literal(..)),
            _ => false,
        },
        Expr::Cast(Cast { expr, field }) => match expr.as_ref() {
            Expr::Literal(value, _) => value.cast_to(field.data_type()).is_err(),
            expr => !holds(field.data_type(), &type_of(expr)),
        },
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let constant = args.iter().all(|arg| matches!(arg, Expr::Literal(..)));
            !constant && !TOTAL.contains(&func.name())
        }
        _ => false,
    }
}

/// Whether a division of whole numbers or decimals may be by zero, or of the least by -1.
fn divides(dividend: &DataType, divisor: &Expr) -> bool {
    if dividend.is_floating() {
        return false;
    }
    let Expr::Literal(value, _) = divisor else { return true };
    let zero = ScalarValue::new_zero(&value.data_type()).is_ok_and(|zero| zero == *value);
    let minus = ScalarValue::new_negative_one(&value.data_type()).is_ok_and(|one| one == *value);
    zero || minus
}

/// Whether a sum or a product may have no value of its type: whole numbers wrap around, decimals
/// of less than all digits have room. Times past the range of their type are not looked at: what
/// joins streams by an interval is to stay what it is.
fn overflows(node: &Expr, schema: &DFSchema) -> bool {
    match node.get_type(schema) {
        Ok(DataType::Decimal128(digits, _)) => digits == 38,
        Ok(DataType::Decimal256(digits, _)) => digits == 76,
        _ => false,
    }
}

/// Whether a type has a value for every value of another.
fn holds(to: &DataType, from: &DataType) -> bool {
    use DataType::{Boolean, Decimal128, Dictionary, Float16, Float32, Float64, Null};
    if let Dictionary(_, values) = to {
        return holds(values, from);
    }
    if let Dictionary(_, values) = from {
        return holds(to, values);
    }
    let whole = |digits: &u8, scale: &i8| i16::from(*digits) - i16::from(*scale);
    match (from, to) {
        (from, to) if from == to => true,
        (Null, _) => true,
        (from, to) if to.is_string() => !from.is_binary(),
        (from, _) if from.is_string() || from.is_binary() => false,
        (Boolean, to) => to.is_numeric(),
        (from, Float16 | Float32 | Float64) => from.is_numeric(),
        (from, to) if from.is_integer() && to.is_integer() => {
            let (wide, signs) = (to.primitive_width(), from.primitive_width());
            let (from_signed, to_signed) = (from.is_signed_integer(), to.is_signed_integer());
            match (from_signed, to_signed) {
                (true, false) => false,
                (false, true) => wide > signs,
                _ => wide >= signs,
            }
        }
        (from, Decimal128(digits, scale)) if from.is_integer() => {
            let needed = match from.primitive_width() {
                Some(1) => 3,
                Some(2) => 5,
                Some(4) => 10,
                _ => 20,
            };
            whole(digits, scale) >= needed
        }
        (Decimal128(old_digits, old_scale), Decimal128(digits, scale)) => {
            scale >= old_scale && whole(digits, scale) >= whole(old_digits, old_scale)
        }
        (from, to) if from.is_temporal() => to.is_temporal() || to.is_integer(),
        (from, to) if from.is_integer() => to.is_temporal(),
        (from, to) if from.is_nested() => from.equals_datatype(to),
        _ => false,
    }
}

fn is_subquery(node: &Expr) -> bool {
    matches!(
        node,
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
    )
}

/// Whether an expression holds a query.
fn has_query(expr: &Expr) -> bool {
    expr.exists(|node| Ok(is_subquery(node))).unwrap_or(true)
}

/// `CASE base WHEN true THEN then ELSE otherwise END`.
fn only_where(base: Expr, then: Expr, otherwise: Option<Expr>) -> Expr {
    let branches = vec![(Box::new(lit(true)), Box::new(then))];
    Expr::Case(Case::new(Some(Box::new(base)), branches, otherwise.map(Box::new)))
}

/// `left AND right`, or OR, that evaluates `right` only where `left` does not decide. Where only
/// true counts, NULL is as good as false.
fn lazily(left: Expr, op: Operator, right: Expr, only_true: bool) -> Expr {
    let decided = lit(op == Operator::Or);
    if only_true && op == Operator::And {
        return only_where(left, right, Some(decided));
    }
    if only_true {
        return only_where(left, decided, Some(right));
    }
    let null = lit(ScalarValue::Boolean(None));
    let beside_null = datafusion::logical_expr::binary_expr(right.clone(), op, null);
    let branches = vec![
        (Box::new(decided.clone()), Box::new(decided)),
        (Box::new(lit(op == Operator::And)), Box::new(right)),
    ];
    Expr::Case(Case::new(Some(Box::new(left)), branches, Some(Box::new(beside_null))))
}

/// An expression whose ANDs and ORs evaluate what may raise only where it is asked for.
fn guarded(expr: Expr, schema: &DFSchema, only_true: bool) -> Result<Expr> {
    if is_subquery(&expr) || !may_raise(&expr, schema)? {
        return Ok(expr);
    }
    let Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) = expr else {
        let inner = |expr| guarded(expr, schema, false).map(Transformed::yes);
        return Ok(expr.map_children(inner)?.data);
    };
    let mut operands = Vec::new();
    let mut first = expr;
    loop {
        match first {
            Expr::BinaryExpr(BinaryExpr { left, op: same, right }) if same == op => {
                operands.push(*right);
                first = *left;
            }
            other => {
                first = other;
                break;
            }
        }
    }
    let mut whole = guarded(first, schema, only_true)?;
    for right in operands.into_iter().rev() {
        let raises = may_raise(&right, schema)?;
        let right = guarded(right, schema, only_true)?;
        whole = match raises {
            true => lazily(whole, op, right, only_true),
            false => datafusion::logical_expr::binary_expr(whole, op, right),
        };
    }
    Ok(whole)
}

/// A condition that evaluates its parts in their order, but what cannot raise before all else:
/// `None` where it does so as it stands. Of the parts that cannot raise, those without a query
/// stand beside the rest too, where files are pruned by them.
///
/// With `early`, plans are still to be optimized, and a part that holds a query may become a join:
/// it stands alone.
pub fn ordered(condition: &Expr, schema: &DFSchema, early: bool) -> Result<Option<Expr>> {
    if !may_raise(condition, schema)? {
        return Ok(None);
    }
    let (mut beside, mut guards, mut raising) = (Vec::new(), Vec::new(), Vec::new());
    for part in split_conjunction_owned(condition.clone()) {
        match (has_query(&part), may_raise(&part, schema)?) {
            (true, _) if early => beside.push(part),
            (true, false) => guards.push(part),
            (_, true) => raising.push(guarded(part, schema, true)?),
            (false, false) => {
                beside.push(part.clone());
                guards.push(part);
            }
        }
    }
    let Some(last) = raising.pop() else { return Ok(None) };
    let then = |rest, part| only_where(part, rest, Some(lit(false)));
    let mut rest = raising.into_iter().rev().fold(last, then);
    if let Some(guard) = conjunction(guards) {
        rest = then(rest, guard);
    }
    beside.push(rest);
    Ok(conjunction(beside))
}

/// A plan as it will run, with what guards an expression in force.
pub fn in_force(plan: LogicalPlan) -> Result<LogicalPlan> {
    let guarded = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Filter(mut filter) => {
            let Some(predicate) = ordered(&filter.predicate, filter.input.schema(), false)? else {
                return Ok(Transformed::no(LogicalPlan::Filter(filter)));
            };
            filter.predicate = predicate;
            Ok(Transformed::yes(LogicalPlan::Filter(filter)))
        }
        LogicalPlan::Join(join) => of_join(join, false),
        LogicalPlan::TableScan(_) => Ok(Transformed::no(plan)),
        plan => of_node(plan),
    })?;
    Ok(guarded.data)
}

/// A join whose condition evaluates its parts in their order.
pub fn of_join(mut join: Join, early: bool) -> Result<Transformed<LogicalPlan>> {
    let Some(filter) = &join.filter else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let schema = join.left.schema().join(join.right.schema())?;
    let Some(filter) = ordered(filter, &schema, early)? else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    join.filter = Some(filter);
    Ok(Transformed::yes(LogicalPlan::Join(join)))
}

fn of_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let done = guarded(expr.clone(), &schema, false)?;
        Ok(match done == expr {
            true => Transformed::no(expr),
            false => Transformed::yes(name.restore(done)),
        })
    })
}
