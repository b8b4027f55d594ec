//! `POST /oauth/token`: client credentials, or a refresh token, against a token that lives for 12 hours [W1].

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::errors;
use crate::dialect::{Answer, Kind, call, form, part, text};
use crate::engine::Engine;
use crate::shapes::Payload;
use crate::wire::{At, Problem, Shape};

/// What the tokens begin with that are given out here, and so must be known.
pub const PREFIX: &str = "sandbox-";

const LIFE_MS: i64 = 12 * 3_600_000;

/// `POST /oauth/token`
pub async fn token(State(engine): State<Arc<Engine>>, headers: HeaderMap, payload: Result<Payload, Problem>) -> Answer {
    let basic = text(&headers, "authorization").and_then(|value| value.strip_prefix("Basic "));
    let client = basic.and_then(|basic| String::from_utf8(STANDARD.decode(basic.trim()).ok()?).ok());
    let client = client.and_then(|client| Some(client.split_once(':')?.0.to_owned())).filter(|name| !name.is_empty());
    let Some(client) = client else { return errors::invalid_token() };
    let body = payload.map(|Payload(body)| String::from_utf8_lossy(&body).into_owned()).unwrap_or_default();
    let work = {
        let (engine, client) = (Arc::clone(&engine), client.clone());
        async move { issue(&engine, &client, &body).await }
    };
    call(&engine, Shape::Wise, &client, Kind::Asking, work).await
}

async fn issue(engine: &Engine, client: &str, body: &str) -> Answer {
    let known = ["client_credentials", "refresh_token", "authorization_code", "registration_code"];
    if !part(&form(body), "grant_type").is_some_and(|grant| known.contains(&grant)) {
        let body = json!({"error": "unsupported_grant_type", "error_description": "Unsupported grant type"});
        return Answer::json(StatusCode::BAD_REQUEST, &body);
    }
    let issued = engine.execute(|core| {
        if core.dialects.revoked.contains(client) {
            return errors::invalid_token();
        }
        let life = match i64::try_from(core.faults.config().wise.token_life_ms) {
            Ok(0) | Err(_) => LIFE_MS,
            Ok(life) => life,
        };
        let now = core.rail_now();
        let token = format!("{PREFIX}{}", uuid::Uuid::new_v4());
        core.dialects.wise.tokens.retain(|_, until| *until > now);
        core.dialects.wise.tokens.insert(token.clone(), At(now.0.saturating_add(life)));
        let body = json!({
            "access_token": token,
            "token_type": "bearer",
            "refresh_token": uuid::Uuid::new_v4().to_string(),
            "expires_in": life.div_euclid(1000),
            "scope": "transfers",
        });
        Answer::json(StatusCode::OK, &body)
    });
    issued.await.unwrap_or_else(Answer::from)
}
