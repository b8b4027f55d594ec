//! What the destinations of a tenant's methods are, how many use a method, and which method a rail has refused for
//! ever.

use std::collections::{BTreeSet, HashMap};

use payfleet_domain::{DestinationError, DestinationKind, MethodKinds, RefusalCode, TenantId};
use sqlx::PgConnection;

use crate::connect::{Step, Store, StoreError, detached};
use crate::payout::News;

/// Destinations that are looked at in one go when the kind of a method changes.
const PAGE: i64 = 10_000;

/// What saying a method's kind did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KindSaid {
    /// From now on its destinations are of that kind.
    Said,
    /// Nothing: destinations that are there would not be right any more.
    Refused {
        /// How many.
        destinations: u64,
        /// Whose the first of them is.
        affiliate: String,
        /// What is wrong with it; `None` if the affiliate would have one destination twice.
        why: Option<DestinationError>,
    },
}

/// A method and those who are paid by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodUse {
    /// Its name.
    pub method: String,
    /// How many affiliates have a destination of it.
    pub affiliates: i64,
}

impl Store {
    /// The kinds of a tenant's methods; if there is no such tenant, nothing was said of any.
    pub async fn method_kinds(&self, tenant: &str) -> Result<MethodKinds, StoreError> {
        let (pool, tenant) = (self.pool.clone(), tenant.to_owned());
        detached(async move {
            let said: Vec<(String, String)> = sqlx::query_as(
                "-- method_kinds
                 SELECT k.method, k.kind FROM tenant t JOIN tenant_method k ON k.tenant_id = t.id WHERE t.name = $1",
            )
            .bind(tenant)
            .fetch_all(&pool)
            .await
            .step("method_kinds")?;
            kinds(said)
        })
        .await
    }

    /// Says what a method's destinations are. Those that are there must be right as such.
    pub async fn method_kind_set(
        &self,
        tenant: TenantId,
        method: &str,
        kind: DestinationKind,
    ) -> Result<KindSaid, StoreError> {
        let method = method.to_owned();
        self.transaction("method_kind_set", move |tx| {
            let method = method.clone();
            Box::pin(async move { kind_set(tx, tenant.0, &method, kind).await })
        })
        .await
    }

    /// The methods that affiliates of a tenant are paid by.
    pub async fn methods_used(&self, tenant: TenantId) -> Result<Vec<MethodUse>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows: Vec<(String, i64)> = sqlx::query_as(
                "-- methods_used
                 SELECT method, count(DISTINCT affiliate_id) FROM payout_method
                  WHERE tenant_id = $1 AND retired_at IS NULL GROUP BY method ORDER BY method",
            )
            .bind(tenant.0)
            .fetch_all(&pool)
            .await
            .step("methods_used")?;
            Ok(rows.into_iter().map(|(method, affiliates)| MethodUse { method, affiliates }).collect())
        })
        .await
    }
}

fn kinds(said: Vec<(String, String)>) -> Result<MethodKinds, StoreError> {
    said.into_iter().map(|(method, kind)| Ok((method, kind_read(&kind)?))).collect()
}

fn kind_read(kind: &str) -> Result<DestinationKind, StoreError> {
    kind.parse().map_err(|unknown: payfleet_domain::UnknownKind| StoreError::Broken(unknown.to_string()))
}

/// The kinds of a tenant's methods, under the lock of its row that imports and changes of kinds take.
pub(crate) async fn kinds_read(tx: &mut PgConnection, tenant: i32) -> Result<MethodKinds, StoreError> {
    let said: Vec<(String, String)> =
        sqlx::query_as("-- method_kinds_locked\nSELECT method, kind FROM tenant_method WHERE tenant_id = $1")
            .bind(tenant)
            .fetch_all(tx)
            .await
            .step("method_kinds_locked")?;
    kinds(said)
}

/// What the destinations of these rows are.
pub(crate) async fn kinds_of(
    tx: &mut PgConnection,
    methods: &[i64],
) -> Result<HashMap<i64, DestinationKind>, StoreError> {
    if methods.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(i64, String, Option<String>)> = sqlx::query_as(
        "-- method_kinds_of
         SELECT m.id, m.method, k.kind
           FROM payout_method m LEFT JOIN tenant_method k ON k.tenant_id = m.tenant_id AND k.method = m.method
          WHERE m.id = ANY($1)",
    )
    .bind(methods)
    .fetch_all(tx)
    .await
    .step("method_kinds_of")?;
    rows.into_iter()
        .map(|(id, method, kind)| {
            let kind = kind.as_deref().map(kind_read).transpose()?;
            Ok((id, kind.unwrap_or_else(|| DestinationKind::of_method(&method))))
        })
        .collect()
}

/// A row of `payout_method`, as it is looked at when its kind changes.
type MethodRow = (i64, i64, String, String, Option<String>, bool);

