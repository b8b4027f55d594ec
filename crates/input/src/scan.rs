//! What the bytes of a file say about how they are written. Of a file all bytes are looked at, piece by piece; of a pipe what can be kept back.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// So much of the beginning is kept, for what is told by the first bytes and by the header.
pub(crate) const BEGIN_BYTES: usize = 64 * 1024;

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    begin: Vec<u8>,
    length: u64,
    /// Bytes of a letter that goes on in the next piece.
    carried: Vec<u8>,
    /// Whether there was a letter of several bytes that is right in UTF-8.
    has_letters: bool,
    /// Where the first byte is that cannot be UTF-8.
    broken: Option<u64>,
    /// Where the first byte is that Windows-1252 does not have, or not where it stands.
    odd: Option<u64>,
    has_line_feed: bool,
    has_carriage_return: bool,
    /// Whether all of it was looked at.
    is_all: bool,
}

/// How a file is written, as far as its bytes tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writing {
    /// How letters are written.
    pub(crate) encoding: &'static Encoding,
    /// How many bytes the byte order mark has at the beginning.
    pub(crate) mark: usize,
    /// Whether lines end with a carriage return alone.
    pub(crate) is_macintosh: bool,
    /// Whether the rest may speak against it.
    pub(crate) is_guess: bool,
}

/// Why that cannot be said.
#[derive(Debug)]
pub(crate) struct Unwritten {
    /// At which byte.
    pub(crate) at: u64,
    /// Why, and the way out.
    pub(crate) what: &'static str,
}

const MIXED: &str = "some letters are UTF-8 and this one is not: two files were put together, or one was damaged; save it again as `CSV UTF-8`, or, if all \
     of it is written so, say --encoding windows-1252";
const NOT_WINDOWS: &str = "this letter is neither UTF-8 nor Windows-1252; in Excel save as `CSV UTF-8`, not `CSV (MS-DOS)`, or say how it is written, such as \
     --encoding macintosh";
const MACINTOSH: &str = "lines end as on an old Macintosh, and this letter is not UTF-8; save the file as `CSV UTF-8`, or say --encoding macintosh";
const BINARY: &str = "the file is no text; export the data as CSV, in UTF-8";
const UTF_32: &str = "the file is UTF-32; save it as `CSV UTF-8`";

