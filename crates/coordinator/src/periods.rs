//! `periods`: the months that wait for a run.

use payfleet_domain::Period;
use payfleet_runtime::exit::ExitCode;
use payfleet_store::Store;
use time::OffsetDateTime;

use crate::cli::PeriodsArgs;
use crate::failure::Failure;
use crate::rails::tenant;
use crate::show;

/// `periods`. Months that the newest run's window covers are done: what becomes known of them later is in the next run. A month that is not over
/// cannot be run yet.
pub async fn list(store: &Store, args: &PeriodsArgs) -> Result<ExitCode, Failure> {
    let tenant = tenant(store, &args.tenant).await?;
    let last = store.runs_list(Some(tenant), 1).await?.first().map(|run| run.cutoff);
    let now = OffsetDateTime::now_utc();
    let mut open = Vec::new();
    for month in store.tenant_months(tenant).await? {
        let period: Period =
            month.parse().map_err(|error| Failure::broken(format!("a month of the database: {error}")))?;
        if last.is_none_or(|last| period.cutoff() > last) && period.cutoff() < now {
            open.push(month);
        }
    }
    match args.json {
        true => show::print_json(&serde_json::json!({ "tenant": args.tenant, "periods": open }))?,
        false => show::print(&open.iter().map(|month| format!("{month}\n")).collect::<String>()),
    }
    Ok(ExitCode::Done)
}
