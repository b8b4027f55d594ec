//! `holds`: payouts that only two people may decide, and those that a control holds.

use payfleet_domain::{Effect, NotPaid, PayoutId};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{Decision, HoldRow, HoldSaid, Store, WordRow};
use time::format_description::well_known::Rfc3339;

use crate::cli::{DecideArgs, HoldsArgs};
use crate::failure::Failure;
use crate::people::who;
use crate::show;

/// `holds`.
pub async fn list(store: &Store, args: &HoldsArgs) -> Result<ExitCode, Failure> {
    if let Some(run) = args.run {
        crate::plan::find(store, run).await?;
    }
    let holds = store.holds_list(args.run, args.limit).await?;
    if args.json {
        let holds: Vec<_> = holds
            .iter()
            .map(|hold| {
                let open = hold.words.last().filter(|word| word.effect == Effect::Proposes.as_str());
                serde_json::json!({
                    "payout": hold.payout.0, "run": hold.run.0, "affiliate": hold.affiliate, "amount_minor": hold.amount.minor,
                    "currency": hold.amount.currency, "reason": hold.reason, "note": hold.note, "opened_at": hold.opened_at.format(&Rfc3339).ok(),
                    "rail": hold.account.rail, "account": hold.account.account,
                    "decidable": hold.not_paid == Some(NotPaid::MayBeSaid), "decidable_from": decidable_from(hold),
                    "proposal": open.map(|word| &word.says), "proposed_by": open.map(|word| &word.person),
                    "words": words_json(&hold.words),
                })
            })
            .collect();
        show::print_json(&serde_json::json!({ "holds": holds }))?;
        return Ok(ExitCode::Done);
    }
    if holds.is_empty() {
        show::print("no payout is held\n");
        return Ok(ExitCode::Done);
    }
    let columns = ["payout", "run", "affiliate", "amount", "reason", "since", "\"not paid\" decidable from", "words"];
    let mut table = show::table(&columns);
    for hold in &holds {
        table.add_row([
            show::number(hold.payout),
            show::number(hold.run),
            comfy_table::Cell::new(&hold.affiliate),
            show::number(hold.amount),
            show::word(&match &hold.note {
                Some(note) => format!("{}: {note}", hold.reason),
                None => hold.reason.clone(),
            }),
            comfy_table::Cell::new(show::instant(hold.opened_at)),
            comfy_table::Cell::new(decidable_from(hold)),
            comfy_table::Cell::new(words_text(&hold.words)),
        ]);
    }
    show::print(&format!("{table}\n"));
    Ok(ExitCode::Done)
}

/// From when on it can be said that the payout was not paid.
fn decidable_from(hold: &HoldRow) -> String {
    let account = &hold.account;
    match hold.not_paid {
        None if hold.reason == payfleet_domain::HoldReason::Contested.code() => {
            "when two people have cleared the contest".to_owned()
        }
        None => "nothing is in doubt: release it".to_owned(),
        Some(NotPaid::MayBeSaid) => "now".to_owned(),
        Some(NotPaid::NotBefore(until)) if !account.has_statement => show::instant(until),
        Some(NotPaid::NotBefore(until) | NotPaid::NotBeforeStatement(until)) => {
            format!("when the statement of {}/{} reaches past {}", account.rail, account.account, show::instant(until))
        }
        Some(NotPaid::OnStatement) => "never: the rail knows it".to_owned(),
    }
}

/// What people have said, for programs.
pub fn words_json(words: &[WordRow]) -> Vec<serde_json::Value> {
    let json = |word: &WordRow| {
        serde_json::json!({
            "at": word.at.format(&Rfc3339).ok(), "person": word.person, "says": word.says, "reference": word.reference,
            "effect": word.effect,
        })
    };
    words.iter().map(json).collect()
}

/// What people have said, a line each.
pub fn words_text(words: &[WordRow]) -> String {
    let line = |word: &WordRow| {
        let about = if word.reference.is_empty() { String::new() } else { format!(" {}", word.reference) };
        format!("{} {} {}: {}{about}", show::instant(word.at), word.person, word.effect, word.says)
    };
    match words {
        [] => "-".to_owned(),
        words => words.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

/// `holds decide`.
pub async fn decide(store: &Store, args: &DecideArgs) -> Result<ExitCode, Failure> {
    let by = who(&args.who)?;
    let payout = args.payout;
    let (decision, word) = match &args.finding.paid {
        Some(reference) => (Decision::Paid(reference.clone()), "paid"),
        None => (Decision::NotPaid, "not paid"),
    };
    let said = store.hold_decide(payout, decision, by).await?;
    if !said.known.is_empty() {
        eprintln!("warning: the rail has told something else of payout {payout}: {}", said.known.join(", "));
    }
    if !said.others.is_empty() {
        let others: Vec<String> = said.others.iter().map(ToString::to_string).collect();
        eprintln!(
            "warning: under this reference the payment of another payout is known: {}; if it is not of {payout}, say `--not-paid` or the right reference",
            others.join(", ")
        );
    }
    show::print(&match said.effect {
        Effect::Agrees => format!("payout {payout} counts as {word}\n"),
        Effect::Proposes => {
            format!("payout {payout}: {} proposes {word}; a second person must say the same\n", said.by)
        }
        Effect::Contradicts => contradicted(payout, &said, word),
    });
    Ok(ExitCode::Done)
}

/// What becomes of a proposal that somebody has contradicted, be it their own.
fn contradicted(payout: PayoutId, said: &HoldSaid, word: &str) -> String {
    let (by, before) = said.ended.clone().unwrap_or_default();
    match by == said.by {
        true => format!(
            "payout {payout}: {by} had proposed {before} and takes it back; both words are kept, and nothing is proposed now: \
             say {word} again to propose it, for a second person to say the same\n"
        ),
        false => format!(
            "payout {payout}: {} says {word}, and {by} had proposed {before}; both words are kept, the proposal has ended, and two people \
             must agree anew\n",
            said.by
        ),
    }
}
