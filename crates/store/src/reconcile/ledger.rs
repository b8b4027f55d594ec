//! Transfers against states. There are few combinations of the two: all are judged beforehand, and SQL finds the
//! payouts that have none of the good ones, in one pass and without a word of its own about which those are.

use std::collections::BTreeMap;

use payfleet_domain::invariant::{TransferFacts, ledger_follows_state, ledger_sums_to_zero};
use payfleet_domain::{DiscrepancyKind, PayoutState, TransferKind};
use sqlx::Executor;

use super::Reconciliation;
use super::due::Findings;
use crate::connect::{Step, StoreError};

/// Bit n of `kinds` is a transfer of kind n; $3 to $5 are the good combinations. A transfer without a payout has none.
const LEDGER: &str = "-- compare_ledger
WITH good AS (SELECT * FROM unnest($3::text[], $4::bigint[], $5::boolean[]) AS g (state, kinds, amounts_agree)),
 posted AS (
  SELECT payout_id, bit_or(1::bigint << kind) AS kinds, min(amount_minor) AS low, max(amount_minor) AS high,
         min(currency) AS currency_low, max(currency) AS currency_high
    FROM transfer WHERE payout_id BETWEEN $1 AND $2 GROUP BY payout_id),
 compared AS (
  SELECT coalesce(p.id, t.payout_id) AS id, p.affiliate_id, coalesce(p.currency, t.currency_low)::text AS currency,
    p.state, p.amount_minor, t.kinds,
         CASE WHEN t.kinds & $6 = 0 THEN t.low = p.amount_minor AND t.high = p.amount_minor
              -- A return and its fee count together.
              ELSE (SELECT bool_and(minor = p.amount_minor) FROM (
                      SELECT sum(amount_minor) AS minor FROM transfer WHERE payout_id = p.id GROUP BY CASE
                        WHEN kind >= $8 THEN kind - $7 ELSE kind END) AS step)
         END AND t.currency_low = p.currency AND t.currency_high = p.currency AS amounts_agree
    FROM (SELECT * FROM payout WHERE id BETWEEN $1 AND $2) AS p FULL JOIN posted t ON t.payout_id = p.id)
INSERT INTO finding (kind, payout_id, affiliate_id, currency, expected, found)
SELECT 'ledger_out_of_balance', c.id, c.affiliate_id, c.currency,
       coalesce(c.state || ' ' || c.amount_minor || ': '
                  || (SELECT string_agg(k.name, ', ' ORDER BY k.kind) FROM transfer_kind k
                       WHERE (SELECT min(g.kinds) FROM good g WHERE g.state = c.state) & (1::bigint << k.kind) <> 0),
                         'no such payout'),
       coalesce((SELECT string_agg(k.name || ' ' || t.amount_minor || CASE
         WHEN t.currency <> c.currency THEN ' ' || t.currency ELSE '' END, ', ' ORDER BY k.kind)
                   FROM transfer t JOIN transfer_kind k USING (kind) WHERE t.payout_id = c.id), 'no transfer')
  FROM compared c
 WHERE (coalesce(c.state, ''), coalesce(c.kinds, 0), coalesce(c.amounts_agree, false)) NOT IN (SELECT * FROM good)
 ORDER BY 2";

/// All accounts that the run's transfers name, each with what it got less what it gave, added up. A kind that does not
/// say whose its two sides are moves money out of nowhere.
const SUMS: &str = "-- compare_ledger_sums
WITH moved AS (SELECT kind, currency, sum(amount_minor) AS minor FROM transfer WHERE payout_id BETWEEN $1 AND $2
  GROUP BY kind, currency),
 side AS (
  SELECT currency, credit AS account, minor FROM moved LEFT JOIN transfer_kind USING (kind)
   UNION ALL SELECT currency, debit, -minor FROM moved JOIN transfer_kind USING (kind)),
 balance AS (SELECT currency, account, sum(minor) AS minor FROM side GROUP BY currency, account)
