//! When and where what is held was perhaps sent, and what is known of it.

use std::collections::HashMap;

use payfleet_domain::{HoldFacts, Rail};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use super::RailAccount;
use crate::connect::{Step, StoreError};

/// What is known of when and where the payouts of a batch were sent.
pub(super) struct Sent {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) account: RailAccount,
    pub(super) may_arrive_until: Option<OffsetDateTime>,
    pub(super) statement_reaches: Option<OffsetDateTime>,
    pub(super) now: OffsetDateTime,
}

impl Sent {
    pub(super) fn facts(&self, is_on_statement: bool) -> HoldFacts {
        HoldFacts {
            has_statement: self.account.has_statement,
            may_arrive_until: self.may_arrive_until,
            statement_reaches: self.statement_reaches,
            is_on_statement,
            now: self.now,
        }
    }
}

/// When the batches of these runs, or one of them, can still be paid, in the order of their payouts.
///
/// Every attempt counts but one that provably did nothing, whatever else was answered to it: an attempt is `answered`
/// for all payouts of its batch, and `superseded` as soon as none is without news, while one that is held among them
/// has learned nothing by either. A part of a split batch may also be paid by what was sent of the whole.
pub(super) async fn sent_read(
    tx: &mut PgConnection,
    runs: &[i64],
    batch: Option<i64>,
) -> Result<Vec<Sent>, StoreError> {
    let rows = sqlx::query(
        "-- sent_read
         WITH RECURSIVE sent AS (
           SELECT b.id, b.first_payout_id, b.last_payout_id, b.rail, b.account, b.first_sent_at, b.id AS part_of,
             b.parent_id
             FROM batch b WHERE b.run_id = ANY($1) AND b.state <> 'split' AND ($2::bigint IS NULL OR b.id = $2)
            UNION ALL
           SELECT s.id, s.first_payout_id, s.last_payout_id, s.rail, s.account, s.first_sent_at, b.id, b.parent_id
             FROM sent s JOIN batch b ON b.id = s.parent_id)
         SELECT s.first_payout_id, s.last_payout_id, s.rail, s.account, clock_timestamp() AS now,
                max(a.may_arrive_until) FILTER (WHERE a.result IS DISTINCT FROM 'not_executed') AS may_arrive_until,
                -- What was accepted keeps the rail's name for it.
                CASE WHEN EXISTS (SELECT FROM payout p WHERE p.id BETWEEN s.first_payout_id AND s.last_payout_id
                                     AND p.state = 'held' AND p.reference IS NOT NULL) THEN min(s.first_sent_at) END AS
                                       accepted_since,
                -- A file proves nothing to be missing to people who would pay again.
                nullif((SELECT r.reaches_ours FROM rail_account r WHERE r.rail = s.rail AND r.account = s.account),
                  '-infinity') AS reaches
           FROM sent s LEFT JOIN attempt a ON a.batch_id = s.part_of
          GROUP BY s.id, s.first_payout_id, s.last_payout_id, s.rail, s.account
          ORDER BY s.first_payout_id, s.last_payout_id",
    )
    .bind(runs)
    .bind(batch)
    .fetch_all(tx)
    .await
    .step("sent_read")?;
    rows.iter()
        .map(|row| {
            let read = "sent_read";
            let rail: String = row.try_get("rail").step(read)?;
            // What a rail that is not in this build promises is not known, so it is waited for.
            let declared = Rail::named(&rail).ok();
            let has_statement = declared.is_none_or(|rail| rail.has_statement);
            let accepted_since: Option<OffsetDateTime> = row.try_get("accepted_since").step(read)?;
            // What was accepted may be paid as long as its rail declares, whatever becomes of requests.
            let may_be_paid_until = accepted_since.zip(declared).map(|(since, rail)| since + rail.news_within);
            let may_arrive_until: Option<OffsetDateTime> = row.try_get("may_arrive_until").step(read)?;
            Ok(Sent {
                first: row.try_get("first_payout_id").step(read)?,
                last: row.try_get("last_payout_id").step(read)?,
                account: RailAccount { rail, account: row.try_get("account").step(read)?, has_statement },
                may_arrive_until: may_arrive_until.max(may_be_paid_until),
                statement_reaches: row.try_get("reaches").step(read)?,
                now: row.try_get("now").step(read)?,
            })
        })
        .collect()
}

/// What rails have told of these payouts, by payout: payments and returns with their references. Not what only files
/// tell: by then the rail's own statement has been read past all that may have been sent, and one wrong file would
/// leave a payout for ever where nobody can decide it.
pub(super) async fn known_read(
    tx: &mut PgConnection,
    payouts: &[i64],
) -> Result<HashMap<i64, Vec<(String, String)>>, StoreError> {
    let rows: Vec<(i64, String, String)> = sqlx::query_as(
        "-- known_read
         SELECT payout_id, kind, reference FROM statement_line WHERE payout_id = ANY($1) AND source <> 'file'
          UNION SELECT payout_id, kind, reference FROM movement WHERE payout_id = ANY($1) AND source <> 'file'
            ORDER BY 1, 2, 3",
    )
    .bind(payouts)
    .fetch_all(tx)
    .await
    .step("known_read")?;
    let mut known: HashMap<i64, Vec<(String, String)>> = HashMap::new();
    for (payout, kind, reference) in rows {
        known.entry(payout).or_default().push((kind, reference));
    }
    Ok(known)
}
