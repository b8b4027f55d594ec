//! Guard G2: nothing is sent before it is written down that it may have been.

use std::fmt;
use std::time::Duration;

use payfleet_domain::{AttemptNo, BatchId, KeyUnit, PayoutId, PayoutState, Rail};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use crate::batch::batch_lock;
use crate::connect::{Step, Store, StoreError};
use crate::control::controls_apply;
use crate::funding::{funding_columns, funding_probe};
use crate::generation::{Mark, Unproven, arrays, session_prove, standing_columns, standing_of};
use crate::lease::{Lease, interval};
use crate::locks::TURN_LOCK;
use crate::order::{Order, orders_in};
use crate::record::{Report, record};
use crate::sql::alive;

/// A committed permission to submit.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Which try this is.
    pub attempt: AttemptNo,
    /// The rail must not execute a request of this attempt later.
    pub expires_at: OffsetDateTime,
    /// What to submit: every payout of the batch that has no answer, or is proven unsent while others may not be; under
    /// a batch key, the whole batch.
    pub orders: Vec<Order>,
    /// Nothing else is sent from its funding account, which is stopped: this one finds out whether it pays again.
    pub is_probe: bool,
    /// A moment ago a call from this account had no answer: what the calls of this one bring counts.
    pub is_watched: bool,
}

/// Why there is no permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentRefused {
    /// The lease has ended or went to somebody else.
    LeaseLost,
    /// The run was paused or cancelled.
    RunStopped,
    /// Payouts of it are under control, so nothing was sent; they are held now, and the others are in batches of their
    /// own.
    Split,
    /// Payments of it are known that were not made from here, so nothing was sent; what they may be of is held now, and
    /// an alarm tells of it.
    InDoubt,
    /// Payouts of it are under control, and it was perhaps sent under its batch key: it must be resolved first.
    Controlled,
    /// Its funding account is stopped, and it is not this batch's turn to find out whether it pays again, for so long.
    AccountStopped(Duration),
    /// What was perhaps sent may not be sent again now: the rail's key is no longer certain, or an older request can
    /// still arrive.
    NotSafe,
}

impl fmt::Display for IntentRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IntentRefused::LeaseLost => "the lease was lost",
            IntentRefused::RunStopped => "the run is paused or cancelled",
            IntentRefused::Split => "payouts of it are under control; they are held, the others apart from them",
            IntentRefused::InDoubt => {
                "payments of it are known that were not made from here; what they may be of is held"
            }
            IntentRefused::Controlled => "payouts of it are under control, and it was perhaps sent",
            IntentRefused::AccountStopped(_) => "its funding account is stopped",
            IntentRefused::NotSafe => "sending again is not safe now",
        })
    }
}

/// What a try came to.
enum Tried {
    /// An intent with its mark, or why there is none.
    Known(Result<(Intent, Mark), IntentRefused>),
    /// This session has not proven yet of which database it is.
    Unproven(Unproven),
    /// The database does not know of what was sent.
    Missing(Mark),
}

