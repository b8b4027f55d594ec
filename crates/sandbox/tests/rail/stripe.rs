//! The dialect of Stripe: what its documentation promises, and each fault. RAILS.md, section 2.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::rail::{Rail, column};
use crate::vendors::told;

#[tokio::test]
async fn a_transfer_is_made_once_and_its_answer_repeated_byte_for_byte() {
    let rail = Rail::start(&[]);
    let first = rail.transfer("k").await;
    assert!(first.is(200), "{}", first.text);
    assert!(first.at("/id").starts_with("tr_") && first.header("request-id").starts_with("req_"));
    assert_eq!((first.at("/object"), &first.body["amount"], first.at("/currency")), ("transfer", &json!(1000), "usd"));
    assert_eq!((first.at("/transfer_group"), first.at("/metadata/payout")), ("k", "k"));
    assert_eq!((&first.body["reversed"], &first.body["reversals"]["data"]), (&json!(false), &json!([])));
    assert_eq!((first.header("idempotent-replayed"), first.header("idempotency-key")), ("", "k"));

    // What came back meanwhile is not in a stored answer.
    let back = told(rail.stripe_post(&format!("/v1/transfers/{}/reversals", first.at("/id")), "r", &[])).await;
    assert!(back.is(200), "{}", back.text);
    let rail = rail.restart(&[]);
    let again = rail.transfer("k").await;
    assert_eq!((again.text.as_str(), again.header("idempotent-replayed")), (first.text.as_str(), "true"));
    assert_eq!(again.header("original-request"), first.header("request-id"));
    assert_ne!(again.header("request-id"), first.header("request-id"));
    // The order of parameters does not matter.
    let parts = [
        ("transfer_group", "k"),
        ("metadata[payout]", "k"),
        ("destination", "acct_1PgafTB7WZ01zgkW"),
        ("currency", "usd"),
        ("amount", "1000"),
    ];
    assert_eq!(told(rail.stripe_post("/v1/transfers", "k", &parts)).await.header("idempotent-replayed"), "true");
    assert_eq!(rail.counts("stripe").await, [1, 1, 0]);
    let journal = rail.journal().await;
    assert_eq!(
        (&journal[0]["key"], &journal[0]["account"], &journal[0]["id"]),
        (&json!("k"), &json!("acme"), &first.body["id"])
    );
}

