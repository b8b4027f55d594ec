//! The four ways to be paid through, and what every call has in common: limits, delays and faults around its execution.

pub mod batch;
pub mod file;
pub mod lookup;
pub mod payout;

use std::future::Future;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::Serialize;

use crate::core::Late;
use crate::engine::Engine;
use crate::faults::{After, Before, CallFate};
use crate::lies::{LateRequest, Planned};
use crate::movement::Movement;
use crate::wire::{At, Group, Instruction, Problem, Reply, Shape, is_name};

/// Who calls, by the header `X-Account`.
pub struct Account(pub Arc<str>);

impl<S: Sync> FromRequestParts<S> for Account {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let name = match parts.headers.get("x-account") {
            None => Some("default"),
            Some(value) => value.to_str().ok().filter(|name| is_name(name)),
        };
        name.map(|name| Self(name.into()))
            .ok_or_else(|| Problem::invalid("X-Account must have 1 to 64 visible characters"))
    }
}

/// A whole body; what is wrong with it is said like any other problem.
pub struct Payload(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Payload {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        body.map(Self)
            .map_err(|rejection| Problem { status: rejection.status(), ..Problem::invalid(rejection.body_text()) })
    }
}

/// Whether a call moves money: what strikes after paying strikes only those.
#[derive(Clone, Copy)]
enum Kind<'a> {
    /// It does, by this request.
    Paying(&'a LateRequest),
    /// It asks.
    Asking,
}

/// Takes a request that pays.
async fn pay(engine: Arc<Engine>, shape: Shape, account: Arc<str>, key: Option<Arc<str>>, body: Bytes) -> Reply {
    // What is not text is no JSON either, and is told so when it is executed.
    let body = String::from_utf8_lossy(&body).into();
    let request = Arc::new(LateRequest { shape, account, idempotency_key: key, body, receipt: None, path: None });
    let work = {
        let (engine, request) = (Arc::clone(&engine), Arc::clone(&request));
        async move { execute(&engine, &request, None).await }
    };
    call(&engine, shape, &request.account, Kind::Paying(&request), work).await
}

/// Executes a request that pays, now; also if it came long ago.
pub async fn execute(engine: &Arc<Engine>, request: &LateRequest, plan: Option<u64>) -> Result<Reply, Problem> {
    let LateRequest { shape, account, idempotency_key, body, receipt, .. } = request;
    let late = Late { plan, receipt: receipt.as_deref() };
    match shape {
        Shape::Payout => payout::execute(engine, account, idempotency_key.as_deref(), body, late).await,
        Shape::Batch => batch::execute(engine, account, body, late).await,
        Shape::Lookup => lookup::execute(engine, account, body, late).await,
        Shape::File => file::execute(engine, account, body, late).await,
        Shape::Paypal | Shape::Stripe | Shape::Wise => {
            Err(Problem::not_found("a dialect executes its requests itself"))
        }
    }
}

/// Plans to execute a request; once that is written it will happen. Nobody is told, or only that the file was taken.
async fn execute_later(engine: &Engine, mut request: LateRequest, due: At) -> Result<Reply, Problem> {
    if request.shape == Shape::File {
        file::check(&request.body)?;
    }
    let receipt = engine
        .execute(|core| {
            let is_told = request.shape == Shape::File && core.faults.config().execute_late_answered;
            request.receipt = is_told.then(|| core.group_reference(Shape::File).into());
            let receipt = request.receipt.clone();
            core.plan(None, due, Planned::Late(request));
            receipt
        })
        .await?;
    Ok(receipt.map_or(Reply::Drop, |receipt| file::accepted(&receipt)))
}

/// Runs a call through limit, delay and faults.
///
/// A delayed call is executed even if the caller has gone by then: that is how an old request arrives late.
async fn call(
    engine: &Arc<Engine>,
    shape: Shape,
    account: &str,
    kind: Kind<'_>,
    work: impl Future<Output = Result<Reply, Problem>> + Send + 'static,
) -> Reply {
    let fate = match engine.admit(shape, account, matches!(kind, Kind::Paying(_))) {
        Ok(fate) => fate,
        Err(problem) => return problem.into(),
    };
    if let (Some(Before::ExecuteLate(after)), Kind::Paying(request)) = (fate.before, kind) {
        let due = At::now().after(fate.delay).after(after);
        return execute_later(engine, request.clone(), due).await.into();
    }
    if fate.delay.is_zero() {
        return carry_out(engine, fate, work).await;
    }
    let delayed = tokio::spawn({
        let engine = Arc::clone(engine);
        async move {
            tokio::time::sleep(fate.delay).await;
            carry_out(&engine, fate, work).await
        }
    });
    // A call that panicked has nothing to say.
    delayed.await.unwrap_or(Reply::Drop)
}

async fn carry_out(engine: &Engine, fate: CallFate, work: impl Future<Output = Result<Reply, Problem>>) -> Reply {
    let internal = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "try again");
    match fate.before {
        Some(Before::RateLimit) => return Problem::rate_limited().into(),
        // Only what pays is executed late, and that went its way before.
        Some(Before::LoseRequest | Before::ExecuteLate(_)) => return Reply::Drop,
        Some(Before::Error) => return internal().into(),
        None => {}
    }
    let reply = work.await.into();
    match fate.after {
        None => reply,
        Some(After::Error) => internal().into(),
        Some(After::LoseAnswer) => Reply::Drop,
        Some(After::Garble) => Reply::Json { status: StatusCode::OK, body: b"{\"id\":\"".to_vec(), replay: false },
        Some(After::Hang) => {
            engine.shutdown().requested().await;
            Reply::Drop
        }
    }
}

/// The answer about one payment.
#[derive(Serialize)]
pub struct PaymentBody<'a> {
    /// The reference.
    pub id: &'a str,
    /// As it was asked for.
    pub key: &'a str,
    /// `paid`, `refused`, or `returned`.
    pub status: &'a str,
    /// As it was asked for.
    pub amount_minor: i64,
    /// As it was asked for.
    pub currency: &'a str,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// The reference of the return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_id: Option<&'a str>,
    /// Payments made for this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// The answer to a payment that was made.
pub fn paid(id: &str, instruction: &Instruction<'_>) -> Reply {
    let body = PaymentBody {
        id,
        key: &instruction.key,
        status: "paid",
        amount_minor: instruction.amount_minor,
        currency: &instruction.currency,
        code: None,
        return_id: None,
        count: None,
    };
    Reply::json(StatusCode::OK, &body)
}

/// The answer to a payment that was refused.
pub fn refused(code: &str) -> Reply {
    Problem::new(StatusCode::PAYMENT_REQUIRED, code.to_owned(), "refused; no money was moved").into()
}

/// Names the field in which an instruction differs from what was executed.
pub fn difference(instruction: &Instruction<'_>, known: &Movement<'_>) -> Option<&'static str> {
    if instruction.key != known.key {
        Some("key")
    } else if instruction.amount_minor != known.amount_minor {
        Some("amount_minor")
    } else if instruction.currency != known.currency {
        Some("currency")
    } else if instruction.destination != known.destination {
        Some("destination")
    } else {
        None
    }
}

/// Reads and checks a batch or a file.
pub fn parse_group(body: &str, most: usize) -> Result<Group<'_>, Problem> {
    let group: Group<'_> = crate::wire::parse(body.as_bytes())?;
    group.check(most)?;
    Ok(group)
}
