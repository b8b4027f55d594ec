//! `POST /v1/oauth2/token`: client credentials against a token that lives for a while [P2, P6].

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::state::Token;
use crate::dialect::{Answer, Kind, call, form, part, text};
use crate::engine::Engine;
use crate::shapes::Payload;
use crate::wire::{Problem, Shape, is_name};

/// What the vendor's sandbox says [P6].
const LIFE_MS: i64 = 32_400_000;

/// `POST /v1/oauth2/token`
pub async fn token(State(engine): State<Arc<Engine>>, headers: HeaderMap, payload: Result<Payload, Problem>) -> Answer {
    let Some(client) = client(&headers) else { return refused() };
    let body = payload.map(|Payload(body)| String::from_utf8_lossy(&body).into_owned()).unwrap_or_default();
    let work = {
        let (engine, client) = (Arc::clone(&engine), client.clone());
        async move { issue(&engine, client, &body).await }
    };
    call(&engine, Shape::Paypal, &client, Kind::Asking, work).await
}

fn client(headers: &HeaderMap) -> Option<String> {
    let basic = text(headers, "authorization")?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(basic.trim()).ok()?).ok()?;
    let (client, secret) = decoded.split_once(':')?;
    (is_name(client) && !secret.is_empty()).then(|| client.to_owned())
}

fn refused() -> Answer {
    let body = json!({"error": "invalid_client", "error_description": "Client Authentication failed"});
    Answer::json(StatusCode::UNAUTHORIZED, &body)
}

async fn issue(engine: &Engine, client: String, body: &str) -> Answer {
    if part(&form(body), "grant_type") != Some("client_credentials") {
        let body = json!({"error": "unsupported_grant_type", "error_description": "unsupported grant_type"});
        return Answer::json(StatusCode::BAD_REQUEST, &body);
    }
    let issued = engine.execute(|core| {
        if core.dialects.revoked.contains(&client) {
            return refused();
        }
        let life = match i64::try_from(core.faults.config().paypal.token_life_ms) {
            Ok(0) | Err(_) => LIFE_MS,
            Ok(life) => life,
        };
        let now = core.rail_now();
        let number = core.dialects.next_request();
        // Names nothing that could be guessed.
        let token = format!("A21AA{:016x}{:016x}{number}", rand::random::<u64>(), rand::random::<u64>());
        let tokens = &mut core.dialects.paypal.tokens;
        tokens.retain(|_, token| token.until > now);
        let until = crate::wire::At(now.0.saturating_add(life));
        tokens.insert(token.clone(), Token { account: client.clone(), until });
        let body = json!({
            "scope": "https://uri.paypal.com/payments/payouts https://uri.paypal.com/services/reporting/search/read",
            "access_token": token,
            "token_type": "Bearer",
            "app_id": "APP-80W284485P519543T",
            "expires_in": life.div_euclid(1000) + i64::from(life % 1000 != 0),
            "nonce": format!("{}-{number}", now.seconds()),
        });
        Answer::json(StatusCode::OK, &body)
    });
    issued.await.unwrap_or_else(Answer::from)
}
