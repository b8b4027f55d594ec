//! `rails`: which rail pays a tenant's methods.

use payfleet_domain::{KeyUnit, RAILS, Rail, TenantId};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{Store, TenantRail};
use serde::Serialize;

use crate::cli::{RailsListArgs, RailsSetArgs};
use crate::failure::Failure;
use crate::show;

/// The number of the tenant with this name.
pub async fn tenant(store: &Store, name: &str) -> Result<TenantId, Failure> {
    store
        .tenant_find(name)
        .await?
        .ok_or_else(|| Failure::usage(format!("there is no tenant `{name}`; importing its affiliates makes it")))
}

/// `rails set`.
pub async fn set(store: &Store, args: &RailsSetArgs) -> Result<ExitCode, Failure> {
    if args.rail.name == "null" && !args.null_rail {
        return Err(Failure::usage(
            "the rail `null` marks everybody paid and pays nobody; it is for measuring, and only with --null-rail",
        ));
    }
    let rail = TenantRail {
        method: args.method.clone(),
        rail: args.rail.name.to_owned(),
        account: args.account.clone(),
        credential: args.credential.clone(),
    };
    store.tenant_rail_set(tenant(store, &args.tenant).await?, rail).await?;
    show::print(&format!(
        "{}: {} is paid over {}, account {}\n",
        args.tenant, args.method, args.rail.name, args.account
    ));
    Ok(ExitCode::Done)
}

#[derive(Serialize)]
struct Used {
    tenant: String,
    #[serde(flatten)]
    rail: TenantRail,
    class: &'static str,
}

/// `rails list`.
pub async fn list(store: &Store, args: &RailsListArgs) -> Result<ExitCode, Failure> {
    let tenants = match &args.tenant {
        Some(name) => vec![(tenant(store, name).await?, name.clone())],
        None => store.tenants_list().await?,
    };
    let mut used = Vec::new();
    for (id, name) in tenants {
        for rail in store.tenant_rails(id).await? {
            let class = Rail::named(&rail.rail).map_or("not in this build", |known| known.class.letter());
            used.push(Used { tenant: name.clone(), rail, class });
        }
    }
    if args.json {
        let known: Vec<_> = RAILS
            .iter()
            .map(|rail| serde_json::json!({ "rail": rail.name, "class": rail.class.letter(), "payouts_per_batch": rail.payouts_per_batch }))
            .collect();
        show::print_json(&serde_json::json!({ "used": used, "rails": known }))?;
        return Ok(ExitCode::Done);
    }
    let mut table = show::table(&["tenant", "method", "rail", "class", "account", "credential"]);
    for line in &used {
        let credential = line.rail.credential.as_deref().unwrap_or("-");
        table.add_row([&line.tenant, &line.rail.method, &line.rail.rail, line.class, &line.rail.account, credential]);
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
        "{table}\n\nRails of this build (class K: idempotency key, L: lookup, N: neither):\n{known}\n"
    ));
    Ok(ExitCode::Done)
}
