//! Windows as grouping functions, rewritten into the table functions that give rows their windows.
//!
//! Spark: `window(ts, '10 minutes'[, '5 minutes'[, offset]])` and `session_window(ts, '5 minutes')`
//! in SELECT or GROUP BY, with `window.start` and `window.end`. Flink's older form: `TUMBLE(ts,
//! size)`, `HOP(ts, slide, size)` and `SESSION(ts, gap)` in GROUP BY, with `TUMBLE_START(..)` and
//! the like. Each becomes `FROM TUMBLE((SELECT * FROM t WHERE ..), DESCRIPTOR(ts), size)`, grouped
//! by `window_start` and `window_end`.

use std::ops::ControlFlow;

use datafusion::sql::parser::DFParserBuilder;
use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    OrderBy, Query, Select, SelectItem, SetExpr, TableFactor, Value, VisitMut, VisitorMut,
};

use crate::error::{Error, Result};
use crate::sql::token::normalized;
use crate::stream::plan::session::plan::PARTITION_BY;

/// Visits all queries of a statement, the inner ones first.
#[derive(Debug)]
pub struct GroupWindows;

impl VisitorMut for GroupWindows {
    type Break = Error;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        match rewrite(&mut query.body, query.order_by.as_mut()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// What a query groups by.
#[derive(Debug, Clone)]
struct Window {
    /// `tumble`, `hop`, `session`, `window` or `session_window`.
    name: String,
    args: Vec<Expr>,
    /// The call's alias in SELECT.
    alias: Option<Ident>,
}

const NAMES: [(&str, &str); 5] = [
    ("tumble", "TUMBLE(ts, INTERVAL '10' MINUTE)"),
    ("hop", "HOP(ts, INTERVAL '5' MINUTE, INTERVAL '10' MINUTE), the slide before the size"),
    ("session", "SESSION(ts, INTERVAL '5' MINUTE)"),
    ("window", "window(ts, '10 minutes'[, '5 minutes'[, '1 minute']]): size, slide, offset"),
    ("session_window", "session_window(ts, '5 minutes')"),
];

/// Columns that the table functions give.
const START: &str = "window_start";
const END: &str = "window_end";
const TIME: &str = "window_time";

/// A time that is computed, as a column.
const COMPUTED: &str = "__time";

impl Window {
    fn of(expr: &Expr) -> Option<Self> {
        let (name, args) = call(expr)?;
        let known = NAMES.iter().any(|(known, _)| *known == name);
        (known && !args.is_empty()).then_some(Self { name, args, alias: None })
    }

    fn is_spark(&self) -> bool {
        self.name.ends_with("window")
    }

    fn error(&self, message: impl std::fmt::Display) -> Error {
        let form = NAMES.iter().find(|(name, _)| *name == self.name).map_or("", |(_, form)| form);
        Error::user(format!("{}(..): {message}; its form is {form}", self.name))
    }

    /// Whether an expression is the window itself.
    fn is(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Function(_) => {
                call(expr).is_some_and(|(name, args)| name == self.name && args == self.args)
            }
            Expr::Identifier(name) => self.names(name),
            _ => false,
        }
    }

    fn names(&self, name: &Ident) -> bool {
        let alias = self.alias.as_ref().is_some_and(|alias| same(alias, name));
        alias || (self.is_spark() && name.value.eq_ignore_ascii_case(&self.name))
    }

    /// The table function and its arguments behind the time; of Spark's, size and slide.
    fn table_function(&self) -> Result<(&'static str, Vec<Expr>)> {
        let rest = self.args[1..].to_vec();
        let spark = |rest: Vec<Expr>| rest.into_iter().map(interval).collect::<Result<Vec<_>>>();
        match (self.name.as_str(), rest.len()) {
            ("tumble", 1 | 2) => Ok(("TUMBLE", rest)),
            ("hop", 2 | 3) => Ok(("HOP", rest)),
            ("session", 1) => Ok(("SESSION", rest)),
            ("session_window", 1) => Ok(("SESSION", spark(rest)?)),
            ("window", 1) => Ok(("TUMBLE", spark(rest)?)),
            ("window", 2 | 3) => {
                let mut rest = spark(rest)?;
                rest.swap(0, 1);
                Ok(("HOP", rest))
            }
            _ => Err(self.error("the number of its arguments is another")),
        }
    }
}

/// An unqualified function's name in lower case, and its arguments.
fn call(expr: &Expr) -> Option<(String, Vec<Expr>)> {
    let Expr::Function(function) = expr else { return None };
    let [ast::ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let args = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    let plain = function.over.is_none() && function.filter.is_none();
    let args = args.collect::<Option<_>>().filter(|_| plain && name.quote_style.is_none());
    Some((name.value.to_ascii_lowercase(), args?))
}

fn same(one: &Ident, other: &Ident) -> bool {
    normalized(one.clone()) == normalized(other.clone())
}

/// Spark's `'10 minutes'` as an interval.
fn interval(expr: Expr) -> Result<Expr> {
    match &expr {
        Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)) => {
            parsed(&format!("INTERVAL {value}"))
        }
        _ => Ok(expr),
    }
}

