//! What stands between an affiliate and its money: balances, ways to be paid, who holds it, what became of it in the
//! last runs.

use payfleet_domain::{AffiliateId, Currency, Money, PayoutId, RunId, TenantId};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use super::decided::{Decided, Obstacle};
use crate::batch::currency;
use crate::connect::{Step, Store, StoreError, detached};
use crate::recovery::RECOVERED;

/// An affiliate, as it is shown.
#[derive(Debug, Clone)]
pub struct AffiliateView {
    /// The tenant's own name for it.
    pub affiliate: String,
    /// How it is called.
    pub name: String,
    /// Its country.
    pub country: String,
    /// The currency of its data.
    pub currency: Currency,
    /// By currency.
    pub balances: Vec<Balance>,
    /// Where it can be paid, in the order in which the ways are tried.
    pub methods: Vec<MethodView>,
    /// Between which amounts.
    pub limits: Vec<LimitView>,
    /// Who holds it, or a payout of it.
    pub placed: Vec<Placed>,
    /// What became of it in its tenant's last runs, the newest first.
    pub runs: Vec<InRun>,
    /// A recovery is open: nothing is planned or sent.
    pub is_recovering: bool,
}

/// What an affiliate has in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// What is due by now; below zero it owes that.
    pub due: Money,
    /// What was earned and is not due yet.
    pub not_yet_due_minor: i128,
    /// What is in payouts that are not over.
    pub reserved_minor: i128,
    /// All that keeps a run that was planned now from paying it; none if it would be paid, or if nothing is due.
    pub obstacles: Vec<Obstacle>,
}

/// Where an affiliate can be paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodView {
    /// The tenant's name for the method.
    pub method: String,
    /// Where to.
    pub destination: String,
    /// The lowest is tried first.
    pub priority: i16,
    /// Whether it may be used.
    pub usable: bool,
    /// The rail and the account there that the tenant uses for it, if any.
    pub rail: Option<(String, String)>,
}

/// Between which amounts a method is used, in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitView {
    /// The tenant's name for the method.
    pub method: String,
    /// In which currency.
    pub currency: Currency,
    /// The least.
    pub min_minor: Option<i64>,
    /// The most.
    pub max_minor: Option<i64>,
}

/// Who holds money back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhoPlaced {
    /// A file of affiliates, with `on_hold`. When is not kept.
    File,
    /// Somebody, with `affiliate hold` or `payout stop`.
    Person,
    /// A recovery, since a payment of it is known that no run knows.
    Recovery,
    /// Late proof of a payment.
    Contest,
    /// The fleet, which cannot find out more.
    Fleet,
}

/// A hold of an affiliate, or of one payout of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Who.
    pub by: WhoPlaced,
    /// Since when, where it is known.
    pub since: Option<OffsetDateTime>,
    /// Why, in the words of whoever placed it; or the reason code.
    pub why: String,
    /// Of which payout, if not of all.
    pub payout: Option<PayoutId>,
}

/// What became of an account in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InRun {
    /// In which.
    pub run: RunId,
    /// For which month.
    pub period: String,
    /// 1, or more for a further run of the month.
    pub sequence: i16,
    /// The payout; `None`: it was excluded.
    pub payout: Option<PayoutId>,
    /// How much.
    pub amount: Money,
    /// The payout's state, or `excluded`.
    pub state: String,
    /// Why it was refused, is held, or was excluded.
    pub code: Option<String>,
    /// The rail's name for the payment.
    pub reference: Option<String>,
    /// When it was proven paid.
    pub settled_at: Option<OffsetDateTime>,
}

/// So far ahead commissions are looked for that are not due yet: longer than a hold period may be.
const MONTHS_AHEAD: i32 = 24;

impl Store {
    /// An affiliate of a tenant. `minimum` is that of the run that is asked about, if one has been planned before: else
    /// of this. `runs` is how many are shown.
    pub async fn affiliate_view(
        &self,
        tenant: TenantId,
        affiliate: &str,
        minimum: Decimal,
        runs: i64,
    ) -> Result<Option<AffiliateView>, StoreError> {
        let (pool, wanted) = (self.pool.clone(), affiliate.to_owned());
        let found = detached(async move {
            let mut connection = pool.acquire().await.step("affiliate_view")?;
            let row = sqlx::query(
                "-- affiliate_view
                 SELECT a.id, a.external_id, a.name, a.country, a.currency,
                        EXISTS (SELECT FROM recovery WHERE closed_at IS NULL) AS is_recovering
                   FROM affiliate a WHERE a.tenant_id = $1 AND a.external_id = $2",
            )
            .bind(tenant.0)
            .bind(&wanted)
            .fetch_optional(&mut *connection)
            .await
            .step("affiliate_view")?;
            let Some(row) = row else { return Ok(None) };
            let read = "affiliate_view";
            let id = AffiliateId(row.try_get("id").step(read)?);
            let view = AffiliateView {
                affiliate: row.try_get("external_id").step(read)?,
                name: row.try_get("name").step(read)?,
                country: row.try_get("country").step(read)?,
                currency: currency(&row, "currency")?,
                balances: balances(&mut connection, tenant, id).await?,
                methods: methods(&mut connection, tenant, id).await?,
                limits: limits(&mut connection, tenant, id).await?,
                placed: placed(&mut connection, tenant, id).await?,
                runs: in_runs(&mut connection, tenant, id, runs).await?,
                is_recovering: row.try_get("is_recovering").step(read)?,
            };
            Ok(Some((id, view)))
        })
        .await?;
        let Some((id, mut view)) = found else { return Ok(None) };
        for Decided { amount, obstacles, .. } in self.decided_now(tenant, id.0, minimum).await? {
            match view.balances.iter_mut().find(|balance| balance.due.currency == amount.currency) {
                Some(balance) => (balance.due, balance.obstacles) = (amount, obstacles),
                // Earned meanwhile.
                None => view.balances.push(Balance { due: amount, not_yet_due_minor: 0, reserved_minor: 0, obstacles }),
            }
        }
        Ok(Some(view))
    }
}

