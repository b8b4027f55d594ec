//! The statement of every shape: one JSON object a line, the last of which says how far the statement reaches; read as
//! it comes, in bounded memory. Nothing in a line is taken to be ours; only its form is checked.

use std::collections::VecDeque;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use payfleet_domain::{Movement, StatementEnd, StatementLine};
use reqwest::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::dialect::asked_by;
use crate::transport::{Transport, json, transport_reason};
use crate::{Account, StatementError, StatementItem, StatementStream};

/// No line of a statement is longer; a body without line ends must not fill the memory.
const LINE_BYTES_MAX: usize = 64 * 1024;

#[derive(Deserialize)]
struct WireLine {
    line: u64,
    key: String,
    reference: String,
    amount_minor: i64,
    currency: String,
    destination: String,
    #[serde(default)]
    fee_minor: i64,
    status: Movement,
    #[serde(with = "time::serde::rfc3339::option", default)]
    at: Option<OffsetDateTime>,
    of: Option<String>,
}

#[derive(Deserialize)]
struct WireEnd {
    end: bool,
    #[serde(with = "time::serde::rfc3339")]
    from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    until: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    now: OffsetDateTime,
    lines: u64,
}

/// Asks for the statement and answers with its lines.
pub(super) async fn open(
    transport: &Transport,
    rail: &'static str,
    shape: &str,
    account: &Account,
    from: OffsetDateTime,
) -> Result<StatementStream, StatementError> {
    let account_name = account.name.clone();
    let unreachable = |why| StatementError::Unreachable { rail, account: account_name.clone(), why };
    let asked = from.format(&Rfc3339).map_err(|_| unreachable("the first instant has no RFC 3339 form"))?;
    let request = asked_by(transport.get_statement(&["statement"], &[("shape", shape), ("from", &asked)]), account);
    let response = request.send().await.map_err(|error| unreachable(transport_reason(&error)))?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(StatementError::Denied { rail, account: account_name, status: response.status().as_u16() });
    }
    // Without one of them the end of the connection is the end of the statement, and a lost connection would look like
    // one that is complete: payments would be missing without a word.
    if !response.headers().contains_key(CONTENT_LENGTH) && !response.headers().contains_key(TRANSFER_ENCODING) {
        return Err(unreachable("the answer does not say where it ends"));
    }
    let body = response.bytes_stream().map(|chunk| chunk.map_err(|error| transport_reason(&error))).boxed();
    Ok(lines(rail, account_name, from, body))
}

/// The lines of a statement since this instant that comes in these pieces.
pub(crate) fn lines(rail: &'static str, account: String, from: OffsetDateTime, body: Body) -> StatementStream {
    let reader = Reader {
        rail,
        account,
        from,
        body,
        buffer: Vec::new(),
        ready: VecDeque::new(),
        lines: 0,
        last: None,
        ended: false,
        fault: None,
    };
    stream::unfold(Some(reader), |reader| async { reader?.next().await }).boxed()
}

type Body = BoxStream<'static, Result<bytes::Bytes, &'static str>>;

/// What is between the bytes and the lines.
struct Reader {
    rail: &'static str,
    account: String,
    /// Since when it was asked for.
    from: OffsetDateTime,
    body: Body,
    /// The beginning of a line whose end has not come yet.
    buffer: Vec<u8>,
    ready: VecDeque<StatementItem>,
    /// Lines read so far.
    lines: u64,
    /// The rail's number of the last of them.
    last: Option<u64>,
    /// The end has come.
    ended: bool,
    /// Why nothing more is read.
    fault: Option<StatementError>,
}

type Step = Option<(Result<StatementItem, StatementError>, Option<Reader>)>;

impl Reader {
    async fn next(mut self) -> Step {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some((Ok(item), Some(self)));
            }
            // Only now: what came before the fault is true and was asked for.
            if let Some(error) = self.fault.take() {
                return Some((Err(error), None));
            }
            let taken = match self.body.next().await {
                Some(Ok(chunk)) => self.take(&chunk),
                Some(Err(why)) => Err(self.broke_off(why)),
                None if self.buffer.is_empty() && self.ended => return None,
                // Cut exactly between two lines, or by a rail that has given up.
                None if self.buffer.is_empty() => Err(self.broke_off("it does not say where it ends")),
                // A last line without its end may be half a line that happens to be readable.
                None => Err(self.broke_off("the last line has no end")),
            };
            self.fault = taken.err();
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), StatementError> {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = rest.split_at(end);
            rest = &tail[1..];
            self.buffer.extend_from_slice(head);
            let line = std::mem::take(&mut self.buffer);
            self.read_line(&line)?;
            self.buffer = line;
            self.buffer.clear();
        }
        self.buffer.extend_from_slice(rest);
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(self.unreadable("longer than any line can be"));
        }
        Ok(())
    }

    fn read_line(&mut self, line: &[u8]) -> Result<(), StatementError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(self.unreadable("longer than any line can be"));
        }
        if self.ended {
            return Err(self.unreadable("it follows the end of the statement"));
        }
        let Some(wire) = json::<WireLine>(line) else {
            // What exactly is wrong is not passed on: the reason could quote an address.
            let end = json(line).ok_or_else(|| self.unreadable("not the fields of a line"))?;
            return self.end(&end);
        };
        if self.last.is_some_and(|last| wire.line <= last) {
            return Err(self.unreadable("its number is not above the one before"));
        }
        if wire.amount_minor <= 0 || wire.fee_minor < 0 {
            return Err(self.unreadable("an amount that is not more than nothing, or a fee below nothing"));
        }
        let is_no_return = wire.status != Movement::Returned;
        if is_no_return && (wire.fee_minor > 0 || wire.of.is_some()) {
            return Err(self.unreadable("what only money that came back has, of something else"));
        }
        self.last = Some(wire.line);
        self.lines += 1;
        self.ready.push_back(StatementItem::Line(StatementLine {
            key: wire.key,
            reference: wire.reference,
            amount_minor: wire.amount_minor,
            fee_minor: wire.fee_minor,
            currency: wire.currency,
            destination: wire.destination,
            movement: wire.status,
            at: wire.at,
            of: wire.of,
        }));
        Ok(())
    }

    fn end(&mut self, wire: &WireEnd) -> Result<(), StatementError> {
        if !wire.end {
            return Err(self.unreadable("an end that is none"));
        }
        if wire.lines != self.lines {
            return Err(self.broke_off("its end names another number of lines"));
        }
        if wire.from > self.from {
            return Err(self.unreadable("it begins later than it was asked for"));
        }
        if wire.until > wire.now {
            return Err(self.unreadable("it reaches into the future"));
        }
        self.ended = true;
        self.ready.push_back(StatementItem::End(StatementEnd {
            from: wire.from,
            until: wire.until,
            now: wire.now,
            open_from: None,
            lines: wire.lines,
        }));
        Ok(())
    }

    fn broke_off(&self, why: &'static str) -> StatementError {
        StatementError::BrokeOff { rail: self.rail, account: self.account.clone(), lines: self.lines, why }
    }

    fn unreadable(&self, why: &'static str) -> StatementError {
        StatementError::Unreadable { rail: self.rail, account: self.account.clone(), line: self.lines + 1, why }
    }
}
