//! `payout` and `affiliate`: what one person may stop, and let go on.

use payfleet_domain::Effect;
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{ControlLifted, ControlSet, Heard, Store};

use crate::cli::{AffiliateCommand, PayoutCommand};
use crate::failure::Failure;
use crate::people::who;
use crate::rails::tenant;
use crate::{life, show, who};

/// `payout`.
pub async fn payout(store: &Store, what: &PayoutCommand) -> Result<ExitCode, Failure> {
    match what {
        PayoutCommand::Stop(args) => {
            let set = store.payout_stop(args.payout, &args.reason).await?;
            show::print(&told_set(&format!("payout {}", args.payout), "stopped", set));
        }
        PayoutCommand::Release(args) => {
            let lifted = store.payout_release(args.payout).await?;
            show::print(&told_lifted(&format!("payout {} is not stopped any more", args.payout), lifted));
        }
        PayoutCommand::Show(args) => return life::show(store, args).await,
    }
    Ok(ExitCode::Done)
}

/// `affiliate`.
pub async fn affiliate(store: &Store, what: &AffiliateCommand) -> Result<ExitCode, Failure> {
    match what {
        AffiliateCommand::Hold(args) => {
            let tenant = tenant(store, &args.of.tenant).await?;
            let set = store.affiliate_hold(tenant, &args.of.affiliate, &args.reason).await?;
            show::print(&told_set(&format!("affiliate {}", args.of.affiliate), "on hold", set));
        }
        AffiliateCommand::Release(args) => {
            let tenant = tenant(store, &args.of.tenant).await?;
            let name = &args.of.affiliate;
            let lifted = match args.booked {
                false => store.affiliate_release(tenant, name).await?,
                true => match store.affiliate_booked(tenant, name, who(&args.who)?).await? {
                    (Heard { effect: Effect::Agrees, .. }, lifted) => lifted,
                    (heard, _) => {
                        show::print(&told_booked(name, &heard));
                        return Ok(ExitCode::Done);
                    }
                },
            };
            show::print(&told_lifted(&format!("affiliate {name} is not on hold any more"), lifted));
        }
        AffiliateCommand::Show(args) => return who::show(store, args).await,
    }
    Ok(ExitCode::Done)
}

fn told_set(of: &str, what: &str, set: ControlSet) -> String {
    let already = if set.was_set { " already" } else { "" };
    let mut told = format!("{of} is{already} {what}\n");
    if set.unsent > 0 {
        told += &format!("  {} open payouts are not sent\n", set.unsent);
    }
    if set.perhaps_sent > 0 {
        told += &format!(
            "  {} open payouts may be on their way; nothing is sent again, nor what travels with them under one key, \
             before it is known what became of them\n",
            set.perhaps_sent
        );
    }
    told
}

fn told_booked(affiliate: &str, heard: &Heard) -> String {
    let by = &heard.by;
    match heard.effect {
        Effect::Contradicts => format!(
            "affiliate {affiliate}: more payments are known than when it was said that they are booked; \
             both words are kept, and {by} and a second person must say it anew\n"
        ),
        _ => format!("affiliate {affiliate}: {by} says that it is booked; a second person must say the same\n"),
    }
}

fn told_lifted(done: &str, lifted: ControlLifted) -> String {
    let mut told = format!("{done}\n");
    if lifted.go_on > 0 {
        told += &format!("  {} held payouts go on\n", lifted.go_on);
    }
    if lifted.cancelled > 0 {
        let payouts = lifted.cancelled;
        told +=
            &format!("  {payouts} held payouts are of runs that are over: cancelled, and their money is due again\n");
    }
    told
}
