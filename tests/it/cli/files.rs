//! Files as tables: how they are found and read, and what is told of those that are none.

use std::path::Path;

use super::{error, folder, rows, write};

/// Two rows of CSV, compressed by the engine itself.
fn compress(folder: &Path, ending: &str, name: &str) {
    rows(
        folder,
        &format!(
            "COPY (VALUES (1, 'x'), (2, 'y')) TO '{name}' STORED AS CSV \
             OPTIONS ('format.compression' '{ending}')"
        ),
    );
}

#[test]
fn what_is_no_file_is_told() {
    let folder = folder();
    write(folder.path(), "empty.csv", "");
    write(folder.path(), "empty.json", "");
    write(folder.path(), "empty.parquet", "");
    write(folder.path(), "mixed/a.csv", "a\n1\n");
    write(folder.path(), "mixed/b.json", "{\"a\":1}\n");
    write(folder.path(), "apart/a.csv", "a,b\n1,2\n");
    write(folder.path(), "apart/b.csv", "c,d\n1,2\n");
    let cases = [
        ("nope.csv", "'nope.csv' does not exist"),
        ("no/where", "'no/where' does not exist"),
        ("*.tsv", "no file matches '*.tsv'"),
        ("empty.csv", "'empty.csv' is empty"),
        ("empty.json", "'empty.json' is empty"),
        ("empty.parquet", "'empty.parquet' is empty"),
        ("mixed", "'mixed' is not one table: 'a.csv' and 'b.json'"),
        (
            "apart/*.csv",
            "not one table: 'apart/a.csv' has the columns a, b; 'apart/b.csv' has c, d",
        ),
        ("gopher://x/a.csv", "there is no store for gopher://"),
    ];
    for (file, what) in cases {
        let err = error(folder.path(), &format!("SELECT * FROM '{file}'"));
        assert!(err.contains(what), "{file}: {err}");
    }
    let err = error(folder.path(), "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'gone.csv'");
    assert!(err.contains("'gone.csv' does not exist"), "{err}");
    let err = error(folder.path(), "CREATE EXTERNAL TABLE t STORED AS XLS LOCATION 'mixed'");
    assert!(err.contains("XLS") && err.contains("PARQUET"), "{err}");
}

#[test]
fn malformed_files_are_told_with_file_and_line() {
    let folder = folder();
    write(folder.path(), "short.csv", "a,b\n1,2\n3\n");
    write(folder.path(), "cut.json", "{\"a\":1}\n{\"a\":2}\n{\"a\":\n");
    write(folder.path(), "good/1.csv", "a,b\n1,2\n");
    write(folder.path(), "good/2.csv", "a,b\n1,\"x\ny\"\n\n5,nine\n");
    rows(folder.path(), "COPY (SELECT 1 AS a) TO 'whole.parquet'");
    let whole = std::fs::read(folder.path().join("whole.parquet")).unwrap();
    write(folder.path(), "torn.parquet", &whole[..whole.len() / 2]);
    let cases = [
        ("SELECT * FROM 'short.csv'", "file 'short.csv', line 3: 2 values expected, 1 found"),
        ("SELECT * FROM 'cut.json'", "file 'cut.json', line 4: the file ends within an object"),
        ("SELECT * FROM 'torn.parquet'", "file 'torn.parquet' is no complete Parquet file"),
    ];
    for (query, what) in cases {
        let err = error(folder.path(), query);
        assert!(err.contains(what), "{query}: {err}");
    }
    // Found only while running, in one of several files, past a quoted line break.
    let declared = "CREATE EXTERNAL TABLE t (a INT, b INT) STORED AS CSV LOCATION 'good/'; ";
    for query in ["SELECT sum(b) FROM t", "CREATE TABLE u AS SELECT * FROM t"] {
        let err = error(folder.path(), &format!("{declared}{query}"));
        assert!(err.contains("file 'good/2.csv', line 2, column 'b'"), "{query}: {err}");
    }
}

#[test]
fn a_late_bad_row_is_named_by_its_line_in_the_file() {
    let folder = folder();
    let mut text = String::from("n,word\n");
    for number in 0..150_000 {
        text.push_str(&format!("{number},some word to make the file longer {number}\n"));
    }
    let line = text.lines().count() + 1;
    text.push_str("oops,end\n");
    write(folder.path(), "late.csv", &text);
    let err = error(folder.path(), "SELECT sum(n) FROM 'late.csv'");
    let what = format!("file 'late.csv', line {line}, column 'n': 'oops' is no Int64");
    assert!(err.contains(&what), "{err}");
}

#[test]
fn csv_of_the_real_world_is_understood() {
    let folder = folder();
    // A byte order mark, quotes, NULLs spelled out, dates, an empty column.
    write(
        folder.path(),
        "r.csv",
        "\u{feff}id,name,seen,score,none,flag\n1,\"O'Neil, \"\"Bob\"\"\",2026-01-02,NA,,true\n\
         2,\"two\nlines\",,3.5,,false\n",
    );
    let described = rows(folder.path(), "DESCRIBE 'r.csv'");
    let types: Vec<&str> = described.lines().filter_map(|line| line.split(',').nth(1)).collect();
    assert_eq!(types, ["data_type", "Int64", "Utf8", "Date32", "Float64", "Utf8", "Boolean"]);
    let nulls = "SELECT id, count(score) AS s, count(none) AS n, count(seen) AS d FROM 'r.csv' \
                 GROUP BY id ORDER BY id";
    assert_eq!(rows(folder.path(), nulls), "id,s,n,d\n1,0,0,1\n2,1,0,0\n");
    // NA between words is a word.
    write(folder.path(), "c.csv", "country\nNA\nDE\n");
    assert_eq!(rows(folder.path(), "SELECT * FROM 'c.csv'"), "country\nNA\nDE\n");
    write(folder.path(), "s.csv", "a;b\n1;\"x;y\"\n");
    assert_eq!(rows(folder.path(), "SELECT * FROM 's.csv'"), "a,b\n1,x;y\n");
    write(folder.path(), "h.csv", "a,b\n");
    assert_eq!(rows(folder.path(), "SELECT * FROM 'h.csv'"), "a,b\n");
}