impl Store {
    /// G2. Moves the batch to `sending` and writes the attempt down, if the lease is valid under a row lock, the run is
    /// not stopped, and sending (again) is safe by the rail's class. Only when this has returned may the call be made;
    /// an error means that it may not, even if the commit should have happened. Rule `write_ahead_intent`.
    ///
    /// `looked_up` says that the rail was asked, under this lease and after every older request had ended, and knew
    /// nothing of the payouts without an answer. It counts only for rails that resolve by lookup; without it those send
    /// only what is proven unsent, and nothing before every request of before is dead.
    ///
    /// A database that lacks what was seen of it before has no say: each session proves before its first intent that it
    /// is of the one that we know, and each intent that those of this process are still there. What was written is
    /// remembered outside of the database before this returns.
    pub async fn intent_write(
        &self,
        lease: Lease,
        worker: &str,
        rail: &'static Rail,
        looked_up: bool,
    ) -> Result<Result<Intent, IntentRefused>, StoreError> {
        let Some(memory) = self.memory.clone() else {
            let written = self.intent_try(lease, worker, rail, looked_up, Vec::new(), true).await?;
            let Tried::Known(written) = written else {
                return Err(StoreError::Broken("who remembers nothing has nothing to prove".to_owned()));
            };
            return Ok(written.map(|(intent, _)| intent));
        };
        let mut tried = self.intent_try(lease, worker, rail, looked_up, memory.own(), false).await?;
        // Another session, which may lead to another server.
        while let Tried::Unproven(Unproven) = tried {
            let seen = memory.seen().await.map_err(StoreError::Memory)?;
            tried = self.intent_try(lease, worker, rail, looked_up, seen, true).await?;
        }
        let (intent, mark) = match tried {
            Tried::Known(Ok(written)) => written,
            Tried::Known(Err(refused)) => return Ok(Err(refused)),
            Tried::Missing(mark) => return Err(self.behind("worker", mark).await),
            Tried::Unproven(Unproven) => return Err(StoreError::Broken("a session was proven, and is not".to_owned())),
        };
        // Nobody would know that it was sent: it is not sent.
        memory.keep(&mark).await.map_err(StoreError::Memory)?;
        Ok(Ok(intent))
    }

    /// Takes back what [`Store::intent_write`] may have written down when it ended with an error: no call is made for
    /// it, and only its caller knows. Without this it counts as perhaps sent, and over a rail that cannot be asked two
    /// people would have to look. `known` is the newest attempt that the caller knows of, for which calls may have been
    /// made. May be repeated; returns whether there was anything.
    ///
    /// What the error left open is certain now: an intent commits under the lock on its batch, so one whose COMMIT is
    /// still on its way is waited for, and one that has not got the lock yet never commits, since its caller gave up
    /// before the last word.
    pub async fn intent_withdraw(
        &self,
        lease: Lease,
        worker: &str,
        known: AttemptNo,
        available_in: Duration,
    ) -> Result<bool, StoreError> {
        let worker = worker.to_owned();
        self.transaction("intent_withdraw", move |tx| {
            let worker = worker.clone();
            Box::pin(async move {
                batch_lock(tx, lease.batch).await?;
                // After a database was restored an epoch may be given twice, and never to the same worker.
                let attempts: Vec<i32> = sqlx::query_scalar(
                    "-- attempts_withdrawn
                     SELECT n FROM attempt WHERE batch_id = $1 AND epoch = $2 AND worker = $3 AND n > $4
                       AND result IS NULL ORDER BY n",
                )
                .bind(lease.batch.0)
                .bind(lease.epoch.0)
                .bind(worker)
                .bind(known.0)
                .fetch_all(&mut *tx)
                .await
                .step("attempts_withdrawn")?;
                for attempt in &attempts {
                    record(tx, &Report::nothing_sent(lease, AttemptNo(*attempt), available_in)).await?;
                }
                Ok(!attempts.is_empty())
            })
        })
        .await
    }

