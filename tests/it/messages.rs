//! What is said of a statement that fails: its line with a caret, the names that are near, and
//! nothing of paths, layers and drivers.

use std::process::{Command, Stdio};

use crate::cli::{error, folder, rows, thalweg, told, write};

#[test]
fn the_line_is_shown_with_a_caret() {
    let folder = folder();
    let err = error(folder.path(), "SELECT a,\n       nope\nFROM (VALUES (1)) AS t(a)");
    let wanted = "error: line 2, column 8: column 'nope' not found; available: a\n\
                  2 |        nope\n  |        ^^^^\n";
    assert_eq!(err, wanted);
    let err = error(folder.path(), "SELECT 1 +\nFROM t");
    assert!(
        err.contains("line 2, column 1: ") && err.contains("\n2 | FROM t\n  | ^^^^\n"),
        "{err}"
    );
    // The text of a file as it is after its values were put in.
    write(folder.path(), "q.sql", "SELECT 1;\nSELECT '${data:-long enough}', nope;\n");
    let arguments = ["sql", "--device", "cpu", "--format", "csv", "-f", "q.sql"];
    let (code, _, err) = told(&thalweg(folder.path(), &arguments));
    assert_eq!(code, 1);
    let wanted = "2 | SELECT 'long enough', nope;\n  |                       ^^^^\n";
    assert!(err.starts_with("error: q.sql, line 2, column 23: ") && err.ends_with(wanted), "{err}");
}

#[test]
fn a_pipeline_shows_its_line_too() {
    let folder = folder();
    write(folder.path(), "p.sql", "SELECT 1;\nSELEC 2\n");
    let (code, _, err) = told(&thalweg(folder.path(), &["run", "--device", "cpu", "p.sql"]));
    assert_eq!(code, 1);
    assert!(err.contains("line 2, column 1") && err.ends_with("2 | SELEC 2\n  | ^^^^^\n"), "{err}");
}

#[test]
fn near_names_are_offered_and_few() {
    let folder = folder();
    let columns: Vec<String> = (0..19).map(|column| format!("measure_{column}")).collect();
    write(folder.path(), "data/wide.csv", format!("carrier,{}\n", columns.join(",")));
    let err = error(folder.path(), "SELECT carier FROM 'data/wide.csv'");
    assert!(err.contains("column 'carier' not found; did you mean 'carrier'?"), "{err}");
    let err = error(folder.path(), "SELECT zzz FROM 'data/wide.csv'");
    assert!(err.contains("measure_6 and 12 more"), "{err}");
    for err in [err, error(folder.path(), "SELECT x.a FROM 'data/wide.csv' AS w")] {
        let message = err.lines().next().unwrap();
        assert!(!message.contains("data/"), "{err}");
    }
    let err = error(folder.path(), "CREATE VIEW flights AS SELECT 1 AS a; SELECT * FROM flihgts");
    assert!(err.contains("table 'flihgts' not found; did you mean 'flights'?"), "{err}");
    let err = error(folder.path(), "SELECT * FROM 'data/wid.csv'");
    assert!(err.contains("'data/wid.csv' does not exist; did you mean 'data/wide.csv'?"), "{err}");
    let err = error(folder.path(), "SELECT cout(*) FROM 'data/wide.csv'");
    assert!(err.contains("function 'cout' not found; did you mean 'cot' or 'count'?"), "{err}");
    write(folder.path(), "c.csv", "Name\nx\n");
    let err = error(folder.path(), "SELECT name FROM 'c.csv'");
    assert!(err.contains("did you mean \"Name\"?"), "{err}");
    assert_eq!(rows(folder.path(), "SELECT \"Name\" FROM 'c.csv'"), "Name\nx\n");
}

#[test]
fn drivers_are_not_heard_where_nothing_fails() {
    let folder = folder();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.current_dir(folder.path()).args(arguments).stdin(Stdio::null());
        // Layers of Vulkan complain where there is no desktop.
        command.env_remove("XDG_RUNTIME_DIR").env_remove("THALWEG_LOG");
        told(&command.output().unwrap())
    };
    for arguments in [&["devices"][..], &["sql", "--device", "gpu", "-c", "SELECT 1 AS a"]] {
        let (code, _, err) = run(arguments);
        assert_eq!(code, 0, "{err}");
        let only_ours = err.lines().all(|line| line.contains("no GPU: the device is"));
        assert!(only_ours, "{arguments:?}: {err}");
    }
    // What is ours to say is still said.
    let (code, _, err) =
        run(&["sql", "--device", "gpu", "--adapter", "none such", "-c", "SELECT 1"]);
    assert!(code == 1 && err.starts_with("error: ") && err.contains("none such"), "{err}");
}
