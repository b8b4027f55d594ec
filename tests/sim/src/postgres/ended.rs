//! What is left in the database when a simulation has ended.

use std::collections::BTreeMap;

use payfleet_domain::{PayoutId, RunId, TransferKind};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::Postgres;
use crate::backend::{Ended, ExclusionEnd, PayoutEnd, RunEnd};

impl Postgres {
    pub(super) fn end(&self) -> Ended {
        let (sql, tenant) = (&self.database.sql, self.tenant.0);
        let miscounted: Vec<(i64, String, String)> = self.wait(async {
            sqlx::query_as(include_str!("../../../../crates/store/tests/support/miscounted.sql"))
                .fetch_all(sql)
                .await
                .unwrap()
        });
        assert!(miscounted.is_empty(), "batches that keep what is not so: {miscounted:?}");
        let (runs, payouts, transfers, exclusions, carried, open) = self.wait(async {
            let all = |query: &'static str| sqlx::query(query).bind(tenant).fetch_all(sql);
            (
                all("SELECT id, key, state, verdict, paused_at IS NOT NULL AS paused,
                       (SELECT coalesce(sum(accounts), 0)::bigint FROM plan_chunk c WHERE c.run_id = run.id
                         AND is_planned) AS planned_up_to
                       FROM run
                      WHERE tenant_id = $1
                      ORDER BY id")
                .await
                .unwrap(),
                all("SELECT id, affiliate_id, amount_minor, carried_minor, state, reference
                       FROM payout
                      WHERE tenant_id = $1
                      ORDER BY id")
                .await
                .unwrap(),
                all("SELECT payout_id, kind, amount_minor, due_in
                       FROM transfer
                      WHERE tenant_id = $1
                      ORDER BY payout_id, kind")
                .await
                .unwrap(),
                all("SELECT run_id, affiliate_id, amount_minor, carried_minor
                       FROM exclusion
                      WHERE tenant_id = $1
                      ORDER BY run_id, affiliate_id")
                .await
                .unwrap(),
                all("SELECT carried_minor FROM account WHERE tenant_id = $1 ORDER BY affiliate_id").await.unwrap(),
                all("SELECT id FROM batch WHERE tenant_id = $1 AND state IN ('ready', 'sending', 'accepted')")
                    .await
                    .unwrap(),
            )
        });
        let mut by_payout = BTreeMap::<i64, Vec<(TransferKind, i64, Option<i32>)>>::new();
        for row in &transfers {
            let kind: i16 = row.get("kind");
            by_payout.entry(row.get("payout_id")).or_default().push((
                TransferKind::of_number(kind).expect("a kind of transfer"),
                row.get("amount_minor"),
                row.get("due_in"),
            ));
        }
        let run = |row: &PgRow| {
            let state: String = row.get("state");
            let planned_up_to: i64 = row.get("planned_up_to");
            RunEnd {
                id: RunId(row.get("id")),
                key: row.get("key"),
                state: state.parse().expect("a state"),
                verdict: row.get::<Option<String>, _>("verdict").map(|word| word.parse().expect("a verdict")),
                planned_up_to: planned_up_to as usize,
                is_paused: row.get("paused"),
            }
        };
        let payout = |row: &PgRow| {
            let state: String = row.get("state");
            let id: i64 = row.get("id");
            PayoutEnd {
                id: PayoutId(id),
                affiliate: self.place(row.get("affiliate_id")),
                amount_minor: row.get("amount_minor"),
                carried_minor: row.get("carried_minor"),
                state: state.parse().expect("a state"),
                reference: row.get("reference"),
                transfers: by_payout.get(&id).cloned().unwrap_or_default(),
            }
        };
        let exclusion = |row: &PgRow| ExclusionEnd {
            run: RunId(row.get("run_id")),
            affiliate: self.place(row.get("affiliate_id")),
            amount_minor: row.get("amount_minor"),
            carried_minor: row.get("carried_minor"),
        };
        Ended {
            runs: runs.iter().map(run).collect(),
            payouts: payouts.iter().map(payout).collect(),
            exclusions: exclusions.iter().map(exclusion).collect(),
            carried: carried.iter().map(|row| row.get("carried_minor")).collect(),
            batches_open: open.len(),
        }
    }
}
