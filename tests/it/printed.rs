//! What is printed can be pasted: every command and every query of README.md, `docs/`,
//! `datasets/README.md`, `--help` and the prompt's help is run, in a folder that has what a fresh
//! clone has, by the real binary.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use thalweg::config::DeviceChoice;

use super::support::{self, copy};

/// Commands that are not run as they stand, by how they begin, each with the reason.
const NOT_RUN: [(&str, &str); 7] = [
    ("cargo build --release", "a build takes longer than all tests"),
    ("export PATH=", "the tests set it"),
    ("thalweg gen tpch --scale 1 ", "8.7 million rows, minutes in a debug build"),
    ("scripts/test", "all tests, these among them"),
    ("thalweg sql -c \"SELECT count(*) FROM 's3://", "a bucket of one's own"),
    (
        "thalweg run examples/quickstart.sql",
        "a million rows, a minute in a debug build; `pipeline`",
    ),
    ("curl ", "a server that listens; `received` has what it takes"),
];

/// Commands that are for a person at a terminal.
const PROMPT: &str = "thalweg sql";

/// Commands that go on until they are interrupted, by how they end, and what they exit with then.
const ENDLESS: [(&str, i32); 2] = [("EMIT CHANGES\"", 130), ("thalweg run bids.sql", 0)];

/// An example, with the line of its document.
#[derive(Debug, PartialEq)]
struct Example {
    line: usize,
    what: What,
}

#[derive(Debug, PartialEq)]
enum What {
    /// A command, and what is printed below it.
    Command(String, Option<String>),
    Sql(String),
    /// SQL that the text gives a file name.
    File(String, String),
}

/// Whether all quotes are closed behind a line of a command; what is behind `#` is a comment.
fn is_whole(text: &str) -> bool {
    let (mut open, mut before) = (None, ' ');
    for sign in text.chars() {
        match (open, sign) {
            (None, '\'' | '"') => open = Some(sign),
            (None, '#') if before.is_whitespace() => return true,
            (Some(quote), _) if quote == sign => open = None,
            _ => {}
        }
        before = sign;
    }
    open.is_none() && before != '\\'
}

/// Takes lines until they are a whole command.
fn command<'a>(first: &str, lines: &mut impl Iterator<Item = (usize, &'a str)>) -> String {
    let mut text = first.to_string();
    while !is_whole(&text) {
        let (_, line) = lines.next().unwrap_or_else(|| panic!("a quote is not closed: {text}"));
        text = format!("{text}\n{line}");
    }
    text
}

/// The examples of a text in Markdown.
fn of_document(text: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else { continue };
        let fence: Vec<(usize, &str)> =
            lines.by_ref().take_while(|(_, line)| !line.trim_start().starts_with("```")).collect();
        let mut fence = fence.into_iter().map(|(at, line)| (at + 1, line)).peekable();
        match language {
            "sql" => {
                let text: Vec<&str> = fence.map(|(_, line)| line).collect();
                examples.push(Example { line: at + 2, what: What::Sql(text.join("\n")) });
            }
            "sh" => {
                while let Some((line, first)) = fence.next() {
                    if first.is_empty() || first.starts_with('#') {
                        continue;
                    }
                    let what = What::Command(command(first, &mut fence), None);
                    examples.push(Example { line, what });
                }
            }
            "text" => {
                while let Some((line, first)) = fence.next() {
                    let Some(first) = first.strip_prefix("$ ") else { continue };
                    let text = command(first, &mut fence);
                    let mut printed = Vec::new();
                    while let Some((_, line)) = fence.next_if(|(_, line)| !line.starts_with("$ ")) {
                        printed.push(line);
                    }
                    let printed = Some(printed.join("\n").trim().to_string());
                    let printed = printed.filter(|text| !text.is_empty());
                    examples.push(Example { line, what: What::Command(text, printed) });
                }
            }
            other => panic!("line {}: the language of a fence is sh, sql or text: {other}", at + 1),
        }
    }
    examples
}

