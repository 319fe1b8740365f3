//! The laws of the repository. Each has a sentence that says why, and planted violations: a law
//! that finds nothing in them fails as well.

mod imports;
mod text;

use text::{File, code, has_word, indent, tree, without_tests};

/// Violations as `path:line: what`.
type Law = fn(&[File]) -> Vec<String>;

/// The tree keeps the law, and the law sees each planted violation by itself.
fn check(law: Law, planted: &[(&str, &str)]) {
    let alone: Vec<_> = planted.iter().map(std::slice::from_ref).collect();
    check_together(law, &alone);
}

/// The same of violations that take several files.
fn check_together(law: Law, planted: &[&[(&str, &str)]]) {
    assert!(!planted.is_empty(), "a law that was never seen to fail");
    for violation in planted {
        let files: Vec<_> = violation.iter().map(|(path, text)| File::new(path, text)).collect();
        let found = law(&files);
        assert!(!found.is_empty(), "the law does not see the planted violation {violation:?}");
    }
    let found = law(&tree());
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

fn sources(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.ends(".rs") || file.ends(".wgsl"))
}

/// `at(file, line counted from 0, what)`.
fn at(file: &File, line: usize, what: impl std::fmt::Display) -> String {
    format!("{}:{}: {what}", file.path, line + 1)
}

/// Two files side by side fit a screen.
#[test]
fn no_line_is_over_100_columns() {
    fn law(files: &[File]) -> Vec<String> {
        let mut found = Vec::new();
        for file in sources(files) {
            for (number, line) in file.text.lines().enumerate() {
                let columns = line.chars().count();
                if columns > 100 {
                    found.push(at(file, number, format!("{columns} columns")));
                }
            }
        }
        found
    }
    check(law, &[("src/a.rs", &"x".repeat(101)), ("shaders/a.wgsl", &"é".repeat(101))]);
}

/// A file is read in one sitting.
#[test]
fn no_file_is_over_600_lines() {
    fn law(files: &[File]) -> Vec<String> {
        let lines = |file: &File| file.text.lines().count();
        let long = sources(files).filter(|file| lines(file) > 600);
        long.map(|file| format!("{}: {} lines", file.path, lines(file))).collect()
    }
    let long = "\n".repeat(601);
    for planted in ["src/a.rs", "tests/it/a.rs", "benches/a.rs", "shaders/a.wgsl"] {
        check(law, &[(planted, &long)]);
    }
}

/// A folder is seen at a glance: more than so many names are a list, and not a drawing.
#[test]
fn no_folder_has_over_15_files() {
    fn law(files: &[File]) -> Vec<String> {
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        for file in files.iter().filter(|file| file.path.starts_with("src/")) {
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            *counts.entry(folder).or_default() += 1;
        }
        let full = counts.into_iter().filter(|(_, count)| *count > 15);
        full.map(|(folder, count)| format!("{folder}: {count} files")).collect()
    }
    let paths: Vec<String> = (0..16).map(|nth| format!("src/a/b{nth}.rs")).collect();
    let full: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
    check_together(law, &[&full]);
    assert!(
        law(&full[1..].iter().map(|(path, _)| File::new(path, "")).collect::<Vec<_>>()).is_empty()
    );
}

/// Files that import one another are one file in several places: none of them can be read, tested
/// or replaced alone.
#[test]
fn files_import_in_no_circle() {
    /// Circles that are there, and why.
    const KNOWN: [(&[&str], &str); 1] = [(
        &[
            "src/stream/plan/interval.rs",
            "src/stream/plan/late.rs",
            "src/stream/plan/proctime.rs",
            "src/stream/plan/union.rs",
            "src/stream/plan/watermark_bound.rs",
        ],
        "one walk down a plan: each reads its own nodes, and calls the walk for those below",
    )];
    fn law(files: &[File]) -> Vec<String> {
        let circles = imports::circles(files, "src/").into_iter();
        let known = |circle: &[String]| {
            KNOWN.iter().any(|(known, _)| circle.iter().all(|file| known.contains(&file.as_str())))
        };
        circles.filter(|circle| !known(circle)).map(|circle| circle.join(" ↔ ")).collect()
    }
    let (one, two) = ("src/stream/time/a.rs", "src/lake/b.rs");
    check_together(
        law,
        &[
            &[(one, "use crate::lake::b::B;"), (two, "use crate::stream::time::a::A;")],
            &[(one, "use super::b::{C, D};"), ("src/stream/time/b.rs", "fn e() { super::a::e() }")],
            &[(one, "use super::F;"), ("src/stream/time/mod.rs", "pub mod a;\npub use a::G;")],
            &[
                (one, "use crate::lake::H;"),
                ("src/lake.rs", "fn i() -> crate::stream::time::a::I;"),
            ],
        ],
    );
    // Where a name may be seen is no import.
    let down = "use crate::lake::b::B;\npub(in crate::stream) fn c() {}";
    let down = [(one, down), (two, "fn c() {}"), ("src/stream.rs", "pub use time::a::C;")];
    assert!(law(&down.map(|(path, text)| File::new(path, text))).is_empty());
}

