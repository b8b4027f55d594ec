//! What an alert is raised for, counted from the outside of runs: one statement, asked every some seconds by one worker
//! and by each reconciler.

use payfleet_domain::HoldReason;

use crate::connect::{Step, Store, StoreError, detached};
use crate::sql::unanswered_batches;

/// What somebody should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Watched {
    /// Alarms that nobody has answered.
    pub alarms_open: f64,
    /// Runs whose verdict is `discrepant`.
    pub runs_discrepant: f64,
    /// The age of the oldest hold that people must decide, in seconds. Not of what somebody wants held.
    pub hold_oldest_secs: f64,
    /// How long the run that stands still longest has had neither an attempt that the rail may have executed nor a
    /// batch that closed, though something of it could be sent, in seconds.
    pub run_still_secs: f64,
    /// How long the funding account that is stopped longest has been, in seconds.
    pub account_stopped_secs: f64,
}

impl Watched {
    /// By the names of their metrics.
    pub fn gauges(&self) -> [(&'static str, f64); 5] {
        [
            ("payfleet_alarms_open", self.alarms_open),
            ("payfleet_runs_discrepant", self.runs_discrepant),
            ("payfleet_hold_oldest_seconds", self.hold_oldest_secs),
            ("payfleet_run_still_seconds", self.run_still_secs),
            ("payfleet_funding_account_stopped_seconds", self.account_stopped_secs),
        ]
    }
}

impl Store {
    /// Counts it.
    pub async fn watched_read(&self) -> Result<Watched, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let controls: Vec<&str> = HoldReason::CONTROLS.iter().map(HoldReason::code).collect();
            let counted = sqlx::query_as(concat!(
                "-- watched_read
                 SELECT (SELECT count(*) FROM alarm_open)::float8,
                   (SELECT count(*) FROM run WHERE verdict = 'discrepant')::float8,
                        coalesce((SELECT extract(epoch FROM clock_timestamp() - min(opened_at)) FROM hold
                                   WHERE resolved_at IS NULL AND reason <> ALL($1)), 0)::float8,
                        coalesce((
                          SELECT max(extract(epoch FROM clock_timestamp() - greatest(r.created_at, r.planned_at,
                            r.paying_at, news.closed_at, news.opened_at)))
                            FROM run r, LATERAL (
                              SELECT max(b.closed_at) AS closed_at,
                                     max((SELECT max(a.opened_at) FROM attempt a WHERE a.batch_id = b.id
                                       AND a.result IS DISTINCT FROM 'not_executed')) AS opened_at
                                FROM batch b WHERE b.run_id = r.id) AS news
                           WHERE r.paused_at IS NULL
                             AND (r.state IN ('planning', 'planned')
                                  OR r.state = 'paying' AND EXISTS (SELECT FROM batch o WHERE o.run_id = r.id
                                    AND o.state IN ",
                unanswered_batches!(),
                "))), 0)::float8,
                        coalesce((SELECT extract(epoch FROM clock_timestamp() - min(stopped_at))
                                    FROM funding_stop), 0)::float8"
            ))
            .bind(controls)
            .fetch_one(&pool)
            .await
            .step("watched_read")?;
            let (alarms_open, runs_discrepant, hold_oldest_secs, run_still_secs, account_stopped_secs) = counted;
            Ok(Watched { alarms_open, runs_discrepant, hold_oldest_secs, run_still_secs, account_stopped_secs })
        })
        .await
    }
}
