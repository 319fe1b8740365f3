//! Which files name which: modules as files, and the paths that their code holds.

use std::collections::{BTreeMap, BTreeSet};

use super::text::{File, code, without_tests};

/// Files below `folder` that import one another in a circle, each circle once, sorted.
pub fn circles(files: &[File], folder: &str) -> Vec<Vec<String>> {
    let ours = files
        .iter()
        .filter(|file| file.path.starts_with(folder) && file.ends(".rs") && !file.is_test(files));
    let modules: BTreeMap<Vec<String>, &File> = ours.map(|file| (module(file), file)).collect();
    let edges: BTreeMap<&str, BTreeSet<&str>> = modules
        .iter()
        .map(|(module, file)| (file.path.as_str(), named(module, file, &modules)))
        .collect();
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|file| (*file, reached(file, &edges))).collect();
    let mut circles = BTreeSet::new();
    for (file, reached) in reach.iter().filter(|(file, reached)| reached.contains(*file)) {
        let back = reached.iter().filter(|other| reach[*other].contains(file));
        circles.insert(back.map(|path| (*path).to_string()).collect::<Vec<_>>());
    }
    circles.into_iter().collect()
}

/// `src/stream/time/mod.rs` is `stream::time`.
fn module(file: &File) -> Vec<String> {
    let path = file.path.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(str::to_string).collect()
}

/// What can be reached from a file, itself where it lies on a circle.
fn reached<'a>(from: &str, edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = edges[from].iter().copied().collect();
    while let Some(file) = open.pop() {
        if seen.insert(file) {
            open.extend(edges[file].iter().copied());
        }
    }
    seen
}

/// The files that one names, by `crate::`, `super::` or the name of a module within it.
fn named<'a>(
    own: &[String],
    file: &File,
    modules: &BTreeMap<Vec<String>, &'a File>,
) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for path in paths(&without_tests(&code(&file.text))) {
        let mut segments: Vec<String> = path.split("::").map(|s| s.trim().to_string()).collect();
        let mut base = match segments[0].as_str() {
            "crate" => Vec::new(),
            "self" | "super" => own.to_vec(),
            first if modules.contains_key(&[own, &[first.to_string()]].concat()) => own.to_vec(),
            _ => continue,
        };
        while let Some("crate" | "self" | "super") = segments.first().map(String::as_str) {
            if segments.remove(0) == "super" {
                base.pop();
            }
        }
        segments.retain(|segment| segment != "self");
        base.extend(segments);
        while !base.is_empty() && !modules.contains_key(&base) {
            base.pop();
        }
        let target = modules.get(&base).filter(|_| base != own);
        found.extend(target.map(|file| file.path.as_str()));
    }
    found
}

/// Every path in code but those of visibilities; those of `use` one by one.
fn paths(code: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some((_, tree)) = line.split_once("use ").filter(|(before, _)| {
            let before = before.trim();
            before.is_empty() || before.starts_with("pub")
        }) else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut tree = tree.to_string();
        while !tree.contains(';') {
            let Some(next) = lines.next() else { break };
            tree.push_str(next.trim());
        }
        expand("", tree.split(';').next().unwrap_or_default(), &mut all);
    }
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let rest = without_visibilities(&rest);
    let words = rest.split(|c| !is_path(c)).filter(|word| word.contains("::"));
    all.extend(words.map(|word| word.trim_end_matches(':').to_string()));
    all
}

/// Code without the paths of `pub(in ..)`: where a name may be seen is no import.
fn without_visibilities(code: &str) -> String {
    let mut parts = code.split("pub(in ");
    let first = parts.next().unwrap_or_default();
    let rest = parts.filter_map(|part| part.split_once(')')).map(|(_, behind)| behind);
    std::iter::once(first).chain(rest).collect::<Vec<_>>().join(" ")
}

/// The paths of a tree such as `a::{b, c::{self, d}}`.
fn expand(before: &str, tree: &str, all: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        all.extend((!path.is_empty()).then(|| format!("{before}{path}")));
        return;
    };
    let (mut depth, mut begin) = (0, 0);
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&format!("{before}{head}"), &inner[begin..at], all);
                begin = at + 1;
            }
            _ => {}
        }
    }
    expand(&format!("{before}{head}"), &inner[begin..], all);
}

#[test]
fn trees_of_imports_are_told_apart() {
    let code = "use a::{b, c::{self, d as e}};\npub use super::f;\nlet g = crate::h::i(j);\n\
                pub(in crate::k) fn l(m: crate::n::O) {}\n";
    let wanted = ["a::b", "a::c::self", "a::c::d", "super::f", "crate::h::i", "crate::n::O"];
    assert_eq!(paths(code), wanted);
}
