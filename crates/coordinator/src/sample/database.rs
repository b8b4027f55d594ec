//! A sample straight into the database, by the same way as files.

use std::sync::Arc;

use indicatif::ProgressBar;
use payfleet_domain::MethodKinds;
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{AffiliateRow, AffiliatesTarget, CommissionRow, Imported, Reversal, Said, Store};

use super::recipe::Recipe;
use crate::failure::Failure;
use crate::import::failure;
use crate::input::{Chunk, FeedClosed, FeedWriter, Reading};
use crate::{progress, show};

/// How often the bar moves.
const BAR_STEP: u64 = 1_000;

/// Imports affiliates, then commissions. Twice is a no-op, like any import.
pub async fn import(store: Store, recipe: Recipe, tenant: &str) -> Result<ExitCode, Failure> {
    let recipe = Arc::new(recipe);
    let (feed, rows) = FeedWriter::new();
    let bar = spawn(&recipe, "affiliates", feed, affiliate);
    let kinds = store.method_kinds(tenant).await?;
    if kinds != MethodKinds::default() {
        return Err(Failure::usage(format!(
            "`{tenant}` has said of what kinds its methods are, and a sample has e-mail addresses and IBANs; import \
             it into another tenant"
        )));
    }
    let target = AffiliatesTarget { tenant: tenant.to_owned(), hold_days: None, kinds };
    let affiliates = store.affiliates_import(target, rows).await;
    bar.finish_and_clear();
    let affiliates = affiliates.map_err(|error| failure(error, "sample affiliates", &Reading::default()))?;

    let (feed, rows) = FeedWriter::new();
    let bar = spawn(&recipe, "commissions", feed, commissions);
    let commissions = store.commissions_import(tenant, rows).await;
    bar.finish_and_clear();
    let commissions = commissions.map_err(|error| failure(error, "sample commissions", &Reading::default()))?;
    tell("affiliates", affiliates);
    tell("commissions", commissions);
    Ok(ExitCode::Done)
}

fn tell(what: &str, imported: Imported) {
    let Imported { rows, new, updated, unchanged, .. } = imported;
    show::print(&format!("{what}: {rows} rows, {new} new, {updated} updated, {unchanged} unchanged\n"));
}

/// Makes the rows of each affiliate on a thread of its own. A channel that is closed at the other end ends it; why is
/// known there.
fn spawn<C: Chunk>(
    recipe: &Arc<Recipe>,
    what: &str,
    mut feed: FeedWriter<C>,
    rows: fn(&Recipe, u64, &mut u64, &mut C),
) -> ProgressBar {
    let bar = progress::steps(recipe.affiliates, what);
    let (recipe, shown) = (Arc::clone(recipe), bar.clone());
    std::thread::spawn(move || {
        let mut line = 0;
        for number in 1..=recipe.affiliates {
            rows(&recipe, number, &mut line, feed.chunk());
            feed.flush_if_full()?;
            if number % BAR_STEP == 0 {
                shown.set_position(number);
            }
        }
        progress::now_unknown(&shown, "storing");
        feed.end()?;
        Ok::<(), FeedClosed>(())
    });
    bar
}

fn affiliate(recipe: &Recipe, number: u64, line: &mut u64, rows: &mut payfleet_store::AffiliateRows) {
    let one = recipe.affiliate(number);
    *line += 1;
    rows.push(&AffiliateRow {
        line: *line,
        id: &one.id,
        name: &one.name,
        email: &one.email,
        country: one.country,
        currency: one.currency,
        on_hold: Some(one.on_hold),
        method: match &one.method {
            Some((method, destination)) => Said::Is((method, destination)),
            None => Said::Nothing,
        },
        priority: 0,
        min: Said::Nothing,
        max: Said::Nothing,
    });
}

fn commissions(recipe: &Recipe, number: u64, line: &mut u64, rows: &mut payfleet_store::CommissionRows) {
    for one in recipe.commissions(number) {
        *line += 1;
        rows.push(&CommissionRow {
            line: *line,
            id: &one.id,
            affiliate: &one.affiliate,
            order_ref: &one.order_ref,
            amount: one.amount,
            earned_at: one.earned_at,
            reversal: Reversal::default(),
        });
    }
}