/// The examples of a help: indented commands, what is told of them behind two spaces, and SQL.
fn of_help(text: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    let mut before = "";
    while let Some((at, line)) = lines.next() {
        let first = line.strip_prefix("  ").filter(|line| !line.starts_with(' '));
        let name = before.split(' ').find_map(|word| word.strip_suffix(".sql:"));
        before = line;
        let Some(first) = first else { continue };
        let what = if first.starts_with("thalweg ") || first.starts_with("echo ") {
            What::Command(command(without_remark(first), &mut lines), None)
        } else if ["CREATE ", "SELECT "].iter().any(|word| first.starts_with(word)) {
            let mut text = vec![without_remark(first)];
            let goes_on = |line: &str| line.starts_with("  ") && !line.starts_with("  \\");
            while let Some((_, line)) = lines.next_if(|(_, line)| goes_on(line)) {
                text.push(line);
            }
            match name {
                Some(name) => What::File(format!("{name}.sql"), text.join("\n")),
                None => What::Sql(text.join("\n")),
            }
        } else {
            continue;
        };
        examples.push(Example { line: at + 1, what });
    }
    examples
}

/// A command without what stands behind two spaces; within quotes they are its own.
fn without_remark(text: &str) -> &str {
    let mut ends = text.match_indices("  ").map(|(at, _)| at);
    let end = ends.find(|at| is_whole(&text[..*at]));
    &text[..end.unwrap_or(text.len())]
}

/// Whether a text is the printed one, in which `..` stands for anything.
fn is_as(text: &str, printed: &str) -> bool {
    let mut parts = printed.split("..");
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        let found = match parts.peek() {
            Some(_) => rest.find(part).map(|at| at + part.len()),
            None => rest.ends_with(part).then_some(rest.len()),
        };
        let Some(end) = found else { return false };
        rest = &rest[end..];
    }
    true
}

/// A folder with what a fresh clone has, and a path on which `thalweg` and `cargo` are the binary
/// of the tests.
struct Checkout {
    folder: TempDir,
    path: String,
}

