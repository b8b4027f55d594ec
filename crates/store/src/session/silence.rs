//! Looking after the connections that somebody waits for.

use std::collections::HashMap;
use std::sync::Weak;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Error};

use super::{CLEAR, InUse, Inner, LOOK, SessionName, UNUSED};

impl Inner {
    /// Ends the wait for these, and every connection that nobody waits for: they lead to the same place.
    fn give_up(&self, numbers: &[u64]) {
        tracing::warn!(connections = numbers.len(), "Postgres fell silent; connections to it are given up");
        silences(numbers.len() as u64);
        let tell = |number: &u64| {
            let mut in_use = self.in_use();
            let held = in_use.get_mut(number)?;
            (!std::mem::replace(&mut held.is_told, true)).then(|| held.clone())
        };
        let lost: Vec<InUse> = numbers.iter().filter_map(tell).collect();
        for held in lost {
            match held.lifeline {
                Some(lifeline) => lifeline.cancel(),
                None => self.lost.send_modify(|lost| *lost += 1),
            }
        }
        self.pool.retain(|_, _| false);
    }
}

pub(super) fn silences(connections: u64) {
    metrics::counter!("payfleet_database_silences_total").increment(connections);
}

/// What the server says of sessions: their last change, if nothing is asked of them now.
type Activity = HashMap<SessionName, Option<i64>>;

/// Looks after the connections that are waited for, until the store is dropped.
pub(super) async fn look_after(inner: Weak<Inner>, options: PgConnectOptions) {
    // What was seen of whom at the last look: not asked for anything since that instant.
    let mut idle: HashMap<u64, i64> = HashMap::new();
    let mut unanswered = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(inner) = inner.upgrade() else { return };
        for unused in inner.pool.retain(|_, used| used.last_used() < UNUSED).removed {
            // The server sees the end of the connection in any case.
            tokio::spawn(tokio::time::timeout(CLEAR, unused.connection.close()));
        }
        let waiting: Vec<(u64, InUse)> = inner
            .in_use()
            .iter()
            .filter(|(_, held)| held.since.elapsed() >= LOOK && !held.is_told)
            .map(|(number, held)| (*number, held.clone()))
            .collect();
        if waiting.is_empty() {
            (idle, unanswered) = (HashMap::new(), 0);
            continue;
        }
        let pids: Vec<i32> = waiting.iter().map(|(_, held)| held.name.pid).collect();
        let lost: Vec<u64> = match tokio::time::timeout(LOOK, activity(&options, pids)).await {
            Ok(Ok(activity)) => {
                unanswered = 0;
                let mut now = HashMap::new();
                let mut lost = Vec::new();
                for (number, held) in &waiting {
                    let is_lost = match activity.get(&held.name) {
                        None => true,
                        // It has answered, and the answer did not arrive. One that is kept may rest.
                        Some(Some(changed)) if held.lifeline.is_some() => {
                            now.insert(*number, *changed);
                            idle.get(number) == Some(changed)
                        }
                        Some(_) => false,
                    };
                    lost.extend(is_lost.then_some(*number));
                }
                idle = now;
                lost
            }
            // It lives, and has no place for one more.
            Ok(Err(Error::Database(_))) => Vec::new(),
            Ok(Err(_)) | Err(_) => {
                unanswered += 1;
                match unanswered {
                    1 => Vec::new(),
                    _ => waiting.iter().map(|(number, _)| *number).collect(),
                }
            }
        };
        if !lost.is_empty() {
            inner.give_up(&lost);
        }
    }
}

/// Over a connection of its own: it must lead where a new one leads.
async fn activity(options: &PgConnectOptions, pids: Vec<i32>) -> Result<Activity, Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let rows: Vec<(i32, i64, Option<i64>)> = sqlx::query_as(
        "-- sessions_look
         SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint,
                CASE WHEN state <> 'active' THEN (extract(epoch FROM state_change) * 1000000)::bigint END
           FROM pg_stat_activity WHERE pid = ANY($1)",
    )
    .bind(pids)
    .fetch_all(&mut connection)
    .await?;
    let named = |(pid, begun_micros, idle_since)| (SessionName { pid, begun_micros }, idle_since);
    Ok(rows.into_iter().map(named).collect())
}