/// The accounts; what is due of them is asked later.
async fn balances(
    connection: &mut PgConnection,
    tenant: TenantId,
    affiliate: AffiliateId,
) -> Result<Vec<Balance>, StoreError> {
    let read = "affiliate_balances";
    let rows = sqlx::query(
        "-- affiliate_balances
         WITH now AS MATERIALIZED (
           SELECT clock_timestamp() AS at, (extract(year FROM clock_timestamp() AT TIME ZONE 'UTC') * 12
                  + extract(month FROM clock_timestamp() AT TIME ZONE 'UTC') - 1)::int AS month)
         SELECT k.currency,
                coalesce((SELECT sum(c.amount_minor) FROM commission c
                  WHERE c.tenant_id = $1 AND c.affiliate_id = $2 AND c.currency = k.currency AND c.late_for IS NULL
                    AND c.due_month = ANY(ARRAY(SELECT generate_series(now.month, now.month + $3)))
                    AND c.due_at > now.at), 0)::text AS not_yet_due,
                coalesce((SELECT sum(p.amount_minor) FROM run r
                    JOIN payout p ON p.run_id = r.id AND p.affiliate_id = $2 AND p.currency = k.currency
                  WHERE r.tenant_id = $1
                    AND p.state IN ('planned', 'accepted', 'unknown', 'held')), 0)::text AS reserved
           FROM now, account k WHERE k.tenant_id = $1 AND k.affiliate_id = $2 ORDER BY k.currency",
    )
    .bind(tenant.0)
    .bind(affiliate.0)
    .bind(MONTHS_AHEAD)
    .fetch_all(connection)
    .await
    .step(read)?;
    let balance = |row: &PgRow| {
        let sum = |column: &str| {
            let text: String = row.try_get(column).step(read)?;
            text.parse::<i128>().map_err(|error| StoreError::Broken(format!("a sum of `{text}`: {error}")))
        };
        Ok(Balance {
            due: Money { minor: 0, currency: currency(row, "currency")? },
            not_yet_due_minor: sum("not_yet_due")?,
            reserved_minor: sum("reserved")?,
            obstacles: Vec::new(),
        })
    };
    rows.iter().map(balance).collect()
}

async fn methods(
    connection: &mut PgConnection,
    tenant: TenantId,
    affiliate: AffiliateId,
) -> Result<Vec<MethodView>, StoreError> {
    let read = "affiliate_methods";
    let rows = sqlx::query(
        "-- affiliate_methods
         SELECT m.method, m.destination, m.priority, m.usable, t.rail, t.account
           FROM payout_method m LEFT JOIN tenant_rail t ON t.tenant_id = m.tenant_id AND t.method = m.method
          WHERE m.tenant_id = $1 AND m.affiliate_id = $2 AND m.retired_at IS NULL ORDER BY m.priority",
    )
    .bind(tenant.0)
    .bind(affiliate.0)
    .fetch_all(connection)
    .await
    .step(read)?;
    let method = |row: &PgRow| {
        let rail: Option<String> = row.try_get("rail").step(read)?;
        Ok(MethodView {
            method: row.try_get("method").step(read)?,
            destination: row.try_get("destination").step(read)?,
            priority: row.try_get("priority").step(read)?,
            usable: row.try_get("usable").step(read)?,
            rail: rail.zip(row.try_get("account").step(read)?),
        })
    };
    rows.iter().map(method).collect()
}

async fn limits(
    connection: &mut PgConnection,
    tenant: TenantId,
    affiliate: AffiliateId,
) -> Result<Vec<LimitView>, StoreError> {
    let read = "affiliate_limits";
    let rows = sqlx::query(
        "-- affiliate_limits
         SELECT method, currency, min_minor, max_minor FROM payout_limit
          WHERE tenant_id = $1 AND affiliate_id = $2 ORDER BY method, currency",
    )
    .bind(tenant.0)
    .bind(affiliate.0)
    .fetch_all(connection)
    .await
    .step(read)?;
    let limit = |row: &PgRow| {
        Ok(LimitView {
            method: row.try_get("method").step(read)?,
            currency: currency(row, "currency")?,
            min_minor: row.try_get("min_minor").step(read)?,
            max_minor: row.try_get("max_minor").step(read)?,
        })
    };
    rows.iter().map(limit).collect()
}

