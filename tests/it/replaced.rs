//! What a fragment keeps of the nodes it stands for: each property of each kind of node is looked
//! at, by name. A property that a new release of DataFusion adds is in no list here, and fails the
//! test until somebody has made lowering keep it, or refuse the node that has it.
//!
//! The fields are read from the source of the very release that is linked, as their `Debug` leaves
//! some out (a join's row limit among them, which was lost for a while).

use std::path::PathBuf;

use super::support;
use thalweg::config::DeviceChoice;

/// What became of a property.
#[derive(Clone, Copy, PartialEq)]
enum Care {
    /// The fragment does as it says.
    Kept,
    /// Where it is set, the node stays on the CPU.
    Refused,
    /// No answer depends on it: counters, caches, sizes of batches, what filters are pushed later.
    Neutral,
    /// Follows from other properties of the node.
    Derived,
}
use Care::{Derived, Kept, Neutral, Refused};

/// A struct of DataFusion: its crate, its file there, its name, and what of it is looked at.
type Looked<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, Care)]);

const PLAN: &str = "datafusion-physical-plan";
const EXPR: &str = "datafusion-physical-expr";

/// The nodes that `plan::offload::lower` takes apart.
const NODES: &[Looked<'static>] = &[
    (
        PLAN,
        "filter.rs",
        "FilterExec",
        &[
            ("predicate", Kept),
            ("input", Kept),
            ("metrics", Neutral),
            ("default_selectivity", Neutral), // of estimates
            ("cache", Derived),
            ("projection", Kept),
            ("batch_size", Neutral),
            ("fetch", Refused),
        ],
    ),
    (
        PLAN,
        "projection.rs",
        "ProjectionExec",
        &[
            ("projector", Kept),
            ("input", Kept),
            ("metrics", Neutral),
            ("cache", Derived),
            ("overrides_metadata", Kept), // with the schema, which is the node's own
        ],
    ),
    (EXPR, "projection.rs", "ProjectionExpr", &[("expr", Kept), ("alias", Kept)]),
    (
        PLAN,
        "joins/hash_join/exec.rs",
        "HashJoinExec",
        &[
            ("left", Kept),
            ("right", Kept),
            ("on", Kept),
            ("filter", Kept),
            ("join_type", Kept), // mark joins are refused
            ("join_schema", Derived),
            ("left_fut", Neutral),
            ("random_state", Neutral),
            ("mode", Neutral), // a fragment has one partition
            ("metrics", Neutral),
            ("projection", Kept),
            ("column_indices", Derived),
            ("null_equality", Kept),
            ("null_aware", Refused),
            ("cache", Derived),
            ("dynamic_filter", Neutral), // only drops rows that have no match
            ("fetch", Refused),
        ],
    ),
    (
        PLAN,
        "joins/join_filter.rs",
        "JoinFilter",
        &[("expression", Kept), ("column_indices", Kept), ("schema", Kept)],
    ),
    (
        PLAN,
        "aggregates/mod.rs",
        "AggregateExec",
        &[
            ("mode", Kept), // final ones without their partial one are refused
            ("group_by", Kept),
            ("aggr_expr", Kept),
            ("filter_expr", Kept),
            ("limit_options", Neutral), // a hint: a limit or a sort above takes no more rows
            ("input", Kept),
            ("schema", Kept),
            ("input_schema", Derived),
            ("metrics", Neutral),
            ("required_input_ordering", Refused), // with the calls that want it
            ("input_order_mode", Refused),        // with an order of the output
            ("cache", Derived),
            ("dynamic_filter", Neutral),
        ],
    ),
    (PLAN, "aggregates/mod.rs", "LimitOptions", &[("limit", Neutral), ("descending", Neutral)]),
    (
        PLAN,
        "aggregates/mod.rs",
        "PhysicalGroupBy",
        &[
            ("expr", Kept),
            ("null_expr", Refused), // grouping sets
            ("groups", Refused),
            ("has_grouping_set", Refused),
        ],
    ),
    (
        EXPR,
        "aggregate.rs",
        "AggregateFunctionExpr",
        &[
            ("fun", Kept),
            ("args", Kept),
            ("arg_fields", Derived),
            ("return_field", Kept),
            ("name", Neutral),
            ("human_display", Neutral),
            ("schema", Derived),
            ("order_bys", Refused),
            ("ignore_nulls", Neutral), // those with a device form all do
            ("ordering_fields", Refused),
            ("is_distinct", Refused),
            ("is_reversed", Neutral), // of those that depend on an order
            ("input_fields", Derived),
            ("is_nullable", Derived),
        ],
    ),
    (
        PLAN,
        "repartition/mod.rs",
        "RepartitionExec",
        &[
            ("input", Kept),
            ("state", Neutral),
            ("metrics", Neutral),
            ("preserve_order", Refused),
            ("cache", Derived), // how it spreads rows: a fragment has one partition
        ],
    ),
    (
        PLAN,
        "coalesce_partitions.rs",
        "CoalescePartitionsExec",
        &[("input", Kept), ("metrics", Neutral), ("cache", Derived), ("fetch", Refused)],
    ),
    (PLAN, "coop.rs", "CooperativeExec", &[("input", Kept), ("properties", Derived)]),
];

