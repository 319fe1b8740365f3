//! A scanner of SQL text that may be unfinished, for the prompt: what to colour, what to complete,
//! whether a statement has ended. The grammar proper is in `sql`.

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name or a keyword without quotes.
    Word,
    Number,
    /// In single quotes: a string, or a file's name.
    Text,
    /// In double quotes or backticks.
    Name,
    Comment,
    Semicolon,
    /// Blanks and operators.
    Other,
}

/// A piece of the text; all pieces together are the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Its closing quote or comment mark is missing.
    pub open: bool,
}

/// Cuts a text into pieces.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kind, length, open) = match first {
            '\'' => quoted(rest, first, Kind::Text),
            '"' | '`' => quoted(rest, first, Kind::Name),
            ';' => (Kind::Semicolon, 1, false),
            '-' if rest.starts_with("--") => {
                (Kind::Comment, rest.find('\n').unwrap_or(rest.len()), false)
            }
            '/' if rest.starts_with("/*") => match rest.find("*/") {
                Some(end) => (Kind::Comment, end + 2, false),
                None => (Kind::Comment, rest.len(), true),
            },
            c if c.is_alphabetic() || c == '_' => (Kind::Word, span(rest, is_word), false),
            c if c.is_ascii_digit() => {
                (Kind::Number, span(rest, |c| is_word(c) || c == '.'), false)
            }
            c => (Kind::Other, c.len_utf8(), false),
        };
        let (piece, after) = rest.split_at(length);
        pieces.push(Piece { kind, text: piece, open });
        rest = after;
    }
    pieces
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn span(text: &str, keep: impl Fn(char) -> bool) -> usize {
    text.find(|c| !keep(c)).unwrap_or(text.len())
}

/// A doubled quote stands for itself.
fn quoted(text: &str, quote: char, kind: Kind) -> (Kind, usize, bool) {
    let mut at = 1;
    while let Some(found) = text[at..].find(quote) {
        at += found + 1;
        if !text[at..].starts_with(quote) {
            return (kind, at, false);
        }
        at += 1;
    }
    (kind, text.len(), true)
}

/// True where a text is to be run as it stands: nothing but blanks, a command of the prompt, or
/// statements of which the last has its semicolon.
pub fn is_complete(text: &str) -> bool {
    if text.trim().is_empty() || text.trim_start().starts_with('\\') {
        return true;
    }
    let last = pieces(text)
        .into_iter()
        .rfind(|piece| piece.kind != Kind::Comment && !piece.text.trim().is_empty());
    let open = pieces(text).last().is_some_and(|piece| piece.open);
    !open && last.is_some_and(|piece| piece.kind == Kind::Semicolon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_up_the_text() {
        let text = "SELECT 'it''s', \"a b\", 1.5 -- why; not\nFROM t /* ; */; é'";
        let cut = pieces(text);
        assert_eq!(cut.iter().map(|piece| piece.text).collect::<String>(), text);
        let of = |kind| cut.iter().filter(|p| p.kind == kind).map(|p| p.text).collect::<Vec<_>>();
        assert_eq!(of(Kind::Text), ["'it''s'", "'"]);
        assert_eq!(of(Kind::Comment), ["-- why; not", "/* ; */"]);
        assert_eq!(of(Kind::Semicolon), [";"]);
        assert_eq!(of(Kind::Number), ["1.5"]);
        assert!(cut.last().unwrap().open);
    }

    #[test]
    fn a_statement_ends_at_a_semicolon_outside_quotes_and_comments() {
        for complete in ["SELECT 1;", "SELECT ';';", "SELECT 1; -- done", "", "\\d", "a;\n  "] {
            assert!(is_complete(complete), "{complete}");
        }
        for open in ["SELECT 1", "SELECT ';", "SELECT 1 -- ;", "SELECT 1; /* ;", "a; b"] {
            assert!(!is_complete(open), "{open}");
        }
    }
}
