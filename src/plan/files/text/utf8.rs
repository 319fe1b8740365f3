//! Bytes of a text file as UTF-8: a byte order mark is passed over, UTF-16 known by it, and what
//! an option names is decoded.

use std::borrow::Cow;
use std::io::{self, Read};

use datafusion::error::DataFusionError;
use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use memchr::memchr_iter;

use super::parse::Fault;
use crate::plan::files::error::user;

/// The option that names the encoding of a file of text.
pub const ENCODING: &str = "format.encoding";

/// A byte order mark is no longer.
const MARK_BYTES: usize = 3;

/// How a file is said to be encoded.
///
/// Errors: there is no such encoding.
pub fn encoding(label: &str) -> Result<&'static Encoding, DataFusionError> {
    Encoding::for_label(label.as_bytes()).ok_or_else(|| {
        user(format!(
            "{ENCODING} '{label}': there is no such encoding; there are utf-8, utf-16le, utf-16be, \
             windows-1252, iso-8859-1 to -16, shift_jis, gbk, big5, euc-kr, koi8-r and others"
        ))
    })
}

/// Turns bytes, piece by piece, into UTF-8. Bytes that are said to be UTF-8 come as they are.
pub struct Utf8 {
    named: Option<&'static Encoding>,
    state: State,
    /// Lines before the next byte.
    lines: u64,
    /// The first bytes of a character whose others are still to come.
    torn: Vec<u8>,
}

enum State {
    /// The first bytes, while they are too few to tell.
    Start(Vec<u8>),
    Plain,
    Encoded(Box<encoding_rs::Decoder>),
}

impl Utf8 {
    pub fn new(named: Option<&'static Encoding>) -> Self {
        Self { named, state: State::Start(Vec::new()), lines: 0, torn: Vec::new() }
    }

    /// Behind the start of a file of UTF-8.
    pub fn within() -> Self {
        Self { state: State::Plain, ..Self::new(None) }
    }

    /// The bytes as UTF-8; `last` says that no more come.
    ///
    /// Errors: bytes that the encoding does not have.
    pub fn decode<'a>(&mut self, bytes: &'a [u8], last: bool) -> Result<Cow<'a, [u8]>, Fault> {
        let State::Start(seen) = &mut self.state else { return self.go_on(bytes, last) };
        if seen.is_empty() && bytes.len() >= MARK_BYTES {
            let skip = self.begin(bytes);
            return self.go_on(&bytes[skip..], last);
        }
        seen.extend_from_slice(bytes);
        if seen.len() < MARK_BYTES && !last {
            return Ok(Cow::Borrowed(&[]));
        }
        let seen = std::mem::take(seen);
        let skip = self.begin(&seen);
        Ok(Cow::Owned(self.go_on(&seen[skip..], last)?.into_owned()))
    }

    /// Looks at the first bytes; answers how many of them are a mark.
    fn begin(&mut self, bytes: &[u8]) -> usize {
        let (encoding, mark) = match Encoding::for_bom(bytes) {
            Some((encoding, length)) => (encoding, length),
            None => (self.named.unwrap_or(UTF_8), 0),
        };
        self.state = match encoding == UTF_8 {
            true => State::Plain,
            false => State::Encoded(Box::new(encoding.new_decoder_without_bom_handling())),
        };
        mark
    }

    fn go_on<'a>(&mut self, bytes: &'a [u8], last: bool) -> Result<Cow<'a, [u8]>, Fault> {
        let State::Encoded(decoder) = &mut self.state else {
            self.check(bytes, last)?;
            return Ok(Cow::Borrowed(bytes));
        };
        let room = decoder.max_utf8_buffer_length_without_replacement(bytes.len());
        let mut out = vec![0; room.unwrap_or(bytes.len() * 4 + 16)];
        let (result, _, written) =
            decoder.decode_to_utf8_without_replacement(bytes, &mut out, last);
        out.truncate(written);
        match result {
            DecoderResult::InputEmpty => {
                self.lines += memchr_iter(b'\n', &out).count() as u64;
                Ok(Cow::Owned(out))
            }
            _ => {
                let lines = self.lines + memchr_iter(b'\n', &out).count() as u64;
                let name = decoder.encoding().name();
                Err(Fault::on(lines + 1, format!("its bytes are no {name}")))
            }
        }
    }

    /// Errors: bytes that are no UTF-8.
    fn check(&mut self, bytes: &[u8], last: bool) -> Result<(), Fault> {
        let mut rest = bytes;
        while let (false, Some((next, others))) = (self.torn.is_empty(), rest.split_first()) {
            self.torn.push(*next);
            rest = others;
            match std::str::from_utf8(&self.torn) {
                Ok(_) => self.torn.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(self.other()),
            }
        }
        let whole = match std::str::from_utf8(rest) {
            Ok(_) => rest.len(),
            Err(error) => error.valid_up_to(),
        };
        self.lines += memchr_iter(b'\n', &rest[..whole]).count() as u64;
        let torn = &rest[whole..];
        match std::str::from_utf8(torn) {
            Err(error) if error.error_len().is_some() || last => Err(self.other()),
            _ if last && !self.torn.is_empty() => Err(self.other()),
            _ => {
                self.torn.extend_from_slice(torn);
                Ok(())
            }
        }
    }

    fn other(&self) -> Fault {
        let why = "its bytes are no UTF-8; where a file is in another encoding, say in which: \
                   CREATE EXTERNAL TABLE .. OPTIONS ('format.encoding' 'windows-1252')";
        Fault::on(self.lines + 1, why)
    }
}

