//! What can happen to payouts, in bulk: each move is one statement that changes their state and posts its transfers
//! with it, from the states that `domain` allows it from. When a move is justified is decided by the callers.

use payfleet_domain::{AttemptNo, BatchId, Outcome, PayoutEvent, PayoutId, PayoutState, TransferKind};
use sqlx::PgConnection;

use crate::connect::{Step, StoreError};
use crate::movement::{accounts_weigh, runs_have_news, runs_settle_anew};
use crate::run::release_lock;
use crate::sql::{pays_currency, pays_minor};

/// Where news came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The answer to our request.
    Answer,
    /// A lookup.
    Lookup,
    /// A statement.
    Statement,
    /// Two people.
    Person,
}

impl Source {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Source::Answer => "answer",
            Source::Lookup => "lookup",
            Source::Statement => "statement",
            Source::Person => "person",
        }
    }
}

/// News of one kind about several payouts of one batch.
pub(crate) struct News {
    pub ids: Vec<i64>,
    /// References, or refusal codes.
    pub words: Vec<String>,
}

impl News {
    pub(crate) fn of<'a>(outcomes: &'a [(PayoutId, Outcome)], pick: impl Fn(&'a Outcome) -> Option<&'a str>) -> News {
        let (ids, words) =
            outcomes.iter().filter_map(|(id, outcome)| pick(outcome).map(|word| (id.0, word.to_owned()))).unzip();
        News { ids, words }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The lowest and the highest number: of a few thousand payouts next to each other. Named beside the numbers
    /// themselves it makes Postgres read them in one go, and not look for each alone, which takes twice as long; but
    /// only if it sees how many there are, so the statements that use it are planned anew each time.
    fn range(&self) -> (i64, i64) {
        self.ids.iter().fold((i64::MAX, i64::MIN), |(low, high), id| (low.min(*id), high.max(*id)))
    }
}

/// What news of payments did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Moved {
    /// Payouts newly paid.
    pub paid: u64,
    /// Payouts whose money came back, all of it, and is due again.
    pub returned: u64,
    /// Payouts that were proven paid after their money had been due again. Booked; their accounts are contested.
    pub late: u64,
    /// Double payments: payouts of which the payee has more than was ordered, and late proof of what was paid again
    /// meanwhile.
    pub alarms: u64,
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, more: Moved) {
        self.paid += more.paid;
        self.returned += more.returned;
        self.late += more.late;
        self.alarms += more.alarms;
    }
}

/// G4. Sets the reference and posts the settle transfer where there is no reference yet. Any other payment goes into
/// the payout's account by reference, and what follows from that is done.
pub(crate) async fn payouts_settle(tx: &mut PgConnection, news: &News, source: Source) -> Result<Moved, StoreError> {
    if news.is_empty() {
        return Ok(Moved::default());
    }
    let (first, last) = news.range();
    // Of what is settled, another payment may be known, or that the money came back.
    let (settled, back): (i64, Vec<i64>) = sqlx::query_as(
        "-- payouts_settle
         WITH moved AS (
           UPDATE payout p SET state = 'paid', reference = news.reference, code = NULL, settled_at = clock_timestamp()
             FROM unnest($1::bigint[], $2::text[]) AS news (id, reference)
            WHERE p.id = news.id AND p.id BETWEEN $4 AND $5 AND p.state = ANY($3)
        RETURNING p.id, p.tenant_id, p.amount_minor, p.currency),
         posted AS (
           INSERT INTO transfer (payout_id, kind, tenant_id, amount_minor, currency)
           SELECT id, $6, tenant_id, amount_minor, currency FROM moved ORDER BY id RETURNING 1)
         SELECT (SELECT count(*) FROM posted),
                ARRAY (SELECT DISTINCT m.payout_id FROM movement m
                        WHERE m.payout_id BETWEEN $4 AND $5 AND m.counts AND m.payout_id IN (SELECT id FROM moved))",
    )
    .bind(&news.ids)
    .bind(&news.words)
    .bind(PayoutState::sources(PayoutEvent::Pay))
    .bind(first)
    .bind(last)
    .bind(TransferKind::Settle.number())
    .persistent(false)
    .fetch_one(&mut *tx)
    .await
    .step("payouts_settle")?;
    let mut moved = Moved { paid: settled.unsigned_abs(), ..Moved::default() };
    if moved.paid < news.ids.len() as u64 {
        let others = payments_told(tx, news, source).await?;
        moved += accounts_weigh(tx, &others).await?;
    }
    moved += accounts_weigh(tx, &back).await?;
    if holds_close(tx, &news.ids).await? {
        runs_settle_anew(tx, news.ids.iter().map(|id| PayoutId(*id).run())).await?;
    }
    Ok(moved)
}

