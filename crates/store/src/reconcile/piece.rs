//! What a piece of a statement changes, in one transaction: evidence like any other, under guard G4; a bit for each
//! payment that is on the statement just as it should be; a row for everything else.
//!
//! A line proves that a payout was paid only if key, amount, currency, destination and account are those of the payout.
//! A statement never makes anything refused: what is not on it may be on the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use payfleet_domain::{AlarmKind, BatchState, HoldReason, LineDiffers, PayoutId, RunId, StatementLine};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::lines::{Matched, Odd};
use super::odd::{content_id, odd_record, storable};
use super::reading::{Paying, StatementSource};
use super::standing::Standings;
use crate::alarm::{Raised, alarms_raise};
use crate::connect::{Step, Store, StoreError};
use crate::decision::returns_propose;
use crate::doubt::doubt_hold;
use crate::hold::{Held, batch_settle_held, payouts_hold};
use crate::locks::PIECES_LOCK;
use crate::movement::{accounts_weigh, runs_have_news};
use crate::outcomes::{batches_of_lock, payouts_count};
use crate::payout::{Moved, Source, evidence_insert, payouts_refuse, payouts_settle};
use crate::sql::{bit_of, block_of};

/// Places in one row of `listed`.
const BLOCK: i64 = 8_192;

/// What a statement proved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Payouts that are paid now.
    pub settled: u64,
    /// Payouts whose money came back.
    pub returned: u64,
    /// Payouts that were proven paid after their money had been due again.
    pub late: u64,
    /// Payouts that the rail had accepted and has refused since: their money is due again. Of those that only a file
    /// tells of: held.
    pub rejected: u64,
    /// Refusals of what does not wait for its payment, such as of what counts as paid. Kept as evidence; nothing is
    /// concluded.
    pub rejected_otherwise: u64,
    /// Alarms that are new. Runs that are open are paused by them.
    pub alarms: u64,
    /// Where money came back, or was proven paid late: the payouts of each run, the first of them by their numbers.
    pub told: BTreeMap<RunId, Told>,
    /// How many lines are of payouts of which run; without a run, of none of ours.
    pub of_runs: BTreeMap<Option<RunId>, u64>,
}

/// What is told of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// How many came back or were proven paid late.
    pub count: u64,
    /// Which, if they are few.
    pub payouts: Vec<PayoutId>,
}

/// Payouts of a run that are told by their numbers.
const TOLD: usize = 5;

impl std::ops::AddAssign for Told {
    fn add_assign(&mut self, more: Told) {
        self.count += more.count;
        let room = TOLD.saturating_sub(self.payouts.len());
        self.payouts.extend(more.payouts.into_iter().take(room));
    }
}

impl std::ops::AddAssign for Applied {
    fn add_assign(&mut self, more: Applied) {
        self.settled += more.settled;
        self.returned += more.returned;
        self.late += more.late;
        self.rejected += more.rejected;
        self.rejected_otherwise += more.rejected_otherwise;
        self.alarms += more.alarms;
        more.told.into_iter().for_each(|(run, told)| *self.told.entry(run).or_default() += told);
        more.of_runs.into_iter().for_each(|(run, lines)| *self.of_runs.entry(run).or_default() += lines);
    }
}

/// Records a piece. May be repeated: what is known already changes nothing.
pub(super) async fn piece_record(
    store: &Store,
    account: Paying,
    source: StatementSource,
    matched: Matched,
) -> Result<Applied, StoreError> {
    let piece = Arc::new((account, source, matched));
    store
        .transaction("statement_record", move |tx| {
            let piece = piece.clone();
            Box::pin(async move {
                let (account, source, matched) = &*piece;
                if matched.odd.is_empty() {
                    let mut beside = tx.begin().await.step("statement_record")?;
                    pieces_lock(&mut beside, false).await?;
                    if let Some(applied) = record(&mut beside, account, source, matched, false).await? {
                        beside.commit().await.step("statement_record")?;
                        return Ok(applied);
                    }
                    // With it end its locks: to wait for the others while they wait for these would be a deadlock.
                    beside.rollback().await.step("statement_record")?;
                }
                pieces_lock(tx, true).await?;
                let recorded = record(tx, account, source, matched, true).await?;
                recorded.ok_or_else(|| StoreError::Broken("a piece that is alone is not recorded".to_owned()))
            })
        })
        .await
}

