//! Random queries as trees that can be shrunk: a node may be replaced by a part of itself of the
//! same class.

use std::fmt;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::data::{Data, Kind, Table};

/// Types that operators take alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Bool,
    Int,
    Float,
    Decimal,
    Date,
    Timestamp,
    Text,
}

const CLASSES: [Class; 7] = [
    Class::Bool,
    Class::Int,
    Class::Float,
    Class::Decimal,
    Class::Date,
    Class::Timestamp,
    Class::Text,
];

/// Those that are compared.
const ORDERED: [Class; 6] =
    [Class::Int, Class::Float, Class::Decimal, Class::Date, Class::Timestamp, Class::Text];

impl Class {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Small | Kind::Int | Kind::Big => Self::Int,
            Kind::Real | Kind::Double => Self::Float,
            Kind::Decimal => Self::Decimal,
            Kind::Date => Self::Date,
            Kind::Timestamp => Self::Timestamp,
            Kind::Bool => Self::Bool,
            Kind::Text => Self::Text,
        }
    }

    fn literals(self) -> &'static [&'static str] {
        match self {
            Self::Bool => &["true", "false"],
            Self::Int => &["0", "1", "-1", "3", "7", "100", "1000000"],
            Self::Float => &["0.0::double", "1.5::double", "-2.25::double", "1e3::double"],
            Self::Decimal => &["0.00::decimal(10,2)", "1.25::decimal(10,2)", "-3.5::decimal(5,1)"],
            Self::Date => &["DATE '2022-01-08'", "DATE '1970-01-01'"],
            Self::Timestamp => &["TIMESTAMP '2023-11-14T22:13:20'", "TIMESTAMP '1970-01-01'"],
            Self::Text => &["'x1'", "''", "'Y'", "'zz2'", "'ä'"],
        }
    }
}

/// An expression: its text with `{}` for each part.
#[derive(Debug, Clone)]
pub struct Expr {
    class: Class,
    text: &'static str,
    /// In place of `text`: a column or literal.
    leaf: Option<String>,
    parts: Vec<Expr>,
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(leaf) = &self.leaf {
            return f.write_str(leaf);
        }
        let mut text = String::new();
        let mut parts = self.parts.iter();
        for (at, around) in self.text.split("{}").enumerate() {
            if at > 0
                && let Some(part) = parts.next()
            {
                text += &shown(part, f.alternate());
            }
            text += around;
        }
        let computed = self.class == Class::Float && self.text.starts_with('(');
        match computed && f.alternate() {
            true => f.write_str(&one_nan(&text)),
            false => f.write_str(&text),
        }
    }
}

/// Text as ours, or with `{:#}` as stock DataFusion gets it: there the sign of a computed NaN is
/// that of the processor, and NaN of either sign are two keys at the two ends of the order
/// (docs/differences.md). Any NaN becomes the one of ours.
fn shown(part: &impl fmt::Display, stock: bool) -> String {
    if stock { format!("{part:#}") } else { format!("{part}") }
}

fn one_nan(text: &str) -> String {
    format!("CASE WHEN isnan({text}) THEN 'NaN'::real ELSE {text} END")
}

/// What expressions are made of: the columns in scope.
#[derive(Debug, Clone)]
pub struct Scope(Vec<(String, Class)>);

impl Scope {
    fn of(alias: &str, table: &Table) -> Self {
        let columns = table.columns.iter();
        Self(columns.map(|c| (format!("{alias}.{}", c.name), Class::of(c.kind))).collect())
    }

    fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn leaf(&self, random: &mut impl Rng, class: Class) -> Expr {
        let columns: Vec<_> = self.0.iter().filter(|(_, of)| *of == class).collect();
        let leaf = match columns.choose(random) {
            Some((name, _)) if random.random_bool(0.8) => name.clone(),
            _ => (*class.literals().choose(random).unwrap()).to_string(),
        };
        Expr { class, text: "", leaf: Some(leaf), parts: Vec::new() }
    }

    fn any(&self, random: &mut impl Rng, depth: usize) -> Expr {
        let class = match random.random_bool(0.7) {
            true => self.0.choose(random).map_or(Class::Int, |(_, class)| *class),
            false => *CLASSES.choose(random).unwrap(),
        };
        self.expr(random, class, depth)
    }

    /// A random expression of a class.
    fn expr(&self, random: &mut impl Rng, class: Class, depth: usize) -> Expr {
        if depth == 0 || random.random_bool(0.25) {
            return self.leaf(random, class);
        }
        let (text, parts) = template(random, class);
        let parts = parts.into_iter().map(|class| self.expr(random, class, depth - 1)).collect();
        Expr { class, text, leaf: None, parts }
    }
}

