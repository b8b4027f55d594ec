//! `import`: a thread reads and judges the file, the store takes its rows; all of them or none.

mod told;

use std::future::Future;

use indicatif::ProgressBar;
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{AffiliatesTarget, Controls, Feed, ImportError, Imported, Store, Terms};
use tokio::sync::{mpsc, oneshot};

use crate::cli::{ImportAffiliatesArgs, ImportArgs, ImportCommissionsArgs};
use crate::failure::Failure;
use crate::input::affiliates::Affiliates;
use crate::input::commissions::Commissions;
use crate::input::{FeedWriter, Problem, Problems, ReadError, Source, Table, read};
use crate::since::Next;
use crate::{progress, show};

/// `import affiliates`.
pub async fn affiliates(store: Store, args: &ImportAffiliatesArgs) -> Result<ExitCode, Failure> {
    let target = AffiliatesTarget { tenant: args.import.tenant.clone(), hold_days: args.hold_days };
    let terms = terms(&args.import, false);
    let imported = import(&args.import, Affiliates, |rows| store.affiliates_import_on(target, terms, rows)).await?;
    tell(&args.import, "affiliates", &imported)
}

/// `import commissions`.
pub async fn commissions(store: Store, args: &ImportCommissionsArgs) -> Result<ExitCode, Failure> {
    let terms = terms(&args.import, args.allow_dates);
    let tenant = &args.import.tenant;
    let imported = import(&args.import, Commissions, |rows| store.commissions_import_on(tenant, terms, rows)).await?;
    tell(&args.import, "commissions", &imported)
}

/// Of what is told by name in a dry run, which is there to be read.
const NAMED_DRY: i64 = 100;

fn terms(args: &ImportArgs, allow_dates: bool) -> Terms {
    let named = if args.dry_run { NAMED_DRY } else { Terms::default().named };
    Terms { dry_run: args.dry_run, strict: args.strict, allow_dates, named: args.limit.unwrap_or(named) }
}

/// Says what an import did.
fn tell(args: &ImportArgs, what: &str, imported: &Imported) -> Result<ExitCode, Failure> {
    let next = imported.newest.as_ref().map(|(period, sequence)| Next::further(period, *sequence));
    if args.json {
        let mut answer = serde_json::json!({
            "tenant": args.tenant, "tenant_is_new": imported.tenant_is_new, "rows": imported.rows,
            "new": imported.new, "updated": imported.updated, "unchanged": imported.unchanged,
            "dry_run": args.dry_run, "suspicions": told::suspicion_fields(&imported.suspicions),
        });
        if let Some(fields) = answer.as_object_mut() {
            if let Some(controls) = imported.controls {
                fields.insert("controls".to_owned(), serde_json::json!(controls));
            }
            if !imported.late.is_empty() {
                fields.insert("late".to_owned(), serde_json::json!({ "months": imported.late, "next": next }));
            }
            if args.dry_run && what == "affiliates" {
                let changes = &imported.changes;
                let changes = serde_json::json!({ "total": changes.total, "first": changes.first });
                fields.insert("changes".to_owned(), changes);
            }
            if args.dry_run && what == "commissions" {
                fields.insert("late_rows".to_owned(), serde_json::json!(imported.late_rows));
            }
        }
        show::print_json(&answer)?;
        return Ok(ExitCode::Done);
    }
    if args.dry_run {
        show::print("dry run: nothing was written\n");
    }
    if imported.tenant_is_new {
        show::print(&format!("tenant {} is new\n", args.tenant));
    }
    let Imported { rows, new, updated, unchanged, .. } = imported;
    show::print(&format!(
        "{what}: {rows} rows, {new} new, {updated} updated, {unchanged} unchanged\n{}",
        imported.controls.as_ref().map(controls).unwrap_or_default()
    ));
    if let Some(next) = next.filter(|_| !imported.late.is_empty()) {
        show::print(&told::late(&imported.late, &next, &args.tenant));
    }
    show::print(&told::late_rows(&imported.late_rows, &imported.late));
    show::print(&told::changes(&imported.changes));
    show::print(&told::suspicions(&imported.suspicions));
    Ok(ExitCode::Done)
}

