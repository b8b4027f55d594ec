//! HTTP: who may call, which path leads where, and connections that can be closed without a byte.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use payfleet_runtime::secret::Secret;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::engine::Engine;
use crate::journal::Lost;
use crate::shapes::{batch, file, lookup, payout};
use crate::wire::{DropConnection, Problem, Shape};
use crate::{admin, dialect, paypal, statement, stripe, wise};

/// The largest request: some hundred thousand items of a file.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// How long calls may take to finish once the process is to end.
const GRACE: Duration = Duration::from_secs(10);

/// The rail, with its address taken.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    engine: Arc<Engine>,
    router: Router,
}

impl Server {
    /// Takes the address; port 0 takes any free one.
    pub async fn bind(address: SocketAddr, engine: Arc<Engine>, token: Option<Secret>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { address: listener.local_addr()?, listener, router: router(Arc::clone(&engine), token), engine })
    }

    /// The address taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until asked to end, then lets calls finish. An error if the journal is lost: nobody is answered then.
    pub async fn serve(self) -> Result<(), Lost> {
        let engine = Arc::clone(&self.engine);
        tokio::select! {
            () = self.serve_connections() => Ok(()),
            () = engine.run_planned() => Ok(()),
            () = dialect::hooks::send_all(&engine) => Ok(()),
            lost = engine.lost() => Err(lost),
        }
    }

    async fn serve_connections(self) {
        let shutdown = self.engine.shutdown().clone();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let served = serve_connection(
                            stream,
                            self.router.clone(),
                            Arc::clone(&self.engine),
                        );
                        connections.spawn(served);
                    }
                    Err(error) => {
                        // Out of file descriptors, most likely: some will be free again.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                // So that connections that have ended do not pile up.
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        let finished = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, finished).await.is_err() {
            tracing::warn!("some calls did not finish in time");
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, engine: Arc<Engine>) {
    // Without it answers wait for the client's acknowledgement; if it cannot be had they just do.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let Ok(response) = router.oneshot(request).await;
            match response.extensions().get::<DropConnection>() {
                // An error makes hyper close the connection without writing anything.
                Some(_) => Err("connection dropped on purpose"),
                None => Ok(response),
            }
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new());
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = engine.shutdown().requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

fn router(engine: Arc<Engine>, token: Option<Secret>) -> Router {
    let faults = get(admin::faults).put(admin::put_faults).delete(admin::clear_faults);
    let router = Router::new()
        .route("/payout/payouts", post(payout::create))
        .route("/batch/batches", post(batch::create))
        .route("/batch/batches/{sender_batch_id}", get(batch::find))
        .route("/lookup/transfers", post(lookup::create))
        .route("/lookup/transfers/{key}", get(lookup::find))
        .route("/file/files", post(file::create))
        .route("/statement", get(statement::json))
        .route("/statement.csv", get(statement::csv))
        .route("/faults", faults)
        .route("/faults/prune-keys", post(admin::prune_keys))
        .route("/faults/return", post(admin::give_back))
        .route("/faults/plant", post(admin::plant))
        .route("/faults/hurry", post(admin::hurry))
        .route("/faults/balance", post(dialect::admin::balance))
        .route("/faults/deposit", post(wise::put_deposit))
        .route("/faults/revoke", post(dialect::admin::revoke))
        .route("/faults/revoke-tokens", post(dialect::admin::revoke_tokens))
        .route("/faults/approve", post(wise::approve))
        .route("/faults/sca-key", put(wise::put_key))
        .route("/webhooks", get(dialect::hooks::show))
        .route("/webhooks/keys", get(dialect::admin::keys))
        .route("/webhooks/{shape}", put(dialect::admin::put_hook).delete(dialect::admin::delete_hook))
        .route("/journal", get(admin::journal))
        .route("/stats", get(admin::stats))
        // Not `not_found`, which a lookup takes as proof that nothing was paid.
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "no_such_path", "no such path"))
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "the path exists, but not with this method",
            )
        })
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(Arc::clone(&engine));
    let router = match token {
        None => router,
        Some(token) => {
            let bearer: Arc<str> = format!("Bearer {}", token.expose()).into();
            router.layer(middleware::from_fn_with_state(bearer, authorize))
        }
    };
    // Vendors have ways of their own to tell who calls.
    let dialects = Router::new()
        .nest("/paypal", paypal::router())
        .nest("/stripe", stripe::router())
        .nest("/wise", wise::router())
        .merge(match engine.settings().at_root {
            Some(Shape::Paypal) => paypal::routes(),
            Some(Shape::Stripe) => stripe::routes(),
            Some(Shape::Wise) => wise::routes(),
            Some(Shape::Payout | Shape::Batch | Shape::Lookup | Shape::File) | None => Router::new(),
        })
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(Arc::clone(&engine));
    // Outside of the authorization, for probes.
    let router = router.merge(dialects).route("/healthz", get(async || "alive\n"));
    router.layer(middleware::from_fn_with_state(engine, date))
}

/// Dates the answer by a clock that differs, if it does; else the server does it.
async fn date(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(now) = engine.clock_if_it_differs()
        && let Ok(value) = HeaderValue::from_str(&httpdate::fmt_http_date(now))
    {
        response.headers_mut().insert(header::DATE, value);
    }
    response
}

async fn authorize(State(bearer): State<Arc<str>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    if given.is_some_and(|given| given.as_bytes() == bearer.as_bytes()) {
        return next.run(request).await;
    }
    let message = "the header Authorization must bear the token; nothing was executed";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message).into_response()
}
