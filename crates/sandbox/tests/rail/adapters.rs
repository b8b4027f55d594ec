//! The fleet's adapters against this rail and its faults: what they conclude is never more than what the journal shows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use payfleet_domain::{BatchKey, Money, Outcome, PayoutId, Reference, RefusalCode};
use payfleet_rails::{
    Account, Adapter, Answer, Call, Finding, Going, Instruction, Pace, Payee, RailsConfig, Registry, StatementItem,
};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::rail::{DEADLINE, Rail, column};

const SHAPES: [&str; 4] = ["payout", "batch", "lookup", "file"];
const NO_WAIT: [&str; 4] = ["--batch-settle-after", "0s", "--statement-after", "0s"];
const UNKNOWN: Answer = Answer::All(Outcome::Unknown);

/// One adapter, and one instruction for it.
struct Payer {
    shape: &'static str,
    adapter: Arc<dyn Adapter>,
    account: Account,
    batch_key: BatchKey,
    instructions: Vec<Instruction>,
    expires_at: OffsetDateTime,
}

impl Payer {
    fn new(rail: &Rail, shape: &'static str, call_timeout: Duration) -> Payer {
        let config =
            RailsConfig { sandbox_url: Some(format!("http://{}", rail.address)), call_timeout, null_rail: false };
        let amount = Money { minor: 1234, currency: "EUR".parse().unwrap() };
        Payer {
            shape,
            adapter: Registry::new(&config).unwrap().adapter(&format!("sandbox-{shape}")).unwrap(),
            account: Account { name: "default".to_owned(), credential: None },
            batch_key: BatchKey::derive(Uuid::from_u128(7), PayoutId(1), PayoutId(1)),
            instructions: vec![Instruction {
                key: format!("{}-0123456789abcdef", 1_i64 << 32).parse().unwrap(),
                amount,
                destination: "ann@example.org".to_owned(),
                payee: Payee::default(),
                reference: None,
            }],
            expires_at: OffsetDateTime::now_utc() + time::Duration::HOUR,
        }
    }

    fn call(&self) -> Call<'_> {
        Call {
            account: &self.account,
            batch_key: &self.batch_key,
            instructions: &self.instructions,
            expires_at: self.expires_at,
            going: Going::On,
            pace: Pace::Free,
        }
    }

    async fn submit(&self) -> Answer {
        self.adapter.submit(&self.call()).await
    }

    async fn look_up(&self) -> Finding {
        self.adapter.look_up(&self.call()).await.remove(0)
    }

    fn can_look_up(&self) -> bool {
        matches!(self.shape, "batch" | "lookup")
    }

    /// Whether a second submission is recognised.
    fn has_key(&self) -> bool {
        matches!(self.shape, "payout" | "batch")
    }

    /// Keys and references on the statement, as the adapter reads it.
    async fn statement(&self) -> Vec<(String, String)> {
        let lines = self.adapter.statement(&self.account, OffsetDateTime::UNIX_EPOCH).await.unwrap();
        let lines: Vec<_> = lines.try_collect().await.unwrap();
        let line = |item| match item {
            StatementItem::Line(line) => Some((line.key, line.reference)),
            StatementItem::End(_) => None,
        };
        lines.into_iter().filter_map(line).collect()
    }
}