impl Checkout {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let made = folder.path();
        for name in ["examples", "tests"] {
            symlink(std::path::absolute(name).unwrap(), made.join(name)).unwrap();
        }
        // Commands may write there.
        copy(Path::new("datasets"), &made.join("datasets"));
        let programs = made.join(".programs");
        std::fs::create_dir(&programs).unwrap();
        symlink(env!("CARGO_BIN_EXE_thalweg"), programs.join("thalweg")).unwrap();
        let cargo = programs.join("cargo");
        let run = "#!/bin/sh\n[ \"$1 $2 $3\" = 'run --release --' ] || exit 1\nshift 3\n";
        std::fs::write(&cargo, format!("{run}exec thalweg \"$@\"\n")).unwrap();
        std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        Self { path: format!("{}:{path}", programs.display()), folder }
    }

    fn shell(&self, text: &str) -> Command {
        let mut command = Command::new("sh");
        command.current_dir(self.folder.path()).args(["-c", text]).env("PATH", &self.path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command; answers what is wrong.
    fn run(&self, text: &str, printed: Option<&str>) -> Result<(), String> {
        let endless = ENDLESS.iter().find(|(end, _)| text.ends_with(end));
        let output = match endless {
            Some(_) => interrupted(&mut self.shell(&format!("exec {text}"))),
            None => self.shell(text).output().unwrap(),
        };
        let code = endless.map_or(0, |(_, code)| *code);
        let (out, told) = (utf8(&output.stdout), utf8(&output.stderr));
        if output.status.code() != Some(code) {
            return Err(format!("{text}\nends with {}, not {code}:\n{out}{told}", output.status));
        }
        match printed {
            Some(printed) if !is_as(out.trim(), printed) => {
                Err(format!("{text}\nprints\n{out}\nnot\n{printed}"))
            }
            _ => Ok(()),
        }
    }

    /// Runs a text as one session, as a pipeline where it inserts.
    fn session(&self, sql: &str) -> Result<(), String> {
        std::fs::write(self.folder.path().join("session.sql"), sql).unwrap();
        match sql.contains("INSERT INTO") {
            true => self.run("thalweg run session.sql --until-end", None),
            false => self.run("thalweg sql -f session.sql", None),
        }
    }

    /// Runs all examples of a document. Its commands come first, then all its SQL as one.
    fn all(&self, document: &str, examples: Vec<Example>) {
        assert!(!examples.is_empty(), "{document} has no examples");
        let (mut wrong, mut session) = (Vec::new(), String::new());
        for Example { line, what } in examples {
            let done = match what {
                What::Sql(text) => {
                    session += &format!("{text}\n;\n");
                    Ok(())
                }
                What::File(name, text) => {
                    std::fs::write(self.folder.path().join(name), text).unwrap();
                    Ok(())
                }
                What::Command(text, _) if is_left_out(&text) => Ok(()),
                What::Command(text, printed) => self.run(&text, printed.as_deref()),
            };
            wrong.extend(done.err().map(|error| format!("{document}:{line}: {error}")));
        }
        if !session.is_empty() {
            let done = self.session(&session);
            wrong.extend(done.err().map(|error| format!("{document}, its SQL: {error}")));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    }
}

fn is_left_out(command: &str) -> bool {
    if command.contains("--device gpu") && support::engine_on(DeviceChoice::Gpu).is_none() {
        return true;
    }
    let begun = |(begin, _): &(&str, &str)| command.starts_with(begin);
    is_prompt(command) || NOT_RUN.iter().any(begun)
}

fn is_prompt(command: &str) -> bool {
    command.split_once('#').map_or(command, |(command, _)| command).trim() == PROMPT
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command until it has printed something, then as Ctrl-C would end it.
fn interrupted(command: &mut Command) -> Output {
    let mut child = command.spawn().unwrap();
    let mut first = [0];
    // One that ends before it prints is told by how it ends.
    if std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).is_ok() {
        let done = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(done.unwrap().success());
    }
    child.wait_with_output().unwrap()
}

fn document(name: &str) {
    let text = std::fs::read_to_string(name).unwrap();
    Checkout::new().all(name, of_document(&text));
}

#[test]
fn the_readme_can_be_pasted() {
    document("README.md");
}

#[test]
fn connectors_can_be_pasted() {
    document("docs/connectors.md");
}

#[test]
fn streams_can_be_pasted() {
    document("docs/streams.md");
}

#[test]
fn datasets_can_be_pasted() {
    document("datasets/README.md");
}

#[test]
fn nexmark_can_be_pasted() {
    document("docs/nexmark.md");
}

/// `--help` of the program and of each command.
fn helps() -> Vec<(String, String)> {
    let mut left = vec![Vec::<String>::new()];
    let mut helps = Vec::new();
    while let Some(words) = left.pop() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        let output = command.args(&words).arg("--help").output().unwrap();
        assert!(output.status.success());
        let text = utf8(&output.stdout);
        let commands = text.lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in commands.take_while(|line| !line.is_empty()) {
            let name = line.split_whitespace().next().unwrap_or_default();
            if name != "help" && line.starts_with("  ") && !line.starts_with("   ") {
                left.push([words.as_slice(), &[name.to_string()]].concat());
            }
        }
        helps.push((format!("thalweg {} --help", words.join(" ")), text));
    }
    helps
}

#[test]
fn helps_can_be_pasted() {
    let helps = helps();
    assert!(helps.len() > 10, "{helps:?}");
    let mut all = 0;
    // Beside one another; the scope tells what has failed.
    std::thread::scope(|scope| {
        for (name, text) in helps {
            let examples = of_help(&text);
            all += examples.len();
            if !examples.is_empty() {
                scope.spawn(move || Checkout::new().all(&name, examples));
            }
        }
    });
    assert!(all > 15, "{all}");
}

/// What `\?` tells, from the text of the program: it is for a terminal.
fn prompt_help() -> &'static str {
    let source = include_str!("../../src/cli/prompt.rs");
    let (_, rest) = source.split_once("const HELP: &str = \"\\\n").unwrap();
    rest.split_once("\";").unwrap().0
}

