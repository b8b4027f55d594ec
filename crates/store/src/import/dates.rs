//! Dates that are far from now, or from the rest of their file, are asked about: which are is `domain`'s rule, what
//! time it is the database's word.

use payfleet_domain::believed;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::PROBLEMS_SHOWN;
use super::problem::{Fault, ImportError, Problems};
use crate::connect::{Step, StoreError};

/// Refuses the file if a row is earned at a time that is not believed. Rows are looked at only if the first or the last
/// of them is.
pub(super) async fn far_refuse(
    tx: &mut PgConnection,
    earned: (OffsetDateTime, OffsetDateTime),
) -> Result<(), ImportError> {
    let now: OffsetDateTime =
        sqlx::query_scalar("-- now\nSELECT clock_timestamp()").fetch_one(&mut *tx).await.step("now")?;
    let believed = believed(now, earned.1);
    if believed.from <= earned.0 && earned.1 <= believed.to {
        return Ok(());
    }
    let step = "import_dates_far";
    let rows = sqlx::query(
        "-- import_dates_far
         SELECT line, external_id, earned_at, count(*) OVER () AS total FROM import_commission
          WHERE (earned_at < $1 OR earned_at > $2) AND NOT only_known ORDER BY line LIMIT $3",
    )
    .bind(believed.from)
    .bind(believed.to)
    .bind(PROBLEMS_SHOWN as i64)
    .fetch_all(tx)
    .await
    .step(step)?;
    let mut problems = Problems::default();
    problems.add(&rows, |row| {
        let at: OffsetDateTime = row.try_get("earned_at").step(step)?;
        let shown = at.format(&Rfc3339).map_err(|error| StoreError::Broken(format!("{at}: {error}")))?;
        let id = row.try_get("external_id").step(step)?;
        let fault = match at > now {
            true => Fault::EarnedAhead { id, at: shown },
            false => Fault::EarnedLongAgo { id, at: shown },
        };
        Ok(("earned_at", fault))
    })?;
    problems.check()
}