/// An operator that answers a class, with the classes of its parts.
fn template(random: &mut impl Rng, class: Class) -> (&'static str, Vec<Class>) {
    use Class::{Bool, Date, Decimal, Float, Int, Text, Timestamp};
    if random.random_bool(0.25) {
        return match random.random_range(0..3) {
            0 => ("CASE WHEN {} THEN {} ELSE {} END", vec![Bool, class, class]),
            1 => ("CASE WHEN {} THEN {} END", vec![Bool, class]),
            _ => ("coalesce({}, {})", vec![class, class]),
        };
    }
    let any = *CLASSES.choose(random).unwrap();
    let ordered = *ORDERED.choose(random).unwrap();
    let choices = match class {
        Bool => of_bool(any, ordered),
        Int => vec![
            ("({} + {})", vec![Int, Int]),
            ("({} - {})", vec![Int, Int]),
            ("({} * {})", vec![Int, Int]),
            ("({} / nullif({}, 0))", vec![Int, Int]),
            ("({} % nullif({}, 0))", vec![Int, Int]),
            ("nullif({}, {})", vec![Int, Int]),
            ("CAST({} AS BIGINT)", vec![Int]),
            ("extract(year FROM {})", vec![Date]),
            ("extract(day FROM {})", vec![Timestamp]),
            ("CAST({} AS INT)", vec![Bool]),
            ("character_length({})", vec![Text]),
        ],
        Float => vec![
            ("({} + {})", vec![Float, Float]),
            ("({} - {})", vec![Float, Float]),
            ("({} * {})", vec![Float, Float]),
            ("({} / {})", vec![Float, Float]),
            ("CAST({} AS DOUBLE)", vec![Int]),
            ("(- {})", vec![Float]),
        ],
        Decimal => vec![
            ("({} + {})", vec![Decimal, Decimal]),
            ("({} - {})", vec![Decimal, Decimal]),
            ("nullif({}, {})", vec![Decimal, Decimal]),
        ],
        Date => {
            vec![("({} + INTERVAL '1 month')", vec![Date]), ("CAST({} AS DATE)", vec![Timestamp])]
        }
        Timestamp => vec![
            ("({} + INTERVAL '90 minutes')", vec![Timestamp]),
            ("date_trunc('hour', {})", vec![Timestamp]),
        ],
        Text => vec![("upper({})", vec![Text]), ("nullif({}, {})", vec![Text, Text])],
    };
    choices.choose(random).unwrap().clone()
}

/// Operators that answer a boolean, of parts of any class and of one that has an order.
fn of_bool(any: Class, ordered: Class) -> Vec<(&'static str, Vec<Class>)> {
    use Class::{Bool, Decimal, Float, Int, Text};
    vec![
        ("({} = {})", vec![ordered, ordered]),
        ("({} <> {})", vec![ordered, ordered]),
        ("({} < {})", vec![ordered, ordered]),
        ("({} >= {})", vec![ordered, ordered]),
        ("({} < {})", vec![Int, Float]),
        ("({} > {})", vec![Int, Decimal]),
        ("({} IS NULL)", vec![any]),
        ("({} IS NOT NULL)", vec![any]),
        ("({} IS DISTINCT FROM {})", vec![any, any]),
        ("({} IS NOT DISTINCT FROM {})", vec![any, any]),
        ("({} AND {})", vec![Bool, Bool]),
        ("({} OR {})", vec![Bool, Bool]),
        ("(NOT {})", vec![Bool]),
        ("({} IS TRUE)", vec![Bool]),
        ("({} IN (1, 2, 3, -1))", vec![Int]),
        ("({} NOT IN (1, NULL, 3))", vec![Int]),
        ("({} IN ('x1', 'Y', NULL))", vec![Text]),
        ("({} BETWEEN {} AND {})", vec![ordered, ordered, ordered]),
        ("({} LIKE '%1%')", vec![Text]),
        ("({} NOT LIKE 'x_')", vec![Text]),
    ]
}

impl Expr {
    /// The same with one node replaced by a part of it.
    fn smaller(&self) -> Vec<Self> {
        let mut all: Vec<Self> =
            self.parts.iter().filter(|part| part.class == self.class).cloned().collect();
        for (at, part) in self.parts.iter().enumerate() {
            for smaller in part.smaller() {
                let mut expr = self.clone();
                expr.parts[at] = smaller;
                all.push(expr);
            }
        }
        all
    }
}

/// A relation that is read.
#[derive(Debug, Clone)]
pub enum From {
    Table,
    Join {
        kind: &'static str,
        /// Further condition beside the equality of the keys.
        residual: Option<Expr>,
        /// A column that the second side computes before it is joined.
        computed: Option<Expr>,
    },
}

