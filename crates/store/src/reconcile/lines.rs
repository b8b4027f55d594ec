//! The statement on its way into the session. Pieces of it are held against the plan as they come, beside the reading of the next; the session
//! keeps the number of each payout whose line says what we say, and of the others what they say.

use std::collections::{HashMap, VecDeque};

use payfleet_domain::{Currency, Money, Movement, PayoutId, PayoutKey, PayoutState, RunId, StatementLine};
use sqlx::{Executor, PgConnection, PgPool};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::Reconciliation;
use crate::connect::{Step, StoreError};
use crate::order::{destinations_of, names_of, range};

/// Lines are matched in pieces of so many.
const PIECE_LINES: usize = 2_000;
/// So many pieces are matched while the next is read; all that the program keeps of a statement.
const PIECES_AHEAD: usize = 2;

/// The statement as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Lines {
    read: i64,
    piece: Vec<(i64, StatementLine)>,
    ahead: VecDeque<JoinHandle<Result<Matched, StoreError>>>,
}

impl Lines {
    pub(super) fn read(&self) -> i64 {
        self.read
    }
}

/// What the lines of a piece are.
#[derive(Debug, Default)]
struct Matched {
    /// Payouts that were paid as planned, under the reference that we know.
    listed: Vec<i64>,
    told: Told,
    strays: Strays,
}

/// Lines that say something else; amount, currency and destination only where they differ from the plan.
#[derive(Debug, Default)]
struct Told {
    payouts: Vec<i64>,
    returned: Vec<bool>,
    references: Vec<String>,
    amounts: Vec<Option<i64>>,
    currencies: Vec<Option<String>>,
    destinations: Vec<Option<String>>,
}

/// Lines whose key is none of ours.
#[derive(Debug, Default)]
struct Strays {
    lines: Vec<i64>,
    payouts: Vec<Option<i64>>,
    keys: Vec<String>,
    references: Vec<String>,
    amounts: Vec<i64>,
    currencies: Vec<String>,
}

/// A payout that a key of the piece claims to be of.
#[derive(Debug)]
struct Planned {
    run_key: Uuid,
    affiliate: String,
    amount: Money,
    /// Of other runs only the key is of interest.
    destination: Option<String>,
    /// Its reference, if it is paid.
    paid_as: Option<String>,
}

/// Postgres has no NUL in a text; such a key or reference is no name of ours anyway.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// `finding.id` keeps the order in which differences were found. `told` is what the statement says of one payout of the
/// run: with the lowest and the highest of its references, since to know whether two differ takes no more.
///
/// What is not simply as it should be waits in `odd` to be judged. Such tables are made here since in a snapshot that is
/// only read they can be filled, but not made.
///
/// Everything of a run is there in the order of its payouts, so to merge takes half of the time of hashing, and no memory.
pub(super) const TABLES: &str = "
  SET work_mem = '128MB'; SET jit = off; SET enable_hashjoin = off; SET enable_hashagg = off;
  CREATE TEMP TABLE listed (payout_id bigint);
  CREATE TEMP TABLE told_line (payout_id bigint, returned boolean, reference text, amount_minor bigint, currency text, destination text);
  CREATE TEMP TABLE stray (line bigint, payout_id bigint, key text, reference text, amount_minor bigint, currency text);
  CREATE TEMP TABLE told (payout_id bigint, paid int, returned int, low text, high text, back_low text, back_high text, clean text,
    clean_back text, amount_minor bigint, currency text, destination text);
  CREATE TEMP TABLE finding (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL, payout_id bigint, affiliate_id bigint,
    affiliate text, currency text, expected text, found text);
  CREATE TYPE pg_temp.payout_facts AS (state text, payments int, proof text, returned boolean, ours_returned boolean, reference_differs boolean,
    amount_differs boolean, currency_differs boolean, destination_differs boolean, is_listed boolean);
  CREATE TEMP TABLE odd (facts pg_temp.payout_facts, id bigint, affiliate_id bigint, tenant_id int, currency text, amount_minor bigint,
    method_id bigint, own text, low text, high text, back_low text, other_amount bigint, other_currency text, other_destination text,
    proof_low text, proof_high text, is_newer boolean)";

pub(super) const TRUNCATE: &str = "TRUNCATE listed, told_line, stray, told, finding, odd RESTART IDENTITY";

/// A payout with a line that says what we say, and another line: both are looked at.
const REPEATED: &str = "-- statement_repeated
WITH several AS (
  SELECT payout_id FROM listed GROUP BY payout_id HAVING count(*) > 1 UNION SELECT payout_id FROM told_line),
 repeated AS (
  DELETE FROM listed l USING several s WHERE l.payout_id = s.payout_id RETURNING l.payout_id)
