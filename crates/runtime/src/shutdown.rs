//! Ending in good order: the first SIGTERM or SIGINT asks, the second of the same kind does not wait.
//!
//! It only tells; what finishing means is each program's own.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

/// Whether the process has been asked to end; clones share one state.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<Option<Instant>>>);

impl Shutdown {
    /// Not requested, and deaf to signals: for tests, and for work that ends for other reasons.
    pub fn manual() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Requested by SIGTERM or SIGINT. A second signal of the same kind ends the process at once, with 143 or 130.
    ///
    /// Needs a running tokio runtime; the signals are taken from the moment this returns.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::manual();
        let term = signal(SignalKind::terminate())?;
        let int = signal(SignalKind::interrupt())?;
        tokio::spawn(shutdown.clone().listen(term, "SIGTERM", 143));
        tokio::spawn(shutdown.clone().listen(int, "SIGINT", 130));
        Ok(shutdown)
    }

    /// Asks for the end, as a signal would.
    pub fn request(&self) {
        // The first request counts.
        self.0.send_if_modified(|requested| requested.replace(requested.unwrap_or_else(Instant::now)).is_none());
    }

    /// Whether the end has been asked for.
    pub fn is_requested(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// When this much time is over since the end was asked for; as if it were asked for now, if it was not.
    pub fn deadline(&self, within: Duration) -> Instant {
        self.0.borrow().unwrap_or_else(Instant::now) + within
    }

    /// Waits until the end is asked for. May be dropped at any point and called again.
    pub async fn requested(&self) {
        // Cannot fail: `self` keeps the sender alive.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    async fn listen(self, mut signals: Signal, name: &'static str, code: i32) {
        if signals.recv().await.is_some() {
            tracing::info!(signal = name, "asked to end; finishing what is in hand");
            self.request();
        }
        if signals.recv().await.is_some() {
            tracing::warn!(signal = name, "asked to end a second time; ending without finishing");
            std::process::exit(code);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn every_clone_hears_of_it_also_those_who_ask_later() {
        let shutdown = Shutdown::manual();
        let early = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        assert!(!shutdown.is_requested());
        shutdown.request();
        early.await.unwrap();
        shutdown.clone().requested().await;
        assert!(shutdown.is_requested());
    }
}
