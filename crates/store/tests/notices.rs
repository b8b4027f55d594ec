//! News about a payment that comes twice, late and out of order: all sequences of three, each for a payout of its own, against the rules of `domain`.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use payfleet_domain::{BatchId, Outcome, PayoutEvent, PayoutId, PayoutState, Reference, RefusalCode, RunId};
use payfleet_store::{Intent, LeasedBatch};
use support::{Db, report};

/// What a rail can say of one payout, each said as often as the sequences repeat it.
const WORDS: [&str; 6] = ["accepted", "paid", "paid otherwise", "refused", "returned", "unknown"];

fn outcome(word: &str, payout: PayoutId) -> Outcome {
    let reference = |name: &str| Reference(format!("{name}-{payout}"));
    match word {
        "accepted" => Outcome::Accepted(reference("batch")),
        "paid" => Outcome::Paid(reference("ref")),
        "paid otherwise" => Outcome::Paid(reference("other")),
        "refused" => Outcome::Refused(RefusalCode::new("account_closed")),
        "returned" => Outcome::Returned(reference("ref")),
        _ => Outcome::Unknown,
    }
}

/// What must be known of a payout: its state, its reference, and what was said beyond the first success.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Known {
    state: String,
    reference: Option<String>,
    /// `says reference code`
    evidence: BTreeSet<String>,
}

/// The same, found out by following the news one by one.
fn followed(sequence: [&str; 3], payout: PayoutId) -> (Known, u64) {
    let (mut state, mut reference, mut evidence) = (PayoutState::Planned, None, BTreeSet::new());
    let mut alarms = 0;
    for word in sequence {
        let news = outcome(word, payout);
        let event = match &news {
            Outcome::Accepted(_) => PayoutEvent::Accept,
            Outcome::Paid(_) => PayoutEvent::Pay,
            Outcome::Refused(_) => PayoutEvent::Refuse,
            Outcome::Returned(_) => PayoutEvent::Return,
            _ => PayoutEvent::LoseTrack,
        };
        let moved = state.after(event);
        match &news {
            Outcome::Paid(proof) if moved.is_ok() => reference = Some(proof.0.clone()),
            // Proof of a payment that is not the one we know of.
            Outcome::Paid(proof) if reference.as_ref() != Some(&proof.0) => {
                alarms += u64::from(evidence.insert(format!("paid {} ", proof.0)));
            }
            Outcome::Accepted(proof) if moved.is_ok() => reference = Some(proof.0.clone()),
            // Old news after a payment; a contradiction after a refusal.
            Outcome::Accepted(proof) if state == PayoutState::Refused => {
                evidence.insert(format!("accepted {} ", proof.0));
            }
            Outcome::Refused(code) => {
                evidence.insert(format!("refused  {code}"));
                if moved.is_ok() {
                    reference = None;
                }
            }
            Outcome::Returned(proof) => {
                evidence.insert(format!("returned {} ", proof.0));
                if moved.is_ok() && state != PayoutState::Paid {
                    reference = Some(proof.0.clone());
                }
            }
            _ => {}
        }
        state = moved.unwrap_or(state);
    }
    (Known { state: state.to_string(), reference, evidence }, alarms)
}

async fn known(db: &Db, run: RunId) -> BTreeMap<PayoutId, Known> {
    let rows: Vec<(i64, String, Option<String>)> =
        sqlx::query_as("SELECT id, state, reference FROM payout WHERE run_id = $1")
            .bind(run.0)
            .fetch_all(&db.sql)
            .await
            .unwrap();
    let mut all: BTreeMap<_, _> = rows
        .into_iter()
        .map(|(id, state, reference)| (PayoutId(id), Known { state, reference, evidence: BTreeSet::new() }))
        .collect();
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT payout_id, says || ' ' || reference || ' ' || code FROM evidence")
            .fetch_all(&db.sql)
            .await
            .unwrap();
    for (id, said) in rows {
        all.get_mut(&PayoutId(id)).unwrap().evidence.insert(said);
    }
    all
}

/// All sequences, in batches of this size: what becomes of a payout depends neither on what else its batch holds nor on whether that is done.
async fn every_sequence(batch_size: u32) {
    let db = Db::new().await;
    let sequences: Vec<[&str; 3]> =
        WORDS.iter().flat_map(|a| WORDS.iter().flat_map(move |b| WORDS.iter().map(move |c| [*a, *b, *c]))).collect();
    let tenant = db.tenant("t", "sandbox-batch", i64::try_from(sequences.len()).unwrap()).await;
    let run = db.run(tenant, "2026-01", batch_size).await;
    let told: BTreeMap<PayoutId, [&str; 3]> = db.payouts(run).await.into_iter().zip(sequences).collect();
    // All at once, since an alarm stops the run.
    let mut sent: Vec<(BatchId, LeasedBatch, Intent)> = Vec::new();
    for batch in db.batches(run).await {
        let leased = db.lease(batch).await;
        let intent = db.intent(&leased).await;
        sent.push((batch, leased, intent));
    }
    let mut alarms = 0;
    for nth in [0, 1, 2] {
        for (_, leased, intent) in &sent {
            // The first is the answer to the request, the others are found by asking.
            let mut news = report(leased, intent, |payout| outcome(told[&payout][nth], payout));
            news.attempt = news.attempt.filter(|_| nth == 0);
            alarms += db.store.outcomes_record(news.clone()).await.unwrap().alarms;
            let before = known(&db, run).await;
            assert_eq!(db.store.outcomes_record(news).await.unwrap().alarms, 0, "told twice is told once");
            assert_eq!(known(&db, run).await, before);
        }
    }
    let mut expected_alarms = 0;
    let found = known(&db, run).await;
    for (payout, sequence) in &told {
        let (expected, alarms) = followed(*sequence, *payout);
        assert_eq!(found[payout], expected, "{sequence:?} in batches of {batch_size}");
        expected_alarms += alarms;
    }
    assert_eq!(alarms, expected_alarms);
    assert_eq!(db.store.run_find(run).await.unwrap().unwrap().pause_reason.as_deref(), Some("double payment"));
    db.assert_ledger().await;
    // The batches stand where their payouts say that they do.
    for (batch, _, intent) in &sent {
        let state: String =
            sqlx::query_scalar("SELECT state FROM batch WHERE id = $1").bind(batch.0).fetch_one(&db.sql).await.unwrap();
        let is = |word: &str| intent.orders.iter().any(|order| found[&order.payout].state == word);
        let expected = if is("unknown") {
            "sending"
        } else if is("accepted") {
            "accepted"
        } else {
            "done"
        };
        assert_eq!(state, expected, "batch {batch}");
    }
    db.drop().await;
}

#[tokio::test]
async fn news_in_any_order_for_single_payouts() {
    every_sequence(1).await;
}

#[tokio::test]
async fn news_in_any_order_for_whole_batches() {
    every_sequence(7).await;
}