#[derive(Debug, Clone)]
pub struct Query {
    from: From,
    filter: Option<Expr>,
    /// Of a membership in a subquery over the other table.
    member: Option<(&'static str, Expr)>,
    keys: Vec<Expr>,
    /// What is selected: expressions, or aggregates beside the keys.
    select: Vec<Item>,
    grouped: bool,
    having: Option<i64>,
    distinct: bool,
    ordered: bool,
    limit: Option<usize>,
}

/// A column of the answer.
#[derive(Debug, Clone)]
pub struct Item {
    text: &'static str,
    of: Expr,
    only: Option<Expr>,
    /// Whether other engines may answer a float that differs in its last digits.
    pub loose: bool,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stock = f.alternate();
        let mut text = self.text.replace("{}", &shown(&self.of, stock));
        if let Some(only) = &self.only {
            text += &format!(" FILTER (WHERE {})", shown(only, stock));
        }
        let computed = self.of.class == Class::Float && self.loose;
        match computed && stock {
            true => f.write_str(&one_nan(&text)),
            false => f.write_str(&text),
        }
    }
}

const JOINS: [&str; 8] = [
    "JOIN",
    "LEFT JOIN",
    "RIGHT JOIN",
    "FULL JOIN",
    "LEFT SEMI JOIN",
    "LEFT ANTI JOIN",
    "RIGHT SEMI JOIN",
    "RIGHT ANTI JOIN",
];

impl Query {
    pub fn random(random: &mut impl Rng, data: &Data) -> Self {
        let (t, u) = (Scope::of("t", &data.tables[0]), Scope::of("u", &data.tables[1]));
        let mut scope = t.clone();
        let mut from = From::Table;
        if random.random_bool(0.55) {
            let kind = *JOINS.choose(random).unwrap();
            let both = t.clone().and(u.clone());
            let residual = random.random_bool(0.35).then(|| both.expr(random, Class::Bool, 2));
            let computed = random.random_bool(0.35).then(|| u.any(random, 2));
            let visible = computed.as_ref().map_or(u.clone(), |expr| {
                u.clone().and(Scope(vec![("u.computed".to_string(), expr.class)]))
            });
            scope = match kind {
                "LEFT SEMI JOIN" | "LEFT ANTI JOIN" => t.clone(),
                "RIGHT SEMI JOIN" | "RIGHT ANTI JOIN" => visible,
                _ => t.clone().and(visible),
            };
            from = From::Join { kind, residual, computed };
        }
        let filter = random.random_bool(0.5).then(|| scope.expr(random, Class::Bool, 2));
        let member = random.random_bool(0.15).then(|| {
            let word = *["IN", "NOT IN", "EXISTS", "NOT EXISTS"].choose(random).unwrap();
            (word, scope.leaf(random, Class::Int))
        });
        let grouped = random.random_bool(0.6);
        let (mut keys, mut select) = (Vec::new(), Vec::new());
        if grouped {
            let count = random.random_range(0..=2);
            keys = (0..count).map(|_| scope.any(random, 1)).collect();
            let count = random.random_range(1..=3);
            select = (0..count).map(|_| aggregate(random, &scope)).collect();
        } else {
            for _ in 0..random.random_range(1..=4) {
                let of = scope.any(random, 2);
                select.push(Item { text: "{}", loose: false, of, only: None });
            }
        }
        Self {
            from,
            filter,
            member,
            having: (grouped && random.random_bool(0.2)).then(|| random.random_range(0..4)),
            distinct: !grouped && random.random_bool(0.15),
            ordered: random.random_bool(0.3),
            limit: random.random_bool(0.2).then(|| random.random_range(0..20)),
            keys,
            select,
            grouped,
        }
    }

    /// Whether the rows are fixed by the query: a LIMIT without an order leaves them open.
    pub fn is_fixed(&self) -> bool {
        self.limit.is_none() || self.ordered
    }

    /// Whether stock DataFusion is asked too. Its min and max of a group's floats pass over NaN or
    /// not by the order of rows.
    pub fn for_stock(&self) -> bool {
        let of_floats = |item: &Item| {
            item.of.class == Class::Float
                && (item.text.starts_with("min") || item.text.starts_with("max"))
        };
        !self.select.iter().any(of_floats)
    }

    /// Columns whose floats may differ in their last digits from another engine's.
    pub fn loose(&self) -> Vec<bool> {
        let keys = self.keys.iter().map(|_| false);
        keys.chain(self.select.iter().map(|item| item.loose)).collect()
    }