async fn placed(
    connection: &mut PgConnection,
    tenant: TenantId,
    affiliate: AffiliateId,
) -> Result<Vec<Placed>, StoreError> {
    let read = "affiliate_placed";
    let rows = sqlx::query(
        "-- affiliate_placed
         SELECT 'affiliate' AS what, c.reason AS why, c.set_at AS since, NULL::bigint AS payout_id
           FROM affiliate a LEFT JOIN control c ON c.affiliate_id = a.id AND c.lifted_at IS NULL
          WHERE a.tenant_id = $1 AND a.id = $2 AND a.on_hold
          UNION ALL
         SELECT 'contest', 'payout ' || payout_id || ' was proven paid after its money was due again',
                opened_at, payout_id
           FROM contest WHERE tenant_id = $1 AND affiliate_id = $2 AND closed_at IS NULL
          UNION ALL
         SELECT 'stop', c.reason, c.set_at, c.payout_id
           FROM run r JOIN payout p ON p.run_id = r.id AND p.affiliate_id = $2
           JOIN control c ON c.payout_id = p.id AND c.lifted_at IS NULL WHERE r.tenant_id = $1
          UNION ALL
         SELECT CASE h.reason WHEN 'stopped' THEN 'held stop' WHEN 'on_hold' THEN 'held affiliate'
                              WHEN 'contested' THEN 'held contest' ELSE 'hold' END,
                concat_ws(': ', h.reason, h.note), h.opened_at, h.payout_id
           FROM run r JOIN payout p ON p.run_id = r.id AND p.affiliate_id = $2
           JOIN hold h ON h.payout_id = p.id AND h.resolved_at IS NULL WHERE r.tenant_id = $1
          ORDER BY since NULLS FIRST, payout_id",
    )
    .bind(tenant.0)
    .bind(affiliate.0)
    .fetch_all(connection)
    .await
    .step(read)?;
    let one = |row: &PgRow| {
        let what: String = row.try_get("what").step(read)?;
        let why: Option<String> = row.try_get("why").step(read)?;
        let by = match what.as_str() {
            // A hold of the affiliate without anybody's words is a file's.
            "affiliate" if why.is_none() => WhoPlaced::File,
            "affiliate" if why.as_deref().is_some_and(|why| why.contains(RECOVERED)) => WhoPlaced::Recovery,
            "contest" | "held contest" => WhoPlaced::Contest,
            "affiliate" | "stop" | "held stop" | "held affiliate" => WhoPlaced::Person,
            _ => WhoPlaced::Fleet,
        };
        Ok(Placed {
            by,
            since: row.try_get("since").step(read)?,
            why: why.unwrap_or_else(|| "on_hold in a file of affiliates".to_owned()),
            payout: row.try_get::<Option<i64>, _>("payout_id").step(read)?.map(PayoutId),
        })
    };
    rows.iter().map(one).collect()
}

async fn in_runs(
    connection: &mut PgConnection,
    tenant: TenantId,
    affiliate: AffiliateId,
    runs: i64,
) -> Result<Vec<InRun>, StoreError> {
    let read = "affiliate_in_runs";
    let rows = sqlx::query(
        "-- affiliate_in_runs
         WITH last AS (
           SELECT id, period, sequence FROM run WHERE tenant_id = $1 ORDER BY ordinal DESC LIMIT $3)
         SELECT r.id AS run_id, r.period, r.sequence, p.id AS payout_id, p.currency, p.amount_minor, p.state, p.code,
                p.reference, p.settled_at
           FROM last r JOIN payout p ON p.run_id = r.id AND p.affiliate_id = $2
          UNION ALL
         SELECT r.id, r.period, r.sequence, NULL, x.currency, x.amount_minor, 'excluded', x.reason, NULL, NULL
           FROM last r JOIN exclusion x ON x.run_id = r.id AND x.affiliate_id = $2
          ORDER BY run_id DESC, currency",
    )
    .bind(tenant.0)
    .bind(affiliate.0)
    .bind(runs)
    .fetch_all(connection)
    .await
    .step(read)?;
    let one = |row: &PgRow| {
        Ok(InRun {
            run: RunId(row.try_get("run_id").step(read)?),
            period: row.try_get("period").step(read)?,
            sequence: row.try_get("sequence").step(read)?,
            payout: row.try_get::<Option<i64>, _>("payout_id").step(read)?.map(PayoutId),
            amount: Money { minor: row.try_get("amount_minor").step(read)?, currency: currency(row, "currency")? },
            state: row.try_get("state").step(read)?,
            code: row.try_get("code").step(read)?,
            reference: row.try_get("reference").step(read)?,
            settled_at: row.try_get("settled_at").step(read)?,
        })
    };
    rows.iter().map(one).collect()
}
