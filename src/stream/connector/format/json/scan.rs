//! JSON's grammar over bytes, and where one value of a text ends and the next begins: on lines of
//! their own, over several lines, one behind another, or in an array.

use std::borrow::Cow;

/// Arrays and objects within one another, at most.
const DEPTH: usize = 128;

/// Why a text is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It ends within the value.
    End,
    Wrong(String),
}

impl Flaw {
    pub fn reason(self) -> String {
        match self {
            Self::End => "the text ends within a value".to_string(),
            Self::Wrong(reason) => reason,
        }
    }
}

pub type Scan<T> = Result<T, Flaw>;

/// A string as it is written, without its quotes.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> Quoted<'a> {
    /// What it means; `None` where that is no text.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let raw = std::str::from_utf8(self.raw).ok()?;
        match self.escaped {
            false => Some(Cow::Borrowed(raw)),
            true => serde_json::from_str(&format!("\"{}\"", tame(raw))).ok().map(Cow::Owned),
        }
    }
}

/// Control characters, which are taken as they are here, as the strict grammar has them.
fn tame(raw: &str) -> Cow<'_, str> {
    if !raw.bytes().any(|byte| byte < b' ') {
        return Cow::Borrowed(raw);
    }
    let escape = |c: char| match c {
        c if c < ' ' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    Cow::Owned(raw.chars().map(escape).collect())
}

/// A place in a text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    pub at: usize,
    /// More may come behind the text.
    open: bool,
}

impl<'a> Scanner<'a> {
    pub fn new(bytes: &'a [u8], open: bool) -> Self {
        Self { bytes, at: 0, open }
    }

    /// The same text from another place.
    pub fn from(&self, at: usize) -> Self {
        Self { at, ..self.clone() }
    }

    pub fn between(&self, from: usize) -> &'a [u8] {
        &self.bytes[from..self.at]
    }

    /// Passes over blanks.
    pub fn space(&mut self) {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += self.bytes[self.at..].iter().take_while(|byte| blank(byte)).count();
    }

    /// The next byte that is no blank.
    pub fn peek(&mut self) -> Scan<u8> {
        self.space();
        self.bytes.get(self.at).copied().ok_or(Flaw::End)
    }

    /// Takes a byte that was looked at.
    pub fn step(&mut self) {
        self.at += 1;
    }

    /// Errors: another byte comes next.
    pub fn expect(&mut self, wanted: u8) -> Scan<()> {
        match self.peek()? {
            byte if byte == wanted => {
                self.step();
                Ok(())
            }
            _ => Err(self.unexpected(&format!("'{}'", wanted as char))),
        }
    }

    fn unexpected(&self, wanted: &str) -> Flaw {
        let found =
            String::from_utf8_lossy(&self.bytes[self.at..self.bytes.len().min(self.at + 8)])
                .into_owned();
        let found = found.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
        Flaw::Wrong(format!("{wanted} is expected, '{found}' found"))
    }

    /// A string, whose quote comes next. A line ends none.
    pub fn string(&mut self) -> Scan<Quoted<'a>> {
        self.expect(b'"')?;
        let (from, mut escaped) = (self.at, false);
        loop {
            let rest = &self.bytes[self.at..];
            let next = memchr::memchr3(b'"', b'\\', b'\n', rest).ok_or(Flaw::End)?;
            self.at += next;
            match self.bytes[self.at] {
                b'"' => {
                    let raw = &self.bytes[from..self.at];
                    self.step();
                    return Ok(Quoted { raw, escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(Flaw::Wrong("a string is not closed on its line".to_string())),
            }
        }
    }

    fn escape(&mut self) -> Scan<()> {
        let byte = |nth: usize| self.bytes.get(self.at + nth).copied();
        let length = match byte(1).ok_or(Flaw::End)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' => {
                for nth in 2..6 {
                    if !byte(nth).ok_or(Flaw::End)?.is_ascii_hexdigit() {
                        return Err(Flaw::Wrong("\\u has four hexadecimal digits".to_string()));
                    }
                }
                6
            }
            other => {
                let other = other as char;
                return Err(Flaw::Wrong(format!("a string has no escape \\{other}")));
            }
        };
        self.at += length;
        Ok(())
    }

    fn digits(&mut self) -> Scan<()> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        match (count, self.at == self.bytes.len()) {
            (_, true) if self.open => Err(Flaw::End),
            (0, true) => Err(Flaw::End),
            (0, false) => Err(self.unexpected("a digit")),
            _ => Ok(()),
        }
    }

    /// A number, as it is written.
    pub fn number(&mut self) -> Scan<&'a str> {
        self.space();
        let from = self.at;
        let is =
            |scan: &Self, bytes: &[u8]| scan.bytes.get(scan.at).is_some_and(|b| bytes.contains(b));
        if is(self, b"-") {
            self.step();
        }
        match is(self, b"0") {
            true => self.step(),
            false => self.digits()?,
        }
        if is(self, b".") {
            self.step();
            self.digits()?;
        }
        if is(self, b"eE") {
            self.step();
            if is(self, b"+-") {
                self.step();
            }
            self.digits()?;
        }
        if self.open && self.at == self.bytes.len() {
            return Err(Flaw::End);
        }
        std::str::from_utf8(self.between(from)).map_err(|error| Flaw::Wrong(error.to_string()))
    }

    /// A word such as `null`, whose first letter comes next.
    pub fn word(&mut self, word: &str) -> Scan<()> {
        let rest = &self.bytes[self.at..];
        match rest.starts_with(word.as_bytes()) {
            true => {
                self.at += word.len();
                Ok(())
            }
            false if word.as_bytes().starts_with(rest) => Err(Flaw::End),
            false => Err(self.unexpected("a value")),
        }
    }

    /// Takes what separates the elements of an array or object; false at its end.
    pub fn more(&mut self, first: bool, close: u8) -> Scan<bool> {
        match self.peek()? {
            byte if byte == close => {
                self.step();
                Ok(false)
            }
            _ if first => Ok(true),
            b',' => {
                self.step();
                match self.peek()? == close {
                    true => Err(self.unexpected("a value")),
                    false => Ok(true),
                }
            }
            _ => Err(self.unexpected(&format!("',' or '{}'", close as char))),
        }
    }

    /// Passes over a value.
    pub fn skip(&mut self) -> Scan<()> {
        self.skip_at(0)
    }

    /// Passes over a value that is within so many others.
    pub fn skip_at(&mut self, depth: usize) -> Scan<()> {
        within(depth)?;
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            open @ (b'{' | b'[') => {
                self.step();
                let mut first = true;
                while self.more(first, open + 2)? {
                    first = false;
                    if open == b'{' {
                        self.peek()?;
                        self.string()?;
                        self.expect(b':')?;
                    }
                    self.skip_at(depth + 1)?;
                }
                Ok(())
            }
            _ => Err(self.unexpected("a value")),
        }
    }
}