impl Scan {
    /// Looks at the next piece.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let room = BEGIN_BYTES - self.begin.len();
        self.begin.extend_from_slice(&piece[..piece.len().min(room)]);
        self.has_line_feed = self.has_line_feed || piece.contains(&b'\n');
        self.has_carriage_return = self.has_carriage_return || piece.contains(&b'\r');
        if self.carried.is_empty() {
            self.letters(piece);
        } else {
            let mut joined = std::mem::take(&mut self.carried);
            self.length -= joined.len() as u64;
            joined.extend_from_slice(piece);
            self.letters(&joined);
        }
    }

    /// That was all.
    pub(crate) fn end(&mut self) {
        self.is_all = true;
        if !self.carried.is_empty() {
            self.broken.get_or_insert(self.length - self.carried.len() as u64);
        }
    }

    fn letters(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let (valid, broken) = match std::str::from_utf8(&bytes[at..]) {
                Ok(_) => (bytes.len() - at, Some(0)),
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            self.has_letters = self.has_letters || !bytes[at..at + valid].is_ascii();
            at += valid;
            match broken {
                Some(0) => break,
                Some(length) => {
                    self.broken.get_or_insert(self.length + at as u64);
                    if (at..at + length).any(|at| is_odd(bytes, at)) {
                        self.odd.get_or_insert(self.length + at as u64);
                    }
                    at += length;
                }
                // A letter that goes on in the next piece, perhaps.
                None => {
                    self.carried = bytes[at..].to_vec();
                    break;
                }
            }
        }
        self.length += bytes.len() as u64;
    }

    /// The first bytes.
    pub(crate) fn begin(&self) -> &[u8] {
        &self.begin
    }

    /// Whether letters of UTF-8 were seen.
    pub(crate) fn has_letters(&self) -> bool {
        self.has_letters
    }

    /// How it is written; as it was said, if that was said.
    pub(crate) fn writing(&self, said: Option<&'static Encoding>) -> Result<Writing, Unwritten> {
        let writing = |encoding, mark, is_guess| Writing {
            encoding,
            mark,
            is_macintosh: self.has_carriage_return && !self.has_line_feed,
            is_guess,
        };
        let found = self.marked().or_else(|| self.two_bytes().map(|encoding| (encoding, 0)));
        match (said, found) {
            // Which of the two it is, is said by the file.
            (Some(said), Some((found, mark))) if said == found || (is_utf_16(said) && is_utf_16(found)) => {
                return Ok(writing(found, mark, false));
            }
            (Some(said), _) => return Ok(writing(said, 0, false)),
            (None, _) if self.begin.starts_with(b"\xff\xfe\0\0") || self.begin.starts_with(b"\0\0\xfe\xff") => {
                return Err(Unwritten { at: 0, what: UTF_32 });
            }
            (None, Some((found, mark))) if is_utf_16(found) => return Ok(writing(found, mark, false)),
            (None, _) => {}
        }
        if let Some(at) = self.begin.iter().position(|byte| *byte == 0) {
            return Err(Unwritten { at: at as u64, what: BINARY });
        }
        let mark = found.map_or(0, |(_, mark)| mark);
        let is_macintosh = self.has_carriage_return && !self.has_line_feed;
        match (self.broken, self.odd) {
            (None, _) => Ok(writing(UTF_8, mark, !self.is_all)),
            (Some(at), _) if self.has_letters => Err(Unwritten { at, what: MIXED }),
            (Some(at), _) if is_macintosh => Err(Unwritten { at, what: MACINTOSH }),
            (_, Some(at)) => Err(Unwritten { at, what: NOT_WINDOWS }),
            (Some(_), None) => Ok(writing(WINDOWS_1252, 0, !self.is_all)),
        }
    }

    /// By its byte order mark.
    fn marked(&self) -> Option<(&'static Encoding, usize)> {
        Encoding::for_bom(&self.begin)
    }

    /// By its zeros: in UTF-16 every other byte of Latin text is one.
    fn two_bytes(&self) -> Option<&'static Encoding> {
        let head = &self.begin[..self.begin.len().min(512)];
        let zeros = |parity: usize| head.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
        let (even, odd, least) = (zeros(0), zeros(1), 1 + head.len() / 4);
        // On the other side there are few: letters such as Ā have one.
        match (even, odd) {
            (even, odd) if odd >= least && 8 * even <= odd => Some(UTF_16LE),
            (even, odd) if even >= least && 8 * odd <= even => Some(UTF_16BE),
            _ => None,
        }
    }
}

fn is_utf_16(encoding: &'static Encoding) -> bool {
    encoding == UTF_16LE || encoding == UTF_16BE
}

