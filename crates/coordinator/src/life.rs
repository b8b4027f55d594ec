//! `payout show`: the whole life of a payout, in the order of time.

use payfleet_domain::{Currency, masked};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{Earned, Event, PayoutView, Store, What};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::cli::{PayoutName, PayoutShowArgs};
use crate::failure::Failure;
use crate::report::headline;
use crate::{show, words};

/// `payout show`.
pub async fn show(store: &Store, args: &PayoutShowArgs) -> Result<ExitCode, Failure> {
    let payout = args.payout.number();
    let found = store.payout_view(payout).await?;
    let Some(mut view) = found else {
        return Err(Failure::usage(format!("there is no payout {payout}; `run show RUN` has the numbers of a run's")));
    };
    if let PayoutName::Key(key, _) = &args.payout
        && *key != view.key
    {
        return Err(Failure::usage(format!(
            "`{key}` is no key of ours: that of payout {payout} is {}; is it of another installation?",
            view.key
        )));
    }
    if !args.destinations {
        view.way.destination = masked(&view.way.destination);
    }
    if args.json {
        show::print_json(&as_json(&view))?;
    } else {
        show::print(&as_text(&view));
    }
    Ok(ExitCode::Done)
}

fn next(view: &PayoutView) -> String {
    words::next(view.state, view.code.as_deref(), view.not_paid, view.is_controlled)
}

fn as_text(view: &PayoutView) -> String {
    let state = view.state;
    let code = view.code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
    let mut text = format!(
        "payout {}: {} to {} ({}), {state}{code}: {}\n",
        view.payout,
        view.amount,
        show::printable(&view.affiliate),
        show::printable(&view.name),
        words::of_payout(state, view.code.as_deref())
    );
    text.push_str(&format!("{}\n", headline(&view.run)));
    text.push_str(&format!(
        "method {}, over {}/{} to {}\nkey {}\n",
        view.way.method,
        view.way.rail,
        view.way.account,
        show::printable(&view.way.destination),
        view.key
    ));
    if let Some(reference) = &view.reference {
        text.push_str(&format!("reference {}\n", show::printable(reference)));
    }
    text.push_str(&on_statement(view));
    text.push_str(&format!("next: {}\n\nMade of\n", next(view)));
    text.push_str(&made_of(view));
    let mut table = show::table(&["when", "what"]);
    for event in &view.events {
        let told = show::printable(&told(event, view.amount.currency));
        table.add_row([comfy_table::Cell::new(show::instant(event.at)), comfy_table::Cell::new(told)]);
    }
    text.push_str(&format!("\nLife\n{table}\n"));
    text
}

fn on_statement(view: &PayoutView) -> String {
    let by = match (view.is_on_statement, view.is_in_file) {
        (true, _) => "the rail's own statement",
        (false, true) => "a file that somebody handed in, and not yet on the rail's own statement",
        (false, false) => return String::new(),
    };
    format!("it stands on {by} as one payment, just as it was ordered and recorded\n")
}

fn made_of(view: &PayoutView) -> String {
    let currency = view.amount.currency;
    let from = view.run.opens_after.map_or("the beginning".to_owned(), show::instant);
    let mut table = show::table(&["commission", "kind", "amount", "due"]);
    for Earned { commission, kind, amount_minor, due_at } in &view.commissions {
        table.add_row([
            comfy_table::Cell::new(show::printable(commission)),
            comfy_table::Cell::new(kind),
            show::number(show::amount((*amount_minor).into(), currency)),
            comfy_table::Cell::new(show::instant(*due_at)),
        ]);
    }
    let more = view.commissions_count - view.commissions.len() as i64;
    let more = if more > 0 { format!("and {more} more\n") } else { String::new() };
    let listed = if view.commissions.is_empty() { String::new() } else { format!("{table}\n{more}") };
    format!(
        "{} {currency} carried over from earlier runs, and what became due after {from} up to {}\n{listed}",
        show::amount(view.carried_minor.into(), currency),
        show::instant(view.run.cutoff)
    )
}

/// An amount as others wrote it, with their word for the currency.
fn money(minor: i64, currency: &str) -> String {
    match currency.parse::<Currency>() {
        Ok(currency) => format!("{} {currency}", show::amount(minor.into(), currency)),
        Err(_) => format!("{minor} minor units {currency}"),
    }
}

