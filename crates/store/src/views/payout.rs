//! The whole life of one payout, in the order of time: what it is made of, what was tried, what was answered, what
//! people said.

use payfleet_domain::{Currency, Money, NotPaid, PayoutId, PayoutKey, PayoutState};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::decided::Way;
use crate::batch::{batch_of, currency, word};
use crate::connect::{Step, Store, StoreError, detached};
use crate::hold::{held_facts, is_control};
use crate::run::RunRow;
use crate::sql::{bit_of, block_of, month_of};

/// A payout, as it is shown.
#[derive(Debug, Clone)]
pub struct PayoutView {
    /// Its number.
    pub payout: PayoutId,
    /// Its key, as a rail sees it.
    pub key: PayoutKey,
    /// The run that planned it.
    pub run: RunRow,
    /// The tenant's own name for the affiliate.
    pub affiliate: String,
    /// How it is called.
    pub name: String,
    /// How much.
    pub amount: Money,
    /// What of it came over from earlier runs.
    pub carried_minor: i64,
    /// Where it stands.
    pub state: PayoutState,
    /// Why it was refused or is held.
    pub code: Option<String>,
    /// The rail's name for the payment.
    pub reference: Option<String>,
    /// How it is paid.
    pub way: Way,
    /// The commissions of the run's window, the first of them by when they were due.
    pub commissions: Vec<Earned>,
    /// How many there are.
    pub commissions_count: i64,
    /// It stands on the rail's own statement as one payment just as it was ordered.
    pub is_on_statement: bool,
    /// The same of a file that somebody handed in.
    pub is_in_file: bool,
    /// Somebody has stopped it, or holds its affiliate.
    pub is_controlled: bool,
    /// If it is held for want of knowledge: whether it may be said that it was not paid.
    pub not_paid: Option<NotPaid>,
    /// What happened, in the order of time.
    pub events: Vec<Event>,
}

/// A commission that a payout is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earned {
    /// The tenant's own name for it.
    pub commission: String,
    /// `sale` or `clawback`.
    pub kind: String,
    /// How much, in minor units of the payout's currency.
    pub amount_minor: i64,
    /// When it was due.
    pub due_at: OffsetDateTime,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, by the database's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What can happen to a payout. Made by the statement `payout_events`, which writes the same words.
#[allow(missing_docs)] // the names of columns
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// Its run was created.
    RunCreated,
    /// Everybody of its run was planned.
    Planned,
    /// The fleet began to pay its run.
    PaymentBegan,
    /// An intent to send it was written down.
    Attempt { batch: i64, n: i32, worker: String },
    /// What became of that.
    AttemptEnded { batch: i64, n: i32, result: String },
    /// Evidence beside the first success.
    Evidence { source: String, says: String, reference: String, code: String },
    /// It was proven paid, first.
    Paid { reference: String },
    /// A line of a statement that is not simply its payment.
    Line {
        source: String,
        kind: String,
        reference: String,
        amount_minor: i64,
        fee_minor: i64,
        currency: String,
        account: String,
        differs: Vec<String>,
    },
    /// A payment or return by its reference.
    Movement {
        source: String,
        kind: String,
        reference: String,
        amount_minor: i64,
        fee_minor: i64,
        currency: String,
        counts: bool,
    },
    /// The ledger moved.
    Transfer { name: String, amount_minor: i64, debit: String, credit: String, due_in: Option<i32> },
    /// It was held.
    Held { reason: String, note: Option<String> },
    /// It is not held any more.
    HoldEnded { reason: String, resolution: String },
    /// Somebody said something about it.
    Word { about: String, person: String, says: String, reference: String, effect: String },
    /// Somebody stopped it, or put its affiliate on hold.
    Stopped { of: String, reason: String },
    /// That was lifted.
    Released { of: String },
    /// Its account was contested by it.
    Contested,
    /// Two people have looked.
    ContestCleared,
    /// An alarm about it.
    Alarm { alarm: i64, kind: String, words: String },
    /// Somebody has answered for that.
    AlarmAnswered { alarm: i64, person: String, words: String },
    /// Its run was paused, and is.
    RunPaused { reason: String },
    /// Everybody of its run was accounted for.
    RunSettled,
    /// Its run was judged last.
    RunJudged { verdict: String },
}

/// Commissions are shown up to so many.
const COMMISSIONS_SHOWN: i64 = 50;

