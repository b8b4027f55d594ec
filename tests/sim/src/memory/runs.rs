//! Planning, closing, stopping: runs as `store` has them.

use payfleet_domain::invariant::{Total, run_adds_up};
use payfleet_domain::{
    BatchId, BatchState, Epoch, PayoutId, PayoutState, Rail, RunId, RunState, TenantId, TransferKind,
};
use payfleet_store::{
    CloseVerdict, NewRun, NotBalanced, PlanProgress, Planned, RunChangeError, RunCreateError, RunRow, StoreError,
};
use uuid::Uuid;

use super::{Batch, Exclusion, Memory, Payout, Run};

/// A minimum of 1.00.
const MINIMUM_MINOR: i64 = 100;

impl Memory {
    fn not_balanced() -> NotBalanced {
        NotBalanced { currency: "EUR".to_owned(), payouts: (0, 0), exclusions: (0, 0) }
    }

    pub(super) fn run(&mut self, id: RunId) -> Result<&mut Run, StoreError> {
        self.runs.get_mut(&id).ok_or_else(|| StoreError::Broken(format!("run {id} does not exist")))
    }

    pub(super) fn create(&mut self, new: NewRun) -> Result<(RunRow, bool), RunCreateError> {
        let period = new.period.to_string();
        let same = |run: &&Run| run.row.period == period && run.row.sequence == new.sequence;
        if let Some(run) = self.runs.values().find(same) {
            return Ok((run.row.clone(), false));
        }
        let last = self.runs.values().next_back();
        if let Some(last) = last.filter(|last| last.row.state == RunState::Planning) {
            return Err(RunCreateError::StillPlanning(last.row.id));
        }
        let id = RunId(last.map_or(1, |last| last.row.id.0 + 1));
        let row = RunRow {
            id,
            tenant: TenantId(1),
            tenant_name: "shop".to_owned(),
            key: Uuid::from_u128(id.0 as u128),
            period,
            sequence: new.sequence,
            ordinal: last.map_or(1, |last| last.row.ordinal + 1),
            opens_after: last.map(|last| last.row.cutoff),
            cutoff: new.period.cutoff(),
            minimum: new.minimum,
            state: RunState::Planning,
            verdict: None,
            pause_reason: None,
            payouts: 0,
            created_at: self.now,
            paying_at: None,
            settled_at: None,
        };
        let run =
            Run { row: row.clone(), paused: false, stop_no: 0, cursor: 0, news_no: 1, judged_news: 0, verdict: None };
        self.runs.insert(id, run);
        Ok((row, true))
    }

    /// What a run has earned for an affiliate: that of its own period.
    pub(super) fn earned(&self, run: RunId, affiliate: usize) -> i64 {
        let ordinal = self.runs[&run].row.ordinal;
        self.scenario.affiliates[affiliate].earned.get(ordinal as usize - 1).copied().unwrap_or(0)
    }

    /// What became due again, or was proven late, since a run was created.
    fn due_later(&self, run: RunId, affiliate: usize) -> i64 {
        let ordinal = self.runs[&run].row.ordinal;
        let own = self.payouts.values().filter(|payout| payout.affiliate == affiliate);
        let moved = own.flat_map(|payout| payout.transfers.iter().map(|moved| (payout.amount_minor, moved)));
        let later = moved.filter(|(_, (_, due_in))| **due_in > Some(ordinal));
        later.map(|(amount, (kind, _))| if kind.takes_back() { -amount } else { amount }).sum()
    }