/// Keeps payments other than the one that a payout knows of. Returns the payouts of those that are new.
pub(crate) async fn payments_told(tx: &mut PgConnection, news: &News, source: Source) -> Result<Vec<i64>, StoreError> {
    sqlx::query_scalar(concat!(
        "-- payments_told
         INSERT INTO movement (tenant_id, payout_id, kind, reference, amount_minor, currency, source)
         SELECT p.tenant_id, p.id, 'paid', news.reference, ",
        pays_minor!("p"),
        ", ",
        pays_currency!("p"),
        ", $3
           FROM payout p JOIN unnest($1::bigint[], $2::text[]) AS news (id, reference) ON p.id = news.id
          WHERE p.reference IS DISTINCT FROM news.reference
          ORDER BY p.id
             ON CONFLICT DO NOTHING
      RETURNING payout_id"
    ))
    .bind(&news.ids)
    .bind(&news.words)
    .bind(source.as_str())
    .fetch_all(tx)
    .await
    .step("payments_told")
}

/// Acceptance by the rail. Where it meets a payout that counts as not paid it may be old news or the beginning of a
/// double payment: it is kept.
pub(crate) async fn payouts_accept(tx: &mut PgConnection, news: &News, source: Source) -> Result<(), StoreError> {
    if news.is_empty() {
        return Ok(());
    }
    let (first, last) = news.range();
    let accepted = sqlx::query(
        "-- payouts_accept
         UPDATE payout p SET state = 'accepted', reference = news.reference, code = NULL
           FROM unnest($1::bigint[], $2::text[]) AS news (id, reference)
          WHERE p.id = news.id AND p.id BETWEEN $4 AND $5 AND p.state = ANY($3)",
    )
    .bind(&news.ids)
    .bind(&news.words)
    .bind(PayoutState::sources(PayoutEvent::Accept))
    .bind(first)
    .bind(last)
    .persistent(false)
    .execute(&mut *tx)
    .await
    .step("payouts_accept")?
    .rows_affected();
    if accepted < news.ids.len() as u64 {
        // One request that was answered twice, or two of which each was accepted: the second may be paid too. What is
        // found by asking may only be a better name of the first.
        let kept: &[&str] = match source {
            Source::Answer => &["refused", "cancelled", "accepted"],
            Source::Lookup | Source::Statement | Source::Person => &["refused", "cancelled"],
        };
        contradiction_keep(tx, news, "accepted", source, kept).await?;
    }
    holds_close(tx, &news.ids).await.map(drop)
}

/// Keeps news that moved nothing, about payouts that are in one of these states.
async fn contradiction_keep(
    tx: &mut PgConnection,
    news: &News,
    says: &'static str,
    source: Source,
    states: &[&'static str],
) -> Result<(), StoreError> {
    sqlx::query(
        "-- contradiction_keep
         INSERT INTO evidence (tenant_id, payout_id, source, says, reference)
         SELECT p.tenant_id, p.id, $3, $4, news.reference
           FROM payout p JOIN unnest($1::bigint[], $2::text[]) AS news (id, reference) ON p.id = news.id
          WHERE p.state = ANY($5) AND p.reference IS DISTINCT FROM news.reference
          ORDER BY p.id
             ON CONFLICT DO NOTHING",
    )
    .bind(&news.ids)
    .bind(&news.words)
    .bind(source.as_str())
    .bind(says)
    .bind(states)
    .execute(tx)
    .await
    .step("contradiction_keep")?;
    Ok(())
}

/// Proof that payouts were not and will not be paid: their money is released and due again.
pub(crate) async fn payouts_refuse(
    tx: &mut PgConnection,
    news: &News,
    source: Source,
    attempt: Option<AttemptNo>,
) -> Result<u64, StoreError> {
    evidence_insert(tx, news, "refused", source, None, attempt).await?;
    let mut from = PayoutState::sources(PayoutEvent::Refuse);
    if source == Source::Answer {
        // The answer to one request says nothing of the payment that the rail accepted by another.
        from.retain(|state| *state != PayoutState::Accepted.as_str());
    }
    let refused = payouts_release(tx, &news.ids, Some(&news.words), PayoutState::Refused, from, source).await?;
    holds_close(tx, &news.ids).await?;
    Ok(refused)
}

/// Payouts that were never sent and never will be: their money is released and due again.
pub(crate) async fn payouts_cancel(tx: &mut PgConnection, ids: &[i64]) -> Result<u64, StoreError> {
    let from = PayoutState::sources(PayoutEvent::Cancel);
    payouts_release(tx, ids, None, PayoutState::Cancelled, from, Source::Answer).await
}

async fn payouts_release(
    tx: &mut PgConnection,
    ids: &[i64],
    codes: Option<&[String]>,
    to: PayoutState,
    from: Vec<&'static str>,
    source: Source,
) -> Result<u64, StoreError> {
    release_lock(tx, ids).await?;
    let released: i64 = sqlx::query_scalar(
        "-- payouts_release
         WITH moved AS (
           UPDATE payout p SET state = $3, code = news.code, reference = NULL
             FROM unnest($1::bigint[], $2::text[]) AS news (id, code)
            WHERE p.id = news.id AND p.state = ANY($4)
        RETURNING p.id, p.tenant_id, p.affiliate_id, p.amount_minor, p.currency),
         posted AS (
           INSERT INTO transfer (payout_id, kind, tenant_id, amount_minor, currency, due_in)
           SELECT id, $5, tenant_id, amount_minor, currency,
             (SELECT max(r.ordinal) + 1 FROM run r WHERE r.tenant_id = moved.tenant_id)
             FROM moved ORDER BY id RETURNING 1),
         due_again AS (
           UPDATE account a SET carried_minor = a.carried_minor + m.amount_minor
             FROM moved m
            WHERE a.tenant_id = m.tenant_id AND a.affiliate_id = m.affiliate_id AND a.currency = m.currency RETURNING 1)
         SELECT count(*) FROM due_again",
    )
    .bind(ids)
    .bind(codes)
    .bind(to.as_str())
    .bind(from)
    .bind(TransferKind::Release.number())
    .fetch_one(&mut *tx)
    .await
    .step("payouts_release")?;
    // A statement may have named a payment of what was still to be sent. Its money is not free: it is late proof from
    // the beginning. But two people who have looked, and the rail's own statement, stand above what a file alone tells.
    let paid: Vec<i64> = sqlx::query_scalar(
        "-- released_paid
         SELECT DISTINCT payout_id FROM movement WHERE payout_id = ANY($1) AND kind = 'paid'
           AND NOT ($2 AND source = 'file') ORDER BY payout_id",
    )
    .bind(ids)
    .bind(source == Source::Person)
    .fetch_all(&mut *tx)
    .await
    .step("released_paid")?;
    accounts_weigh(tx, &paid).await?;
    Ok(released.unsigned_abs())
}

pub(crate) async fn payouts_lose_track(tx: &mut PgConnection, ids: &[i64]) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query("-- payouts_lose_track\nUPDATE payout SET state = 'unknown' WHERE id = ANY($1) AND state = ANY($2)")
        .bind(ids)
        .bind(PayoutState::sources(PayoutEvent::LoseTrack))
        .execute(tx)
        .await
        .step("payouts_lose_track")?;
    Ok(())
}

