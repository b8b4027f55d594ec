//! Strong customer authentication [W4]: a call is refused with a token that is used once; the same call is repeated
//! with the token and its signature by a registered key, or after a person has approved it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::errors;
use super::state::WiseRecord;
use crate::core::Core;
use crate::dialect::{Answer, Record, sign, text};
use crate::engine::Engine;
use crate::shapes::Payload;
use crate::wire::{Problem, Reply, Shape, parse};

/// What a call bears to be let through.
#[derive(Clone, Default)]
pub struct Approval {
    token: Option<String>,
    signature: Option<String>,
}

impl Approval {
    /// Reads it from the headers.
    pub fn read(headers: &HeaderMap) -> Self {
        Self {
            token: text(headers, "x-2fa-approval").map(str::to_owned),
            signature: text(headers, "x-signature").map(str::to_owned),
        }
    }

    /// Lets a call through, or asks for more; with this probability where nothing was asked for before.
    pub fn check(&self, core: &mut Core, profile: &str, name: &'static str, p: f64) -> Result<(), Answer> {
        if let Some(token) = &self.token {
            let wise = &mut core.dialects.wise;
            let by_person = wise.challenges.get(token).copied();
            let key = wise.keys.get(profile);
            let is_signed = || {
                let signature = self.signature.as_deref().unwrap_or_default();
                key.is_some_and(|key| sign::is_signed_by(key, token.as_bytes(), signature))
            };
            if by_person == Some(true) || (by_person == Some(false) && is_signed()) {
                wise.challenges.remove(token);
                return Ok(());
            }
        } else if !core.faults.strikes_dialect(Shape::Wise, name, p) {
            return Ok(());
        }
        let token = uuid::Uuid::new_v4().to_string();
        core.dialects.wise.challenges.insert(token.clone(), false);
        Err(errors::challenge(&token))
    }
}

#[derive(Deserialize)]
struct Approve {
    approval: String,
}

/// `POST /faults/approve`: a person says yes to what a challenge asked for.
pub async fn approve(State(engine): State<Arc<Engine>>, Payload(body): Payload) -> Result<Reply, Problem> {
    let Approve { approval } = parse(&body)?;
    let known = engine.with_core(|core| match core.dialects.wise.challenges.get_mut(&approval) {
        Some(approved) => {
            *approved = true;
            true
        }
        None => false,
    });
    match known {
        true => Ok(Reply::json(StatusCode::OK, &json!({"approved": true}))),
        false => Err(Problem::not_found("nobody is asked for this approval")),
    }
}

#[derive(Deserialize)]
struct Key {
    profile: String,
    public_key: String,
}

/// `PUT /faults/sca-key`: whose signature lets calls of a profile through, as a PEM.
pub async fn put_key(State(engine): State<Arc<Engine>>, Payload(body): Payload) -> Result<Reply, Problem> {
    let Key { profile, public_key } = parse(&body)?;
    if sign::pkcs1_of(&public_key).is_none() {
        return Err(Problem::invalid("public_key must be the PEM of an RSA key"));
    }
    let record = Record::Wise(WiseRecord::Key { profile, public_key });
    engine.execute(|core| core.keep(0, record)).await?;
    Ok(Reply::json(StatusCode::OK, &json!({"registered": true})))
}
