//! Ending in good order. SIGTERM, SIGINT, SIGHUP and SIGQUIT all ask for it; SIGTERM or SIGINT sent a second time does
//! not wait. And whoever was asked does end: if it has not after a while, it is ended, whatever it waits for.
//!
//! It only tells; what finishing means is each program's own.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::exit::ExitCode;
use crate::telemetry;

/// Whether the process has been asked to end; clones share one state.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<State>);

struct State {
    requested: watch::Sender<Option<Instant>>,
    last: Mutex<Vec<Last>>,
}

/// What is done last when the process ends without finishing.
type Last = Box<dyn Fn() + Send>;

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("requested", &self.requested).finish_non_exhaustive()
    }
}

impl Shutdown {
    /// Not requested, and deaf to signals: for tests, and for work that ends for other reasons.
    pub fn manual() -> Self {
        Self(Arc::new(State { requested: watch::Sender::new(None), last: Mutex::default() }))
    }

    /// Requested by a signal. SIGTERM or SIGINT sent a second time (the same one) ends the process at once, with 143 or
    /// 130.
    ///
    /// Needs a running tokio runtime; the signals are taken from the moment this returns.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::manual();
        for (kind, name, at_once) in [
            (SignalKind::terminate(), "SIGTERM", Some(143)),
            (SignalKind::interrupt(), "SIGINT", Some(130)),
            // A terminal that is closed sends it more than once.
            (SignalKind::hangup(), "SIGHUP", None),
            (SignalKind::quit(), "SIGQUIT", None),
        ] {
            tokio::spawn(shutdown.clone().listen(signal(kind)?, name, at_once));
        }
        Ok(shutdown)
    }

    /// Asks for the end, as a signal would.
    pub fn request(&self) {
        // The first request counts.
        self.0
            .requested
            .send_if_modified(|requested| requested.replace(requested.unwrap_or_else(Instant::now)).is_none());
    }

    /// Whether the end has been asked for.
    pub fn is_requested(&self) -> bool {
        self.0.requested.borrow().is_some()
    }

    /// When this much time is over since the end was asked for; as if it were asked for now, if it was not.
    pub fn deadline(&self, within: Duration) -> Instant {
        self.0.requested.borrow().unwrap_or_else(Instant::now) + within
    }

    /// Waits until the end is asked for. May be dropped at any point and called again.
    pub async fn requested(&self) {
        // Cannot fail: `self` keeps the sender alive.
        let _ = self.0.requested.subscribe().wait_for(Option::is_some).await;
    }

    /// Has this done if the process is to end without finishing.
    pub fn at_last(&self, last: impl Fn() + Send + 'static) {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(last)); // pushed or not
    }

    /// Ends the process with 69 so long after the end was asked for, if it has not ended by then, whatever it waits
    /// for. Once it was asked, that needs nothing but a thread.
    pub fn enforce_within(&self, within: Duration) {
        let shutdown = self.clone();
        tokio::spawn(async move {
            shutdown.requested().await;
            std::thread::spawn(move || {
                std::thread::sleep(within);
                tracing::error!(?within, "asked to end, and still something is waited for; ending without it");
                shutdown.end_now(i32::from(ExitCode::Unavailable.code()));
            });
        });
    }

    async fn listen(self, mut signals: Signal, name: &'static str, at_once: Option<i32>) {
        let mut asked = false;
        while signals.recv().await.is_some() {
            match at_once {
                Some(code) if asked => {
                    tracing::warn!(signal = name, "asked to end a second time; ending without finishing");
                    self.end_now(code);
                }
                _ => tracing::info!(signal = name, "asked to end; finishing what is in hand"),
            }
            asked = true;
            self.request();
        }
    }

    fn end_now(&self, code: i32) {
        for last in self.0.last.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            last();
        }
        telemetry::end();
        std::process::exit(code);
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

    #[test]
    fn the_time_to_finish_counts_from_the_first_request() {
        let shutdown = Shutdown::manual();
        let within = Duration::from_secs(5);
        let asked = Instant::now();
        assert!(shutdown.deadline(within) >= asked + within, "as if it were asked for now");
        shutdown.request();
        let deadline = shutdown.deadline(within);
        while Instant::now() <= deadline - within {} // the clock has moved on
        shutdown.request();
        assert_eq!(shutdown.deadline(within), deadline);
    }
}