INSERT INTO told_line (payout_id, returned, reference)
SELECT p.id, false, p.reference FROM repeated r JOIN payout p ON p.id = r.payout_id";

const TOLD: &str = "-- statement_told
INSERT INTO told
SELECT payout_id, count(*) FILTER (WHERE NOT returned), count(*) FILTER (WHERE returned),
       min(reference) FILTER (WHERE NOT returned), max(reference) FILTER (WHERE NOT returned),
       min(reference) FILTER (WHERE returned), max(reference) FILTER (WHERE returned),
       min(reference) FILTER (WHERE NOT returned AND as_planned), min(reference) FILTER (WHERE returned AND as_planned),
       min(amount_minor), min(currency), min(destination)
  FROM (SELECT *, amount_minor IS NULL AND currency IS NULL AND destination IS NULL AS as_planned FROM told_line) AS l
 GROUP BY payout_id";

impl Reconciliation {
    /// Takes a line. Nothing of it is believed yet.
    pub async fn line_add(&mut self, line: StatementLine) -> Result<(), StoreError> {
        self.lines.read += 1;
        self.lines.piece.push((self.lines.read, line));
        if self.lines.piece.len() >= PIECE_LINES { self.piece_send().await } else { Ok(()) }
    }

    async fn piece_send(&mut self) -> Result<(), StoreError> {
        if self.lines.ahead.len() >= PIECES_AHEAD {
            self.piece_keep().await?;
        }
        let piece = std::mem::replace(&mut self.lines.piece, Vec::with_capacity(PIECE_LINES));
        let (pool, run) = (self.store.pool.clone(), self.run.id);
        self.lines.ahead.push_back(tokio::spawn(async move { piece_match(&pool, run, piece).await }));
        Ok(())
    }

    /// Waits for the oldest piece under way, and keeps what was found in it. Not by COPY: this driver sends its end in a packet of its own,
    /// without TCP_NODELAY, so that each would wait 40 ms for Postgres to acknowledge the packet before (sqlx 0.9.0, its issue 4335).
    async fn piece_keep(&mut self) -> Result<(), StoreError> {
        let Some(piece) = self.lines.ahead.pop_front() else { return Ok(()) };
        let lost = |lost| StoreError::Broken(format!("a part of the statement was lost: {lost}"));
        let Matched { listed, told, strays } = piece.await.map_err(lost)??;
        if !listed.is_empty() {
            sqlx::query("-- listed_insert\nINSERT INTO listed SELECT * FROM unnest($1::bigint[])")
                .bind(listed)
                .execute(&mut self.connection)
                .await
                .step("listed_insert")?;
        }
        if !told.payouts.is_empty() {
            sqlx::query(
                "-- told_insert
                 INSERT INTO told_line (payout_id, returned, reference, amount_minor, currency, destination)
                 SELECT * FROM unnest($1::bigint[], $2::boolean[], $3::text[], $4::bigint[], $5::text[], $6::text[])",
            )
            .bind(told.payouts)
            .bind(told.returned)
            .bind(told.references)
            .bind(told.amounts)
            .bind(told.currencies)
            .bind(told.destinations)
            .execute(&mut self.connection)
            .await
            .step("told_insert")?;
        }
        if !strays.lines.is_empty() {
            sqlx::query(
                "-- strays_insert
                 INSERT INTO stray (line, payout_id, key, reference, amount_minor, currency)
                 SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[])",
            )
            .bind(strays.lines)
            .bind(strays.payouts)
            .bind(strays.keys)
            .bind(strays.references)
            .bind(strays.amounts)
            .bind(strays.currencies)
            .execute(&mut self.connection)
            .await
            .step("strays_insert")?;
        }
        Ok(())
    }

    /// Ends the statement, and sums up what it says of each payout.
    pub async fn lines_match(&mut self) -> Result<(), StoreError> {
        let started = std::time::Instant::now();
        self.piece_send().await?;
        while !self.lines.ahead.is_empty() {
            self.piece_keep().await?;
        }
        self.connection.execute("-- statement_analyze\nANALYZE listed, told_line").await.step("statement_analyze")?;
        self.connection.execute(REPEATED).await.step("statement_repeated")?;
        self.connection.execute(TOLD).await.step("statement_told")?;
        self.connection.execute("-- told_analyze\nANALYZE told").await.step("told_analyze")?;
        tracing::debug!(lines = self.lines.read, millis = started.elapsed().as_millis(), "matched");
        Ok(())
    }
}

