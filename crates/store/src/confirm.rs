//! What else needs two people, since it frees money: a return that only a file tells of, and an account whose payment
//! was proven too late.

use payfleet_domain::{AffiliateId, Currency, Effect, Money, PayoutId, RunId, SamePerson, TenantId, TokenHash};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use crate::batch::{batch_lock, batch_of, currency};
use crate::connect::{Step, Store, StoreError, detached};
use crate::decision::{Subject, WordRow, word_say, words_about};
use crate::movement::{movement_confirm, runs_have_news};
use crate::outcomes::payouts_count;
use crate::people::{WhoError, person_decides};

/// A return that a file tells of, and that counts only when two people have confirmed it.
#[derive(Debug, Clone)]
pub struct WaitingReturn {
    /// Its number.
    pub id: i64,
    /// Of which tenant.
    pub tenant_name: String,
    /// Which payout came back.
    pub payout: PayoutId,
    /// Of which run.
    pub run: RunId,
    /// The tenant's own name for the affiliate.
    pub affiliate: String,
    /// The rail's name for the return.
    pub reference: String,
    /// How much came back, in minor units.
    pub amount_minor: i64,
    /// In which currency, as the file says it.
    pub currency: String,
    /// When, by the rail's clock, where the file says so.
    pub at: Option<OffsetDateTime>,
    /// When the file was read.
    pub seen_at: OffsetDateTime,
    /// What people have said.
    pub words: Vec<WordRow>,
}

/// An account that no plan pays until two people have looked.
#[derive(Debug, Clone)]
pub struct Contest {
    /// Its number.
    pub id: i64,
    /// Of which tenant.
    pub tenant_name: String,
    /// Whose account.
    pub affiliate: AffiliateId,
    /// The tenant's own name for them.
    pub affiliate_name: String,
    /// The account's currency.
    pub currency: Currency,
    /// What is left over in it: below zero is owed to the tenant.
    pub carried: Money,
    /// The payout that was proven too late.
    pub payout: PayoutId,
    /// Since when.
    pub opened_at: OffsetDateTime,
    /// What people have said.
    pub words: Vec<WordRow>,
}

/// What a word did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The number of what it is about.
    pub number: i64,
    /// Whether it is carried out or waits for a second person.
    pub effect: Effect,
    /// Who said it.
    pub by: String,
}

/// Why a word was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// No return waits under this number.
    #[error("no return waits under the number {0}; `statements list` shows those that do")]
    NotWaiting(i64),
    /// Several wait for one payout.
    #[error("several returns of payout {payout} wait: name one of {ids:?}")]
    Several {
        /// Which.
        payout: PayoutId,
        /// The numbers of its returns.
        ids: Vec<i64>,
    },
    /// Nothing is contested under this number.
    #[error("no account is contested under the number {0}; `contests list` shows those that are")]
    NotContested(i64),
    /// Who says so has no say.
    #[error(transparent)]
    Who(#[from] WhoError),
    /// The same person twice.
    #[error("{0} has said this already; a second person must say the same")]
    SamePerson(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Returns that wait for people, oldest first.
    pub async fn returns_waiting(&self, limit: i64) -> Result<Vec<WaitingReturn>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let read = "returns_waiting";
            let rows = sqlx::query(
                "-- returns_waiting
                 SELECT m.id, t.name AS tenant_name, m.payout_id, a.external_id, m.reference, m.amount_minor,
                   m.currency,
                        m.at, m.seen_at
                   FROM movement_known m JOIN payout p ON p.id = m.payout_id
                   JOIN affiliate a ON a.id = p.affiliate_id AND a.tenant_id = p.tenant_id
                   JOIN tenant t ON t.id = m.tenant_id
                  WHERE NOT m.counts ORDER BY m.id LIMIT $1",
            )
            .bind(limit)
            .fetch_all(&pool)
            .await
            .step(read)?;
            let ids: Vec<i64> = rows.iter().map(|row| row.try_get("id").step(read)).collect::<Result<_, _>>()?;
            let mut words = words_about(&pool, "movement", &ids).await?;
            let waiting = |row: &PgRow| {
                let id = row.try_get("id").step(read)?;
                let payout = PayoutId(row.try_get("payout_id").step(read)?);
                Ok(WaitingReturn {
                    id,
                    tenant_name: row.try_get("tenant_name").step(read)?,
                    payout,
                    run: payout.run(),
                    affiliate: row.try_get("external_id").step(read)?,
                    reference: row.try_get("reference").step(read)?,
                    amount_minor: row.try_get("amount_minor").step(read)?,
                    currency: row.try_get("currency").step(read)?,
                    at: row.try_get("at").step(read)?,
                    seen_at: row.try_get("seen_at").step(read)?,
                    words: words.remove(&id).unwrap_or_default(),
                })
            };
            rows.iter().map(waiting).collect()
        })
        .await
    }

    /// Confirms a return, by its number or that of its payout: the first person's word waits, and that of a second
    /// makes it count.
    pub async fn return_confirm(&self, number: i64, by: TokenHash) -> Result<Heard, ConfirmError> {
        self.transaction("return_confirm", move |tx| Box::pin(return_confirm(tx, number, by))).await?
    }

    /// Accounts that are contested, oldest first.
    pub async fn contests_list(&self, limit: i64) -> Result<Vec<Contest>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let read = "contests_list";
            let rows = sqlx::query(
                "-- contests_list
                 SELECT c.id, t.name AS tenant_name, c.affiliate_id, a.external_id, c.currency, c.payout_id,
                   c.opened_at,
                        coalesce(k.carried_minor, 0) AS carried_minor
                   FROM contest c JOIN affiliate a ON a.id = c.affiliate_id AND a.tenant_id = c.tenant_id
                   JOIN tenant t ON t.id = c.tenant_id
                   LEFT JOIN account k ON k.tenant_id = c.tenant_id AND k.affiliate_id = c.affiliate_id
                                      AND k.currency = c.currency
                  WHERE c.closed_at IS NULL ORDER BY c.id LIMIT $1",
            )
            .bind(limit)
            .fetch_all(&pool)
            .await
            .step(read)?;
            let ids: Vec<i64> = rows.iter().map(|row| row.try_get("id").step(read)).collect::<Result<_, _>>()?;
            let mut words = words_about(&pool, "contest", &ids).await?;
            let contest = |row: &PgRow| {
                let id = row.try_get("id").step(read)?;
                let currency = currency(row, "currency")?;
                Ok(Contest {
                    id,
                    tenant_name: row.try_get("tenant_name").step(read)?,
                    affiliate: AffiliateId(row.try_get("affiliate_id").step(read)?),
                    affiliate_name: row.try_get("external_id").step(read)?,
                    currency,
                    carried: Money { minor: row.try_get("carried_minor").step(read)?, currency },
                    payout: PayoutId(row.try_get("payout_id").step(read)?),
                    opened_at: row.try_get("opened_at").step(read)?,
                    words: words.remove(&id).unwrap_or_default(),
                })
            };
            rows.iter().map(contest).collect()
        })
        .await
    }

    /// Says that a contested account may be paid again; it is when a second person says the same.
    pub async fn contest_clear(&self, contest: i64, by: TokenHash) -> Result<Heard, ConfirmError> {
        let heard = self.transaction("contest_clear", move |tx| Box::pin(contest_clear(tx, contest, by))).await?;
        let heard = heard?;
        if heard.effect == Effect::Agrees {
            self.contested_let_go().await?;
        }
        Ok(heard)
    }
}

