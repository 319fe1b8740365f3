//! What is drawn for a person: names of columns, plans, rows as lists; and that nothing of a result
//! is cut where no terminal reads it.

use std::path::Path;

use crate::cli::{folder, rows, thalweg, told, write};

/// What a statement prints as a table, where no terminal reads it.
#[track_caller]
fn drawn(folder: &Path, more: &[&str], sql: &str) -> String {
    let arguments = [&["sql", "--device", "cpu"], more, &["-c", sql]].concat();
    let (code, out, err) = told(&thalweg(folder, &arguments));
    assert_eq!((code, err.as_str()), (0, ""), "{sql}\n{out}");
    out
}

#[test]
fn columns_are_called_what_was_written() {
    let folder = folder();
    write(folder.path(), "d/x.csv", "a,b\n1,2\n3,4\n");
    let query = "SELECT count(*), max(a), sum(b)+1, b AS c, 'x' FROM 'd/x.csv' GROUP BY b \
                 ORDER BY max(a)";
    let wanted = "count(*),max(a),sum(b)+1,c,'x'\n1,1,3,2,x\n1,3,5,4,x\n";
    assert_eq!(rows(folder.path(), query), wanted);
    // A table that is made of a query has the planner's names, as before.
    let script = "CREATE TABLE t AS SELECT max(a) FROM 'd/x.csv'; \
                  SELECT column_name FROM information_schema.columns WHERE table_name = 't'";
    assert_eq!(rows(folder.path(), script), "column_name\nmax(d/x.csv.a)\n");
    let json = thalweg(
        folder.path(),
        &["sql", "--device", "cpu", "--format", "json", "-c", "SELECT *, a*2 FROM 'd/x.csv'"],
    );
    let (_, out, _) = told(&json);
    assert!(out.starts_with("{\"a\":1,\"b\":2,\"a*2\":2}\n"), "{out}");
}

#[test]
fn a_wide_and_long_table_is_whole_in_a_pipe_and_in_a_file() {
    let folder = folder();
    let columns: Vec<String> = (0..40).map(|at| format!("repeat('x', 30) AS c{at}")).collect();
    let query = format!("SELECT {} FROM generate_series(1, 200)", columns.join(", "));
    let whole = drawn(folder.path(), &[], &query);
    assert_eq!(whole.lines().count(), 204);
    assert!(whole.lines().all(|line| line.len() == 40 * 33 + 1), "{whole}");
    drawn(folder.path(), &["-o", "out.txt"], &query);
    assert_eq!(std::fs::read_to_string(folder.path().join("out.txt")).unwrap(), whole);
}

#[test]
fn rows_are_lists_on_request() {
    let folder = folder();
    let out = drawn(folder.path(), &["-x"], "SELECT 1 AS one, 'a' || chr(10) || 'b' AS longer");
    assert_eq!(out, "-[ 1 ]-\none    | 1\nlonger | a\\nb\n");
}

#[test]
fn a_plan_is_a_tree() {
    let folder = folder();
    write(folder.path(), "t.csv", "a,b\n1,x\n2,y\n3,x\n");
    write(folder.path(), "u.csv", "b,c\nx,1\ny,2\n");
    let query = "SELECT c, sum(a) FROM 't.csv' JOIN 'u.csv' USING (b) WHERE a > 1 GROUP BY c";
    let plan = drawn(folder.path(), &[], &format!("EXPLAIN {query}"));
    assert!(plan.contains("HashJoinExec: ") && plan.contains("├ "), "{plan}");
    assert!(plan.contains("t.csv") && !plan.contains("physical_plan"), "{plan}");
    let verbose = drawn(folder.path(), &[], &format!("EXPLAIN VERBOSE {query}"));
    assert!(verbose.starts_with("Logical plan\n"), "{verbose}");
    write(folder.path(), "p.sql", format!("EXPLAIN {query};"));
    let run = ["run", "p.sql", "--until-end", "--device", "cpu"];
    assert_eq!(told(&thalweg(folder.path(), &run)).1, plan);
    let csv = rows(folder.path(), &format!("EXPLAIN {query}"));
    assert!(csv.contains("logical_plan") && csv.contains("physical_plan"), "{csv}");
    let asked = drawn(folder.path(), &[], &format!("EXPLAIN FORMAT TREE {query}"));
    assert!(asked.contains("physical_plan"), "{asked}");
    let made = drawn(folder.path(), &[], &format!("EXPLAIN CREATE TABLE x AS {query}"));
    assert!(made.contains("CreateMemoryTable"), "{made}");
}

#[test]
fn analyze_shows_rows_time_bytes_and_shares() {
    let folder = folder();
    write(folder.path(), "t.csv", "a\n1\n2\n3\n");
    let query = "EXPLAIN ANALYZE SELECT a FROM 't.csv' WHERE a > 1";
    let plan = drawn(folder.path(), &[], query);
    let head: Vec<&str> = plan.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["rows", "time", "share", "bytes", "plan"]);
    let filter = plan.lines().find(|line| line.contains("FilterExec")).unwrap();
    assert!(filter.trim_start().starts_with("2 ") && filter.contains(" % "), "{plan}");
    assert!(plan.lines().last().unwrap().starts_with("2 rows in "), "{plan}");
    assert!(!plan.contains("metrics="), "{plan}");
    let verbose = drawn(folder.path(), &[], &query.replace("ANALYZE", "ANALYZE VERBOSE"));
    assert!(verbose.contains("metrics=[output_rows=2"), "{verbose}");
    let failed = thalweg(
        folder.path(),
        &["sql", "--device", "cpu", "-c", "EXPLAIN ANALYZE SELECT 1 / (a - 1) FROM 't.csv'"],
    );
    let (code, out, err) = told(&failed);
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", "error: division by zero\n"));
}

#[test]
fn a_plan_tells_side_and_reason_first() {
    let folder = folder();
    write(folder.path(), "t.csv", "a\n1\n2\n3\n");
    let query = "EXPLAIN SELECT sum(a), stddev(a) FROM 't.csv' WHERE a > 1";
    let output = thalweg(folder.path(), &["sql", "--device", "gpu", "-c", query]);
    let (code, out, err) = told(&output);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("CpuExec: side=cpu, reason="), "{out}");
    let query = "EXPLAIN SELECT sum(a) FROM 't.csv' WHERE a > 1";
    let output = thalweg(folder.path(), &["sql", "--device", "gpu", "-c", query]);
    let (_, out, _) = told(&output);
    assert!(out.contains("DeviceExec: side=gpu, reason="), "{out}");
}