fn parsed(text: &str) -> Result<Expr> {
    Ok(DFParserBuilder::new(text).build()?.parse_expr()?.expr)
}

fn column(name: &str) -> Expr {
    Expr::Identifier(Ident::new(name))
}

/// Rewrites each SELECT of a query that is not inside another query.
fn rewrite(body: &mut SetExpr, order: Option<&mut OrderBy>) -> Result<()> {
    match body {
        SetExpr::Select(select) => rewrite_select(select, order),
        SetExpr::SetOperation { left, right, .. } => {
            rewrite(left, None)?;
            rewrite(right, None)
        }
        _ => Ok(()),
    }
}

fn rewrite_select(select: &mut Select, order: Option<&mut OrderBy>) -> Result<()> {
    let Some(window) = find(select)? else { return Ok(()) };
    let (function, args) = window.table_function()?;
    let keys = if function == "SESSION" { keys(select, &window)? } else { Vec::new() };
    let is_window =
        groups(select).iter().map(|group| window.is(&selected(select, group)) || window.is(group));
    let is_window: Vec<bool> = is_window.collect();
    from(select, &window, function, args, keys)?;
    let mut uses = Uses { window: &window, time: false };
    for item in &mut select.projection {
        replace_item(item, &mut uses)?;
    }
    for expr in [&mut select.having, &mut select.qualify].into_iter().flatten() {
        uses.replace(expr)?;
    }
    if let Some(order) = order {
        uses.replace(order)?;
    }
    let GroupByExpr::Expressions(groups, _) = &mut select.group_by else { return Ok(()) };
    let mut all = Vec::new();
    for (mut group, is_window) in std::mem::take(groups).into_iter().zip(is_window) {
        if is_window {
            let columns = [START, END].into_iter().chain(uses.time.then_some(TIME));
            all.extend(columns.map(column));
            continue;
        }
        uses.replace(&mut group)?;
        all.push(group);
    }
    *groups = all;
    Ok(())
}

fn groups(select: &Select) -> &[Expr] {
    match &select.group_by {
        GroupByExpr::Expressions(groups, _) => groups,
        GroupByExpr::All(_) => &[],
    }
}

/// The window that a query groups by, or that its SELECT asks for.
fn find(select: &Select) -> Result<Option<Window>> {
    let mut found: Vec<Window> = Vec::new();
    found.extend(groups(select).iter().filter_map(Window::of));
    for item in &select.projection {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            _ => continue,
        };
        let mut calls = Vec::new();
        let _ = ast::visit_expressions(expr, |expr| {
            calls.extend(Window::of(expr).filter(Window::is_spark));
            ControlFlow::<()>::Continue(())
        });
        for mut call in calls {
            if Window::of(expr).is_some() {
                call.alias = alias.cloned();
            }
            found.push(call);
        }
    }
    let mut found = found.into_iter();
    let Some(mut window) = found.next() else { return Ok(None) };
    for other in found {
        if (&other.name, &other.args) != (&window.name, &window.args) {
            return Err(
                window.error(format!("a query has one window, and there is {}", other.name))
            );
        }
        window.alias = window.alias.or(other.alias);
    }
    Ok(Some(window))
}

/// What a session's rows have in common: all else that the query groups by.
fn keys(select: &Select, window: &Window) -> Result<Vec<Expr>> {
    let GroupByExpr::Expressions(groups, modifiers) = &select.group_by else {
        return Err(window.error("GROUP BY names the keys of a session"));
    };
    let mut keys = Vec::new();
    for group in groups {
        let group = selected(select, group);
        match group {
            Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) => {
                return Err(window.error("sessions have one set of keys"));
            }
            _ if window.is(&group) => {}
            _ => keys.push(group),
        }
    }
    match modifiers.is_empty() {
        true => Ok(keys),
        false => Err(window.error("sessions have one set of keys")),
    }
}

/// What a group stands for: a number or an alias of SELECT for its expression.
fn selected(select: &Select, group: &Expr) -> Expr {
    let item = match group {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => {
                let nth = number.parse::<usize>().ok().and_then(|nth| nth.checked_sub(1));
                nth.and_then(|nth| select.projection.get(nth))
            }
            _ => None,
        },
        Expr::Identifier(name) => select.projection.iter().find(
            |item| matches!(item, SelectItem::ExprWithAlias { alias, .. } if same(alias, name)),
        ),
        _ => None,
    };
    match item {
        Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => {
            expr.clone()
        }
        _ => group.clone(),
    }
}

