//! Why a batch waits, for people who ask why nothing is paid. Decides nothing.

use std::fmt;

use crate::{BatchState, Follow, Rail};

/// What a worker that lives says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerOffer {
    /// Its name.
    pub name: String,
    /// It takes no new work.
    pub is_ending: bool,
    /// Which rails it can call.
    pub rails: Vec<String>,
    /// Names of credentials that are used on those rails, and that it cannot read.
    pub lacks: Vec<String>,
    /// Where it has lately waited for the rate at which an account takes calls: `RAIL/ACCOUNT`.
    pub paced: Vec<String>,
    /// Why it is not ready, if so.
    pub trouble: Option<String>,
}

/// Who may look at a batch, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// Somebody has a lease on it.
    InHand,
    /// Nobody before an instant.
    Later,
    /// Whoever is free.
    Due,
}

/// What is known of batches that wait for the same.
#[derive(Debug, Clone, Copy)]
pub struct WaitFacts<'a> {
    /// Where they stand.
    pub state: BatchState,
    /// Over which rail they are paid.
    pub rail: &'a str,
    /// From which account there.
    pub account: &'a str,
    /// Under which name a worker finds the credential.
    pub credential: Option<&'a str>,
    /// Who may look at them.
    pub turn: Turn,
    /// The last try brought nothing.
    pub has_failed: bool,
    /// Their run is paused.
    pub is_paused: bool,
    /// Its payment has begun.
    pub has_begun: bool,
    /// Nothing is sent from their funding account.
    pub is_account_stopped: bool,
}

/// Why batches wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitReason {
    /// Somebody has paused the run.
    Paused,
    /// Payouts of it wait for people.
    Held,
    /// No worker lives.
    NoWorker,
    /// The run is planned, and no worker has let it begin yet.
    NotBegun,
    /// Workers live, and none of them offers the rail.
    NoWorkerForRail,
    /// None of the workers that offer the rail can read the credential.
    CredentialMissing,
    /// The funding account can pay nothing for now, and nothing is sent from it.
    AccountStopped,
    /// All workers that could do it have a trouble of their own.
    WorkersInTrouble,
    /// A worker has it, and waits for the rate at which the account takes calls.
    RateLimit,
    /// A worker has it.
    InHand,
    /// The last try brought nothing, and the next one waits.
    BackOff,
    /// It was handed back without a try, and is looked at again later.
    Postponed,
    /// It was perhaps sent; the rail is asked what became of it when the request is dead.
    Lookup,
    /// The rail has accepted it, and is asked for news.
    News,
    /// The rail has accepted it and cannot be asked: its statement tells.
    Statement,
    /// Any worker that is free takes it.
    Turn,
}

impl WaitReason {
    /// All reasons.
    pub const ALL: [WaitReason; 16] = [
        WaitReason::Paused,
        WaitReason::Held,
        WaitReason::NoWorker,
        WaitReason::NotBegun,
        WaitReason::NoWorkerForRail,
        WaitReason::CredentialMissing,
        WaitReason::AccountStopped,
        WaitReason::WorkersInTrouble,
        WaitReason::RateLimit,
        WaitReason::InHand,
        WaitReason::BackOff,
        WaitReason::Postponed,
        WaitReason::Lookup,
        WaitReason::News,
        WaitReason::Statement,
        WaitReason::Turn,
    ];

