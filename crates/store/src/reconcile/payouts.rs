//! Payouts against the statement: SQL says what is so, the invariants of `domain` say whether it may be so.

use payfleet_domain::DiscrepancyKind;
use payfleet_domain::invariant::{OF_A_PAYOUT, PayoutFacts, Proof, broken};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::Reconciliation;
use crate::batch::word;
use crate::connect::{Step, StoreError};

/// The facts of each payout that is not simply as it should be. What is left out here, nobody judges: payouts paid once
/// and exactly as planned, and those unsettled of which neither statement nor evidence knows anything. A test asserts
/// that no invariant could say anything about them.
///
/// Whether a payment was recorded before the statement was asked for is told by the transaction that recorded it, and by
/// no clock: one that was put back in between made payments of that moment look missing. (The simulator found it.) A row
/// knows the lower half of its transaction's number, which lies below the next one.
const ODD: &str = "-- compare_odd
WITH proof AS (
  SELECT payout_id, min(reference) AS low, max(reference) AS high FROM evidence
   WHERE payout_id BETWEEN $1 AND $2 AND says = 'paid' GROUP BY payout_id),
 seen AS (
  SELECT p.id, p.affiliate_id, p.tenant_id, p.currency::text AS currency, p.state, p.amount_minor, p.method_id,
         p.state IN ('paid', 'returned') AS settled, CASE WHEN p.state IN ('paid', 'returned') THEN p.reference END AS own,
         coalesce(t.paid, l.paid, 0) AS paid, coalesce(t.returned, 0) AS returned, coalesce(t.low, l.low) AS low, coalesce(t.high, l.low) AS high,
         t.back_low, t.back_high,
         t.amount_minor AS other_amount, t.currency AS other_currency, t.destination AS other_destination,
         e.low AS proof_low, e.high AS proof_high
    FROM payout p LEFT JOIN told t ON t.payout_id = p.id LEFT JOIN proof e ON e.payout_id = p.id
    LEFT JOIN listed ON listed.payout_id = p.id
    LEFT JOIN LATERAL (SELECT 1 AS paid, p.reference AS low WHERE listed.payout_id IS NOT NULL) AS l ON true
   WHERE p.id BETWEEN $1 AND $2
     AND (p.state = 'paid' AND listed.payout_id IS NOT NULL AND t.payout_id IS NULL AND e.payout_id IS NULL) IS NOT TRUE
     AND (p.state IN ('paid', 'returned') OR listed.payout_id IS NOT NULL OR t.payout_id IS NOT NULL OR e.payout_id IS NOT NULL)),
 weighed AS (
  SELECT s.*,
         CASE WHEN s.proof_low IS NULL THEN 'none'
              WHEN CASE WHEN s.settled THEN least(s.own, s.proof_low) = greatest(s.own, s.proof_high)
                        ELSE least(s.low, s.proof_low) = greatest(s.high, s.proof_high) END THEN 'one payment'
              ELSE 'several payments' END AS proof,
         -- Of a payment made twice the second may have come back; then ours is still paid.
         s.returned > 0 AND (s.own IN (s.back_low, s.back_high) OR (s.own IN (s.low, s.high)) IS NOT TRUE) AS ours_returned
    FROM seen s)
INSERT INTO odd
SELECT ROW (state, paid, proof, returned > 0, ours_returned, coalesce(low <> own, false), other_amount IS NOT NULL, other_currency IS NOT NULL,
            other_destination IS NOT NULL, NOT id <@ $3::int8multirange)::pg_temp.payout_facts,
       id, affiliate_id, tenant_id, currency, amount_minor, method_id, own, low, high, back_low, other_amount, other_currency, other_destination,
       proof_low, proof_high,
       CASE WHEN id <@ $3::int8multirange THEN false ELSE EXISTS (
         SELECT FROM transfer t, pg_snapshot_xmax(pg_current_snapshot()) AS next
          WHERE t.payout_id = w.id
            AND (t.kind / 2 = 1 AND w.settled AND w.paid = 0 OR t.kind / 2 = 2 AND w.state = 'returned' AND NOT w.ours_returned)
            AND NOT pg_visible_in_snapshot((next::text::bigint - (next::text::bigint - t.xmin::text::bigint & 4294967295))::text::xid8, $4::pg_snapshot)) END
  FROM weighed w";

/// There are few.
const COMBINATIONS: &str = "-- compare_combinations
SELECT DISTINCT facts::text AS combination, (facts).* FROM odd";

