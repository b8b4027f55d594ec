//! The statement on its way into the session: handed over in pieces, then matched with the payouts that its keys name.

use payfleet_domain::{Movement, PayoutKey, StatementLine};

use sqlx::Executor;

use super::Reconciliation;
use crate::connect::{Step, StoreError};

/// Lines are handed to Postgres in pieces of so many; all that the program keeps of a statement.
const PIECE_LINES: usize = 1_000;

/// Lines on their way, column by column.
#[derive(Debug, Default)]
pub(super) struct Piece {
    lines: Vec<i64>,
    payouts: Vec<Option<i64>>,
    keys: Vec<String>,
    references: Vec<String>,
    amounts: Vec<i64>,
    currencies: Vec<String>,
    destinations: Vec<String>,
    returned: Vec<bool>,
}

impl Piece {
    fn push(&mut self, number: i64, line: &StatementLine) {
        self.lines.push(number);
        self.payouts.push(line.key.parse::<PayoutKey>().ok().and_then(|key| key.payout().ok()).map(|payout| payout.0));
        self.keys.push(storable(&line.key));
        self.references.push(storable(&line.reference));
        self.amounts.push(line.amount_minor);
        self.currencies.push(storable(&line.currency));
        self.destinations.push(storable(&line.destination));
        self.returned.push(line.movement == Movement::Returned);
    }
}

/// Postgres has no NUL in a text; such a key or reference is no name of ours anyway.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// `finding.id` keeps the order in which differences were found. `told` is what the statement says of one payout of the
/// run: with the lowest and the highest of its references, since to know whether two differ takes no more. `total` is
/// `sum` with a state of eight bytes: a third of the memory and time where there is one group for each account, and an
/// error where a sum does not fit.
///
/// What is not simply as it should be waits to be judged: payouts in `odd`, with each combination of their facts once
/// in `combination`, and accounts in `suspect`. Such tables are made here since in a snapshot that is only read they
/// can be filled, but not made.
pub(super) const TABLES: &str = "
  SET work_mem = '128MB'; SET jit = off;
  CREATE TEMP TABLE statement_line (line bigint, payout_id bigint, key text, reference text, amount_minor bigint, currency text,
    destination text, returned boolean);
  CREATE TEMP TABLE stray (line bigint, payout_id bigint, key text, reference text, amount_minor bigint, currency text);
  CREATE TEMP TABLE told (payout_id bigint, paid int, returned int, low text, high text, back_low text, back_high text, clean text,
    clean_back text, amount_minor bigint, currency text, destination text);
  CREATE TEMP TABLE finding (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL, payout_id bigint, affiliate_id bigint,
    affiliate text, currency text, expected text, found text);
  CREATE TYPE pg_temp.payout_facts AS (state text, payments int, proof text, returned boolean, ours_returned boolean, reference_differs boolean,
    amount_differs boolean, currency_differs boolean, destination_differs boolean, is_listed boolean);
  CREATE TEMP TABLE odd (facts pg_temp.payout_facts, id bigint, affiliate_id bigint, tenant_id int, currency text, amount_minor bigint,
    method_id bigint, own text, low text, high text, back_low text, other_amount bigint, other_currency text, other_destination text,
    proof_low text, proof_high text, is_newer boolean);
  CREATE TEMP TABLE combination (number int GENERATED ALWAYS AS IDENTITY, facts pg_temp.payout_facts);
  CREATE TEMP TABLE suspect (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, affiliate_id bigint, currency text, is_decided boolean,
    missing bigint, opening_low bigint, opening_high bigint, residual bigint);
  CREATE AGGREGATE pg_temp.total (bigint) (SFUNC = int8pl, STYPE = bigint, INITCOND = '0')";

pub(super) const TRUNCATE: &str =
    "TRUNCATE statement_line, stray, told, finding, odd, combination, suspect RESTART IDENTITY";

/// A payout's key, as `PayoutKey::derive` computes it: a test holds the two against each other.
macro_rules! derived_key {
    () => {
        r"(p.id::text || '-' || encode(substr(sha256(uuid_send(r.key)
            || int8send(6) || '\x7061796f7574'::bytea
            || int8send(octet_length(a.external_id)::bigint) || convert_to(a.external_id, 'UTF8')
            || int8send(3) || convert_to(p.currency::text, 'UTF8')), 1, 8), 'hex'))"
    };
}

