//! One affiliate's money over several runs, and a rail that goes on after its first answer: it pays what it refused,
//! pays twice, gives money back. There are no workers here; what one request may do is explored in `world.rs`.
//!
//! Statements lag: a line is read whenever, or while the run is judged not yet. A person may hand in a file that says
//! what is not so; a second one looks at the rail first.

use std::fmt;

use payfleet_domain::{PayoutState, Rule};

use crate::explorer::{Step, World};
use crate::promise::Promise;
use crate::world::Rules;

/// Runs that may pay the money.
const RUNS: usize = 3;
/// References that the rail may have for one payout.
const REFERENCES: usize = 2;
/// How often the rail may do what its class denies, or give money back.
const MOVES: u8 = 3;
/// How often a file may say what is not so.
const LIES: u8 = 1;

/// One payment, at the rail or as far as we have read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Hash)]
pub enum Payment {
    None,
    Paid,
    Returned,
}

/// A run's payout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Payout {
    state: PayoutState,
    real: [Payment; REFERENCES],
    /// By answers and by statements that were fetched with our credential.
    known: [Payment; REFERENCES],
    /// A file says that the first payment came back; nobody else has looked yet.
    claimed: bool,
    is_reconciled: Option<bool>,
}

/// Everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    payouts: [Option<Payout>; RUNS],
    /// What the next plan would pay; below zero it is a debt. One is what was earned.
    balance: i8,
    contested: bool,
    moves: u8,
    lies: u8,
    broken: Option<Promise>,
}

/// What may happen, to the payout of a run.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    Plan(usize),
    Pays(usize),
    Refuses(usize),
    PaysLate(usize),
    PaysTwice(usize),
    GivesBack(usize, usize),
    Read(usize, usize),
    Judge(usize),
    File(usize),
    Confirm(usize),
    Dismiss(usize),
    Lift,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Action::Plan(run) => write!(f, "run {} plans what is due", run + 1),
            Action::Pays(run) => write!(f, "the rail pays in run {}", run + 1),
            Action::Refuses(run) => write!(f, "the rail refuses in run {}, or it is cancelled", run + 1),
            Action::PaysLate(run) => write!(f, "the rail pays in run {} after all", run + 1),
            Action::PaysTwice(run) => write!(f, "the rail pays again in run {}", run + 1),
            Action::GivesBack(run, n) => write!(f, "payment {} of run {} comes back", n + 1, run + 1),
            Action::Read(run, n) => write!(f, "a statement's line about payment {} of run {} is read", n + 1, run + 1),
            Action::Judge(run) => write!(f, "run {} is judged", run + 1),
            Action::File(run) => write!(f, "a file says that the payment of run {} came back", run + 1),
            Action::Confirm(run) => write!(f, "a second person confirms it of run {}", run + 1),
            Action::Dismiss(run) => write!(f, "a second person denies it of run {}", run + 1),
            Action::Lift => write!(f, "two people have looked at the contested account"),
        }
    }
}

impl Payout {
    /// What was paid less what came back, over all references.
    fn net(payments: &[Payment; REFERENCES]) -> usize {
        payments.iter().filter(|payment| **payment == Payment::Paid).count()
    }

    fn is_open(&self) -> bool {
        self.state == PayoutState::Planned
    }

    /// Whether the rail's word and ours are one: paid once and not come back, or nothing.
    fn agrees(&self, payments: &[Payment; REFERENCES]) -> bool {
        Payout::net(payments) == usize::from(self.state == PayoutState::Paid)
    }
}

/// The rules that are kept.
pub struct Books {
    pub rules: Rules,
    /// The broken promise that is looked for; any, if `None`.
    pub sought: Option<Promise>,
}

type Steps = Vec<Step<State, Action>>;

impl World for Books {
    type State = State;
    type Action = Action;
    type Promise = Promise;

    fn start(&self) -> State {
        let payouts = [None; RUNS];
        State { payouts, balance: 1, contested: false, moves: MOVES, lies: LIES, broken: None }
    }

    fn steps(&self, state: &State, into: &mut Steps) {
        let mut add = |action: Action, is_fault: bool, next: State| into.push(Step { action, is_fault, next });
        if let Some(run) = state.payouts.iter().position(Option::is_none)
            && state.balance > 0
            && !state.contested
        {
            add(Action::Plan(run), false, state.plan(run));
        }
        if state.contested {
            add(Action::Lift, false, State { contested: false, ..*state });
        }
        for (run, payout) in state.payouts.iter().enumerate() {
            if let Some(payout) = payout {
                self.life(state, run, payout, &mut add);
                self.news(state, run, payout, &mut add);
            }
        }
    }

    fn broken(&self, state: &State) -> Option<Promise> {
        state.promise_broken().filter(|promise| self.sought.is_none_or(|sought| sought == *promise))
    }

    fn is_end(&self, state: &State) -> bool {
        let settled = |payout: &Payout| {
            !payout.is_open() && payout.real == payout.known && !payout.claimed && payout.is_reconciled.is_some()
        };
        let money_rests = (state.balance <= 0 || state.payouts[RUNS - 1].is_some()) && !state.contested;
        money_rests && state.payouts.iter().flatten().all(settled)
    }

    fn stuck(&self) -> Promise {
        Promise::ItEnds
    }
}

