//! The admin server: is the process alive, may it be given work, and what does it count.
//!
//! It decides nothing: the program says through [`Readiness`] whether it is ready. Metrics are recorded with the
//! `metrics` macros anywhere, and rendered here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Upper bounds of histogram buckets, for durations in seconds: from a Redis call to a slow rail.
const BUCKETS_SECS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Recorded values wait in memory until they are folded into buckets, so that has to happen even when nobody scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Whether the process may be given work; clones share one state.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<Result<Option<String>, String>>>);

impl Readiness {
    /// Not ready yet, for the reason `starting`.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Err("starting".to_owned()))))
    }

    /// From now on ready.
    pub fn set_ready(&self) {
        self.set_ready_with(None);
    }

    /// From now on ready, with something that whoever probes should know.
    pub fn set_ready_with(&self, note: Option<String>) {
        self.set(Ok(note));
    }

    /// From now on not ready; the reason is shown to whoever probes.
    pub fn set_not_ready(&self, reason: impl Into<String>) {
        self.set(Err(reason.into()));
    }

    fn set(&self, state: Result<Option<String>, String>) {
        metrics::gauge!("payfleet_ready").set(f64::from(u8::from(state.is_ok())));
        // What is returned is the state before.
        let _ = self.0.send_replace(state);
    }

    /// Ready, or why not.
    pub fn state(&self) -> Result<(), String> {
        self.0.borrow().clone().map(drop)
    }

    /// The same as it is told.
    fn told(&self) -> (StatusCode, String) {
        match &*self.0.borrow() {
            Ok(None) => (StatusCode::OK, "ready\n".to_owned()),
            Ok(Some(note)) => (StatusCode::OK, format!("ready; {note}\n")),
            Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        }
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

/// What the `metrics` macros of this process have recorded.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Makes this process record its metrics. To be called once, before the first metric.
    pub fn install() -> Result<Self, HealthError> {
        PrometheusBuilder::new()
            .set_buckets(BUCKETS_SECS)
            .and_then(PrometheusBuilder::install_recorder)
            .map(Self)
            .map_err(HealthError::Metrics)
    }

    /// Everything recorded so far, in Prometheus text format.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

/// Why the admin server does not work.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Metrics were installed before in this process.
    #[error("cannot record metrics")]
    Metrics(#[source] BuildError),
    /// The address is taken or not ours.
    #[error("admin server: cannot listen on {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The listener broke while serving.
    #[error("admin server stopped")]
    Serve(#[source] std::io::Error),
}

/// An admin server that holds its address but answers only once it is served.
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
    readiness: Readiness,
    metrics: Metrics,
}

impl AdminServer {
    /// Takes the address (port 0: any), so that a taken one is an error before any work begins.
    pub async fn bind(address: SocketAddr, readiness: Readiness, metrics: Metrics) -> Result<Self, HealthError> {
        let failed = |source| HealthError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, readiness, metrics })
    }

    /// The address taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers probes until dropped. To be spawned, and left running while the program drains: a process that finishes
    /// its work is alive, and a probe that fails would have it killed.
    pub async fn serve(self) -> Result<(), HealthError> {
        let metrics = self.metrics.clone();
        let upkeep = async move {
            let mut tick = tokio::time::interval(UPKEEP_EVERY);
            loop {
                tick.tick().await;
                metrics.0.run_upkeep();
                metrics::counter!("payfleet_log_lines_dropped_total").absolute(crate::telemetry::lines_dropped());
            }
        };
        let router = router(self.readiness, self.metrics);
        let serve = axum::serve(self.listener, router).into_future();
        tokio::select! {
            served = serve => served.map_err(HealthError::Serve),
            () = upkeep => Ok(()),
        }
    }
}

fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/readyz", get(readyz))
        .with_state(readiness)
        .route("/metrics", get(render))
        .with_state(metrics)
        .route("/healthz", get(|| async { "alive\n" }))
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, String) {
    readiness.told()
}

async fn render(State(metrics): State<Metrics>) -> impl IntoResponse {
    let format = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (format, metrics.render())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn probes_and_metrics_are_served_on_the_bound_address() {
        let readiness = Readiness::new();
        let metrics = Metrics::install().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let server = AdminServer::bind(any, readiness.clone(), metrics).await.unwrap();
        let address = server.address();
        assert_ne!(address.port(), 0);
        tokio::spawn(server.serve());

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let starting = get(address, "/readyz").await;
        assert!(starting.starts_with("HTTP/1.1 503") && starting.ends_with("starting\n"));
        readiness.set_ready();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        readiness.set_ready_with(Some("without x".to_owned()));
        let noted = get(address, "/readyz").await;
        assert!(noted.starts_with("HTTP/1.1 200") && noted.ends_with("ready; without x\n"), "{noted}");
        readiness.set_not_ready("no Redis");
        assert!(get(address, "/readyz").await.ends_with("no Redis\n"));

        metrics::counter!("payfleet_test_total").increment(2);
        metrics::histogram!("payfleet_test_seconds").record(0.02);
        let rendered = get(address, "/metrics").await;
        assert!(rendered.contains("payfleet_test_total 2"), "{rendered}");
        assert!(rendered.contains("payfleet_test_seconds_bucket{le=\"0.025\"} 1"), "{rendered}");
        let any = Readiness::new();
        let taken = AdminServer::bind(address, any, Metrics(PrometheusBuilder::new().build_recorder().handle())).await;
        assert!(matches!(taken, Err(HealthError::Bind { .. })));
    }
}
