//! Linking is concatenation: parts of WGSL become one text, and a line of it is told by the file
//! it came from. Never parses WGSL.

use std::borrow::Cow;
use std::path::Path;

/// Joins parts, each named by its path under `shaders/` without the extension, such as
/// `lib/grid`, or in angle brackets where no file holds it, such as `<predicate>`. Their `enable`
/// and `requires` lines, which WGSL wants first, come before all else and are blanked in place.
///
/// Returns the text and, for `Program::parts`, the first line of each part, counted from 1.
pub fn link(parts: &[(&str, &str)]) -> (String, Vec<(usize, String)>) {
    let mut directives: Vec<&str> = Vec::new();
    for line in parts.iter().flat_map(|(_, text)| text.lines()).filter(|line| is_directive(line)) {
        if !directives.contains(&line.trim()) {
            directives.push(line.trim());
        }
    }
    let mut linked = String::new();
    for directive in &directives {
        linked.push_str(directive);
        linked.push('\n');
    }
    let mut first_lines = Vec::with_capacity(parts.len());
    let mut next_line = directives.len() + 1;
    for (name, text) in parts {
        first_lines.push((next_line, (*name).to_string()));
        for line in text.lines() {
            linked.push_str(if is_directive(line) { "" } else { line });
            linked.push('\n');
            next_line += 1;
        }
    }
    (linked, first_lines)
}

fn is_directive(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("enable ") || line.starts_with("requires ")
}

/// The text of a part: `embedded`, or what `$THALWEG_SHADERS/NAME.wgsl` holds now, so that a
/// kernel can be tried without a build.
pub fn part<'a>(name: &str, embedded: &'a str) -> Cow<'a, str> {
    let Some(folder) = std::env::var_os("THALWEG_SHADERS") else { return embedded.into() };
    let path = Path::new(&folder).join(format!("{name}.wgsl"));
    match std::fs::read_to_string(&path) {
        Ok(text) => text.into(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "using the embedded shader");
            embedded.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::place;

    #[test]
    fn every_line_is_told_by_its_file() {
        let (text, parts) =
            link(&[("lib/a", "one\ntwo"), ("<predicate>", "three\n"), ("k", "four\nfive\n")]);
        assert_eq!(text, "one\ntwo\nthree\nfour\nfive\n");
        let places: Vec<_> = (1..=5).map(|line| place(&parts, line)).collect();
        let expected = [
            "shaders/lib/a.wgsl:1",
            "shaders/lib/a.wgsl:2",
            "<predicate>:1",
            "shaders/k.wgsl:1",
            "shaders/k.wgsl:2",
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn directives_come_first_once_and_move_no_line() {
        let (text, parts) =
            link(&[("a", "x\n"), ("b", "enable f16;\ny\n"), ("c", "enable f16;\n")]);
        assert_eq!(text, "enable f16;\nx\n\ny\n\n");
        assert_eq!(place(&parts, 4), "shaders/b.wgsl:2");
        assert_eq!(place(&parts, 1), "linked text:1");
    }

    #[test]
    fn an_empty_part_claims_no_line() {
        let (_, parts) = link(&[("a", ""), ("b", "x\n")]);
        assert_eq!(place(&parts, 1), "shaders/b.wgsl:1");
    }
}
