//! States and codes in plain words, and what to do next. The runbook says more.

use payfleet_domain::{HoldReason, NotPaid, PayoutState, RefusalCode, RefusalKind};

use crate::show;

/// What has become of a payout.
pub fn of_payout(state: PayoutState, code: Option<&str>) -> &'static str {
    match state {
        PayoutState::Planned => "its money is reserved; nothing definite is known yet",
        PayoutState::Accepted => "the rail has it and pays later",
        PayoutState::Paid => "paid",
        PayoutState::Unknown => "it may have been paid; it is being asked for",
        PayoutState::Returned => "all of it came back, and is due again",
        PayoutState::Cancelled => "never sent; the money is due again",
        PayoutState::Refused => of_refusal(code.unwrap_or_default()),
        PayoutState::Held => of_hold(code.unwrap_or_default()),
    }
}

/// Why the rail refused.
fn of_refusal(code: &str) -> &'static str {
    match RefusalCode::new(code).kind() {
        RefusalKind::Payee => "proven not paid, for a reason of the payee's; the money is due again",
        RefusalKind::Payer => "proven not paid, for a reason of the payer's; the money is due again",
        RefusalKind::Policy => "proven not paid, by a rule of the rail's; the money is due again",
    }
}

/// Why a payout is held.
pub fn of_hold(code: &str) -> &'static str {
    let Ok(reason) = code.parse::<HoldReason>() else { return "held for people" };
    match reason {
        HoldReason::NoWayToKnow => "it was sent, no answer came, and the rail cannot be asked",
        HoldReason::HorizonExpired => "it was sent, and the rail may have forgotten its key meanwhile",
        HoldReason::BudgetExhausted => "it was sent, and asking again and again brought no answer",
        HoldReason::Poison => "every worker that touched it died",
        HoldReason::StoppedInDoubt => "it was perhaps sent before it was stopped, and the rail cannot be asked",
        HoldReason::NoNews => "the rail accepted it, and has told nothing more in its time",
        HoldReason::RejectedByFile => "the rail accepted it, and a file says that it was not paid after all",
        HoldReason::OnHold => "its affiliate is on hold; nothing of it was sent",
        HoldReason::Stopped => "somebody stopped it; nothing of it was sent",
        HoldReason::Contested => "its account is contested; nothing of it was sent",
    }
}

/// What to do about a payout that stands so.
pub fn next(state: PayoutState, code: Option<&str>, not_paid: Option<NotPaid>, is_controlled: bool) -> String {
    let plain = match state {
        PayoutState::Planned if is_controlled => {
            "it is not sent, and will be held when its turn comes; `payout release` or `affiliate release` ends that"
        }
        PayoutState::Planned => "nothing; `status RUN` says what its batch waits for",
        PayoutState::Accepted => {
            "nothing; the rail's news or its statement settles it: keep `payfleet-reconciler watch` running"
        }
        PayoutState::Paid => "nothing",
        PayoutState::Refused => "mend the affiliate's data if need be; the next run pays what is due",
        PayoutState::Unknown => "nothing; it is asked for under the same key until it is known",
        PayoutState::Returned => "ask the affiliate whether the address is right; the next run pays it",
        PayoutState::Cancelled => "nothing; the next run pays what is due",
        PayoutState::Held => return next_of_held(code.and_then(|code| code.parse().ok()), not_paid),
    };
    plain.to_owned()
}

/// What a release does.
const RELEASED: &str = "then it goes on, or, if its run is over, is cancelled and due in the next one";

fn next_of_held(reason: Option<HoldReason>, not_paid: Option<NotPaid>) -> String {
    let decide = "find out at the rail; two approvers say `holds decide PAYOUT --paid REFERENCE`";
    match (reason, not_paid) {
        (Some(HoldReason::OnHold), _) => format!(
            "`affiliate release` ends it, by one person, or by two where a recovery has placed the hold; {RELEASED}"
        ),
        (Some(HoldReason::Stopped), _) => format!("`payout release` ends it, by one person; {RELEASED}"),
        (Some(HoldReason::Contested), _) => "two approvers look: `contests list`, `contests clear`".to_owned(),
        (_, Some(NotPaid::MayBeSaid)) => format!("{decide}, or, by now, `--not-paid`"),
        (_, Some(NotPaid::NotBefore(until))) => {
            format!("{decide}; `--not-paid` not before {}, until when a request can be executed", show::instant(until))
        }
        (_, Some(NotPaid::NotBeforeStatement(until))) => format!(
            "{decide}; `--not-paid` when the account's statement is read past {}: `payfleet-reconciler watch`",
            show::instant(until)
        ),
        (_, Some(NotPaid::OnStatement)) => {
            "the rail knows it: two approvers say `--paid` with its reference".to_owned()
        }
        (_, None) => format!("{decide} or `--not-paid`; `holds RUN` says from when on"),
    }
}
