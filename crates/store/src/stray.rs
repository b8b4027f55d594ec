//! Payments on statements that no run knows, since the last recovery began: of runs that were lost, or somebody else's.
//! Who may have got them is held.

use std::collections::BTreeMap;

use payfleet_domain::{DestinationKind, Money, TenantId};
use sqlx::{PgConnection, Row};

use crate::connect::{Step, StoreError};
use crate::recovery::Stray;
use crate::run::runs_lock_against_intents;

/// Lines of payments that no run knows, since the last recovery began.
macro_rules! stray_lines {
    () => {
        "(SELECT min(opened_at) AS opened_at FROM recovery) AS v
    JOIN statement_line l ON l.read_at >= v.opened_at AND l.payout_id IS NULL AND l.kind = 'paid'
     AND NOT EXISTS (SELECT FROM statement_line_named n WHERE n.line_id = l.id)"
    };
}

/// From which accounts a tenant is, or was, paid.
macro_rules! paid_from {
    () => {
        "(SELECT tenant_id, rail, account FROM tenant_account UNION SELECT tenant_id, rail, account FROM batch) AS t"
    };
}

/// Who may have got them: whoever did is due what was paid already. By the destination in the form that the kind of
/// their method compares (see [`stray_forms`]); and without letter case and spaces whatever the kind, since how a rail
/// writes a destination does not change who got the money, and a hold too many is lifted by whoever looks. Of a tenant
/// that is, or was, paid from the account; by which of its methods does not matter.
const STRAYS: &str = concat!(
    "
  SELECT DISTINCT l.id AS line, l.read_at, o.rail, o.account, m.affiliate_id, m.tenant_id
    FROM ",
    stray_lines!(),
    "
    JOIN rail_account o ON o.id = l.account_id
    LEFT JOIN (
           SELECT f.line, t.rail, t.account, m.affiliate_id, m.tenant_id
             FROM ",
    paid_from!(),
    "
             JOIN payout_method m ON m.tenant_id = t.tenant_id
             LEFT JOIN tenant_method said ON said.tenant_id = m.tenant_id AND said.method = m.method
             LEFT JOIN stray_method named ON named.method = m.method
             JOIN stray_form f ON f.form = coalesce(m.compared, m.destination)
                              AND coalesce(said.kind, named.kind, 'opaque') = ANY(f.kinds)
            UNION
           SELECT l.id, t.rail, t.account, m.affiliate_id, m.tenant_id
             FROM ",
    stray_lines!(),
    "
             JOIN payout_method m ON lower(replace(m.destination, ' ', '')) = lower(replace(l.destination, ' ', ''))
             JOIN ",
    paid_from!(),
    " ON t.tenant_id = m.tenant_id) AS m
           ON m.line = l.id AND m.rail = o.rail AND m.account = o.account"
);

/// Lines whose forms are worked out in one go.
const PAGE: i64 = 10_000;

/// Writes down, until the end of the transaction, how each kind of destination compares what those lines name, and what
/// the names of methods mean. `false` if there are no such lines.
async fn stray_forms(tx: &mut PgConnection) -> Result<bool, StoreError> {
    sqlx::raw_sql(
        "-- recovery_stray_create
         CREATE TEMP TABLE IF NOT EXISTS stray_form (line bigint NOT NULL, form text NOT NULL, kinds text[] NOT NULL)
           ON COMMIT DROP;
         CREATE TEMP TABLE IF NOT EXISTS stray_method (method text NOT NULL, kind text NOT NULL) ON COMMIT DROP;
         TRUNCATE stray_form, stray_method",
    )
    .execute(&mut *tx)
    .await
    .step("recovery_stray_create")?;
    let (methods, kinds): (Vec<&str>, Vec<&str>) =
        DestinationKind::NAMED.iter().map(|(method, kind)| (*method, kind.as_str())).unzip();
    sqlx::query("-- recovery_stray_methods\nINSERT INTO stray_method SELECT * FROM unnest($1::text[], $2::text[])")
        .bind(methods)
        .bind(kinds)
        .execute(&mut *tx)
        .await
        .step("recovery_stray_methods")?;
    let (mut after, mut any) = (i64::MIN, false);
    loop {
        let lines: Vec<(i64, String)> = sqlx::query_as(concat!(
            "-- recovery_stray_lines
             SELECT l.id, l.destination FROM ",
            stray_lines!(),
            " WHERE l.id > $1 ORDER BY l.id LIMIT $2"
        ))
        .bind(after)
        .bind(PAGE)
        .fetch_all(&mut *tx)
        .await
        .step("recovery_stray_lines")?;
        let Some((last, _)) = lines.last() else { break };
        (after, any) = (*last, true);
        let (mut ids, mut forms, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for (id, destination) in &lines {
            let mut of_form = BTreeMap::<_, Vec<&str>>::new();
            for kind in DestinationKind::ALL {
                of_form.entry(kind.compared(destination)).or_default().push(kind.as_str());
            }
            for (form, of) in of_form {
                ids.push(*id);
                forms.push(form.into_owned());
                kinds.push(of.join(" "));
            }
        }
        sqlx::query(
            "-- recovery_stray_forms
             INSERT INTO stray_form SELECT line, form, string_to_array(kinds, ' ')
               FROM unnest($1::bigint[], $2::text[], $3::text[]) AS f (line, form, kinds)",
        )
        .bind(ids)
        .bind(forms)
        .bind(kinds)
        .execute(&mut *tx)
        .await
        .step("recovery_stray_forms")?;
    }
    Ok(any)
}

pub(crate) async fn strays(tx: &mut PgConnection) -> Result<Vec<Stray>, StoreError> {
    let read = "recovery_strays";
    if !stray_forms(tx).await? {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "-- recovery_strays
         WITH stray AS ({STRAYS})
         SELECT rail, account, count(DISTINCT line) AS payments,
                count(DISTINCT line) FILTER (WHERE affiliate_id IS NOT NULL) AS held
           FROM stray GROUP BY rail, account ORDER BY rail, account"
    )))
    .fetch_all(tx)
    .await
    .step(read)?;
    rows.iter()
        .map(|row| {
            Ok(Stray {
                rail: row.try_get("rail").step(read)?,
                account: row.try_get("account").step(read)?,
                payments: row.try_get("payments").step(read)?,
                held: row.try_get("held").step(read)?,
            })
        })
        .collect()
}

