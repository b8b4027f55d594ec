//! What happens to a payment after it was made, or to a request after its caller has given up: under references of its
//! own, and over a restart.

use serde_json::{Value, json};

use crate::rail::{Rail, column, instruction};

const AT_ONCE: [&str; 4] = ["--batch-settle-after", "0s", "--statement-after", "0s"];

fn group(keys: &[&str]) -> Value {
    let items: Vec<_> = keys.iter().map(|key| instruction(key)).collect();
    json!({"sender_batch_id": "g", "currency": "EUR", "items": items})
}

/// Pays this key through this shape.
async fn pay(rail: &Rail, shape: &str, key: &str) -> u16 {
    match shape {
        "payout" => rail.pay(key).await.status.as_u16(),
        "lookup" => {
            let mut body = instruction(key);
            body["expires_at"] = json!("2999-01-01T00:00:00Z");
            rail.post("/lookup/transfers", &body).await.status.as_u16()
        }
        "batch" => rail.post("/batch/batches", &group(&[key])).await.status.as_u16(),
        _ => rail.post("/file/files", &group(&[key])).await.status.as_u16(),
    }
}

/// Sends without waiting for more than that the connection ends; returns whether there was an answer.
async fn is_answered(rail: &Rail, shape: &str, body: &Value) -> bool {
    let path = match shape {
        "payout" => "/payout/payouts",
        "lookup" => "/lookup/transfers",
        "batch" => "/batch/batches",
        _ => "/file/files",
    };
    let request = rail.request(reqwest::Method::POST, path).header("idempotency-key", "k").json(body);
    request.send().await.is_ok()
}