    /// One try. `seen` is asked for; whether it `is_all` that was seen, so that this session is proven by it.
    async fn intent_try(
        &self,
        lease: Lease,
        worker: &str,
        rail: &'static Rail,
        looked_up: bool,
        seen: Vec<Mark>,
        is_all: bool,
    ) -> Result<Tried, StoreError> {
        let (worker, remembers) = (worker.to_owned(), self.memory.is_some());
        // Of the first try over a session often nothing comes but that it has to prove itself; failpoints are for what
        // comes then.
        let step = if is_all { "intent_write" } else { "intent_write_proven" };
        self.transaction(step, move |tx| {
            let (worker, seen) = (worker.clone(), seen.clone());
            Box::pin(async move {
                // Behind whoever is about to stop the run; or stops would wait for as long as intents overlap. Not
                // before it has the batch: who waits for that keeps nobody waiting.
                sqlx::query(
                    "-- intent_turn
                     SELECT pg_advisory_xact_lock_shared($1, run_id::int)
                       FROM (SELECT run_id FROM batch WHERE id = $2 AND lease_epoch = $3 FOR NO KEY UPDATE) AS b",
                )
                .bind(TURN_LOCK)
                .bind(lease.batch.0)
                .bind(lease.epoch.0)
                .execute(&mut *tx)
                .await
                .step("intent_turn")?;
                // Rule `fenced_intent`. The fence: row locks first. The run's is shared; whoever pauses the run waits
                // for us, and we for nobody else.
                let (generations, batches, attempts, instants) = arrays(&seen);
                let locked = sqlx::query(concat!(
                    "-- intent_fence
                     SELECT r.paused_at IS NULL AND r.state = 'paying' AS may_go_on, ",
                    funding_columns!(),
                    ", ",
                    standing_columns!("$3", "$4", "$5", "$6"),
                    " FROM batch b JOIN run r ON r.id = b.run_id AND r.tenant_id = b.tenant_id
                      CROSS JOIN (SELECT key FROM generation ORDER BY no DESC LIMIT 1) AS g
                      WHERE b.id = $1 AND b.lease_epoch = $2
                        FOR NO KEY UPDATE OF b FOR SHARE OF r"
                ))
                .bind(lease.batch.0)
                .bind(lease.epoch.0)
                .bind(generations)
                .bind(batches)
                .bind(attempts)
                .bind(instants)
                .fetch_optional(&mut *tx)
                .await
                .step("intent_fence")?;
                let refused = |why| Ok(Tried::Known(Err(why)));
                let Some(locked) = locked else { return refused(IntentRefused::LeaseLost) };
                // A recovery that was opened while the locks were waited for is not seen, and need not be: when it lets
                // what is open count as perhaps sent, it waits for us; and what it has come to before us, the rail's
                // class keeps from being sent.
                let (standing, missing) = standing_of(&locked, &seen)?;
                if let Some(mark) = missing {
                    return Ok(Tried::Missing(mark));
                }
                if !standing.is_proven && !is_all {
                    return Ok(Tried::Unproven(Unproven));
                }
                if !standing.is_proven && remembers {
                    session_prove(tx, &standing).await?;
                }
                // Rule `stop_sends_nothing`: a cancelled run too, whatever was sent before.
                let may_go_on: bool = locked.try_get("may_go_on").step("intent_fence")?;
                if !may_go_on {
                    return refused(IntentRefused::RunStopped);
                }
                if rail.needs_dead_requests() && looked_up {
                    // Rule `lookup_after_lifetime`.
                    attempts_supersede(tx, lease.batch).await?;
                }
                // Rule `controls_at_intent`.
                if let Some(why) = controls_apply(tx, lease.batch, rail).await? {
                    return refused(why);
                }
                // Without a lock on what says so: what others have sent meanwhile was
                // under way when it was stopped.
                let is_probe: bool = locked.try_get("is_account_stopped").step("intent_fence")?;
                if is_probe && let Err(wait) = funding_probe(tx, lease.batch).await? {
                    return refused(IntentRefused::AccountStopped(wait));
                }
                let is_watched: bool = locked.try_get("is_account_watched").step("intent_fence")?;
                // Time is looked at only now, when nothing more is waited for.
                // Rules `horizon_guard` and `neither_is_held`: without a key there is no window.
                let opened = sqlx::query(concat!(
                    "-- intent_open
                     UPDATE batch b
                        SET state = 'sending', attempt = b.attempt + 1,
                          first_sent_at = coalesce(b.first_sent_at, clock_timestamp())
                      WHERE b.id = $1 AND b.lease_epoch = $2 AND b.lease_until > clock_timestamp()
                        AND (b.state = 'ready'
                             OR b.state = 'sending' AND b.first_sent_at + $3 > clock_timestamp()
                             OR b.state = 'sending' AND $4 AND NOT EXISTS (
                                  SELECT FROM attempt a WHERE a.batch_id = b.id
                                    AND ($5 OR a.result IS NULL OR a.may_arrive_until >= clock_timestamp())
                                    AND ",
                    alive!("a"),
                    ") AND EXISTS (
                                  SELECT FROM payout p WHERE p.id BETWEEN b.first_payout_id AND b.last_payout_id
                                    AND ($5 OR p.state = 'planned')))
                  RETURNING b.attempt, b.tenant_id, b.first_payout_id, b.last_payout_id, clock_timestamp() AS now"
                ))
                .bind(lease.batch.0)
                .bind(lease.epoch.0)
                .bind(rail.resend_window().map(interval))
                .bind(rail.needs_dead_requests())
                .bind(looked_up)
                .fetch_optional(&mut *tx)
                .await
                .step("intent_open")?;
                let Some(opened) = opened else {
                    let valid: bool = sqlx::query_scalar(
                        "-- lease_valid\nSELECT lease_until > clock_timestamp() FROM batch WHERE id = $1",
                    )
                    .bind(lease.batch.0)
                    .fetch_one(&mut *tx)
                    .await
                    .step("lease_valid")?;
                    return refused(if valid { IntentRefused::NotSafe } else { IntentRefused::LeaseLost });
                };
                let attempt: i32 = opened.try_get("attempt").step("intent_open")?;
                let tenant: i32 = opened.try_get("tenant_id").step("intent_open")?;
                let now: OffsetDateTime = opened.try_get("now").step("intent_open")?;
                let first = PayoutId(opened.try_get("first_payout_id").step("intent_open")?);
                let last = PayoutId(opened.try_get("last_payout_id").step("intent_open")?);
                // Under a batch key the rail recognises the same bytes only, so what has its answer already is in them
                // too.
                let states: &[PayoutState] = match rail.key_unit {
                    KeyUnit::Payout if rail.needs_dead_requests() && !looked_up => &[PayoutState::Planned],
                    KeyUnit::Payout => &PayoutState::UNANSWERED,
                    KeyUnit::Batch => &PayoutState::ALL,
                };
                let orders = orders_in(tx, first, last, states).await?;
                if orders.is_empty() {
                    return Err(StoreError::Broken(format!(
                        "batch {} is open, but none of its payouts is without an answer",
                        lease.batch
                    )));
                }
                sqlx::query(
                    "-- attempt_insert
                     INSERT INTO attempt (batch_id, n, tenant_id, epoch, worker, opened_at, may_arrive_until)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                )
                .bind(lease.batch.0)
                .bind(attempt)
                .bind(tenant)
                .bind(lease.epoch.0)
                .bind(&worker)
                .bind(now)
                .bind(now + rail.dead_after())
                .execute(&mut *tx)
                .await
                .step("attempt_insert")?;
                let attempt = AttemptNo(attempt);
                let mark = Mark { generation: standing.generation, batch: lease.batch, attempt, opened_at: now };
                let expires_at = now + rail.request_lifetime;
                Ok(Tried::Known(Ok((Intent { attempt, expires_at, orders, is_probe, is_watched }, mark))))
            })
        })
        .await
    }
}

/// Attempts whose lifetime is over, and which the rail does not know, never were.
pub(crate) async fn attempts_supersede(tx: &mut PgConnection, batch: BatchId) -> Result<(), StoreError> {
    sqlx::query(concat!(
        "-- attempts_supersede
         UPDATE attempt SET result = 'superseded', closed_at = coalesce(closed_at, clock_timestamp())
          WHERE batch_id = $1 AND ",
        alive!("attempt"),
        " AND may_arrive_until < clock_timestamp()"
    ))
    .bind(batch.0)
    .execute(tx)
    .await
    .step("attempts_supersede")?;
    Ok(())
}
