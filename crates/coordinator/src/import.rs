//! `import`: a thread reads and judges the file, the store takes its rows; all of them or none.

mod told;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use indicatif::ProgressBar;
use payfleet_input::{PRESETS, Preset, Problem, Problems, Source};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{AffiliatesTarget, Controls, Feed, ImportError, Imported, Store, Terms};
use tokio::sync::{mpsc, oneshot};

use crate::cli::{ImportAffiliatesArgs, ImportArgs, ImportCommissionsArgs, PresetsArgs};
use crate::failure::Failure;
use crate::input::affiliates::Affiliates;
use crate::input::commissions::Commissions;
use crate::input::{Expected, FeedWriter, ReadError, Reading, Table, read};
use crate::since::Next;
use crate::{progress, show};

/// `import affiliates`.
pub async fn affiliates(store: Store, args: &ImportAffiliatesArgs) -> Result<ExitCode, Failure> {
    let kinds = store.method_kinds(&args.import.tenant).await?;
    let target =
        AffiliatesTarget { tenant: args.import.tenant.clone(), hold_days: args.hold_days, kinds: kinds.clone() };
    let table = Affiliates { tenant: args.import.tenant.clone(), kinds, ..Affiliates::default() };
    let named_countries = Arc::clone(&table.named_countries);
    let terms = terms(&args.import, false);
    let expected = Expected { rows: args.import.expect_rows, sums: Vec::new() };
    let (imported, reading) =
        import(&args.import, expected, table, |rows| store.affiliates_import_on(target, terms, rows)).await?;
    match named_countries.load(Ordering::Relaxed) {
        0 => {}
        rows => eprintln!(
            "warning: {rows} of {} rows name the country in words; write the two letters of ISO 3166, such as DE: \
             rails that ask for the country take nothing else",
            imported.rows
        ),
    }
    tell(&args.import, "affiliates", &imported, &reading)
}

/// `import commissions`.
pub async fn commissions(store: Store, args: &ImportCommissionsArgs) -> Result<ExitCode, Failure> {
    let terms = terms(&args.import, args.allow_dates);
    let expected = Expected { rows: args.import.expect_rows, sums: args.expect_sum.clone() };
    let args = &args.import;
    let table = Commissions::default();
    let (imported, mut reading) =
        import(args, expected, table, |rows| store.commissions_import_on(&args.tenant, terms, rows)).await?;
    if imported.left_out > 0 {
        reading.reversed -= imported.left_out;
        reading
            .left_out
            .push(("reversed, and not imported before it was to be left out".to_owned(), imported.left_out));
    }
    tell(args, "commissions", &imported, &reading)
}

/// Of what is told by name in a dry run, which is there to be read.
const NAMED_DRY: i64 = 100;

fn terms(args: &ImportArgs, allow_dates: bool) -> Terms {
    let named = if args.dry_run { NAMED_DRY } else { Terms::default().named };
    Terms { dry_run: args.dry_run, strict: args.strict, allow_dates, named: args.limit.unwrap_or(named) }
}

/// Says what an import did.
fn tell(args: &ImportArgs, what: &str, imported: &Imported, reading: &Reading) -> Result<ExitCode, Failure> {
    let next = imported.newest.as_ref().map(|(period, sequence)| Next::further(period, *sequence));
    if args.json {
        let mut answer = serde_json::json!({
            "tenant": args.tenant, "tenant_is_new": imported.tenant_is_new, "rows": imported.rows,
            "new": imported.new, "updated": imported.updated, "unchanged": imported.unchanged,
            "read_as": reading.read_as,
            "dry_run": args.dry_run, "suspicions": told::suspicion_fields(&imported.suspicions),
        });
        if let Some(fields) = answer.as_object_mut() {
            if let Some((from, to)) = imported.hold_days {
                fields.insert("hold_days".to_owned(), serde_json::json!({ "from": from, "to": to }));
            }
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
        if args.map.is_some()
            && let Some(fields) = answer.as_object_mut()
        {
            let left_out: BTreeMap<_, _> = reading.left_out.iter().cloned().collect();
            let of_file =
                [("rows_of_file", serde_json::json!(reading.rows)), ("left_out", serde_json::json!(left_out))];
            fields.extend(of_file.map(|(name, value)| (name.to_owned(), value)));
            fields.insert("reversed".to_owned(), serde_json::json!(reading.reversed));
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
    if let Some((from, to)) = imported.hold_days {
        show::print(&format!(
            "hold period of {}: {from} days before, {to} now: every sale that is imported from now on is due by it\n",
            args.tenant
        ));
    }
    let Imported { rows, new, updated, unchanged, .. } = imported;
    show::print(&format!(
        "{what}: {rows} rows, {new} new, {updated} updated, {unchanged} unchanged\n{}",
        imported.controls.as_ref().map(controls).unwrap_or_default()
    ));
    show::print(&mapped(reading));
    if let Some(next) = next.filter(|_| !imported.late.is_empty()) {
        show::print(&told::late(&imported.late, &next, &args.tenant));
    }
    show::print(&told::late_rows(&imported.late_rows, &imported.late));
    show::print(&told::changes(&imported.changes));
    show::print(&told::suspicions(&imported.suspicions));
    Ok(ExitCode::Done)
}

/// What a mapping did not import as it stands: lines, if there is anything.
fn mapped(reading: &Reading) -> String {
    let mut text = String::new();
    let sum: u64 = reading.left_out.iter().map(|(_, count)| count).sum();
    if sum > 0 {
        let told: Vec<String> = reading.left_out.iter().map(|(why, count)| format!("{count} of {why}")).collect();
        text.push_str(&format!("left out: {sum} of the file's {} rows: {}\n", reading.rows, told.join(", ")));
    }
    match reading.reversed {
        0 => {}
        1 => text.push_str("reversed: 1 commission, imported with what takes it back\n"),
        many => text.push_str(&format!("reversed: {many} commissions, each imported with what takes it back\n")),
    }
    text
}

/// `import presets`.
pub fn presets(args: &PresetsArgs) -> Result<ExitCode, Failure> {
    let names = || PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ");
    match &args.name {
        None => {
            show::print(&PRESETS.iter().map(|preset| format!("{:20} {}\n", preset.name, preset.of)).collect::<String>())
        }
        Some(name) => {
            let found = Preset::named(name);
            let found =
                found.ok_or_else(|| Failure::usage(format!("there is no preset `{name}`; there are {}", names())))?;
            show::print(found.text);
        }
    }
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
            "{} in another currency now, without limits in it: limits of other currencies do not bind; \
             import min and max with the new currency\n",
            match controls.limits_of_other_currency {
                1 => "1 affiliate is".to_owned(),
                many => format!("{many} affiliates are"),
            }
        ));
    }
    text
}