/// A function fits on a screen, and there is a sharp discontinuity when it does not.
#[test]
fn no_function_is_over_70_lines() {
    fn law(files: &[File]) -> Vec<String> {
        let mut found = Vec::new();
        for file in files.iter().filter(|file| file.ends(".rs")) {
            let code = code(&file.text);
            let lines: Vec<&str> = code.lines().collect();
            for (number, line) in lines.iter().enumerate().filter(|(_, line)| starts_fn(line)) {
                let length = function_length(&lines[number..], indent(line));
                if length > 70 {
                    found.push(at(file, number, format!("a function of {length} lines")));
                }
            }
        }
        found
    }
    let long = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(69));
    let method =
        format!("impl A {{\n    pub async fn a(\n    ) {{\n{}    }}\n}}\n", "\n".repeat(70));
    check(law, &[("src/a.rs", &long), ("src/b.rs", &method)]);
    let fits =
        format!("fn a() {{\n{}}}\nfn b();\n{}}}\n", "    b();\n".repeat(68), "\n".repeat(99));
    assert!(law(&[File::new("src/a.rs", &fits)]).is_empty());
}

fn starts_fn(line: &str) -> bool {
    let before = line.split("fn ").next().unwrap_or_default().trim();
    has_word(line, "fn")
        && before.split_whitespace().all(|word| {
            word.starts_with("pub") || ["const", "async", "unsafe", "extern"].contains(&word)
        })
}

/// Lines of the function that starts `lines`: to the line that closes at its indentation, or one
/// that ends a declaration.
fn function_length(lines: &[&str], indentation: &str) -> usize {
    for (number, line) in lines.iter().enumerate() {
        let own = line.strip_prefix(indentation).filter(|rest| !rest.starts_with(' '));
        let Some(own) = own.map(str::trim_end) else { continue };
        let declares = own.ends_with(';') || own.ends_with("{}");
        let one_line = number == 0 && own.ends_with('}');
        if declares || one_line || own == "}" {
            return number + 1;
        }
    }
    lines.len()
}

/// No panic reaches a user: outside tests an error is a value.
#[test]
fn nothing_panics_by_choice() {
    const BANNED: [&str; 5] = [".unwrap()", "todo!(", "dbg!(", "unimplemented!(", "panic!("];
    fn law(files: &[File]) -> Vec<String> {
        let mut found = Vec::new();
        let ours = |file: &&File| file.path.starts_with("src/") && file.ends(".rs");
        for file in files.iter().filter(ours).filter(|file| !file.is_test(files)) {
            for (number, line) in without_tests(&code(&file.text)).lines().enumerate() {
                let banned = BANNED.iter().filter(|banned| line.contains(*banned));
                found.extend(banned.map(|banned| at(file, number, banned)));
            }
        }
        found
    }
    check(
        law,
        &[
            ("src/a.rs", "fn a() { b.unwrap(); }"),
            ("src/a.rs", "#[cfg(test)]\nmod tests {\n}\nfn a() { todo!() }"),
            ("src/a.rs", "fn a() { panic!(\"{b}\") }"),
        ],
    );
}

/// A task that nobody joins may panic or be dropped, and its rows end early without an error: all
/// tasks are spawned in `task`, which joins them.
#[test]
fn tasks_are_spawned_in_one_place() {
    const SPAWNS: [&str; 6] = [
        "tokio::spawn(",
        "spawn_blocking(",
        "spawn_local(",
        "thread::spawn(",
        "thread::Builder",
        "JoinSet",
    ];
    // Threads of a device answer each job or drop its channel, which is an error for who asked;
    // the command line joins its tasks where it starts them.
    const ELSEWHERE: [&str; 3] = ["src/task.rs", "src/device/", "src/cli/"];
    fn law(files: &[File]) -> Vec<String> {
        let mut found = Vec::new();
        let ours = |file: &&File| file.path.starts_with("src/") && file.ends(".rs");
        for file in files.iter().filter(ours) {
            if ELSEWHERE.iter().any(|place| file.path.starts_with(place)) {
                continue;
            }
            for (number, line) in without_tests(&code(&file.text)).lines().enumerate() {
                let spawns = SPAWNS.iter().filter(|spawn| line.contains(*spawn));
                found.extend(spawns.map(|spawn| at(file, number, spawn)));
            }
        }
        found
    }
    check(
        law,
        &[
            ("src/a.rs", "fn a() { tokio::spawn(b()); }"),
            ("src/run/a.rs", "fn a() { let _ = tokio::task::spawn_blocking(b); }"),
            ("src/a.rs", "fn a() -> std::io::Result<()> { std::thread::Builder::new() }"),
        ],
    );
}

