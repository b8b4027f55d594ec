//! The same payee: affiliates whose ids look alike, and destinations that several of them have, or had one after the
//! other.

use payfleet_domain::look_key;
use sqlx::postgres::PgConnection;

use super::suspicion::{SuspicionKind, Suspicions};
use crate::connect::{Step, StoreError};

/// So many at once.
const LOOKS_AT_ONCE: i64 = 10_000;

/// Notes how the ids of affiliates look who were imported by the version before.
pub(super) async fn looks_complete(tx: &mut PgConnection, tenant: i32) -> Result<(), StoreError> {
    let mut is_any = false;
    loop {
        let ids: Vec<(i64, String)> = sqlx::query_as(
            "-- affiliates_without_look
             SELECT id, external_id FROM affiliate WHERE tenant_id = $1 AND id_key IS NULL ORDER BY id LIMIT $2",
        )
        .bind(tenant)
        .bind(LOOKS_AT_ONCE)
        .fetch_all(&mut *tx)
        .await
        .step("affiliates_without_look")?;
        if ids.is_empty() {
            break;
        }
        is_any = true;
        let (ids, keys): (Vec<i64>, Vec<i64>) = ids.into_iter().map(|(id, name)| (id, look_key(&name))).unzip();
        sqlx::query(
            "-- affiliates_look
             UPDATE affiliate a SET id_key = k.id_key FROM unnest($2::bigint[], $3::bigint[]) AS k (id, id_key)
              WHERE a.tenant_id = $1 AND a.id = k.id",
        )
        .bind(tenant)
        .bind(ids)
        .bind(keys)
        .execute(&mut *tx)
        .await
        .step("affiliates_look")?;
    }
    if is_any {
        sqlx::query(
            "-- affiliates_alike_all
             UPDATE affiliate a SET alike_of = f.first
               FROM (SELECT id, min(id) OVER (PARTITION BY id_key) AS first FROM affiliate WHERE tenant_id = $1) AS f
              WHERE a.tenant_id = $1 AND a.id = f.id AND f.first < a.id AND a.alike_of IS NULL",
        )
        .bind(tenant)
        .execute(tx)
        .await
        .step("affiliates_alike_all")?;
    }
    Ok(())
}

/// Notes whose ids look like that of an affiliate who was there first, and finds what is suspicious about who is new
/// and about new destinations.
pub(super) async fn payees_alike(tx: &mut PgConnection, tenant: i32, named: i64) -> Result<Suspicions, StoreError> {
    sqlx::query(
        "-- affiliates_alike
         UPDATE affiliate a SET alike_of = f.first
           FROM (SELECT n.affiliate_id, min(o.id) AS first
                   FROM import_new n JOIN affiliate a ON a.tenant_id = $1 AND a.id = n.affiliate_id
                   JOIN affiliate o ON o.tenant_id = $1 AND o.id_key = a.id_key AND o.id < a.id
                  GROUP BY n.affiliate_id) AS f
          WHERE a.tenant_id = $1 AND a.id = f.affiliate_id",
    )
    .bind(tenant)
    .execute(&mut *tx)
    .await
    .step("affiliates_alike")?;
    let mut found = Suspicions::default();
    let rows = sqlx::query(IDS_ALIKE).bind(tenant).bind(named).fetch_all(&mut *tx).await.step("payees_ids_alike")?;
    found.add(SuspicionKind::AffiliateIdAlike, &rows)?;
    for (kind, is_live) in [(SuspicionKind::DestinationShared, true), (SuspicionKind::DestinationWasAnothers, false)] {
        let rows = sqlx::query(DESTINATIONS_OF_OTHERS)
            .bind(tenant)
            .bind(named)
            .bind(is_live)
            .fetch_all(&mut *tx)
            .await
            .step("payees_destinations")?;
        found.add(kind, &rows)?;
    }
    Ok(found)
}

const IDS_ALIKE: &str = "-- payees_ids_alike
  WITH said AS (SELECT external_id, min(line) AS line FROM import_affiliate GROUP BY external_id)
  SELECT i.line, a.external_id AS id, o.external_id AS other, j.line AS other_line, count(*) OVER () AS total
    FROM import_new n JOIN affiliate a ON a.tenant_id = $1 AND a.id = n.affiliate_id
    JOIN affiliate o ON o.tenant_id = $1 AND o.id = a.alike_of
    JOIN said i ON i.external_id = a.external_id
    LEFT JOIN said j ON j.external_id = o.external_id
   ORDER BY i.line LIMIT $2";

/// Destinations that are new, and that another affiliate has ($3), or had and has no more. Of two that are new with it,
/// the second is told.
const DESTINATIONS_OF_OTHERS: &str = "-- payees_destinations
  WITH given AS (
    SELECT DISTINCT m.affiliate_id, coalesce(m.compared, m.destination) AS destination, m.id
      FROM import_changed c
      JOIN payout_method m ON m.tenant_id = $1 AND m.affiliate_id = c.affiliate_id AND m.retired_at IS NULL
                          AND 'priority ' || m.priority = c.of_what
     WHERE c.what = 'method_added'),
  others AS (
    SELECT g.affiliate_id, g.destination, o.affiliate_id AS other_id, bool_or(o.retired_at IS NULL) AS is_live,
           min(o.id) < min(g.id) AS was_before
      FROM given g
      JOIN payout_method o ON o.tenant_id = $1 AND coalesce(o.compared, o.destination) = g.destination
                          AND o.affiliate_id <> g.affiliate_id
     GROUP BY g.affiliate_id, g.destination, o.affiliate_id),
  told AS (
    SELECT DISTINCT ON (affiliate_id, destination) affiliate_id, destination, other_id
      FROM others WHERE is_live = $3 AND was_before ORDER BY affiliate_id, destination, other_id),
  said AS (
    SELECT external_id, compared AS destination, min(line) AS line FROM import_affiliate GROUP BY external_id, compared)
  SELECT i.line, a.external_id AS id, o.external_id AS other, j.line AS other_line, count(*) OVER () AS total
    FROM told t
    JOIN affiliate a ON a.tenant_id = $1 AND a.id = t.affiliate_id
    JOIN affiliate o ON o.tenant_id = $1 AND o.id = t.other_id
    JOIN said i ON i.external_id = a.external_id AND i.destination = t.destination
    LEFT JOIN said j ON j.external_id = o.external_id AND j.destination = t.destination
   ORDER BY i.line LIMIT $2";