/// Finds out which payout each line is of, and what it says of it. A key is believed if it is the one that we derive.
async fn piece_match(pool: &PgPool, run: RunId, piece: Vec<(i64, StatementLine)>) -> Result<Matched, StoreError> {
    let claimed = |line: &StatementLine| line.key.parse::<PayoutKey>().ok().and_then(|key| key.payout().ok());
    let mut ids: Vec<i64> = piece.iter().filter_map(|(_, line)| claimed(line)).map(|payout| payout.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut connection = pool.acquire().await.step("statement_payouts")?;
    let planned = planned_read(&mut connection, run, &ids).await?;
    let mut matched = Matched::default();
    for (number, line) in piece {
        let payout = claimed(&line);
        let ours = payout.and_then(|payout| planned.get(&payout).map(|planned| (payout, planned)));
        let genuine = ours.filter(|(payout, planned)| {
            let key = PayoutKey::derive(planned.run_key, *payout, &planned.affiliate, planned.amount.currency);
            key.as_str() == line.key
        });
        match genuine {
            Some((payout, planned)) if payout.run() == run => matched.take(payout, planned, line),
            Some(_) => {} // another run's business
            None => {
                matched.strays.lines.push(number);
                matched.strays.payouts.push(payout.map(|payout| payout.0));
                matched.strays.keys.push(storable(&line.key));
                matched.strays.references.push(storable(&line.reference));
                matched.strays.amounts.push(line.amount_minor);
                matched.strays.currencies.push(storable(&line.currency));
            }
        }
    }
    Ok(matched)
}

impl Matched {
    fn take(&mut self, PayoutId(payout): PayoutId, planned: &Planned, line: StatementLine) {
        let mut differs = line.differs(planned.amount, planned.destination.as_deref().unwrap_or_default());
        differs.destination |= planned.destination.is_none();
        let is_known = planned.paid_as.as_deref() == Some(&line.reference);
        if line.movement == Movement::Paid && is_known && !differs.in_something() {
            self.listed.push(payout);
            return;
        }
        self.told.payouts.push(payout);
        self.told.returned.push(line.movement == Movement::Returned);
        self.told.references.push(storable(&line.reference));
        self.told.amounts.push(differs.amount.then_some(line.amount_minor));
        self.told.currencies.push(differs.currency.then(|| storable(&line.currency)));
        self.told.destinations.push(differs.destination.then(|| storable(&line.destination)));
    }
}

/// The payouts of these numbers, of whatever run. Read as orders are, and for the same reason.
async fn planned_read(
    connection: &mut PgConnection,
    run: RunId,
    ids: &[i64],
) -> Result<HashMap<PayoutId, Planned>, StoreError> {
    macro_rules! payouts {
        ($which:literal) => {
            sqlx::query_as(concat!(
                "-- statement_payouts
                 SELECT tenant_id, (SELECT key FROM run WHERE id = p.run_id), run_id, currency::text, array_agg(id), array_agg(affiliate_id),
                        array_agg(method_id), array_agg(amount_minor), array_agg(CASE WHEN state = $1 THEN reference END)
                   FROM payout p WHERE ",
                $which,
                " GROUP BY tenant_id, run_id, currency"
            ))
            .bind(PayoutState::Paid.as_str())
        };
    }
    let alike: Vec<Alike> = match range(ids) {
        Some((low, high)) => payouts!("id BETWEEN $2 AND $3").bind(low).bind(high),
        None => payouts!("id = ANY($2)").bind(ids),
    }
    .fetch_all(&mut *connection)
    .await
    .step("statement_payouts")?;
    let mut planned = HashMap::with_capacity(ids.len());
    for (tenant, run_key, of_run, code, payouts, affiliates, methods, amounts, references) in alike {
        let currency: Currency = code
            .parse()
            .map_err(|unknown: payfleet_domain::UnknownCurrency| StoreError::Broken(unknown.to_string()))?;
        let mut names = names_of(connection, tenant, &affiliates).await?;
        let mut destinations = match of_run == run.0 {
            true => destinations_of(connection, tenant, &methods).await?,
            false => HashMap::new(),
        };
        let numbers = payouts.into_iter().zip(affiliates).zip(methods).zip(amounts).zip(references);
        for ((((payout, affiliate), method), minor), paid_as) in numbers {
            // Without an affiliate there is no key, and the line is a stray.
            let Some(name) = names.remove(&affiliate) else { continue };
            let destination = destinations.remove(&(method, affiliate));
            let amount = Money { minor, currency };
            planned.insert(PayoutId(payout), Planned { run_key, affiliate: name, amount, destination, paid_as });
        }
    }
    Ok(planned)
}

/// Payouts of one tenant, run and currency: with the run's key, numbers, affiliates, methods, amounts in minor units, and
/// references of those that are paid.
type Alike = (i32, Uuid, i64, String, Vec<i64>, Vec<i64>, Vec<i64>, Vec<i64>, Vec<Option<String>>);
