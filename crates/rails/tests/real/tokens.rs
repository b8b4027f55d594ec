//! Access tokens: one for all calls, renewed a minute early; one that is not accepted costs one new one, and never a
//! payout.

use futures_util::future::join_all;
use payfleet_domain::Outcome;
use payfleet_rails::{Adapter, Answer, Credential, Finding};

use crate::paypal_create::{TOKEN, created, order, token};
use crate::paypal_follow::{batch, item};
use crate::server::{Act, Server, reply};
use crate::world::{CREDENTIAL_REFUSED, NOT_EXECUTED, name, registry};

const SEND: &str = "POST /v1/payments/payouts";

#[tokio::test]
async fn one_token_is_fetched_and_shared() {
    let server = Server::start(&[(TOKEN, vec![token("t1", 32_400)]), (SEND, vec![created()])]).await;
    let paypal = registry(&server.url, "").paypal().unwrap();
    let order = order(3);
    let answers = join_all((0..8).map(|_| async { paypal.submit(&order.call()).await })).await;
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Each(_))), "{answers:?}");
    let asked = server.asked(TOKEN);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].body, "grant_type=client_credentials");
    assert_eq!(asked[0].header("authorization"), Some("Basic Y2xpZW50LWlkOnMzY3JldA=="));
    assert!(server.asked(SEND).iter().all(|seen| seen.header("authorization") == Some("Bearer t1")));
    let mut other = order;
    other.account.credential = Some(Credential::new("another:s3cret"));
    paypal.submit(&other.call()).await;
    assert_eq!(server.asked(TOKEN).len(), 2, "another credential has a token of its own");
}

#[tokio::test]
async fn a_token_is_renewed_a_minute_before_its_end() {
    for (lives, fetched) in [(60, 3), (0, 3), (120, 1)] {
        let server = Server::start(&[(TOKEN, vec![token("t", lives)]), (SEND, vec![created()])]).await;
        let paypal = registry(&server.url, "").paypal().unwrap();
        for _ in 0..3 {
            assert!(matches!(paypal.submit(&order(3).call()).await, Answer::Each(_)));
        }
        assert_eq!(server.asked(TOKEN).len(), fetched, "one that lives {lives} s");
    }
}

#[tokio::test]
async fn a_401_costs_one_new_token_and_no_payout() {
    let expired = reply(401, r#"{"error":"invalid_token","error_description":"Token has expired"}"#);
    let server = Server::start(&[
        (TOKEN, vec![token("t1", 32_400), token("t2", 32_400)]),
        (SEND, vec![created(), expired, created()]),
    ])
    .await;
    let paypal = registry(&server.url, "").paypal().unwrap();
    let answers = [
        paypal.submit(&order(3).call()).await,
        paypal.submit(&order(3).call()).await,
        paypal.submit(&order(3).call()).await,
    ];
    let accepted = Answer::Each(vec![Outcome::Accepted(name("PB1")); 3]);
    assert_eq!(answers, [accepted.clone(), NOT_EXECUTED, accepted], "it was documented as not executed");
    assert_eq!(server.asked(SEND).len(), 3, "one request a call");
    let shown: Vec<_> =
        server.asked(SEND).iter().map(|seen| seen.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(shown, ["Bearer t1", "Bearer t1", "Bearer t2"]);
    assert_eq!(server.asked(TOKEN).len(), 2);
}

#[tokio::test]
async fn a_question_is_asked_again_with_a_new_token() {
    let expired = reply(401, r#"{"error":"invalid_token"}"#);
    let order = order(1).accepted("PB1");
    let news = reply(200, batch(&order, "SUCCESS", &[item(&order, 0, Some("SUCCESS"), None)]));
    let get = "GET /v1/payments/payouts/PB1";
    let server = Server::start(&[
        (TOKEN, vec![token("t1", 32_400), token("t2", 32_400)]),
        (get, vec![news.clone(), expired, news]),
    ])
    .await;
    let paypal = registry(&server.url, "").paypal().unwrap();
    for _ in 0..2 {
        assert!(matches!(paypal.follow(&order.call()).await[..], [Finding::Known(Outcome::Paid(_))]));
    }
    assert_eq!((server.asked(get).len(), server.asked(TOKEN).len()), (3, 2));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    for act in [
        reply(500, ""),
        reply(401, "<html>"),
        reply(200, "{"),
        reply(200, r#"{"access_token":"","token_type":"Bearer","expires_in":9}"#),
        reply(200, r#"{"access_token":"a b","token_type":"Bearer","expires_in":9}"#),
        reply(200, r#"{"access_token":"t","token_type":"mac","expires_in":9}"#),
        Act::Lost,
        Act::Hang,
    ] {
        let server = Server::start(&[(TOKEN, vec![act.clone()]), (SEND, vec![created()])]).await;
        let paypal = registry(&server.url, "").paypal().unwrap();
        let order = order(3);
        let answers = join_all((0..3).map(|_| async { paypal.submit(&order.call()).await })).await;
        assert_eq!(answers, vec![NOT_EXECUTED; 3], "{act:?}");
        assert_eq!(server.asked(SEND).len(), 0, "{act:?}");
        assert_eq!(server.asked(TOKEN).len(), 1, "{act:?}: who waited for it is told the same");
    }
    let nobody = reply(401, r#"{"error":"invalid_client"}"#);
    let server = Server::start(&[(TOKEN, vec![nobody]), (SEND, vec![created()])]).await;
    let paypal = registry(&server.url, "").paypal().unwrap();
    assert_eq!(paypal.submit(&order(3).call()).await, CREDENTIAL_REFUSED, "who we are is not known there");
    assert_eq!(server.asked(SEND).len(), 0);
    for credential in [None, Some(Credential::new("no-colon"))] {
        let server = Server::start(&[(TOKEN, vec![token("t", 32_400)]), (SEND, vec![created()])]).await;
        let mut order = order(3);
        order.account.credential = credential;
        assert_eq!(registry(&server.url, "").paypal().unwrap().submit(&order.call()).await, NOT_EXECUTED);
        assert_eq!(server.seen(), []);
    }
}