/// An exception to a lint that does not say why cannot be taken back.
#[test]
fn every_allowance_has_a_reason() {
    fn law(files: &[File]) -> Vec<String> {
        let mut found = Vec::new();
        for file in files.iter().filter(|file| file.ends(".rs")) {
            let code = code(&file.text);
            for attribute in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
                for (start, _) in code.match_indices(attribute) {
                    let end = code[start..].find(")]").map_or(code.len(), |end| start + end);
                    if !has_word(&code[start..end], "reason") {
                        found.push(at(file, code[..start].lines().count(), "no reason"));
                    }
                }
            }
        }
        found
    }
    check(law, &[("src/a.rs", "#[allow(dead_code)]\nfn a() {}"), ("src/a.rs", "#![allow(b)]")]);
}

/// Who names a heavy crate is bound to it: each stays where it belongs, so that kernels, the
/// schedule and the expression language can be read, tested and replaced alone.
#[test]
fn heavy_crates_stay_in_their_modules() {
    /// A crate, the paths under `src` that may name it, and paths among those that may not.
    const HOMES: [(&str, &[&str], &[&str]); 7] = [
        ("wgpu", &["device"], &[]),
        ("clap", &["cli", "main.rs"], &[]),
        ("clap_complete", &["cli", "main.rs"], &[]),
        ("reedline", &["cli"], &[]),
        ("indicatif", &["cli", "generate", "watch"], &[]),
        ("deltalake", &["sql", "stream", "lake", "plan", "error/foreign"], &[]),
        ("datafusion", &[""], &["device", "record", "schedule", "kernel", "expr/ir", "expr/wgsl"]),
    ];
    fn law(files: &[File]) -> Vec<String> {
        let mut found = Vec::new();
        for file in files.iter().filter(|file| file.ends(".rs")) {
            let Some(path) = file.path.strip_prefix("src/") else { continue };
            let code = code(&file.text);
            for (name, homes, closed) in HOMES {
                let in_home = homes.iter().any(|home| path.starts_with(home));
                let in_closed = closed.iter().any(|closed| path.starts_with(closed));
                if (!in_home || in_closed) && has_word(&code, name) {
                    found.push(format!("{}: names {name}", file.path));
                }
            }
        }
        found
    }
    check(
        law,
        &[
            ("src/plan/a.rs", "use wgpu::Device;"),
            ("src/sql/a.rs", "fn a(b: clap::Command) {}"),
            ("src/kernel/a.rs", "use datafusion::common::ScalarValue;"),
            ("src/expr/ir.rs", "use datafusion::error::Result;"),
        ],
    );
}

/// The way of data has a direction: a module uses what stands below it, and never what stands
/// above, so that each can be read without those that call it. `serve` (what answers requests),
/// `watch` (numbers of what runs) and `store` (columns that stay on a device) have their places
/// before they are there.
#[test]
fn modules_look_down_only() {
    const ORDER: [&str; 25] = [
        "cli", "job", "serve", "watch", "sql", "stream", "plan", "lake", "run", "store",
        "generate", "kernel", "fragment", "agg", "expr", "device", "schedule", "record", "trace",
        "fault", "config", "clock", "disk", "task", "error",
    ];
    fn law(files: &[File]) -> Vec<String> {
        let mut found = Vec::new();
        for file in files.iter().filter(|file| file.ends(".rs") && !file.is_test(files)) {
            let Some(path) = file.path.strip_prefix("src/") else { continue };
            let module = path.split(['/', '.']).next().unwrap_or_default();
            if ["lib", "main"].contains(&module) {
                continue;
            }
            let Some(place) = ORDER.iter().position(|known| *known == module) else {
                found.push(format!("{}: {module} has no place in the order", file.path));
                continue;
            };
            let code = without_tests(&code(&file.text));
            for above in &ORDER[..place] {
                if has_word(&code, &format!("crate::{above}")) {
                    found.push(format!("{}: {module} looks up to {above}", file.path));
                }
            }
        }
        found
    }
    check(
        law,
        &[
            ("src/schedule/mod.rs", "use crate::plan::DeviceExec;"),
            ("src/record.rs", "use crate::kernel::KERNELS;"),
            ("src/sql/mod.rs", "use crate::cli::Args;"),
            ("src/sql/mod.rs", "use crate::job::Job;"),
            ("src/sql/mod.rs", "use crate::watch::Registry;"),
            ("src/watch/a.rs", "use crate::serve::Server;"),
            ("src/store/a.rs", "use crate::run::Runner;"),
            ("src/stream/log/mod.rs", "use crate::sql::parse;"),
            ("src/fragment/a.rs", "fn a() -> crate::kernel::Kernel {}"),
            ("src/unheard/mod.rs", "fn a() {}"),
        ],
    );
}