#[tokio::test]
async fn money_that_comes_back_has_reference_amount_fee_and_payment() {
    for shape in ["payout", "batch", "lookup", "file"] {
        let rail = Rail::start(&AT_ONCE);
        assert!(matches!(pay(&rail, shape, "k").await, 200..=202));
        rail.set_faults(json!({"return_fee_minor": 34})).await;
        let answer = rail.post("/faults/return", &json!({"key": "k"})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(rail.post("/faults/return", &json!({"key": "k"})).await.code(), "already_returned");
        let rail = rail.restart(&AT_ONCE);
        assert_eq!(rail.post("/faults/return", &json!({"key": "k"})).await.code(), "already_returned");

        let journal = rail.journal().await;
        assert_eq!(column(&journal, "event"), ["paid", "returned"]);
        let [paid, returned] = &journal[..] else { unreachable!() };
        let reference = returned["id"].as_str().unwrap();
        assert!(reference.starts_with("rt_"));
        assert_eq!(answer.body["returned"]["return_id"], reference);
        assert_eq!((&returned["of_id"], &returned["fee_minor"]), (&paid["id"], &json!(34)));
        assert_eq!(returned["amount_minor"], 1200);

        let statement = rail.statement(shape).await;
        assert_eq!(column(&statement, "reference"), [paid["id"].as_str().unwrap(), reference]);
        assert_eq!((&statement[1]["amount_minor"], &statement[1]["fee_minor"]), (&json!(1200), &json!(34)));
        // A bank repeats what the payer wrote, and nothing else.
        let of = if shape == "file" { Value::Null } else { paid["id"].clone() };
        assert_eq!((&statement[0]["of"], &statement[1]["of"]), (&Value::Null, &of));

        let csv = rail.text(&format!("/statement.csv?shape={shape}&full=1")).await;
        let rows: Vec<_> = csv.lines().collect();
        assert!(rows[0].ends_with(",status,at,fee_minor,of"));
        assert!(rows[1].ends_with(",,"));
        assert!(rows[2].ends_with(&format!(",34,{}", of.as_str().unwrap_or(""))), "{csv}");
        let plain = rail.text(&format!("/statement.csv?shape={shape}")).await;
        assert!(plain.lines().all(|row| row.split(',').count() == 7), "{plain}");
    }
}

#[tokio::test]
async fn a_lookup_tells_the_payment_and_its_return() {
    let rail = Rail::start(&AT_ONCE);
    pay(&rail, "lookup", "l").await;
    pay(&rail, "batch", "b").await;
    for (key, path) in [("l", "/lookup/transfers/l"), ("b", "/batch/batches/g")] {
        let told = async || {
            let found = rail.get(path).await.body;
            if key == "b" { found["items"][0].clone() } else { found }
        };
        let paid = told().await;
        assert_eq!((&paid["status"], &paid["return_id"]), (&json!("paid"), &Value::Null));
        let part = json!({"key": key, "amount_minor": 234, "fee_minor": 0});
        assert_eq!(rail.post("/faults/return", &part).await.status, 200);
        assert_eq!(told().await, paid, "while a part of it is out, it is paid");
        let rest = rail.post("/faults/return", &json!({"key": key})).await.body;
        assert_eq!(rest["returned"]["amount_minor"], 1000);
        let returned = told().await;
        assert_eq!((&returned["status"], &returned["id"]), (&json!("returned"), &paid["id"]));
        assert_eq!(returned["return_id"], rest["returned"]["return_id"]);
    }
}

#[tokio::test]
async fn a_return_may_be_more_than_there_was_and_of_the_second_payment() {
    let rail = Rail::start(&AT_ONCE);
    pay(&rail, "payout", "k").await;
    assert_eq!(rail.post("/faults/plant", &json!({"kind": "duplicate_payment", "key": "k"})).await.status, 200);
    let second = rail.journal().await[1]["id"].clone();
    let answer = rail.post("/faults/return", &json!({"id": second})).await;
    assert_eq!(answer.body["returned"]["id"], second);
    let much = json!({"id": second, "amount_minor": 9_999, "fee_minor": 1});
    assert_eq!(rail.post("/faults/return", &much).await.status, 200);
    let journal = rail.journal().await;
    assert_eq!(journal[2]["of_id"], second);
    assert_eq!((&journal[3]["of_id"], &journal[3]["amount_minor"]), (&second, &json!(9_999)));
    assert_eq!(rail.post("/faults/return", &json!({"id": "po_0"})).await.code(), "not_found");
    let nothing = json!({"key": "k", "amount_minor": 0});
    assert_eq!(rail.post("/faults/return", &nothing).await.code(), "invalid_request");
}

#[tokio::test]
async fn a_return_may_be_dated_before_its_payment() {
    let rail = Rail::start(&AT_ONCE);
    pay(&rail, "payout", "k").await;
    let long_ago = "2001-01-01T00:00:00.000Z";
    assert_eq!(rail.post("/faults/return", &json!({"key": "k", "at": long_ago})).await.status, 200);
    let from = rail.journal().await[0]["at"].clone();
    let rail = rail.restart(&AT_ONCE);
    // It is told where it was booked, and the journal knows when it was.
    let (lines, _) = rail.statement_part(&format!("shape=payout&from={}", from.as_str().unwrap())).await;
    assert_eq!((lines.len(), lines[1]["at"].as_str()), (2, Some(long_ago)));
    assert!(rail.journal().await[1]["at"].as_str() >= from.as_str());
}

#[tokio::test]
async fn what_is_planned_happens_once_whatever_restarts_come_between() {
    let soon = || {
        let at = time::OffsetDateTime::now_utc() + time::Duration::seconds(2);
        at.format(&time::format_description::well_known::Rfc3339).unwrap()
    };
    let rail = Rail::start(&AT_ONCE);
    pay(&rail, "payout", "back").await;
    pay(&rail, "payout", "again").await;
    pay(&rail, "payout", "there").await;
    let plans = [
        ("/faults/return", json!({"key": "back", "at": soon()})),
        ("/faults/plant", json!({"kind": "duplicate_payment", "key": "again", "at": soon()})),
        ("/faults/plant", json!({"kind": "wrong_account", "key": "there", "to_account": "other", "at": soon()})),
    ];
    for (path, plan) in plans {
        let answer = rail.post(path, &plan).await;
        assert_eq!((answer.status.as_u16(), &answer.body["planned"]), (200, &json!(true)), "{}", answer.body);
    }
    assert_eq!(rail.journal().await.len(), 3, "not yet");
    let mut rail = rail.restart(&AT_ONCE);
    rail.journal_of(6).await;
    for _ in 0..2 {
        rail = rail.restart(&AT_ONCE);
        pay(&rail, "payout", "next").await;
    }
    let journal = rail.journal().await;
    let movements: Vec<_> = journal[3..6]
        .iter()
        .map(|line| ["account", "key", "event"].map(|field| line[field].as_str().unwrap().to_owned()))
        .collect();
    let expected = [["default", "back", "returned"], ["default", "again", "paid"], ["other", "there", "paid"]];
    assert_eq!(movements, expected.map(|line| line.map(str::to_owned)));
    assert_eq!(journal.len(), 7, "the last is `next`");
}

#[tokio::test]
async fn the_key_of_one_account_is_executed_on_another() {
    let rail = Rail::start(&AT_ONCE);
    pay(&rail, "payout", "k").await;
    let wrong = json!({"kind": "wrong_account", "key": "k", "account": "default", "to_account": "other"});
    assert_eq!(rail.post("/faults/plant", &wrong).await.status, 200);
    let there = rail.request(reqwest::Method::GET, "/statement?shape=payout").header("x-account", "other");
    let text = there.send().await.unwrap().text().await.unwrap();
    assert!(text.contains(r#""key":"k""#), "{text}");
    assert_eq!(column(&rail.statement("payout").await, "key"), ["k"]);
    let nowhere = json!({"kind": "wrong_account", "key": "k"});
    assert_eq!(rail.post("/faults/plant", &nowhere).await.code(), "invalid_request");
}

#[tokio::test]
async fn a_request_without_an_answer_is_executed_late_and_once() {
    for shape in ["payout", "batch", "lookup", "file"] {
        let rail = Rail::start(&AT_ONCE);
        rail.set_faults(json!({"execute_late": 1, "execute_late_ms": 1500, "max": 1})).await;
        let mut body = if matches!(shape, "batch" | "file") { group(&["k", "k2"]) } else { instruction("k") };
        if shape == "lookup" {
            body["expires_at"] = json!("2999-01-01T00:00:00Z");
        }
        assert!(!is_answered(&rail, shape, &body).await, "{shape}");
        assert_eq!(rail.journal().await.len(), 0, "{shape}");
        let mut rail = rail.restart(&AT_ONCE);
        let payments = if matches!(shape, "batch" | "file") { 2 } else { 1 };
        rail.journal_of(payments).await;
        for _ in 0..2 {
            rail = rail.restart(&AT_ONCE);
            assert_eq!(rail.statement(shape).await.len(), payments, "{shape}");
        }
        // What has a key recognises it, and what has none does not.
        assert!(is_answered(&rail, shape, &body).await);
        let has_key = matches!(shape, "payout" | "batch");
        assert_eq!(rail.journal().await.len(), if has_key { payments } else { 2 * payments }, "{shape}");
    }
}

#[tokio::test]
async fn a_late_request_keeps_to_its_expiry_and_to_its_key() {
    let rail = Rail::start(&AT_ONCE);
    rail.set_faults(json!({"execute_late": 1, "execute_late_ms": 1000})).await;
    let mut expired = instruction("expired");
    let soon = time::OffsetDateTime::now_utc() + time::Duration::milliseconds(100);
    expired["expires_at"] = json!(soon.format(&time::format_description::well_known::Rfc3339).unwrap());
    assert!(!is_answered(&rail, "lookup", &expired).await);
    assert!(!is_answered(&rail, "payout", &instruction("k")).await);
    rail.set_faults(json!({"execute_late": 0})).await;
    assert_eq!(rail.pay("k").await.status, 200);
    // The last one to come marks that the others have been.
    rail.set_faults(json!({"execute_late": 1, "execute_late_ms": 1000})).await;
    assert!(!is_answered(&rail, "file", &group(&["last"])).await);
    rail.journal_of(2).await;
    assert_eq!(column(&rail.journal().await, "key"), ["k", "last"]);
}

#[tokio::test]
async fn a_payment_is_made_again_later() {
    let rail = Rail::start(&AT_ONCE);
    rail.set_faults(json!({"duplicate_after": 1, "duplicate_after_ms": 1500})).await;
    pay(&rail, "file", "k").await;
    assert_eq!(rail.journal().await.len(), 1);
    let rail = rail.restart(&AT_ONCE);
    rail.journal_of(2).await;
    let statement = rail.statement("file").await;
    assert_eq!(column(&statement, "key"), ["k", "k"]);
    assert_ne!(statement[0]["reference"], statement[1]["reference"]);
    assert!(statement[0]["at"].as_str() < statement[1]["at"].as_str());
    assert_eq!(rail.stats().await["paid_twice"], 1);
}

#[tokio::test]
async fn a_batch_item_is_refused_after_it_was_accepted() {
    let rail = Rail::start(&AT_ONCE);
    rail.set_faults(json!({"reject_after": 1, "reject_after_ms": 3_600_000, "max": 1})).await;
    assert_eq!(rail.post("/batch/batches", &group(&["late", "k"])).await.status, 201);
    let item = |found: &Value, n: usize| found["items"][n].clone();
    let found = rail.get("/batch/batches/g").await.body;
    assert_eq!(found["status"], "completed", "the whole does not wait for its first item");
    let pending = item(&found, 0);
    assert_eq!((&pending["status"], item(&found, 1)["status"].as_str()), (&json!("pending"), Some("paid")));
    assert_eq!(column(&rail.statement("batch").await, "key"), ["k"]);
    // A later payment is not dated to the refusal.
    rail.set_faults(json!({"reject_after_ms": 1, "max": 1})).await;
    let body = json!({"sender_batch_id": "h", "currency": "EUR", "items": [instruction("soon"), instruction("m")]});
    assert_eq!(rail.post("/batch/batches", &body).await.status, 201);
    let rail = rail.restart(&AT_ONCE);
    assert_eq!(column(&rail.statement_of("batch", 2).await, "key"), ["k", "m"]);
    assert_eq!(item(&rail.get("/batch/batches/g").await.body, 0), pending);
    let refused = item(&rail.get("/batch/batches/h").await.body, 0);
    assert_eq!((&refused["status"], &refused["code"]), (&json!("refused"), &json!("rejected")));
    let journal = rail.journal().await;
    assert_eq!((&journal[2]["event"], &journal[2]["of_id"]), (&json!("refused"), &refused["id"]));
    assert_eq!(journal[2]["id"], refused["refusal_id"]);
    assert!(journal[2]["id"].as_str().unwrap().starts_with("rf_"));
}

#[tokio::test]
async fn a_bank_refuses_after_it_has_paid() {
    let rail = Rail::start(&AT_ONCE);
    rail.set_faults(json!({"reject_after": 1, "reject_after_ms": 1, "return_fee_minor": 34})).await;
    assert_eq!(pay(&rail, "file", "k").await, 202);
    let statement = rail.statement_of("file", 2).await;
    assert_eq!(column(&statement, "status"), ["paid", "returned"]);
    assert_ne!(statement[0]["reference"], statement[1]["reference"]);
    assert_eq!(statement[1]["amount_minor"], 1200);
    assert_eq!(rail.journal().await[1]["code"], "rejected");
}

/// Days later, without waiting for days.
#[tokio::test]
async fn what_is_planned_can_be_hurried() {
    let rail = Rail::start(&AT_ONCE);
    let days = 5 * 24 * 3_600_000_u64;
    rail.set_faults(json!({"execute_late": 1, "execute_late_ms": days, "execute_late_answered": true, "max": 1})).await;
    let malformed = json!({"file_id": "f", "currency": "EUR", "items": []});
    assert_eq!(rail.post("/file/files", &malformed).await.status, 400);
    rail.set_faults(json!({"max": 1})).await;
    let taken = rail.post("/file/files", &group(&["k", "k2"])).await;
    assert_eq!((taken.status.as_u16(), taken.body["status"].as_str()), (202, Some("accepted")));
    rail.set_faults(json!({"execute_late": 0, "max": null, "return_rate": 1, "return_after_ms": days})).await;
    pay(&rail, "payout", "p").await;
    let rail = rail.restart(&AT_ONCE);
    assert_eq!(column(&rail.journal().await, "key"), ["p"]);
    assert_eq!(rail.post("/faults/hurry", &json!({})).await.body, json!({"done": 2}));
    let journal = rail.journal().await;
    assert_eq!(column(&journal, "event"), ["paid", "paid", "paid", "returned"], "in the order in which they were due");
    assert_eq!(rail.post("/faults/hurry", &json!({})).await.body, json!({"done": 0}));
    let rail = rail.restart(&AT_ONCE);
    assert_eq!(rail.post("/faults/hurry", &json!({})).await.body, json!({"done": 0}));
    let written = std::fs::read_to_string(rail.dir().join("journal.jsonl")).unwrap();
    assert!(written.contains(taken.body["receipt"].as_str().unwrap()), "under the reference that was told");
}
