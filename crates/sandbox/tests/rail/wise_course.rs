//! The dialect of Wise: what stands before the money, which way a transfer goes, and what the statement tells of it.

use reqwest::Method;
use serde_json::json;

use crate::rail::{Rail, column};
use crate::vendors::told;
use crate::wise::{AT_ONCE, BY_THE_HOUR, HOUR, ahead, fund, prepare, statement, status, uuid_of, window};
use crate::wise::{quote, recipient, transfer_body};

#[tokio::test]
async fn authentication_is_asked_for_before_money_moves() {
    let rail = Rail::start(&AT_ONCE);
    let id = prepare(&rail, "k").await;
    rail.set_faults(json!({"wise": {"sca": 1}})).await;
    let path = format!("/v3/profiles/7/transfers/{id}/payments");
    let asked = fund(&rail, id).await;
    assert_eq!((asked.status.as_u16(), asked.header("x-2fa-approval-result")), (403, "REJECTED"));
    let token = asked.header("x-2fa-approval").to_owned();
    assert_eq!(rail.journal().await.len(), 0);
    let with = |token: &str| {
        rail.wise(Method::POST, &path).header("x-2fa-approval", token.to_owned()).json(&json!({"type": "BALANCE"}))
    };
    // Nobody has approved it, and no key is registered.
    let again = told(with(&token)).await;
    assert!(again.is(403) && again.header("x-2fa-approval") != token);
    rail.do_post("/faults/approve", json!({"approval": token})).await;
    assert_eq!(told(with(&token)).await.at("/status"), "COMPLETED");
    assert_eq!(rail.post("/faults/approve", &json!({"approval": token})).await.status, 404);

    // By a registered key: here the pair whose public half the sandbox tells.
    let keys = rail.get("/webhooks/keys").await.body;
    let register = rail
        .request(Method::PUT, "/faults/sca-key")
        .json(&json!({"profile": "7", "public_key": keys["wise_public_key"]}));
    assert!(told(register).await.is(200));
    let other = prepare(&rail, "l").await;
    let asked = fund(&rail, other).await;
    let token = asked.header("x-2fa-approval").to_owned();
    let signature = crate::webhooks::sign_as_wise(token.as_bytes());
    let path = format!("/v3/profiles/7/transfers/{other}/payments");
    let signed = |token: &str, signature: &str| {
        let request = rail.wise(Method::POST, &path).header("x-2fa-approval", token.to_owned());
        request.header("x-signature", signature.to_owned()).json(&json!({"type": "BALANCE"}))
    };
    assert!(told(signed(&token, &crate::webhooks::sign_as_wise(b"other"))).await.is(403));
    assert_eq!(told(signed(&token, &signature)).await.at("/status"), "COMPLETED");
    let third = prepare(&rail, "m").await;
    assert!(fund(&rail, third).await.is(403));
    let reused = rail.wise(Method::POST, &format!("/v3/profiles/7/transfers/{third}/payments"));
    let reused =
        reused.header("x-2fa-approval", &token).header("x-signature", &signature).json(&json!({"type": "BALANCE"}));
    assert!(told(reused).await.is(403), "a token is used once");
    rail.set_faults(json!({"wise": {"sca": 0, "sca_statement": 1}})).await;
    assert!(statement(&rail).await.is(403));
    assert_eq!(rail.counts("wise").await, [2, 2, 0]);
}

#[tokio::test]
async fn a_bounce_brings_back_less_than_was_sent() {
    let rail = Rail::start(&BY_THE_HOUR);
    rail.set_faults(json!({"wise": {"bounce": 1}, "return_fee_minor": 50, "return_after_ms": 72 * HOUR, "max": 1}))
        .await;
    let id = prepare(&rail, "k").await;
    fund(&rail, id).await;
    for (hour, state) in [(2, "outgoing_payment_sent"), (3, "bounced_back"), (4, "processing"), (5, "cancelled")] {
        ahead(&rail, hour * HOUR + 60_000).await;
        assert_eq!(status(&rail, id).await, state);
    }
    let rail = rail.restart(&BY_THE_HOUR);
    assert_eq!(rail.journal().await.len(), 1, "cancelled, and its money is still on its way");
    ahead(&rail, 79 * HOUR).await;
    rail.journal_of(2).await;
    let rail = rail.restart(&BY_THE_HOUR);
    ahead(&rail, 79 * HOUR).await;
    assert_eq!(status(&rail, id).await, "funds_refunded");
    let journal = rail.journal().await;
    assert_eq!(
        (&journal[1]["event"], &journal[1]["amount_minor"], &journal[1]["fee_minor"]),
        (&json!("returned"), &json!(15_000), &json!(50))
    );
    let told = statement(&rail).await;
    let rows = told.body["transactions"].as_array().unwrap();
    assert_eq!(column(rows, "type"), ["CREDIT", "DEBIT"], "newest first");
    assert_eq!(column(rows, "referenceNumber"), [format!("TRANSFER-{id}"), format!("TRANSFER-{id}")]);
    assert_eq!(
        (rows[0]["amount"]["value"].to_string(), rows[1]["amount"]["value"].to_string()),
        ("150".to_owned(), "-151.26".to_owned())
    );
    assert_eq!(told.body["endOfStatementBalance"], rows[0]["runningBalance"]);
}