/// Values are kept only where they differ from the plan. OFFSET keeps Postgres from deriving the key once for each use
/// of `genuine`.
const TOLD: &str = concat!(
    "-- statement_told
INSERT INTO told
SELECT payout_id, count(*) FILTER (WHERE NOT returned), count(*) FILTER (WHERE returned),
       min(reference) FILTER (WHERE NOT returned), max(reference) FILTER (WHERE NOT returned),
       min(reference) FILTER (WHERE returned), max(reference) FILTER (WHERE returned),
       min(reference) FILTER (WHERE NOT returned AND as_planned), min(reference) FILTER (WHERE returned AND as_planned),
       min(amount_minor) FILTER (WHERE NOT same_amount), min(currency) FILTER (WHERE NOT same_currency),
       min(destination) FILTER (WHERE NOT same_destination)
  FROM (
    SELECT *, same_amount AND same_currency AND same_destination AS as_planned
      FROM (
        SELECT l.payout_id, l.returned, l.reference, l.amount_minor, l.currency, l.destination,
               l.amount_minor = p.amount_minor AS same_amount,
               l.currency = p.currency::text OR upper(l.currency) = p.currency::text AS same_currency,
               l.destination = m.destination OR lower(replace(l.destination, ' ', '')) = lower(replace(m.destination, ' ', '')) AS same_destination
          FROM statement_line l
          JOIN payout p ON p.id = l.payout_id
          JOIN run r ON r.id = p.run_id
          JOIN affiliate a ON a.id = p.affiliate_id AND a.tenant_id = p.tenant_id
          JOIN payout_method m ON m.id = p.method_id AND m.tenant_id = p.tenant_id
         WHERE l.payout_id BETWEEN $1 AND $2 AND p.id BETWEEN $1 AND $2 AND r.id = $3 AND l.key = ",
    derived_key!(),
    " OFFSET 0) AS l) AS l
 GROUP BY payout_id"
);

/// Lines whose key is none of ours. The genuine ones of other runs are those runs' business; those of this run are
/// looked through only where not all were matched.
const STRAYS: &str = concat!(
    "-- statement_strays
INSERT INTO stray
SELECT l.line, l.payout_id, l.key, l.reference, l.amount_minor, l.currency
  FROM statement_line l
  LEFT JOIN payout p ON p.id = l.payout_id
  LEFT JOIN run r ON r.id = p.run_id
  LEFT JOIN affiliate a ON a.id = p.affiliate_id AND a.tenant_id = p.tenant_id
 WHERE (l.payout_id IS NULL OR l.payout_id NOT BETWEEN $1 AND $2 OR NOT $3) AND (l.key = ",
    derived_key!(),
    ") IS NOT TRUE"
);

impl Reconciliation {
    /// Takes a line. Nothing of it is believed yet.
    pub async fn line_add(&mut self, line: &StatementLine) -> Result<(), StoreError> {
        self.lines += 1;
        self.piece.push(self.lines, line);
        if self.piece.lines.len() >= PIECE_LINES { self.piece_insert().await } else { Ok(()) }
    }

    /// Not by COPY: this driver sends its end in a packet of its own, without TCP_NODELAY, so that each piece would wait 40 ms for Postgres to
    /// acknowledge the packet before (sqlx 0.9.0, its issue 4335).
    async fn piece_insert(&mut self) -> Result<(), StoreError> {
        let piece = std::mem::take(&mut self.piece);
        if piece.lines.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "-- statement_insert
             INSERT INTO statement_line (line, payout_id, key, reference, amount_minor, currency, destination, returned)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::boolean[])",
        )
        .bind(piece.lines)
        .bind(piece.payouts)
        .bind(piece.keys)
        .bind(piece.references)
        .bind(piece.amounts)
        .bind(piece.currencies)
        .bind(piece.destinations)
        .bind(piece.returned)
        .execute(&mut self.connection)
        .await
        .step("statement_insert")?;
        Ok(())
    }

    /// Ends the statement and finds out which payout each line is of.
    pub async fn lines_match(&mut self) -> Result<(), StoreError> {
        self.piece_insert().await?;
        let (first, last) = self.run.id.payouts();
        let started = std::time::Instant::now();
        self.connection.execute("-- statement_analyze\nANALYZE statement_line").await.step("statement_analyze")?;
        sqlx::query(TOLD)
            .bind(first.0)
            .bind(last.0)
            .bind(self.run.id.0)
            .execute(&mut self.connection)
            .await
            .step("statement_told")?;
        self.connection.execute("-- told_analyze\nANALYZE told").await.step("told_analyze")?;
        let all_genuine: bool = sqlx::query_scalar(
            "-- statement_genuine
             SELECT (SELECT count(*) FROM statement_line WHERE payout_id BETWEEN $1 AND $2) = (SELECT coalesce(sum(paid + returned), 0) FROM told)",
        )
        .bind(first.0)
        .bind(last.0)
        .fetch_one(&mut self.connection)
        .await
        .step("statement_genuine")?;
        sqlx::query(STRAYS)
            .bind(first.0)
            .bind(last.0)
            .bind(all_genuine)
            .execute(&mut self.connection)
            .await
            .step("statement_strays")?;
        tracing::debug!(lines = self.lines, millis = started.elapsed().as_millis(), "matched");
        Ok(())
    }
}
