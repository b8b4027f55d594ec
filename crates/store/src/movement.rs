//! Payouts by reference: every payment and return that is known beyond the first payment, and what follows when there
//! is a new one. Few payouts have any, so these are weighed one by one, by `domain`; what follows is done in bulk.

use std::collections::{BTreeMap, BTreeSet};

use payfleet_domain::{AlarmKind, PaymentAccount, PaymentStep, PayoutId, PayoutState, RunId, TransferKind, Witness};
use sqlx::{PgConnection, Row};

use crate::alarm::{Raised, alarms_raise};
use crate::batch::word;
use crate::connect::{Step, StoreError};
use crate::payout::Moved;
use crate::run::{release_lock, runs_lock_against_intents};
use crate::sql::{bit_of, block_of, pays_minor};

macro_rules! accounts_sql {
    () => {
        concat!(
            "
         SELECT p.id, p.state, p.reference, p.amount_minor AS due_minor, ",
            pays_minor!("p"),
            " AS pays_minor,
                coalesce(",
            bit_of!("l", "p.id"),
            " = 1, false) AS is_listed,
                coalesce(",
            bit_of!("f", "p.id"),
            " = 1, false) AS is_filed
           FROM payout p LEFT JOIN listed l ON l.run_id = p.run_id AND l.block = ",
            block_of!("p.id"),
            "
           LEFT JOIN listed_by_file f ON f.run_id = p.run_id AND f.block = ",
            block_of!("p.id"),
            "
          WHERE p.id = ANY($1) ORDER BY p.id"
        )
    };
}

/// A payout with its account, as it was found.
#[derive(Debug)]
pub(crate) struct Weighed {
    pub id: i64,
    pub state: PayoutState,
    /// The payment that the payout itself keeps.
    pub reference: Option<String>,
    /// What the ledger moves.
    pub due_minor: i64,
    /// What the rail was told, as its account is.
    pub pays_minor: i64,
    pub account: PaymentAccount,
}

/// Does what follows for payouts of whose payments or returns there is news. Rules `net_over_references` and
/// `late_proof`.
pub(crate) async fn accounts_weigh(tx: &mut PgConnection, payouts: &[i64]) -> Result<Moved, StoreError> {
    let payouts: Vec<i64> = payouts.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    if payouts.is_empty() {
        return Ok(Moved::default());
    }
    let weighed = accounts_read(tx, &payouts, true).await?;
    let kinds = kinds_read(tx, &payouts).await?;
    let mut moved = Moved::default();
    let mut alarms: Vec<Raised> = Vec::new();
    let (mut returns, mut lates) = (Steps::default(), Steps::default());
    for payout in &weighed {
        let step = match payout.state {
            PayoutState::Paid => payout.account.step(true),
            PayoutState::Refused | PayoutState::Cancelled | PayoutState::Returned => payout.account.step(false),
            // Their outcome is still open; what the fleet learns of it decides.
            PayoutState::Planned | PayoutState::Accepted | PayoutState::Unknown | PayoutState::Held => {
                PaymentStep::Keep
            }
        };
        if payout.account.is_paid_twice(payout.pays_minor) {
            alarms.push((payout.id, AlarmKind::DoublePayment, payout.account.named()));
        }
        if step == PaymentStep::Keep {
            continue;
        }
        let had = kinds.get(&payout.id).map_or(&[][..], |had| had.kinds.as_slice());
        let Some(kind) = TransferKind::next(step, |kind| had.contains(&kind.number())) else {
            alarms.push((payout.id, AlarmKind::Uncountable, payout.account.named()));
            tracing::error!(payout = payout.id, "money went out and came back so often that the ledger cannot follow");
            continue;
        };
        let steps = if step == PaymentStep::Return { &mut returns } else { &mut lates };
        steps.ids.push(payout.id);
        steps.kinds.push(kind.number());
        // What was kept of an earlier return is booked. What rails keep is of what they paid, and the ledger's fees are
        // of what is due: the same, as long as nothing is converted.
        let booked = kinds.get(&payout.id).map_or(0, |had| had.fees);
        steps.fees.push((payout.account.fees() - booked).clamp(0, payout.due_minor));
        let known = payout.reference.clone();
        steps.references.push(known.or_else(|| payout.account.outstanding().map(str::to_owned)));
    }
    if !returns.ids.is_empty() || !lates.ids.is_empty() {
        release_lock(tx, &payouts).await?;
    }
    moved.returned += returns.give_back(tx).await?;
    let booked: Vec<RunId> = lates.ids.iter().map(|id| PayoutId(*id).run()).collect();
    if !booked.is_empty() {
        // Late proof and an intent at the same time would not see each other: the money is sent again though the
        // account is contested, and nobody says so.
        let tenants = tenants_of(tx, &lates.ids).await?;
        runs_lock_against_intents(tx, &tenants).await?;
    }
    let (late, again) = lates.book_late(tx).await?;
    if late > 0 {
        runs_settle_anew(tx, booked).await?;
    }
    moved.late += late;
    let named = |id: i64| weighed.iter().find(|one| one.id == id).map(|one| one.account.named()).unwrap_or_default();
    alarms.extend(again.into_iter().map(|id| (id, AlarmKind::PaidAgain, named(id))));
    moved.alarms += alarms_raise(tx, &alarms).await?;
    runs_have_news(tx, payouts.iter().map(|id| PayoutId(*id).run())).await?;
    Ok(moved)
}

/// Payouts that move on together, column by column.
#[derive(Debug, Default)]
struct Steps {
    ids: Vec<i64>,
    kinds: Vec<i16>,
    fees: Vec<i64>,
    references: Vec<Option<String>>,
}

impl Steps {
    /// The money is due again, all of it: what the rail kept is the payer's loss, and goes to `fees`.
    async fn give_back(self, tx: &mut PgConnection) -> Result<u64, StoreError> {
        if self.ids.is_empty() {
            return Ok(0);
        }
        let returned: i64 = sqlx::query_scalar(
            "-- payouts_return
             WITH news AS (SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bigint[]) AS news (id, kind, fee)),
             moved AS (
               UPDATE payout p SET state = 'returned' FROM news WHERE p.id = news.id AND p.state = ANY($4)
            RETURNING p.id, p.tenant_id, p.affiliate_id, p.amount_minor, p.currency, news.kind, news.fee,
                      (SELECT max(r.ordinal) + 1 FROM run r WHERE r.tenant_id = p.tenant_id) AS due_in),
             posted AS (
               INSERT INTO transfer (payout_id, kind, tenant_id, amount_minor, currency, due_in)
               SELECT id, part.kind, tenant_id, part.minor, currency, due_in
                 FROM moved, LATERAL (VALUES (kind, amount_minor - fee), ((kind + $5)::smallint, fee)) AS part (kind,
                   minor)
                WHERE part.minor > 0 ORDER BY id, part.kind RETURNING 1),
             -- A statement speaks of several runs: an account may have more than one payout here, and is changed once.
             sums AS (
               SELECT tenant_id, affiliate_id, currency, sum(amount_minor)::bigint AS minor FROM moved
                 GROUP BY tenant_id, affiliate_id, currency),
             due_again AS (
               UPDATE account a SET carried_minor = a.carried_minor + m.minor
                 FROM sums m
                WHERE a.tenant_id = m.tenant_id AND a.affiliate_id = m.affiliate_id AND a.currency = m.currency)
             SELECT count(*) FROM moved",
        )
        .bind(self.ids)
        .bind(self.kinds)
        .bind(self.fees)
        .bind(PayoutState::sources(payfleet_domain::PayoutEvent::Return))
        .bind(TransferKind::FEE_OF)
        .fetch_one(tx)
        .await
        .step("payouts_return")?;
        Ok(returned.unsigned_abs())
    }

    /// Late proof: the released money was the payee's already, so the balance goes down by it, below zero if need be,
    /// and no plan pays the account before people have looked. Returns how many, and those whose money a later payout
    /// has taken that was perhaps sent: it was paid again meanwhile. Rows are asked, and not the balance: that may be
    /// above zero all the same, or below it for another reason.
    async fn book_late(self, tx: &mut PgConnection) -> Result<(u64, Vec<i64>), StoreError> {
        if self.ids.is_empty() {
            return Ok((0, Vec::new()));
        }
        let (late, again): (i64, Vec<i64>) = sqlx::query_as(
            "-- payouts_pay_late
             WITH news AS (SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::text[]) AS news (id, kind,
               reference)),
             moved AS (
               UPDATE payout p SET state = 'paid', code = NULL, reference = news.reference,
                 settled_at = clock_timestamp()
                 FROM news WHERE p.id = news.id AND p.state = ANY($4)
            RETURNING p.id, p.tenant_id, p.affiliate_id, p.amount_minor, p.currency, news.kind),
             posted AS (
               INSERT INTO transfer (payout_id, kind, tenant_id, amount_minor, currency, due_in)
               SELECT id, kind, tenant_id, amount_minor, currency,
                 (SELECT max(r.ordinal) + 1 FROM run r WHERE r.tenant_id = moved.tenant_id)
                 FROM moved ORDER BY id RETURNING 1),
             contested AS (
               INSERT INTO contest (tenant_id, affiliate_id, currency, payout_id)
               SELECT tenant_id, affiliate_id, currency, id FROM moved ORDER BY id ON CONFLICT DO NOTHING),
             -- As with what comes back: an account is changed once.
             sums AS (
               SELECT tenant_id, affiliate_id, currency, sum(amount_minor)::bigint AS minor FROM moved
                 GROUP BY tenant_id, affiliate_id, currency),
             taken_back AS (
               UPDATE account a SET carried_minor = a.carried_minor - m.minor
                 FROM sums m
                WHERE a.tenant_id = m.tenant_id AND a.affiliate_id = m.affiliate_id AND a.currency = m.currency),
             again AS (
               SELECT moved.id FROM moved
                WHERE EXISTS (
                  SELECT FROM run r JOIN payout q ON q.run_id = r.id AND q.affiliate_id = moved.affiliate_id
                    AND q.currency = moved.currency
                    JOIN batch b ON b.run_id = r.id AND b.state <> 'split'
                      AND q.id BETWEEN b.first_payout_id AND b.last_payout_id
                   WHERE r.tenant_id = moved.tenant_id AND q.state NOT IN ('refused', 'returned', 'cancelled')
                     AND (b.first_sent_at IS NOT NULL OR q.state IN ('paid', 'accepted'))
                     AND r.ordinal >= (SELECT max(t.due_in) FROM transfer t WHERE t.payout_id = moved.id
                       AND t.kind = ANY($5)))
                ORDER BY moved.id)
             SELECT (SELECT count(*) FROM moved), ARRAY (SELECT id FROM again ORDER BY id)",
        )
        .bind(self.ids)
        .bind(self.kinds)
        .bind(self.references)
        .bind(PayoutState::sources(payfleet_domain::PayoutEvent::PayLate))
        .bind(numbers(TransferKind::ALL.into_iter().filter(|kind| kind.frees())))
        .fetch_one(tx)
        .await
        .step("payouts_pay_late")?;
        Ok((late.unsigned_abs(), again))
    }
}

