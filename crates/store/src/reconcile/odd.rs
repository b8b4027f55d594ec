//! Lines that are not simply as they should be: each is a row, and tells of a movement of money.

use payfleet_domain::{RunId, StatementLine};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::lines::Odd;
use super::reading::{Paying, StatementSource, content};
use crate::connect::{Step, StoreError};
use crate::movement::runs_have_news;

impl Odd {
    /// Whether money moved as the line says. What it says may still be wrong in where to or how much.
    pub(super) fn counts(&self) -> bool {
        !self.differs_return
            && !self.is_unsent_return
            && !self.line.reference.is_empty()
            && self.line.amount_minor.saturating_add(self.line.fee_minor) > 0
    }
}

/// Columns of lines on their way into the table.
#[derive(Debug, Default)]
struct Rows {
    contents: Vec<Uuid>,
    payouts: Vec<Option<i64>>,
    runs: Vec<Option<i64>>,
    kinds: Vec<&'static str>,
    keys: Vec<String>,
    references: Vec<String>,
    ofs: Vec<Option<String>>,
    amounts: Vec<i64>,
    fees: Vec<i64>,
    currencies: Vec<String>,
    destinations: Vec<String>,
    ats: Vec<Option<OffsetDateTime>>,
    differs: [Vec<bool>; 5],
}

/// Postgres has no NUL in a text; such a key or reference is no name of ours anyway.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// By which a line that is read again is known.
pub(super) fn content_id(line: &StatementLine) -> Uuid {
    let mut half = [0; 16];
    half.copy_from_slice(&content(line)[..16]);
    Uuid::from_bytes(half)
}

impl Rows {
    fn of(odd: &[Odd]) -> Rows {
        let mut rows = Rows::default();
        for one in odd {
            let StatementLine { key, reference, amount_minor, fee_minor, currency, destination, movement, at, of } =
                &one.line;
            rows.contents.push(content_id(&one.line));
            rows.payouts.push(one.payout.map(|payout| payout.0));
            rows.runs.push(one.payout.map(|payout| payout.run().0));
            rows.kinds.push(movement.as_str());
            rows.keys.push(storable(key));
            rows.references.push(storable(reference));
            rows.ofs.push(of.as_deref().map(storable));
            rows.amounts.push(*amount_minor);
            rows.fees.push((*fee_minor).max(0));
            rows.currencies.push(storable(currency));
            rows.destinations.push(storable(destination));
            rows.ats.push(*at);
            let differs = [
                one.differs.amount,
                one.differs.currency,
                one.differs.destination,
                one.differs_account,
                one.differs_return,
            ];
            for (column, differs) in rows.differs.iter_mut().zip(differs) {
                column.push(differs);
            }
        }
        rows
    }
}