/// How the ledger's kinds are called when the ledger is read aloud is in `transfer_kind`.
const EVENTS: &str = "-- payout_events
  WITH part AS (
    SELECT id FROM batch WHERE run_id = $2 AND $1 BETWEEN first_payout_id AND last_payout_id),
  -- The halves of a split batch repeat the attempts that were made before.
  tried AS (
    SELECT DISTINCT ON (a.n, a.opened_at) a.* FROM attempt a JOIN part ON part.id = a.batch_id
     ORDER BY a.n, a.opened_at, a.batch_id),
  subject AS (
    SELECT 'hold' AS name, id FROM hold WHERE payout_id = $1 UNION ALL
    SELECT 'movement', id FROM movement WHERE payout_id = $1 UNION ALL
    SELECT 'contest', id FROM contest WHERE payout_id = $1 UNION ALL
    SELECT 'control', id FROM control WHERE payout_id = $1 OR affiliate_id = $3)
  SELECT at, what FROM (
    SELECT created_at AS at, 0 AS place, jsonb_build_object('what', 'run_created') AS what FROM run WHERE id = $2
     UNION ALL
    SELECT planned_at, 1, jsonb_build_object('what', 'planned') FROM run WHERE id = $2
     UNION ALL
    SELECT paying_at, 2, jsonb_build_object('what', 'payment_began') FROM run WHERE id = $2
     UNION ALL
    SELECT opened_at, 3, jsonb_build_object('what', 'attempt', 'batch', batch_id, 'n', n, 'worker', worker) FROM tried
     UNION ALL
    SELECT closed_at, 4, jsonb_build_object('what', 'attempt_ended', 'batch', batch_id, 'n', n, 'result', result)
      FROM tried
     UNION ALL
    SELECT seen_at, 5, jsonb_build_object('what', 'evidence', 'source', source, 'says', says, 'reference', reference,
                                          'code', code) FROM evidence WHERE payout_id = $1
     UNION ALL
    SELECT settled_at, 6, jsonb_build_object('what', 'paid', 'reference', reference) FROM payout WHERE id = $1
     UNION ALL
    SELECT l.read_at, 7, jsonb_build_object(
             'what', 'line', 'source', l.source, 'kind', l.kind, 'reference', l.reference,
             'amount_minor', l.amount_minor, 'fee_minor', l.fee_minor, 'currency', l.currency,
             'account', r.rail || '/' || r.account,
             'differs', array_remove(ARRAY[
               CASE WHEN differs_amount THEN 'amount' END, CASE WHEN differs_currency THEN 'currency' END,
               CASE WHEN differs_destination THEN 'destination' END, CASE WHEN differs_account THEN 'account' END,
               CASE WHEN differs_return THEN 'return' END], NULL))
      FROM statement_line l JOIN rail_account r ON r.id = l.account_id WHERE l.payout_id = $1
     UNION ALL
    SELECT seen_at, 8, jsonb_build_object(
             'what', 'movement', 'source', source, 'kind', kind, 'reference', reference, 'amount_minor', amount_minor,
             'fee_minor', fee_minor, 'currency', currency, 'counts', counts) FROM movement WHERE payout_id = $1
     UNION ALL
    SELECT t.at, 9 + t.kind, jsonb_build_object('what', 'transfer', 'name', k.name, 'amount_minor', t.amount_minor,
             'debit', k.debit, 'credit', k.credit, 'due_in', t.due_in)
      FROM transfer t JOIN transfer_kind k USING (kind) WHERE t.payout_id = $1
     UNION ALL
    SELECT opened_at, 50, jsonb_build_object('what', 'held', 'reason', reason, 'note', note)
      FROM hold WHERE payout_id = $1
     UNION ALL
    SELECT w.at, 51, jsonb_build_object('what', 'word', 'about', w.subject, 'person', p.name, 'says', w.says,
             'reference', w.reference, 'effect', w.effect)
      FROM subject s JOIN word w ON w.subject = s.name AND w.subject_id = s.id JOIN person p ON p.id = w.person_id
     UNION ALL
    SELECT resolved_at, 52, jsonb_build_object('what', 'hold_ended', 'reason', reason, 'resolution', resolution)
      FROM hold WHERE payout_id = $1
     UNION ALL
    SELECT set_at, 53, jsonb_build_object('what', 'stopped', 'reason', reason,
             'of', CASE WHEN payout_id IS NULL THEN 'affiliate' ELSE 'payout' END)
      FROM control WHERE payout_id = $1 OR affiliate_id = $3
     UNION ALL
    SELECT lifted_at, 54, jsonb_build_object('what', 'released',
             'of', CASE WHEN payout_id IS NULL THEN 'affiliate' ELSE 'payout' END)
      FROM control WHERE payout_id = $1 OR affiliate_id = $3
     UNION ALL
    SELECT opened_at, 55, jsonb_build_object('what', 'contested') FROM contest WHERE payout_id = $1
     UNION ALL
    SELECT closed_at, 56, jsonb_build_object('what', 'contest_cleared') FROM contest WHERE payout_id = $1
     UNION ALL
    SELECT raised_at, 57, jsonb_build_object('what', 'alarm', 'alarm', id, 'kind', kind, 'words', words)
      FROM alarm WHERE run_id = $2 AND payout_id = $1
     UNION ALL
    SELECT w.answered_at, 58, jsonb_build_object('what', 'alarm_answered', 'alarm', a.id, 'person', p.name,
                                                 'words', w.words)
      FROM alarm a JOIN alarm_answer w ON w.alarm_id = a.id JOIN person p ON p.id = w.person_id
     WHERE a.run_id = $2 AND a.payout_id = $1
     UNION ALL
    SELECT paused_at, 59, jsonb_build_object('what', 'run_paused', 'reason', pause_reason) FROM run WHERE id = $2
     UNION ALL
    SELECT settled_at, 60, jsonb_build_object('what', 'run_settled') FROM run WHERE id = $2
     UNION ALL
    SELECT judged_at, 61, jsonb_build_object('what', 'run_judged', 'verdict', verdict) FROM run WHERE id = $2) AS life
   WHERE at IS NOT NULL ORDER BY at, place";