async fn journal_of(rail: &Rail, lines: usize) {
    let deadline = Instant::now() + DEADLINE;
    while rail.journal().await.len() != lines {
        assert!(Instant::now() < deadline, "{:?}", rail.journal().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_was_paid_without_an_answer_is_unknown_and_found_again() {
    for shape in SHAPES {
        for (fault, call_timeout) in [
            ("hang", Duration::from_millis(400)),
            ("lose_answer", DEADLINE),
            ("error_after", DEADLINE),
            ("garble", DEADLINE),
        ] {
            let rail = Rail::start(&NO_WAIT);
            rail.set_faults(json!({ fault: 1 })).await;
            let payer = Payer::new(&rail, shape, call_timeout);
            assert_eq!(payer.submit().await, UNKNOWN, "{shape}: {fault}");
            rail.send(rail.request(reqwest::Method::DELETE, "/faults")).await;
            // Paid although nobody was told, and once; a file's payments are journaled when they are executed.
            journal_of(&rail, 1).await;
            let reference = rail.journal().await[0]["id"].as_str().unwrap().to_owned();
            let paid = Outcome::Paid(Reference(reference.clone()));
            if payer.can_look_up() {
                assert_eq!(payer.look_up().await, Finding::Known(paid.clone()), "{shape}: {fault}");
            }
            if payer.has_key() {
                let Answer::Each(outcomes) = payer.submit().await else { panic!("{shape}: {fault}") };
                assert!(
                    outcomes == [paid] || matches!(&outcomes[..], [Outcome::Accepted(_)]),
                    "{shape}: {fault}: {outcomes:?}"
                );
            }
            assert_eq!(rail.journal().await.len(), 1, "{shape}: {fault}");
            assert_eq!(
                payer.statement().await,
                [(payer.instructions[0].key.to_string(), reference)],
                "{shape}: {fault}"
            );
        }
    }
}

#[tokio::test]
async fn what_was_not_executed_is_never_taken_for_paid() {
    for shape in SHAPES {
        for (fault, expected) in
            [("lose_request", UNKNOWN), ("error_before", UNKNOWN), ("rate_limit", Answer::All(Outcome::NotExecuted))]
        {
            let rail = Rail::start(&NO_WAIT);
            rail.set_faults(json!({ fault: 1 })).await;
            let payer = Payer::new(&rail, shape, DEADLINE);
            assert_eq!(payer.submit().await, expected, "{shape}: {fault}");
            rail.send(rail.request(reqwest::Method::DELETE, "/faults")).await;
            assert_eq!(rail.journal().await.len(), 0, "{shape}: {fault}");
            assert_eq!(payer.statement().await, []);
            if payer.can_look_up() {
                // No proof while a request may still arrive: ours could, for an hour.
                assert_eq!(payer.look_up().await, Finding::NotYet, "{shape}: {fault}");
            }
        }
    }
}

#[tokio::test]
async fn a_payment_made_twice_under_two_references_shows_on_the_statement() {
    for shape in SHAPES {
        let rail = Rail::start(&NO_WAIT);
        rail.set_faults(json!({"lie": {"duplicate_payment": 1}})).await;
        let payer = Payer::new(&rail, shape, DEADLINE);
        assert!(matches!(payer.submit().await, Answer::Each(_)), "{shape}");
        let journal = rail.journal().await;
        let told = payer.statement().await;
        assert_eq!(told.len(), 2, "{shape}");
        assert_eq!(told.iter().map(|(_, reference)| reference.as_str()).collect::<Vec<_>>(), column(&journal, "id"));
        if payer.can_look_up() {
            let first = Outcome::Paid(Reference(told[0].1.clone()));
            assert_eq!(
                payer.look_up().await,
                Finding::Known(first),
                "{shape}: the first is proof, however many there are"
            );
        }
    }
}

#[tokio::test]
async fn a_lie_about_the_reference_is_handed_on_and_the_statement_differs() {
    let rail = Rail::start(&NO_WAIT);
    rail.set_faults(json!({"lie": {"reference": 1}})).await;
    let payer = Payer::new(&rail, "payout", DEADLINE);
    let Answer::Each(outcomes) = payer.submit().await else { panic!("it was paid") };
    let [Outcome::Paid(told)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_ne!(payer.statement().await[0].1, told.0);
}

#[tokio::test]
async fn news_follow_one_another_refusal_after_acceptance_and_return_after_payment() {
    let refused = Finding::Known(Outcome::Refused(RefusalCode::new("account_closed")));
    let rail = Rail::start(&["--batch-settle-after", "300ms", "--faults", r#"{"refuse":{"account_closed":1}}"#]);
    let payer = Payer::new(&rail, "batch", DEADLINE);
    assert!(matches!(payer.submit().await, Answer::Each(outcomes) if matches!(outcomes[..], [Outcome::Accepted(_)])));
    let deadline = Instant::now() + DEADLINE;
    let mut found = payer.look_up().await;
    while matches!(found, Finding::Known(Outcome::Accepted(_))) && Instant::now() < deadline {
        found = payer.look_up().await;
    }
    assert_eq!(found, refused);
    assert_eq!(payer.look_up().await, refused, "said again");

    let rail = Rail::start(&["--batch-settle-after", "0s", "--faults", r#"{"return_rate":1,"return_after_ms":200}"#]);
    let payer = Payer::new(&rail, "batch", DEADLINE);
    assert!(matches!(payer.submit().await, Answer::Each(_)));
    let deadline = Instant::now() + DEADLINE;
    let mut found = payer.look_up().await;
    while !matches!(found, Finding::Known(Outcome::Returned(_))) {
        assert!(Instant::now() < deadline, "{found:?}");
        found = payer.look_up().await;
    }
    let reference = rail.journal().await[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(found, Finding::Known(Outcome::Returned(Reference(reference))));
    assert_eq!(payer.statement().await.len(), 2, "out and back");
}

#[tokio::test]
async fn a_pruned_key_pays_again_and_the_statement_tells() {
    // Why the fleet repeats a request within half the horizon only: after it nothing at the rail can tell.
    let rail = Rail::start(&["--key-horizon", "100ms"]);
    let payer = Payer::new(&rail, "payout", DEADLINE);
    let first = payer.submit().await;
    assert_eq!(payer.statement().await.len(), 1);
    let deadline = Instant::now() + DEADLINE;
    let mut second = payer.submit().await;
    while second == first && Instant::now() < deadline {
        second = payer.submit().await;
    }
    assert_ne!(first, second, "another payment under the same key");
    assert_eq!(payer.statement().await.len(), 2);
}

#[tokio::test]
async fn the_last_payment_of_a_large_batch_can_be_looked_up() {
    let rail = Rail::start(&NO_WAIT);
    let mut payer = Payer::new(&rail, "batch", DEADLINE);
    let one = payer.instructions[0].clone();
    let many = (0..500).map(|n| Instruction {
        key: format!("{}-0123456789abcdef", (1_i64 << 32) + n).parse().unwrap(),
        destination: format!("somebody.{n}@example.org"),
        ..one.clone()
    });
    payer.instructions = many.collect();
    assert!(matches!(payer.submit().await, Answer::Each(_)));
    // The rail tells of the whole batch, whatever is asked about.
    payer.instructions.drain(..499);
    let found = payer.look_up().await;
    assert!(matches!(found, Finding::Known(Outcome::Paid(_))), "{found:?}");
}