/// `None` if there is something odd in it although no line is, so that it must be recorded alone.
async fn record(
    tx: &mut PgConnection,
    account: &Paying,
    source: &StatementSource,
    matched: &Matched,
    is_alone: bool,
) -> Result<Option<Applied>, StoreError> {
    let mut moved = Moved::default();
    let before = Standings::read(tx, matched).await?;
    let news = before.proven(matched, source);
    let mut unsent = before.unsent(matched);
    // In the order in which every other transaction locks: batches by number, then payouts.
    let (rejected, rejected_otherwise) = before.rejected(matched);
    let told = news.ids.iter().chain(&rejected.ids).copied();
    let ids: Vec<i64> = told.chain(unsent.keys().map(|payout| payout.0)).collect();
    let mut batches = batches_lock(tx, &ids, &unsent).await?;
    while !ids.is_empty() {
        // One that was being split while it was waited for is not among them, and its parts are.
        let again = batches_lock(tx, &ids, &unsent).await?;
        if std::mem::replace(&mut batches, again.clone()) == again {
            break;
        }
    }
    let unsent_ids: Vec<i64> = unsent.keys().map(|payout| payout.0).collect();
    let doubted = doubt_hold(tx, &unsent_ids, &batches).await?;
    moved += payouts_settle(tx, &news, Source::Statement).await?;
    // Rule `file_needs_second_person`: by a file alone no money is free, but nobody waits for a payment that it denies.
    let rejections = match source {
        StatementSource::Rail => {
            evidence_insert(tx, &rejected_otherwise, "refused", Source::Statement, None, None).await?;
            payouts_refuse(tx, &rejected, Source::Statement, None).await?
        }
        StatementSource::File { .. } => {
            let doubted = Held::all(rejected.ids.iter().copied(), HoldReason::RejectedByFile, None);
            payouts_hold(tx, &doubted).await?.len() as u64
        }
    };
    runs_have_news(tx, rejected.ids.iter().map(|id| PayoutId(*id).run())).await?;
    let stood = before.states();
    let after = if ids.is_empty() { before } else { Standings::read(tx, matched).await? };

    let mut listed = BTreeMap::<(i64, i64), Vec<i64>>::new();
    let mut odd: Vec<Odd> = matched.odd.clone();
    // A batch does not say that it was sent if all that is left of it was proven unsent, nor if a database has
    // forgotten: a payment says so too. What the rail lists before its payment is kept, and counts when that is known.
    for returned in odd.iter_mut().filter(|odd| odd.is_unsent_return) {
        let is_of_rail =
            *source == StatementSource::Rail && returned.payout.is_some_and(|payout| after.is_held(payout));
        returned.differs_return |= !is_of_rail && !returned.payout.is_some_and(|payout| after.is_settled(payout));
    }
    let mut known = Vec::new();
    for plain in &matched.plain {
        if after.is_known(plain) {
            known.push(plain.payout.0);
            let place = plain.payout.0 & 0xffff_ffff;
            listed.entry((plain.payout.run().0, place / BLOCK)).or_default().push(place % BLOCK);
        } else {
            odd.push(Odd::of(Some(plain.payout), plain.line.clone(), LineDiffers::default(), false));
        }
    }
    if !odd.is_empty() && !is_alone {
        return Ok(None);
    }
    // Before anything is weighed: that the payment which we know of is listed beside another one makes two of them.
    let beside = listed_beside(tx, source, &known).await?;
    listed_add(tx, source, listed).await?;
    let mut changed = odd_record(tx, account, source, &odd).await?;
    changed.extend(beside);
    // Their batches count them, and are locked before.
    batches_of_lock(tx, &changed).await?;
    moved += accounts_weigh(tx, &changed).await?;
    for batch in &batches {
        batch_settle_held(tx, *batch).await?;
    }
    payouts_count(tx, &changed).await?;
    if let StatementSource::File { person: Some(person), .. } = source {
        let told: Vec<Uuid> = odd.iter().map(|odd| content_id(&odd.line)).collect();
        returns_propose(tx, person, account.id, &told).await?;
    }
    let told = match moved.returned + moved.late {
        0 => BTreeMap::new(),
        _ => Standings::read(tx, matched).await?.told_since(&stood),
    };
    runs_have_news(tx, news.ids.iter().map(|id| PayoutId(*id).run())).await?;
    // The same line in another part is no news.
    unsent.retain(|id, _| news.ids.contains(&id.0) || changed.contains(&id.0) || doubted.contains(&id.0));
    moved.alarms += alarms_raise(tx, &unsent_alarms(&unsent)).await?;
    Ok(Some(Applied {
        settled: moved.paid,
        returned: moved.returned,
        late: moved.late,
        rejected: rejections,
        rejected_otherwise: match source {
            StatementSource::Rail => rejected_otherwise.ids.len() as u64,
            StatementSource::File { .. } => 0,
        },
        alarms: moved.alarms,
        told,
        of_runs: matched.of_runs.clone(),
    }))
}

