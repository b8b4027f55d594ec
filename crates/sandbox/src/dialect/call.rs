//! What every call of a dialect has in common: the limit, the delay and the faults around its execution, and an answer
//! with the headers of its vendor.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::engine::Engine;
use crate::faults::{After, Before, CallFate};
use crate::journal::Lost;
use crate::lies::{LateRequest, Planned};
use crate::wire::{DropConnection, Problem, Shape};
use crate::{paypal, stripe, wise};

/// What a call ends in.
#[derive(Debug)]
pub enum Answer {
    /// An answer.
    Full {
        /// The HTTP status.
        status: StatusCode,
        /// Beside the usual ones.
        headers: Vec<(&'static str, String)>,
        /// The whole body, JSON.
        body: Vec<u8>,
    },
    /// The connection is closed without a byte.
    Drop,
}

impl Answer {
    /// Anything as JSON.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self::Full { status, headers: Vec::new(), body },
            // Cannot happen with the types used; saying nothing is the one answer that asserts nothing.
            Err(_) => Self::Drop,
        }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Full { headers, .. } = &mut self {
            headers.push((name, value.into()));
        }
        self
    }

    /// Its status, if there is one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Full { status, .. } => Some(*status),
            Self::Drop => None,
        }
    }
}

impl From<Lost> for Answer {
    fn from(_: Lost) -> Self {
        // The server stops as well; not a word about whether it was executed.
        Self::Drop
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let body = serde_json::json!({"error": {"code": problem.code, "message": problem.message}});
        Self::json(problem.status, &body)
    }
}

impl From<Result<Answer, Answer>> for Answer {
    fn from(result: Result<Answer, Answer>) -> Self {
        result.unwrap_or_else(|answer| answer)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Full { status, headers, body } => {
                let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
                for (name, value) in headers {
                    // What a caller sent and a header cannot carry is not sent back.
                    if let Ok(value) = HeaderValue::from_str(&value) {
                        response.headers_mut().insert(HeaderName::from_static(name), value);
                    }
                }
                response
            }
            Self::Drop => {
                let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
                response.extensions_mut().insert(DropConnection);
                response
            }
        }
    }
}

/// What a call is for.
#[derive(Clone)]
pub enum Kind {
    /// It moves money, by this request.
    Paying(LateRequest),
    /// It changes something, and moves no money.
    Preparing,
    /// It asks for one thing.
    Asking,
    /// It asks for many.
    Listing,
}

/// Runs a call through limit, delay and faults.
///
/// A delayed call is executed even if the caller has gone by then: that is how an old request arrives late.
pub async fn call(
    engine: &Arc<Engine>,
    shape: Shape,
    account: &str,
    kind: Kind,
    work: impl Future<Output = Answer> + Send + 'static,
) -> Answer {
    let is_paying = matches!(kind, Kind::Paying(_));
    let is_listing = matches!(kind, Kind::Listing);
    let is_post = matches!(kind, Kind::Paying(_) | Kind::Preparing);
    let Ok(mut fate) = engine.admit_dialect(shape, account, is_paying, is_post) else {
        return rate_limited(shape);
    };
    let mut is_cut = false;
    if is_listing {
        let (delay, cut) = engine.list_fate(shape);
        fate.delay += delay;
        is_cut = cut;
    }
    if let (Some(Before::ExecuteLate(after)), Kind::Paying(request)) = (fate.before, kind) {
        let planned = engine.execute(move |core| {
            let due = core.rail_now().after(fate.delay).after(after);
            core.plan_by_rail(None, due, Planned::Late(request));
        });
        // Whether it was planned or the journal is lost: nobody is told.
        let _ = planned.await;
        return Answer::Drop;
    }
    if fate.delay.is_zero() {
        return carry_out(engine, shape, fate, is_cut, work).await;
    }
    let delayed = tokio::spawn({
        let engine = Arc::clone(engine);
        async move {
            tokio::time::sleep(fate.delay).await;
            carry_out(&engine, shape, fate, is_cut, work).await
        }
    });
    // A call that panicked has nothing to say.
    delayed.await.unwrap_or(Answer::Drop)
}

async fn carry_out(
    engine: &Engine,
    shape: Shape,
    fate: CallFate,
    is_cut: bool,
    work: impl Future<Output = Answer>,
) -> Answer {
    match fate.before {
        Some(Before::RateLimit) => return rate_limited(shape),
        // Only what pays is executed late, and that went its way before; the others are not executed.
        Some(Before::LoseRequest | Before::ExecuteLate(_)) => return Answer::Drop,
        Some(Before::Error) => return internal(shape),
        None => {}
    }
    let answer = work.await;
    match fate.after {
        None if is_cut => cut(answer),
        None => answer,
        Some(After::Error) => internal(shape),
        Some(After::LoseAnswer) => Answer::Drop,
        Some(After::Garble) => cut(answer),
        Some(After::Hang) => {
            engine.shutdown().requested().await;
            Answer::Drop
        }
    }
}

/// The first half of a body, and nothing that would say so.
fn cut(answer: Answer) -> Answer {
    match answer {
        Answer::Full { status, headers, mut body } => {
            body.truncate(body.len() / 2);
            Answer::Full { status, headers, body }
        }
        Answer::Drop => Answer::Drop,
    }
}

fn rate_limited(shape: Shape) -> Answer {
    match shape {
        Shape::Paypal => paypal::errors::rate_limited(),
        Shape::Stripe => stripe::errors::rate_limited(),
        Shape::Wise => wise::errors::rate_limited(),
        Shape::Payout | Shape::Batch | Shape::Lookup | Shape::File => Problem::rate_limited().into(),
    }
}

fn internal(shape: Shape) -> Answer {
    match shape {
        Shape::Paypal => paypal::errors::internal(),
        Shape::Stripe => stripe::errors::internal(),
        Shape::Wise => wise::errors::internal(),
        Shape::Payout | Shape::Batch | Shape::Lookup | Shape::File => Problem::invalid("no dialect").into(),
    }
}

/// Executes a request that came long ago; its caller is gone.
pub async fn execute_late(engine: &Arc<Engine>, request: &LateRequest) -> Answer {
    let key = request.idempotency_key.as_deref();
    let path = request.path.as_deref().unwrap_or_default();
    match request.shape {
        Shape::Paypal => paypal::create::execute(engine, &request.account, &request.body).await,
        Shape::Stripe => stripe::create::execute_late(engine, &request.account, path, key, &request.body).await,
        Shape::Wise => wise::fund::execute(engine, &request.account, path, &request.body).await,
        Shape::Payout | Shape::Batch | Shape::Lookup | Shape::File => Answer::Drop,
    }
}

/// How long a list takes, and whether it is cut off.
impl Engine {
    fn list_fate(&self, shape: Shape) -> (Duration, bool) {
        self.with_core(|core| {
            let delay = Duration::from_millis(core.faults.config().list_latency_ms);
            (delay, core.faults.draw_garbled_list(shape))
        })
    }

    fn admit_dialect(&self, shape: Shape, account: &str, paying: bool, post: bool) -> Result<CallFate, ()> {
        self.with_core(|core| {
            core.ledger.tallies[shape as usize].requests += 1;
            let most = core.faults.config().limit.get(&shape).copied();
            let now = core.rail_now();
            if most.is_some_and(|most| !core.dialects.limits.admits(shape, account, post, most, now)) {
                core.limited += 1;
                return Err(());
            }
            let is_struck = paying || (post && core.faults.config().strike_preparing);
            Ok(core.faults.draw_call(shape, is_struck))
        })
    }
}