async fn kind_set(
    tx: &mut PgConnection,
    tenant: i32,
    method: &str,
    kind: DestinationKind,
) -> Result<KindSaid, StoreError> {
    // No import of the tenant's is under way then, and the next one sees the new kind.
    sqlx::query("-- method_kind_lock\nSELECT FROM tenant WHERE id = $1 FOR NO KEY UPDATE")
        .bind(tenant)
        .execute(&mut *tx)
        .await
        .step("method_kind_lock")?;
    if let Some(refused) = kind_refused(tx, tenant, method, kind).await? {
        return Ok(refused);
    }
    let mut after = (i64::MIN, i64::MIN);
    while let Some((page, last)) = destinations_page(tx, tenant, method, after).await? {
        after = last;
        let (mut ids, mut compared) = (Vec::new(), Vec::new());
        for (_, id, _, destination, was, _) in page {
            let form = Some(kind.compared(&destination)).filter(|form| **form != *destination);
            let form = form.map(|form| form.into_owned());
            if form != was {
                ids.push(id);
                compared.push(form);
            }
        }
        sqlx::query(
            "-- method_compared
             UPDATE payout_method m SET compared = new.compared
               FROM unnest($1::bigint[], $2::text[]) AS new (id, compared) WHERE m.id = new.id",
        )
        .bind(ids)
        .bind(compared)
        .execute(&mut *tx)
        .await
        .step("method_compared")?;
    }
    sqlx::query(
        "-- method_kind_set
         INSERT INTO tenant_method (tenant_id, method, kind) VALUES ($1, $2, $3)
             ON CONFLICT (tenant_id, method) DO UPDATE SET kind = excluded.kind",
    )
    .bind(tenant)
    .bind(method)
    .bind(kind.as_str())
    .execute(tx)
    .await
    .step("method_kind_set")?;
    Ok(KindSaid::Said)
}

/// Which of the destinations that are there would not be right as this kind, if any.
async fn kind_refused(
    tx: &mut PgConnection,
    tenant: i32,
    method: &str,
    kind: DestinationKind,
) -> Result<Option<KindSaid>, StoreError> {
    let (mut first, mut destinations) = (None, 0);
    let mut after = (i64::MIN, i64::MIN);
    // Of the affiliate that was looked at last, whose rows may go on on the next page.
    let mut forms = (i64::MIN, BTreeSet::new());
    while let Some((page, last)) = destinations_page(tx, tenant, method, after).await? {
        after = last;
        for (affiliate, _, name, destination, _, is_live) in page {
            if !is_live {
                continue;
            }
            if forms.0 != affiliate {
                forms = (affiliate, BTreeSet::new());
            }
            let why = kind.check(&destination).err();
            if !forms.1.insert(kind.compared(&destination).into_owned()) || why.is_some() {
                destinations += 1;
                first.get_or_insert((name, why));
            }
        }
    }
    Ok(first.map(|(affiliate, why)| KindSaid::Refused { destinations, affiliate, why }))
}

/// The next destinations of a method, and where they end.
async fn destinations_page(
    tx: &mut PgConnection,
    tenant: i32,
    method: &str,
    after: (i64, i64),
) -> Result<Option<(Vec<MethodRow>, (i64, i64))>, StoreError> {
    let rows: Vec<MethodRow> = sqlx::query_as(
        "-- method_destinations
         SELECT m.affiliate_id, m.id, a.external_id, m.destination, m.compared, m.retired_at IS NULL
           FROM payout_method m JOIN affiliate a ON a.tenant_id = m.tenant_id AND a.id = m.affiliate_id
          WHERE m.tenant_id = $1 AND m.method = $2 AND (m.affiliate_id, m.id) > ($3, $4)
          ORDER BY m.affiliate_id, m.id LIMIT $5",
    )
    .bind(tenant)
    .bind(method)
    .bind(after.0)
    .bind(after.1)
    .bind(PAGE)
    .fetch_all(tx)
    .await
    .step("method_destinations")?;
    let last = rows.last().map(|last| (last.0, last.1));
    Ok(last.map(|last| (rows, last)))
}

/// A refusal that is for ever is one of the destination: no plan uses the method's row any more, with the rail's code
/// as the reason. Another destination of the payee's is another row.
pub(crate) async fn methods_close(tx: &mut PgConnection, refusals: &News) -> Result<(), StoreError> {
    let closed: Vec<i64> = refusals
        .ids
        .iter()
        .zip(&refusals.words)
        .filter(|(_, code)| RefusalCode::new(code).is_for_ever())
        .map(|(id, _)| *id)
        .collect();
    if closed.is_empty() {
        return Ok(());
    }
    // Only of payouts that are refused now: what came late of one that is paid says nothing of where it went.
    sqlx::query(
        "-- methods_close
         WITH refused AS (
           SELECT m.id, p.code FROM payout p JOIN payout_method m ON m.tenant_id = p.tenant_id AND m.id = p.method_id
            WHERE p.id = ANY($1) AND p.state = 'refused' AND m.usable ORDER BY m.id FOR NO KEY UPDATE OF m)
         UPDATE payout_method m SET usable = false, unusable_code = refused.code FROM refused WHERE m.id = refused.id",
    )
    .bind(closed)
    .execute(tx)
    .await
    .step("methods_close")?;
    Ok(())
}
