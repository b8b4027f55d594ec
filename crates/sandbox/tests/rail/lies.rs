//! Lies: told on the statement (or in the answer), the same each time, and never in the journal.

use serde_json::{Value, json};

use crate::rail::{Rail, column};

/// Statement and journal after one payment under this lie; told alike again, after a restart too.
async fn told(lie: &str) -> (Vec<Value>, Vec<Value>, Value, Rail) {
    let mut probabilities = serde_json::Map::new();
    probabilities.insert(lie.to_owned(), json!(1));
    let rail = Rail::start(&["--faults", &json!({ "lie": probabilities }).to_string()]);
    let answer = rail.pay("k").await;
    assert_eq!(answer.status, 200);
    let statement = rail.statement("payout").await;
    let journal = rail.journal().await;
    assert_eq!(rail.stats().await["faults"], json!({format!("lie_{lie}"): 1}));
    let rail = rail.restart(&[]);
    assert_eq!(rail.statement("payout").await, statement);
    assert_eq!(rail.journal().await, journal);
    assert_eq!(rail.pay("k").await.body, answer.body);
    for line in &journal {
        assert_eq!(line["key"], "k");
        assert_eq!(line["amount_minor"], 1234);
        assert_eq!(line["currency"], "EUR");
        assert_eq!(line["destination"], "k@example.org");
    }
    (statement, journal, answer.body, rail)
}

#[tokio::test]
async fn an_altered_payment_is_told_differently_in_that_field_only() {
    for lie in ["amount", "currency", "destination"] {
        let (statement, journal, ..) = told(lie).await;
        assert_eq!((statement.len(), journal.len()), (1, 1));
        for (field, name) in [("amount_minor", "amount"), ("currency", "currency"), ("destination", "destination")] {
            assert_eq!(statement[0][field] != journal[0][field], name == lie, "{lie}: {field}");
        }
        assert_eq!(statement[0]["reference"], journal[0]["id"]);
    }
}

#[tokio::test]
async fn an_omitted_payment_is_in_the_journal_only() {
    let (statement, journal, ..) = told("omit_statement").await;
    assert_eq!((statement.len(), journal.len()), (0, 1));
}

#[tokio::test]
async fn a_phantom_is_on_the_statement_only() {
    let (statement, journal, ..) = told("phantom_statement").await;
    assert_eq!((statement.len(), journal.len()), (2, 1));
    assert_eq!(statement[0]["key"], "k");
    assert_ne!(statement[1]["key"], "k");
    assert!(statement[0]["line"].as_u64() < statement[1]["line"].as_u64());
}

#[tokio::test]
async fn a_duplicate_is_really_paid() {
    let (statement, journal, answer, rail) = told("duplicate_payment").await;
    assert_eq!((statement.len(), journal.len()), (2, 2));
    assert_eq!(answer["id"], journal[0]["id"]);
    assert_ne!(journal[0]["id"], journal[1]["id"]);
    assert_eq!(column(&statement, "reference"), column(&journal, "id"));
    assert_eq!(rail.stats().await["paid_twice"], 1);
}

#[tokio::test]
async fn another_reference_is_told_in_the_answer_only() {
    let (statement, journal, answer, _) = told("reference").await;
    assert_eq!(statement[0]["reference"], journal[0]["id"]);
    assert_ne!(answer["id"], journal[0]["id"]);
}

#[tokio::test]
async fn lies_in_a_batch_do_not_show_in_its_lookup() {
    let rail =
        Rail::start(&["--batch-settle-after", "0s", "--faults", r#"{"lie":{"duplicate_payment":1,"amount":1}}"#]);
    let items = [crate::rail::instruction("k1"), crate::rail::instruction("k2")];
    let body = json!({"sender_batch_id": "b", "currency": "EUR", "items": items});
    assert_eq!(rail.post("/batch/batches", &body).await.status, 201);
    let rail = rail.restart(&[]);
    assert!(rail.post("/batch/batches", &body).await.replay);
    let found = rail.get("/batch/batches/b").await;
    assert_eq!(column(found.body["items"].as_array().unwrap(), "key"), ["k1", "k2"]);
    assert_eq!(found.body["items"][0]["amount_minor"], 1234);
    assert_eq!(rail.journal().await.len(), 4);
    assert_eq!(rail.stats().await["paid_twice"], 2);
}

#[tokio::test]
async fn lies_can_be_planted_about_payments_that_were_made() {
    let rail = Rail::start(&[]);
    for key in ["amount", "currency", "destination", "omit_statement", "duplicate_payment"] {
        rail.pay(key).await;
        let answer = rail.post("/faults/plant", &json!({"kind": key, "key": key})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let phantom = json!({"kind": "phantom_statement", "shape": "payout", "account": "default"});
    assert_eq!(rail.post("/faults/plant", &phantom).await.status, 200);
    let unknown = json!({"kind": "amount", "key": "nobody"});
    assert_eq!(rail.post("/faults/plant", &unknown).await.code(), "not_found");

    let rail = rail.restart(&[]);
    let journal = rail.journal().await;
    assert_eq!(journal.len(), 6);
    let statement = rail.statement("payout").await;
    let keys = column(&statement, "key");
    assert_eq!(keys[..5], ["amount", "currency", "destination", "duplicate_payment", "duplicate_payment"]);
    assert!(keys[5].starts_with("phantom-"));
    assert_ne!(statement[0]["amount_minor"], 1234);
    assert_ne!(statement[1]["currency"], "EUR");
    assert_ne!(statement[2]["destination"], "destination@example.org");
    // After the phantom, numbers go on.
    rail.pay("later").await;
    assert_eq!(column(&rail.statement("payout").await, "key")[6], "later");
}
