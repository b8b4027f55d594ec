//! `rails`: which rail pays a tenant's methods, and what their destinations are.

use payfleet_domain::{DestinationKind, KeyUnit, RAILS, Rail, TenantId};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{KindSaid, MethodUse, Store, TenantRail};
use serde::Serialize;

use crate::cli::{RailsListArgs, RailsRemoveArgs, RailsSetArgs};
use crate::failure::Failure;
use crate::{funding, show};

/// The number of the tenant with this name.
pub async fn tenant(store: &Store, name: &str) -> Result<TenantId, Failure> {
    store
        .tenant_find(name)
        .await?
        .ok_or_else(|| Failure::usage(format!("there is no tenant `{name}`; importing its affiliates makes it")))
}

/// `rails set`.
pub async fn set(store: &Store, args: &RailsSetArgs) -> Result<ExitCode, Failure> {
    if args.rail.is_some_and(|rail| rail.name == "null") && !args.null_rail {
        return Err(Failure::usage(
            "the rail `null` marks everybody paid and pays nobody; it is for measuring, and only with --null-rail",
        ));
    }
    let tenant = match args.kind {
        // It decides how the first file is checked, which would make the tenant.
        Some(_) => tenant_made(store, &args.tenant).await?,
        None => tenant(store, &args.tenant).await?,
    };
    let kind = match args.kind {
        Some(kind) => kind,
        None => store.method_kinds(&args.tenant).await?.of(&args.method),
    };
    let rails = store.tenant_rails(tenant).await?;
    let used = rails.iter().find(|rail| rail.method == args.method).and_then(|rail| Rail::named(&rail.rail).ok());
    if let Some(rail) = args.rail.or(used) {
        reaches(rail, &args.method, kind)?;
    }
    if let Some(kind) = args.kind {
        say_kind(store, tenant, args, kind).await?;
    }
    if let Some(rail) = args.rail {
        let row = TenantRail {
            method: args.method.clone(),
            rail: rail.name.to_owned(),
            account: args.account.clone(),
            credential: args.credential.clone(),
        };
        store.tenant_rail_set(tenant, row).await?;
        show::print(&format!(
            "{}: {} is paid over {}, account {}\n",
            args.tenant, args.method, rail.name, args.account
        ));
        if let Some(warning) = misspelt(&args.method, &store.methods_used(tenant).await?) {
            eprintln!("warning: {warning}");
        }
    }
    Ok(ExitCode::Done)
}

async fn tenant_made(store: &Store, name: &str) -> Result<TenantId, Failure> {
    if let Some(tenant) = store.tenant_find(name).await? {
        return Ok(tenant);
    }
    let tenant = store.tenant_ensure(name, None).await?;
    show::print(&format!("tenant {name} is new\n"));
    Ok(tenant)
}

/// Whether the rail pays what the method's destinations are.
fn reaches(rail: &Rail, method: &str, kind: DestinationKind) -> Result<(), Failure> {
    if rail.reaches(kind) {
        return Ok(());
    }
    let kinds: Vec<&str> = rail.kinds.iter().map(|kind| kind.as_str()).collect();
    Err(Failure::usage(format!(
        "the rail `{}` pays destinations of kind {}, and those of `{method}` are {kind}; choose another rail, or say \
         with --kind what they are",
        rail.name,
        kinds.join(", ")
    )))
}

async fn say_kind(store: &Store, tenant: TenantId, args: &RailsSetArgs, kind: DestinationKind) -> Result<(), Failure> {
    let method = &args.method;
    match store.method_kind_set(tenant, method, kind).await? {
        KindSaid::Said => {
            show::print(&format!("{}: destinations of {method} are of kind {kind}\n", args.tenant));
            Ok(())
        }
        KindSaid::Refused { destinations, affiliate, why } => {
            let what = why.map_or("it is there twice then".to_owned(), |why| why.to_string());
            Err(Failure::usage(format!(
                "{} of `{method}` would not be right as {kind}, the first of them that of affiliate `{affiliate}`: \
                 {what}. Choose another kind, or \
                 retire them by a file with `none` as their method; nothing was changed",
                match destinations {
                    1 => "1 destination".to_owned(),
                    many => format!("{many} destinations"),
                }
            )))
        }
    }
}

/// Names that are as much alike as these are taken for slips (Jaro-Winkler; 1 is the same).
const ALIKE: f64 = 0.85;

/// What to say about a method that nobody has, where somebody has one of a similar name.
fn misspelt(method: &str, used: &[MethodUse]) -> Option<String> {
    if used.iter().any(|one| one.method == method) {
        return None;
    }
    let alike = |one: &MethodUse| strsim::jaro_winkler(method, &one.method);
    let meant =
        used.iter().max_by(|one, other| alike(one).total_cmp(&alike(other))).filter(|one| alike(one) >= ALIKE)?;
    Some(format!(
        "no affiliate has the method `{method}`, and {} `{}`; if that was meant, `rails remove` takes `{method}` away",
        match meant.affiliates {
            1 => "1 has".to_owned(),
            many => format!("{many} have"),
        },
        meant.method
    ))
}