/// Keeps lines, and the movements that they are of. Returns the payouts of which there is something new.
pub(super) async fn odd_record(
    tx: &mut PgConnection,
    account: &Paying,
    source: &StatementSource,
    odd: &[Odd],
) -> Result<Vec<i64>, StoreError> {
    if odd.is_empty() {
        return Ok(Vec::new());
    }
    let rows = Rows::of(odd);
    let [amount, currency, destination, of_account, of_return] = rows.differs;
    // Who ordered nothing: the newest run that was paid from the account by then is asked about it.
    let new: Vec<(i64, Option<i64>)> = sqlx::query_as(
        "-- statement_lines_insert
         INSERT INTO statement_line (account_id, content, run_id, payout_id, kind, key, reference, of_reference,
           amount_minor, fee_minor, currency,
                                     destination, at, source, differs_amount, differs_currency, differs_destination,
                                       differs_account, differs_return)
         SELECT $1, l.content, coalesce(l.run, (
                  SELECT r.id FROM run r
                   WHERE EXISTS (SELECT FROM batch b WHERE b.run_id = r.id AND b.rail = $2 AND b.account = $3)
                   ORDER BY (coalesce(r.paying_at, r.created_at) <= coalesce(l.at,
                     clock_timestamp()) + interval '1 day') DESC,
                            CASE WHEN coalesce(r.paying_at, r.created_at) <= coalesce(l.at,
                              clock_timestamp()) + interval '1 day' THEN r.id ELSE -r.id END DESC
                   LIMIT 1)),
                l.payout, l.kind, l.key, l.reference, l.of, l.amount, l.fee, l.currency, l.destination, l.at, $4, l.d1,
                  l.d2, l.d3, l.d4, l.d5
           FROM unnest($5::uuid[], $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[],
             $12::bigint[], $13::bigint[],
                       $14::text[], $15::text[], $16::timestamptz[], $17::boolean[], $18::boolean[], $19::boolean[],
                         $20::boolean[], $21::boolean[])
                WITH ORDINALITY AS l (content, payout, run, kind, key, reference, of, amount, fee, currency,
                  destination, at, d1, d2, d3, d4, d5, n)
          ORDER BY l.n
             ON CONFLICT DO NOTHING
      RETURNING id, run_id",
    )
    .bind(account.id)
    .bind(&account.rail)
    .bind(&account.account)
    .bind(source.as_str())
    .bind(&rows.contents)
    .bind(&rows.payouts)
    .bind(&rows.runs)
    .bind(&rows.kinds)
    .bind(&rows.keys)
    .bind(&rows.references)
    .bind(&rows.ofs)
    .bind(&rows.amounts)
    .bind(&rows.fees)
    .bind(&rows.currencies)
    .bind(&rows.destinations)
    .bind(&rows.ats)
    .bind(amount)
    .bind(currency)
    .bind(destination)
    .bind(of_account)
    .bind(of_return)
    .fetch_all(&mut *tx)
    .await
    .step("statement_lines_insert")?;
    let (lines, runs): (Vec<i64>, Vec<Option<i64>>) = new.into_iter().unzip();
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    runs_have_news(tx, runs.into_iter().flatten().map(RunId)).await?;
    // Rule `file_needs_second_person`. A return frees money at once only if the rail itself says it; what a file alone
    // tells waits for a second person. Each is a row of its own: or the file would say how much of what the rail tells
    // under the same name (see `movement_known`).
    sqlx::query_scalar(
        "-- movements_listed
         INSERT INTO movement (tenant_id, payout_id, kind, reference, of_reference, amount_minor, fee_minor, currency,
           at, source, counts, line_id)
         SELECT p.tenant_id, p.id, l.kind, o.name || l.reference, CASE l.kind
           WHEN 'returned' THEN l.of_reference END, l.amount_minor,
                CASE l.kind WHEN 'returned' THEN l.fee_minor ELSE 0 END, l.currency, l.at, CASE l.source
                  WHEN 'file' THEN 'file' ELSE 'statement' END,
                l.kind = 'paid' OR l.source = 'rail', l.id
           FROM statement_line l JOIN payout p ON p.id = l.payout_id
           -- Each account has names of its own: a payment elsewhere is one more. That money came back is told once,
           -- whoever lists it.
           JOIN (SELECT id, rail || '/' || account || ' ' AS elsewhere FROM rail_account) AS a ON a.id = l.account_id,
                LATERAL (SELECT CASE WHEN l.differs_account AND l.kind = 'paid' THEN a.elsewhere
                  ELSE '' END AS name) AS o
          WHERE l.id = ANY($1) AND NOT l.differs_return AND l.reference <> '' AND l.amount_minor >= 0
            AND l.amount_minor + CASE l.kind WHEN 'returned' THEN l.fee_minor ELSE 0 END > 0
          ORDER BY l.id
             ON CONFLICT DO NOTHING
      RETURNING payout_id",
    )
    .bind(&lines)
    .fetch_all(&mut *tx)
    .await
    .step("movements_listed")
}
