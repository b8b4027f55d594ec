//! Places where tests interrupt a program: before and after every arrow of the protocol. Nothing of it is in release
//! builds.
//!
//! What is to happen is said by `PAYFLEET_FAILPOINTS`, such as `intent_write.after=crash; acknowledge
//! hints.before=delay:3000#2`: at the place, on its first passing (or the second, `#2`), the program crashes as by kill
//! -9 (`crash`), fails as if the server were gone (`error`), or waits so many milliseconds (`delay:3000`). A place is
//! named by the step, as it stands in logs, and `before`, `after` or (for a transaction) `commit`: done, but not
//! committed.
//!
//! Not the crate `fail`: it can neither crash the process at once nor wait without blocking a thread, and its last
//! release is of 2022.

/// Why a step fails that a test wanted to fail.
#[derive(Debug)]
pub struct Injected(#[cfg(not(debug_assertions))] std::convert::Infallible);

impl std::fmt::Display for Injected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a failpoint made it fail")
    }
}

impl std::error::Error for Injected {}

/// Passes a place of a step.
#[cfg(not(debug_assertions))]
pub async fn pass(_step: &str, _place: &str) -> Result<(), Injected> {
    Ok(())
}

#[cfg(debug_assertions)]
pub use armed::pass;

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::Injected;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Action {
        Crash,
        Error,
        Delay(Duration),
    }

    #[derive(Debug)]
    struct Failpoint {
        name: String,
        action: Action,
        /// Which passing of the place it is; after it, nothing happens any more.
        nth: u64,
        passed: AtomicU64,
    }

    /// A misspelt failpoint would make a test pass that tested nothing, so it ends the program.
    fn failpoints() -> &'static [Failpoint] {
        static FAILPOINTS: OnceLock<Vec<Failpoint>> = OnceLock::new();
        FAILPOINTS.get_or_init(|| {
            let wanted = std::env::var("PAYFLEET_FAILPOINTS").unwrap_or_default();
            let parts = wanted.split(';').map(str::trim).filter(|part| !part.is_empty());
            parts.map(|part| parse(part).unwrap_or_else(|| panic!("PAYFLEET_FAILPOINTS: `{part}` is none"))).collect()
        })
    }

    fn parse(text: &str) -> Option<Failpoint> {
        let (name, what) = text.split_once('=')?;
        let (what, nth) = match what.split_once('#') {
            Some((what, nth)) => (what, nth.parse().ok().filter(|nth| *nth > 0)?),
            None => (what, 1),
        };
        let action = match what.split_once(':') {
            None if what == "crash" => Action::Crash,
            None if what == "error" => Action::Error,
            Some(("delay", millis)) => Action::Delay(Duration::from_millis(millis.parse().ok()?)),
            _ => return None,
        };
        Some(Failpoint { name: name.to_owned(), action, nth, passed: AtomicU64::new(0) })
    }

    /// Passes a place of a step.
    pub async fn pass(step: &str, place: &str) -> Result<(), Injected> {
        for failpoint in failpoints() {
            let is_here = failpoint.name.strip_prefix(step).and_then(|rest| rest.strip_prefix('.')) == Some(place);
            if !is_here || failpoint.passed.fetch_add(1, Ordering::Relaxed) + 1 != failpoint.nth {
                continue;
            }
            // Not by the log, which is written by another thread, and would be lost in a crash.
            eprintln!("failpoint step={step:?} place={place:?} action={:?}", failpoint.action);
            match failpoint.action {
                Action::Crash => std::process::abort(),
                Action::Error => return Err(Injected()),
                Action::Delay(wait) => {
                    tokio::time::sleep(wait).await;
                    eprintln!("the delay is over step={step:?} place={place:?}");
                }
            }
        }
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_is_said_is_understood_and_nothing_else_is() {
            let point = parse("intent_write.after=delay:3000#2").expect("a failpoint");
            assert_eq!((point.name.as_str(), point.nth), ("intent_write.after", 2));
            assert_eq!(point.action, Action::Delay(Duration::from_secs(3)));
            assert_eq!(parse("read hints.before=crash").expect("a failpoint").action, Action::Crash);
            for wrong in ["", "a.before", "a.before=", "a.before=delay", "a.before=delay:x", "a.before=crash#0"] {
                assert!(parse(wrong).is_none(), "{wrong}");
            }
        }
    }
}
