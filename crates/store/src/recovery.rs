//! Bringing a database up to date that lost what it had confirmed: it does not know what was sent, and rails do.
//!
//! Whatever is open in it counts as perhaps sent, from when its run was there on, by requests that nobody here knows
//! of. So it is resolved as each rail's class says, like any other unknown: by the same key while that is certain, by a
//! lookup when the requests are dead, or by two people. Before that the statements are read, and tell most of it; and
//! two people say that the fleet may go on, with what they list and nobody here knows of.

mod doubted;

use payfleet_domain::{Act, Effect, HoldReason, KeyUnit, RAILS, Rail, RailClass, TenantId, TokenHash};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::connect::{Step, Store, StoreError};
use crate::decision::{Subject, WordRow, word_say, words_about};
use crate::generation::generations_lost;
use crate::hold::{Held, batch_settle_held, payouts_hold};
use crate::lease::interval;
use crate::people::{WhoError, person_decides};
use crate::reconcile::StatementAccount;
use crate::stray::{strays, strays_hold};
use doubted::{batches_doubt, numbers_go_on};

/// In place of the workers whose attempts are lost.
pub(crate) const LOST: &str = "before a recovery";

/// A recovery that is open.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// Its number.
    pub id: i64,
    /// Since when.
    pub opened_at: OffsetDateTime,
    /// Which program found it.
    pub found_by: String,
    /// What it misses.
    pub words: String,
    /// What people have said.
    pub said: Vec<WordRow>,
}

/// An account whose statement tells what was paid from it.
#[derive(Debug, Clone)]
pub struct RecoveryAccount {
    /// Which, and how it is asked.
    pub account: StatementAccount,
    /// Up to when its statement is known, by our clock.
    pub reaches: Option<OffsetDateTime>,
    /// By which file, and whose, if not by the rail itself.
    pub by_file: Option<String>,
    /// Up to when it must be: past all requests that nobody here knows of.
    pub wanted: OffsetDateTime,
    /// Whether it is.
    pub is_read: bool,
}

/// Payments on the statement of an account that no run knows: of runs that were lost, or somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Which rail.
    pub rail: String,
    /// The account there.
    pub account: String,
    /// How many.
    pub payments: i64,
    /// How many of them went to somebody whose account here is on hold because of it.
    pub held: i64,
}

/// What a word about a recovery did.
#[derive(Debug, Clone)]
pub struct RecoverySaid {
    /// Whether it waits for a second person, or the fleet goes on.
    pub effect: Effect,
    /// Who said it.
    pub by: String,
}

