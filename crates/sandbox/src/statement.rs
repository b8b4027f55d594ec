//! The statement: what the rail says it paid. The journal as one account sees it, with the lies told, and at its end
//! how far it reaches.
//!
//! Streamed from the file in bounded memory, whatever its length.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::engine::Engine;
use crate::journal::Lines;
use crate::lies::{Lies, Phantom};
use crate::movement::{Event, Movement, write_line};
use crate::shapes::Account;
use crate::wire::{At, Problem, Shape};

/// Bytes gathered before they are sent.
const CHUNK: usize = 64 * 1024;
/// Chunks that wait for a slow reader.
const CHUNKS_AHEAD: usize = 4;
/// Lines a page can have.
const MOST_LINES: u64 = 10_000;

/// What is asked for.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    shape: Shape,
    from: Option<At>,
    #[serde(default)]
    cursor: u64,
    limit: Option<u64>,
    /// CSV: ends with a row that says how far it reaches. JSON always does.
    #[serde(default, deserialize_with = "switch")]
    end: bool,
    /// CSV: with the columns `fee_minor` and `of`. JSON always has them.
    #[serde(default, deserialize_with = "switch")]
    full: bool,
}

/// `1` and `true`; a query has no other types than text.
fn switch<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(serde::de::Error::custom("must be 1 or 0")),
    }
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Csv,
}

/// `GET /statement`
pub async fn json(
    State(engine): State<Arc<Engine>>,
    account: Account,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    respond(engine, account, wanted, Format::Json).await
}

/// `GET /statement.csv`
pub async fn csv(
    State(engine): State<Arc<Engine>>,
    account: Account,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    respond(engine, account, wanted, Format::Csv).await
}

async fn respond(
    engine: Arc<Engine>,
    Account(account): Account,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
    format: Format,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    if wanted.limit.is_some_and(|limit| limit > MOST_LINES) {
        return Err(Problem::invalid("limit must be at most 10000"));
    }
    let delay = match wanted.shape {
        Shape::File => engine.settings().statement_after,
        _ => Duration::ZERO,
    };
    let (lines, (reach, claimed, now, phantoms)) = engine
        .snapshot(|core| {
            let now = At::now();
            let faults = core.faults.config();
            let lag = match faults.statement_lag_ms.get(&wanted.shape) {
                Some(millis) => Duration::from_millis(*millis),
                None => engine.settings().statement_lag[wanted.shape as usize],
            };
            let claimed = Duration::from_millis(faults.lie.reach_ms);
            if !claimed.is_zero() {
                core.faults.count("lie_reach");
            }
            let reach = core.ledger.reach(wanted.shape, now, delay.saturating_add(lag));
            let since = wanted.from.map_or(0, |from| core.ledger.offset_since(wanted.shape, from.before(delay)));
            let start = core.ledger.offset_before(wanted.cursor.saturating_add(1)).max(since);
            (start, (reach, claimed, now, engine.lies().phantoms(wanted.shape, &account, wanted.cursor)))
        })
        .await?;
    let content_type = match format {
        Format::Json => "application/x-ndjson",
        Format::Csv => "text/csv; charset=utf-8",
    };
    let body = stream_lines(move |chunks| {
        let teller = Teller {
            left: wanted.limit.unwrap_or(u64::MAX),
            told: 0,
            delay,
            reach,
            claimed,
            now,
            wanted,
            account,
            format,
            chunks,
        };
        teller.tell(&engine, lines, phantoms)
    });
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

/// Chunks on their way to a reader.
pub struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

/// The reader has gone; nothing more is to be done.
pub struct Gone;

impl Chunks {
    /// Where to write to; to be followed by `flush_if_full`.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Hands over what has gathered, if it is worth it.
    pub fn flush_if_full(&mut self) -> Result<(), Gone> {
        if self.buffer.len() < CHUNK {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let chunk = std::mem::take(&mut self.buffer);
        self.sender.blocking_send(Ok(chunk.into())).map_err(|_| Gone)
    }
}

/// A body that is written by a thread of its own, never further ahead of its reader than a few chunks.
///
/// An error ends the connection in the middle of the body, so that the reader cannot take a part for the whole.
pub fn stream_lines(write: impl FnOnce(&mut Chunks) -> io::Result<Result<(), Gone>> + Send + 'static) -> Body {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut chunks = Chunks { sender, buffer: Vec::with_capacity(CHUNK) };
        match write(&mut chunks) {
            Ok(Ok(())) => {
                // If the reader has gone there is nobody to tell.
                let _ = chunks.flush();
            }
            Ok(Err(Gone)) => {}
            Err(error) => {
                tracing::error!(%error, "cannot read the journal");
                let _ = chunks.sender.blocking_send(Err(error));
            }
        }
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    }))
}