/// What was changed of what stops money or says where it goes: a line, if there is anything.
fn controls(controls: &Controls) -> String {
    let counts = [
        (controls.holds_set, "hold set", "holds set"),
        (controls.holds_lifted, "hold lifted", "holds lifted"),
        (controls.limits_changed, "limit changed", "limits changed"),
        (controls.limits_removed, "limit removed", "limits removed"),
        (controls.methods_retired, "method retired", "methods retired"),
        (controls.destinations_changed, "destination changed", "destinations changed"),
    ];
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
        .collect();
    let mut text = if told.is_empty() { String::new() } else { format!("controls: {}\n", told.join(", ")) };
    if controls.holds_kept > 0 {
        text.push_str(&format!(
            "{} on hold though the file says otherwise: a person placed the hold; `affiliate release` ends it\n",
            match controls.holds_kept {
                1 => "1 affiliate stays".to_owned(),
                many => format!("{many} affiliates stay"),
            }
        ));
    }
    if controls.perhaps_sent > 0 {
        text.push_str(&format!(
            "{} of those who are on hold now may be on {} way; nothing more of theirs is sent\n",
            match controls.perhaps_sent {
                1 => "1 open payout".to_owned(),
                many => format!("{many} open payouts"),
            },
            if controls.perhaps_sent == 1 { "its" } else { "their" }
        ));
    }
    if controls.limits_of_other_currency > 0 {
        text.push_str(&format!(
            "{} in another currency now, without limits in it: limits of other currencies do not bind; import min and max with the new currency\n",
            match controls.limits_of_other_currency {
                1 => "1 affiliate is".to_owned(),
                many => format!("{many} affiliates are"),
            }
        ));
    }
    text
}

async fn import<T, S, F>(args: &ImportArgs, mut table: T, store: S) -> Result<Imported, Failure>
where
    T: Table + Send + 'static,
    S: FnOnce(mpsc::Receiver<Feed<T::Chunk>>) -> F,
    F: Future<Output = Result<Imported, ImportError>>,
{
    let source = Source::open(&args.file)
        .map_err(|error| Failure::input(format!("{}: cannot be read: {error}", args.file.display())))?;
    let name = source.name.clone();
    let bar = progress::bytes(source.size, &name);
    let (feed, rows) = FeedWriter::new();
    let (told, reader) = oneshot::channel();
    // Not a task of the runtime, which would wait for it at the end: a pipe may never say anything again.
    std::thread::spawn({
        let bar = bar.clone();
        move || {
            let source = source.wrapped(|input| bar.wrap_read(input));
            let result = read(&mut table, source, feed);
            progress::now_unknown(&bar, "storing");
            let _ = told.send(result); // nobody listens if the store has given up
        }
    });
    let stored = store(rows).await;
    finish(reader, bar, stored, &name).await
}

async fn finish(
    reader: oneshot::Receiver<Result<(), ReadError>>,
    bar: ProgressBar,
    stored: Result<Imported, ImportError>,
    name: &str,
) -> Result<Imported, Failure> {
    // If the store has given up, the reader may wait for a pipe that says nothing.
    let read = match stored {
        Ok(_) | Err(ImportError::Aborted) => {
            reader.await.map_err(|_| Failure::broken(format!("{name}: the reading thread ended abnormally")))?
        }
        Err(_) => Err(ReadError::Closed),
    };
    bar.finish_and_clear();
    match (read, stored) {
        (Err(ReadError::Problems(problems)), _) => Err(Failure::input(problems.report(name))),
        (Err(ReadError::Io(error)), _) => Err(Failure::input(format!("{name}: cannot be read: {error}"))),
        (_, stored) => stored.map_err(|error| failure(error, name)),
    }
}

/// What the store found wrong, in the words of the file.
pub fn failure(error: ImportError, name: &str) -> Failure {
    match error {
        ImportError::Problems { first, total } => {
            let first = first
                .into_iter()
                .map(|problem| Problem {
                    line: problem.line,
                    column: problem.field.to_owned(),
                    what: problem.fault.to_string(),
                })
                .collect();
            Failure::input(Problems::of(first, total).report(name))
        }
        ImportError::Suspicious(suspicions) => Failure::input(told::refused(suspicions).report(name)),
        ImportError::UnknownTenant(_) => Failure::usage(error.to_string()),
        ImportError::Aborted => Failure::broken(format!("{name}: {error}")),
        ImportError::Store(error) => error.into(),
    }
}