/// Why the fleet may not go on.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// Nothing is to be recovered.
    #[error("no recovery is open")]
    NotOpen,
    /// Who says so has no say.
    #[error(transparent)]
    Who(#[from] WhoError),
    /// The same person twice.
    #[error("{0} has said this already; a second person must say the same")]
    SamePerson(String),
    /// Statements do not reach far enough.
    #[error(
        "the statements do not reach far enough yet: {}; `payfleet-reconciler recover --wait` reads them",
        .0.iter()
            .map(|one| format!("{}/{} must reach past {}", one.account.rail, one.account.account, one.wanted))
            .collect::<Vec<_>>()
            .join(", ")
    )]
    NotRead(Vec<RecoveryAccount>),
    /// What a rail has accepted and does not list yet is on no statement.
    #[error(
        "these rails list a payment only when it is executed or claimed: {}. What they have accepted of a time that is \
         lost is on no statement: look there for what is pending, put whoever it goes to on hold (`affiliate hold`), \
         and say `recover --decide --pending-on-hold`",
        .0.join(", ")
    )]
    Pending(Vec<String>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Opens a recovery, if none is open. From then on nothing is planned, sent or freed. Returns whether it was not
    /// open before.
    pub async fn recovery_open(&self, found_by: &'static str, words: &str) -> Result<bool, StoreError> {
        let words = words.to_owned();
        self.transaction("recovery_open", move |tx| {
            let words = words.clone();
            Box::pin(async move {
                let opened = sqlx::query(
                    "-- recovery_open
                     INSERT INTO recovery (found_by, words) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                )
                .bind(found_by)
                .bind(words)
                .execute(tx)
                .await
                .step("recovery_open")?;
                Ok(opened.rows_affected() > 0)
            })
        })
        .await
    }

    /// The recovery that is open.
    pub async fn recovery_find(&self) -> Result<Option<Recovery>, StoreError> {
        let found = self.transaction("recovery_find", |tx| Box::pin(recovery_find(tx))).await?;
        let Some(mut recovery) = found else { return Ok(None) };
        recovery.said =
            words_about(&self.pool, "recovery", &[recovery.id]).await?.remove(&recovery.id).unwrap_or_default();
        Ok(Some(recovery))
    }

    /// Lets all that is open count as perhaps sent. Once for each recovery; `false` if none is open.
    pub async fn recovery_doubt(&self) -> Result<bool, StoreError> {
        self.transaction("recovery_doubt", |tx| {
            Box::pin(async move {
                let open: Option<(i64, bool)> = sqlx::query_as(
                    "-- recovery_lock
                     SELECT id, doubted_at IS NOT NULL FROM recovery WHERE closed_at IS NULL FOR UPDATE",
                )
                .fetch_optional(&mut *tx)
                .await
                .step("recovery_lock")?;
                let Some((id, is_doubted)) = open else { return Ok(false) };
                if !is_doubted {
                    numbers_go_on(tx).await?;
                    batches_doubt(tx).await?;
                    sqlx::query(
                        "-- recovery_doubted\nUPDATE recovery SET doubted_at = clock_timestamp() WHERE id = $1",
                    )
                    .bind(id)
                    .execute(tx)
                    .await
                    .step("recovery_doubted")?;
                }
                Ok(true)
            })
        })
        .await
    }

    /// Every account that anybody is paid from, with how far its statement must reach.
    pub async fn recovery_accounts(&self) -> Result<Vec<RecoveryAccount>, StoreError> {
        self.transaction("recovery_accounts", |tx| Box::pin(accounts(tx))).await
    }

    /// Payments that the statements list since the recovery was opened, and no run knows.
    pub async fn recovery_strays(&self) -> Result<Vec<Stray>, StoreError> {
        self.transaction("recovery_strays", |tx| Box::pin(strays(tx))).await
    }

    /// What a plan after a recovery needs: whoever was paid by a run that was lost is on hold, also by what statements
    /// have told since. Returns the account whose statement must reach further before anything is planned for the
    /// tenant: a bank may execute a file days after it got it, and of the files of a run that was lost nothing is known
    /// here; and of an account that the database had forgotten nothing is known at all.
    pub async fn recovery_plan_guard(&self, tenant: TenantId) -> Result<Option<RecoveryAccount>, StoreError> {
        self.transaction("recovery_plan_guard", move |tx| {
            Box::pin(async move {
                let any: bool = sqlx::query_scalar("-- recovery_any\nSELECT EXISTS (SELECT FROM recovery)")
                    .fetch_one(&mut *tx)
                    .await
                    .step("recovery_any")?;
                if !any {
                    return Ok(None);
                }
                strays_hold(tx).await?;
                accounts_wait(tx, tenant).await
            })
        })
        .await
    }

    /// Says that the fleet may go on; it does when a second person says the same. `pending_on_hold` says that whoever
    /// is to get what a rail has accepted and does not list yet is on hold: only people can find that out, at the
    /// rail.
    pub async fn recovery_decide(&self, by: TokenHash, pending_on_hold: bool) -> Result<RecoverySaid, RecoveryError> {
        // Also of generations that are gone with what was lost: whoever remembers them would find this database behind
        // for ever.
        let seen = match &self.memory {
            Some(memory) => memory.seen().await.map_err(StoreError::Memory)?,
            None => Vec::new(),
        };
        let generations: Vec<Uuid> = seen.into_iter().map(|mark| mark.generation).collect();
        self.transaction("recovery_decide", move |tx| {
            let generations = generations.clone();
            Box::pin(async move { decide(tx, by, pending_on_hold, &generations).await })
        })
        .await?
    }
}

async fn recovery_find(tx: &mut PgConnection) -> Result<Option<Recovery>, StoreError> {
    let read = "recovery_find";
    let row = sqlx::query(
        "-- recovery_find\nSELECT id, opened_at, found_by, words FROM recovery WHERE closed_at IS NULL FOR UPDATE",
    )
    .fetch_optional(tx)
    .await
    .step(read)?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Recovery {
        id: row.try_get("id").step(read)?,
        opened_at: row.try_get("opened_at").step(read)?,
        found_by: row.try_get("found_by").step(read)?,
        words: row.try_get("words").step(read)?,
        said: Vec::new(),
    }))
}