/// One alarm for each run of which a statement knows what nobody here has sent, however many payouts that are.
fn unsent_alarms(unsent: &BTreeMap<PayoutId, &StatementLine>) -> Vec<Raised> {
    let mut runs = BTreeMap::<RunId, Vec<(&PayoutId, &&StatementLine)>>::new();
    unsent.iter().for_each(|one| runs.entry(one.0.run()).or_default().push(one));
    let alarm = |payouts: Vec<(&PayoutId, &&StatementLine)>| {
        let (payout, line) = payouts.first()?;
        let words = match payouts.len() - 1 {
            0 => storable(&line.reference),
            more => format!("{}, and {more} more", storable(&line.reference)),
        };
        Some((payout.0, AlarmKind::PaidUnsent, words))
    };
    runs.into_values().filter_map(alarm).collect()
}

/// Locks the batches of payouts, in order; of those that were never sent, all that were one batch with them.
async fn batches_lock(
    tx: &mut PgConnection,
    payouts: &[i64],
    unsent: &BTreeMap<PayoutId, &StatementLine>,
) -> Result<Vec<i64>, StoreError> {
    if payouts.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(
        "-- statement_batches_lock
         WITH RECURSIVE of AS (
           SELECT o.id, o.parent_id, p.id = ANY($2) AS is_unsent FROM unnest($1::bigint[]) AS p (id)
             JOIN batch o ON o.run_id = p.id >> 32 AND o.state <> $3
               AND p.id BETWEEN o.first_payout_id AND o.last_payout_id),
         up AS (
           SELECT id, parent_id FROM of WHERE is_unsent UNION SELECT b.id, b.parent_id FROM up JOIN batch b
             ON b.id = up.parent_id),
         part AS (
           SELECT id FROM up WHERE parent_id IS NULL UNION SELECT b.id FROM part JOIN batch b ON b.parent_id = part.id)
         SELECT b.id FROM batch b
          WHERE b.id IN (SELECT id FROM of UNION SELECT id FROM part) AND b.state <> $3
          ORDER BY b.id
            FOR NO KEY UPDATE",
    )
    .bind(payouts)
    .bind(unsent.keys().map(|payout| payout.0).collect::<Vec<_>>())
    .bind(BatchState::Split.as_str())
    .fetch_all(tx)
    .await
    .step("statement_batches_lock")
}