/// Numbers of payouts begin here: that of the first run in their upper half.
const FIRST_PAYOUT: i64 = 1 << 32;

async fn return_confirm(
    tx: &mut PgConnection,
    number: i64,
    by: TokenHash,
) -> Result<Result<Heard, ConfirmError>, StoreError> {
    let waiting: Vec<(i64, i64, i32)> = sqlx::query_as(
        "-- return_find
         SELECT id, payout_id, tenant_id FROM movement_known
          WHERE NOT counts AND CASE WHEN $1 < $2 THEN id = $1 ELSE payout_id = $1 END ORDER BY id",
    )
    .bind(number)
    .bind(FIRST_PAYOUT)
    .fetch_all(&mut *tx)
    .await
    .step("return_find")?;
    let tenant = waiting.first().map(|(_, _, tenant)| TenantId(*tenant));
    let person = match person_decides(tx, by, tenant).await? {
        Ok(person) => person,
        Err(who) => return Ok(Err(who.into())),
    };
    let (id, payout, tenant) = match waiting[..] {
        [] => return Ok(Err(ConfirmError::NotWaiting(number))),
        [(id, payout, tenant)] => (id, PayoutId(payout), TenantId(tenant)),
        _ => {
            let ids = waiting.into_iter().map(|(id, _, _)| id).collect();
            return Ok(Err(ConfirmError::Several { payout: PayoutId(number), ids }));
        }
    };
    if let Some((batch, _)) = batch_of(tx, payout).await? {
        batch_lock(tx, batch).await?;
    }
    let waits: Option<bool> =
        sqlx::query_scalar("-- return_lock\nSELECT true FROM movement WHERE id = $1 AND NOT counts FOR UPDATE")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await
            .step("return_lock")?;
    if waits.is_none() {
        return Ok(Err(ConfirmError::NotWaiting(number)));
    }
    let effect = match word_say(tx, &person, tenant, Subject::Movement(id), "confirm", "").await? {
        Ok((effect, _)) => effect,
        Err(SamePerson) => return Ok(Err(ConfirmError::SamePerson(person.name))),
    };
    if effect == Effect::Agrees {
        movement_confirm(tx, id).await?;
        payouts_count(tx, &[payout.0]).await?;
    }
    Ok(Ok(Heard { number: id, effect, by: person.name }))
}

async fn contest_clear(
    tx: &mut PgConnection,
    contest: i64,
    by: TokenHash,
) -> Result<Result<Heard, ConfirmError>, StoreError> {
    let tenant: Option<i32> = sqlx::query_scalar(
        "-- contest_find\nSELECT tenant_id FROM contest WHERE id = $1 AND closed_at IS NULL FOR UPDATE",
    )
    .bind(contest)
    .fetch_optional(&mut *tx)
    .await
    .step("contest_find")?;
    let tenant = tenant.map(TenantId);
    let person = match person_decides(tx, by, tenant).await? {
        Ok(person) => person,
        Err(who) => return Ok(Err(who.into())),
    };
    let Some(tenant) = tenant else { return Ok(Err(ConfirmError::NotContested(contest))) };
    let effect = match word_say(tx, &person, tenant, Subject::Contest(contest), "clear", "").await? {
        Ok((effect, _)) => effect,
        Err(SamePerson) => return Ok(Err(ConfirmError::SamePerson(person.name))),
    };
    if effect == Effect::Agrees {
        let payout: i64 = sqlx::query_scalar(
            "-- contest_close\nUPDATE contest SET closed_at = clock_timestamp() WHERE id = $1 RETURNING payout_id",
        )
        .bind(contest)
        .fetch_one(&mut *tx)
        .await
        .step("contest_close")?;
        // What they have looked at speaks against its run no more.
        runs_have_news(tx, [PayoutId(payout).run()]).await?;
    }
    Ok(Ok(Heard { number: contest, effect, by: person.name }))
}