/// Errors: a value within too many others.
pub fn within(depth: usize) -> Scan<()> {
    match depth > DEPTH {
        true => Err(Flaw::Wrong(format!("more than {DEPTH} values are within one another"))),
        false => Ok(()),
    }
}

/// A value of a text, or what stands in its place.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub start: usize,
    pub end: usize,
    pub flaw: Option<Flaw>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A value, or the array's end.
    First,
    /// A value.
    Value,
    /// A comma, or the array's end.
    Separator,
    /// Any of them: something was wrong before.
    Any,
}

/// The values of a text, in order. What is no value reaches to the end of its first line: whole
/// values never have a line that ends with `}` before one that begins with `{`, so that where a
/// block is cut there nothing changes.
#[derive(Debug)]
pub struct Values<'a> {
    scan: Scanner<'a>,
    /// Where the array begins that is open.
    array: Option<usize>,
    next: Next,
}

impl<'a> Values<'a> {
    pub fn new(bytes: &'a [u8], open: bool) -> Self {
        Self { scan: Scanner::new(bytes, open), array: None, next: Next::First }
    }

    /// The next value, which `read` reads.
    pub fn next(&mut self, mut read: impl FnMut(&mut Scanner<'a>) -> Scan<()>) -> Option<Found> {
        loop {
            let Ok(byte) = self.scan.peek() else { return self.unclosed() };
            match (byte, self.array) {
                (b'[', None) => {
                    (self.array, self.next) = (Some(self.scan.at), Next::First);
                    self.scan.step();
                }
                (b']', Some(_)) if self.next != Next::Value => {
                    self.array = None;
                    self.scan.step();
                }
                (b',', Some(_)) if matches!(self.next, Next::Separator | Next::Any) => {
                    self.next = Next::Value;
                    self.scan.step();
                }
                (b'{', Some(_)) if is_boundary(self.scan.bytes, self.scan.at) => {
                    return self.unclosed();
                }
                (_, Some(_)) if self.next == Next::Separator => {
                    let flaw = self.scan.unexpected("',' or ']'");
                    return Some(self.malformed(self.scan.at, flaw));
                }
                _ => {
                    let start = self.scan.at;
                    return Some(match read(&mut self.scan) {
                        Err(flaw) => self.malformed(start, flaw),
                        Ok(()) => {
                            self.next = Next::Separator;
                            Found { start, end: self.scan.at, flaw: None }
                        }
                    });
                }
            }
        }
    }

    fn malformed(&mut self, start: usize, flaw: Flaw) -> Found {
        let line = memchr::memchr(b'\n', &self.scan.bytes[start..]);
        let end = line.map_or(self.scan.bytes.len(), |length| start + length + 1);
        (self.scan.at, self.next) = (end, Next::Any);
        Found { start, end, flaw: Some(flaw) }
    }

    fn unclosed(&mut self) -> Option<Found> {
        let start = self.array.take()?;
        let flaw = Flaw::Wrong("the array that begins here is not closed".to_string());
        Some(Found { start, end: start + 1, flaw: Some(flaw) })
    }
}

/// Bytes of whole values at the beginning of a text that may go on.
pub fn whole(bytes: &[u8]) -> usize {
    let from = boundary(bytes);
    let rest = &bytes[from..];
    let (mut values, mut whole) = (Values::new(rest, true), 0);
    loop {
        let mut ended = false;
        let found = values.next(|scan| {
            let read = scan.skip();
            ended = read == Err(Flaw::End);
            read
        });
        // What is no value has a whole line, or may become one.
        let torn = found.as_ref().is_some_and(|found| {
            found.flaw.is_some() && (ended || rest[..found.end].last() != Some(&b'\n'))
        });
        if torn {
            return from + whole;
        }
        if values.array.is_none() {
            whole = values.scan.at;
        }
        if found.is_none() {
            return from + whole;
        }
    }
}

/// Whether an object that begins at a place is in no array, whatever is before it.
fn is_boundary(bytes: &[u8], at: usize) -> bool {
    let before = bytes[..at].trim_ascii_end();
    before.last() == Some(&b'}') && bytes[before.len()..at].contains(&b'\n')
}

/// The last place where a line that ends with `}` is before one that begins with `{`, or 0.
fn boundary(bytes: &[u8]) -> usize {
    let blank = |byte: &&u8| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let mut end = bytes.len();
    while let Some(line) = memchr::memrchr(b'\n', &bytes[..end]) {
        let behind = bytes[line..].iter().find(blank);
        let before = bytes[..line].iter().rev().find(blank);
        if behind == Some(&b'{') && before == Some(&b'}') {
            return line + 1;
        }
        end = line;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values, in brackets those that are none.
    fn values(text: &str) -> Vec<String> {
        let mut values = Values::new(text.as_bytes(), false);
        let mut all = Vec::new();
        while let Some(Found { start, end, flaw }) = values.next(|scan| scan.skip()) {
            let value = text[start..end].trim_end();
            all.push(if flaw.is_some() { format!("<{value}>") } else { value.to_string() });
        }
        all
    }

    #[test]
    fn values_are_found_however_they_are_laid_out() {
        for (text, want) in [
            ("", vec![]),
            ("{\"a\":1}\n{\"a\":2}\n", vec!["{\"a\":1}", "{\"a\":2}"]),
            ("{}{ }", vec!["{}", "{ }"]),
            ("{\n\"a\":\n1}\n\n{}", vec!["{\n\"a\":\n1}", "{}"]),
            ("[{},\n {}]\n", vec!["{}", "{}"]),
            ("[]\n[{}]\n{}", vec!["{}", "{}"]),
            ("{\"a\":\n{}\n{}", vec!["<{\"a\":>", "{}", "{}"]),
            ("{\"a\": \"x\n{}\nnull 1", vec!["<{\"a\": \"x>", "{}", "null", "1"]),
            ("[{},\n{]},\n{}\n]", vec!["{}", "<{]},>", "{}"]),
            ("[{},{}", vec!["{}", "{}", "<[>"]),
            ("[{}\n{}", vec!["{}", "<[>", "{}"]),
            ("[{},]", vec!["{}", "<]>", "<[>"]),
            ("{} x\n{}", vec!["{}", "<x>", "{}"]),
            ("{\"a\":1,}\n01", vec!["<{\"a\":1,}>", "0", "1"]),
        ] {
            assert_eq!(values(text), want, "{text:?}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(Scanner::new(deep.as_bytes(), false).skip().is_err());
    }

    /// Wherever a text is cut, its values are the same.
    #[test]
    fn blocks_end_where_values_do() {
        for text in [
            "{\"a\":1}\n{\"a\":2}\n{\"b\n{\"a\":\"}\\\"{\"}\n",
            "{\n \"a\": [\n  {\n  }\n ]\n}\n{\n}\n",
            "[\n {\"a\": 1},\n {\"a\": 2}\n]\n[{}]\n{}\n",
            "{\"a\":\n{}\n{}\nx\n12\n{}\n",
            "[{}\n{}\n{}\n",
            "[null}{}\n{}\n{}\n{}",
        ] {
            for cut in 0..=text.len() {
                let (mut read, mut parts) = (0, Vec::new());
                for end in [cut, text.len()] {
                    let block = whole(&text.as_bytes()[read..end]);
                    parts.extend(values(&text[read..read + block]));
                    read += block;
                }
                parts.extend(values(&text[read..]));
                assert_eq!(parts, values(text), "{text:?} at {cut}");
            }
        }
        assert_eq!(whole(b"{\"a\":1}"), 7);
        assert_eq!(whole(b"{}\n12"), 2);
        assert_eq!(whole(b"[{},{}"), 0);
    }
}