#[derive(Serialize)]
struct Row<'a> {
    line: u64,
    key: &'a str,
    reference: &'a str,
    amount_minor: i64,
    fee_minor: i64,
    currency: &'a str,
    destination: &'a str,
    status: &'static str,
    at: At,
    /// Of what this is the return, where the rail says it.
    of: Option<&'a str>,
}

struct Teller<'c> {
    wanted: Wanted,
    account: Arc<str>,
    format: Format,
    /// How long after it happened a movement is booked.
    delay: Duration,
    /// What happened before this instant is told.
    reach: At,
    /// So much further it says that it reaches.
    claimed: Duration,
    now: At,
    left: u64,
    told: u64,
    chunks: &'c mut Chunks,
}

/// Why no further line is told.
enum End {
    /// What follows is not on the statement yet.
    Reached,
    /// The page is full.
    Full,
    Gone,
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl Teller<'_> {
    fn tell(mut self, engine: &Engine, lines: Lines, phantoms: Vec<(u64, Phantom)>) -> io::Result<Result<(), Gone>> {
        if let Format::Csv = self.format {
            let columns = ["key", "reference", "amount_minor", "currency", "destination", "status", "at"];
            self.write_row(columns, ["fee_minor", "of"]);
        }
        Ok(match self.tell_all(engine, lines, phantoms)? {
            Ok(()) | Err(End::Reached) => {
                self.tell_end();
                Ok(())
            }
            // Only the last page knows how far it reaches.
            Err(End::Full) => Ok(()),
            Err(End::Gone) => Err(Gone),
        })
    }

    fn tell_all(
        &mut self,
        engine: &Engine,
        mut lines: Lines,
        phantoms: Vec<(u64, Phantom)>,
    ) -> io::Result<Result<(), End>> {
        let mut phantoms = phantoms.into_iter().peekable();
        while let Some((_, line)) = lines.next_line()? {
            let movement: Movement<'_> = serde_json::from_slice(line)?;
            if movement.line <= self.wanted.cursor {
                continue;
            }
            while let Some((line, phantom)) = phantoms.next_if(|(line, _)| *line < movement.line) {
                if let Err(end) = self.tell_phantom(line, &phantom) {
                    return Ok(Err(end));
                }
            }
            if movement.shape != self.wanted.shape || *movement.account != *self.account {
                continue;
            }
            let lies = engine.lies();
            if let Err(end) = self.tell_movement(&movement, &lies) {
                return Ok(Err(end));
            }
            drop(lies);
            if let Err(gone) = self.chunks.flush_if_full() {
                return Ok(Err(gone.into()));
            }
        }
        for (line, phantom) in phantoms {
            if let Err(end) = self.tell_phantom(line, &phantom) {
                return Ok(Err(end));
            }
        }
        Ok(Ok(()))
    }