SELECT currency::text, sum(minor)::text FROM balance GROUP BY currency ORDER BY currency";

fn bit(kind: TransferKind) -> i64 {
    1 << kind.number()
}

impl Reconciliation {
    /// Finds payouts whose transfers do not say what their state says, and transfers of no payout.
    pub(super) async fn ledger_compare(&mut self) -> Result<(), StoreError> {
        let (first, last) = self.run.id.payouts();
        let (mut states, mut kinds, mut agreements) = (Vec::new(), Vec::new(), Vec::new());
        let fees: i64 = TransferKind::FEES.into_iter().map(bit).sum();
        for (state, of_kinds, amounts_agree) in good() {
            states.push(state.as_str());
            kinds.push(of_kinds);
            agreements.push(amounts_agree);
        }
        let bind = |q: super::compare::Statement<'static>| {
            q.bind(first.0)
                .bind(last.0)
                .bind(states)
                .bind(kinds)
                .bind(agreements)
                .bind(fees)
                .bind(TransferKind::FEE_OF)
                .bind(TransferKind::Fee.number())
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
            sqlx::query_as(SUMS).bind(first.0).bind(last.0).fetch_all(&mut *self.connection).await.step(step)?;
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
fn good() -> impl Iterator<Item = (PayoutState, i64, bool)> {
    let sets = (0..1_u32 << TransferKind::ALL.len()).map(|set| {
        let some = TransferKind::ALL.into_iter().zip(0..).filter(move |(_, place)| set >> place & 1 == 1);
        some.map(|(kind, _)| kind).collect::<Vec<TransferKind>>()
    });
    sets.filter(|kinds| TransferKind::are_in_turn(|kind| kinds.contains(&kind))).flat_map(|kinds| {
        let has = |kind: TransferKind| kinds.contains(&kind);
        let (returns, lates) = TransferKind::turns(has);
        let facts = TransferFacts {
            reserved: has(TransferKind::Reserve),
            settled: has(TransferKind::Settle),
            released: has(TransferKind::Release),
            returns: returns as u32,
            lates: lates as u32,
            amounts_agree: true,
        };
        let bits: i64 = kinds.iter().map(|kind| bit(*kind)).sum();
        PayoutState::ALL
            .into_iter()
            .filter(move |state| ledger_follows_state(*state, &facts))
            .map(move |state| (state, bits, true))
    })
}

#[cfg(test)]
mod tests {
    use payfleet_domain::TransferKind::{Late, Release, Reserve, Return, SecondReturn, Settle};

    use super::*;

    #[test]
    fn each_state_has_its_good_combinations_of_transfers() {
        let of = |state: PayoutState| {
            let mut combinations: Vec<i64> = good()
                .filter(|(of, _, _)| *of == state)
                .map(|(_, kinds, _)| kinds & !TransferKind::FEES.into_iter().map(bit).sum::<i64>())
                .collect();
            combinations.sort_unstable();
            combinations.dedup();
            combinations
        };
        let sum = |kinds: &[TransferKind]| kinds.iter().map(|kind| bit(*kind)).sum::<i64>();
        for state in [PayoutState::Planned, PayoutState::Accepted, PayoutState::Unknown, PayoutState::Held] {
            assert_eq!(of(state), [sum(&[Reserve])], "{state}");
        }
        for state in [PayoutState::Refused, PayoutState::Cancelled] {
            assert_eq!(of(state), [sum(&[Reserve, Release])], "{state}");
        }
        let paid = of(PayoutState::Paid);
        assert!(paid.contains(&sum(&[Reserve, Settle])) && paid.contains(&sum(&[Reserve, Release, Late])));
        let returned = of(PayoutState::Returned);
        assert!(returned.contains(&sum(&[Reserve, Settle, Return])));
        assert!(!returned.contains(&sum(&[Reserve, Settle, SecondReturn])));
    }
}