#[tokio::test]
async fn a_key_with_other_parameters_is_an_error_without_a_code() {
    let rail = Rail::start(&[]);
    rail.transfer("k").await;
    let other = told(rail.transfer_request("k", "1001")).await;
    assert!(other.is(400));
    assert_eq!((other.at("/error/type"), &other.body["error"]["code"]), ("idempotency_error", &json!(null)));
    let reversal = rail.stripe_post("/v1/transfers/tr_1/reversals", "k", &[("amount", "1")]);
    assert_eq!(told(reversal).await.at("/error/type"), "idempotency_error");
    assert_eq!(rail.counts("stripe").await, [1, 1, 0]);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day_and_then_pays_again() {
    let rail = Rail::start(&[]);
    rail.transfer("k").await;
    rail.set_faults(json!({"clock_ahead_ms": 23 * 3_600_000})).await;
    assert_eq!(rail.transfer("k").await.header("idempotent-replayed"), "true");
    rail.set_faults(json!({"clock_ahead_ms": 25 * 3_600_000})).await;
    assert_eq!(rail.transfer("k").await.header("idempotent-replayed"), "");
    assert_eq!(rail.counts("stripe").await, [2, 1, 1], "two transfers of one payment are seen");
    let listed = rail.stripe_get("/v1/transfers?transfer_group=k&limit=100").await;
    assert_eq!(listed.body["data"].as_array().unwrap().len(), 2);
    rail.do_post("/faults/prune-keys", json!({})).await;
    assert_eq!(rail.transfer("k").await.header("idempotent-replayed"), "");
}

#[tokio::test]
async fn what_is_refused_before_it_begins_is_not_remembered() {
    let rail = Rail::start(&[]);
    let good = [("amount", "1000"), ("currency", "usd"), ("destination", "acct_1")];
    for (name, value, code) in [
        ("amount", "", "parameter_missing"),
        ("amount", "10.5", "parameter_invalid_integer"),
        ("amount", "0", "parameter_invalid_integer"),
        ("currency", "", "parameter_missing"),
        ("destination", "", "parameter_missing"),
        ("destination", "someone", "resource_missing"),
        ("amout", "1", "parameter_unknown"),
    ] {
        let mut parts = good.to_vec();
        parts.retain(|(known, _)| *known != name);
        parts.push((name, value));
        let answer = told(rail.stripe_post("/v1/transfers", "k", &parts)).await;
        assert!(answer.is(400));
        assert_eq!((answer.at("/error/code"), answer.at("/error/param")), (code, name));
        assert_eq!(answer.header("original-request"), "");
    }
    let json = rail.stripe(Method::POST, "/v1/transfers").json(&json!({"amount": 1}));
    assert!(told(json).await.is(400), "only forms are read");
    assert!(rail.transfer("k").await.is(200), "the key is still fresh");
    assert_eq!(rail.counts("stripe").await, [1, 1, 0]);
}

#[tokio::test]
async fn an_empty_balance_is_stored_under_the_key_even_after_funding() {
    let rail = Rail::start(&[]);
    let balance =
        |amount: i64| json!({"shape": "stripe", "account": "acme", "currency": "USD", "amount_minor": amount});
    rail.do_post("/faults/balance", balance(999)).await;
    let first = rail.transfer("k").await;
    assert!(first.is(400));
    assert_eq!(first.at("/error/code"), "balance_insufficient");
    assert_eq!(
        (first.header("stripe-should-retry"), first.header("original-request")),
        ("false", first.header("request-id"))
    );
    rail.do_post("/faults/balance", balance(5_000)).await;
    let rail = rail.restart(&[]);
    let again = rail.transfer("k").await;
    assert_eq!((again.status, again.text.as_str()), (first.status, first.text.as_str()));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert!(told(rail.transfer_request("k2", "1000")).await.is(200), "a new key pays");
    let balance = rail.stripe_get("/v1/balance").await;
    assert_eq!(balance.body["available"][0]["amount"], 4_000);
    assert_eq!(rail.counts("stripe").await, [1, 1, 0]);
}

#[tokio::test]
async fn a_stored_500_says_nothing_and_only_the_list_tells() {
    for (fault, paid) in [("stored_500_paid", 1), ("stored_500_unpaid", 0)] {
        let rail = Rail::start(&[]);
        rail.set_faults(json!({"stripe": {fault: 1}, "max": 1})).await;
        let first = rail.transfer("k").await;
        assert!(first.is(500));
        assert_eq!(first.at("/error/type"), "api_error");
        let rail = rail.restart(&[]);
        let again = rail.transfer("k").await;
        assert_eq!((again.status.as_u16(), again.header("idempotent-replayed")), (500, "true"));
        let listed = rail.stripe_get("/v1/transfers?transfer_group=k").await;
        assert_eq!(listed.body["data"].as_array().unwrap().len(), paid);
        assert_eq!(rail.counts("stripe").await, [paid as u64, paid as u64, 0]);
    }
}

#[tokio::test]
async fn refusals_have_their_codes_and_are_stored_only_by_a_switch() {
    for code in ["insufficient_capabilities_for_transfer", "resource_missing", "transfers_not_allowed"] {
        let rail = Rail::start(&[]);
        rail.set_faults(json!({"refuse": {code: 1}, "max": 1})).await;
        let refused = rail.transfer("k").await;
        assert!(refused.is(400));
        assert_eq!(refused.at("/error/code"), code);
        assert!(rail.transfer("k").await.is(200), "it was not stored");
        rail.set_faults(json!({"stripe": {"refusals_stored": true}, "max": 1})).await;
        assert_eq!(rail.transfer("l").await.at("/error/code"), code);
        assert_eq!(rail.transfer("l").await.header("idempotent-replayed"), "true");
        assert_eq!(column(&rail.journal().await, "event"), ["refused", "paid", "refused"]);
    }
}

#[tokio::test]
async fn a_running_request_holds_its_key() {
    let rail = Rail::start(&[]);
    rail.set_faults(json!({"latency_ms": 2_000})).await;
    let (first, second) = tokio::join!(rail.transfer("k"), rail.transfer("k"));
    let (paid, held) = if first.is(200) { (first, second) } else { (second, first) };
    assert!(paid.is(200));
    assert_eq!((held.status.as_u16(), held.at("/error/code")), (409, "idempotency_key_in_use"));
    rail.set_faults(json!({"latency_ms": 0, "stripe": {"key_in_use": 1, "lock_timeout": 0}, "max": 1})).await;
    assert_eq!(rail.transfer("l").await.at("/error/code"), "idempotency_key_in_use");
    rail.set_faults(json!({"stripe": {"key_in_use": 0, "lock_timeout": 1}, "max": 1})).await;
    let locked = rail.transfer("l").await;
    assert_eq!((locked.status.as_u16(), locked.at("/error/code")), (429, "lock_timeout"));
    assert_eq!(rail.counts("stripe").await, [1, 1, 0]);
}

#[tokio::test]
async fn a_lost_answer_has_paid_and_its_key_tells() {
    let rail = Rail::start(&["--faults", r#"{"lose_answer":1,"max":1,"only_shape":"stripe"}"#]);
    assert!(rail.transfer_request("k", "1000").send().await.is_err());
    assert_eq!(rail.transfer("k").await.header("idempotent-replayed"), "true");
    rail.set_faults(json!({"lose_answer": 0, "error_after": 1, "max": 1})).await;
    assert!(rail.transfer("l").await.is(500));
    assert!(rail.transfer("l").await.is(200), "this one was not stored");
    rail.set_faults(json!({"error_after": 0, "garble": 1, "max": 1})).await;
    let garbled = rail.transfer("m").await;
    assert!(garbled.is(200) && garbled.body.is_null() && garbled.text.len() > 100);
    rail.set_faults(json!({"garble": 0, "lose_request": 1, "max": 1})).await;
    assert!(rail.transfer_request("n", "1000").send().await.is_err());
    assert_eq!(rail.counts("stripe").await, [3, 3, 0]);
}

#[tokio::test]
async fn a_request_that_comes_late_pays_then() {
    let rail = Rail::start(&["--faults", r#"{"execute_late":1,"execute_late_ms":3600000,"max":1}"#]);
    assert!(rail.transfer_request("k", "1000").send().await.is_err());
    let rail = rail.restart(&[]);
    assert_eq!(rail.stripe_get("/v1/transfers?transfer_group=k").await.body["data"], json!([]));
    rail.set_faults(json!({"clock_ahead_ms": 3_700_000})).await;
    rail.journal_of(1).await;
    assert_eq!(rail.transfer("k").await.header("idempotent-replayed"), "true");
    assert_eq!(rail.counts("stripe").await, [1, 1, 0]);
}

#[tokio::test]
async fn lists_come_in_pages_and_may_lag_behind() {
    let rail = Rail::start(&[]);
    for number in 0..7 {
        let key = format!("k{number}");
        let group = if number == 3 { "other" } else { "group" };
        let parts = [("amount", "100"), ("currency", "usd"), ("destination", "acct_1"), ("transfer_group", group)];
        assert!(told(rail.stripe_post("/v1/transfers", &key, &parts)).await.is(200));
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = rail.stripe_get(&format!("/v1/transfers?transfer_group=group&limit=2{after}")).await;
        assert_eq!((page.at("/object"), page.at("/url")), ("list", "/v1/transfers"));
        let data = page.body["data"].as_array().unwrap().clone();
        after = format!("&starting_after={}", data.last().unwrap()["id"].as_str().unwrap());
        seen.extend(data.into_iter().map(|transfer| transfer["id"].as_str().unwrap().to_owned()));
        if page.body["has_more"] == false {
            break;
        }
    }
    let mut journal: Vec<_> = rail.journal().await.into_iter().filter(|line| line["key"] == "group").collect();
    journal.reverse();
    assert_eq!(seen, column(&journal, "id"), "newest first");
    let before =
        rail.stripe_get(&format!("/v1/transfers?transfer_group=group&limit=2&ending_before={}", seen[4])).await;
    assert_eq!((before.at("/data/0/id"), before.at("/data/1/id")), (seen[2].as_str(), seen[3].as_str()));
    assert!(rail.stripe_get("/v1/transfers?limit=101").await.is(400));
    assert!(rail.stripe_get("/v1/transfers?starting_after=tr_0").await.is(400));
    let one = rail.stripe_get(&format!("/v1/transfers/{}", seen[0])).await;
    assert_eq!(one.at("/id"), seen[0]);
    let none = rail.stripe_get("/v1/transfers/tr_0").await;
    assert_eq!((none.status.as_u16(), none.at("/error/code")), (404, "resource_missing"));

    rail.set_faults(json!({"stripe": {"list_lag_ms": 60_000}})).await;
    assert_eq!(rail.stripe_get("/v1/transfers?transfer_group=group").await.body["data"], json!([]));
    rail.set_faults(json!({"stripe": {"list_lag_ms": 0}, "garble_list": 1, "list_latency_ms": 50})).await;
    let begun = std::time::Instant::now();
    let cut = rail.stripe_get("/v1/transfers?limit=100").await;
    assert!(cut.is(200) && cut.body.is_null() && begun.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_transfer_comes_back_in_parts_and_not_more_than_it_was() {
    let rail = Rail::start(&[]);
    let id = rail.transfer("k").await.at("/id").to_owned();
    let path = format!("/v1/transfers/{id}/reversals");
    let part = told(rail.stripe_post(&path, "r1", &[("amount", "300"), ("metadata[why]", "late")])).await;
    assert_eq!(
        (part.at("/object"), &part.body["amount"], part.at("/transfer")),
        ("transfer_reversal", &json!(300), id.as_str())
    );
    assert_eq!(part.at("/metadata/why"), "late");
    let transfer = rail.stripe_get(&format!("/v1/transfers/{id}")).await;
    assert_eq!((&transfer.body["amount_reversed"], &transfer.body["reversed"]), (&json!(300), &json!(false)));
    assert!(told(rail.stripe_post(&path, "r2", &[("amount", "701")])).await.is(400));
    let repeated = told(rail.stripe_post(&path, "r1", &[("amount", "300"), ("metadata[why]", "late")])).await;
    assert_eq!(repeated.header("idempotent-replayed"), "true");
    assert!(told(rail.stripe_post(&path, "r3", &[])).await.is(200), "the rest");
    assert!(told(rail.stripe_post(&path, "r4", &[])).await.is(400), "nothing is left");
    let rail = rail.restart(&[]);
    let transfer = rail.stripe_get(&format!("/v1/transfers/{id}")).await;
    assert_eq!((&transfer.body["amount_reversed"], &transfer.body["reversed"]), (&json!(1000), &json!(true)));
    let listed = rail.stripe_get(&path).await;
    assert_eq!(listed.at("/data/1/metadata/why"), "late");
    assert_eq!((&listed.body["data"][0]["amount"], &listed.body["data"][1]["amount"]), (&json!(700), &json!(300)));
    assert_eq!(column(&rail.journal().await, "event"), ["paid", "returned", "returned"]);
    // From outside, as well.
    let other = rail.transfer("l").await.at("/id").to_owned();
    rail.do_post("/faults/return", json!({"key": "l", "shape": "stripe", "amount_minor": 250})).await;
    let transfer = rail.stripe_get(&format!("/v1/transfers/{other}")).await;
    assert_eq!(transfer.body["amount_reversed"], 250);
}

#[tokio::test]
async fn keys_name_accounts_and_can_be_revoked() {
    let rail = Rail::start(&["--token", "admin"]);
    // A vendor's caller knows nothing of the sandbox's own token.
    assert!(rail.transfer("k").await.is(200));
    let other = rail.request(Method::GET, "/stripe/v1/transfers").bearer_auth("rk_test_other");
    assert_eq!(told(other).await.body["data"], json!([]));
    for request in [
        rail.request(Method::GET, "/stripe/v1/transfers"),
        rail.request(Method::GET, "/stripe/v1/transfers").bearer_auth("pk_test_acme"),
    ] {
        let answer = told(request).await;
        assert_eq!((answer.status.as_u16(), answer.at("/error/type")), (401, "invalid_request_error"));
    }
    let revoke = rail.request(Method::POST, "/faults/revoke").bearer_auth("admin");
    assert!(told(revoke.json(&json!({"credential": "sk_test_acme"}))).await.is(200));
    assert!(rail.transfer("l").await.is(401));
    let journal = told(rail.request(Method::GET, "/journal").bearer_auth("admin")).await;
    assert_eq!(journal.text.lines().count(), 1);
}

#[tokio::test]
async fn more_than_the_limit_is_429_and_not_executed() {
    let rail = Rail::start(&["--faults", r#"{"limit":{"stripe":3}}"#]);
    let mut refused = 0;
    for number in 0..20 {
        let answer = rail.transfer(&format!("k{number}")).await;
        if answer.is(429) {
            refused += 1;
            assert_eq!(
                (answer.at("/error/code"), answer.header("stripe-rate-limited-reason")),
                ("rate_limit", "global-rate")
            );
        }
    }
    assert!(refused > 0);
    assert_eq!(rail.counts("stripe").await[0], 20 - refused);
}

#[tokio::test]
async fn units_are_stripes_and_the_journal_is_in_iso_units() {
    let rail = Rail::start(&[]);
    for (currency, amount, minor) in [
        ("usd", "1234", Some(1234)),
        ("jpy", "1234", Some(1234)),
        ("isk", "12300", Some(123)),
        ("isk", "12345", None),
        ("ugx", "5000", Some(50)),
        ("mga", "7", Some(700)),
        ("kwd", "1230", Some(1230)),
        ("kwd", "1234", None),
        ("huf", "1234", Some(1234)),
    ] {
        let key = format!("{currency}{amount}");
        let parts = [("amount", amount), ("currency", currency), ("destination", "acct_1"), ("transfer_group", &key)];
        let answer = told(rail.stripe_post("/v1/transfers", &key, &parts)).await;
        let journal = rail.journal().await;
        match minor {
            Some(minor) => {
                assert_eq!(
                    (&journal.last().unwrap()["amount_minor"], &journal.last().unwrap()["key"]),
                    (&json!(minor), &json!(key))
                );
            }
            None => assert_eq!((answer.status.as_u16(), answer.at("/error/param")), (400, "amount")),
        }
    }
}

#[tokio::test]
async fn crowds_with_one_key_pay_once() {
    let rail = std::sync::Arc::new(Rail::start(&[]));
    for round in 0..10 {
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let rail = std::sync::Arc::clone(&rail);
                tokio::spawn(async move { rail.transfer(&format!("k{round}")).await.status.as_u16() })
            })
            .collect();
        for call in calls {
            assert!(matches!(call.await.unwrap(), 200 | 409));
        }
    }
    assert_eq!(rail.counts("stripe").await, [10, 10, 0]);
}
