//! `affiliate show`: what stands between an affiliate and its money.

use payfleet_domain::{Currency, masked};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{AffiliateView, Balance, Obstacle, Placed, Store, WhoPlaced};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::by_name::obstacle;
use crate::cli::AffiliateShowArgs;
use crate::failure::Failure;
use crate::rails::tenant;
use crate::run::MINIMUM;
use crate::show;

/// `affiliate show`.
pub async fn show(store: &Store, args: &AffiliateShowArgs) -> Result<ExitCode, Failure> {
    let tenant = tenant(store, &args.of.tenant).await?;
    // As the last run had it, which the next one most likely has too.
    let last = store.runs_list(Some(tenant), 1).await?;
    let minimum = last.first().map_or(MINIMUM, |run| run.minimum);
    let found = store.affiliate_view(tenant, &args.of.affiliate, minimum, args.runs).await?;
    let Some(mut view) = found else {
        return Err(Failure::usage(format!("tenant {} has no affiliate `{}`", args.of.tenant, args.of.affiliate)));
    };
    if !args.destinations {
        view.methods.iter_mut().for_each(|method| method.destination = masked(&method.destination));
    }
    if args.json {
        show::print_json(&as_json(&args.of.tenant, &view, &show::units(minimum)))?;
    } else {
        show::print(&as_text(&args.of.tenant, &view, &show::units(minimum)));
    }
    Ok(ExitCode::Done)
}

fn who(by: WhoPlaced) -> &'static str {
    match by {
        WhoPlaced::File => "a file of affiliates",
        WhoPlaced::Person => "a person",
        WhoPlaced::Recovery => "a recovery",
        WhoPlaced::Contest => "late proof of a payment",
        WhoPlaced::Fleet => "the fleet, which cannot find out more",
    }
}

/// Why nothing is paid now, all of it.
fn why_not(balance: &Balance, is_recovering: bool) -> String {
    let mut reasons: Vec<String> = Vec::new();
    if is_recovering {
        reasons.push("a recovery is open: nothing is planned or sent".to_owned());
    }
    let told = |one: &Obstacle| format!("{}: {}", obstacle(one), one.code.meaning());
    reasons.extend(balance.obstacles.iter().map(told));
    match (reasons.is_empty(), balance.due.minor) {
        (false, _) => reasons.join("\n"),
        (true, 0) if balance.reserved_minor != 0 => {
            "nothing more is due; what is reserved is in payouts below".to_owned()
        }
        (true, 0) => "nothing is due".to_owned(),
        (true, _) => "nothing stands in the way: the next run pays it".to_owned(),
    }
}

fn as_text(tenant: &str, view: &AffiliateView, minimum: &str) -> String {
    let mut text = format!(
        "affiliate {} of {tenant}: {}, {}, {}\n\n",
        show::printable(&view.affiliate),
        show::printable(&view.name),
        show::printable(&view.country),
        view.currency
    );
    let mut table =
        show::table(&["currency", "due by now", "not due yet", "reserved", "in debt", "why it is not paid now"]);
    for balance in &view.balances {
        let currency = balance.due.currency;
        let amount = |minor: i128| show::number(show::amount(minor, currency));
        table.add_row([
            comfy_table::Cell::new(currency),
            amount(i128::from(balance.due.minor.max(0))),
            amount(balance.not_yet_due_minor),
            amount(balance.reserved_minor),
            amount(i128::from(balance.due.minor.min(0)).abs()),
            comfy_table::Cell::new(why_not(balance, view.is_recovering)),
        ]);
    }
    text.push_str(&match view.balances.is_empty() {
        true => "nothing was ever earned\n".to_owned(),
        false => format!("Balance, with the minimum of the last run ({minimum})\n{table}\n"),
    });
    text.push_str(&methods(view));
    text.push_str(&held(&view.placed));
    text.push_str(&runs(view));
    text
}

fn methods(view: &AffiliateView) -> String {
    if view.methods.is_empty() {
        return "\nMethods: none; nobody has said where to pay\n".to_owned();
    }
    let mut table = show::table(&["priority", "method", "destination", "rail/account", "limits", "usable"]);
    for method in &view.methods {
        let limits = view.limits.iter().filter(|limit| limit.method == method.method);
        let limits: Vec<String> = limits.map(|limit| range(limit.min_minor, limit.max_minor, limit.currency)).collect();
        table.add_row([
            show::number(method.priority),
            comfy_table::Cell::new(&method.method),
            comfy_table::Cell::new(show::printable(&method.destination)),
            comfy_table::Cell::new(
                method.rail.as_ref().map_or("none".to_owned(), |(rail, account)| format!("{rail}/{account}")),
            ),
            comfy_table::Cell::new(if limits.is_empty() { "-".to_owned() } else { limits.join("\n") }),
            comfy_table::Cell::new(if method.usable { "yes" } else { "no" }),
        ]);
    }
    format!("\nMethods\n{table}\n")
}