/// The accounts of payouts, in order; locked if they are to be changed.
pub(crate) async fn accounts_read(
    tx: &mut PgConnection,
    payouts: &[i64],
    locks: bool,
) -> Result<Vec<Weighed>, StoreError> {
    let read = "accounts_read";
    let sql = match locks {
        true => concat!("-- accounts_lock", accounts_sql!(), " FOR NO KEY UPDATE OF p"),
        false => concat!("-- accounts_read", accounts_sql!()),
    };
    let rows = sqlx::query(sql).bind(payouts).fetch_all(&mut *tx).await.step(read)?;
    let mut weighed = Vec::with_capacity(rows.len());
    let mut places = BTreeMap::new();
    for row in &rows {
        let state: PayoutState = word(row, "state")?;
        let reference: Option<String> = row.try_get("reference").step(read)?;
        let pays_minor = row.try_get("pays_minor").step(read)?;
        let mut account = PaymentAccount::default();
        // What the rail accepted is not paid yet.
        let paid = reference.as_deref().filter(|_| matches!(state, PayoutState::Paid | PayoutState::Returned));
        if let Some(paid) = paid {
            account.pay(paid, Witness::Told, pays_minor);
            for (column, witness) in [("is_listed", Witness::Listed), ("is_filed", Witness::Filed)] {
                if row.try_get(column).step(read)? {
                    account.pay(paid, witness, pays_minor);
                }
            }
        }
        let id = row.try_get("id").step(read)?;
        places.insert(id, weighed.len());
        let due_minor = row.try_get("due_minor").step(read)?;
        weighed.push(Weighed { id, state, reference, due_minor, pays_minor, account });
    }
    let movements = sqlx::query(
        "-- movements_read
         SELECT payout_id, kind, reference, of_reference, amount_minor, fee_minor, source,
           line_id IS NOT NULL AS is_listed FROM movement_known
          WHERE payout_id = ANY($1) AND counts ORDER BY id",
    )
    .bind(payouts)
    .fetch_all(tx)
    .await
    .step("movements_read")?;
    for row in &movements {
        let Some(place) = places.get(&row.try_get::<i64, _>("payout_id").step(read)?) else { continue };
        let payout = &mut weighed[*place];
        let reference: String = row.try_get("reference").step(read)?;
        let fee: i64 = row.try_get("fee_minor").step(read)?;
        let minor = row.try_get::<i64, _>("amount_minor").step(read)?.saturating_add(fee);
        let witness =
            match (row.try_get::<String, _>("source").step(read)?.as_str(), row.try_get("is_listed").step(read)?) {
                ("file", _) => Witness::Filed,
                (_, true) => Witness::Listed,
                (_, false) => Witness::Told,
            };
        match row.try_get::<String, _>("kind").step(read)?.as_str() {
            "paid" => payout.account.pay(&reference, witness, minor),
            _ => {
                payout.account.give_back(&reference, witness, minor);
                if let Some(of) = row.try_get::<Option<String>, _>("of_reference").step(read)? {
                    payout.account.give_back_of(&of);
                }
                payout.account.keep_fee(&reference, witness, fee);
            }
        }
    }
    Ok(weighed)
}

