//! News about a payment that comes twice, late and out of order: all sequences of three, each for a payout of its own,
//! against a model of what each must do to a payout, its money and its payee's balance.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Db, report};
use payfleet_domain::{BatchId, Outcome, PayoutId, Reference, RefusalCode, RunId};
use payfleet_store::{Intent, LeasedBatch};

/// What a rail can say of one payout, each said as often as the sequences repeat it.
const WORDS: [&str; 6] = ["accepted", "paid", "paid otherwise", "refused", "returned", "unknown"];

fn outcome(word: &str, payout: PayoutId) -> Outcome {
    let reference = |name: &str| Reference(format!("{name}-{payout}"));
    match word {
        "accepted" => Outcome::Accepted(reference("batch")),
        "paid" => Outcome::Paid(reference("ref")),
        "paid otherwise" => Outcome::Paid(reference("other")),
        "refused" => Outcome::Refused(RefusalCode::new("receiver_unregistered")),
        "returned" => Outcome::Returned(reference("ref")),
        _ => Outcome::Unknown,
    }
}

/// What each affiliate is paid.
const MINOR: i64 = 1000;

/// What must be known of a payout, and of the account that it pays.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Known {
    state: String,
    reference: Option<String>,
    /// What was said beyond the first success: `says reference code`, or of movements `paid reference` and
    /// `returned reference`.
    said: BTreeSet<String>,
    /// The kinds of its transfers, each of the whole amount, with the run that counts it. None happens twice.
    transfers: BTreeSet<(i16, Option<i32>)>,
    /// What is due to the affiliate and in no plan.
    balance: i64,
    /// How often the affiliate's account was withdrawn from plans.
    contests: i64,
}

/// The same, found out by following the news one by one.
struct Followed {
    known: Known,
    /// The payments that are known, and the returns, each by its name. All are whole, and one witness tells of all.
    paid: BTreeSet<String>,
    returned: BTreeSet<String>,
    /// The ordinal of the next run.
    next_run: i32,
    late: u64,
    alarms: u64,
}

impl Followed {
    fn new() -> Followed {
        let known = Known { state: "planned".into(), transfers: BTreeSet::from([(0, None)]), ..Known::default() };
        Followed { known, paid: BTreeSet::new(), returned: BTreeSet::new(), next_run: 2, late: 0, alarms: 0 }
    }

    /// Another run plans what is due. What is owed to us stays.
    fn plan_again(&mut self) {
        self.known.balance = self.known.balance.min(0);
        self.next_run += 1;
    }

    fn hear(&mut self, news: &Outcome) {
        let is_open = matches!(self.known.state.as_str(), "planned" | "accepted" | "unknown");
        match news {
            Outcome::Accepted(proof) if is_open && self.known.state != "accepted" => {
                self.stand("accepted", Some(&proof.0));
            }
            // Old news after a payment, and after what came back; a contradiction after a refusal.
            Outcome::Accepted(proof) if self.known.state == "refused" => {
                self.known.said.insert(format!("accepted {} ", proof.0));
            }
            Outcome::Paid(proof) if is_open => self.settle(&proof.0),
            Outcome::Paid(proof) => {
                let is_news = self.pay_again(&proof.0);
                if is_news {
                    self.weigh();
                }
            }
            // What came back went out before. Only both together say what is out.
            Outcome::Returned(proof) => {
                if is_open {
                    self.settle(&proof.0);
                } else {
                    self.pay_again(&proof.0);
                }
                if self.returned.insert(proof.0.clone()) {
                    self.known.said.insert(format!("returned {}", proof.0));
                    self.weigh();
                }
            }
            Outcome::Refused(code) => {
                self.known.said.insert(format!("refused  {code}"));
                if is_open {
                    self.stand("refused", None);
                    self.known.transfers.insert((3, Some(self.next_run)));
                    self.known.balance += MINOR;
                }
            }
            _ if self.known.state == "planned" => self.stand("unknown", None),
            _ => {}
        }
    }

    fn stand(&mut self, state: &str, reference: Option<&str>) {
        self.known.state = state.to_owned();
        self.known.reference = reference.map(str::to_owned);
    }

    /// The first success.
    fn settle(&mut self, reference: &str) {
        self.stand("paid", Some(reference));
        self.known.transfers.insert((2, None));
        self.paid.insert(reference.to_owned());
    }

    /// A payment of what is not open any more. Returns whether it is one that nobody knew of.
    fn pay_again(&mut self, reference: &str) -> bool {
        let is_new = self.paid.insert(reference.to_owned());
        if is_new {
            self.known.said.insert(format!("paid {reference}"));
        }
        is_new
    }