/// `rails remove`.
pub async fn remove(store: &Store, args: &RailsRemoveArgs) -> Result<ExitCode, Failure> {
    let RailsRemoveArgs { tenant: name, method } = args;
    let tenant = tenant(store, name).await?;
    let Some(removed) = store.tenant_rail_remove(tenant, method).await? else {
        let rails = store.tenant_rails(tenant).await?;
        let methods: Vec<&str> = rails.iter().map(|rail| rail.method.as_str()).collect();
        return Err(Failure::usage(format!(
            "`{name}` has no rail for `{method}`; it has {}",
            if methods.is_empty() { "none at all".to_owned() } else { format!("one for {}", methods.join(", ")) }
        )));
    };
    show::print(&format!(
        "{name}: {method} is paid over no rail any more; runs that are planned keep theirs\n{}",
        match (removed.affiliates, removed.without) {
            (0, _) => "no affiliate has this method\n".to_owned(),
            (all, 0) => format!("all of the {all} affiliates who have it can be paid in another way\n"),
            (all, without) => format!(
                "{without} of the {all} affiliates who have it {} no other way to be paid: plans exclude them as \
                 no_rail\n",
                if without == 1 { "has" } else { "have" }
            ),
        }
    ));
    Ok(ExitCode::Done)
}

#[derive(Serialize)]
struct Used {
    tenant: String,
    #[serde(flatten)]
    rail: TenantRail,
    kind: DestinationKind,
    class: &'static str,
    /// Whether anything is sent from the account: closed, open or probing, as circuit breakers have it.
    account_state: &'static str,
}

/// `rails list`.
pub async fn list(store: &Store, args: &RailsListArgs) -> Result<ExitCode, Failure> {
    let tenants = match &args.tenant {
        Some(name) => vec![(tenant(store, name).await?, name.clone())],
        None => store.tenants_list().await?,
    };
    let funding = store.funding_list().await?;
    let mut used = Vec::new();
    for (id, name) in tenants {
        let kinds = store.method_kinds(&name).await?;
        for rail in store.tenant_rails(id).await? {
            let class = Rail::named(&rail.rail).map_or("not in this build", |known| known.class.letter());
            let account_state = funding::state_of(&funding, &rail.rail, &rail.account).as_str();
            used.push(Used { tenant: name.clone(), kind: kinds.of(&rail.method), rail, class, account_state });
        }
    }
    if args.json {
        let known: Vec<_> = RAILS
            .iter()
            .map(|rail| {
                serde_json::json!({
                    "rail": rail.name, "class": rail.class.letter(), "payouts_per_batch": rail.payouts_per_batch,
                })
            })
            .collect();
        let accounts = funding::as_json(&funding);
        show::print_json(&serde_json::json!({ "used": used, "rails": known, "accounts": accounts }))?;
        return Ok(ExitCode::Done);
    }
    let mut table = show::table(&["tenant", "method", "kind", "rail", "class", "account", "state", "credential"]);
    for line in &used {
        let Used { tenant, rail, kind, class, account_state } = line;
        let credential = rail.credential.as_deref().unwrap_or("-");
        let state = account_state;
        table.add_row([tenant, &rail.method, kind.as_str(), &rail.rail, class, &rail.account, state, credential]);
    }
    let mut known = show::table(&["rail", "class", "key of", "payouts per batch"]);
    for rail in RAILS {
        let unit = match rail.key_unit {
            KeyUnit::Payout => "payout",
            KeyUnit::Batch => "batch",
        };
        known.add_row([
            comfy_table::Cell::new(rail.name),
            comfy_table::Cell::new(rail.class.letter()),
            comfy_table::Cell::new(unit),
            show::number(rail.payouts_per_batch),
        ]);
    }
    show::print(&format!(
        "{table}\n{}\nRails of this build (class K: idempotency key, L: lookup, N: neither):\n{known}\n",
        funding::table(&funding)
    ));
    Ok(ExitCode::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rail_that_does_not_reach_a_kind_is_refused_with_those_that_it_does() {
        let addresses = Rail { kinds: &[DestinationKind::Email, DestinationKind::PaypalId], ..RAILS[0] };
        assert!(reaches(&addresses, "paypal", DestinationKind::Email).is_ok());
        let told = reaches(&addresses, "sepa", DestinationKind::Iban).map_err(|failure| failure.to_string());
        let way = "the rail `sandbox-payout` pays destinations of kind email, paypal-id, and those of `sepa` are \
            iban; choose another rail, or say \
                   with --kind what they are";
        assert_eq!(told, Err(way.to_owned()));
    }

    #[test]
    fn a_slip_in_a_name_is_pointed_out_and_another_name_is_not() {
        let used = [("paypal", 2), ("wise", 1)]
            .map(|(method, affiliates)| MethodUse { method: method.to_owned(), affiliates });
        for slip in ["paypall", "payapl", "pay-pal", "papal", "wize"] {
            let told = misspelt(slip, &used).expect(slip);
            assert!(told.starts_with(&format!("no affiliate has the method `{slip}`, and ")), "{told}");
        }
        assert!(misspelt("paypa", &used).is_some_and(|told| told.contains("2 have `paypal`")));
        for other in ["paypal", "sepa", "stripe", "iban", "phone"] {
            assert_eq!(misspelt(other, &used), None, "{other}");
        }
    }
}