    /// The code on screens and in the runbook.
    pub fn code(&self) -> &'static str {
        match self {
            WaitReason::Paused => "paused",
            WaitReason::Held => "held",
            WaitReason::NoWorker => "no_worker",
            WaitReason::NotBegun => "not_begun",
            WaitReason::NoWorkerForRail => "no_worker_for_rail",
            WaitReason::CredentialMissing => "credential_missing",
            WaitReason::AccountStopped => "account_stopped",
            WaitReason::WorkersInTrouble => "workers_in_trouble",
            WaitReason::RateLimit => "rate_limit",
            WaitReason::InHand => "in_hand",
            WaitReason::BackOff => "back_off",
            WaitReason::Postponed => "postponed",
            WaitReason::Lookup => "lookup",
            WaitReason::News => "news",
            WaitReason::Statement => "statement",
            WaitReason::Turn => "turn",
        }
    }

    /// Whether work goes on by itself, so that nobody need do anything.
    pub fn is_work(&self) -> bool {
        matches!(self, WaitReason::InHand | WaitReason::Turn)
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// Why such batches wait, while these workers live.
pub fn wait_reason(facts: &WaitFacts<'_>, workers: &[WorkerOffer]) -> WaitReason {
    if facts.state == BatchState::Held {
        return WaitReason::Held;
    }
    let tells_by_statement = Rail::named(facts.rail).is_ok_and(|rail| rail.follow == Follow::ByStatement);
    if facts.state == BatchState::Accepted && tells_by_statement {
        return WaitReason::Statement;
    }
    if facts.turn == Turn::InHand {
        let place = format!("{}/{}", facts.rail, facts.account);
        let is_paced = workers.iter().any(|worker| worker.paced.contains(&place));
        return if is_paced { WaitReason::RateLimit } else { WaitReason::InHand };
    }
    if facts.is_paused {
        return WaitReason::Paused;
    }
    let mut able: Vec<&WorkerOffer> = workers.iter().filter(|worker| !worker.is_ending).collect();
    if able.is_empty() {
        return WaitReason::NoWorker;
    }
    if !facts.has_begun {
        return WaitReason::NotBegun;
    }
    able.retain(|worker| worker.rails.iter().any(|rail| rail == facts.rail));
    if able.is_empty() {
        return WaitReason::NoWorkerForRail;
    }
    able.retain(|worker| facts.credential.is_none_or(|name| !worker.lacks.iter().any(|lacked| lacked == name)));
    if able.is_empty() {
        return WaitReason::CredentialMissing;
    }
    // What is accepted is followed all the same.
    if facts.is_account_stopped && facts.state != BatchState::Accepted {
        return WaitReason::AccountStopped;
    }
    match (facts.turn, facts.state) {
        (Turn::Later, BatchState::Accepted) => WaitReason::News,
        (Turn::Later, _) if facts.has_failed => WaitReason::BackOff,
        (Turn::Later, BatchState::Sending) => WaitReason::Lookup,
        (Turn::Later, _) => WaitReason::Postponed,
        // What troubles a worker may be Redis alone, without which it works too: then it has the batch soon, and this
        // is not seen.
        (Turn::Due | Turn::InHand, _) if able.iter().all(|worker| worker.trouble.is_some()) => {
            WaitReason::WorkersInTrouble
        }
        (Turn::Due | Turn::InHand, _) => WaitReason::Turn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> WorkerOffer {
        WorkerOffer {
            name: "w".to_owned(),
            is_ending: false,
            rails: vec!["sandbox-payout".to_owned(), "sandbox-lookup".to_owned(), "sandbox-file".to_owned()],
            lacks: Vec::new(),
            paced: Vec::new(),
            trouble: None,
        }
    }

    const FACTS: WaitFacts<'static> = WaitFacts {
        state: BatchState::Ready,
        rail: "sandbox-payout",
        account: "main",
        credential: Some("ACME"),
        turn: Turn::Due,
        has_failed: false,
        is_paused: false,
        has_begun: true,
        is_account_stopped: false,
    };

    #[test]
    fn what_keeps_every_worker_from_it_is_named_before_what_waits_by_itself() {
        let reason =
            |workers: &[WorkerOffer]| wait_reason(&WaitFacts { turn: Turn::Later, has_failed: true, ..FACTS }, workers);
        assert_eq!(reason(&[]), WaitReason::NoWorker);
        assert_eq!(reason(&[WorkerOffer { is_ending: true, ..worker() }]), WaitReason::NoWorker);
        let other = WorkerOffer { rails: vec!["null".to_owned()], ..worker() };
        assert_eq!(reason(std::slice::from_ref(&other)), WaitReason::NoWorkerForRail);
        let poor = WorkerOffer { lacks: vec!["ACME".to_owned()], ..worker() };
        assert_eq!(reason(&[other.clone(), poor.clone()]), WaitReason::CredentialMissing);
        // One that can is enough; and a credential that the batch does not use is nobody's lack.
        assert_eq!(reason(&[other, poor, worker()]), WaitReason::BackOff);
        assert_eq!(reason(&[WorkerOffer { lacks: vec!["OTHER".to_owned()], ..worker() }]), WaitReason::BackOff);
    }

    #[test]
    fn what_is_due_waits_its_turn_unless_all_who_could_take_it_are_in_trouble() {
        let troubled = WorkerOffer { trouble: Some("Postgres: away".to_owned()), ..worker() };
        assert_eq!(wait_reason(&FACTS, &[worker(), troubled.clone()]), WaitReason::Turn);
        assert_eq!(wait_reason(&FACTS, &[troubled]), WaitReason::WorkersInTrouble);
        assert_eq!(wait_reason(&WaitFacts { is_paused: true, ..FACTS }, &[]), WaitReason::Paused);
        assert_eq!(wait_reason(&WaitFacts { has_begun: false, ..FACTS }, &[worker()]), WaitReason::NotBegun);
        assert_eq!(wait_reason(&WaitFacts { has_begun: false, ..FACTS }, &[]), WaitReason::NoWorker);
    }

    #[test]
    fn what_is_paid_from_a_stopped_account_waits_for_it_and_what_was_accepted_for_news() {
        let stopped = WaitFacts { is_account_stopped: true, turn: Turn::Later, has_failed: true, ..FACTS };
        let reason = |facts: WaitFacts<'_>| wait_reason(&facts, &[worker()]);
        assert_eq!(reason(stopped), WaitReason::AccountStopped);
        assert_eq!(reason(WaitFacts { turn: Turn::Due, ..stopped }), WaitReason::AccountStopped);
        assert_eq!(reason(WaitFacts { turn: Turn::InHand, ..stopped }), WaitReason::InHand, "perhaps it is the probe");
        assert_eq!(reason(WaitFacts { is_paused: true, ..stopped }), WaitReason::Paused);
        let accepted = WaitFacts { state: BatchState::Accepted, rail: "sandbox-lookup", ..stopped };
        assert_eq!(reason(accepted), WaitReason::News);
        assert_eq!(wait_reason(&stopped, &[]), WaitReason::NoWorker);
    }

    #[test]
    fn what_a_worker_has_in_hand_may_wait_for_the_rate_of_its_account() {
        let facts = WaitFacts { turn: Turn::InHand, ..FACTS };
        assert_eq!(wait_reason(&facts, &[worker()]), WaitReason::InHand);
        let paced = WorkerOffer { paced: vec!["sandbox-payout/main".to_owned()], ..worker() };
        assert_eq!(wait_reason(&facts, &[worker(), paced.clone()]), WaitReason::RateLimit);
        assert_eq!(wait_reason(&WaitFacts { account: "other", ..facts }, &[paced]), WaitReason::InHand);
    }

    #[test]
    fn what_was_sent_waits_for_what_its_rail_can_tell() {
        let reason = |state, rail, turn, has_failed| {
            wait_reason(&WaitFacts { state, rail, turn, has_failed, ..FACTS }, &[worker()])
        };
        use BatchState as B;
        assert_eq!(reason(B::Accepted, "sandbox-file", Turn::Later, false), WaitReason::Statement);
        assert_eq!(reason(B::Accepted, "sandbox-lookup", Turn::Later, false), WaitReason::News);
        assert_eq!(reason(B::Sending, "sandbox-lookup", Turn::Later, false), WaitReason::Lookup);
        assert_eq!(reason(B::Sending, "sandbox-lookup", Turn::Later, true), WaitReason::BackOff);
        assert_eq!(reason(B::Ready, "sandbox-payout", Turn::Later, false), WaitReason::Postponed);
        assert_eq!(reason(B::Held, "sandbox-file", Turn::Due, false), WaitReason::Held);
        // Nobody need live for a statement to be read.
        let facts = WaitFacts { state: B::Accepted, rail: "sandbox-file", ..FACTS };
        assert_eq!(wait_reason(&facts, &[]), WaitReason::Statement);
    }
}
