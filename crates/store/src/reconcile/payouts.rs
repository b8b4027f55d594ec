//! Payouts against the statements: SQL finds those that are not simply as they should be, the invariants of `domain`
//! judge each.

use std::collections::HashMap;

use payfleet_domain::DiscrepancyKind;
use payfleet_domain::invariant::{OF_A_PAYOUT, PayoutFacts, broken};
use sqlx::Row;

use super::Reconciliation;
use crate::connect::{Step, StoreError};
use crate::movement::{Weighed, accounts_read};
use crate::sql::{bit_of, block_of, payments, pays_currency};

/// What is left out here, nobody judges: payouts paid once and exactly as planned, and those unsettled of which no
/// statement says anything. A test asserts that no invariant could say anything about them.
///
/// Block by block of `listed`, so that each is a range of payouts. $4 are payouts whose payments stand on no statement.
const ODD: &str = concat!(
    "-- compare_odd
SELECT p.id
  FROM generate_series(0, (SELECT ",
    block_of!("max(id)"),
    " FROM payout WHERE id BETWEEN $1 AND $2)) AS block
  LEFT JOIN listed l ON l.run_id = $3 AND l.block = block.block
  LEFT JOIN listed_by_file f ON f.run_id = $3 AND f.block = block.block,
       LATERAL (SELECT o.id FROM payout o
                 WHERE o.id BETWEEN $1 + block.block * 8192::bigint AND $1 + block.block * 8192::bigint + 8191
                   AND o.state IN ('paid', 'returned')
                   AND coalesce(",
    bit_of!("l", "o.id"),
    ", 0) = 0 AND NOT o.id <@ $4::int8multirange
                   -- A file will do as long as the rail itself could not have listed it.
                   AND (coalesce(",
    bit_of!("f", "o.id"),
    ", 0) = 0
                        OR o.settled_at <= (SELECT max(a.reaches_ours) FROM rail_account a
                                             WHERE EXISTS (SELECT FROM batch b WHERE b.run_id = $3 AND b.rail = a.rail
                                               AND b.account = a.account)))) AS p
 UNION SELECT payout_id FROM movement WHERE payout_id BETWEEN $1 AND $2
 UNION SELECT payout_id FROM statement_line WHERE payout_id BETWEEN $1 AND $2
 UNION SELECT payout_id FROM contest WHERE payout_id BETWEEN $1 AND $2 AND closed_at IS NULL
 ORDER BY 1"
);

/// A payment is missed only on a statement that was asked for after it was recorded: the rail's own, or a file; one
/// that a file lists only on the rail's own. Whether it was recorded before is told by the transaction that recorded it
/// as well as by clocks: one that was put back in between made payments of that moment look missing. (The simulator
/// found it.) A row knows the lower half of its transaction's number, which lies below the next one.
const DETAILS: &str = concat!(
    "-- compare_details
SELECT p.id, p.affiliate_id, p.currency::text AS currency, ",
    pays_currency!("p"),
    "::text AS pays_currency, m.destination, p.id <@ $2::int8multirange AS is_silent,
       EXISTS (SELECT FROM movement_known w WHERE w.payout_id = p.id AND NOT w.counts) AS return_waits,
       EXISTS (SELECT FROM contest c WHERE c.payout_id = p.id AND c.closed_at IS NULL) AS is_contested,
       l.amount, l.line_currency, l.line_destination, l.account, l.return_differs,
       NOT k.is_listed AND k.is_filed AS is_by_file, coalesce(c.by_rail, false) AS reached_by_rail,
         c.by_rail IS NULL AS is_newer
  FROM payout p
  LEFT JOIN payout_method m ON m.id = p.method_id AND m.tenant_id = p.tenant_id
  LEFT JOIN batch b ON b.run_id = p.run_id AND b.state <> 'split'
    AND p.id BETWEEN b.first_payout_id AND b.last_payout_id
  LEFT JOIN rail_account a ON a.rail = b.rail AND a.account = b.account
  LEFT JOIN LATERAL (
    SELECT min(s.amount_minor) FILTER (WHERE s.differs_amount) AS amount, min(s.currency)
      FILTER (WHERE s.differs_currency) AS line_currency,
           min(s.destination) FILTER (WHERE s.differs_destination) AS line_destination,
           min(o.rail || '/' || o.account) FILTER (WHERE s.differs_account) AS account,
           min(s.reference || ' ' || s.amount_minor || ' ' || s.currency || coalesce(' at ' || s.at, ''))
             FILTER (WHERE s.differs_return) AS return_differs
      FROM statement_line_known s JOIN rail_account o ON o.id = s.account_id WHERE s.payout_id = p.id) AS l ON true
  LEFT JOIN LATERAL (
    SELECT bool_or(seen.by_rail) AS by_rail
      FROM (VALUES (true, a.reaches_ours, a.asked_in), (false, a.file_reaches, a.file_asked_in)) AS seen (by_rail,
        reaches, asked_in)
     WHERE p.settled_at <= seen.reaches AND (seen.asked_in IS NULL OR NOT EXISTS (
           SELECT FROM transfer t, pg_snapshot_xmax(pg_current_snapshot()) AS next
            WHERE t.payout_id = p.id AND t.kind IN ",
    payments!(),
    " AND NOT pg_visible_in_snapshot(
                  (next::text::bigint - (next::text::bigint - t.xmin::text::bigint & 4294967295))::text::xid8,
                    seen.asked_in)))) AS c ON true,
  LATERAL (
    SELECT EXISTS (SELECT FROM listed k WHERE k.run_id = p.run_id AND k.block = ",
    block_of!("p.id"),
    "
      AND ",
    bit_of!("k", "p.id"),
    " = 1)
           OR EXISTS (SELECT FROM movement w WHERE w.payout_id = p.id AND w.kind = 'paid' AND w.source = 'statement'
             AND w.line_id IS NOT NULL) AS is_listed,
           EXISTS (SELECT FROM listed_by_file k WHERE k.run_id = p.run_id
             AND k.block = ",
    block_of!("p.id"),
    " AND ",
    bit_of!("k", "p.id"),
    " = 1)
           OR EXISTS (SELECT FROM movement w WHERE w.payout_id = p.id AND w.kind = 'paid'
             AND w.source = 'file') AS is_filed) AS k
 WHERE p.id = ANY($1)"
);

/// Payouts that are looked at in one go.
const CHUNK: usize = 5_000;

/// A difference on its way into the session.
struct Found {
    place: usize,
    payout: i64,
    affiliate: i64,
    currency: String,
    kind: DiscrepancyKind,
    expected: Option<String>,
    found: Option<String>,
}

impl Reconciliation {
    /// Finds what the statements say otherwise. `silent` are the payouts whose payments stand on no statement, as
    /// ranges. Returns how many payments are newer than the statement that they are missing from: nothing can be said
    /// about those yet.
    pub(super) async fn payouts_compare(&mut self, silent: &str) -> Result<i64, StoreError> {
        let (first, last) = self.run.id.payouts();
        let odd: Vec<i64> = sqlx::query_scalar(ODD)
            .bind(first.0)
            .bind(last.0)
            .bind(self.run.id.0)
            .bind(silent)
            .fetch_all(&mut *self.connection)
            .await
            .step("compare_odd")?;
        let (mut differences, mut newer) = (Vec::new(), 0);
        for some in odd.chunks(CHUNK) {
            let mut details = self.details_read(some, silent).await?;
            for payout in accounts_read(&mut self.connection, some, false).await? {
                let Some(detail) = details.remove(&payout.id) else { continue };
                let mut kinds = broken(&detail.facts(&payout));
                if detail.is_newer && kinds.contains(&DiscrepancyKind::NotOnStatement) {
                    newer += 1;
                    kinds.retain(|kind| *kind != DiscrepancyKind::NotOnStatement);
                }
                differences.extend(kinds.into_iter().map(|kind| detail.tell(&payout, kind)));
            }
        }
        differences.sort_by_key(|found| (found.place, found.payout));
        self.differences_write(differences).await?;
        Ok(newer)
    }

    async fn details_read(&mut self, payouts: &[i64], silent: &str) -> Result<HashMap<i64, Detail>, StoreError> {
        let read = "compare_details";
        let rows = sqlx::query(DETAILS).bind(payouts).bind(silent).fetch_all(&mut *self.connection).await.step(read)?;
        let detail = |row: &sqlx::postgres::PgRow| {
            Ok(Detail {
                affiliate: row.try_get("affiliate_id").step(read)?,
                currency: row.try_get("currency").step(read)?,
                pays_currency: row.try_get("pays_currency").step(read)?,
                destination: row.try_get("destination").step(read)?,
                is_silent: row.try_get("is_silent").step(read)?,
                return_waits: row.try_get("return_waits").step(read)?,
                is_contested: row.try_get("is_contested").step(read)?,
                amount: row.try_get("amount").step(read)?,
                line_currency: row.try_get("line_currency").step(read)?,
                line_destination: row.try_get("line_destination").step(read)?,
                account: row.try_get("account").step(read)?,
                return_differs: row.try_get("return_differs").step(read)?,
                is_newer: row.try_get("is_newer").step(read)?,
                is_missed_by_rail: row.try_get("is_by_file").step(read)?
                    && row.try_get("reached_by_rail").step(read)?,
            })
        };
        rows.iter().map(|row| Ok((row.try_get("id").step(read)?, detail(row)?))).collect()
    }

    async fn differences_write(&mut self, differences: Vec<Found>) -> Result<(), StoreError> {
        if differences.is_empty() {
            return Ok(());
        }
        let column = |of: fn(&Found) -> String| differences.iter().map(of).collect::<Vec<String>>();
        sqlx::query(
            "-- differences_insert
             INSERT INTO finding (kind, payout_id, affiliate_id, currency, expected, found)
             SELECT kind, payout, affiliate, currency, expected, found
               FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY
                    AS f (kind, payout, affiliate, currency, expected, found, n) ORDER BY n",
        )
        .bind(column(|found| found.kind.code().to_owned()))
        .bind(differences.iter().map(|found| found.payout).collect::<Vec<i64>>())
        .bind(differences.iter().map(|found| found.affiliate).collect::<Vec<i64>>())
        .bind(column(|found| found.currency.clone()))
        .bind(differences.iter().map(|found| found.expected.clone()).collect::<Vec<_>>())
        .bind(differences.iter().map(|found| found.found.clone()).collect::<Vec<_>>())
        .execute(&mut *self.connection)
        .await
        .step("differences_insert")?;
        Ok(())
    }
}

/// What is known of a payout beside its account. What a line says otherwise is there only where it differs.
struct Detail {
    affiliate: i64,
    /// In which it is due.
    currency: String,
    pays_currency: String,
    destination: Option<String>,
    is_silent: bool,
    return_waits: bool,
    is_contested: bool,
    amount: Option<i64>,
    line_currency: Option<String>,
    line_destination: Option<String>,
    account: Option<String>,
    return_differs: Option<String>,
    is_newer: bool,
    /// A file lists its payment, and the rail's own statement, which reaches past it, does not.
    is_missed_by_rail: bool,
}

impl Detail {
    fn facts(&self, payout: &Weighed) -> PayoutFacts {
        let own = payout.reference.as_deref();
        PayoutFacts {
            has_list: !self.is_silent,
            return_waits: self.return_waits,
            return_differs: self.return_differs.is_some(),
            is_contested: self.is_contested,
            reference_differs: payout.account.is_listed() && !payout.account.listed().any(|listed| Some(listed) == own)
                || payout.account.filed_otherwise().is_some(),
            amount_differs: self.amount.is_some(),
            currency_differs: self.line_currency.is_some(),
            destination_differs: self.line_destination.is_some(),
            account_differs: self.account.is_some(),
            is_listed: payout.account.is_listed() && !self.is_missed_by_rail,
            ..PayoutFacts::of(payout.state, payout.pays_minor, &payout.account)
        }
    }

    fn tell(&self, payout: &Weighed, kind: DiscrepancyKind) -> Found {
        use DiscrepancyKind as K;
        let own = || payout.reference.clone().or_else(|| Some(payout.state.to_string()));
        let state = || Some(payout.state.to_string());
        let references = || Some(payout.account.references().join(", "));
        let out = || Some(format!("{} minor units did not come back", payout.account.least_out()));
        let (expected, found) = match kind {
            K::PaidTwice => (own(), references()),
            K::PaidUnrecorded | K::PaidLate => (state(), references()),
            K::NotOnStatement => (own(), None),
            K::AmountDiffers => (Some(payout.pays_minor.to_string()), self.amount.map(|minor| minor.to_string())),
            K::CurrencyDiffers => (Some(self.pays_currency.clone()), self.line_currency.clone()),
            K::DestinationDiffers => (self.destination.clone(), self.line_destination.clone()),
            K::AccountDiffers => (None, self.account.clone()),
            K::ReferenceDiffers => {
                let other = payout.account.filed_otherwise().or_else(|| payout.account.listed().next());
                (own(), other.map(str::to_owned))
            }
            K::ReturnUnrecorded | K::ReturnUnconfirmed => (state(), Some("returned".to_owned())),
            K::ReturnInPart => (state(), out()),
            K::ReturnDiffers => (state(), self.return_differs.clone()),
            K::NeverPlanned | K::Skipped | K::LedgerOutOfBalance | K::UnknownTooLong => (None, None), // of no payout
        };
        let (affiliate, currency) = (self.affiliate, self.currency.clone());
        Found { place: place(kind), payout: payout.id, affiliate, currency, kind, expected, found }
    }
}

/// Where findings of a kind stand in the report.
fn place(kind: DiscrepancyKind) -> usize {
    OF_A_PAYOUT.iter().position(|(other, _)| *other == kind).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use payfleet_domain::PayoutState;
    use payfleet_domain::invariant::{PayoutFacts, broken};

    /// The condition of `ODD` in other words.
    #[test]
    fn nothing_can_be_broken_about_the_payouts_that_are_not_judged() {
        for has_list in [true, false] {
            let paid = PayoutFacts { has_list, ..PayoutFacts::as_planned(PayoutState::Paid, 1) };
            assert_eq!(broken(&paid), []);
            for state in PayoutState::ALL {
                let unheard_of = PayoutFacts { has_list, ..PayoutFacts::as_planned(state, 0) };
                let is_settled = matches!(state, PayoutState::Paid | PayoutState::Returned);
                assert!(is_settled || broken(&unheard_of).is_empty(), "{state}");
            }
        }
    }
}
