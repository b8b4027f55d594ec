//! `rails resume`, and how funding accounts stand: why nothing is sent from one, since when, and what finds out whether
//! it pays again.

use payfleet_domain::AccountState;
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{FundingRow, Store};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::cli::RailsResumeArgs;
use crate::failure::Failure;
use crate::people::who;
use crate::show;

/// `rails resume`.
pub async fn resume(store: &Store, args: &RailsResumeArgs) -> Result<ExitCode, Failure> {
    let (rail, account) = (args.rail.name, args.account.clone());
    let (by, resumed) = store.funding_resume(rail, account.clone(), who(&args.who)?).await?;
    if resumed.is_empty() {
        let of = account.map_or(format!("no account of {rail}"), |account| format!("{rail}/{account}"));
        let is = if args.account.is_some() { "is not stopped" } else { "is stopped" };
        show::print(&format!("{of} {is}; nothing was changed\n"));
        return Ok(ExitCode::Done);
    }
    for row in &resumed {
        let why = row.reason.map_or("", |reason| reason.meaning());
        show::print(&format!("{} goes on, says {by}; it was stopped because {why}\n", place(row)));
    }
    Ok(ExitCode::Done)
}

/// Which account, and of which currency.
fn place(row: &FundingRow) -> String {
    match row.currency {
        Some(currency) => format!("{}/{}, {currency}", row.rail, row.account),
        None => format!("{}/{}", row.rail, row.account),
    }
}

/// What is to be said of an account.
fn why(row: &FundingRow) -> String {
    let reason = row.reason.map_or("", |reason| reason.meaning());
    match row.state {
        AccountState::Closed => {
            let by = row.resumed_by.as_deref().map_or("a batch was paid".to_owned(), |by| format!("{by} said so"));
            row.since.map_or("it pays".to_owned(), |_| format!("it pays again, {by}; it was stopped because {reason}"))
        }
        AccountState::Open => {
            let at = row.probe_at.map_or("soon".to_owned(), show::instant);
            let tried = match row.probes {
                0 => String::new(),
                1 => " once in vain".to_owned(),
                many => format!(" {many} times in vain"),
            };
            format!("{reason}; tried{tried}, and next at {at}, with one batch")
        }
        AccountState::Probing => format!("{reason}; a batch is on its way to find out whether it pays again"),
    }
}

/// One line for each account that is stopped.
pub fn lines(rows: &[FundingRow]) -> String {
    let stopped = rows.iter().filter(|row| row.state != AccountState::Closed);
    let line = |row: &FundingRow| {
        let since = row.since.map_or(String::new(), |since| format!(" since {}", show::instant(since)));
        format!("NOTHING IS SENT from {}{since} ({}): {}\n", place(row), row.state, why(row))
    };
    stopped.map(line).collect()
}

/// All with which something is or was wrong, as a table; nothing if there are none.
pub fn table(rows: &[FundingRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = show::table(&["rail/account", "currency", "state", "since", "why"]);
    for row in rows {
        table.add_row([
            comfy_table::Cell::new(format!("{}/{}", row.rail, row.account)),
            comfy_table::Cell::new(row.currency.map_or("all".to_owned(), |currency| currency.to_string())),
            show::word(row.state.as_str()),
            comfy_table::Cell::new(row.since.map_or("-".to_owned(), show::instant)),
            comfy_table::Cell::new(why(row)),
        ]);
    }
    format!("\nFunding accounts with which something is or was wrong (`rails resume` lets one go on):\n{table}\n")
}

/// How the account of a tenant's method stands.
pub fn state_of(rows: &[FundingRow], rail: &str, account: &str) -> AccountState {
    let of_it = rows.iter().filter(|row| row.rail == rail && row.account == account);
    of_it.map(|row| row.state).max().unwrap_or(AccountState::Closed)
}

/// The same for programs.
pub fn as_json(rows: &[FundingRow]) -> Value {
    let instant = |at: Option<time::OffsetDateTime>| at.and_then(|at| at.format(&Rfc3339).ok());
    rows.iter()
        .map(|row| {
            json!({
                "rail": row.rail, "account": row.account, "currency": row.currency, "state": row.state.as_str(),
                "reason": row.reason.map(|reason| reason.as_str()), "since": instant(row.since), "why": why(row),
                "probes": row.probes, "probe_at": instant(row.probe_at), "resumed_by": row.resumed_by,
            })
        })
        .collect()
}
