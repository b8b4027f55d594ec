//! Lines that do not bear our key are of the payout that the rail has called so: its answers brought the names of what
//! it accepted and paid. What the rail calls two payouts by is no name of either.
//!
//! Only for rails whose statements need not repeat the key (`Rail::statement_bears_key`); of the others a line without
//! it is a stranger's.

use std::collections::HashMap;

use payfleet_domain::{Currency, Movement, PayoutId, PayoutKey, RunId, StatementLine};
use sqlx::{PgConnection, Row};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::reading::Paying;
use crate::connect::{Step, Store, StoreError};
use crate::movement::runs_have_news;
use crate::session::Sessions;

/// Lines that are looked up in one go: all payouts of the account are gone through for it, since an index on their
/// names would cost each of the others that is paid more than this costs here.
pub(super) const AT_ONCE: usize = 20_000;

/// Money comes back so long after the run at most: what is older is not looked for.
const OLDEST: Duration = Duration::days(400);

/// Whether the line has to be looked up.
pub(super) fn is_unnamed(line: &StatementLine) -> bool {
    line.key.parse::<PayoutKey>().is_err() && name(line).is_some()
}

/// What the rail calls the payment.
fn name(line: &StatementLine) -> Option<&str> {
    let name = match line.movement {
        Movement::Returned => line.of.as_deref().unwrap_or(&line.reference),
        Movement::Paid | Movement::Rejected => &line.reference,
    };
    (!name.trim().is_empty() && !name.contains('\0')).then_some(name)
}

/// The keys of the payouts that lines are of, by the rail's own names. What nobody here knows has none.
async fn keys_of(
    connection: &mut PgConnection,
    account: &Paying,
    lines: &[StatementLine],
) -> Result<HashMap<String, PayoutKey>, StoreError> {
    let read = "statement_names";
    let mut names: Vec<&str> = lines.iter().filter_map(name).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let oldest = lines.iter().filter_map(|line| line.at).min().and_then(|at| at.checked_sub(OLDEST));
    let rows = sqlx::query(
        "-- statement_names
         SELECT p.reference, p.id, r.key, f.external_id, p.currency::text AS currency
           FROM run r
           JOIN batch b ON b.run_id = r.id AND b.rail = $1 AND b.account = $2 AND b.state <> 'split'
           JOIN payout p ON p.id BETWEEN b.first_payout_id AND b.last_payout_id AND p.reference = ANY($3)
           JOIN affiliate f ON f.id = p.affiliate_id AND f.tenant_id = p.tenant_id
          WHERE r.created_at >= coalesce($4, '-infinity'::timestamptz)",
    )
    .bind(&account.rail)
    .bind(&account.account)
    .bind(&names)
    .bind(oldest)
    .fetch_all(connection)
    .await
    .step(read)?;
    let mut keys = HashMap::<String, Option<PayoutKey>>::with_capacity(rows.len());
    for row in &rows {
        let currency: Currency = row
            .try_get::<String, _>("currency")
            .step(read)?
            .parse()
            .map_err(|unknown: payfleet_domain::UnknownCurrency| StoreError::Broken(unknown.to_string()))?;
        let (run_key, affiliate): (Uuid, String) =
            (row.try_get("key").step(read)?, row.try_get("external_id").step(read)?);
        let key = PayoutKey::derive(run_key, PayoutId(row.try_get("id").step(read)?), &affiliate, currency);
        keys.entry(row.try_get("reference").step(read)?).and_modify(|other| *other = None).or_insert(Some(key));
    }
    Ok(keys.into_iter().filter_map(|(name, key)| Some((name, key?))).collect())
}

/// Gives lines without a key the one of the payout that the rail calls so.
pub(super) async fn keys_find(
    pool: &Sessions,
    account: &Paying,
    lines: &mut [StatementLine],
) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await.step("statement_names")?;
    let keys = keys_of(&mut connection, account, lines).await?;
    for line in lines {
        if let Some(key) = name(line).and_then(|name| keys.get(name)) {
            line.key = key.to_string();
        }
    }
    Ok(())
}

