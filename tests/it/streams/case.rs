//! A file of `tests/streams`: a pipeline as a user writes it, with directives in its comments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the files are.
pub const FOLDER: &str = "tests/streams";

/// A pipeline, and how it is run.
pub struct Case {
    pub path: PathBuf,
    pub text: String,
    /// Its place among all files: points of kills go round by it.
    pub nth: usize,
    /// Statements that must be refused, instead of results.
    pub refused: Vec<Refused>,
    /// The order of rows is a part of the result.
    pub ordered: bool,
    /// All of it has a form for the device.
    pub strict: bool,
    /// How often state goes to the disk at least, where none fits into memory.
    pub spills: usize,
    /// Where sides take turns, progress tells of both.
    pub sides: bool,
    /// Rows of the smallest batches.
    pub batch_rows: Vec<usize>,
    /// Rows of the epochs between which a run is killed.
    pub epoch_rows: usize,
    /// Variants that are left out, each with the reason.
    skipped: BTreeMap<String, String>,
}

/// A statement that must be refused: the lines from its directive on, up to an empty line.
pub struct Refused {
    /// The file with all other refused statements left empty, so that lines keep their numbers.
    pub text: String,
    /// The line of the statement, from 1.
    pub line: usize,
    /// Whether the message must tell the line.
    pub placed: bool,
    /// What the message must hold.
    pub message: String,
}

/// The files whose names contain `THALWEG_STREAMS`, in order.
pub fn cases() -> Vec<Case> {
    let wanted = std::env::var("THALWEG_STREAMS").unwrap_or_default();
    let entries = std::fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "sql")).collect();
    paths.sort();
    let all = paths.into_iter().enumerate().map(|(nth, path)| {
        let text = std::fs::read_to_string(&path).unwrap();
        Case::parse(path, text, nth).unwrap_or_else(|error| panic!("{error}"))
    });
    let found: Vec<Case> = all.filter(|case| case.name().contains(&wanted)).collect();
    assert!(!found.is_empty(), "no file of {FOLDER} matches THALWEG_STREAMS='{wanted}'");
    found
}

impl Case {
    /// The file's name without folder and ending.
    pub fn name(&self) -> &str {
        self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }

    /// Where its expected rows are.
    pub fn golden(&self) -> PathBuf {
        Path::new(FOLDER).join("golden").join(format!("{}.csv", self.name()))
    }

    /// Why a variant, or a comparison, is left out.
    pub fn skips(&self, what: &str) -> bool {
        self.skipped.contains_key(what)
    }

    /// Whether the file has a `${name}`, with a default or without.
    pub fn asks_for(&self, name: &str) -> bool {
        self.text.contains(&format!("${{{name}}}")) || self.text.contains(&format!("${{{name}:-"))
    }

    /// Errors: a directive that is not known, or lacks its value.
    pub fn parse(path: PathBuf, text: String, nth: usize) -> Result<Self, String> {
        let mut case = Self {
            refused: refused(&text),
            path,
            text,
            nth,
            ordered: false,
            strict: false,
            spills: 0,
            sides: false,
            batch_rows: vec![7, 13],
            epoch_rows: 30,
            skipped: BTreeMap::new(),
        };
        for (number, line) in case.text.clone().lines().enumerate() {
            let Some(directive) = directive(line) else { continue };
            let place = format!("{}:{}", case.path.display(), number + 1);
            case.take(directive).map_err(|error| format!("{place}: {error}"))?;
        }
        Ok(case)
    }

    fn take(&mut self, directive: (&str, &str)) -> Result<(), String> {
        match directive {
            ("ordered", "") => self.ordered = true,
            ("strict", "") => self.strict = true,
            ("spills", times) => self.spills = number("spills", times)?,
            ("sides", "") => self.sides = true,
            ("batch_rows", rows) => {
                let rows = rows.split(',').map(|rows| number("batch_rows", rows.trim()));
                self.batch_rows = rows.collect::<Result<_, _>>()?;
            }
            ("epoch_rows", rows) => self.epoch_rows = number("epoch_rows", rows)?,
            ("skip", rest) => {
                let (variant, reason) = rest
                    .split_once(':')
                    .ok_or("--skip takes a variant and a reason: --skip gpu: reason")?;
                if !super::VARIANTS.contains(&variant) {
                    return Err(format!("no variant {variant}; there are {:?}", super::VARIANTS));
                }
                self.skipped.insert(variant.to_string(), reason.trim().to_string());
            }
            ("fail" | "fail-unplaced", message) if !message.is_empty() => {}
            (name, value) => return Err(format!("--{name} {value} is no directive")),
        }
        Ok(())
    }
}

fn number(name: &str, text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("--{name} takes a number, found '{text}'"))
}

/// A comment without a blank behind its dashes: `--name value`.
fn directive(line: &str) -> Option<(&str, &str)> {
    let text = line.strip_prefix("--")?;
    if !text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return None;
    }
    let (name, value) = text.split_once(' ').unwrap_or((text, ""));
    Some((name, value.trim()))
}

/// The statements behind `--fail`, each in a text of its own.
fn refused(text: &str) -> Vec<Refused> {
    let lines: Vec<&str> = text.lines().collect();
    fn fails(line: &str) -> Option<(&str, &str)> {
        directive(line).filter(|(name, _)| name.starts_with("fail"))
    }
    let starts = (0..lines.len()).filter(|at| fails(lines[*at]).is_some());
    let blocks: Vec<(usize, usize)> = starts
        .map(|start| {
            let rest = lines[start..].iter();
            (start, start + rest.take_while(|line| !line.trim().is_empty()).count())
        })
        .collect();
    let of = |own: &(usize, usize)| {
        let others = blocks.iter().filter(|block| *block != own);
        let hidden: Vec<usize> = others.flat_map(|(from, to)| *from..*to).collect();
        let shown = |(at, line)| if hidden.contains(&at) { "" } else { line };
        let text: Vec<&str> = lines.iter().copied().enumerate().map(shown).collect();
        let (name, message) = fails(lines[own.0]).unwrap_or_default();
        let (text, message) = (text.join("\n"), message.to_string());
        Refused { text, line: own.0 + 2, placed: name == "fail", message }
    };
    blocks.iter().map(of).collect()
}
