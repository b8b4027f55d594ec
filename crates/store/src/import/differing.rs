//! Commissions that are not what is stored under their id: a commission never changes.

use payfleet_domain::Money;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::PROBLEMS_SHOWN;
use super::problem::{Fault, Problems};
use crate::batch::currency;
use crate::connect::{Step, StoreError};

/// Rows that are not what is stored under their id. What is stored may be an earlier line of this very file: then that
/// line is named.
pub(super) async fn differing(tx: &mut PgConnection, tenant: i32, problems: &mut Problems) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "-- import_differing
         WITH differs AS MATERIALIZED (
           SELECT DISTINCT i.external_id FROM import_commission i
             JOIN commission c ON c.tenant_id = $1 AND c.external_id = i.external_id
             JOIN affiliate a ON a.tenant_id = $1 AND a.id = c.affiliate_id
            WHERE (a.external_id, c.currency, c.amount_minor, c.earned_at, c.order_ref)
               IS DISTINCT FROM (i.affiliate, i.currency, i.amount_minor, i.earned_at, i.order_ref)),
         said AS MATERIALIZED (
           SELECT i.*, first_value(i.line) OVER (PARTITION BY external_id ORDER BY i.line) AS first_line
             FROM import_commission i JOIN differs USING (external_id)),
         -- Against the first line of the same id, if the file contradicts itself.
         within AS (
           SELECT s.*, f.line AS other_line, f.affiliate AS other_affiliate, f.currency AS other_currency,
             f.amount_minor AS other_minor,
                  f.earned_at AS other_earned_at, f.order_ref AS other_order_ref
             FROM said s JOIN said f ON f.external_id = s.external_id AND f.line = s.first_line
            WHERE s.line <> f.line AND (s.affiliate, s.currency, s.amount_minor, s.earned_at, s.order_ref)
                   IS DISTINCT FROM (f.affiliate, f.currency, f.amount_minor, f.earned_at, f.order_ref)),
         before AS (
           SELECT s.*, NULL::bigint AS other_line, a.external_id AS other_affiliate, c.currency AS other_currency,
             c.amount_minor AS other_minor,
                  c.earned_at AS other_earned_at, c.order_ref AS other_order_ref
             FROM said s
             JOIN commission c ON c.tenant_id = $1 AND c.external_id = s.external_id
             JOIN affiliate a ON a.tenant_id = $1 AND a.id = c.affiliate_id
            WHERE NOT EXISTS (SELECT FROM within w WHERE w.external_id = s.external_id)
              AND (a.external_id, c.currency, c.amount_minor, c.earned_at, c.order_ref)
               IS DISTINCT FROM (s.affiliate, s.currency, s.amount_minor, s.earned_at, s.order_ref))
         SELECT *, count(*) OVER () AS total FROM (SELECT * FROM within UNION ALL SELECT * FROM before) AS found
          ORDER BY line LIMIT $2",
    )
    .bind(tenant)
    .bind(PROBLEMS_SHOWN as i64)
    .fetch_all(tx)
    .await
    .step("import_differing")?;
    problems.add(&rows, difference)
}

/// The first field in which a row and the other one differ.
fn difference(row: &PgRow) -> Result<(&'static str, Fault), StoreError> {
    let step = "import_differing";
    let text = |column: &str| row.try_get::<String, _>(column).step(step);
    let money = |minor: &str, code: &str| {
        Ok::<_, StoreError>(Money { minor: row.try_get(minor).step(step)?, currency: currency(row, code)? }.to_string())
    };
    let instant = |column: &str| {
        let at: OffsetDateTime = row.try_get(column).step(step)?;
        at.format(&Rfc3339).map_err(|error| StoreError::Broken(format!("{at}: {error}")))
    };
    let fields = [
        ("affiliate_id", text("affiliate")?, text("other_affiliate")?),
        ("currency", text("currency")?, text("other_currency")?),
        ("amount", money("amount_minor", "currency")?, money("other_minor", "other_currency")?),
        ("earned_at", instant("earned_at")?, instant("other_earned_at")?),
        ("order_ref", text("order_ref")?, text("other_order_ref")?),
    ];
    let (field, given, other) = fields
        .into_iter()
        .find(|(_, given, other)| given != other)
        .ok_or_else(|| StoreError::Broken("two rows that differ are the same".into()))?;
    let id = text("external_id")?;
    let other_line: Option<i64> = row.try_get("other_line").step(step)?;
    let fault = match other_line {
        Some(line) => Fault::DiffersFromLine { id, line: line.unsigned_abs(), other, given },
        None => Fault::DiffersFromStored { id, stored: other, given },
    };
    Ok((field, fault))
}
