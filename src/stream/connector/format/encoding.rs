//! Text in other encodings, read as UTF-8.

use std::io::{Error, ErrorKind, Read, Result as IoResult};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};

use crate::error::Result;
use crate::stream::connector::options::Settings;

/// Bytes that are asked for at once.
const READ_BYTES: usize = 1 << 16;

/// The option `encoding`: `None` goes by a byte order mark, and is UTF-8 where there is none.
pub fn option(settings: &mut Settings) -> Result<Option<&'static Encoding>> {
    let Some(label) = settings.text("encoding") else { return Ok(None) };
    match Encoding::for_label_no_replacement(label.as_bytes()) {
        Some(encoding) => Ok(Some(encoding)),
        None => Err(settings.error(format!(
            "encoding = '{label}': one of the web's is wanted, such as utf-8, utf-16le, \
             windows-1252 (or latin1), iso-8859-15, gbk or shift_jis"
        ))),
    }
}

/// For what tells one log from another.
pub fn identity(encoding: Option<&'static Encoding>) -> String {
    encoding.map_or(String::new(), |encoding| format!(", encoding {}", encoding.name()))
}

/// Whether bytes of an encoding are to be decoded, that of a byte order mark before any other.
pub fn decodes(encoding: Option<&'static Encoding>, first: &[u8]) -> Option<&'static Encoding> {
    let marked = Encoding::for_bom(first).map(|(encoding, _)| encoding);
    marked.or(encoding).filter(|encoding| *encoding != UTF_8)
}

/// All of a text as UTF-8.
pub fn decoded(encoding: &'static Encoding, bytes: &[u8]) -> IoResult<Vec<u8>> {
    let mut text = Vec::new();
    Decoded::new(bytes, Some(encoding)).read_to_end(&mut text)?;
    Ok(text)
}

/// Reads an encoding as UTF-8.
pub struct Decoded<R> {
    inner: R,
    encoding: Option<&'static Encoding>,
    /// From when the first bytes were seen; `None` leaves them as they are.
    decoder: Option<Option<Decoder>>,
    raw: Vec<u8>,
    ready: Vec<u8>,
    /// Bytes of `ready` that were handed on.
    taken: usize,
    end: bool,
}

impl<R: Read> Decoded<R> {
    pub fn new(inner: R, encoding: Option<&'static Encoding>) -> Self {
        let (raw, ready) = (Vec::new(), Vec::new());
        Self { inner, encoding, decoder: None, raw, ready, taken: 0, end: false }
    }

    /// Reads on until there is something to hand on, or nothing any more.
    fn fill(&mut self) -> IoResult<()> {
        self.ready.clear();
        self.taken = 0;
        while self.ready.is_empty() && !self.end {
            let held = self.raw.len();
            self.raw.resize(held + READ_BYTES, 0);
            let read = self.inner.read(&mut self.raw[held..]);
            self.raw.truncate(held + *read.as_ref().unwrap_or(&0));
            self.end = read? == 0;
            if self.decoder.is_none() {
                if self.raw.len() < 3 && !self.end {
                    continue; // a byte order mark may come
                }
                let encoding = decodes(self.encoding, &self.raw);
                self.decoder = Some(encoding.map(Encoding::new_decoder_with_bom_removal));
            }
            match self.decoder.as_mut().and_then(Option::as_mut) {
                None => std::mem::swap(&mut self.raw, &mut self.ready),
                Some(decoder) => {
                    let most = decoder.max_utf8_buffer_length_without_replacement(self.raw.len());
                    self.ready.resize(most.unwrap_or(4 * self.raw.len() + 16), 0);
                    let (result, read, written) = decoder.decode_to_utf8_without_replacement(
                        &self.raw,
                        &mut self.ready,
                        self.end,
                    );
                    self.ready.truncate(written);
                    if let DecoderResult::Malformed(..) = result {
                        let name = decoder.encoding().name();
                        let error = format!("the text is not {name}: say what it is in encoding");
                        return Err(Error::new(ErrorKind::InvalidData, error));
                    }
                    self.raw.drain(..read);
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, bytes: &mut [u8]) -> IoResult<usize> {
        if self.taken == self.ready.len() {
            self.fill()?;
        }
        let count = bytes.len().min(self.ready.len() - self.taken);
        bytes[..count].copy_from_slice(&self.ready[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands on one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> IoResult<usize> {
            self.0.take(1).read(bytes).inspect(|count| self.0 = &self.0[*count..])
        }
    }

    #[test]
    fn encodings_are_read_as_utf_8() {
        let latin = Encoding::for_label(b"latin1");
        let le: Vec<u8> = "\u{feff}a;ä\n𝄞".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = "\u{feff}a;ä\n𝄞".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (encoding, bytes, want) in [
            (latin, b"M\xfcller \x80".as_slice(), "Müller €"),
            (None, le.as_slice(), "a;ä\n𝄞"),
            (None, be.as_slice(), "a;ä\n𝄞"),
            (latin, le.as_slice(), "a;ä\n𝄞"),
            (None, b"a", "a"),
            (None, b"", ""),
            (None, "ä".as_bytes(), "ä"),
            (Encoding::for_label(b"utf-16be"), b"\0a", "a"),
        ] {
            for slow in [false, true] {
                let mut text = String::new();
                let read = match slow {
                    true => Decoded::new(Slow(bytes), encoding).read_to_string(&mut text),
                    false => Decoded::new(bytes, encoding).read_to_string(&mut text),
                };
                read.unwrap();
                assert_eq!(text, want, "{bytes:?} {slow}");
            }
        }
        let error = decoded(encoding_rs::UTF_16LE, b"a\0b").unwrap_err().to_string();
        assert!(error.contains("is not UTF-16LE"), "{error}");
    }
}
