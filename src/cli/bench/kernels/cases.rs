//! Queries by which families of kernels are measured.

/// A query by which a family of kernels is measured.
#[derive(Clone, Copy)]
pub struct Case {
    pub family: &'static str,
    pub name: &'static str,
    pub sql: &'static str,
    /// Of the columns of a row that it reads.
    pub bytes: u64,
}

const fn case(family: &'static str, name: &'static str, sql: &'static str, bytes: u64) -> Case {
    Case { family, name, sql, bytes }
}

pub const CASES: [Case; 14] = [
    case("reduce", "sum of integers", "SELECT sum(i) FROM t", 8),
    case("reduce", "sum of decimals", "SELECT sum(d) FROM t", 16),
    case("reduce", "exact sum of floats", "SELECT sum(f) FROM t", 8),
    case("reduce", "minimum, maximum", "SELECT min(i), max(i) FROM t", 8),
    case("select", "1 % of rows", "SELECT i FROM t WHERE p < 1", 12),
    case("select", "50 % of rows", "SELECT i FROM t WHERE p < 50", 12),
    case("select", "computed", "SELECT i * 2 + p FROM t WHERE i % 7 = p % 7", 12),
    case("group", "4 texts", "SELECT s, count(*), sum(i) FROM t GROUP BY s", 14),
    case("group", "1 thousand keys", "SELECT k, count(*), sum(i) FROM t GROUP BY k", 12),
    case("group", "1 million keys", "SELECT m, count(*), sum(i) FROM t GROUP BY m", 12),
    case("group", "sums of floats", "SELECT k, sum(f) FROM t GROUP BY k", 12),
    case("join", "unique keys", "SELECT count(*), sum(r.x) FROM t JOIN r ON t.k = r.k", 4),
    case("join", "10 of a key", "SELECT count(*), sum(q.x) FROM t JOIN q ON t.k = q.k", 4),
    case("join", "1 million keys", "SELECT count(*), sum(l.x) FROM t JOIN l ON t.m = l.k", 4),
];
