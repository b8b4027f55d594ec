//! Short ways to talk to the dialects as their vendors' callers do.

use std::time::Instant;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::rail::{DEADLINE, Rail};

/// What a vendor answered.
pub struct Told {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Told {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn is(&self, status: u16) -> bool {
        self.status.as_u16() == status
    }

    /// The value there as text.
    pub fn at(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or("")
    }
}

pub async fn told(request: RequestBuilder) -> Told {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Told { status, headers, text, body }
}

/// Asks until it is so.
pub async fn until(mut asked: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !asked().await {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A form, encoded: only what is not plain.
pub fn form(parts: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    parts.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&")
}

impl Rail {
    pub fn stripe(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, &format!("/stripe{path}")).bearer_auth("sk_test_acme")
    }

    pub async fn stripe_get(&self, path: &str) -> Told {
        told(self.stripe(Method::GET, path)).await
    }

    pub fn stripe_post(&self, path: &str, key: &str, parts: &[(&str, &str)]) -> RequestBuilder {
        self.stripe(Method::POST, path)
            .header("idempotency-key", key)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form(parts))
    }

    pub fn transfer_request(&self, key: &str, amount: &str) -> RequestBuilder {
        let parts = [
            ("amount", amount),
            ("currency", "usd"),
            ("destination", "acct_1PgafTB7WZ01zgkW"),
            ("transfer_group", key),
            ("metadata[payout]", key),
        ];
        self.stripe_post("/v1/transfers", key, &parts)
    }

    pub async fn transfer(&self, key: &str) -> Told {
        told(self.transfer_request(key, "1000")).await
    }

    pub async fn paypal_token(&self) -> String {
        let request = self
            .request(Method::POST, "/paypal/v1/oauth2/token")
            .basic_auth("acme", Some("secret"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials");
        let answer = told(request).await;
        assert!(answer.is(200), "{}", answer.text);
        answer.at("/access_token").to_owned()
    }

    pub async fn paypal(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, &format!("/paypal{path}")).bearer_auth(self.paypal_token().await)
    }

    pub async fn paypal_get(&self, path: &str) -> Told {
        told(self.paypal(Method::GET, path).await).await
    }

    pub async fn payouts(&self, body: &Value) -> Told {
        told(self.paypal(Method::POST, "/v1/payments/payouts").await.json(body)).await
    }

    pub fn wise(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, &format!("/wise{path}")).bearer_auth("token")
    }

    pub async fn wise_get(&self, path: &str) -> Told {
        told(self.wise(Method::GET, path)).await
    }

    pub async fn wise_post(&self, path: &str, body: &Value) -> Told {
        told(self.wise(Method::POST, path).json(body)).await
    }

    /// How much was paid for how many keys, and how many of them twice, by one dialect.
    pub async fn counts(&self, shape: &str) -> [u64; 3] {
        let stats = self.stats().await;
        ["paid", "distinct", "paid_twice"].map(|name| stats["by_shape"][shape][name].as_u64().unwrap())
    }

    pub async fn do_post(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// The rail's clock goes so many days ahead.
    pub async fn days_ahead(&self, days: i64) {
        self.set_faults(json!({"clock_ahead_ms": days * 24 * 3_600_000})).await;
    }
}

/// A batch of items of 10.00 each, one for each key.
pub fn batch(id: &str, keys: &[&str]) -> Value {
    let items: Vec<_> = keys
        .iter()
        .map(|key| {
            json!({
                "recipient_type": "EMAIL",
                "amount": {"value": "10.00", "currency": "USD"},
                "receiver": format!("{key}@example.com"),
                "sender_item_id": key,
            })
        })
        .collect();
    json!({"sender_batch_header": {"sender_batch_id": id, "email_subject": "Commission"}, "items": items})
}