/// Whether a byte is none of Windows-1252 there: one that it does not have, or a sign that is not written between two letters, and is a letter in the code
/// pages of DOS, which `CSV (MS-DOS)` means.
fn is_odd(bytes: &[u8], at: usize) -> bool {
    let is_letter = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphabetic);
    match bytes[at] {
        0x81 | 0x8d | 0x8f | 0x90 | 0x9d => true,
        // ‚ „ ‡ ˆ ‰ ‹ ” • ˜, which are é ä ç ê ë ï ö ò ÿ there.
        0x82 | 0x84 | 0x87..=0x89 | 0x8b | 0x94 | 0x95 | 0x98 => {
            is_letter(at.checked_sub(1)) && is_letter(Some(at + 1))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn scanned(bytes: &[u8], piece: usize, is_all: bool) -> Scan {
        let mut scan = Scan::default();
        bytes.chunks(piece).for_each(|piece| scan.feed(piece));
        if is_all {
            scan.end();
        }
        scan
    }

    /// The encoding and the mark, or the place of what is wrong.
    fn found(bytes: &[u8]) -> Result<(&'static str, usize), u64> {
        let written = |piece| {
            let writing = scanned(bytes, piece, true).writing(None);
            writing.map(|found| (found.encoding.name(), found.mark)).map_err(|wrong| wrong.at)
        };
        let whole = written(usize::MAX);
        (1..5).for_each(|piece| assert_eq!(written(piece), whole, "in pieces of {piece}"));
        whole
    }

    fn utf_16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn the_encoding_is_recognised() {
        assert_eq!(found(b"a,b\n"), Ok(("UTF-8", 0)));
        assert_eq!(found("a,ü€😀\n".as_bytes()), Ok(("UTF-8", 0)));
        assert_eq!(found("\u{feff}a,ü\n".as_bytes()), Ok(("UTF-8", 3)));
        assert_eq!(found(b"a,J\xfcrgen\n"), Ok(("windows-1252", 0)));
        assert_eq!(found(b"a,O\x92Neil \x80 5\n"), Ok(("windows-1252", 0)));
        assert_eq!(found(b"a,J\xfc"), Ok(("windows-1252", 0)));
        for text in ["affiliate_id;name\n1;Jürgen\n", "\u{feff}affiliate_id;name\n"] {
            let mark = if text.starts_with('\u{feff}') { 2 } else { 0 };
            assert_eq!(found(&utf_16(text, u16::to_le_bytes)), Ok(("UTF-16LE", mark)));
            assert_eq!(found(&utf_16(text, u16::to_be_bytes)), Ok(("UTF-16BE", mark)));
        }
    }

    #[test]
    fn what_cannot_be_told_is_an_error_with_its_place() {
        assert_eq!(found("ü\nJ".as_bytes()), Ok(("UTF-8", 0)));
        assert_eq!(found(b"\xc3\xbc\nJ\xfcrgen\n"), Err(4), "partly UTF-8");
        assert_eq!(found(b"J\xfcrgen\n\xc3\xbc"), Err(1), "partly UTF-8");
        assert_eq!(found(b"\xc3\xbcx\xc3"), Err(3), "cut off in a letter");
        assert_eq!(found(b"J\x81rgen\n"), Err(1), "the umlaut of DOS");
        let francois = scanned(b"Andr\xe9 and Fran\x87ois\n", usize::MAX, true).writing(None);
        assert_eq!(francois.map(|_| ()).map_err(|wrong| wrong.at), Err(14), "no sign between two letters");
        assert_eq!(found(b"a,b\rJ\x9frgen\r"), Err(5), "of an old Macintosh");
        assert_eq!(found(b"a\0b,c"), Err(1), "no text");
        assert_eq!(found(b"\xff\xfe\0\0a\0\0\0"), Err(0), "UTF-32");
    }

    #[test]
    fn what_is_said_overrules() {
        let said = |bytes: &[u8], encoding| {
            scanned(bytes, 3, true).writing(Some(encoding)).map(|found| (found.encoding, found.mark)).unwrap()
        };
        assert_eq!(said(b"\xc3\xbc", WINDOWS_1252), (WINDOWS_1252, 0));
        assert_eq!(said(b"\xef\xbb\xbfa", UTF_8), (UTF_8, 3));
        assert_eq!(said(&utf_16("abc", u16::to_be_bytes), UTF_16LE), (UTF_16BE, 0));
        assert_eq!(said(b"ab", UTF_16LE), (UTF_16LE, 0));
    }

    #[test]
    fn of_a_beginning_it_is_a_guess() {
        let guess = |bytes: &[u8], is_all| scanned(bytes, 2, is_all).writing(None).map(|found| found.is_guess).unwrap();
        assert!(guess(b"a,b", false) && guess(b"\xfc", false) && guess(b"x\xc3", false));
        assert!(!guess(b"a,b", true) && !guess(b"\xfc", true));
        assert!(!guess(&utf_16("a,b", u16::to_le_bytes), false));
    }
}