/// Imports a file; also says how it was read.
async fn import<T, S, F>(
    args: &ImportArgs,
    expected: Expected,
    mut table: T,
    store: S,
) -> Result<(Imported, Reading), Failure>
where
    T: Table + Send + 'static,
    S: FnOnce(mpsc::Receiver<Feed<T::Chunk>>) -> F,
    F: Future<Output = Result<Imported, ImportError>>,
{
    let how = args.how().map_err(|wrong| Failure::usage(wrong.to_string()))?;
    let source = Source::open(&args.file)
        .map_err(|error| Failure::input(format!("{}: cannot be read: {error}", args.file.display())))?;
    let name = source.name.clone();
    let bar = progress::bytes(source.size, &name);
    let (feed, rows) = FeedWriter::new();
    let (told, reader) = oneshot::channel();
    // Not a task of the runtime, which would wait for it at the end: a pipe may never say anything again.
    std::thread::spawn({
        let (bar, name) = (bar.clone(), name.clone());
        move || {
            let watched = bar.clone();
            let source = source.watched(move |bytes| watched.inc(bytes));
            let result = read(&mut table, source, &how, &expected, feed, |rows| {
                if !rows.is_plain() {
                    bar.suspend(|| show::note(&format!("{name}: read as {}", rows.read_as())));
                }
            });
            progress::now_unknown(&bar, "storing");
            let _ = told.send(result); // nobody listens if the store has given up
        }
    });
    let stored = store(rows).await;
    finish(reader, bar, stored, &name).await
}

async fn finish(
    reader: oneshot::Receiver<Result<Reading, ReadError>>,
    bar: ProgressBar,
    stored: Result<Imported, ImportError>,
    name: &str,
) -> Result<(Imported, Reading), Failure> {
    // If the store has given up, the reader may wait for a pipe that says nothing.
    let read = match stored {
        Ok(_) | Err(ImportError::Aborted | ImportError::Problems { .. }) => {
            reader.await.map_err(|_| Failure::broken(format!("{name}: the reading thread ended abnormally")))?
        }
        Err(_) => Err(ReadError::Closed),
    };
    bar.finish_and_clear();
    match (read, stored) {
        (Err(ReadError::Problems(problems)), _) => Err(Failure::input(problems.report(name, NOTHING))),
        (Err(ReadError::Mapping(wrong)), _) => Err(Failure::usage(wrong.to_string())),
        (Err(ReadError::Io(error)), _) => Err(Failure::input(format!("{name}: cannot be read: {error}"))),
        (read, stored) => {
            let reading = read.unwrap_or_default(); // what was stored was read to its end
            let imported = stored.map_err(|error| failure(error, name, &reading))?;
            Ok((imported, reading))
        }
    }
}

/// What did not happen if there are errors.
pub const NOTHING: &str = "nothing was imported";

/// What the store found wrong, in the words of the file.
pub fn failure(error: ImportError, name: &str, reading: &Reading) -> Failure {
    match error {
        ImportError::Problems { first, total } => {
            let first = first
                .into_iter()
                .map(|problem| Problem {
                    line: problem.line,
                    column: reading.title(problem.field).to_owned(),
                    what: problem.fault.to_string(),
                })
                .collect();
            Failure::input(Problems::of(first, total).report(name, NOTHING))
        }
        ImportError::Suspicious(suspicions) => Failure::input(told::refused(suspicions).report(name, NOTHING)),
        ImportError::UnknownTenant(_) => Failure::usage(error.to_string()),
        ImportError::KindsChanged => Failure::busy(error.to_string()),
        ImportError::Aborted => Failure::broken(format!("{name}: {error}")),
        ImportError::Store(error) => error.into(),
    }
}