impl Store {
    /// Everything about one payout.
    pub async fn payout_view(&self, payout: PayoutId) -> Result<Option<PayoutView>, StoreError> {
        let Some(run) = self.run_find(payout.run()).await? else { return Ok(None) };
        let pool = self.pool.clone();
        detached(async move {
            let mut connection = pool.acquire().await.step("payout_view")?;
            let head = sqlx::query(concat!(
                "-- payout_view
                 SELECT p.affiliate_id, a.external_id, a.name, p.currency, p.amount_minor, p.carried_minor, p.state,
                        p.code, p.reference, m.method, m.destination, a.on_hold OR EXISTS (
                          SELECT FROM control c WHERE c.payout_id = p.id AND c.lifted_at IS NULL) AS is_controlled,
                        EXISTS (SELECT FROM listed l WHERE l.run_id = p.run_id
                                   AND l.block = ",
                block_of!("p.id"),
                "
                                   AND ",
                bit_of!("l", "p.id"),
                " = 1) AS is_on_statement,
                        EXISTS (SELECT FROM listed_by_file l WHERE l.run_id = p.run_id
                                   AND l.block = ",
                block_of!("p.id"),
                "
                                   AND ",
                bit_of!("l", "p.id"),
                " = 1) AS is_in_file
                   FROM payout p JOIN affiliate a ON a.id = p.affiliate_id AND a.tenant_id = p.tenant_id
                   JOIN payout_method m ON m.id = p.method_id AND m.tenant_id = p.tenant_id WHERE p.id = $1"
            ))
            .bind(payout.0)
            .fetch_optional(&mut *connection)
            .await
            .step("payout_view")?;
            let Some(head) = head else { return Ok(None) };
            view(&mut connection, payout, run, &head).await.map(Some)
        })
        .await
    }
}

async fn view(
    connection: &mut PgConnection,
    payout: PayoutId,
    run: RunRow,
    head: &PgRow,
) -> Result<PayoutView, StoreError> {
    let read = "payout_view";
    let affiliate_id: i64 = head.try_get("affiliate_id").step(read)?;
    let affiliate: String = head.try_get("external_id").step(read)?;
    let currency = currency(head, "currency")?;
    let batch = batch_of(connection, payout).await?;
    let (batch, _) = batch.ok_or_else(|| StoreError::Broken(format!("payout {payout} is in no batch")))?;
    let (rail, account) = sqlx::query_as("-- payout_way\nSELECT rail, account FROM batch WHERE id = $1")
        .bind(batch.0)
        .fetch_one(&mut *connection)
        .await
        .step("payout_way")?;
    let state: PayoutState = word(head, "state")?;
    let code: Option<String> = head.try_get("code").step(read)?;
    let not_paid = match (state, &code) {
        (PayoutState::Held, Some(code)) if !is_control(code) => {
            Some(held_facts(connection, payout, batch).await?.not_paid())
        }
        _ => None,
    };
    let (commissions, commissions_count) = earned(connection, &run, affiliate_id, currency).await?;
    Ok(PayoutView {
        payout,
        key: key(run.key, payout, &affiliate, currency),
        amount: Money { minor: head.try_get("amount_minor").step(read)?, currency },
        carried_minor: head.try_get("carried_minor").step(read)?,
        state,
        code,
        reference: head.try_get("reference").step(read)?,
        way: Way {
            method: head.try_get("method").step(read)?,
            rail,
            account,
            destination: head.try_get("destination").step(read)?,
        },
        commissions,
        commissions_count,
        is_on_statement: head.try_get("is_on_statement").step(read)?,
        is_in_file: head.try_get("is_in_file").step(read)?,
        is_controlled: head.try_get("is_controlled").step(read)?,
        not_paid,
        events: events(connection, payout, affiliate_id).await?,
        name: head.try_get("name").step(read)?,
        affiliate,
        run,
    })
}

fn key(run: Uuid, payout: PayoutId, affiliate: &str, currency: Currency) -> PayoutKey {
    PayoutKey::derive(run, payout, affiliate, currency)
}

async fn events(connection: &mut PgConnection, payout: PayoutId, affiliate: i64) -> Result<Vec<Event>, StoreError> {
    let rows: Vec<(OffsetDateTime, sqlx::types::Json<What>)> = sqlx::query_as(EVENTS)
        .bind(payout.0)
        .bind(payout.run().0)
        .bind(affiliate)
        .fetch_all(connection)
        .await
        .step("payout_events")?;
    Ok(rows.into_iter().map(|(at, what)| Event { at, what: what.0 }).collect())
}

/// The commissions in a run's window, and how many there are.
async fn earned(
    connection: &mut PgConnection,
    run: &RunRow,
    affiliate: i64,
    currency: Currency,
) -> Result<(Vec<Earned>, i64), StoreError> {
    let read = "payout_earned";
    let rows = sqlx::query(concat!(
        "-- payout_earned
         WITH months AS MATERIALIZED (
           SELECT ARRAY(SELECT generate_series(
             coalesce(",
        month_of!("$4::timestamptz"),
        ",
                      (SELECT min(due_month) FROM commission WHERE tenant_id = $1 AND late_for IS NULL)),
             ",
        month_of!("$5::timestamptz"),
        ")) AS list),
         earned AS (
           SELECT external_id, kind, amount_minor, due_at FROM commission
            WHERE tenant_id = $1 AND affiliate_id = $2 AND currency = $3 AND late_for IS NULL
              AND due_month = ANY((SELECT list FROM months)::int[])
              AND due_at <= $5 AND ($4::timestamptz IS NULL OR due_at > $4)
            UNION ALL
           SELECT external_id, kind, amount_minor, due_at FROM commission
            WHERE tenant_id = $1 AND affiliate_id = $2 AND currency = $3 AND late_for = $6)
         SELECT *, count(*) OVER () AS all_of_them FROM earned ORDER BY due_at, external_id LIMIT $7"
    ))
    .bind(run.tenant.0)
    .bind(affiliate)
    .bind(currency.code())
    .bind(run.opens_after)
    .bind(run.cutoff)
    .bind(run.ordinal)
    .bind(COMMISSIONS_SHOWN)
    .fetch_all(connection)
    .await
    .step(read)?;
    let count = match rows.first() {
        Some(row) => row.try_get("all_of_them").step(read)?,
        None => 0,
    };
    let one = |row: &PgRow| {
        Ok(Earned {
            commission: row.try_get("external_id").step(read)?,
            kind: row.try_get("kind").step(read)?,
            amount_minor: row.try_get("amount_minor").step(read)?,
            due_at: row.try_get("due_at").step(read)?,
        })
    };
    Ok((rows.iter().map(one).collect::<Result<_, StoreError>>()?, count))
}
