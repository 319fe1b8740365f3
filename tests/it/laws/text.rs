//! The repository as text: its files, and Rust source without what is not code.

use std::path::Path;

/// A text file: its path from the root, with `/`, and its content.
pub struct File {
    pub path: String,
    pub text: String,
}

impl File {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub fn ends(&self, ending: &str) -> bool {
        self.path.ends_with(ending)
    }

    /// True for a module that its parent declares under `#[cfg(test)]`, or one inside of such.
    pub fn is_test(&self, files: &[File]) -> bool {
        let mut module = self.path.trim_end_matches(".rs");
        while let Some((folder, name)) = module.rsplit_once('/') {
            let parents = [format!("{folder}/mod.rs"), format!("{folder}.rs")];
            let parent = files.iter().find(|file| parents.contains(&file.path));
            let lines: Vec<&str> =
                parent.map(|file| file.text.lines().map(str::trim).collect()).unwrap_or_default();
            let declared = format!("mod {name};");
            if lines.windows(2).any(|two| two[0] == "#[cfg(test)]" && two[1].ends_with(&declared)) {
                return true;
            }
            module = folder;
        }
        false
    }

    /// The file's name without folder and ending.
    pub fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.split('.').next().unwrap_or_default()
    }
}

/// Every text file below the root, by path, without the history and what git ignores.
pub fn tree() -> Vec<File> {
    let ignored = std::fs::read_to_string(".gitignore").unwrap_or_default();
    let mut ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    ignored.push(".git");
    let mut files = Vec::new();
    collect(Path::new("."), &ignored, &mut files);
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "not run in the package's folder");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(folder: &Path, ignored: &[&str], files: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let path = path.strip_prefix(".").unwrap_or(&path);
        let name = path.to_string_lossy().replace('\\', "/");
        if ignored.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(path, ignored, files);
        } else if let Ok(text) = std::fs::read_to_string(path) {
            files.push(File { path: name, text });
        }
    }
}

/// Rust source with comments, strings and characters blanked, line by line as before.
pub fn code(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = not_code(&source[at..], at.checked_sub(1).map(|before| bytes[before]));
        if length == 0 {
            let character = source[at..].chars().next().unwrap();
            out.push(character);
            at += character.len_utf8();
        } else {
            let blank = source[at..at + length].chars();
            out.extend(blank.map(|c| if c == '\n' { '\n' } else { ' ' }));
            at += length;
        }
    }
    out
}

/// Length in bytes of the comment, string or character that `rest` starts with, or zero.
fn not_code(rest: &str, before: Option<u8>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let raw = rest.strip_prefix("br").or(rest.strip_prefix('r')).filter(|_| !in_word);
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.len() - raw.len() + hashes + 1;
            return rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len());
        }
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    // A lifetime has no second quote within a character's length.
    if rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'') && rest.starts_with('\'') {
        return quoted(rest, '\'');
    }
    0
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Code with every item under `#[cfg(test)]` blanked. Leans on rustfmt: an item ends with the first
/// line that closes at its own indentation.
pub fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        if !line.trim_start().starts_with("#[cfg(test)]") {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        out.push('\n');
        let close = format!("{}}}", indent(line));
        for inner in lines.by_ref() {
            out.push('\n');
            let ends_alone = inner.starts_with(indent(line))
                && !inner[indent(line).len()..].starts_with(' ')
                && (inner.trim_end().ends_with(';') || inner.trim_end().ends_with("{}"));
            if inner.trim_end() == close || ends_alone {
                break;
            }
        }
    }
    out
}

pub fn indent(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

/// True if `name` stands in `code` as a word of its own.
pub fn has_word(code: &str, name: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(part_of_word);
        let after = code[at + name.len()..].chars().next().is_some_and(part_of_word);
        !before && !after
    })
}

#[test]
fn code_is_told_from_text() {
    let source =
        "let a = \"un\\\"wrap()\"; // dbg!\nlet b = r#\"todo!\"#; /* x */ f('\\'', '\"', 'a);";
    let code = code(source);
    assert_eq!(code.len(), source.len());
    assert_eq!(code.lines().count(), 2);
    for gone in ["wrap", "dbg", "todo", "x */"] {
        assert!(!code.contains(gone), "{gone} is left in {code}");
    }
    assert!(code.contains("let b =") && code.contains("'a);"));
}

#[test]
fn tests_are_told_from_code() {
    let source = "a();\n#[cfg(test)]\nuse b;\nc();\n#[cfg(test)]\nmod tests {\n    d();\n}\ne();\n";
    let left = without_tests(source);
    assert_eq!(left.lines().count(), source.lines().count());
    assert!(left.contains("a()") && left.contains("c()") && left.contains("e()"));
    assert!(!left.contains("b;") && !left.contains("d()"));
}
