//! `periods`: what waits for a run. Each line is what `run` takes after `--period`.

use payfleet_runtime::exit::ExitCode;
use payfleet_store::Store;
use time::OffsetDateTime;

use crate::cli::PeriodsArgs;
use crate::failure::Failure;
use crate::rails::tenant;
use crate::show;
use crate::since::Since;

/// `periods`. A month that is not over cannot be run yet. What became due of months that were run comes first: another
/// run of the newest of them pays it.
pub async fn list(store: &Store, args: &PeriodsArgs) -> Result<ExitCode, Failure> {
    let tenant = tenant(store, &args.tenant).await?;
    let since = Since::find(store, tenant, None).await?;
    let months = store.months_unrun(tenant, OffsetDateTime::now_utc()).await?;
    if args.json {
        show::print_json(&serde_json::json!({ "tenant": args.tenant, "periods": months, "due_since": since }))?;
        return Ok(ExitCode::Done);
    }
    if let Some(since) = &since {
        eprint!("{}", since.told(&args.tenant));
        show::print(&format!("{}\n", since.next.arguments()));
    }
    show::print(&months.iter().map(|month| format!("{month}\n")).collect::<String>());
    Ok(ExitCode::Done)
}
