//! Says in Postgres what this worker can do and what it lacks, so that a screen can tell why work waits, and keeps what
//! it lacks for its own readiness.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use payfleet_runtime::secret::rail_credential;
use payfleet_store::{WorkerWords, chain};
use time::OffsetDateTime;

use crate::Process;

/// Between two looks whether there is something else to say.
const LOOKED: Duration = Duration::from_secs(2);
/// It is said again at least so often: a third of the time after which a silent worker counts as dead. An idle fleet
/// asks little else of Postgres.
const SAID: Duration = Duration::from_secs(10);

/// Which credentials that are used on its rails a worker cannot read.
#[derive(Debug, Default)]
pub(crate) struct Lacks(Mutex<Lacked>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Lacked {
    names: Vec<String>,
    /// Nothing that is used could be paid from here.
    is_all: bool,
}

impl Lacks {
    fn read(&self) -> Lacked {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone() // it is only replaced
    }

    /// What is lacking, for whoever asks whether the worker is ready: an error if it could not pay anything that is
    /// used.
    pub(crate) fn told(&self) -> Result<Option<String>, String> {
        let Lacked { names, is_all } = self.read();
        let variables: Vec<String> = names.iter().map(|name| format!("PAYFLEET_RAIL_CREDENTIAL_{name}")).collect();
        let words = format!("cannot read credentials that are used: {}", variables.join(", "));
        match (names.is_empty(), is_all) {
            (true, _) => Ok(None),
            (false, false) => Ok(Some(words)),
            (false, true) => Err(format!("{words}; it could pay nothing")),
        }
    }

    /// Looks which of these it cannot read; where none is needed there is no name.
    fn look(&self, used: &[Option<String>], can_read: impl Fn(&str) -> bool) {
        let names: Vec<String> = used.iter().flatten().filter(|name| !can_read(name)).cloned().collect();
        let lacked = Lacked { is_all: !names.is_empty() && names.len() == used.len(), names };
        let mut before = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *before != lacked && !lacked.names.is_empty() {
            let credentials = &lacked.names;
            tracing::warn!(?credentials, "these are used, and cannot be read here; their batches are left to others");
        }
        *before = lacked;
    }
}

/// Says it until it is dropped.
pub(crate) async fn keep(process: Arc<Process>, started_at: OffsetDateTime) {
    let mut said: Option<(Instant, WorkerWords)> = None;
    loop {
        let words = process.words(started_at);
        if said.as_ref().is_none_or(|(at, before)| at.elapsed() >= SAID || *before != words) {
            match process.store.worker_say(words.clone()).await {
                Ok(used) => {
                    process.lacks.look(&used, |name| rail_credential(name).is_ok());
                    let is_said = process.lacks.read().names == words.lacks;
                    said = Some((Instant::now(), words));
                    if !is_said {
                        continue;
                    }
                }
                Err(error) => tracing::debug!(error = chain(&error), "what this worker can do is not said"),
            }
        }
        tokio::time::sleep(LOOKED).await;
    }
}

impl Process {
    fn words(&self, started_at: OffsetDateTime) -> WorkerWords {
        let worker = &self.worker;
        WorkerWords {
            name: worker.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at,
            is_ending: worker.shutdown.is_requested(),
            rails: worker.registry.names().into_iter().map(str::to_owned).collect(),
            lacks: self.lacks.read().names,
            paced: worker.paces.waited_lately(worker.clock.now()),
            trouble: self.readiness.state().err(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_lacks_some_credentials_is_ready_and_says_so_and_one_that_lacks_all_is_not() {
        let lacks = Lacks::default();
        let used = |names: &[&str]| names.iter().map(|name| Some((*name).to_owned())).collect::<Vec<_>>();
        assert_eq!(lacks.told(), Ok(None));
        lacks.look(&used(&["ACME", "SHOP"]), |name| name == "SHOP");
        let told = lacks.told();
        assert!(told.as_ref().is_ok_and(|told| told.as_ref().is_some_and(|told| told.ends_with("_ACME"))), "{told:?}");
        lacks.look(&used(&["ACME", "SHOP"]), |_| false);
        assert!(lacks.told().is_err_and(|told| told.contains("_ACME, PAYFLEET_RAIL_CREDENTIAL_SHOP; ")));
        // A rail that asks for none can be paid over.
        lacks.look(&[None, Some("ACME".to_owned())], |_| false);
        assert!(lacks.told().is_ok_and(|told| told.is_some()));
        lacks.look(&used(&["ACME"]), |_| true);
        assert_eq!(lacks.told(), Ok(None));
    }
}
