//! Where quoted values of a CSV file begin and end, as its bytes come by: a quote that is never
//! closed would make one value of the rest of the file.

use memchr::{memchr, memchr_iter, memchr2};

/// What of a CSV file's form tells where quoted values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub delimiter: u8,
    pub quote: u8,
    pub escape: Option<u8>,
    pub comment: Option<u8>,
    /// `None` is a line feed, a carriage return, or both.
    pub terminator: Option<u8>,
}

/// Where the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Record,
    Field,
    Within,
    Quoted,
    /// Behind an escape within quotes.
    Escaped,
    /// Behind a quote within quotes: their end, or half of one that is meant.
    Quote,
    Comment,
}

/// Follows the quotes of one file.
#[derive(Debug, Clone)]
pub struct Quotes {
    form: Form,
    at: At,
    /// Lines before the next byte.
    lines: u64,
    /// The line in which the quote stands that is open.
    opened: u64,
}

impl Quotes {
    pub fn new(form: Form) -> Self {
        Self { form, at: At::Record, lines: 0, opened: 0 }
    }

    /// The line, from 1, of the quote that is open.
    pub fn open(&self) -> Option<u64> {
        matches!(self.at, At::Quoted | At::Escaped).then_some(self.opened + 1)
    }

    /// Goes on over bytes; answers whether a line ends within quotes among them.
    pub fn pass(&mut self, bytes: &[u8]) -> bool {
        let (mut place, mut counted, mut broken) = (0, 0, false);
        while let Some(byte) = bytes.get(place) {
            let (was, byte) = (self.at, *byte);
            self.at = self.next(byte);
            if self.at == At::Quoted && matches!(was, At::Record | At::Field) {
                self.lines += memchr_iter(b'\n', &bytes[counted..place]).count() as u64;
                (counted, self.opened) = (place, self.lines);
            }
            place += 1;
            // What stands between is long, and tells nothing.
            let rest = &bytes[place..];
            let skipped = match self.at {
                At::Quoted => {
                    let escape = self.form.escape.unwrap_or(self.form.quote);
                    let skipped = memchr2(self.form.quote, escape, rest).unwrap_or(rest.len());
                    let newline = |bytes: &[u8]| memchr(b'\n', bytes).is_some();
                    let ends = byte == b'\n' && matches!(was, At::Quoted | At::Escaped);
                    broken |= ends || newline(&rest[..skipped]);
                    skipped
                }
                At::Within | At::Record | At::Field if self.form.comment.is_none() => {
                    self.unquoted(rest)
                }
                _ => 0,
            };
            place += skipped;
        }
        self.lines += memchr_iter(b'\n', &bytes[counted..]).count() as u64;
        broken
    }

    /// Bytes outside quotes up to the next quote; where that stands is told by the byte before.
    fn unquoted(&mut self, rest: &[u8]) -> usize {
        let skipped = memchr(self.form.quote, rest).unwrap_or(rest.len());
        if let Some(before) = skipped.checked_sub(1).and_then(|last| rest.get(last)) {
            self.at = self.outside(*before);
        }
        skipped
    }

    fn next(&self, byte: u8) -> At {
        let Form { quote, escape, comment, .. } = self.form;
        match self.at {
            At::Quoted if Some(byte) == escape => At::Escaped,
            At::Quoted if byte == quote => At::Quote,
            At::Quoted | At::Escaped => At::Quoted,
            At::Quote if byte == quote => At::Quoted,
            At::Record if Some(byte) == comment => At::Comment,
            At::Comment if byte != b'\n' => At::Comment,
            At::Record | At::Field if byte == quote => At::Quoted,
            _ => self.outside(byte),
        }
    }

    /// Behind a byte outside quotes.
    fn outside(&self, byte: u8) -> At {
        let ends = match self.form.terminator {
            Some(end) => byte == end,
            None => byte == b'\n' || byte == b'\r',
        };
        match byte {
            _ if ends => At::Record,
            byte if byte == self.form.delimiter => At::Field,
            _ => At::Within,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_followed_in_any_pieces() {
        let form =
            Form { delimiter: b';', quote: b'"', escape: None, comment: None, terminator: None };
        let (slash, hash) = (Some(b'\\'), Some(b'#'));
        for (text, form, open, broken) in [
            ("", form, None, false),
            ("a;b\n1;\"x\"\n", form, None, false),
            ("a;b\n1;\"x\n2;y\n", form, Some(2), true),
            ("a\n\"x\ny\"\n\"z", form, Some(4), true),
            ("a\n5\" pipe\n", form, None, false),
            ("a\n\"say \"\"hi\"\"\"\n", form, None, false),
            ("a\n\"say \"\"\nhi\"\"\n", form, Some(2), true),
            ("a\n\"x\"y\"\n", form, None, false),
            ("a\n\"x\\\"\n\"", Form { escape: slash, ..form }, None, true),
            ("#\"a\nb\n", Form { comment: hash, ..form }, None, false),
            ("x#\"a\n\"b\n", Form { comment: hash, ..form }, Some(2), true),
        ] {
            for piece in [1, 2, 3, 100] {
                let mut quotes = Quotes::new(form);
                let mut seen = false;
                for piece in text.as_bytes().chunks(piece) {
                    seen |= quotes.pass(piece);
                }
                assert_eq!((quotes.open(), seen), (open, broken), "{text:?} by {piece}");
            }
        }
    }
}