impl Books {
    /// What the rail does, in time and afterwards.
    fn life(&self, state: &State, run: usize, payout: &Payout, add: &mut impl FnMut(Action, bool, State)) {
        if payout.is_open() {
            let paid = [Payment::Paid, Payment::None];
            let mut next = *payout;
            (next.state, next.real, next.known) = (PayoutState::Paid, paid, paid);
            add(Action::Pays(run), false, state.with(run, next, 0));
            add(Action::Refuses(run), false, state.with(run, Payout { state: PayoutState::Refused, ..*payout }, 1));
            return;
        }
        if state.moves == 0 {
            return;
        }
        let moved = State { moves: state.moves - 1, ..*state };
        let mut paid_again = *payout;
        match payout.real {
            [Payment::None, _] => {
                paid_again.real[0] = Payment::Paid;
                add(Action::PaysLate(run), true, moved.with(run, paid_again, 0));
            }
            [_, Payment::None] => {
                paid_again.real[1] = Payment::Paid;
                add(Action::PaysTwice(run), true, moved.with(run, paid_again, 0));
            }
            _ => {}
        }
        for n in (0..REFERENCES).filter(|n| payout.real[*n] == Payment::Paid) {
            let mut back = *payout;
            back.real[n] = Payment::Returned;
            add(Action::GivesBack(run, n), true, moved.with(run, back, 0));
        }
    }

    /// What we hear of it.
    fn news(&self, state: &State, run: usize, payout: &Payout, add: &mut impl FnMut(Action, bool, State)) {
        for n in (0..REFERENCES).filter(|n| payout.known[*n] < payout.real[*n]) {
            add(Action::Read(run, n), false, self.read(state, run, n));
        }
        if !payout.is_open() && payout.is_reconciled.is_none() {
            let judged = Payout { is_reconciled: Some(payout.agrees(&payout.known)), ..*payout };
            add(Action::Judge(run), false, state.with(run, judged, 0));
        }
        let came_back = payout.real[0] == Payment::Returned;
        if payout.known[0] == Payment::Paid && !payout.claimed && (came_back || state.lies > 0) {
            let told = State { lies: state.lies - u8::from(!came_back), ..*state };
            let next = match self.rules.keep(Rule::FileNeedsSecondPerson) {
                true => told.with(run, Payout { claimed: true, ..*payout }, 0),
                false => self.give_back(told, run, *payout),
            };
            add(Action::File(run), true, next);
        }
        if payout.claimed {
            let looked = state.with(run, Payout { claimed: false, ..*payout }, 0);
            match came_back && payout.known[0] == Payment::Paid {
                true => add(Action::Confirm(run), false, self.read(&looked, run, 0)),
                false => add(Action::Dismiss(run), false, looked),
            }
        }
    }

    /// A line that was fetched with our credential, or confirmed.
    fn read(&self, state: &State, run: usize, n: usize) -> State {
        let Some(mut payout) = state.payouts[run] else { return *state };
        match payout.known[n] {
            Payment::None => {
                payout.known[n] = Payment::Paid;
                self.proven(*state, run, payout)
            }
            _ => {
                payout.known[n] = Payment::Returned;
                self.give_back(*state, run, payout)
            }
        }
    }

    /// `payouts_settle`.
    fn proven(&self, state: State, run: usize, mut payout: Payout) -> State {
        let was_free = match payout.state {
            PayoutState::Refused => self.rules.keep(Rule::LateProof),
            PayoutState::Returned => self.rules.keep(Rule::LateProof) && self.rules.keep(Rule::NetOverReferences),
            _ => false,
        };
        if was_free {
            payout.state = PayoutState::Paid;
        }
        let next = state.with(run, self.heard(payout), -i8::from(was_free));
        State { contested: state.contested || was_free, ..next }
    }

    /// `payouts_return`.
    fn give_back(&self, state: State, run: usize, mut payout: Payout) -> State {
        let is_file = payout.known[0] == Payment::Paid && !self.rules.keep(Rule::FileNeedsSecondPerson);
        let nothing_left = Payout::net(&payout.known) == 0 || is_file || !self.rules.keep(Rule::NetOverReferences);
        let freed = payout.state == PayoutState::Paid && nothing_left;
        if freed {
            payout.state = PayoutState::Returned;
        }
        state.with(run, self.heard(payout), i8::from(freed))
    }

    /// The verdict, once there is one, after news.
    fn heard(&self, payout: Payout) -> Payout {
        let verdict = match self.rules.keep(Rule::VerdictFollowsNews) {
            true => payout.is_reconciled.map(|_| payout.agrees(&payout.known)),
            false => payout.is_reconciled,
        };
        Payout { is_reconciled: verdict, ..payout }
    }
}

impl State {
    fn with(&self, run: usize, payout: Payout, money: i8) -> State {
        let mut next = *self;
        next.payouts[run] = Some(payout);
        next.balance += money;
        next
    }

    fn plan(&self, run: usize) -> State {
        let payout = Payout {
            state: PayoutState::Planned,
            real: [Payment::None; REFERENCES],
            known: [Payment::None; REFERENCES],
            claimed: false,
            is_reconciled: None,
        };
        let paid_already = self.payouts.iter().flatten().any(|old| old.is_open() || Payout::net(&old.known) > 0);
        let broken = paid_already.then_some(Promise::MoneyPaidOnce);
        State { broken, ..self.with(run, payout, -1) }
    }

    fn promise_broken(&self) -> Option<Promise> {
        let payouts = || self.payouts.iter().flatten();
        let taken = payouts().filter(|payout| payout.is_open() || Payout::net(&payout.known) > 0).count();
        let lies = |payout: &Payout| {
            payout.real == payout.known && payout.is_reconciled == Some(true) && !payout.agrees(&payout.real)
        };
        if self.broken.is_some() {
            self.broken
        } else if payouts().any(lies) {
            Some(Promise::VerdictIsTrue)
        } else if i8::try_from(taken).map(|taken| 1 - taken) != Ok(self.balance) {
            Some(Promise::LedgerAgrees)
        } else {
            None
        }
    }

    /// How deep in debt the affiliate is.
    pub fn debt(&self) -> i8 {
        -self.balance.min(0)
    }
}
