//! `statements` and `contests`: what else frees money, and so waits for the same word of two people.

use payfleet_domain::{Currency, Effect};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{Heard, Store};
use time::format_description::well_known::Rfc3339;

use crate::cli::{ClearArgs, ConfirmArgs, WaitingArgs};
use crate::failure::Failure;
use crate::holds::{words_json, words_text};
use crate::people::who;
use crate::show;

/// `statements list`.
pub async fn returns(store: &Store, args: &WaitingArgs) -> Result<ExitCode, Failure> {
    let waiting = store.returns_waiting(args.limit).await?;
    if args.json {
        let waiting: Vec<_> = waiting
            .iter()
            .map(|back| {
                serde_json::json!({
                    "id": back.id, "tenant": back.tenant_name, "payout": back.payout.0, "run": back.run.0,
                    "affiliate": back.affiliate,
                    "reference": back.reference, "amount_minor": back.amount_minor, "currency": back.currency,
                    "at": back.at.and_then(|at| at.format(&Rfc3339).ok()),
                    "seen_at": back.seen_at.format(&Rfc3339).ok(),
                    "words": words_json(&back.words),
                })
            })
            .collect();
        show::print_json(&serde_json::json!({ "returns": waiting }))?;
        return Ok(ExitCode::Done);
    }
    if waiting.is_empty() {
        show::print("no return waits to be confirmed\n");
        return Ok(ExitCode::Done);
    }
    let mut table =
        show::table(&["id", "tenant", "payout", "affiliate", "reference", "amount", "dated", "read", "words"]);
    for back in &waiting {
        let amount = match back.currency.parse::<Currency>() {
            Ok(currency) => format!("{} {currency}", show::amount(back.amount_minor.into(), currency)),
            Err(_) => format!("{} minor units of {}", back.amount_minor, back.currency),
        };
        table.add_row([
            show::number(back.id),
            comfy_table::Cell::new(&back.tenant_name),
            show::number(back.payout),
            comfy_table::Cell::new(&back.affiliate),
            comfy_table::Cell::new(&back.reference),
            show::number(amount),
            comfy_table::Cell::new(back.at.map_or("-".to_owned(), show::instant)),
            comfy_table::Cell::new(show::instant(back.seen_at)),
            comfy_table::Cell::new(words_text(&back.words)),
        ]);
    }
    show::print(&format!("{table}\n"));
    Ok(ExitCode::Done)
}

/// `statements confirm`.
pub async fn confirm(store: &Store, args: &ConfirmArgs) -> Result<ExitCode, Failure> {
    let heard = store.return_confirm(args.number, who(&args.who)?).await?;
    tell(&heard, &format!("return {}", heard.number), "confirms it", "counts from now on");
    Ok(ExitCode::Done)
}

/// `contests list`.
pub async fn contests(store: &Store, args: &WaitingArgs) -> Result<ExitCode, Failure> {
    let contests = store.contests_list(args.limit).await?;
    if args.json {
        let contests: Vec<_> = contests
            .iter()
            .map(|contest| {
                serde_json::json!({
                    "id": contest.id, "tenant": contest.tenant_name, "affiliate": contest.affiliate_name,
                    "currency": contest.currency,
                    "carried_minor": contest.carried.minor, "payout": contest.payout.0,
                    "opened_at": contest.opened_at.format(&Rfc3339).ok(), "words": words_json(&contest.words),
                })
            })
            .collect();
        show::print_json(&serde_json::json!({ "contests": contests }))?;
        return Ok(ExitCode::Done);
    }
    if contests.is_empty() {
        show::print("no account is contested\n");
        return Ok(ExitCode::Done);
    }
    let mut table = show::table(&["id", "tenant", "affiliate", "balance", "payout", "since", "words"]);
    for contest in &contests {
        table.add_row([
            show::number(contest.id),
            comfy_table::Cell::new(&contest.tenant_name),
            comfy_table::Cell::new(&contest.affiliate_name),
            show::number(contest.carried),
            show::number(contest.payout),
            comfy_table::Cell::new(show::instant(contest.opened_at)),
            comfy_table::Cell::new(words_text(&contest.words)),
        ]);
    }
    show::print(&format!("{table}\n"));
    Ok(ExitCode::Done)
}

/// `contests clear`.
pub async fn clear(store: &Store, args: &ClearArgs) -> Result<ExitCode, Failure> {
    let heard = store.contest_clear(args.contest, who(&args.who)?).await?;
    tell(
        &heard,
        &format!("contest {}", args.contest),
        "clears it",
        "is over: what was held for it is cancelled, and the next run pays what is due",
    );
    Ok(ExitCode::Done)
}

fn tell(heard: &Heard, subject: &str, says: &str, done: &str) {
    show::print(&match heard.effect {
        Effect::Agrees => format!("{subject} {done}\n"),
        Effect::Proposes | Effect::Contradicts => {
            format!("{subject}: {} {says}; a second person must say the same\n", heard.by)
        }
    });
}