/// What other crates say changes with their releases: it is read in one place, where a test has
/// each of them say it.
#[test]
fn messages_of_other_crates_are_read_in_one_place() {
    /// Parts of such messages.
    const MARKS: [&str; 14] = [
        " at Line: ",
        ", Column: ",
        "Error during planning: ",
        "External error: ",
        "caused by a bug in DataFusion",
        "failed to match any signature",
        "Failed to coerce types",
        "require unique expression names",
        "Error encountered while ",
        "Error performing ",
        "Parquet error: ",
        "Kernel error: ",
        "Encountered unequal lengths",
        "offset overflow",
    ];
    fn law(files: &[File]) -> Vec<String> {
        let mut found = Vec::new();
        let elsewhere = |file: &&File| {
            file.path.starts_with("src/") && !file.path.starts_with("src/error/foreign")
        };
        for file in files.iter().filter(elsewhere) {
            for (number, line) in file.text.lines().enumerate() {
                let marks = MARKS.iter().filter(|mark| line.contains(*mark));
                found.extend(marks.map(|mark| at(file, number, format!("reads {mark:?}"))));
            }
        }
        found
    }
    check(
        law,
        &[
            ("src/sql/a.rs", "text.rsplit_once(\" at Line: \")"),
            ("src/error/told.rs", "text.trim_start_matches(\"Error during planning: \")"),
        ],
    );
    let home = File::new("src/error/foreign/a.rs", "text.contains(\"Kernel error: \")");
    assert!(law(&[home]).is_empty());
}

/// A test file that nobody names is never compiled, and looks like a test.
#[test]
fn every_test_file_is_run() {
    fn law(files: &[File]) -> Vec<String> {
        let main = files.iter().find(|file| file.path == "tests/it/main.rs");
        let main = main.map(|file| code(&file.text)).unwrap_or_default();
        let mut found = Vec::new();
        for file in files {
            let Some(name) = file.path.strip_prefix("tests/it/") else { continue };
            let top_level = name.ends_with(".rs") && !name.contains('/') && name != "main.rs";
            if top_level && !main.contains(&format!("mod {};", file.stem())) {
                found.push(format!("{}: not named in main.rs", file.path));
            }
        }
        let slt = files.iter().filter(|file| file.path.starts_with("tests/slt/"));
        for file in slt.filter(|file| !file.path.starts_with("tests/slt/data/")) {
            // The runner takes every file of this name in this folder, and nothing else.
            if !file.ends(".slt") || file.path.matches('/').count() != 2 {
                found.push(format!("{}: not run by tests/it/sql.rs", file.path));
            }
        }
        let streams = files.iter().filter_map(|file| file.path.strip_prefix("tests/streams/"));
        for path in streams.filter(|path| *path != "README.md" && !path.starts_with("inputs/")) {
            let golden = path.strip_prefix("golden/").and_then(|path| path.strip_suffix(".csv"));
            let pipeline = match golden {
                Some(name) => format!("tests/streams/{name}.sql"),
                None => format!("tests/streams/{path}"),
            };
            let runs = pipeline.ends_with(".sql") && pipeline.matches('/').count() == 2;
            if !runs || !files.iter().any(|file| file.path == pipeline) {
                found.push(format!("tests/streams/{path}: not run by tests/it/streams.rs"));
            }
        }
        found
    }
    check(
        law,
        &[
            ("tests/streams/sub/tumble.sql", "SELECT 1"),
            ("tests/streams/golden/gone.csv", "# out: n"),
            ("tests/it/forgotten.rs", "#[test]\nfn a() {}"),
            ("tests/slt/filter.sql", "SELECT 1"),
            ("tests/slt/sub/filter.slt", "query I"),
        ],
    );
}