/// $1 to $3 are combinations of facts, at which place of the report it stands, and what is broken about them. A payment
/// that the statement was too early for gets no kind.
const BROKEN: &str = "-- compare_statement
INSERT INTO finding (kind, payout_id, affiliate_id, currency, expected, found)
SELECT CASE WHEN o.is_newer AND v.kind IN ('not_on_statement', 'return_unrecorded') THEN '' ELSE v.kind END,
       o.id, o.affiliate_id, o.currency,
       CASE v.kind
         WHEN 'paid_twice' THEN coalesce(o.own, (o.facts).state)
         WHEN 'paid_unrecorded' THEN (o.facts).state
         WHEN 'not_on_statement' THEN o.own
         WHEN 'amount_differs' THEN o.amount_minor::text
         WHEN 'currency_differs' THEN o.currency
         WHEN 'destination_differs' THEN m.destination
         WHEN 'reference_differs' THEN o.own
         WHEN 'return_unrecorded' THEN (o.facts).state
       END,
       CASE v.kind
         WHEN 'paid_twice' THEN
           (SELECT string_agg(DISTINCT r, ', ' ORDER BY r) FROM unnest(ARRAY[o.low, o.high, o.proof_low, o.proof_high]) AS r)
             || CASE WHEN (o.facts).payments > 1 THEN ' (' || (o.facts).payments || ' lines)' ELSE '' END
         WHEN 'paid_unrecorded' THEN coalesce(o.low, o.proof_low)
         WHEN 'amount_differs' THEN o.other_amount::text
         WHEN 'currency_differs' THEN o.other_currency
         WHEN 'destination_differs' THEN o.other_destination
         WHEN 'reference_differs' THEN o.low
         WHEN 'return_unrecorded' THEN CASE WHEN (o.facts).returned THEN 'returned ' || o.back_low END
       END
  FROM unnest($1::text[], $2::int[], $3::text[]) AS v (combination, place, kind)
  JOIN odd o ON o.facts = v.combination::pg_temp.payout_facts
  LEFT JOIN payout_method m ON m.id = o.method_id AND m.tenant_id = o.tenant_id
 ORDER BY v.place, o.id";

impl Reconciliation {
    /// Finds what the statement says otherwise. `silent` are the payouts whose payments stand on no statement, as
    /// ranges.
    pub(super) async fn payouts_compare(&mut self, silent: &str) -> Result<(), StoreError> {
        let (first, last) = self.run.id.payouts();
        let asked_in = self.asked_in.clone();
        self.step("compare_odd", |q| q.bind(first.0).bind(last.0).bind(silent).bind(asked_in), ODD).await?;
        let combinations =
            sqlx::query(COMBINATIONS).fetch_all(&mut self.connection).await.step("compare_combinations")?;
        let (mut broken_facts, mut places, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for row in &combinations {
            let combination: &str = row.try_get("combination").step("compare_combinations")?;
            for kind in broken(&facts(row)?) {
                broken_facts.push(combination);
                places.push(place(kind));
                kinds.push(kind.code());
            }
        }
        if kinds.is_empty() {
            return Ok(());
        }
        self.step("compare_statement", |q| q.bind(broken_facts).bind(places).bind(kinds), BROKEN).await
    }
}

/// Where findings of a kind stand in the report.
fn place(kind: DiscrepancyKind) -> i32 {
    OF_A_PAYOUT.iter().zip(0..).find(|((other, _), _)| *other == kind).map_or(i32::MAX, |(_, place)| place)
}

fn facts(row: &PgRow) -> Result<PayoutFacts, StoreError> {
    let says = |column: &str| row.try_get::<bool, _>(column).step("payout_facts");
    let payments: i32 = row.try_get("payments").step("payout_facts")?;
    Ok(PayoutFacts {
        state: word(row, "state")?,
        payments: payments.unsigned_abs(),
        proof: match row.try_get("proof").step("payout_facts")? {
            "none" => Proof::None,
            "one payment" => Proof::OnePayment,
            _ => Proof::SeveralPayments,
        },
        returned: says("returned")?,
        ours_returned: says("ours_returned")?,
        reference_differs: says("reference_differs")?,
        amount_differs: says("amount_differs")?,
        currency_differs: says("currency_differs")?,
        destination_differs: says("destination_differs")?,
        is_listed: says("is_listed")?,
    })
}

#[cfg(test)]
mod tests {
    use payfleet_domain::PayoutState;
    use payfleet_domain::invariant::{PayoutFacts, broken};

    /// The condition of `ODD` in other words.
    #[test]
    fn nothing_can_be_broken_about_the_payouts_that_are_not_judged() {
        for is_listed in [true, false] {
            let paid = PayoutFacts { is_listed, ..PayoutFacts::as_planned(PayoutState::Paid, 1) };
            assert_eq!(broken(&paid), []);
            for state in PayoutState::ALL {
                let unheard_of = PayoutFacts { is_listed, ..PayoutFacts::as_planned(state, 0) };
                let is_settled = matches!(state, PayoutState::Paid | PayoutState::Returned);
                assert!(is_settled || broken(&unheard_of).is_empty(), "{state}");
            }
        }
    }
}