#[tokio::test]
async fn what_somebody_pays_in_looks_like_a_refund_and_bears_what_they_wrote() {
    let rail = Rail::start(&BY_THE_HOUR);
    rail.set_faults(json!({"wise": {"bounce": 1, "refund_with_fee": true, "paid_in": 1}, "max": 2})).await;
    let id = prepare(&rail, "k").await;
    fund(&rail, id).await;
    let paid_in = json!({"account": "7", "currency": "EUR", "amount_minor": 20_000, "reference": "topup"});
    let number = rail.do_post("/faults/deposit", paid_in.clone()).await["id"].as_u64().unwrap();
    assert!(number != id && rail.wise_get(&format!("/v1/transfers/{number}")).await.is(404), "it is nobody's transfer");
    ahead(&rail, 6 * HOUR).await;
    rail.journal_of(2).await;
    let rail = rail.restart(&BY_THE_HOUR);
    ahead(&rail, 6 * HOUR).await;
    assert_eq!(rail.journal().await.len(), 2, "what is paid in is no payment, and no return of one");
    let told = statement(&rail).await;
    let rows = told.body["transactions"].as_array().unwrap();
    let type_of = |row: &serde_json::Value| row["details"]["type"].as_str().unwrap().to_owned();
    let value_of = |row: &serde_json::Value| row["amount"]["value"].to_string();
    let told: Vec<(String, String)> = rows.iter().map(|row| (type_of(row), value_of(row))).collect();
    let expected = [("TRANSFER", "151.26"), ("DEPOSIT", "200"), ("DEPOSIT", "150.5"), ("TRANSFER", "-151.26")];
    assert_eq!(told, expected.map(|(kind, value)| (kind.to_owned(), value.to_owned())), "with its fee");
    assert_eq!(column(rows, "type"), ["CREDIT", "CREDIT", "CREDIT", "DEBIT"]);
    assert_eq!(rows[1]["referenceNumber"], format!("TRANSFER-{number}"));
    let ours = rows[3]["details"]["paymentReference"].clone();
    assert_eq!(
        (&rows[2]["details"]["paymentReference"], &rows[1]["details"]["paymentReference"]),
        (&ours, &json!("topup"))
    );
    let none = json!({"account": "7", "currency": "EUR", "amount_minor": 0});
    assert_eq!(rail.post("/faults/deposit", &none).await.status, 400);
}

#[tokio::test]
async fn transfers_roll_back_are_cancelled_and_get_stuck() {
    let rail = Rail::start(&BY_THE_HOUR);
    rail.set_faults(json!({"wise": {"roll_back": 1}, "max": 1})).await;
    let id = prepare(&rail, "k").await;
    fund(&rail, id).await;
    let mut seen = Vec::new();
    for hour in 0..7 {
        ahead(&rail, hour * HOUR + 60_000).await;
        seen.push(status(&rail, id).await);
    }
    let sent = "outgoing_payment_sent";
    assert_eq!(seen, ["processing", "funds_converted", sent, "processing", "funds_converted", sent, sent]);
    ahead(&rail, 0).await;
    rail.set_faults(json!({"wise": {"roll_back": 0, "cancel": 1}, "max": 1})).await;
    let cancelled = prepare(&rail, "l").await;
    fund(&rail, cancelled).await;
    rail.set_faults(json!({"wise": {"cancel": 0, "stuck": 1}, "max": 1})).await;
    let stuck = prepare(&rail, "m").await;
    fund(&rail, stuck).await;
    ahead(&rail, HOUR + 60_000).await;
    assert_eq!(status(&rail, cancelled).await, "cancelled");
    ahead(&rail, 1000 * HOUR).await;
    rail.journal_of(4).await;
    assert_eq!(
        (status(&rail, cancelled).await.as_str(), status(&rail, stuck).await.as_str()),
        ("funds_refunded", "processing")
    );
    let unfunded = prepare(&rail, "n").await;
    ahead(&rail, 1000 * HOUR + 15 * 24 * HOUR).await;
    assert_eq!(status(&rail, unfunded).await, "cancelled", "nobody paid in two weeks");
    assert_eq!(fund(&rail, unfunded).await.at("/status"), "REJECTED");
    assert_eq!(rail.counts("wise").await, [3, 3, 0]);
}

#[tokio::test]
async fn a_transfer_is_cancelled_only_before_it_is_converted() {
    let rail = Rail::start(&BY_THE_HOUR);
    let cancel = async |id: u64| told(rail.wise(Method::PUT, &format!("/v1/transfers/{id}/cancel"))).await;
    let waiting = prepare(&rail, "k").await;
    assert_eq!(cancel(waiting).await.at("/status"), "cancelled");
    assert_eq!(fund(&rail, waiting).await.at("/status"), "REJECTED");
    let funded = prepare(&rail, "l").await;
    fund(&rail, funded).await;
    assert_eq!(cancel(funded).await.at("/status"), "funds_refunded");
    let late = prepare(&rail, "m").await;
    fund(&rail, late).await;
    ahead(&rail, HOUR + 60_000).await;
    let refused = cancel(late).await;
    assert_eq!((refused.status.as_u16(), refused.at("/errors/0/code")), (409, "transfer.cancellation.not.allowed"));
    assert_eq!(column(&rail.journal().await, "event"), ["paid", "returned", "paid"]);
}