/// The expressions that `expr::lower` takes apart.
const EXPRESSIONS: &[Looked<'static>] = &[
    (
        EXPR,
        "expressions/binary.rs",
        "BinaryExpr",
        &[("left", Kept), ("op", Kept), ("right", Kept), ("fail_on_overflow", Refused)],
    ),
    (EXPR, "expressions/case.rs", "CaseExpr", &[("body", Kept), ("eval_method", Derived)]),
    (
        EXPR,
        "expressions/case.rs",
        "CaseBody",
        &[("expr", Kept), ("when_then_expr", Kept), ("else_expr", Kept)],
    ),
    (
        EXPR,
        "expressions/cast.rs",
        "CastExpr",
        &[
            ("expr", Kept),
            ("target_field", Kept),
            ("explicit_target", Neutral), // whether the field has a name of its own
            ("cast_options", Kept),
        ],
    ),
    (
        EXPR,
        "expressions/try_cast.rs",
        "TryCastExpr",
        &[("expr", Kept), ("target_field", Kept), ("explicit_target", Neutral)],
    ),
    (
        EXPR,
        "expressions/in_list.rs",
        "InListExpr",
        &[("expr", Kept), ("list", Kept), ("negated", Kept), ("static_filter", Derived)],
    ),
    (EXPR, "expressions/negative.rs", "NegativeExpr", &[("arg", Kept)]),
    (EXPR, "expressions/not.rs", "NotExpr", &[("arg", Kept)]),
    (EXPR, "expressions/is_null.rs", "IsNullExpr", &[("arg", Kept)]),
    (EXPR, "expressions/is_not_null.rs", "IsNotNullExpr", &[("arg", Kept)]),
    (EXPR, "expressions/literal.rs", "Literal", &[("value", Kept), ("field", Neutral)]),
    (EXPR, "expressions/column.rs", "Column", &[("name", Neutral), ("index", Kept)]),
    (
        EXPR,
        "scalar_function.rs",
        "ScalarFunctionExpr",
        &[
            ("fun", Kept),
            ("name", Kept),
            ("args", Kept),
            ("return_field", Kept),
            ("config_options", Neutral), // no function with a device form reads them
        ],
    ),
];

/// The source folder of a crate as it is linked; `None` where sources are not kept.
fn sources(name: &str) -> Option<PathBuf> {
    let lock = std::fs::read_to_string("Cargo.lock").unwrap();
    let after = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap().1;
    let version = after.split_once('"').unwrap().0;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")))?;
    let folders = std::fs::read_dir(home.join("registry/src")).ok()?;
    let folders = folders.map(|folder| folder.unwrap().path());
    folders.map(|folder| folder.join(format!("{name}-{version}/src"))).find(|path| path.is_dir())
}

/// The names of a struct's fields.
fn fields(text: &str, name: &str) -> Vec<String> {
    let start = text.find(&format!("struct {name} {{")).unwrap_or_else(|| panic!("no {name}"));
    let body = text[start..].split_once('{').unwrap().1;
    let lines = body.lines().take_while(|line| !line.starts_with('}'));
    let lines = lines.filter(|line| !line.trim_start().starts_with(['/', '#']));
    let field = |line: &str| {
        let (before, _) = line.strip_prefix("    ")?.split_once(": ")?;
        let name = before.rsplit(' ').next()?;
        let plain = name.chars().all(|char| char.is_ascii_lowercase() || char == '_');
        (plain && !name.is_empty() && !line.starts_with("     ")).then(|| name.to_string())
    };
    lines.filter_map(field).collect()
}