    /// What follows from all payments and returns together: how many payments has the payee?
    fn weigh(&mut self) {
        let out = self.paid.len().checked_sub(self.returned.len()).expect("nothing comes back that was not paid");
        self.alarms += u64::from(out > 1);
        let known = &mut self.known;
        match (known.state.as_str(), out) {
            ("paid", 0) => {
                known.state = "returned".into();
                known.transfers.insert((4, Some(self.next_run)));
                known.balance += MINOR;
            }
            ("refused" | "returned", 1..) => {
                known.state = "paid".into();
                known.transfers.insert((6, Some(self.next_run)));
                known.balance -= MINOR;
                known.contests += 1;
                known.reference = known.reference.take().or(self.paid.first().cloned());
                self.late += 1;
                // It was in somebody's plan meanwhile.
                self.alarms += u64::from(known.balance < 0);
            }
            _ => {}
        }
    }
}

async fn known(db: &Db, run: RunId) -> BTreeMap<PayoutId, Known> {
    let rows: Vec<(i64, String, Option<String>, i64, i64)> = sqlx::query_as(
        "SELECT p.id, p.state, p.reference, a.carried_minor,
                (SELECT count(*) FROM contest c
                  WHERE c.payout_id = p.id AND c.affiliate_id = p.affiliate_id AND c.currency = p.currency)
           FROM payout p JOIN account a ON a.affiliate_id = p.affiliate_id AND a.currency = p.currency
          WHERE p.run_id = $1",
    )
    .bind(run.0)
    .fetch_all(&db.sql)
    .await
    .unwrap();
    let mut all: BTreeMap<_, _> = rows
        .into_iter()
        .map(|(id, state, reference, balance, contests)| {
            (PayoutId(id), Known { state, reference, balance, contests, ..Known::default() })
        })
        .collect();
    let rows: Vec<(i64, i16, Option<i32>)> = sqlx::query_as(
        "SELECT p.id, t.kind, t.due_in
           FROM transfer t JOIN payout p ON p.id = t.payout_id AND p.amount_minor = t.amount_minor WHERE p.run_id = $1",
    )
    .bind(run.0)
    .fetch_all(&db.sql)
    .await
    .unwrap();
    for (id, kind, due_in) in rows {
        all.get_mut(&PayoutId(id)).unwrap().transfers.insert((kind, due_in));
    }
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT payout_id, says || ' ' || reference || ' ' || code FROM evidence
          UNION ALL SELECT payout_id, kind || ' ' || reference FROM movement",
    )
    .fetch_all(&db.sql)
    .await
    .unwrap();
    for (id, said) in rows {
        assert!(all.get_mut(&PayoutId(id)).unwrap().said.insert(said.clone()), "{said} is written twice");
    }
    all
}

/// All sequences, in batches of this size: what becomes of a payout depends neither on what else its batch holds nor on
/// whether that is done. What is due again after so many of the news is in the plan of another run before the next.
async fn every_sequence(batch_size: u32, planned_again_after: Option<usize>) {
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
    let (mut late, mut alarms) = (0, 0);
    for nth in [0, 1, 2] {
        if planned_again_after == Some(nth) {
            let again = db.run(tenant, "2026-02", batch_size).await;
            // Sent, as far as anybody knows: what was only planned was not paid again.
            for batch in db.batches(again).await {
                db.intent(&db.lease(batch).await).await;
            }
        }
        for (_, leased, intent) in &sent {
            // The first is the answer to the request, the others are found by asking.
            let mut news = report(leased, intent, |payout| outcome(told[&payout][nth], payout));
            news.attempt = news.attempt.filter(|_| nth == 0);
            let recorded = db.store.outcomes_record(news.clone()).await.unwrap();
            late += recorded.late;
            alarms += recorded.alarms;
            let before = known(&db, run).await;
            let again = db.store.outcomes_record(news).await.unwrap();
            assert_eq!((again.paid, again.refused, again.late, again.alarms), (0, 0, 0, 0), "told twice is told once");
            assert_eq!(known(&db, run).await, before);
        }
    }
    let (mut expected_late, mut expected_alarms) = (0, 0);
    let found = known(&db, run).await;
    for (payout, sequence) in &told {
        let mut followed = Followed::new();
        for (nth, word) in sequence.iter().enumerate() {
            if planned_again_after == Some(nth) {
                followed.plan_again();
            }
            followed.hear(&outcome(word, *payout));
        }
        assert_eq!(found[payout], followed.known, "{sequence:?} in batches of {batch_size}");
        expected_late += followed.late;
        expected_alarms += followed.alarms;
    }
    assert_eq!((late, alarms), (expected_late, expected_alarms));
    assert!(late > 0 && alarms > 0, "nothing of what this is about happened");
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
    every_sequence(1, None).await;
}

#[tokio::test]
async fn news_in_any_order_for_whole_batches() {
    every_sequence(7, None).await;
}

#[tokio::test]
async fn news_in_any_order_of_what_is_planned_again() {
    every_sequence(7, Some(1)).await;
    every_sequence(7, Some(2)).await;
}