    /// The same without one of its parts, or with a smaller one.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut with = |change: &dyn Fn(&mut Self)| {
            let mut query = self.clone();
            change(&mut query);
            all.push(query);
        };
        if self.filter.is_some() {
            with(&|q| q.filter = None);
        }
        if self.member.is_some() {
            with(&|q| q.member = None);
        }
        if self.having.is_some() {
            with(&|q| q.having = None);
        }
        if self.distinct {
            with(&|q| q.distinct = false);
        }
        if self.limit.is_some() {
            with(&|q| q.limit = None);
        }
        if self.ordered {
            with(&|q| q.ordered = false);
        }
        for at in 0..self.keys.len() {
            with(&|q| drop(q.keys.remove(at)));
        }
        for at in 0..self.select.len() {
            if self.select.len() > 1 {
                with(&|q| drop(q.select.remove(at)));
            }
            if self.select[at].only.is_some() {
                with(&|q| q.select[at].only = None);
            }
            for smaller in self.select[at].of.smaller() {
                with(&|q| q.select[at].of = smaller.clone());
            }
        }
        for (at, key) in self.keys.iter().enumerate() {
            for smaller in key.smaller() {
                with(&|q| q.keys[at] = smaller.clone());
            }
        }
        for smaller in self.filter.iter().flat_map(Expr::smaller) {
            with(&|q| q.filter = Some(smaller.clone()));
        }
        if let From::Join { kind, residual, computed } = &self.from {
            let join = |residual: Option<Expr>, computed: Option<Expr>| From::Join {
                kind,
                residual,
                computed,
            };
            if residual.is_some() {
                with(&|q| q.from = join(None, computed.clone()));
            }
            for smaller in residual.iter().flat_map(Expr::smaller) {
                with(&|q| q.from = join(Some(smaller.clone()), computed.clone()));
            }
            for smaller in computed.iter().flat_map(Expr::smaller) {
                with(&|q| q.from = join(residual.clone(), Some(smaller.clone())));
            }
        }
        all
    }
}

fn aggregate(random: &mut impl Rng, scope: &Scope) -> Item {
    use Class::{Bool, Decimal, Float, Int, Text};
    let ordered = *ORDERED.choose(random).unwrap();
    let (text, class, loose) = *[
        ("count(*)", Int, false),
        ("count({})", ordered, false),
        ("sum({})", Int, false),
        ("sum({})", Float, true),
        ("sum({})", Decimal, false),
        ("avg({})", Int, true),
        ("avg({})", Float, true),
        ("avg({})", Decimal, false),
        ("min({})", ordered, false),
        ("max({})", ordered, false),
        ("bool_and({})", Bool, false),
        ("bool_or({})", Bool, false),
        ("count(DISTINCT {})", Int, false),
        ("count(DISTINCT {})", Text, false),
    ]
    .choose(random)
    .unwrap();
    let only = random.random_bool(0.2).then(|| scope.expr(random, Bool, 1));
    Item { text, of: scope.expr(random, class, 1), only, loose }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stock = f.alternate();
        let columns: Vec<String> = self
            .keys
            .iter()
            .map(|key| shown(key, stock))
            .chain(self.select.iter().map(|item| shown(item, stock)))
            .enumerate()
            .map(|(at, text)| format!("{text} AS o{at}"))
            .collect();
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        write!(f, "SELECT {distinct}{} FROM t", columns.join(", "))?;
        if let From::Join { kind, residual, computed } = &self.from {
            match computed {
                Some(expr) => {
                    let expr = shown(expr, stock);
                    write!(f, " {kind} (SELECT *, {expr} AS computed FROM u) u ON t.k = u.k")?;
                }
                None => write!(f, " {kind} u ON t.k = u.k")?,
            }
            if let Some(residual) = residual {
                write!(f, " AND {}", shown(residual, stock))?;
            }
        }
        let member = self.member.as_ref().map(|(word, of)| match *word {
            "EXISTS" | "NOT EXISTS" => {
                format!("{word} (SELECT 1 FROM u AS w WHERE w.k = {})", shown(of, stock))
            }
            _ => format!("{} {word} (SELECT w.k FROM u AS w)", shown(of, stock)),
        });
        let filter = self.filter.iter().map(|filter| shown(filter, stock));
        let conditions: Vec<String> = filter.chain(member).collect();
        if !conditions.is_empty() {
            write!(f, " WHERE {}", conditions.join(" AND "))?;
        }
        if self.grouped && !self.keys.is_empty() {
            let keys: Vec<String> = (1..=self.keys.len()).map(|at| at.to_string()).collect();
            write!(f, " GROUP BY {}", keys.join(", "))?;
        }
        if let Some(having) = self.having {
            write!(f, " HAVING count(*) > {having}")?;
        }
        if self.ordered {
            let all: Vec<String> = (1..=columns.len()).map(|at| at.to_string()).collect();
            write!(f, " ORDER BY {}", all.join(", "))?;
        }
        match self.limit {
            Some(limit) => write!(f, " LIMIT {limit}"),
            None => Ok(()),
        }
    }
}