/// As the schema numbers them.
pub(crate) fn numbers(kinds: impl IntoIterator<Item = TransferKind>) -> Vec<i16> {
    kinds.into_iter().map(TransferKind::number).collect()
}

/// The transfers that a payout has.
#[derive(Debug)]
struct Had {
    kinds: Vec<i16>,
    /// What was kept of returns, as it is booked.
    fees: i64,
}

/// Which transfers each payout has.
async fn kinds_read(tx: &mut PgConnection, payouts: &[i64]) -> Result<BTreeMap<i64, Had>, StoreError> {
    let rows: Vec<(i64, Vec<i16>, i64)> = sqlx::query_as(
        "-- transfers_of
         SELECT payout_id, array_agg(kind), coalesce(sum(amount_minor) FILTER (WHERE kind = ANY($2)), 0)::bigint
           FROM transfer WHERE payout_id = ANY($1) GROUP BY payout_id",
    )
    .bind(payouts)
    .bind(numbers(TransferKind::FEES))
    .fetch_all(tx)
    .await
    .step("transfers_of")?;
    Ok(rows.into_iter().map(|(payout, kinds, fees)| (payout, Had { kinds, fees })).collect())
}

async fn tenants_of(tx: &mut PgConnection, payouts: &[i64]) -> Result<Vec<i32>, StoreError> {
    let sql = "-- tenants_of\nSELECT DISTINCT tenant_id FROM payout WHERE id = ANY($1)";
    sqlx::query_scalar(sql).bind(payouts).fetch_all(tx).await.step("tenants_of")
}