/// A line that was read when nobody here knew its name, and is known now.
#[derive(Debug)]
pub(super) struct Named {
    id: i64,
    /// In whose verdict it has spoken so far.
    run: Option<i64>,
    payout: PayoutId,
    /// As it was read, with the key.
    pub line: StatementLine,
}

/// Lines of the rail's own statement that are of no payout yet, and whose payout is known now.
pub(super) async fn strays_name(pool: &Sessions, account: &Paying) -> Result<Vec<Named>, StoreError> {
    let read = "statement_strays";
    let mut connection = pool.acquire().await.step(read)?;
    let (mut after, mut named) = (i64::MIN, Vec::new());
    loop {
        let rows = sqlx::query(
            "-- statement_strays
             SELECT id, run_id, kind, reference, of_reference, amount_minor, fee_minor, currency, destination, at
               FROM statement_line l
              WHERE account_id = $1 AND payout_id IS NULL AND source = 'rail' AND id > $2
                AND NOT EXISTS (SELECT FROM statement_line_named n WHERE n.line_id = l.id)
              ORDER BY id LIMIT $3",
        )
        .bind(account.id)
        .bind(after)
        .bind(i64::try_from(AT_ONCE).unwrap_or(i64::MAX))
        .fetch_all(&mut *connection)
        .await
        .step(read)?;
        let mut lines = Vec::with_capacity(rows.len());
        for row in &rows {
            lines.push(StatementLine {
                key: String::new(),
                reference: row.try_get("reference").step(read)?,
                amount_minor: row.try_get("amount_minor").step(read)?,
                fee_minor: row.try_get("fee_minor").step(read)?,
                currency: row.try_get("currency").step(read)?,
                destination: row.try_get("destination").step(read)?,
                movement: match row.try_get::<String, _>("kind").step(read)?.as_str() {
                    "returned" => Movement::Returned,
                    _ => Movement::Paid,
                },
                at: row.try_get::<Option<OffsetDateTime>, _>("at").step(read)?,
                of: row.try_get("of_reference").step(read)?,
            });
        }
        let keys = keys_of(&mut connection, account, &lines).await?;
        for (row, line) in rows.iter().zip(lines) {
            after = row.try_get("id").step(read)?;
            let Some(key) = name(&line).and_then(|name| keys.get(name)) else { continue };
            let Ok(payout) = key.payout() else { continue }; // it was derived just now
            let line = StatementLine { key: key.to_string(), ..line };
            named.push(Named { id: after, run: row.try_get("run_id").step(read)?, payout, line });
        }
        if rows.len() < AT_ONCE {
            return Ok(named);
        }
    }
}

/// Writes down whose they are, once the payouts have them.
pub(super) async fn strays_settle(store: &Store, named: Vec<Named>) -> Result<(), StoreError> {
    if named.is_empty() {
        return Ok(());
    }
    let lines: Vec<i64> = named.iter().map(|one| one.id).collect();
    let payouts: Vec<i64> = named.iter().map(|one| one.payout.0).collect();
    let runs: Vec<RunId> = named.iter().filter_map(|one| one.run.map(RunId)).collect();
    tracing::info!(lines = lines.len(), "lines that were read before are of payouts that are known now");
    store
        .transaction("statement_strays_name", move |tx| {
            let (lines, payouts, runs) = (lines.clone(), payouts.clone(), runs.clone());
            Box::pin(async move {
                sqlx::query(
                    "-- statement_strays_name
                     INSERT INTO statement_line_named (line_id, payout_id)
                     SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT DO NOTHING",
                )
                .bind(lines)
                .bind(payouts)
                .execute(&mut *tx)
                .await
                .step("statement_strays_name")?;
                runs_have_news(tx, runs).await
            })
        })
        .await
}
