//! The dialect of PayPal: Transaction Search.

use serde_json::{Value, json};

use crate::paypal::{AT_ONCE, is_error, send};
use crate::rail::Rail;
use crate::vendors::Told;

/// All rows of a window.
async fn search(rail: &Rail, query: &str) -> Told {
    let window = "start_date=2026-01-01T00:00:00Z&end_date=2026-01-02T00:00:00Z";
    let window = if query.contains("start_date") { "" } else { window };
    rail.paypal_get(&format!("/v1/reporting/transactions?{window}{query}")).await
}

fn window(days_before: i64, days_after: i64) -> String {
    let format = time::format_description::well_known::Rfc3339;
    let now = time::OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    let at = |days: i64| (now + time::Duration::days(days)).format(&format).unwrap();
    format!("start_date={}&end_date={}", at(-days_before), at(days_after))
}

#[tokio::test]
async fn the_statement_has_payments_between_what_is_held_and_let_go() {
    let rail = Rail::start(&AT_ONCE);
    rail.set_faults(json!({"paypal": {"script": {"f": "RECEIVER_ACCOUNT_INVALID", "u": "UNCLAIMED"}}})).await;
    send(&rail, "b", &["k1", "f", "u", "k2"]).await;
    rail.do_post("/faults/return", json!({"key": "k2", "shape": "paypal", "amount_minor": 900, "fee_minor": 100}))
        .await;
    let all = search(&rail, &window(1, 1)).await;
    assert!(all.is(200), "{}", all.text);
    let rows: Vec<_> =
        all.body["transaction_details"].as_array().unwrap().iter().map(|row| &row["transaction_info"]).collect();
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            let text = |pointer: &str| row.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
            [
                text("/transaction_event_code"),
                text("/transaction_amount/value"),
                text("/custom_field"),
                text("/transaction_status"),
            ]
        })
        .collect();
    let expected = [
        ["T1503", "-30.60", "", "S"],
        ["T0001", "-10.00", "k1", "S"],
        ["T0001", "-10.00", "u", "P"],
        ["T0001", "-10.00", "k2", "S"],
        ["T0104", "-0.60", "", "S"],
        ["T1105", "30.60", "", "S"],
        ["T1115", "9.00", "k2", "S"],
    ];
    assert_eq!(told, expected.map(|row| row.map(str::to_owned)));
    assert_eq!(rows[6]["paypal_reference_id"], rows[3]["transaction_id"]);
    assert_eq!(rows[5]["paypal_reference_id"], rows[0]["transaction_id"]);
    assert_eq!(
        (&all.body["total_items"], &all.body["total_pages"], &all.body["page"]),
        (&json!(7), &json!(1), &json!(1))
    );
    let id = rows[1]["transaction_id"].as_str().unwrap();
    assert_eq!(id.len(), 17);
    let one = search(&rail, &format!("{}&transaction_id={id}", window(1, 1))).await;
    assert_eq!(one.body["total_items"], 1);

    let mut pages = Vec::new();
    for page in 1..=3 {
        let told = search(&rail, &format!("{}&page_size=3&page={page}", window(1, 1))).await;
        assert_eq!((&told.body["total_items"], &told.body["total_pages"]), (&json!(7), &json!(3)));
        pages.extend(told.body["transaction_details"].as_array().unwrap().clone());
    }
    assert_eq!(json!(pages), all.body["transaction_details"]);

    rail.set_faults(json!({"paypal": {"without_custom_field": true}})).await;
    assert!(!search(&rail, &window(1, 1)).await.text.contains("custom_field"));
    rail.set_faults(json!({"statement_lag_ms": {"paypal": 10_800_000}})).await;
    let behind = search(&rail, &window(1, 1)).await;
    assert_eq!(behind.body["transaction_details"], json!([]), "up to three hours behind");
    assert!(behind.at("/last_refreshed_datetime") < all.at("/last_refreshed_datetime"));
}

#[tokio::test]
async fn windows_of_the_statement_have_bounds() {
    let rail = Rail::start(&AT_ONCE);
    send(&rail, "b", &["k"]).await;
    assert!(search(&rail, &window(15, 16)).await.is(200));
    let long = search(&rail, &window(15, 17)).await;
    is_error(&long, 400, "INVALID_REQUEST");
    assert_eq!(long.at("/details/0/issue"), "Date range is greater than 31 days");
    is_error(&search(&rail, &window(4 * 366, -4 * 366 + 1)).await, 400, "INVALID_REQUEST");
    is_error(&search(&rail, "start_date=2026-01-01&end_date=2026-01-02").await, 400, "INVALID_REQUEST");
    is_error(&search(&rail, &format!("{}&page_size=501", window(1, 1))).await, 400, "VALIDATION_ERROR");
    let before = search(&rail, &window(20, -1)).await;
    assert_eq!(before.body["transaction_details"], json!([]));
}

#[tokio::test]
async fn lies_are_told_on_the_statement_and_the_journal_is_true() {
    let rail = Rail::start(&AT_ONCE);
    send(&rail, "b", &["a", "b", "c"]).await;
    for (key, kind) in [("a", "amount"), ("b", "omit_statement"), ("c", "duplicate_payment")] {
        rail.do_post("/faults/plant", json!({"kind": kind, "key": key, "shape": "paypal"})).await;
    }
    rail.do_post("/faults/plant", json!({"kind": "phantom_statement", "shape": "paypal", "account": "acme"})).await;
    let rail = rail.restart(&AT_ONCE);
    let all = search(&rail, &format!("{}&transaction_type=T0001", window(1, 1))).await;
    let rows = all.body["transaction_details"].as_array().unwrap();
    let keys: Vec<_> = rows.iter().map(|row| row["transaction_info"]["custom_field"].as_str().unwrap()).collect();
    assert_eq!(keys[..3], ["a", "c", "c"]);
    assert!(keys[3].starts_with("phantom-"));
    assert_ne!(all.at("/transaction_details/0/transaction_info/transaction_amount/value"), "-10.00");
    assert_eq!(rail.counts("paypal").await, [4, 3, 1]);
    // Executed twice from the beginning.
    rail.set_faults(json!({"lie": {"duplicate_payment": 1}, "max": 1})).await;
    send(&rail, "b2", &["x", "y"]).await;
    assert_eq!(rail.counts("paypal").await, [7, 5, 2]);
    let rail = rail.restart(&AT_ONCE);
    assert_eq!(rail.counts("paypal").await, [7, 5, 2]);
}

#[tokio::test]
async fn books_may_stand_still_and_are_refreshed_between_two_answers() {
    let rail = Rail::start(&AT_ONCE);
    send(&rail, "b1", &["k1"]).await;
    let told = async || {
        let told = search(&rail, &window(1, 2)).await;
        let rows = told.body["transaction_details"].as_array().unwrap().len();
        (rows, told.at("/last_refreshed_datetime").to_owned())
    };
    let first = told().await;
    assert_eq!(first.0, 4, "a payment between what is held for it and let go again, and its fee");
    rail.set_faults(json!({"paypal": {"books_stand": 2}, "clock_ahead_ms": 3_600_000})).await;
    send(&rail, "b2", &["k2"]).await;
    assert_eq!((told().await, told().await), (first.clone(), first.clone()), "what was booked meanwhile is not told");
    let refreshed = told().await;
    assert!(refreshed.0 == 8 && refreshed.1 > first.1, "{refreshed:?}");
    assert_eq!(told().await, refreshed);
}
