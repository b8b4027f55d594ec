//! Recording what workers that have ended left in the folder.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use payfleet_store::chain;

use super::file::{Content, Kept, Spool};
use crate::Process;

/// How often a worker looks whether somebody has left something.
const AGAIN: Duration = Duration::from_secs(30);

/// Records what workers have kept in the folder, this one too, as long as it runs. A file goes when all of it is
/// recorded; with what cannot be recorded it stays, and that is said.
pub(crate) async fn take_over(process: Arc<Process>) {
    let Some(spool) = process.worker.spool.get() else { return };
    loop {
        take_over_all(&process, spool).await;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn take_over_all(process: &Process, spool: &Spool) {
    // A refusal frees money, and a database that lost something frees none.
    if process.worker.behind.why().is_some() {
        return;
    }
    let files = match spool.files() {
        Ok(files) => files,
        Err(error) => {
            tracing::error!(
                folder = %spool.dir.display(), error = chain(&error),
                "whether earlier workers have left answers cannot be seen"
            );
            return;
        }
    };
    for path in files {
        let file = path.display();
        match take_over_file(process, &path).await {
            Ok(0) => {}
            Ok(batches) => tracing::info!(%file, batches, "recorded the answers that an earlier worker had left"),
            Err(why) if process.worker.shutdown.is_requested() => {
                tracing::info!(%file, why, "not recorded before the end; the file stays for the next worker");
            }
            Err(why) => {
                metrics::counter!("payfleet_answers_left_total").increment(1);
                tracing::error!(%file, why, "answers that an earlier worker had left are not recorded; the file stays");
            }
        }
    }
}

async fn take_over_file(process: &Process, path: &Path) -> Result<usize, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        // Another worker was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.to_string()),
    };
    let answers = Content::read(&text)?;
    // Each is about another batch: one that cannot be recorded is in nobody's way.
    let (mut left, mut why) = (Vec::new(), None);
    let batches = answers.len();
    for kept in answers {
        if let Err(error) = record(process, &kept).await {
            left.push(kept);
            why = Some(error);
        }
    }
    if let Some(why) = why {
        // What was recorded is not recorded again and again.
        if left.len() < batches
            && let Some(spool) = process.worker.spool.get()
        {
            spool.keep(left).map_err(|error| error.to_string())?;
            std::fs::remove_file(path).map_err(|error| error.to_string())?;
        }
        return Err(why);
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("it is recorded, and cannot be removed: {error}"))
        }
        _ => Ok(batches),
    }
}

async fn record(process: &Process, kept: &Kept) -> Result<(), String> {
    let worker = &process.worker;
    let report = Arc::new(kept.report());
    let record = || -> BoxFuture<'_, _> {
        Box::pin(async {
            match process.store.batch_run_key(report.batch).await? {
                Some((key, rail)) if key == kept.run_key => {
                    worker.record.outcomes_record(report.clone()).await.map(|recorded| Some((recorded, rail)))
                }
                _ => Ok(None),
            }
        })
    };
    let recorded = tokio::select! {
        recorded = worker.insist(report.batch, "an answer that was left cannot be recorded yet", record) => recorded,
        () = worker.shutdown.requested() => return Err("the worker ends".to_owned()),
    };
    match recorded {
        Ok(Some((recorded, rail))) => {
            worker.told(&rail, report.batch, &recorded);
            Ok(())
        }
        Ok(None) => Err(format!("batch {} is of another database", report.batch)),
        Err(error) => Err(chain(&error)),
    }
}
