//! Options that say how a file is to be read.

use encoding_rs::{Encoding, REPLACEMENT, X_USER_DEFINED};

use crate::rows::How;

/// How a file is written, where it should not be recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct ReadArgs {
    /// How letters are written: utf-8, utf-16, windows-1252, macintosh or another name of the WHATWG's list [default: recognised]
    #[arg(long, env = "PAYFLEET_ENCODING", value_name = "NAME", value_parser = encoding)]
    pub encoding: Option<&'static Encoding>,
    /// What separates fields: `;`, `|`, another sign, or the word comma, semicolon, tab or bar [default: recognised]
    #[arg(long, env = "PAYFLEET_DELIMITER", value_name = "SIGN", value_parser = delimiter)]
    pub delimiter: Option<u8>,
}

impl ReadArgs {
    /// Without anything else.
    pub fn how(&self) -> How {
        How { encoding: self.encoding, delimiter: self.delimiter, ..How::default() }
    }
}

/// For clap.
pub fn encoding(text: &str) -> Result<&'static Encoding, String> {
    let found = Encoding::for_label(text.trim().as_bytes());
    found.filter(|found| *found != REPLACEMENT && *found != X_USER_DEFINED).ok_or_else(|| {
        "no such encoding is known; there are utf-8, utf-16, windows-1252, iso-8859-15, macintosh and others".to_owned()
    })
}

/// For clap.
pub fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "comma" => Ok(b','),
        "semicolon" => Ok(b';'),
        "tab" | "\\t" => Ok(b'\t'),
        "bar" | "pipe" => Ok(b'|'),
        _ => match text.as_bytes() {
            [byte] if !byte.is_ascii_alphanumeric() && byte.is_ascii() && !b"\"\r\n\0".contains(byte) => Ok(*byte),
            _ => Err("a delimiter is one sign such as `;`, or the word comma, semicolon, tab or bar".to_owned()),
        },
    }
}

/// For clap.
pub fn decimal(text: &str) -> Result<char, String> {
    match text {
        "." | "point" => Ok('.'),
        "," | "comma" => Ok(','),
        _ => Err("the decimal mark is `.` or `,`".to_owned()),
    }
}
