//! What one may ask about transfers: one, a list in pages, and what came back of one.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{account, errors, finished, render};
use crate::core::Core;
use crate::dialect::{Answer, Kind, call, form, part};
use crate::engine::Engine;
use crate::wire::{At, Shape};

/// Entries a page can have; 10 where nobody says.
const MOST: usize = 100;

/// What is asked for, of anything that comes in pages.
pub struct Page {
    limit: usize,
    after: Option<String>,
    before: Option<String>,
    created: [Option<i64>; 2],
}

impl Page {
    /// Reads it from a query.
    pub fn read(query: &[(String, String)]) -> Result<Self, Answer> {
        let number = |name: &str| match part(query, name) {
            None => Ok(None),
            Some(text) => text.parse::<i64>().map(Some).map_err(|_| errors::integer(text, name)),
        };
        let limit = match number("limit")? {
            None => 10,
            Some(limit) => usize::try_from(limit)
                .ok()
                .filter(|limit| (1..=MOST).contains(limit))
                .ok_or_else(|| errors::integer(&limit.to_string(), "limit"))?,
        };
        let exact = number("created")?;
        let at_least = number("created[gte]")?.or(number("created[gt]")?.map(|at| at.saturating_add(1))).or(exact);
        let below = number("created[lt]")?
            .or(number("created[lte]")?.map(|at| at.saturating_add(1)))
            .or(exact.map(|at| at.saturating_add(1)));
        let text = |name: &str| part(query, name).map(str::to_owned);
        let created = [at_least, below];
        Ok(Self { limit, after: text("starting_after"), before: text("ending_before"), created })
    }

    /// Whether something of this instant may be on it.
    pub fn has(&self, at: At) -> bool {
        let at = render::unix(at);
        self.created[0].is_none_or(|least| at >= least) && self.created[1].is_none_or(|below| at < below)
    }

    /// Picks the page from entries in their order, oldest first; newest comes first. `place` finds a cursor.
    pub fn pick(
        &self,
        count: usize,
        kind: &str,
        place: impl Fn(&str) -> Option<usize>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<(Vec<usize>, bool), Answer> {
        let cursor = |name: &str, id: &Option<String>| match id {
            None => Ok(None),
            Some(id) => place(id).map(Some).ok_or_else(|| errors::no_such(StatusCode::BAD_REQUEST, kind, id, name)),
        };
        let after = cursor("starting_after", &self.after)?;
        let before = cursor("ending_before", &self.before)?;
        let mut picked: Vec<usize> = match before {
            Some(before) => (before + 1..count).filter(|at| wanted(*at)).take(self.limit + 1).collect(),
            None => (0..after.unwrap_or(count)).rev().filter(|at| wanted(*at)).take(self.limit + 1).collect(),
        };
        let has_more = picked.len() > self.limit;
        picked.truncate(self.limit);
        if before.is_some() {
            picked.reverse();
        }
        Ok((picked, has_more))
    }
}

/// A page as Stripe writes it.
pub fn list(data: Vec<Value>, has_more: bool, url: &str) -> Answer {
    Answer::json(StatusCode::OK, &json!({"object": "list", "data": data, "has_more": has_more, "url": url}))
}

/// Asks under the lock, as this account.
pub async fn ask(
    engine: Arc<Engine>,
    headers: HeaderMap,
    kind: Kind,
    work: impl FnOnce(&mut Core, &str) -> Result<Answer, Answer> + Send + 'static,
) -> Answer {
    let account = match account(&engine, &headers) {
        Ok(account) => account,
        Err(answer) => return finished(&engine, &headers, answer),
    };
    let asked = {
        let (engine, account) = (Arc::clone(&engine), account.clone());
        async move {
            let done = engine.execute(|core| Answer::from(work(core, &account))).await;
            done.unwrap_or_else(Answer::from)
        }
    };
    let answer = call(&engine, Shape::Stripe, &account, kind, asked).await;
    finished(&engine, &headers, answer)
}

/// `GET /v1/transfers`
pub async fn transfers(State(engine): State<Arc<Engine>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    let query = form(&query.unwrap_or_default());
    ask(engine, headers, Kind::Listing, move |core, account| {
        let page = Page::read(&query)?;
        let lag = std::time::Duration::from_millis(core.faults.config().stripe.list_lag_ms);
        let seen = core.rail_now().before(lag);
        let stripe = &core.dialects.stripe;
        let all = stripe.list(account, part(&query, "transfer_group"));
        let destination = part(&query, "destination");
        let place = |id: &str| {
            let (index, _) = stripe.find(account, id)?;
            all.binary_search(&index).ok()
        };
        let (picked, has_more) = page.pick(all.len(), "transfer", place, |at| {
            let transfer = stripe.transfer(all[at]);
            let is_there = destination.is_none_or(|wanted| wanted == transfer.destination);
            is_there && transfer.created <= seen && page.has(transfer.created)
        })?;
        let data = picked.into_iter().map(|at| render::transfer(stripe.transfer(all[at]))).collect();
        Ok(list(data, has_more, "/v1/transfers"))
    })
    .await
}

/// `GET /v1/transfers/{id}`
pub async fn transfer(State(engine): State<Arc<Engine>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    ask(engine, headers, Kind::Asking, move |core, account| match core.dialects.stripe.find(account, &id) {
        Some((_, transfer)) => Ok(Answer::json(StatusCode::OK, &render::transfer(transfer))),
        None => Err(errors::no_such(StatusCode::NOT_FOUND, "transfer", &id, "id")),
    })
    .await
}

/// `GET /v1/transfers/{id}/reversals`
pub async fn reversals(
    State(engine): State<Arc<Engine>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let query = form(&query.unwrap_or_default());
    ask(engine, headers, Kind::Listing, move |core, account| {
        let page = Page::read(&query)?;
        let Some((_, transfer)) = core.dialects.stripe.find(account, &id) else {
            return Err(errors::no_such(StatusCode::NOT_FOUND, "transfer", &id, "id"));
        };
        let back = &transfer.reversals;
        let place = |id: &str| back.iter().position(|back| back.id == id);
        let (picked, has_more) = page.pick(back.len(), "transfer reversal", place, |_| true)?;
        let data = picked.into_iter().map(|at| render::reversal(transfer, &back[at])).collect();
        Ok(list(data, has_more, &format!("/v1/transfers/{id}/reversals")))
    })
    .await
}

/// `GET /v1/transfers/{id}/reversals/{reversal}`
pub async fn reversal(
    State(engine): State<Arc<Engine>>,
    Path((id, wanted)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    ask(engine, headers, Kind::Asking, move |core, account| {
        let found = core.dialects.stripe.find(account, &id).and_then(|(_, transfer)| {
            let back = transfer.reversals.iter().find(|back| back.id == wanted)?;
            Some(render::reversal(transfer, back))
        });
        match found {
            Some(body) => Ok(Answer::json(StatusCode::OK, &body)),
            None => Err(errors::no_such(StatusCode::NOT_FOUND, "transfer reversal", &wanted, "id")),
        }
    })
    .await
}
