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
