//! `recover`: lets the fleet go on with a database that lost what it had confirmed, when the statements were read and
//! two people say so.

use payfleet_domain::{Effect, TenantId};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{Recovery, RecoveryAccount, Store, Stray};
use time::format_description::well_known::Rfc3339;

use crate::cli::RecoverArgs;
use crate::failure::Failure;
use crate::holds::{words_json, words_text};
use crate::people::who;
use crate::show;

/// Said where no program has found it out: all memory of it may be lost too.
const BY_HAND: &str = "somebody said that it was restored or promoted";

/// `recover`.
pub async fn recover(store: &Store, args: &RecoverArgs) -> Result<ExitCode, Failure> {
    if args.decide {
        return decide(store, args).await;
    }
    if args.begin {
        store.recovery_open("coordinator", BY_HAND).await?;
        store.recovery_doubt().await?;
    }
    let Some(recovery) = store.recovery_find().await? else {
        return Err(Failure::usage(
            "no recovery is open; `recover --begin` stops the fleet and opens one, for a database that was restored or \
             promoted",
        ));
    };
    let (accounts, strays) = (store.recovery_accounts().await?, store.recovery_strays().await?);
    let is_read = accounts.iter().all(|account| account.is_read);
    if args.json {
        show::print_json(&serde_json::json!({
            "recovery": recovery.id, "opened_at": recovery.opened_at.format(&Rfc3339).ok(),
            "found_by": recovery.found_by, "words": recovery.words,
            "is_read": is_read,
            "accounts": accounts.iter().map(account_json).collect::<Vec<_>>(),
            "payments_of_no_run": strays.iter().map(stray_json).collect::<Vec<_>>(),
            "said": words_json(&recovery.said),
        }))?;
    } else {
        tell(&recovery, &accounts, &strays);
        show::print(match is_read {
            false => "next: `payfleet-reconciler recover --wait`, which reads the statements\n",
            true => {
                "next: two approvers of all tenants look at this, and each says \
                 `payfleet-coordinator recover --decide`\n"
            }
        });
    }
    Ok(if is_read { ExitCode::Done } else { ExitCode::Busy })
}

/// Nothing is planned for a tenant before it is certain what a run that was lost has paid.
pub async fn plan_guard(store: &Store, tenant: TenantId) -> Result<(), Failure> {
    match store.recovery_plan_guard(tenant).await? {
        None => Ok(()),
        Some(RecoveryAccount { account, wanted, .. }) => Err(Failure::busy(format!(
            "the database was recovered, and a payment of a run that it lost may still be executed, or not be known: \
             nothing is planned before the statement of {}/{} reaches past {}; `payfleet-reconciler watch` reads it",
            account.rail,
            account.account,
            show::instant(wanted)
        ))),
    }
}

fn account_json(account: &RecoveryAccount) -> serde_json::Value {
    serde_json::json!({
        "rail": account.account.rail, "account": account.account.account, "is_read": account.is_read,
        "reaches": account.reaches.and_then(|at| at.format(&Rfc3339).ok()), "by_file": account.by_file,
        "wanted": account.wanted.format(&Rfc3339).ok(),
    })
}

fn stray_json(stray: &Stray) -> serde_json::Value {
    serde_json::json!({
        "rail": stray.rail, "account": stray.account, "payments": stray.payments,
        "to_affiliates_known_here": stray.held,
    })
}

fn tell(recovery: &Recovery, accounts: &[RecoveryAccount], strays: &[Stray]) {
    show::print(&format!(
        "recovery {}, open since {}; found by {}: {}\nsaid: {}\n",
        recovery.id,
        show::instant(recovery.opened_at),
        recovery.found_by,
        recovery.words,
        words_text(&recovery.said)
    ));
    let mut table =
        show::table(&["rail", "account", "statement reaches", "must reach", "read", "payments that no run knows"]);
    for RecoveryAccount { account, reaches, by_file, wanted, is_read } in accounts {
        let strays = strays.iter().find(|stray| stray.rail == account.rail && stray.account == account.account);
        table.add_row([
            comfy_table::Cell::new(&account.rail),
            comfy_table::Cell::new(&account.account),
            comfy_table::Cell::new(reaches.map_or("-".to_owned(), show::instant)),
            comfy_table::Cell::new(show::instant(*wanted)),
            comfy_table::Cell::new(match (is_read, by_file) {
                (false, _) => "no".to_owned(),
                (true, None) => "yes".to_owned(),
                (true, Some(file)) => format!("by file {file}"),
            }),
            show::number(strays.map_or("0".to_owned(), |stray| {
                format!("{}, {} of them to affiliates known here, who will be on hold", stray.payments, stray.held)
            })),
        ]);
    }
    show::print(&format!("{table}\n"));
}

async fn decide(store: &Store, args: &RecoverArgs) -> Result<ExitCode, Failure> {
    let said = store.recovery_decide(who(&args.who)?, args.pending_on_hold).await?;
    show::print(&match said.effect {
        Effect::Agrees => {
            "the database is recovered: the fleet goes on, and asks the rails for what is not known yet\n".to_owned()
        }
        Effect::Proposes | Effect::Contradicts => {
            format!("{} says that the fleet may go on; a second person must say the same\n", said.by)
        }
    });
    Ok(ExitCode::Done)
}
