//! Transfers against states. There are few combinations of the two: all are judged beforehand, and SQL finds the
//! payouts that have none of the good ones, in one pass and without a word of its own about which those are.

use std::collections::BTreeMap;

use payfleet_domain::invariant::{TransferFacts, ledger_follows_state, ledger_sums_to_zero};
use payfleet_domain::{DiscrepancyKind, PayoutState};
use sqlx::Executor;

use super::Reconciliation;
use super::due::Findings;
use crate::connect::{Step, StoreError};

/// Bit n of `kinds` is a transfer of kind n; $3 to $5 are the good combinations. A transfer without a payout has none.
const LEDGER: &str = "-- compare_ledger
WITH good AS (SELECT * FROM unnest($3::text[], $4::int[], $5::boolean[]) AS g (state, kinds, amounts_agree)),
 posted AS (
  SELECT payout_id, bit_or(1 << kind) AS kinds, min(amount_minor) AS low, max(amount_minor) AS high,
         min(currency) AS currency_low, max(currency) AS currency_high
    FROM transfer WHERE payout_id BETWEEN $1 AND $2 GROUP BY payout_id),
 compared AS (
  SELECT coalesce(p.id, t.payout_id) AS id, p.affiliate_id, coalesce(p.currency, t.currency_low)::text AS currency, p.state, p.amount_minor, t.kinds,
         t.low = p.amount_minor AND t.high = p.amount_minor AND t.currency_low = p.currency AND t.currency_high = p.currency AS amounts_agree
    FROM (SELECT * FROM payout WHERE id BETWEEN $1 AND $2) AS p FULL JOIN posted t ON t.payout_id = p.id)
INSERT INTO finding (kind, payout_id, affiliate_id, currency, expected, found)
SELECT 'ledger_out_of_balance', c.id, c.affiliate_id, c.currency,
       coalesce(c.state || ' ' || c.amount_minor || ': '
                  || (SELECT string_agg(k.name, ', ' ORDER BY k.kind) FROM transfer_kind k
                       WHERE (SELECT max(g.kinds) FROM good g WHERE g.state = c.state) & (1 << k.kind) <> 0), 'no such payout'),
       coalesce((SELECT string_agg(k.name || ' ' || t.amount_minor || CASE WHEN t.currency <> c.currency THEN ' ' || t.currency ELSE '' END, ', ' ORDER BY k.kind)
                   FROM transfer t JOIN transfer_kind k USING (kind) WHERE t.payout_id = c.id), 'no transfer')
  FROM compared c
 WHERE (coalesce(c.state, ''), coalesce(c.kinds, 0), coalesce(c.amounts_agree, false)) NOT IN (SELECT * FROM good)
 ORDER BY 2";

/// Debits and credits of the run's transfers. A kind that does not say whose the two sides are moves money out of nowhere.
const SUMS: &str = "-- compare_ledger_sums
SELECT currency::text, sum(CASE WHEN k.kind IS NULL THEN moved ELSE moved - moved END)::text
  FROM (SELECT kind, currency, sum(amount_minor) AS moved FROM transfer WHERE payout_id BETWEEN $1 AND $2 GROUP BY kind, currency) AS t
  LEFT JOIN transfer_kind k USING (kind) GROUP BY currency ORDER BY currency";

/// The kinds of transfers, as bits: 0 reserve, 2 settle, 3 release, 4 return.
const RESERVE: i32 = 1;
const SETTLE: i32 = 1 << 2;
const RELEASE: i32 = 1 << 3;
const RETURN: i32 = 1 << 4;

impl Reconciliation {
    /// Finds payouts whose transfers do not say what their state says, and transfers of no payout.
    pub(super) async fn ledger_compare(&mut self) -> Result<(), StoreError> {
        let (first, last) = self.run.id.payouts();
        let (mut states, mut kinds, mut agreements) = (Vec::new(), Vec::new(), Vec::new());
        for (state, of_kinds, amounts_agree) in good() {
            states.push(state.as_str());
            kinds.push(of_kinds);
            agreements.push(amounts_agree);
        }
        let bind = |q: super::compare::Statement<'static>| {
            q.bind(first.0).bind(last.0).bind(states).bind(kinds).bind(agreements)
        };
        self.step("compare_ledger", bind, LEDGER).await?;
        self.ledger_sum().await
    }

    /// Finds currencies in which debits and credits do not cancel out.
    async fn ledger_sum(&mut self) -> Result<(), StoreError> {
        let (first, last) = self.run.id.payouts();
        let step = "compare_ledger_sums";
        // A handful of groups, of a million rows: not to be sorted for.
        self.connection.execute("-- hash_on\nSET LOCAL enable_hashagg = on").await.step(step)?;
        let rows: Vec<(String, String)> =
            sqlx::query_as(SUMS).bind(first.0).bind(last.0).fetch_all(&mut self.connection).await.step(step)?;
        self.connection.execute("-- hash_off\nSET LOCAL enable_hashagg = off").await.step(step)?;
        let mut found = Findings::default();
        for (currency, sum) in rows {
            let sum: i128 = sum.parse().map_err(|_| StoreError::Broken(format!("`{sum}` is no sum of money")))?;
            if !ledger_sums_to_zero(&BTreeMap::from([(currency.clone(), sum)])) {
                found.push(
                    None,
                    currency,
                    "transfers with two sides".to_owned(),
                    format!("{sum} minor units from nowhere"),
                );
            }
        }
        found.write(&mut self.connection, DiscrepancyKind::LedgerOutOfBalance.code()).await
    }
}

/// Every state with the kinds of transfers that follow it.
fn good() -> impl Iterator<Item = (PayoutState, i32, bool)> {
    let all = RESERVE | SETTLE | RELEASE | RETURN;
    let kinds = (0..=all).filter(move |kinds| kinds & !all == 0);
    let combined = kinds.flat_map(|kinds| PayoutState::ALL.map(|state| [(state, kinds, false), (state, kinds, true)]));
    combined.flatten().filter(|(state, kinds, amounts_agree)| {
        let facts = TransferFacts {
            reserved: kinds & RESERVE != 0,
            settled: kinds & SETTLE != 0,
            released: kinds & RELEASE != 0,
            returned: kinds & RETURN != 0,
            amounts_agree: *amounts_agree,
        };
        ledger_follows_state(*state, &facts)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_one_good_combination_of_transfers() {
        let mut states: Vec<_> = good().map(|(state, _, amounts_agree)| (state, amounts_agree)).collect();
        states.sort();
        let mut all = PayoutState::ALL.map(|state| (state, true));
        all.sort();
        assert_eq!(states, all);
    }
}
