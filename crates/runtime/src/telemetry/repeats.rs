//! What is said again and again, word for word, is said once; then counted, and said again with the count each minute,
//! and when it is over.
//!
//! Warnings and errors only: of what went well nothing is repeated.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::lines::Lines;

/// How long the same words stay unsaid.
const AGAIN: Duration = Duration::from_secs(60);
/// How many different ones are kept in mind. What comes beyond is said each time.
const DIFFERENT: usize = 1_000;
/// The target of what is said here, which is not counted in turn.
const TARGET: &str = "payfleet::again";

/// Filters what was just said. Clones share what they have in mind.
#[derive(Clone, Default)]
pub(super) struct Repeats {
    said: Arc<Mutex<HashMap<String, Said>>>,
}

struct Said {
    is_error: bool,
    /// When it was said last, here or by its own event.
    at: Instant,
    /// When it would have been.
    heard: Instant,
    /// How often since it was said.
    unsaid: u64,
    /// Whether it was ever repeated.
    is_repeated: bool,
}

/// What is to be said of words that were repeated.
#[derive(Debug, PartialEq, Eq)]
struct Again {
    words: String,
    times: u64,
    is_error: bool,
    is_over: bool,
}

impl Repeats {
    /// Whether to say it.
    fn is_news(&self, words: String, is_error: bool, now: Instant) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner); // each change is one assignment
        if let Some(said) = said.get_mut(&words) {
            said.heard = now;
            said.unsaid += 1;
            said.is_repeated = true;
            return false;
        }
        if said.len() < DIFFERENT {
            said.insert(words, Said { is_error, at: now, heard: now, unsaid: 0, is_repeated: false });
        }
        true
    }

    /// What there is to say again, and what is over.
    fn due(&self, now: Instant) -> Vec<Again> {
        let mut due = Vec::new();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|words, said| {
            let is_over = now.saturating_duration_since(said.heard) >= AGAIN;
            let is_due = said.unsaid > 0 && now.saturating_duration_since(said.at) >= AGAIN;
            if is_due || is_over && said.is_repeated {
                due.push(Again { words: words.clone(), times: said.unsaid, is_error: said.is_error, is_over });
                (said.at, said.unsaid) = (now, 0);
            }
            !is_over
        });
        due
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == TARGET {
            return true;
        }
        let mut words = Words(metadata.target().to_owned());
        event.record(&mut words);
        self.is_news(words.0, *metadata.level() == Level::ERROR, Instant::now())
    }
}

/// An event in words.
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A string takes everything.
        let _ = match field.name() {
            "message" => write!(self.0, ": {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// Says what was repeated, from a thread of its own.
pub(super) fn tell(repeats: Repeats, lines: Lines) {
    const EVERY: Duration = Duration::from_secs(5);
    let mut dropped = 0;
    let telling = move || loop {
        std::thread::sleep(EVERY);
        for Again { words, times, is_error, is_over } in repeats.due(Instant::now()) {
            match (is_over, is_error) {
                (true, _) => {
                    tracing::info!(
                        target: TARGET, times,
                        "not for a minute any more, after so many times more: {words}"
                    )
                }
                (false, true) => tracing::error!(target: TARGET, times, "so many times more: {words}"),
                (false, false) => tracing::warn!(target: TARGET, times, "so many times more: {words}"),
            }
        }
        let now = lines.dropped();
        if now > dropped {
            tracing::warn!(target: TARGET, lines = now - dropped, "lines of this log were lost: nobody read it");
            dropped = now;
        }
    };
    if let Err(error) = std::thread::Builder::new().name("repeats".to_owned()).spawn(telling) {
        tracing::warn!(%error, "what is repeated is not counted aloud");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_said_once_then_counted_and_told_when_they_are_over() {
        let (repeats, begun) = (Repeats::default(), Instant::now());
        let at = |secs: u64| begun + Duration::from_secs(secs);
        assert!(repeats.is_news("gone".to_owned(), false, at(0)));
        assert!(repeats.is_news("gone too".to_owned(), true, at(0)), "other words");
        for secs in 1..=59 {
            assert!(!repeats.is_news("gone".to_owned(), false, at(secs)));
            assert_eq!(repeats.due(at(secs)), []);
        }
        let again = |times, is_over| [Again { words: "gone".to_owned(), times, is_error: false, is_over }];
        assert_eq!(repeats.due(at(60)), again(59, false), "and nothing of what was said once");
        assert!(!repeats.is_news("gone".to_owned(), false, at(61)), "what was just counted aloud is not said besides");
        assert_eq!(repeats.due(at(119)), []);
        assert_eq!(repeats.due(at(121)), again(1, true));
        assert_eq!(repeats.due(at(200)), []);
        assert!(repeats.is_news("gone".to_owned(), false, at(201)), "it is news again");
    }

    #[test]
    fn what_is_kept_in_mind_is_bounded() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        for n in 0..DIFFERENT {
            assert!(repeats.is_news(n.to_string(), false, now));
        }
        for _ in 0..2 {
            assert!(repeats.is_news("one more".to_owned(), false, now));
        }
        assert!(!repeats.is_news("0".to_owned(), false, now));
    }
}