/// Whether a file that begins so is UTF-8, as far as a mark tells.
pub fn is_utf8(head: &[u8]) -> bool {
    let marked = Encoding::for_bom(head).map(|(encoding, _)| encoding);
    ![Some(UTF_16LE), Some(UTF_16BE)].contains(&marked)
}

/// A reader of bytes as one of UTF-8.
pub struct Utf8Reader<R> {
    from: R,
    text: Utf8,
    ready: Vec<u8>,
    given: usize,
    ended: bool,
}

/// Bytes that are decoded at once.
const PIECE_BYTES: usize = 64 << 10;

impl<R: Read> Utf8Reader<R> {
    pub fn new(from: R, named: Option<&'static Encoding>) -> Self {
        Self { from, text: Utf8::new(named), ready: Vec::new(), given: 0, ended: false }
    }
}

impl<R: Read> Read for Utf8Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.ready.len() && !self.ended {
            let mut piece = vec![0; PIECE_BYTES];
            let read = self.from.read(&mut piece)?;
            self.ended = read == 0;
            let decoded = self.text.decode(&piece[..read], self.ended).map_err(io::Error::other)?;
            (self.ready, self.given) = (decoded.into_owned(), 0);
        }
        let length = buffer.len().min(self.ready.len() - self.given);
        buffer[..length].copy_from_slice(&self.ready[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], named: Option<&str>, piece: usize) -> Result<String, String> {
        let mut text = Utf8::new(named.map(|label| encoding(label).unwrap()));
        let mut out = Vec::new();
        for piece in bytes.chunks(piece) {
            out.extend_from_slice(&text.decode(piece, false).map_err(|fault| fault.to_string())?);
        }
        out.extend_from_slice(&text.decode(&[], true).map_err(|fault| fault.to_string())?);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn marks_and_encodings_are_read_in_any_pieces() {
        let utf16: Vec<u8> = "\u{feff}a,ü,😀\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf16be: Vec<u8> = "\u{feff}a,ü\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for piece in [1, 2, 3, 5, 1000] {
            assert_eq!(read(b"\xef\xbb\xbfa\n", None, piece).unwrap(), "a\n");
            assert_eq!(read(b"a", None, piece).unwrap(), "a");
            assert_eq!(read(&utf16, None, piece).unwrap(), "a,ü,😀\n");
            assert_eq!(read(&utf16be, Some("latin1"), piece).unwrap(), "a,ü\n");
            assert_eq!(read(b"M\xfcller", Some("windows-1252"), piece).unwrap(), "Müller");
            assert_eq!(read("\u{fc}".as_bytes(), Some("utf8"), piece).unwrap(), "ü");
            for wrong in [&b"a\n\nM\xfcller\n"[..], b"\n\n\xf0\x9f"] {
                let told = read(wrong, None, piece).unwrap_err();
                assert!(told.starts_with("line 3: ") && told.contains("format.encoding"), "{told}");
            }
        }
        assert!(read(&utf16[..5], None, 2).unwrap_err().contains("UTF-16LE"));
        assert!(encoding("utf-99").unwrap_err().to_string().contains("windows-1252"));
        assert!(!is_utf8(&utf16) && is_utf8(b"\xef\xbb\xbfa"));
    }
}