/// What happened, in words.
fn told(event: &Event, currency: Currency) -> String {
    let or_none = |text: &str, with: &str| if text.is_empty() { String::new() } else { format!("{with}{text}") };
    match &event.what {
        What::RunCreated => "its run was created".to_owned(),
        What::Planned => "its run's plan was complete".to_owned(),
        What::PaymentBegan => "the fleet began to pay its run".to_owned(),
        What::Attempt { batch, n, worker } => {
            format!("attempt {n} of batch {batch} was written down by worker {worker}")
        }
        What::AttemptEnded { batch, n, result } => {
            let plain = match result.as_str() {
                "answered" => "every payout has its answer",
                "not_executed" => "provably nothing happened",
                "unknown" => "some have no answer",
                _ => "what it did is known since",
            };
            format!("attempt {n} of batch {batch} ended as {result}: {plain}")
        }
        What::Evidence { source, says, reference, code } => {
            format!("{source} said: {says}{}{}", or_none(reference, " "), or_none(code, ", code "))
        }
        What::Paid { reference } => format!("it was proven paid, reference {reference}"),
        What::Line { source, kind, reference, amount_minor, fee_minor, currency, account, differs } => {
            let differs =
                if differs.is_empty() { String::new() } else { format!("; differs in {}", differs.join(", ")) };
            let fee = if *fee_minor > 0 { format!(", fee {}", money(*fee_minor, currency)) } else { String::new() };
            let what = money(*amount_minor, currency);
            format!("a line of {account} ({source}): {kind} {what}{fee}, reference {reference}{differs}")
        }
        What::Movement { source, kind, reference, amount_minor, fee_minor, currency, counts } => {
            let fee = if *fee_minor > 0 { format!(", fee {}", money(*fee_minor, currency)) } else { String::new() };
            let waits = if *counts { "" } else { "; counts when two people have confirmed it" };
            format!("{kind} {}{fee}, reference {reference} (by {source}){waits}", money(*amount_minor, currency))
        }
        What::Transfer { name, amount_minor, debit, credit, due_in } => {
            let amount = show::amount((*amount_minor).into(), currency);
            let due = due_in.map(|ordinal| format!("; counts in the tenant's run {ordinal}")).unwrap_or_default();
            format!("ledger: {name} {amount} {currency}, {debit} to {credit}{due}")
        }
        What::Held { reason, note } => {
            format!(
                "held as {reason}: {}{}",
                words::of_hold(reason),
                or_none(note.as_deref().unwrap_or_default(), "; ")
            )
        }
        What::HoldEnded { reason, resolution } => format!("the hold as {reason} ended: {resolution}"),
        What::Word { about, person, says, reference, effect } => {
            let says = says.replace('_', " ");
            format!("{person} said about the {about}: {says}{} ({effect})", or_none(reference, " "))
        }
        What::Stopped { of, reason } => match of.as_str() {
            "payout" => format!("somebody stopped it: {reason}"),
            _ => format!("its affiliate was put on hold: {reason}"),
        },
        What::Released { of } => match of.as_str() {
            "payout" => "the stop was lifted".to_owned(),
            _ => "its affiliate was released".to_owned(),
        },
        What::Contested => "it was proven paid after its money was due again: its account is contested".to_owned(),
        What::ContestCleared => "two people cleared the contest".to_owned(),
        What::Alarm { alarm, kind, words } => format!("ALARM {alarm}, {kind}: {words}"),
        What::AlarmAnswered { alarm, person, words } => format!("{person} answered for alarm {alarm}: {words}"),
        What::RunPaused { reason } => format!("its run was paused: {reason}"),
        What::RunSettled => "everybody of its run was accounted for".to_owned(),
        What::RunJudged { verdict } => format!("its run was judged last: {verdict}"),
    }
}

fn as_json(view: &PayoutView) -> Value {
    let commissions: Vec<Value> = view
        .commissions
        .iter()
        .map(|one| {
            json!({
                "commission": one.commission, "kind": one.kind, "amount_minor": one.amount_minor,
                "due_at": one.due_at.format(&Rfc3339).ok(),
            })
        })
        .collect();
    json!({
        "payout": view.payout.0, "key": view.key, "run": view.run.id.0, "tenant": view.run.tenant_name,
        "period": view.run.period,
        "affiliate": view.affiliate, "name": view.name, "currency": view.amount.currency,
        "amount_minor": view.amount.minor,
        "carried_minor": view.carried_minor, "state": view.state, "code": view.code, "reference": view.reference,
        "method": view.way.method, "rail": view.way.rail, "account": view.way.account,
        "destination": view.way.destination,
        "opens_after": view.run.opens_after.and_then(|at| at.format(&Rfc3339).ok()),
        "cutoff": view.run.cutoff.format(&Rfc3339).ok(), "commissions": commissions,
        "commissions_count": view.commissions_count, "on_statement": view.is_on_statement, "in_file": view.is_in_file,
        "next": next(view), "events": view.events,
    })
}