#[tokio::test]
async fn statements_lag_lie_and_have_bounds() {
    let rail = Rail::start(&AT_ONCE);
    for (key, kind) in [("a", "amount"), ("b", "omit_statement"), ("c", "duplicate_payment")] {
        let id = prepare(&rail, key).await;
        fund(&rail, id).await;
        rail.do_post("/faults/plant", json!({"kind": kind, "key": uuid_of(key), "shape": "wise"})).await;
    }
    rail.do_post("/faults/plant", json!({"kind": "phantom_statement", "shape": "wise", "account": "7"})).await;
    let rail = rail.restart(&AT_ONCE);
    let told = statement(&rail).await;
    assert_eq!(told.body["transactions"].as_array().unwrap().len(), 4);
    assert_eq!(rail.counts("wise").await, [4, 3, 1]);
    rail.set_faults(json!({"statement_lag_ms": {"wise": 60_000}})).await;
    assert_eq!(statement(&rail).await.body["transactions"], json!([]));
    let long = window(400, 70);
    assert!(rail.wise_get(&format!("/v1/profiles/7/balance-statements/1/statement.json?{long}")).await.is(400));
}

#[tokio::test]
async fn answers_of_what_only_prepares_are_lost_by_a_switch() {
    let rail = Rail::start(&AT_ONCE);
    let account = recipient(&rail, "EUR").await;
    let quoted = quote(&rail, &account, "EUR").await;
    let body = transfer_body(&account, quoted.at("/id"), "k");
    rail.set_faults(json!({"lose_answer": 1, "strike_preparing": true, "max": 1})).await;
    assert!(rail.wise(Method::POST, "/v1/transfers").json(&body).send().await.is_err());
    let made = rail.wise_get("/v1/transfers?profile=7").await;
    let again = rail.wise_post("/v1/transfers", &body).await;
    assert_eq!((made.body.as_array().unwrap().len(), &made.body[0]["id"]), (1, &again.body["id"]));
}

#[tokio::test]
async fn tokens_that_are_given_out_end_and_personal_ones_do_not() {
    let rail = Rail::start(&AT_ONCE);
    let issue = |grant: &str| {
        let request = rail.request(Method::POST, "/wise/oauth/token").basic_auth("client", Some("secret"));
        request.header("content-type", "application/x-www-form-urlencoded").body(format!("grant_type={grant}"))
    };
    let issued = told(issue("client_credentials")).await;
    assert_eq!((issued.at("/token_type"), &issued.body["expires_in"]), ("bearer", &json!(43_200)));
    assert_eq!(told(issue("password")).await.at("/error"), "unsupported_grant_type");
    let with = |token: &str| rail.request(Method::GET, "/wise/v1/transfers?profile=7").bearer_auth(token.to_owned());
    assert!(told(with(issued.at("/access_token"))).await.is(200));
    ahead(&rail, 12 * HOUR + 1_000).await;
    assert!(told(with(issued.at("/access_token"))).await.is(401) && told(with("personal")).await.is(200));
    let renewed = told(issue("refresh_token")).await;
    assert!(told(with(renewed.at("/access_token"))).await.is(200));
    rail.do_post("/faults/revoke-tokens", json!({})).await;
    assert!(told(with(renewed.at("/access_token"))).await.is(401));
}

#[tokio::test]
async fn recipients_need_not_exist_by_a_switch() {
    let rail = Rail::start(&AT_ONCE);
    let payee = json!(8_692_237);
    assert!(quote(&rail, &payee, "EUR").await.is(422));
    rail.set_faults(json!({"wise": {"any_recipient": true}})).await;
    let quoted = quote(&rail, &payee, "EUR").await;
    let made = rail.wise_post("/v1/transfers", &transfer_body(&payee, quoted.at("/id"), "k")).await;
    fund(&rail, made.body["id"].as_u64().unwrap()).await;
    assert_eq!(rail.journal().await[0]["destination"], "8692237");
    let theirs = recipient(&rail, "GBP").await;
    assert!(quote(&rail, &theirs, "EUR").await.is(422), "one that exists has its currency");
}

#[tokio::test]
async fn states_are_put_as_in_the_vendors_own_sandbox() {
    let rail = Rail::start(&BY_THE_HOUR);
    let id = prepare(&rail, "k").await;
    let put = async |state: &str| rail.wise_get(&format!("/v1/simulation/transfers/{id}/{state}")).await;
    assert!(put("processing").await.is(422), "not funded");
    fund(&rail, id).await;
    for state in ["funds_converted", "outgoing_payment_sent", "bounced_back", "funds_refunded"] {
        assert_eq!(put(state).await.at("/status"), state);
    }
    assert_eq!(column(&rail.journal().await, "event"), ["paid", "returned"]);
    assert!(put("nowhere").await.is(404));
}
