//! Where the payouts of a piece stand, and what the piece says of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use payfleet_domain::{Movement, PayoutEvent, PayoutId, PayoutState, RunId, StatementLine};
use sqlx::PgConnection;

use super::lines::{Matched, Odd, Plain};
use super::piece::Told;
use super::reading::StatementSource;
use crate::connect::{Step, StoreError};
use crate::payout::News;

/// The code of what a rail had accepted and refused later.
const REJECTED: &str = "rejected";

/// Where the payouts of a piece stand.
#[derive(Debug)]
pub(super) struct Standings(HashMap<PayoutId, Standing>);

#[derive(Debug)]
struct Standing {
    state: PayoutState,
    reference: Option<String>,
    /// Nothing of its batch was ever sent.
    is_unsent: bool,
}

impl Standings {
    pub(super) async fn read(tx: &mut PgConnection, matched: &Matched) -> Result<Standings, StoreError> {
        let odd = matched.odd.iter().chain(&matched.rejected);
        let ids = matched.plain.iter().map(|plain| plain.payout).chain(odd.filter_map(|odd| odd.payout));
        let ids: Vec<i64> = ids.map(|id| id.0).collect::<BTreeSet<_>>().into_iter().collect();
        let read = "statement_standings";
        // One row of columns as arrays: a row for each payout would cost more to send and to take apart than to find.
        let (ids, states, references, unsent): (Vec<i64>, Vec<String>, Vec<Option<String>>, Vec<bool>) =
            sqlx::query_as(
                "-- statement_standings
                 SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(state), '{}'),
                        coalesce(array_agg(reference), '{}'), coalesce(array_agg(is_unsent), '{}')
                   FROM (SELECT p.id, p.state, p.reference, p.state IN ('planned', 'held') AND EXISTS (
                                  SELECT FROM batch b
                                   WHERE b.run_id = p.run_id AND b.state IN ('ready', 'held')
                                     AND b.first_sent_at IS NULL
                                     AND p.id BETWEEN b.first_payout_id AND b.last_payout_id) AS is_unsent
                           FROM payout p WHERE p.id = ANY($1) AND p.id BETWEEN $2 AND $3) AS p",
            )
            .bind(&ids)
            .bind(ids.first())
            .bind(ids.last())
            .persistent(false)
            .fetch_one(tx)
            .await
            .step(read)?;
        let mut standings = HashMap::with_capacity(ids.len());
        for (((id, state), reference), is_unsent) in ids.into_iter().zip(states).zip(references).zip(unsent) {
            let state = state.parse().map_err(StoreError::Broken)?;
            standings.insert(PayoutId(id), Standing { state, reference, is_unsent });
        }
        Ok(Standings(standings))
    }

    pub(super) fn states(&self) -> HashMap<PayoutId, PayoutState> {
        self.0.iter().map(|(id, standing)| (*id, standing.state)).collect()
    }

    /// What came back since, and what is paid now whose money had been due again.
    pub(super) fn told_since(&self, before: &HashMap<PayoutId, PayoutState>) -> BTreeMap<RunId, Told> {
        use PayoutState as S;
        let mut payouts: Vec<PayoutId> = self.0.keys().copied().collect();
        payouts.sort_unstable();
        let mut told = BTreeMap::<RunId, Told>::new();
        for payout in payouts {
            let (stood, stands) = (before.get(&payout), self.0.get(&payout).map(|standing| standing.state));
            let is_told = match (stood, stands) {
                (Some(stood), Some(S::Returned)) => *stood != S::Returned,
                (Some(stood), Some(S::Paid)) => matches!(stood, S::Refused | S::Cancelled | S::Returned),
                _ => false,
            };
            if is_told {
                *told.entry(payout.run()).or_default() += Told { count: 1, payouts: vec![payout] };
            }
        }
        told
    }

    /// Whether the line is of the payment that we know of.
    pub(super) fn is_known(&self, plain: &Plain) -> bool {
        self.0.get(&plain.payout).is_some_and(|standing| {
            let is_settled = matches!(standing.state, PayoutState::Paid | PayoutState::Returned);
            is_settled && standing.reference.as_deref() == Some(&plain.line.reference)
        })
    }

    /// Payouts of which nothing was ever sent, as far as we know, and of which a statement says that they were paid or
    /// came back; with one line of each.
    pub(super) fn unsent<'a>(&self, matched: &'a Matched) -> BTreeMap<PayoutId, &'a StatementLine> {
        let plain = matched.plain.iter().map(|plain| (plain.payout, &plain.line));
        let odd = matched.odd.iter().filter_map(|odd| odd.payout.map(|payout| (payout, &odd.line)));
        let is_unsent = |id: &PayoutId| self.0.get(id).is_some_and(|standing| standing.is_unsent);
        plain.chain(odd).filter(|(id, _)| is_unsent(id)).collect()
    }

    pub(super) fn is_held(&self, payout: PayoutId) -> bool {
        self.0.get(&payout).is_some_and(|one| one.state == PayoutState::Held)
    }

    pub(super) fn is_settled(&self, payout: PayoutId) -> bool {
        self.0.get(&payout).is_some_and(|one| matches!(one.state, PayoutState::Paid | PayoutState::Returned))
    }

    /// Refusals of payouts that wait, or are held, because the rail had accepted them; and all others. A refusal that
    /// differs from what was ordered is of something else.
    pub(super) fn rejected(&self, matched: &Matched) -> (News, News) {
        let waits = |one: &&Odd| {
            let standing = one.payout.and_then(|payout| self.0.get(&payout));
            let was_accepted = standing.is_some_and(|standing| {
                matches!(standing.state, PayoutState::Accepted | PayoutState::Held) && standing.reference.is_some()
            });
            was_accepted && !one.differs.in_something() && !one.differs_account
        };
        let (waiting, others): (Vec<_>, Vec<_>) = matched.rejected.iter().partition(waits);
        let news = |some: Vec<&Odd>| {
            let ids: BTreeSet<i64> = some.into_iter().filter_map(|one| one.payout.map(|payout| payout.0)).collect();
            News { words: vec![REJECTED.to_owned(); ids.len()], ids: ids.into_iter().collect() }
        };
        (news(waiting), news(others))
    }

    /// Payments of payouts whose outcome is open, by payout; if the rail itself says so, also of those that were never
    /// sent, as far as we know. What came back went out before.
    pub(super) fn proven(&self, matched: &Matched, source: &StatementSource) -> News {
        let is_rail = *source == StatementSource::Rail;
        let open = |payout: &PayoutId| {
            self.0.get(payout).is_some_and(|standing| {
                (is_rail || !standing.is_unsent) && standing.state.after(PayoutEvent::Pay).is_ok()
            })
        };
        let mut proven = BTreeMap::<i64, String>::new();
        for plain in matched.plain.iter().filter(|plain| open(&plain.payout)) {
            proven.entry(plain.payout.0).or_insert_with(|| plain.line.reference.clone());
        }
        for odd in matched.odd.iter().filter(|odd| is_rail && odd.line.movement == Movement::Returned && odd.counts()) {
            let Some(payout) = odd.payout.filter(open) else { continue };
            let accepted = self.0.get(&payout).and_then(|standing| standing.reference.clone());
            let name = odd.line.of.clone().or(accepted).unwrap_or_else(|| odd.line.reference.clone());
            proven.entry(payout.0).or_insert(name);
        }
        let (ids, words) = proven.into_iter().unzip();
        News { ids, words }
    }
}
