//! The judge: what really happened, by the sandbox's journal, against what was planned. What our database says of outcomes counts for nothing here.

use std::collections::HashMap;

use serde::Deserialize;
use sqlx::{PgPool, Row};

/// A movement of money, as the sandbox wrote it down.
#[derive(Debug, Clone, Deserialize)]
pub struct Movement {
    /// The payout's key.
    pub key: String,
    /// Minor units.
    pub amount_minor: i64,
    /// Its currency.
    pub currency: String,
    /// Where to.
    pub destination: String,
    /// `paid`, `refused` or `returned`.
    pub event: String,
}

/// A payout as it was planned.
#[derive(Debug, Clone)]
pub struct PlannedPayout {
    /// Its number; a key begins with it.
    pub id: i64,
    /// Minor units.
    pub amount_minor: i64,
    /// Its currency.
    pub currency: String,
    /// Where to.
    pub destination: String,
    /// Where our database says that it stands.
    pub state: String,
}

/// What journal and plan say together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Planned payouts.
    pub planned: usize,
    /// Planned payouts that were paid exactly once, with amount, currency and destination as planned.
    pub paid_once: usize,
    /// Payouts with more than one payment.
    pub twice: Vec<i64>,
    /// Payments that nobody planned, or with another amount, currency or destination.
    pub wrong: Vec<String>,
    /// Planned payouts without a payment, with the state that our database gives them.
    pub unpaid: Vec<(i64, String)>,
}

/// Every payout of a run, as planned.
pub async fn planned(database: &PgPool, run: i64) -> Vec<PlannedPayout> {
    let rows = sqlx::query(
        "SELECT p.id, p.amount_minor, p.currency, m.destination, p.state
           FROM payout p JOIN payout_method m ON m.id = p.method_id WHERE p.run_id = $1",
    )
    .bind(run)
    .fetch_all(database)
    .await
    .expect("the plan can be read");
    rows.iter()
        .map(|row| PlannedPayout {
            id: row.get("id"),
            amount_minor: row.get("amount_minor"),
            currency: row.get("currency"),
            destination: row.get("destination"),
            state: row.get("state"),
        })
        .collect()
}

/// Holds the journal against the plans of some runs, which must be all that the journal is about.
pub fn judge(planned: &[PlannedPayout], journal: &[Movement]) -> Verdict {
    let mut payments: HashMap<i64, Vec<&Movement>> = HashMap::new();
    let mut verdict = Verdict { planned: planned.len(), ..Verdict::default() };
    let known: HashMap<i64, &PlannedPayout> = planned.iter().map(|payout| (payout.id, payout)).collect();
    for movement in journal.iter().filter(|movement| movement.event == "paid") {
        let id = movement.key.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(-1);
        match known.get(&id) {
            Some(payout)
                if payout.amount_minor == movement.amount_minor
                    && payout.currency == movement.currency
                    && payout.destination == movement.destination =>
            {
                payments.entry(id).or_default().push(movement);
            }
            _ => verdict.wrong.push(movement.key.clone()),
        }
    }
    for payout in planned {
        match payments.get(&payout.id).map_or(0, Vec::len) {
            0 => verdict.unpaid.push((payout.id, payout.state.clone())),
            1 => verdict.paid_once += 1,
            _ => verdict.twice.push(payout.id),
        }
    }
    verdict
}
