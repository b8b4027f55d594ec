//! The statement: complete, in order, and resumable at any line.

use serde_json::{Value, json};

use crate::rail::{Rail, column, instruction};

#[tokio::test]
async fn pages_by_cursor_are_the_whole_and_nothing_twice() {
    let rail = Rail::start(&["--batch-settle-after", "0s", "--faults", r#"{"lie":{"phantom_statement":0.1}}"#]);
    // Beyond one entry of the index, so that pages begin in the middle of the file.
    for batch in 0..3 {
        let items: Vec<_> = (0..1000).map(|item| instruction(&format!("k{batch}-{item}"))).collect();
        let body = json!({"sender_batch_id": format!("b{batch}"), "currency": "EUR", "items": items});
        assert_eq!(rail.post("/batch/batches", &body).await.status, 201);
        rail.pay(&format!("other-{batch}")).await;
    }
    let whole = rail.statement("batch").await;
    let phantoms = column(&whole, "key").iter().filter(|key| key.starts_with("phantom-")).count();
    assert!(phantoms > 0);
    assert_eq!(whole.len(), 3000 + phantoms);
    let mut pages: Vec<Value> = Vec::new();
    loop {
        let cursor = pages.last().map_or(0, |line| line["line"].as_u64().unwrap());
        let (page, end) = rail.statement_part(&format!("shape=batch&cursor={cursor}&limit=700")).await;
        assert!(page.len() <= 700);
        pages.extend(page);
        // A page that is full does not know how far it reaches.
        if end.is_some() {
            break;
        }
    }
    assert_eq!(pages, whole);
    assert!(whole.is_sorted_by_key(|line| line["line"].as_u64()));
    assert!(whole.is_sorted_by_key(|line| line["at"].as_str().unwrap().to_owned()));

    let rail = rail.restart(&[]);
    assert_eq!(rail.statement("batch").await, whole);
    let since = whole[1500]["at"].as_str().unwrap();
    let expected = whole.iter().filter(|line| line["at"].as_str().unwrap() >= since).count();
    assert_eq!(rail.statement_part(&format!("shape=batch&from={since}")).await.0.len(), expected);
    assert_eq!(rail.get("/statement?shape=batch&limit=10001").await.status, 400);
    assert_eq!(rail.get("/statement").await.code(), "invalid_request");
}

/// Whoever reads on from where a part ended has every line once, however fast payments and parts follow each other.
#[tokio::test]
async fn parts_that_begin_where_the_last_one_ended_are_the_whole_and_nothing_twice() {
    let rail = Rail::start(&[]);
    let mut parts: Vec<Value> = Vec::new();
    let mut from = "1970-01-01T00:00:00.000Z".to_owned();
    for n in 0..200 {
        rail.pay(&format!("k{n}")).await;
        let (lines, end) = rail.statement_part(&format!("shape=payout&from={from}")).await;
        let end = end.unwrap();
        assert_eq!(column(&lines, "key"), [format!("k{n}")]);
        assert_eq!(end["from"], from);
        assert!(end["until"].as_str() <= end["now"].as_str());
        from = end["until"].as_str().unwrap().to_owned();
        parts.extend(lines);
    }
    assert_eq!(rail.statement("payout").await, parts);
}

#[tokio::test]
async fn the_same_as_csv() {
    let rail = Rail::start(&[]);
    let mut body = instruction("k");
    body["destination"] = json!("a \"quoted\", one");
    rail.send(rail.payout("k", &body)).await;
    let statement = rail.statement("payout").await;
    let csv = rail.text("/statement.csv?shape=payout").await;
    let reference = statement[0]["reference"].as_str().unwrap();
    let at = statement[0]["at"].as_str().unwrap();
    let expected = format!(
        "key,reference,amount_minor,currency,destination,status,at\n\
         k,{reference},1234,EUR,\"a \"\"quoted\"\", one\",paid,{at}\n"
    );
    assert_eq!(csv, expected);
    let csv = rail.text("/statement.csv?shape=payout&end=1&from=2011-12-05T10:00:00Z").await;
    let end = csv.strip_prefix(&expected).unwrap().strip_suffix("Z\n").unwrap();
    let (end, until) = end.rsplit_once(',').unwrap();
    assert_eq!(end, "#end,sandbox-payout/default,1,,2011-12-05T10:00:00.000Z,complete");
    assert!(until > at.trim_end_matches('Z'));
    assert_eq!(rail.get("/statement.csv?shape=payout&end=perhaps").await.code(), "invalid_request");
}

#[tokio::test]
async fn a_line_lags_with_its_old_instant_and_the_end_says_so() {
    let rail = Rail::start(&["--statement-lag", "1h,payout=0s"]);
    for shape in ["payout", "batch"] {
        let body = json!({"sender_batch_id": "b", "currency": "EUR", "items": [instruction("k")]});
        match shape {
            "payout" => rail.pay("k").await,
            _ => rail.post("/batch/batches", &body).await,
        };
    }
    let (lines, _) = rail.statement_part("shape=payout").await;
    assert_eq!(lines.len(), 1);
    let (lines, end) = rail.statement_part("shape=batch").await;
    assert_eq!(lines.len(), 0);
    let end = end.unwrap();
    let instant = |name: &str| {
        time::OffsetDateTime::parse(end[name].as_str().unwrap(), &time::format_description::well_known::Rfc3339)
    };
    let behind = instant("now").unwrap() - instant("until").unwrap();
    assert!((behind - time::Duration::HOUR).abs() < time::Duration::seconds(1), "{behind}");

    // The payments before are older than what a statement without lag reaches.
    rail.set_faults(json!({"statement_lag_ms": {"batch": 0}})).await;
    let told = rail.statement_of("batch", 1).await;
    assert_eq!(told[0]["at"], rail.journal().await[1]["at"]);
}

#[tokio::test]
async fn a_statement_may_lie_about_its_reach() {
    let rail = Rail::start(&["--statement-lag", "1h"]);
    rail.pay("k").await;
    rail.set_faults(json!({"lie": {"reach_ms": 7_200_000}})).await;
    let (lines, end) = rail.statement_part("shape=payout").await;
    let end = end.unwrap();
    assert_eq!((lines.len(), &end["until"]), (0, &end["now"]));
    assert!(end["until"].as_str() > rail.journal().await[0]["at"].as_str(), "the payment should be on it");
}

/// What is not asked for is not read.
#[tokio::test]
async fn a_part_costs_what_it_returns() {
    let rail = Rail::start(&["--batch-settle-after", "0s"]);
    for batch in 0..5 {
        let items: Vec<_> = (0..1000).map(|item| instruction(&format!("k{batch}-{item}"))).collect();
        let body = json!({"sender_batch_id": format!("b{batch}"), "currency": "EUR", "items": items});
        assert_eq!(rail.post("/batch/batches", &body).await.status, 201);
        rail.statement_of("batch", 1000 * (batch + 1)).await;
    }
    let journal = rail.journal().await;
    let from = journal[4000]["at"].as_str().unwrap();
    let (whole, _) = rail.statement_part(&format!("shape=batch&from={from}")).await;
    assert_eq!(column(&whole, "key"), column(&journal[4000..], "key"));
    // As nothing that was written is ever changed, only a reader that goes there can notice.
    let path = rail.dir().join("journal.jsonl");
    let length = std::fs::read(&path).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![b'x'; length / 2], 0).unwrap();
    assert_eq!(rail.statement_part(&format!("shape=batch&from={from}")).await.0, whole);
    let cursor = journal[3999]["line"].as_u64().unwrap();
    assert_eq!(rail.statement_part(&format!("shape=batch&cursor={cursor}")).await.0, whole);
    let all = async {
        let answer = rail.request(reqwest::Method::GET, "/statement?shape=batch").send().await?;
        answer.bytes().await
    };
    assert!(all.await.is_err(), "it breaks off");
}