/// Puts the table function into FROM, over what was there and over WHERE.
fn from(
    select: &mut Select,
    window: &Window,
    function: &str,
    args: Vec<Expr>,
    keys: Vec<Expr>,
) -> Result<()> {
    let [from] = select.from.as_mut_slice() else {
        return Err(window.error("the query reads one table; join in a subquery"));
    };
    if !from.joins.is_empty() {
        return Err(window.error("the query reads one table; join in a subquery"));
    }
    let name = match &from.relation {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::TableFunction { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, .. } => name.0.last().and_then(|part| part.as_ident()).cloned(),
        _ => None,
    };
    let mut template = query(&format!("SELECT * FROM {function}(1)"))?;
    let (Some(table), Some(mut rows)) = (relation(&mut template), Some(query("SELECT * FROM x")?))
    else {
        return Err(Error::Bug("a table function was not read as one".to_string()));
    };
    std::mem::swap(table, &mut from.relation);
    let mut time = window.args[0].clone();
    if let SetExpr::Select(inner) = rows.body.as_mut() {
        std::mem::swap(&mut inner.from[0].relation, table);
        inner.selection = select.selection.take();
        if !matches!(time, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            let computed = std::mem::replace(&mut time, column(COMPUTED));
            let item = SelectItem::ExprWithAlias { expr: computed, alias: Ident::new(COMPUTED) };
            inner.projection.push(item);
        }
    }
    let mut all = vec![Expr::Subquery(rows), function_of("DESCRIPTOR", vec![time])?];
    all.extend(args);
    if !keys.is_empty() {
        all.push(function_of(PARTITION_BY, keys)?);
    }
    if let TableFactor::Table { args: Some(args), alias, .. } = &mut from.relation {
        args.args = all.into_iter().map(unnamed).collect();
        *alias = name.map(|name| ast::TableAlias {
            explicit: true,
            name,
            columns: Vec::new(),
            at: None,
        });
    }
    Ok(())
}

fn query(text: &str) -> Result<Box<Query>> {
    let query = DFParserBuilder::new(text).build()?.parser.parse_query();
    query.map_err(|error| Error::Bug(format!("{text}: {error}")))
}

fn relation(query: &mut Query) -> Option<&mut TableFactor> {
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    select.from.first_mut().map(|from| &mut from.relation)
}

fn unnamed(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

fn function_of(name: &str, of: Vec<Expr>) -> Result<Expr> {
    let mut expr = parsed(&format!("{name}(1)"))?;
    if let Expr::Function(function) = &mut expr
        && let FunctionArguments::List(list) = &mut function.args
    {
        list.args = of.into_iter().map(unnamed).collect();
    }
    Ok(expr)
}

/// Replaces a selected expression; Spark's keep the names that they have there.
fn replace_item(item: &mut SelectItem, uses: &mut Uses<'_>) -> Result<()> {
    let SelectItem::UnnamedExpr(expr) = item else {
        return match item {
            SelectItem::ExprWithAlias { expr, .. } => uses.replace(expr),
            _ => Ok(()),
        };
    };
    let name = match uses.window.is(expr) {
        true => Some(uses.window.name.clone()),
        false => uses.edge(expr).map(|(_, name)| name.to_string()),
    };
    let mut expr = expr.clone();
    uses.replace(&mut expr)?;
    *item = match name {
        Some(name) => SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) },
        None => SelectItem::UnnamedExpr(expr),
    };
    Ok(())
}

/// Replaces what stands for the window, or a bound of it, by the table function's columns.
struct Uses<'a> {
    window: &'a Window,
    /// Whether `window_time` is among them.
    time: bool,
}

impl Uses<'_> {
    fn replace(&mut self, node: &mut impl VisitMut) -> Result<()> {
        match node.visit(self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    /// The column for `window.start` or `window.end`, and Spark's name of it.
    fn edge(&self, expr: &Expr) -> Option<(&'static str, &'static str)> {
        let field = match expr {
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [window, field] if self.window.names(window) => field,
                _ => return None,
            },
            Expr::CompoundFieldAccess { root, access_chain } if self.window.is(root) => {
                match access_chain.as_slice() {
                    [AccessExpr::Dot(Expr::Identifier(field))] => field,
                    _ => return None,
                }
            }
            _ => return None,
        };
        match field.value.to_ascii_lowercase().as_str() {
            "start" => Some((START, "start")),
            "end" => Some((END, "end")),
            _ => None,
        }
    }

    /// The column for `TUMBLE_START(..)` and the like.
    fn bound(&mut self, expr: &Expr) -> Result<Option<&'static str>> {
        if self.window.is_spark() {
            return Ok(None);
        }
        let Some((name, args)) = call(expr) else { return Ok(None) };
        let Some(bound) = name.strip_prefix(&self.window.name) else { return Ok(None) };
        let column = match bound {
            "_start" => START,
            "_end" => END,
            "_rowtime" => TIME,
            "_proctime" => return Err(self.window.error("_PROCTIME: windows go by event time")),
            _ => return Ok(None),
        };
        if args != self.window.args {
            let message = format!("{expr} is not of the window in GROUP BY: its arguments differ");
            return Err(self.window.error(message));
        }
        self.time |= column == TIME;
        Ok(Some(column))
    }
}

impl VisitorMut for Uses<'_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Some((name, _)) = self.edge(expr) {
            *expr = column(name);
            return ControlFlow::Continue(());
        }
        match self.bound(expr) {
            Ok(Some(name)) => *expr = column(name),
            Ok(None) if self.window.is_spark() && self.window.is(expr) => {
                let text = format!("named_struct('start', {START}, 'end', {END})");
                match parsed(&text) {
                    Ok(window) => *expr = window,
                    Err(error) => return ControlFlow::Break(error),
                }
            }
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }
}
