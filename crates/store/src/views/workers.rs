//! The workers that have said so lately.

use payfleet_domain::WorkerOffer;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::connect::{Step, Store, StoreError, detached};

impl Store {
    /// What the workers that live offer, by name. One that has said nothing for half a minute is dead, or cannot reach
    /// Postgres, which is as good.
    pub async fn workers_alive(&self) -> Result<Vec<WorkerOffer>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let read = "workers_alive";
            let rows = sqlx::query(
                "-- workers_alive
                 SELECT name, is_ending, rails, lacks, paced, trouble FROM worker
                  WHERE seen_at > clock_timestamp() - interval '30 seconds' ORDER BY name",
            )
            .fetch_all(&pool)
            .await
            .step(read)?;
            let offer = |row: &PgRow| {
                Ok(WorkerOffer {
                    name: row.try_get("name").step(read)?,
                    is_ending: row.try_get("is_ending").step(read)?,
                    rails: row.try_get("rails").step(read)?,
                    lacks: row.try_get("lacks").step(read)?,
                    paced: row.try_get("paced").step(read)?,
                    trouble: row.try_get("trouble").step(read)?,
                })
            };
            rows.iter().map(offer).collect()
        })
        .await
    }
}
