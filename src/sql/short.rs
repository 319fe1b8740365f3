//! Short forms: the unit of `datediff(day, a, b)` is a word.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, Value,
    VisitorMut,
};

use crate::plan::is_unit;

/// Functions whose first argument of three is a unit.
const WITH_UNIT: [&str; 2] = ["datediff", "date_diff"];

/// Makes the words of units text.
#[derive(Debug)]
pub struct Units;

impl VisitorMut for Units {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = expr
        else {
            return ControlFlow::Continue(());
        };
        let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else {
            return ControlFlow::Continue(());
        };
        let is_known = WITH_UNIT.iter().any(|known| name.value.eq_ignore_ascii_case(known));
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(unit)), _, _] = list.args.as_mut_slice()
        else {
            return ControlFlow::Continue(());
        };
        if let Expr::Identifier(Ident { value, quote_style: None, .. }) = unit
            && is_known
            && is_unit(value)
        {
            *unit = Expr::Value(Value::SingleQuotedString(value.clone()).into());
        }
        ControlFlow::Continue(())
    }
}