/// Pieces are recorded beside each other, of one account and of several, unless something in one is odd: a payment that
/// another piece lists as it should be, and a second one, would not see each other, and nobody would be alarmed. Held
/// until the end of the transaction, and taken before its rows.
async fn pieces_lock(tx: &mut PgConnection, is_alone: bool) -> Result<(), StoreError> {
    let sql = match is_alone {
        true => "-- pieces_lock_alone\nSELECT pg_advisory_xact_lock($1, 0)",
        false => "-- pieces_lock_shared\nSELECT pg_advisory_xact_lock_shared($1, 0)",
    };
    sqlx::query(sql).bind(PIECES_LOCK).execute(tx).await.step("pieces_lock")?;
    Ok(())
}

/// Of payments that are listed just as they should be: those that were not yet, and of which more is known. That one is
/// listed beside another makes two of them, in whichever order they come.
async fn listed_beside(
    tx: &mut PgConnection,
    source: &StatementSource,
    payouts: &[i64],
) -> Result<Vec<i64>, StoreError> {
    let (Some(first), Some(last)) = (payouts.iter().min(), payouts.iter().max()) else { return Ok(Vec::new()) };
    macro_rules! beside {
        ($name:literal, $table:literal) => {
            sqlx::query_scalar(concat!(
                $name,
                "
                 SELECT DISTINCT m.payout_id FROM movement m
                   LEFT JOIN ",
                $table,
                " l ON l.run_id = m.payout_id >> 32 AND l.block = ",
                block_of!("m.payout_id"),
                "
                  WHERE m.payout_id BETWEEN $2 AND $3 AND m.payout_id = ANY($1)
                    AND coalesce(",
                bit_of!("l", "m.payout_id"),
                ", 0) = 0"
            ))
        };
    }
    match source {
        StatementSource::Rail => beside!("-- listed_beside", "listed"),
        StatementSource::File { .. } => beside!("-- filed_beside", "listed_by_file"),
    }
    .bind(payouts)
    .bind(first)
    .bind(last)
    .fetch_all(tx)
    .await
    .step("listed_beside")
}

/// Marks payments as listed, by the rail itself or by a file. A run that was found discrepant may be in order by them.
async fn listed_add(
    tx: &mut PgConnection,
    source: &StatementSource,
    listed: BTreeMap<(i64, i64), Vec<i64>>,
) -> Result<(), StoreError> {
    if listed.is_empty() {
        return Ok(());
    }
    let (mut runs, mut blocks, mut bits) = (Vec::new(), Vec::new(), Vec::new());
    for ((run, block), places) in listed {
        let mut row = vec![b'0'; BLOCK as usize];
        for place in places {
            row[place as usize] = b'1';
        }
        runs.push(run);
        blocks.push(block as i32);
        // Zeros and ones only.
        bits.push(String::from_utf8_lossy(&row).into_owned());
    }
    macro_rules! add {
        ($name:literal, $table:literal) => {
            sqlx::query(concat!(
                $name,
                "
                 WITH added AS (
                   INSERT INTO ",
                $table,
                " AS listed (run_id, block, bits)
                   SELECT run, block, bits::bit(8192)
                     FROM unnest($1::bigint[], $2::int[], $3::text[]) AS l (run, block, bits)
                       ON CONFLICT (run_id, block) DO UPDATE SET bits = listed.bits | excluded.bits
                    WHERE (listed.bits | excluded.bits) <> listed.bits
                RETURNING run_id)
                 UPDATE run SET news_no = news_no + 1 WHERE verdict = 'discrepant' AND id IN (SELECT run_id FROM added)"
            ))
        };
    }
    match source {
        StatementSource::Rail => add!("-- listed_add", "listed"),
        StatementSource::File { .. } => add!("-- listed_by_file_add", "listed_by_file"),
    }
    .bind(runs)
    .bind(blocks)
    .bind(bits)
    .execute(tx)
    .await
    .step("listed_add")?;
    Ok(())
}