/// What an affiliate got that no run knows and nobody has booked: for people, and the lines of statements that say so.
pub(crate) async fn strays_of(tx: &mut PgConnection, affiliate: i64) -> Result<(String, Vec<i64>), StoreError> {
    let read = "recovery_strays_of";
    stray_forms(tx).await?;
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "-- recovery_strays_of
         WITH stray AS ({STRAYS})
         SELECT s.rail || '/' || s.account AS account, l.id, l.reference, l.amount_minor, l.currency
           FROM stray s JOIN statement_line l ON l.id = s.line
          WHERE s.affiliate_id = $1
            AND NOT EXISTS (SELECT FROM stray_booked k WHERE k.line_id = s.line AND k.affiliate_id = $1)
          ORDER BY l.id"
    )))
    .bind(affiliate)
    .fetch_all(tx)
    .await
    .step(read)?;
    let (mut told, mut lines) = (Vec::new(), Vec::new());
    for row in &rows {
        lines.push(row.try_get("id").step(read)?);
        let (minor, currency): (i64, String) =
            (row.try_get("amount_minor").step(read)?, row.try_get("currency").step(read)?);
        let amount = match currency.parse() {
            Ok(currency) => Money { minor, currency }.to_string(),
            Err(_) => format!("{minor} minor units of {currency}"),
        };
        let (account, reference): (String, String) =
            (row.try_get("account").step(read)?, row.try_get("reference").step(read)?);
        told.push(format!("{amount} as {reference} from {account}"));
    }
    Ok((if told.is_empty() { "what is not known here any more".to_owned() } else { told.join(", ") }, lines))
}

/// Writes down that two people have seen these booked, by the control that is lifted for it.
pub(crate) async fn strays_book(
    tx: &mut PgConnection,
    tenant: TenantId,
    affiliate: i64,
    control: i64,
    lines: &[i64],
) -> Result<(), StoreError> {
    sqlx::query(
        "-- strays_book
         INSERT INTO stray_booked (line_id, affiliate_id, tenant_id, control_id)
         SELECT line, $2, $1, $3 FROM unnest($4::bigint[]) AS line",
    )
    .bind(tenant.0)
    .bind(affiliate)
    .bind(control)
    .bind(lines)
    .execute(tx)
    .await
    .step("strays_book")?;
    Ok(())
}

/// How the reason begins, or goes on, of whoever was paid by what no run knows.
pub(crate) const RECOVERED: &str = "recovered: ";

/// Each line until two people have said that it is booked; while its affiliate is on hold for others there is time.
fn not_looked_at() -> String {
    format!(
        "s.affiliate_id IS NOT NULL
         AND NOT EXISTS (SELECT FROM stray_booked k WHERE k.line_id = s.line AND k.affiliate_id = s.affiliate_id)
         AND NOT EXISTS (SELECT FROM control c WHERE c.affiliate_id = s.affiliate_id AND c.reason LIKE '%{RECOVERED}%'
                            AND c.lifted_at IS NULL)"
    )
}

/// Whoever was paid by what no run knows is not paid before a person has looked: what they got is to be booked first.
pub(crate) async fn strays_hold(tx: &mut PgConnection) -> Result<(), StoreError> {
    if !stray_forms(tx).await? {
        return Ok(());
    }
    let not_looked_at = not_looked_at();
    let tenants: Vec<i32> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "-- recovery_strays_tenants
         WITH stray AS ({STRAYS}) SELECT DISTINCT tenant_id FROM stray s WHERE {not_looked_at}"
    )))
    .fetch_all(&mut *tx)
    .await
    .step("recovery_strays_tenants")?;
    if tenants.is_empty() {
        return Ok(());
    }
    runs_lock_against_intents(tx, &tenants).await?;
    // Beside what a person has said already: whoever lifts that lifts this too, and is told.
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "-- recovery_strays_hold
         WITH stray AS ({STRAYS}),
         held AS (
           INSERT INTO control (tenant_id, affiliate_id, reason)
           SELECT tenant_id, affiliate_id, '{RECOVERED}paid by what no run knows any more (' || count(DISTINCT line)
                  || '); book it as a clawback, then release'
             FROM stray s WHERE {not_looked_at} GROUP BY tenant_id, affiliate_id ORDER BY affiliate_id
               ON CONFLICT (affiliate_id) WHERE affiliate_id IS NOT NULL AND lifted_at IS NULL
               DO UPDATE SET reason = control.reason || '; ' || excluded.reason
        RETURNING affiliate_id)
         UPDATE affiliate a SET on_hold = true FROM held WHERE a.id = held.affiliate_id AND NOT a.on_hold"
    )))
    .execute(tx)
    .await
    .step("recovery_strays_hold")?;
    Ok(())
}