fn range(min: Option<i64>, max: Option<i64>, currency: Currency) -> String {
    let units = |minor: i64| show::amount(minor.into(), currency);
    match (min, max) {
        (Some(min), Some(max)) => format!("{} to {} {currency}", units(min), units(max)),
        (Some(min), None) => format!("from {} {currency}", units(min)),
        (None, Some(max)) => format!("up to {} {currency}", units(max)),
        (None, None) => "-".to_owned(),
    }
}

fn held(placed: &[Placed]) -> String {
    if placed.is_empty() {
        return "\nHolds: none\n".to_owned();
    }
    let mut table = show::table(&["of", "by", "since", "why"]);
    for one in placed {
        table.add_row([
            comfy_table::Cell::new(one.payout.map_or("everything".to_owned(), |payout| format!("payout {payout}"))),
            comfy_table::Cell::new(who(one.by)),
            comfy_table::Cell::new(one.since.map_or("not known".to_owned(), show::instant)),
            comfy_table::Cell::new(show::printable(&one.why)),
        ]);
    }
    format!("\nHolds\n{table}\n")
}

fn runs(view: &AffiliateView) -> String {
    if view.runs.is_empty() {
        return "\nRuns: in none of the last\n".to_owned();
    }
    let mut table = show::table(&["run", "period", "payout", "amount", "state", "code", "reference", "paid at"]);
    for one in &view.runs {
        let period = if one.sequence == 1 { one.period.clone() } else { format!("{} ({})", one.period, one.sequence) };
        let text = |text: &Option<String>| comfy_table::Cell::new(show::printable(text.as_deref().unwrap_or("-")));
        table.add_row([
            show::number(one.run),
            comfy_table::Cell::new(period),
            one.payout.map_or_else(|| comfy_table::Cell::new("-"), show::number),
            show::number(one.amount),
            show::word(&one.state),
            text(&one.code),
            text(&one.reference),
            comfy_table::Cell::new(one.settled_at.map_or("-".to_owned(), show::instant)),
        ]);
    }
    format!("\nThe last runs\n{table}\n")
}

fn as_json(tenant: &str, view: &AffiliateView, minimum: &str) -> Value {
    let balances: Vec<Value> = view
        .balances
        .iter()
        .map(|balance| {
            json!({
                "currency": balance.due.currency, "due_minor": balance.due.minor,
                "not_yet_due_minor": balance.not_yet_due_minor,
                "reserved_minor": balance.reserved_minor, "obstacles": balance.obstacles,
            })
        })
        .collect();
    let methods: Vec<Value> = view
        .methods
        .iter()
        .map(|method| {
            let (rail, account) = method.rail.clone().unzip();
            json!({
                "method": method.method, "destination": method.destination, "priority": method.priority,
                "usable": method.usable, "rail": rail, "account": account,
            })
        })
        .collect();
    let limits: Vec<Value> = view
        .limits
        .iter()
        .map(|limit| {
            json!({
                "method": limit.method, "currency": limit.currency, "min_minor": limit.min_minor,
                "max_minor": limit.max_minor,
            })
        })
        .collect();
    let holds: Vec<Value> = view
        .placed
        .iter()
        .map(|one| {
            json!({
                "by": one.by, "since": one.since.and_then(|at| at.format(&Rfc3339).ok()), "why": one.why,
                "payout": one.payout.map(|payout| payout.0),
            })
        })
        .collect();
    let runs: Vec<Value> = view
        .runs
        .iter()
        .map(|one| {
            json!({
                "run": one.run.0, "period": one.period, "sequence": one.sequence,
                "payout": one.payout.map(|payout| payout.0), "amount_minor": one.amount.minor,
                "currency": one.amount.currency, "state": one.state, "code": one.code,
                "reference": one.reference, "settled_at": one.settled_at.and_then(|at| at.format(&Rfc3339).ok()),
            })
        })
        .collect();
    json!({
        "tenant": tenant, "affiliate": view.affiliate, "name": view.name, "country": view.country,
        "currency": view.currency, "minimum": minimum, "recovery_open": view.is_recovering, "balances": balances,
        "methods": methods, "limits": limits,
        "holds": holds, "runs": runs,
    })
}
