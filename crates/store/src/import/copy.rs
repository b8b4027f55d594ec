//! Rows in the binary form of COPY (PostgreSQL manual, "COPY", "Binary Format"): what the reader's thread writes is
//! what goes over the wire.

use time::OffsetDateTime;
use time::macros::datetime;

/// Signature, flags, and the length of the header's extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A row of -1 fields.
pub(super) const TRAILER: &[u8] = &[0xff, 0xff];

/// Postgres counts microseconds from here.
const EPOCH: OffsetDateTime = datetime!(2000-01-01 00:00 UTC);

/// Some rows.
#[derive(Debug, Default)]
pub(super) struct CopyRows {
    bytes: Vec<u8>,
    rows: u64,
    /// Of the row that is being written.
    fields: i16,
}

impl CopyRows {
    /// How many.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// As they go over the wire.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a row of the fields that `write` writes. How many they are stands before them.
    pub(super) fn row(&mut self, write: impl FnOnce(&mut Self)) {
        self.rows += 1;
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.fields = 0;
        write(self);
        self.bytes[at..at + 2].copy_from_slice(&self.fields.to_be_bytes());
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.field(text.as_bytes())
    }

    pub(super) fn text_or_null(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    pub(super) fn bigint(&mut self, number: i64) -> &mut Self {
        self.field(&number.to_be_bytes())
    }

    pub(super) fn smallint(&mut self, number: i16) -> &mut Self {
        self.field(&number.to_be_bytes())
    }

    pub(super) fn boolean(&mut self, value: bool) -> &mut Self {
        self.field(&[u8::from(value)])
    }

    /// To the microsecond. What is finer is cut off, never rounded up: an instant must not slip over the end of its
    /// month.
    pub(super) fn timestamptz(&mut self, at: OffsetDateTime) -> &mut Self {
        let micros = (at - EPOCH).whole_nanoseconds().div_euclid(1_000);
        // Fits: years have four digits.
        self.bigint(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    pub(super) fn null(&mut self) -> &mut Self {
        self.fields += 1;
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        self
    }

    fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.fields += 1;
        // A field is at most a line of a file, which the reader bounds far below 2 GiB.
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_never_slips_into_the_next_month() {
        let micros = |at| {
            let mut rows = CopyRows::default();
            rows.timestamptz(at);
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&rows.bytes()[4..]);
            i64::from_be_bytes(bytes)
        };
        assert_eq!(micros(datetime!(2000-01-01 00:00:01 UTC)), 1_000_000);
        assert_eq!(micros(datetime!(1999-12-31 23:59:59.999_999_9 UTC)), -1);
        assert_eq!(micros(datetime!(2000-01-31 23:59:59.999_999_999 UTC)), 31 * 86_400_000_000 - 1);
    }
}