/// What differs between a struct and what is looked at of it.
fn unlooked(text: &str, name: &str, looked: &[(&str, Care)]) -> Vec<String> {
    let found = fields(text, name);
    let new = found.iter().filter(|field| !looked.iter().any(|(name, _)| name == field));
    let new = new.map(|field| format!("{name}.{field}: nobody has looked at it"));
    let gone = looked.iter().filter(|(field, _)| !found.iter().any(|name| name == field));
    let gone = gone.map(|(field, _)| format!("{name}.{field}: there is none any more"));
    new.chain(gone).collect()
}

#[test]
fn every_property_of_a_replaced_node_is_kept_or_refused() {
    let planted = "pub struct A {\n    /// b: c\n    pub b: usize,\n    pub(crate) fetch: u8,\n}\n";
    assert_eq!(fields(planted, "A"), ["b", "fetch"]);
    assert_eq!(unlooked(planted, "A", &[("b", Kept)]), ["A.fetch: nobody has looked at it"]);
    let gone = unlooked(planted, "A", &[("b", Kept), ("fetch", Refused), ("c", Kept)]);
    assert_eq!(gone, ["A.c: there is none any more"]);
    let mut found = Vec::new();
    for (package, file, name, looked) in NODES.iter().chain(EXPRESSIONS) {
        let Some(folder) = sources(package) else {
            let missing = format!("the source of {package} is not kept here");
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            return eprintln!("NOT RUN: {missing}");
        };
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        found.extend(unlooked(&text, name, looked));
    }
    let text =
        "look at src/plan/offload/lower.rs and src/expr/lower: keep or refuse it, and say so here";
    assert!(found.is_empty(), "{text}\n{}", found.join("\n"));
}

/// The nodes of a plan that are refused say so, and the answer is that of the CPU.
#[tokio::test]
async fn refused_properties_stay_on_the_cpu() {
    let Some(engine) = support::engine_on(DeviceChoice::Gpu) else { return };
    support::run(&engine, "CREATE TABLE t(a INT, b INT) AS VALUES (1, 1), (2, NULL), (3, 3)")
        .await
        .unwrap();
    let x_y = "FROM t x JOIN t y ON x.a = y.a";
    for (sql, rows, reason) in [
        (format!("SELECT x.a {x_y} LIMIT 2"), 2, "HashJoinExec stops at 2 rows"),
        (format!("SELECT x.a {x_y} LIMIT 2 OFFSET 2"), 1, "HashJoinExec stops at 4 rows"),
        (format!("SELECT count(*) FROM (SELECT x.a {x_y} LIMIT 2)"), 1, "stops at 2 rows"),
        (format!("SELECT x.a + 1 {x_y} AND x.b < y.a + 9 LIMIT 1"), 1, "stops at 1 rows"),
        ("SELECT x.a FROM t x LEFT JOIN t y ON x.a = y.b LIMIT 2".into(), 2, "stops at 2 rows"),
        ("SELECT x.a FROM t x FULL JOIN t y ON x.a = y.b LIMIT 3".into(), 3, "stops at 3 rows"),
        ("SELECT a FROM t x WHERE a IN (SELECT b FROM t) LIMIT 1".into(), 1, "stops at 1 rows"),
        ("SELECT a FROM t WHERE a > 1 LIMIT 1".into(), 1, "FilterExec stops at 1 rows"),
        ("SELECT a FROM t WHERE a NOT IN (SELECT b FROM t)".into(), 0, "null-aware"),
    ] {
        let plan = support::rows(&engine, &format!("EXPLAIN {sql}")).await;
        let plan: Vec<String> = plan.rows.into_iter().flatten().collect();
        assert!(plan.iter().any(|text| text.contains(reason)), "{reason:?} of {sql}:\n{plan:?}");
        assert_eq!(support::rows(&engine, &sql).await.rows.len(), rows, "{sql}");
    }
}
