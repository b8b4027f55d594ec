//! A worker of the fleet.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::process::Process;

/// A worker process.
pub struct Worker {
    /// The process.
    pub process: Process,
    /// Its admin port.
    pub admin: u16,
    pub(super) log: PathBuf,
}

impl Worker {
    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it says of its readiness; 0 if it says nothing.
    pub async fn readiness(&self) -> (u16, String) {
        let asked =
            crate::http_client().build().expect("a client").get(format!("http://127.0.0.1:{}/readyz", self.admin));
        match asked.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.process.kill();
    }
}
