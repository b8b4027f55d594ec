//! `holds`: payouts that only two people may decide.

use payfleet_runtime::exit::ExitCode;
use payfleet_store::{Decision, Store};
use time::format_description::well_known::Rfc3339;

use crate::cli::{DecideArgs, HoldsArgs};
use crate::failure::Failure;
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
                serde_json::json!({
                    "payout": hold.payout.0, "run": hold.run.0, "affiliate": hold.affiliate, "amount_minor": hold.amount.minor,
                    "currency": hold.amount.currency, "reason": hold.reason, "opened_at": hold.opened_at.format(&Rfc3339).ok(),
                    "proposal": hold.proposal.as_ref().map(|(what, _)| what), "proposed_by": hold.proposal.as_ref().map(|(_, by)| by),
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
    let mut table = show::table(&["payout", "run", "affiliate", "amount", "reason", "since", "proposal"]);
    for hold in &holds {
        let proposal = hold.proposal.as_ref().map_or("-".to_owned(), |(what, by)| format!("{what} ({by})"));
        table.add_row([
            show::number(hold.payout),
            show::number(hold.run),
            comfy_table::Cell::new(&hold.affiliate),
            show::number(hold.amount),
            show::word(&hold.reason),
            comfy_table::Cell::new(show::instant(hold.opened_at)),
            comfy_table::Cell::new(proposal),
        ]);
    }
    show::print(&format!("{table}\n"));
    Ok(ExitCode::Done)
}

/// `holds decide`.
pub async fn decide(store: &Store, args: &DecideArgs) -> Result<ExitCode, Failure> {
    let decision = match &args.finding.paid {
        Some(reference) => Decision::Paid(reference.clone()),
        None => Decision::NotPaid,
    };
    let word = if args.finding.paid.is_some() { "paid" } else { "not paid" };
    let done = store.hold_decide(args.payout, decision, &args.by).await?;
    show::print(&match done {
        true => format!("payout {} counts as {word}\n", args.payout),
        false => format!("payout {}: {} proposes {word}; a second person must say the same\n", args.payout, args.by),
    });
    Ok(ExitCode::Done)
}
