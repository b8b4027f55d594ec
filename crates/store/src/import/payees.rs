//! The same payee: affiliates whose ids look alike, and destinations that several of them have, or had one after the
//! other.

use payfleet_domain::look_key;
use sqlx::postgres::PgConnection;
use sqlx::{Executor, Row};

use super::ANALYZE_FROM;
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
    let (new, added): (i64, i64) = sqlx::query_as(
        "-- payees_new
         SELECT (SELECT count(*) FROM import_new),
                (SELECT count(*) FROM import_changed WHERE what = 'method_added')",
    )
    .fetch_one(&mut *tx)
    .await
    .step("payees_new")?;
    // Rows that nobody has counted yet are taken to be few, all the more in a table where others were counted; and a
    // loop over few that goes through all of the others took minutes for 20,000.
    let is_large = new.max(added).unsigned_abs() >= ANALYZE_FROM;
    if is_large {
        tx.execute("-- loops_off\nSET LOCAL enable_nestloop = off").await.step("loops_off")?;
    }
    let mut found = Suspicions::default();
    if new > 0 {
        sqlx::query(AFFILIATES_ALIKE).bind(tenant).execute(&mut *tx).await.step("affiliates_alike")?;
        let rows =
            sqlx::query(IDS_ALIKE).bind(tenant).bind(named).fetch_all(&mut *tx).await.step("payees_ids_alike")?;
        found.add(SuspicionKind::AffiliateIdAlike, &rows)?;
    }
    if added > 0 {
        let step = "payees_destinations";
        let rows = sqlx::query(DESTINATIONS_OF_OTHERS).bind(tenant).bind(named).fetch_all(&mut *tx).await.step(step)?;
        let (mut shared, mut were) = (Vec::new(), Vec::new());
        for row in rows {
            if row.try_get("is_live").step(step)? { shared.push(row) } else { were.push(row) }
        }
        found.add(SuspicionKind::DestinationShared, &shared)?;
        found.add(SuspicionKind::DestinationWasAnothers, &were)?;
    }
    if is_large {
        tx.execute("-- loops_on\nSET LOCAL enable_nestloop = on").await.step("loops_on")?;
    }
    Ok(found)
}

/// By the first that looks the same, so that a file in which all look alike is no square of its rows.
const AFFILIATES_ALIKE: &str = "-- affiliates_alike
  WITH keys AS (
    SELECT DISTINCT a.id_key FROM import_new n JOIN affiliate a ON a.tenant_id = $1 AND a.id = n.affiliate_id),
  firsts AS (SELECT o.id_key, min(o.id) AS first FROM affiliate o JOIN keys k ON k.id_key = o.id_key
              WHERE o.tenant_id = $1 GROUP BY o.id_key)
  UPDATE affiliate a SET alike_of = f.first
    FROM import_new n, firsts f
   WHERE a.tenant_id = $1 AND a.id = n.affiliate_id AND f.id_key = a.id_key AND f.first < a.id";

const IDS_ALIKE: &str = "-- payees_ids_alike
  WITH said AS (SELECT external_id, min(line) AS line FROM import_affiliate GROUP BY external_id)
  SELECT i.line, a.external_id AS id, o.external_id AS other, j.line AS other_line, count(*) OVER () AS total
    FROM import_new n JOIN affiliate a ON a.tenant_id = $1 AND a.id = n.affiliate_id
    JOIN affiliate o ON o.tenant_id = $1 AND o.id = a.alike_of
    JOIN said i ON i.external_id = a.external_id
    LEFT JOIN said j ON j.external_id = o.external_id
   ORDER BY i.line LIMIT $2";

/// Destinations that are new, and that another affiliate has, or had and has no more. Of two that are new with it, the
/// second is told. Of all that have one, only the first two are looked at (the first may be oneself): a file that gives
/// everybody the same has as many pairs as the square of its rows.
const DESTINATIONS_OF_OTHERS: &str = "-- payees_destinations
  WITH given AS (
    SELECT DISTINCT m.affiliate_id, coalesce(m.compared, m.destination) AS destination, m.id
      FROM import_changed c
      JOIN payout_method m ON m.tenant_id = $1 AND m.affiliate_id = c.affiliate_id AND m.retired_at IS NULL
                          AND 'priority ' || m.priority = c.of_what
     WHERE c.what = 'method_added'),
  holders AS (
    SELECT coalesce(o.compared, o.destination) AS destination, o.affiliate_id, bool_or(o.retired_at IS NULL) AS is_live,
           min(o.id) AS since
      FROM payout_method o
     WHERE o.tenant_id = $1 AND coalesce(o.compared, o.destination) IN (SELECT destination FROM given)
     GROUP BY 1, 2),
  firsts AS (
    SELECT h.*, row_number() OVER (PARTITION BY h.destination, h.is_live ORDER BY h.since) AS place FROM holders h),
  told AS (
    SELECT DISTINCT ON (g.affiliate_id, g.destination, f.is_live) g.affiliate_id, g.destination, f.is_live,
           f.affiliate_id AS other_id
      FROM given g
      JOIN firsts f ON f.destination = g.destination AND f.place <= 2 AND f.affiliate_id <> g.affiliate_id
                   AND f.since < g.id
     ORDER BY g.affiliate_id, g.destination, f.is_live, f.since),
  said AS (
    SELECT external_id, compared AS destination, min(line) AS line FROM import_affiliate
     GROUP BY external_id, compared),
  named AS (
    SELECT t.is_live, i.line, a.external_id AS id, o.external_id AS other, j.line AS other_line,
           count(*) OVER (PARTITION BY t.is_live) AS total,
           row_number() OVER (PARTITION BY t.is_live ORDER BY i.line) AS place
      FROM told t
      JOIN affiliate a ON a.tenant_id = $1 AND a.id = t.affiliate_id
      JOIN affiliate o ON o.tenant_id = $1 AND o.id = t.other_id
      JOIN said i ON i.external_id = a.external_id AND i.destination = t.destination
      LEFT JOIN said j ON j.external_id = o.external_id AND j.destination = t.destination)
  SELECT is_live, line, id, other, other_line, total FROM named WHERE place <= $2 ORDER BY is_live, line";