    fn tell_movement(&mut self, movement: &Movement<'_>, lies: &Lies) -> Result<(), End> {
        let status = match movement.event {
            Event::Paid => "paid",
            Event::Returned => "returned",
            Event::Refused if movement.is_denial() => "rejected",
            Event::Refused => return Ok(()),
        };
        let lie = lies.of(movement.line);
        if lie.is_some_and(|lie| lie.omit) {
            return Ok(());
        }
        let row = Row {
            line: movement.line,
            key: &movement.key,
            reference: &movement.id,
            amount_minor: lie.and_then(|lie| lie.amount_minor).unwrap_or(movement.amount_minor),
            fee_minor: movement.fee_minor,
            currency: lie.and_then(|lie| lie.currency.as_deref()).unwrap_or(&movement.currency),
            destination: lie.and_then(|lie| lie.destination.as_deref()).unwrap_or(&movement.destination),
            status,
            at: movement.at,
            // A bank repeats what the payer wrote, and no reference of its own.
            of: movement.of_id.as_deref().filter(|_| movement.shape != Shape::File),
        };
        self.tell_row(row, lie.and_then(|lie| lie.at))
    }

    fn tell_end(&mut self) {
        let until = self.reach.after(self.delay);
        let now = self.now.max(until);
        let until = until.after(self.claimed).min(now);
        let from = self.wanted.from.unwrap_or_default();
        let end = EndRow { end: true, from, until, now, lines: self.told };
        match self.format {
            Format::Json => write_line(&end, self.chunks.buffer()),
            Format::Csv if self.wanted.end => {
                let account = format!("sandbox-{}/{}", self.wanted.shape.name(), self.account);
                let [lines, from, until] = [end.lines.to_string(), end.from.to_string(), end.until.to_string()];
                self.write_row(["#end", &account, &lines, "", &from, "complete", &until], ["", ""]);
            }
            Format::Csv => {}
        }
    }

    fn tell_phantom(&mut self, line: u64, phantom: &Phantom) -> Result<(), End> {
        let row = Row {
            line,
            key: &phantom.key,
            reference: &phantom.reference,
            amount_minor: phantom.amount_minor,
            fee_minor: 0,
            currency: &phantom.currency,
            destination: &phantom.destination,
            status: "paid",
            at: phantom.at,
            of: None,
        };
        self.tell_row(row, None)
    }

    /// Tells a row, with another instant where there is one to lie about.
    fn tell_row(&mut self, mut row: Row<'_>, at: Option<At>) -> Result<(), End> {
        // Within a shape instants grow with the lines, so whoever stops here and comes back with the last line seen, or
        // with the instant that the end names, misses nothing.
        if row.at >= self.reach {
            return Err(End::Reached);
        }
        row.at = row.at.after(self.delay);
        if self.wanted.from.is_some_and(|from| row.at < from) {
            return Ok(());
        }
        if self.left == 0 {
            return Err(End::Full);
        }
        self.left -= 1;
        self.told += 1;
        row.at = at.unwrap_or(row.at);
        match self.format {
            Format::Json => write_line(&row, self.chunks.buffer()),
            Format::Csv => {
                let [amount, at] = [row.amount_minor.to_string(), row.at.to_string()];
                let fee = if row.fee_minor == 0 { String::new() } else { row.fee_minor.to_string() };
                self.write_row(
                    [row.key, row.reference, &amount, row.currency, row.destination, row.status, &at],
                    [&fee, row.of.unwrap_or_default()],
                );
            }
        }
        Ok(())
    }

    /// Writes a row of CSV; the second part where it was asked for.
    fn write_row(&mut self, fields: [&str; 7], more: [&str; 2]) {
        let more = more.iter().filter(|_| self.wanted.full);
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(self.chunks.buffer());
        writer
            .write_record(fields.iter().chain(more))
            .and_then(|()| writer.flush().map_err(Into::into))
            .expect("writing to memory, and always as many fields");
    }
}

#[derive(Serialize)]
struct EndRow {
    end: bool,
    from: At,
    until: At,
    now: At,
    lines: u64,
}
