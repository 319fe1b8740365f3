//! `LIKE .. ESCAPE '!'` with any sign, or none: DataFusion's LIKE knows the backslash only, so the
//! pattern is written anew with it.

use std::ops::ControlFlow;

use datafusion::sql::parser::DFParserBuilder;
use datafusion::sql::sqlparser::ast::{Expr, Value, ValueWithSpan, VisitMut, VisitorMut};

use crate::error::{Error, Result};

/// Visits expressions, the inner ones first.
#[derive(Debug)]
pub struct Escapes;

impl VisitorMut for Escapes {
    type Break = Error;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let (Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. }) =
            expr
        else {
            return ControlFlow::Continue(());
        };
        let Some(escape) = escape_char.take() else { return ControlFlow::Continue(()) };
        match with_backslash(pattern, &escape) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Writes a pattern anew.
///
/// Errors: more than one sign; a pattern that ends with it.
fn with_backslash(pattern: &mut Expr, escape: &ValueWithSpan) -> Result<()> {
    let sign = match &escape.value {
        Value::SingleQuotedString(text) => text.as_str(),
        _ => return Err(not_one_sign(escape)),
    };
    let mut signs = sign.chars();
    let sign = match (signs.next(), signs.next()) {
        (sign, None) => sign,
        _ => return Err(not_one_sign(escape)),
    };
    match pattern {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => {
            *text = written(text, sign).ok_or_else(|| {
                Error::user(format!(
                    "LIKE '{text}' ESCAPE {escape}: expected a sign behind the last {escape}, \
                     found the end of the pattern"
                ))
            })?;
            Ok(())
        }
        _ if sign == Some('\\') => Ok(()),
        computed => of_rows(computed, sign),
    }
}

fn not_one_sign(escape: &ValueWithSpan) -> Error {
    Error::user(format!("LIKE .. ESCAPE {escape}: expected one sign in quotes, such as '!'"))
}

/// `None` where the escape sign is the last of the pattern.
fn written(pattern: &str, escape: Option<char>) -> Option<String> {
    let mut written = String::with_capacity(pattern.len() + 4);
    let mut signs = pattern.chars();
    while let Some(sign) = signs.next() {
        let is_escape = Some(sign) == escape;
        let sign = if is_escape { signs.next()? } else { sign };
        if sign == '\\' || (is_escape && matches!(sign, '%' | '_')) {
            written.push('\\');
        }
        written.push(sign);
    }
    Some(written)
}

/// A sign that stands for the escape sign itself while a pattern is written anew.
const ITSELF: &str = "\u{FFFF}";

/// The same for a pattern that each row has its own of.
fn of_rows(pattern: &mut Expr, escape: Option<char>) -> Result<()> {
    let sign = escape.map(|sign| sign.to_string()).unwrap_or_default();
    let sign = sign.replace('\'', "''");
    let text = match escape {
        None => r"replace(__pattern, '\', '\\')".to_string(),
        Some(_) => {
            let kept = format!("replace(__pattern, '{sign}{sign}', '{ITSELF}')");
            let kept = format!(r"replace(replace({kept}, '{sign}\', '\'), '\', '\\')");
            format!(r"replace(replace({kept}, '{sign}', '\'), '{ITSELF}', '{sign}')")
        }
    };
    let mut expr = DFParserBuilder::new(text.as_str()).build()?.parse_expr()?.expr;
    let _ = expr.visit(&mut Put(pattern));
    *pattern = expr;
    Ok(())
}

/// Puts an expression where `__pattern` stands.
struct Put<'a>(&'a Expr);

impl VisitorMut for Put<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Identifier(name) if name.value == "__pattern") {
            *expr = self.0.clone();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::written;

    #[test]
    fn patterns_are_written_with_backslashes() {
        for (pattern, escape, want) in [
            ("%!%", "!", Some(r"%\%")),
            ("a!_b", "!", Some(r"a\_b")),
            ("!!%", "!", Some("!%")),
            (r"a\b%", "!", Some(r"a\\b%")),
            (r"!\", "!", Some(r"\\")),
            ("!a", "!", Some("a")),
            ("a!", "!", None),
            ("%%", "%", Some(r"\%")),
            ("__x_%", "_", Some(r"\_x\%")),
            (r"a\%", "", Some(r"a\\%")),
            (r"a\%\\", r"\", Some(r"a\%\\")),
            ("aé%é", "é", None),
            ("é%", "é", Some(r"\%")),
        ] {
            assert_eq!(written(pattern, escape.chars().next()).as_deref(), want, "{pattern}");
        }
    }
}