/// A document has one title; a link between our own files leads somewhere.
#[test]
fn documents_have_one_title_and_no_dead_links() {
    fn law(files: &[File]) -> Vec<String> {
        let mut found = Vec::new();
        for file in files.iter().filter(|file| file.ends(".md")) {
            let text = without_fences(&file.text);
            let titles = text.lines().filter(|line| line.starts_with("# ")).count();
            if titles != 1 {
                found.push(format!("{}: {titles} titles", file.path));
            }
            let folder = file.path.rsplit_once('/').map_or(".", |(folder, _)| folder);
            let links = text.match_indices("](").map(|(start, _)| &text[start + 2..]);
            for link in links.filter_map(|rest| rest.split(')').next()) {
                let target = link.split('#').next().unwrap_or_default();
                let ours = !target.is_empty() && !target.contains("://");
                if ours && !std::path::Path::new(folder).join(target).exists() {
                    found.push(format!("{}: dead link {link}", file.path));
                }
            }
        }
        found
    }
    check(
        law,
        &[
            ("a.md", "# One\n# Two\n"),
            ("b.md", "no title\n"),
            ("c.md", "# One\n[b](nowhere.md)\n"),
            ("d/e.md", "# One\n[b](nowhere/f.md#g)\n"),
        ],
    );
}

/// Markdown with its fenced blocks blanked: a comment in a script is not a title.
fn without_fences(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        out.push_str(if inside || fence { "" } else { line });
        out.push('\n');
    }
    out
}

/// What names a folder of one machine works on that machine only.
#[test]
fn no_path_of_one_machine() {
    fn law(files: &[File]) -> Vec<String> {
        // In two pieces, or this file would break its own law.
        let roots =
            [("/ho", "me/"), ("/ro", "ot/"), ("/wo", "rk/"), ("/Us", "ers/"), ("/tm", "p/")];
        let roots = roots.map(|(a, b)| format!("{a}{b}"));
        let mut found = Vec::new();
        for file in files {
            for (number, line) in file.text.lines().enumerate() {
                let named = roots.iter().filter(|root| {
                    line.match_indices(*root).any(|(start, _)| {
                        let before = line[..start].chars().next_back();
                        !before.is_some_and(|c| c.is_alphanumeric() || "._-$}/".contains(c))
                    })
                });
                found.extend(named.map(|root| at(file, number, root)));
            }
        }
        found
    }
    let planted = ["/ho", "me/me/data.csv"].concat();
    check(law, &[("scripts/a", &planted), ("README.md", &format!("see `{planted}`"))]);
}

/// The command the README gives is the one that checks a submission.
#[test]
fn the_test_command_is_one() {
    fn law(files: &[File]) -> Vec<String> {
        let names = |path: &str| {
            let file = files.iter().find(|file| file.path == path);
            file.is_some_and(|file| file.text.contains("scripts/test"))
        };
        let missing = ["README.md", ".ci/run"].into_iter().filter(|path| !names(path));
        missing.map(|path| format!("{path}: does not name scripts/test")).collect()
    }
    check(law, &[("README.md", "cargo test"), (".ci/run", "cargo test")]);
}

/// The code map is complete: every module and every variable of the environment is explained.
#[test]
fn the_architecture_names_everything() {
    fn law(files: &[File]) -> Vec<String> {
        let page = files.iter().find(|file| file.path == "ARCHITECTURE.md");
        let page = page.map(|file| file.text.as_str()).unwrap_or_default();
        let mut found = Vec::new();
        for file in files {
            let module = file.path.strip_prefix("src/").and_then(|path| path.split('/').next());
            if let Some(module) = module.filter(|name| !["lib.rs", "main.rs"].contains(name)) {
                let module = module.trim_end_matches(".rs");
                if !page.contains(&format!("`{module}")) && !page.contains(&format!("src/{module}"))
                {
                    found.push(format!("ARCHITECTURE.md: no word on src/{module}"));
                }
            }
            let names = file.text.match_indices("THALWEG_").map(|(start, _)| {
                let rest = &file.text[start..];
                let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_');
                rest[..end.unwrap_or(rest.len())].trim_end_matches('_')
            });
            let unknown = names.filter(|name| name.contains('_') && !page.contains(name));
            found.extend(unknown.map(|name| format!("ARCHITECTURE.md: no word on {name}")));
        }
        found.sort();
        found.dedup();
        found
    }
    let variable = ["THALWEG", "SECRET"].join("_");
    check(law, &[("src/secret/mod.rs", ""), ("src/a.rs", &format!("env::var({variable:?})"))]);
}
