//! Batch groups: transfers that are closed and funded together. Making one has no key; an empty one is harmless.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::prepare::{body, bytes};
use super::state::{Group, WiseRecord};
use super::{ask, errors, render, transfers};
use crate::core::Core;
use crate::dialect::money::is_currency;
use crate::dialect::{Answer, Kind, Record};
use crate::engine::Engine;
use crate::shapes::Payload;
use crate::wire::Problem;

/// Transfers in a group [W1].
const MOST: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewGroup {
    source_currency: Option<String>,
    name: Option<String>,
}

/// `POST /v3/profiles/{profile}/batch-groups`
pub async fn create(
    State(engine): State<Arc<Engine>>,
    Path(profile): Path<String>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    ask(engine, headers, profile.clone(), Kind::Preparing, move |core| {
        let bytes = bytes(payload)?;
        let new: NewGroup = body(&bytes)?;
        let source = new.source_currency.filter(|code| is_currency(code));
        let source = source.ok_or_else(|| errors::invalid("Currency is not valid", "sourceCurrency"))?;
        let name = new.name.filter(|name| (1..=100).contains(&name.chars().count()));
        let name = name.ok_or_else(|| errors::invalid("Must have 1 to 100 characters", "name"))?;
        let group = Group {
            id: uuid::Uuid::new_v4().to_string(),
            profile,
            name,
            source,
            status: "NEW".to_owned(),
            version: 1,
            is_paid: false,
            transfers: Vec::new(),
        };
        let answer = Answer::json(StatusCode::CREATED, &render::group(&group));
        core.keep(0, Record::Wise(WiseRecord::Group(group)));
        Ok(answer)
    })
    .await
}

fn known<'c>(core: &'c Core, profile: &str, id: &str) -> Result<&'c Group, Answer> {
    let known = core.dialects.wise.group(id).filter(|group| group.profile == profile);
    known.ok_or_else(|| errors::not_found("Batch group"))
}

/// `GET /v3/profiles/{profile}/batch-groups/{id}`
pub async fn find(
    State(engine): State<Arc<Engine>>,
    Path((profile, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    ask(engine, headers, profile.clone(), Kind::Asking, move |core| {
        Ok(Answer::json(StatusCode::OK, &render::group(known(core, &profile, &id)?)))
    })
    .await
}

#[derive(Deserialize)]
struct Change {
    status: Option<String>,
    version: Option<u64>,
}

/// `PATCH /v3/profiles/{profile}/batch-groups/{id}`: closes it, or gives it up. COMPLETED is not paid.
pub async fn change(
    State(engine): State<Arc<Engine>>,
    Path((profile, id)): Path<(String, String)>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    ask(engine, headers, profile.clone(), Kind::Preparing, move |core| {
        let bytes = bytes(payload)?;
        let change: Change = body(&bytes)?;
        let mut group = known(core, &profile, &id)?.clone();
        // The version is not ordered, only compared; in which words is unverified.
        if change.version != Some(group.version) {
            let message = "Version is not the current one";
            return Err(errors::listed(StatusCode::CONFLICT, "batch.group.version.mismatch", message, "version"));
        }
        group.status = match (group.status.as_str(), change.status.as_deref()) {
            ("NEW", Some("COMPLETED")) if group.transfers.is_empty() => {
                return Err(errors::invalid("Batch group is empty", "status"));
            }
            ("NEW", Some("COMPLETED")) => "COMPLETED".to_owned(),
            ("NEW" | "COMPLETED", Some("CANCELLED")) if !group.is_paid => "CANCELLED".to_owned(),
            _ => return Err(errors::invalid("Status cannot be changed so", "status")),
        };
        group.version += 1;
        let is_cancelled = group.status == "CANCELLED";
        let ids = group.transfers.clone();
        core.keep(0, Record::Wise(WiseRecord::Group(group)));
        if is_cancelled {
            let now = core.rail_now();
            for id in ids {
                let steps = vec![(now, super::timeline::State::Cancelled)];
                core.keep(0, Record::Wise(WiseRecord::Steps { id, steps }));
            }
        }
        Ok(Answer::json(StatusCode::OK, &render::group(known(core, &profile, &id)?)))
    })
    .await
}

/// `POST /v3/profiles/{profile}/batch-groups/{id}/transfers`
pub async fn add(
    State(engine): State<Arc<Engine>>,
    Path((profile, id)): Path<(String, String)>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    ask(engine, headers, profile.clone(), Kind::Preparing, move |core| {
        let bytes = bytes(payload)?;
        let group = known(core, &profile, &id)?;
        let (source, is_new, count) = (group.source.clone(), group.status == "NEW", group.transfers.len());
        let quote = transfers::quote_of(core, &bytes);
        if let Some(quote) = &quote {
            if quote.profile != profile {
                return Err(errors::invalid("Quote does not exist", "quoteUuid"));
            }
            if quote.source != source {
                return Err(errors::invalid("Quote is of another currency than the group", "quoteUuid"));
            }
        }
        // What its key has made is found whatever became of the group.
        if let Some(known) = transfers::made_before(core, &bytes) {
            return transfers::told(core, known);
        }
        if !is_new {
            return Err(errors::invalid("Batch group is closed", "status"));
        }
        if count >= MOST {
            return Err(errors::invalid("Batch group is full", "transferIds"));
        }
        let made = transfers::make(core, &bytes, Some(&id))?;
        transfers::told(core, made)
    })
    .await
}
