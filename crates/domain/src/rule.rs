//! The rules that the promise rests on, by name.
//!
//! The model in `tests/model` explores the life of a payout with every rule, and with each one taken out; the code that
//! keeps a rule names it, so that whoever changes it finds the story of what goes wrong without it.

use std::fmt;

/// A rule. Each is needed: the model has a counterexample without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A payout keeps one key until there is proof that it did not pay, because a rail recognises a repeated request by
    /// nothing else. Kept by `PayoutKey::derive` and `BatchKey::derive` (domain, `key.rs`), and by `Route::instruction`
    /// (worker, `calls.rs`), which computes the key for each request and never draws one.
    FixedKey,
    /// That a request may go out is committed before it does, because whoever comes after a crash knows only what was
    /// written. Kept by `intent_write` (store, `intent.rs`) and `submit` (worker, `batch.rs`), which calls only with
    /// the intent in hand; one without an answer is taken back (`intent_withdraw`), by whoever knows that none was
    /// made.
    WriteAheadIntent,
    /// An intent is written under the newest lease only, looked at under the batch's row lock, because a worker that
    /// was stopped acts on what was true before. Kept by `intent_write` (store, `intent.rs`).
    FencedIntent,
    /// What a rail said is recorded whoever brings it, and however late, because money moved whether or not a lease was
    /// held. Kept by `outcomes_record` (store, `record.rs`) and `record_outcomes` (worker, `batch.rs`), which tries
    /// until it is written.
    EvidenceUnfenced,
    /// A refusal counts only for the newest attempt, and only if the rail pins refusals to the key or no older attempt
    /// could still arrive when this one was opened; one that was looked up, only if nothing was sent since. Otherwise
    /// another request may pay yet. Kept by [`refusal_verdict`](crate::refusal_verdict) and `refusal_is_final` (store,
    /// `record.rs`).
    RefusalProof,
    /// A key is used again only in the first half of the rail's horizon, because after it the rail may take it for a
    /// new one. Kept by [`Rail::key_is_certain`](crate::Rail::key_is_certain) and, at the moment of writing, by
    /// `intent_write` (store, `intent.rs`).
    HorizonGuard,
    /// A batch that was perhaps sent and whose horizon has ended is held by its next lease, because nobody may send it
    /// any more and nobody else would ever end it. Kept by [`next_step`](crate::next_step) and `resolve` (worker,
    /// `batch.rs`); `batches_due` (store, `sweep.rs`) brings such batches to a lease.
    ExpiredIsHeld,
    /// What was perhaps sent on a rail that has neither key nor lookup is held at once and never sent again, because
    /// nothing would recognise the second request. Kept by [`next_step`](crate::next_step) and by `intent_write`
    /// (store, `intent.rs`).
    NeitherIsHeld,
    /// On a rail with a lookup and no key, "not found" counts only after the old request can no longer arrive, because
    /// one that is still under way is not found either. Kept by [`next_step`](crate::next_step), which waits, by
    /// `intent_write` (store, `intent.rs`), which supersedes only attempts that are dead, and by `unfound_record`
    /// (store, `unfound.rs`), which takes it down of single payouts only when all are.
    LookupAfterLifetime,
    /// A payment proven for a payout that counts as refused or cancelled is booked, and the account's balance goes down
    /// by it, because its money was released and the next plan would pay it again. Kept by
    /// [`PaymentAccount::step`](crate::PaymentAccount::step) and `accounts_weigh` (store, `movement.rs`).
    LateProof,
    /// Money is free only when what was paid less what came back is zero over all references of its payout, because a
    /// rail may pay twice and return one of the two. Kept by [`PaymentAccount::step`](crate::PaymentAccount::step) and
    /// `accounts_weigh` (store, `movement.rs`).
    NetOverReferences,
    /// A return that only a file tells of frees nothing before a second person has confirmed it, because a file is what
    /// one person says. Kept by `odd_record` (store, `reconcile/piece.rs`), `return_confirm` (store, `confirm.rs`) and
    /// `movement_confirm` (store, `movement.rs`).
    FileNeedsSecondPerson,
    /// News changes a verdict that was given before, because money goes on moving after it. Kept by `runs_have_news`
    /// (store, `movement.rs`), which everything that is learned passes, and by `verdict_write` (store,
    /// `reconcile/verdict.rs`), which says what news it knew of.
    VerdictFollowsNews,
    /// "Not paid" of a held payout is for two people, and only when every attempt is dead and the statement reaches
    /// past that instant without the payment, because nobody can know before. Kept by
    /// [`HoldFacts::not_paid`](crate::HoldFacts::not_paid), [`hear`](crate::hear) and `hold_decide` (store,
    /// `hold/decide.rs`).
    TwoPeopleAfterDeath,
    /// After a pause or a cancel took effect no call begins, and what is in doubt after a cancel is never sent again to
    /// find out, because a stop that sends is none: it is looked up once it is dead, or held. Kept by `intent_write`
    /// (store, `intent.rs`), by the worker right before each call (`calls.rs`) and in its book of leases (`leases.rs`),
    /// by [`next_step`](crate::next_step), and by `batch_clear` (store, `stop.rs`).
    StopSendsNothing,
    /// Controls are read again when an intent is written, because who was put on hold after the plan must not be paid.
    /// Kept by `intent_write` (store, `intent.rs` and `control.rs`).
    ControlsAtIntent,
    /// The look at lease and lifetime right before a call counts the time for which the machine was suspended, because
    /// the rest of the world has gone on. Kept by the worker's clock (`ports.rs`) and right before each call
    /// (`calls.rs`).
    SuspendedTimeCounts,
}

impl Rule {
    /// All rules.
    pub const ALL: [Rule; 17] = [
        Rule::FixedKey,
        Rule::WriteAheadIntent,
        Rule::FencedIntent,
        Rule::EvidenceUnfenced,
        Rule::RefusalProof,
        Rule::HorizonGuard,
        Rule::ExpiredIsHeld,
        Rule::NeitherIsHeld,
        Rule::LookupAfterLifetime,
        Rule::LateProof,
        Rule::NetOverReferences,
        Rule::FileNeedsSecondPerson,
        Rule::VerdictFollowsNews,
        Rule::TwoPeopleAfterDeath,
        Rule::StopSendsNothing,
        Rule::ControlsAtIntent,
        Rule::SuspendedTimeCounts,
    ];

    /// Its name, as the code that keeps it and the model write it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Rule::FixedKey => "fixed_key",
            Rule::WriteAheadIntent => "write_ahead_intent",
            Rule::FencedIntent => "fenced_intent",
            Rule::EvidenceUnfenced => "evidence_unfenced",
            Rule::RefusalProof => "refusal_proof",
            Rule::HorizonGuard => "horizon_guard",
            Rule::ExpiredIsHeld => "expired_is_held",
            Rule::NeitherIsHeld => "neither_is_held",
            Rule::LookupAfterLifetime => "lookup_after_lifetime",
            Rule::LateProof => "late_proof",
            Rule::NetOverReferences => "net_over_references",
            Rule::FileNeedsSecondPerson => "file_needs_second_person",
            Rule::VerdictFollowsNews => "verdict_follows_news",
            Rule::TwoPeopleAfterDeath => "two_people_after_death",
            Rule::StopSendsNothing => "stop_sends_nothing",
            Rule::ControlsAtIntent => "controls_at_intent",
            Rule::SuspendedTimeCounts => "suspended_time_counts",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