    pub(super) fn plan(&mut self, id: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError> {
        let everybody = self.scenario.affiliates.len();
        let run = self.run(id)?;
        if run.row.state != RunState::Planning {
            return Ok(Planned::Complete);
        }
        if run.paused {
            return Ok(Planned::Paused);
        }
        let from = run.cursor;
        if from == everybody {
            run.row.state = RunState::Planned;
            return Ok(Planned::Complete);
        }
        let up_to = everybody.min(from + chunk as usize);
        run.cursor = up_to;
        let mut paid: Vec<(&'static str, usize, i64, i64)> = Vec::new();
        for affiliate in from..up_to {
            // What became due again since the run was created is the next one's.
            let later = self.due_later(id, affiliate);
            let carried_minor = self.carried[affiliate] - later;
            let amount_minor = carried_minor + self.earned(id, affiliate);
            let rail = self.scenario.affiliates[affiliate].rail;
            match rail.filter(|_| amount_minor >= MINIMUM_MINOR && self.may_be_planned(affiliate)) {
                Some(rail) => {
                    paid.push((rail, affiliate, amount_minor, carried_minor));
                    self.carried[affiliate] = later;
                }
                None => {
                    if amount_minor != 0 {
                        self.exclusions.push(Exclusion { run: id, affiliate, amount_minor, carried_minor });
                    }
                    self.carried[affiliate] = amount_minor + later;
                }
            }
        }
        paid.sort_unstable();
        let mut open: Option<(&'static str, u32)> = None;
        for (place, (name, affiliate, amount_minor, carried_minor)) in (from as i64..).zip(paid) {
            let rail = Rail::named(name).map_err(|unknown| StoreError::Broken(unknown.to_string()))?;
            let run = self.run(id)?;
            let payout = PayoutId((id.0 << 32) + place);
            run.row.payouts += 1;
            let transfers = [(TransferKind::Reserve, None)].into_iter().collect();
            self.payouts.insert(
                payout,
                Payout {
                    run: id,
                    affiliate,
                    amount_minor,
                    carried_minor,
                    state: PayoutState::Planned,
                    reference: None,
                    settled_as: None,
                    settled_at: None,
                    transfers,
                    is_listed: false,
                    is_filed: false,
                    movements: Default::default(),
                    wrong_returns: Default::default(),
                    is_contested: false,
                    differs: Default::default(),
                    held: Default::default(),
                },
            );
            let size = rail.payouts_per_batch.min(batch_size);
            match &mut open {
                Some((current, filled)) if *current == name && *filled < size => {
                    *filled += 1;
                    if let Some((_, batch)) = self.batches.iter_mut().next_back() {
                        batch.last = payout;
                    }
                }
                _ => {
                    open = Some((name, 1));
                    let next = BatchId(self.batches.last_key_value().map_or(1, |(id, _)| id.0 + 1));
                    self.batches.insert(
                        next,
                        Batch {
                            run: id,
                            rail,
                            first: payout,
                            last: payout,
                            parent: None,
                            state: BatchState::Ready,
                            available_at: None,
                            epoch: Epoch(0),
                            lease_until: None,
                            first_sent_at: None,
                            stalled_leases: 0,
                            unknown_attempts: 0,
                            failures: 0,
                            stop_seen: 0,
                            attempts: Default::default(),
                            attempt: 0,
                        },
                    );
                }
            }
        }
        Ok(Planned::Chunk(PlanProgress { affiliates: (from as i64, up_to as i64), accounts: (up_to - from) as i64 }))
    }

    pub(super) fn has_open(&self, run: RunId) -> bool {
        self.batches.values().any(|batch| batch.run == run && batch.state.is_open())
    }

    /// What was due, and what is accounted for.
    fn totals(&self, run: RunId) -> (Total, Total) {
        let total = |amounts: Vec<i64>| Total {
            accounts: amounts.len() as i64,
            amount_minor: amounts.into_iter().map(i128::from).sum(),
        };
        let payouts = || self.payouts.values().filter(|payout| payout.run == run);
        let due = payouts().map(|payout| payout.amount_minor).collect();
        let accounted =
            payouts().filter(|payout| payout.state.is_accounted_for()).map(|payout| payout.amount_minor).collect();
        (total(due), total(accounted))
    }

    /// G5.
    pub(super) fn close(&mut self, id: RunId) -> Result<CloseVerdict, StoreError> {
        let (now, open) = (self.now, self.has_open(id));
        let (due, accounted) = self.totals(id);
        let run = self.run(id)?;
        let may_close = matches!(run.row.state, RunState::Paying | RunState::Cancelled) && run.row.settled_at.is_none();
        if !may_close || run.paused || open {
            return Ok(CloseVerdict::NotYet);
        }
        if !run_adds_up(due, accounted) {
            run.paused = true;
            return Ok(CloseVerdict::NotBalanced(Memory::not_balanced()));
        }
        if run.row.state == RunState::Paying {
            run.row.state = RunState::Settled;
        }
        run.row.settled_at = Some(now);
        Ok(CloseVerdict::Settled)
    }

    pub(super) fn illegal(&self, id: RunId, wanted: &'static str) -> RunChangeError {
        match self.runs.get(&id) {
            None => RunChangeError::Unknown(id),
            Some(run) => RunChangeError::Illegal { run: id, state: run.row.state, wanted },
        }
    }
}