/// Something was learned about payments of these runs: their verdicts are not the last word. Rule
/// `verdict_follows_news`.
pub(crate) async fn runs_have_news(
    tx: &mut PgConnection,
    runs: impl IntoIterator<Item = RunId>,
) -> Result<(), StoreError> {
    let runs: BTreeSet<i64> = runs.into_iter().map(|run| run.0).collect();
    sqlx::query("-- runs_have_news\nUPDATE run SET news_no = news_no + 1 WHERE id = ANY($1)")
        .bind(runs.into_iter().collect::<Vec<i64>>())
        .execute(tx)
        .await
        .step("runs_have_news")?;
    Ok(())
}

/// Something is paid now of runs that were over: their statements are asked again, or nobody would miss the payment
/// there once their window is past.
pub(crate) async fn runs_settle_anew(
    tx: &mut PgConnection,
    runs: impl IntoIterator<Item = RunId>,
) -> Result<(), StoreError> {
    let runs: BTreeSet<i64> = runs.into_iter().map(|run| run.0).collect();
    sqlx::query(
        "-- runs_settle_anew
         UPDATE run SET settled_at = clock_timestamp() WHERE id = ANY($1) AND settled_at IS NOT NULL",
    )
    .bind(runs.into_iter().collect::<Vec<i64>>())
    .execute(tx)
    .await
    .step("runs_settle_anew")?;
    Ok(())
}

/// Lets a return count that a file alone told, since a second person has confirmed it. Does nothing if it counts
/// already, and says so.
pub(crate) async fn movement_confirm(tx: &mut PgConnection, movement: i64) -> Result<Option<Moved>, StoreError> {
    let payout: Option<i64> = sqlx::query_scalar(
        "-- movement_confirm\nUPDATE movement SET counts = true WHERE id = $1 AND NOT counts RETURNING payout_id",
    )
    .bind(movement)
    .fetch_optional(&mut *tx)
    .await
    .step("movement_confirm")?;
    match payout {
        None => Ok(None),
        Some(payout) => accounts_weigh(tx, &[payout]).await.map(Some),
    }
}