#[test]
fn the_help_of_the_prompt_can_be_pasted() {
    Checkout::new().all("\\?", of_help(prompt_help()));
}

/// All documents with examples; each has a test above.
const DOCUMENTS: [&str; 5] =
    ["README.md", "datasets/README.md", "docs/connectors.md", "docs/nexmark.md", "docs/streams.md"];

#[test]
fn every_document_is_pasted_and_every_exception_is_needed() {
    let mut commands = Vec::new();
    let mut take = |examples: Vec<Example>| {
        commands.extend(examples.into_iter().filter_map(|example| match example.what {
            What::Command(text, _) => Some(text),
            _ => None,
        }));
    };
    for name in std::fs::read_dir("docs").unwrap() {
        let name = format!("docs/{}", name.unwrap().file_name().display());
        let examples = of_document(&std::fs::read_to_string(&name).unwrap());
        assert!(examples.is_empty() || DOCUMENTS.contains(&name.as_str()), "{name} has no test");
    }
    for name in DOCUMENTS {
        take(of_document(&std::fs::read_to_string(name).unwrap()));
    }
    for (_, text) in helps() {
        take(of_help(&text));
    }
    for (begin, reason) in NOT_RUN {
        let occurs = commands.iter().any(|command| command.starts_with(begin));
        assert!(occurs, "no example begins with {begin} ({reason})");
    }
    for (end, _) in ENDLESS {
        assert!(
            commands.iter().any(|command| command.ends_with(end)),
            "no example ends with {end}"
        );
    }
    assert!(commands.iter().any(|command| is_prompt(command)));
}

#[test]
fn examples_are_found_and_wrong_ones_told() {
    let text = "a\n```sh\n# x\nthalweg a \"b\n  c\"   # it's\nthalweg d\n```\n\
                ```sql\nSELECT 1;\n```\n```text\n$ thalweg e\n1..3\n\n$ thalweg f\n```\n\
                ```text\nonly text\n```\n";
    let command = |line, text: &str, printed: Option<&str>| Example {
        line,
        what: What::Command(text.to_string(), printed.map(str::to_string)),
    };
    let want = [
        command(4, "thalweg a \"b\n  c\"   # it's", None),
        command(6, "thalweg d", None),
        Example { line: 9, what: What::Sql("SELECT 1;".to_string()) },
        command(12, "thalweg e", Some("1..3")),
        command(15, "thalweg f", None),
    ];
    assert_eq!(of_document(text), want);
    let help = "such as b.sql:\n  CREATE x\n    y;\n\n  thalweg run b.sql   it's run\n  -c, --x\n  \
                thalweg sql -c \"a  b\n      c\"\n    more\n";
    let want = [
        Example { line: 2, what: What::File("b.sql".to_string(), "CREATE x\n    y;".to_string()) },
        command(5, "thalweg run b.sql", None),
        command(7, "thalweg sql -c \"a  b\n      c\"", None),
    ];
    assert_eq!(of_help(help), want);
    for (text, printed, same) in [
        ("abc", "abc", true),
        ("abc", "ab", false),
        ("abc", "a..", true),
        ("abc", "..c", true),
        ("abcd", "a..c..", true),
        ("abcd", "a..c", false),
        ("abc", "b..", false),
        ("abc", "a..x..c", false),
    ] {
        assert_eq!(is_as(text, printed), same, "{text} {printed}");
    }
    let checkout = Checkout::new();
    assert_eq!(checkout.run("cargo run --release -- sql -c 'SELECT 1'", Some("..1..")), Ok(()));
    assert!(checkout.run("thalweg sql -c 'SELECT 1'", Some("2")).unwrap_err().contains("prints"));
    let wrong = checkout.run("thalweg sql -c \"SELECT * FROM 'bids/'\"", None).unwrap_err();
    assert!(wrong.contains("ends with exit status: 1, not 0"), "{wrong}");
    assert!(checkout.session("SELECT 1; SELECT nothing FROM nowhere").is_err());
}
