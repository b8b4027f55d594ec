//! From the bytes of a file to UTF-8, piece by piece.

use std::fmt;
use std::io::{self, Read};

use encoding_rs::{Decoder, UTF_8, UTF_16BE, UTF_16LE};

use crate::scan::{Scan, Writing};

/// So many bytes are decoded at once.
const PIECE_BYTES: usize = 32 * 1024;

/// What the rest of a pipe says against its beginning.
#[derive(Debug)]
pub(crate) struct Surprise;

impl fmt::Display for Surprise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the input is written otherwise than its beginning")
    }
}

impl std::error::Error for Surprise {}

/// Reads as UTF-8 what is written so. UTF-8 itself is passed on as it is, and judged field by field.
pub(crate) fn decoded(mut input: Box<dyn Read + Send>, writing: Writing) -> io::Result<Box<dyn Read + Send>> {
    io::copy(&mut input.by_ref().take(writing.mark as u64), &mut io::sink())?;
    let text: Box<dyn Read + Send> = match writing.encoding {
        encoding if encoding == UTF_8 => input,
        encoding => Box::new(Decoded {
            input,
            decoder: encoding.new_decoder_without_bom_handling(),
            rest: writing.is_guess.then(Scan::default),
            raw: vec![0; PIECE_BYTES],
            text: String::new(),
            at: 0,
            is_over: false,
        }),
    };
    Ok(if writing.is_macintosh { Box::new(LineFeeds(text)) } else { text })
}

/// What a person calls an encoding.
pub(crate) fn name(encoding: &'static encoding_rs::Encoding) -> &'static str {
    match encoding.name() {
        _ if encoding == UTF_16LE || encoding == UTF_16BE => "UTF-16",
        "windows-1252" => "Windows-1252",
        other => other,
    }
}

/// Letters that are wrong become U+FFFD, for which the rows are searched.
struct Decoded {
    input: Box<dyn Read + Send>,
    decoder: Decoder,
    /// Looks on whether the rest of a pipe is as its beginning.
    rest: Option<Scan>,
    raw: Vec<u8>,
    text: String,
    at: usize,
    is_over: bool,
}

impl Read for Decoded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() && !self.is_over {
            let count = self.input.read(&mut self.raw)?;
            let raw = &self.raw[..count];
            if let Some(rest) = &mut self.rest {
                rest.feed(raw);
                if rest.has_letters() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, Surprise));
                }
            }
            self.is_over = count == 0;
            self.text.clear();
            self.at = 0;
            // No piece becomes longer than this, so that all of it is decoded at once.
            self.text.reserve(self.decoder.max_utf8_buffer_length(count).unwrap_or(4 * PIECE_BYTES));
            let _ = self.decoder.decode_to_string(raw, &mut self.text, self.is_over);
        }
        let count = out.len().min(self.text.len() - self.at);
        out[..count].copy_from_slice(&self.text.as_bytes()[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Ends lines with line feeds instead of carriage returns.
struct LineFeeds(Box<dyn Read + Send>);

impl Read for LineFeeds {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(out)?;
        out[..count].iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        Ok(count)
    }
}
