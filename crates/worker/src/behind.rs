//! A database that lost what it had confirmed: this worker sends nothing, and looks whether people have recovered it.

use std::sync::{Mutex, PoisonError};

use payfleet_store::StoreError;

/// Why nothing is sent, if so.
#[derive(Debug, Default)]
pub struct Behind(Mutex<Option<String>>);

impl Behind {
    /// Takes note of what the database was found to be. Told once, however often it is found.
    pub fn found(&self, result: Result<(), &StoreError>) {
        let why = match result {
            Ok(()) => None,
            Err(error @ StoreError::Behind(_)) => Some(error.to_string()),
            // Nothing is known of it by this.
            Err(_) => return,
        };
        let mut behind = self.0.lock().unwrap_or_else(PoisonError::into_inner); // it is only replaced
        match (&*behind, &why) {
            (None, Some(why)) => tracing::error!("{why}"),
            (Some(_), None) => tracing::info!("the database was recovered; going on"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        metrics::gauge!("payfleet_database_behind").set(if why.is_some() { 1.0 } else { 0.0 });
        *behind = why;
    }

    /// Why nothing is sent.
    pub fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