/// What the rail had accepted it has refused, and perhaps has accepted again under another name: it is asked for again,
/// by the same request, and what was said is kept.
pub(crate) async fn payouts_reopen(tx: &mut PgConnection, refusals: &News, source: Source) -> Result<(), StoreError> {
    evidence_insert(tx, refusals, "refused", source, None, None).await?;
    sqlx::query("-- payouts_reopen\nUPDATE payout SET state = 'unknown' WHERE id = ANY($1) AND state = ANY($2)")
        .bind(&refusals.ids)
        .bind(PayoutState::sources(PayoutEvent::Reopen))
        .execute(tx)
        .await
        .step("payouts_reopen")?;
    Ok(())
}

pub(crate) async fn evidence_insert(
    tx: &mut PgConnection,
    news: &News,
    says: &'static str,
    source: Source,
    batch: Option<BatchId>,
    attempt: Option<AttemptNo>,
) -> Result<(), StoreError> {
    sqlx::query(
        "-- evidence_insert
         INSERT INTO evidence (tenant_id, payout_id, source, says, code, batch_id, attempt)
         SELECT p.tenant_id, p.id, $3, $4, news.code, $5, $6
           FROM payout p JOIN unnest($1::bigint[], $2::text[]) AS news (id, code) ON p.id = news.id
          ORDER BY p.id
             ON CONFLICT DO NOTHING",
    )
    .bind(&news.ids)
    .bind(&news.words)
    .bind(source.as_str())
    .bind(says)
    .bind(batch.map(|id| id.0))
    .bind(attempt.map(|n| n.0))
    .execute(tx)
    .await
    .step("evidence_insert")?;
    Ok(())
}

/// Holds whose payouts are no longer held were overtaken by evidence. Whether there were any.
pub(crate) async fn holds_close(tx: &mut PgConnection, ids: &[i64]) -> Result<bool, StoreError> {
    let closed = sqlx::query(
        "-- holds_close
         UPDATE hold h SET resolution = 'evidence', resolved_at = clock_timestamp()
           FROM payout p WHERE h.payout_id = ANY($1) AND h.resolved_at IS NULL AND p.id = h.payout_id
             AND p.state <> 'held'",
    )
    .bind(ids)
    .execute(&mut *tx)
    .await
    .step("holds_close")?;
    if closed.rows_affected() > 0 {
        // A run may have been judged while they were held.
        runs_have_news(tx, ids.iter().map(|id| PayoutId(*id).run())).await?;
    }
    Ok(closed.rows_affected() > 0)
}
