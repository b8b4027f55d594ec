//! `holds`: payouts that only two people may decide, and those that a control holds.

use std::path::Path;

use payfleet_domain::{Effect, HoldReason, NotPaid, PayoutId, RunId, TokenHash};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{Decision, HoldError, HoldRow, HoldSaid, Store, WordRow};
use time::format_description::well_known::Rfc3339;

use crate::cli::{DecideArgs, HoldsArgs, PayoutName};
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
                    "payout": hold.payout.0, "run": hold.run.0, "affiliate": hold.affiliate,
                    "amount_minor": hold.amount.minor,
                    "currency": hold.amount.currency, "reason": hold.reason, "note": hold.note,
                    "opened_at": hold.opened_at.format(&Rfc3339).ok(),
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
    let (decision, word) = match &args.finding.paid {
        Some(reference) => (Decision::Paid(reference.clone()), "paid"),
        None => (Decision::NotPaid, "not paid"),
    };
    if let [payout] = args.payouts[..] {
        let said = store.hold_decide(payout, decision, by).await?;
        warn(payout, &said);
        show::print(&match said.effect {
            Effect::Agrees => format!("payout {payout} counts as {word}\n"),
            Effect::Proposes => {
                format!("payout {payout}: {} proposes {word}; a second person must say the same\n", said.by)
            }
            Effect::Contradicts => contradicted(payout, &said, word),
        });
        return Ok(ExitCode::Done);
    }
    if args.finding.paid.is_some() {
        return Err(Failure::usage(
            "--paid names one payment, and one payment is of one payout: say it of each payout alone",
        ));
    }
    let mut many = Many::default();
    let decided = match (&args.from, args.run.zip(args.code)) {
        (Some(file), _) => many.decide_all(store, &numbers(file)?, by).await,
        (None, Some((run, code))) => many.decide_held(store, run, code, by).await,
        (None, None) => many.decide_all(store, &args.payouts, by).await,
    };
    // Also when it broke off: what was said stands.
    show::print(&many.told());
    decided?;
    Ok(many.exit_code())
}

/// What else the rail has told.
fn warn(payout: PayoutId, said: &HoldSaid) {
    if !said.known.is_empty() {
        eprintln!("warning: the rail has told something else of payout {payout}: {}", said.known.join(", "));
    }
    if !said.others.is_empty() {
        let others: Vec<String> = said.others.iter().map(ToString::to_string).collect();
        eprintln!(
            "warning: under this reference the payment of another payout is known: {}; \
             if it is not of {payout}, say `--not-paid` or the right reference",
            others.join(", ")
        );
    }
}

/// Payouts that are held are read so many at a time.
const PAGE: i64 = 500;

/// The numbers in a file, one a line.
fn numbers(file: &Path) -> Result<Vec<PayoutId>, Failure> {
    let name = file.display();
    let read = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let text = read.map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let lines = text.lines().map(str::trim).enumerate();
    let named = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    named
        .map(|(n, line)| match line.parse::<PayoutName>() {
            Ok(payout) => Ok(payout.number()),
            Err(why) => Err(Failure::input(format!("{name}:{}: {why}; nothing was decided", n + 1))),
        })
        .collect()
}

/// What came of saying of many payouts that they were not paid.
#[derive(Debug, Default)]
struct Many {
    counts: u64,
    proposed: u64,
    ended: u64,
    refused: u64,
    /// Some of those can be decided later.
    is_early: bool,
}

impl Many {
    async fn decide_held(&mut self, store: &Store, run: RunId, code: HoldReason, by: TokenHash) -> Result<(), Failure> {
        crate::plan::find(store, run).await?;
        let mut after = None;
        loop {
            let page = store.held_page(run, code, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            self.decide_all(store, &page, by).await?;
        }
    }

    async fn decide_all(&mut self, store: &Store, payouts: &[PayoutId], by: TokenHash) -> Result<(), Failure> {
        for payout in payouts {
            match store.hold_decide(*payout, Decision::NotPaid, by).await {
                Ok(said) => {
                    warn(*payout, &said);
                    match said.effect {
                        Effect::Agrees => self.counts += 1,
                        Effect::Proposes => self.proposed += 1,
                        Effect::Contradicts => {
                            self.ended += 1;
                            show::print(&contradicted(*payout, &said, "not paid"));
                        }
                    }
                }
                // Who has no say about one has none about the others either.
                Err(error @ (HoldError::Who(_) | HoldError::Store(_))) => return Err(error.into()),
                Err(error) => {
                    let why = Failure::from(error);
                    self.refused += 1;
                    self.is_early |= why.code() == ExitCode::Busy;
                    show::print(&format!("payout {payout}: refused: {why}\n"));
                }
            }
        }
        Ok(())
    }

    fn told(&self) -> String {
        let line = |count: u64, what: &str| if count > 0 { format!("{count} payouts {what}\n") } else { String::new() };
        let told = line(self.counts, "count as not paid")
            + &line(self.proposed, "are proposed as not paid; a second person must say the same")
            + &line(self.ended, "had another proposal, which has ended; two people must agree anew")
            + &line(self.refused, "were refused; each is named above");
        if told.is_empty() { "there is nothing to decide\n".to_owned() } else { told }
    }

    fn exit_code(&self) -> ExitCode {
        match (self.refused, self.is_early) {
            (0, _) => ExitCode::Done,
            (_, true) => ExitCode::Busy,
            (_, false) => ExitCode::Usage,
        }
    }
}

/// What becomes of a proposal that somebody has contradicted, be it their own.
fn contradicted(payout: PayoutId, said: &HoldSaid, word: &str) -> String {
    let (by, before) = said.ended.clone().unwrap_or_default();
    match by == said.by {
        true => format!(
            "payout {payout}: {by} had proposed {before} and takes it back; both words are kept, and nothing is \
             proposed now: say {word} again to propose it, for a second person to say the same\n"
        ),
        false => format!(
            "payout {payout}: {} says {word}, and {by} had proposed {before}; both words are kept, \
             the proposal has ended, and two people must agree anew\n",
            said.by
        ),
    }
}