/// Up to when an account's statement is known: by the rail itself, or, where `$may_be_file`, by what approvers of all
/// tenants have handed in under their names, without a gap: so many of them besides one.
macro_rules! reaches {
    ($of:literal, $may_be_file:literal, $besides_one:literal) => {
        concat!(
            "SELECT greatest(o.reaches_ours, f.reaches) AS reaches,
                    CASE WHEN f.reaches > o.reaches_ours THEN f.name END AS by_file
               FROM rail_account o
               LEFT JOIN LATERAL (
                 SELECT max(p.until_at) - interval '1 minute' AS reaches,
                        (array_agg(p.name ORDER BY p.until_at DESC))[1] || ' of ' || w.name AS name
                   FROM statement_part p JOIN person w ON w.id = p.person_id
                  WHERE p.account_id = o.id AND p.source = 'file' AND p.goes_on AND w.role = 'approver'
                    AND w.tenant_id IS NULL AND w.revoked_at IS NULL AND ",
            $may_be_file,
            " GROUP BY w.id, w.name ORDER BY 1 DESC OFFSET ",
            $besides_one,
            " LIMIT 1) AS f ON true
              WHERE o.rail = ",
            $of,
            ".rail AND o.account = ",
            $of,
            ".account"
        )
    };
}

/// Also by files, since the two who decide see whose they are: an account that the rail has closed could not be read
/// otherwise.
async fn accounts(tx: &mut PgConnection) -> Result<Vec<RecoveryAccount>, StoreError> {
    let read = "recovery_accounts";
    let listed = || RAILS.iter().filter(|rail| rail.has_statement);
    // What a bank may execute days later is not waited for: it is never sent again, and held until a statement or
    // people tell.
    let waited = |rail: &Rail| match rail.class {
        RailClass::Key { .. } | RailClass::Lookup | RailClass::KeyAndLookup { .. } => rail.dead_after(),
        RailClass::Neither => std::time::Duration::ZERO,
    };
    let rows = sqlx::query(concat!(
        "-- recovery_accounts
         SELECT DISTINCT ON (u.rail, u.account) u.rail, u.account, u.credential,
           nullif(a.reaches, '-infinity') AS reaches, a.by_file,
                coalesce(o.doubted_at, o.opened_at) + known.waited AS wanted,
                coalesce(a.reaches >= coalesce(o.doubted_at, o.opened_at) + known.waited, false) AS is_read
           FROM recovery o,
                (SELECT rail, account, credential, id FROM batch
                  -- As they are named, and as they were named when the recovery began.
                  UNION ALL SELECT rail, account, credential, NULL FROM tenant_account
                   WHERE left_at IS NULL OR left_at >= (SELECT opened_at FROM recovery WHERE closed_at IS NULL)
                  UNION ALL SELECT rail, account, NULL, NULL FROM rail_account) AS u
           JOIN unnest($1::text[], $2::interval[]) AS known (rail, waited) ON known.rail = u.rail
           LEFT JOIN LATERAL (",
        reaches!("u", "true", "0"),
        ") AS a ON true
          WHERE o.closed_at IS NULL
          ORDER BY u.rail, u.account, u.credential IS NULL, u.id DESC NULLS LAST"
    ))
    .bind(listed().map(|rail| rail.name).collect::<Vec<_>>())
    .bind(listed().map(|rail| interval(waited(rail))).collect::<Vec<_>>())
    .fetch_all(tx)
    .await
    .step(read)?;
    rows.iter().map(|row| account_read(row, row.try_get("is_read").step(read)?)).collect()
}

/// What travels under a batch key was perhaps cut before it was sent, by a control or a split that is lost with the
/// rest: then it went under keys that nobody here knows, and the rail would take the whole for something new. So it is
/// neither sent nor asked for again. What the statements list of it is paid; of the rest they tell later, or two people
/// do. A single payout cannot be cut.
async fn batches_hold(tx: &mut PgConnection) -> Result<(), StoreError> {
    let whole: Vec<&str> = RAILS.iter().filter(|rail| rail.key_unit == KeyUnit::Batch).map(|rail| rail.name).collect();
    let doubted: Vec<(i64, i64, i64)> = sqlx::query_as(
        "-- recovery_batches_doubted
         SELECT b.id, b.first_payout_id, b.last_payout_id FROM batch b
          WHERE b.state = 'sending' AND b.rail = ANY($1) AND b.payouts > 1
            AND EXISTS (SELECT FROM attempt a WHERE a.batch_id = b.id AND a.worker = $2)
          ORDER BY b.id",
    )
    .bind(whole)
    .bind(LOST)
    .fetch_all(&mut *tx)
    .await
    .step("recovery_batches_doubted")?;
    let payouts = doubted.iter().flat_map(|(_, first, last)| *first..=*last);
    let why = "before the recovery it was perhaps sent apart from its batch";
    payouts_hold(tx, &Held::all(payouts, HoldReason::StoppedInDoubt, Some(why))).await?;
    for (batch, ..) in doubted {
        batch_settle_held(tx, batch).await?;
    }
    Ok(())
}

/// The first of the tenant's accounts whose statement is not read so far. Those that were known at the recovery are,
/// but for banks; one that this database had forgotten, and was named again since, has never been read. Of banks alone
/// files count here, of two approvers: nobody decides about it any more.
async fn accounts_wait(tx: &mut PgConnection, tenant: TenantId) -> Result<Option<RecoveryAccount>, StoreError> {
    let read = "recovery_accounts_wait";
    let listed = || RAILS.iter().filter(|rail| rail.has_statement);
    let row = sqlx::query(concat!(
        "-- recovery_accounts_wait
         SELECT t.rail, t.account, t.credential, nullif(a.reaches, '-infinity') AS reaches, a.by_file,
           o.doubted_at + known.dead_after AS wanted
           FROM (SELECT opened_at, doubted_at FROM recovery ORDER BY id DESC LIMIT 1) AS o
           JOIN tenant_account t ON t.left_at IS NULL OR t.left_at >= o.opened_at
           JOIN unnest($2::text[], $3::interval[], $4::bool[]) AS known (rail, dead_after, is_asked)
             ON known.rail = t.rail
           LEFT JOIN LATERAL (",
        reaches!("t", "NOT known.is_asked", "1"),
        ") AS a ON true
          WHERE t.tenant_id = $1 AND (a.reaches >= o.doubted_at + known.dead_after) IS NOT TRUE
            ORDER BY t.rail, t.account LIMIT 1"
    ))
    .bind(tenant.0)
    .bind(listed().map(|rail| rail.name).collect::<Vec<_>>())
    .bind(listed().map(|rail| interval(rail.dead_after())).collect::<Vec<_>>())
    .bind(listed().map(Rail::lists_itself).collect::<Vec<_>>())
    .fetch_optional(tx)
    .await
    .step(read)?;
    row.map(|row| account_read(&row, false)).transpose()
}

fn account_read(row: &PgRow, is_read: bool) -> Result<RecoveryAccount, StoreError> {
    let read = "recovery_account";
    Ok(RecoveryAccount {
        account: StatementAccount {
            rail: row.try_get("rail").step(read)?,
            account: row.try_get("account").step(read)?,
            credential: row.try_get("credential").step(read)?,
        },
        reaches: row.try_get("reaches").step(read)?,
        by_file: row.try_get("by_file").step(read)?,
        wanted: row.try_get("wanted").step(read)?,
        is_read,
    })
}

async fn decide(
    tx: &mut PgConnection,
    by: TokenHash,
    pending_on_hold: bool,
    generations: &[Uuid],
) -> Result<Result<RecoverySaid, RecoveryError>, StoreError> {
    let person = match person_decides(tx, by, None).await? {
        Ok(person) => person,
        Err(who) => return Ok(Err(who.into())),
    };
    // Everybody's money is decided about.
    if let Err(not) = person.may(Act::Decide, None) {
        return Ok(Err(WhoError::from(not).into()));
    }
    let Some(recovery) = recovery_find(tx).await? else { return Ok(Err(RecoveryError::NotOpen)) };
    let (read, unread): (Vec<_>, Vec<_>) = accounts(tx).await?.into_iter().partition(|account| account.is_read);
    if !unread.is_empty() {
        return Ok(Err(RecoveryError::NotRead(unread)));
    }
    let lists_late = |one: &&RecoveryAccount| Rail::named(&one.account.rail).is_ok_and(|rail| rail.lists_late);
    let late: Vec<String> =
        read.iter().filter(lists_late).map(|one| format!("{}/{}", one.account.rail, one.account.account)).collect();
    if !late.is_empty() && !pending_on_hold {
        return Ok(Err(RecoveryError::Pending(late)));
    }
    let (effect, word) = match word_say(tx, &person, None, Subject::Recovery(recovery.id), "recover", "").await? {
        Ok(said) => said,
        Err(payfleet_domain::SamePerson) => return Ok(Err(RecoveryError::SamePerson(person.name))),
    };
    if effect == Effect::Agrees {
        strays_hold(tx).await?;
        batches_hold(tx).await?;
        generations_lost(tx, generations).await?;
        sqlx::query(
            "-- recovery_close
             WITH begun AS (
               INSERT INTO generation (no, key) SELECT max(no) + 1, $3 FROM generation RETURNING no)
             UPDATE recovery SET closed_at = clock_timestamp(), decided_by = $2, generation = begun.no FROM begun
               WHERE id = $1",
        )
        .bind(recovery.id)
        .bind(word)
        .bind(Uuid::new_v4())
        .execute(tx)
        .await
        .step("recovery_close")?;
    }
    Ok(Ok(RecoverySaid { effect, by: person.name }))
}