#[test]
fn values_that_hold_line_breaks_survive_parallel_reading() {
    let folder = folder();
    let mut text = String::from("n,word\n");
    for number in 0..300_000 {
        text.push_str(&format!("{number},\"a quoted value\nof two lines {number}\"\n"));
    }
    assert!(text.len() > 11 << 20, "large enough to be cut");
    write(folder.path(), "large.csv", &text);
    let query = "SELECT count(*) AS n, count(DISTINCT word) AS w, sum(n) AS s FROM 'large.csv'";
    assert_eq!(rows(folder.path(), query), "n,w,s\n300000,300000,44999850000\n");
}

#[test]
fn declared_columns_go_by_the_names_of_the_header() {
    let folder = folder();
    write(folder.path(), "t.csv", "a,b,c\n1,x,7\n");
    let declared = "CREATE EXTERNAL TABLE t (c BIGINT, a INT) STORED AS CSV LOCATION 't.csv'; ";
    assert_eq!(rows(folder.path(), &format!("{declared}SELECT * FROM t")), "c,a\n7,1\n");
    let other = "CREATE EXTERNAL TABLE t (c BIGINT, z INT) STORED AS CSV LOCATION 't.csv'";
    let err = error(folder.path(), other);
    assert!(err.contains("column 'z' is not in the header") && err.contains("a, b, c"), "{err}");
    let none = "CREATE EXTERNAL TABLE t (x INT, y VARCHAR, z INT) STORED AS CSV LOCATION 't.csv'; ";
    assert_eq!(rows(folder.path(), &format!("{none}SELECT * FROM t")), "x,y,z\n1,x,7\n");
}

#[test]
fn compressed_text_and_all_json_endings_are_tables() {
    let folder = folder();
    for (name, ending) in [("a.csv.gz", "gzip"), ("a.csv.zst", "zstd"), ("a.csv.bz2", "bzip2")] {
        compress(folder.path(), ending, name);
        let query = format!("SELECT sum(column1) AS s, max(column2) AS m FROM '{name}'");
        assert_eq!(rows(folder.path(), &query), "s,m\n3,y\n", "{name}");
    }
    for name in ["a.json", "a.ndjson", "a.jsonl"] {
        write(folder.path(), name, "{\"a\":1}\n{\"a\":2}\n");
        assert_eq!(rows(folder.path(), &format!("SELECT sum(a) AS s FROM '{name}'")), "s\n3\n");
    }
    write(folder.path(), "array.json", "[{\"a\":1}, {\"a\":2}]");
    assert_eq!(rows(folder.path(), "SELECT sum(a) AS s FROM 'array.json'"), "s\n3\n");
}

#[test]
fn directories_patterns_and_partitions_are_tables() {
    let folder = folder();
    for (path, value) in [("y=2025/m=01", 1), ("y=2025/m=02", 2), ("y=2026/m=01", 4)] {
        write(folder.path(), &format!("p/{path}/x.csv"), format!("v\n{value}\n"));
    }
    write(folder.path(), "p/_SUCCESS", "");
    let sum = |from: &str| rows(folder.path(), &format!("SELECT sum(v) AS s FROM {from}"));
    assert_eq!(sum("'p'"), "s\n7\n");
    assert_eq!(sum("'p/' WHERE y = 2025"), "s\n3\n");
    assert_eq!(sum("'p/' WHERE m = '01'"), "s\n5\n");
    assert_eq!(sum("'p/**/*.csv' WHERE y = 2026"), "s\n4\n");
    assert_eq!(sum("'p/y=2025/*/*.csv'"), "s\n3\n");
    write(folder.path(), "p/y=2027/x.csv", "v\n8\n");
    let err = error(folder.path(), "SELECT * FROM 'p'");
    assert!(err.contains("different partition directories"), "{err}");

    write(folder.path(), "d/1.csv", "v\n1\n");
    write(folder.path(), "d/2.csv", "v\n2.5\n");
    write(folder.path(), "d/deep/3.csv", "v\n4\n");
    write(folder.path(), "d/.hidden.csv", "w\nx\n");
    assert_eq!(sum("'d/'"), "s\n7.5\n");
    assert_eq!(sum("'d/*.csv'"), "s\n3.5\n");
}

#[test]
fn a_directory_is_listed_anew_by_each_statement() {
    let folder = folder();
    write(folder.path(), "d/1.csv", "v\n1\n");
    let script = "SELECT count(*) AS n FROM 'd/'; COPY (SELECT 2 AS v) TO 'd/2.csv'; \
                  SELECT count(*) AS n FROM 'd/'";
    assert_eq!(rows(folder.path(), script), "n\n1\n\ncount\n1\n\nn\n2\n");
    let script = "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'd/'; \
                  SELECT count(*) AS n FROM t; COPY (SELECT 3 AS v) TO 'd/3.csv'; \
                  SELECT count(*) AS n FROM t; INSERT INTO t VALUES (4); \
                  SELECT count(*) AS n, sum(v) AS s FROM t";
    assert_eq!(rows(folder.path(), script), "n\n2\n\ncount\n1\n\nn\n3\n\ncount\n1\n\nn,s\n4,10\n");
}
