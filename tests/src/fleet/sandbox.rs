//! The fleet's rail: the sandbox, its faults, and what it really did.

use std::process::Command;
use std::time::Duration;

use super::{Fleet, bin};
use crate::oracle::Movement;
use crate::process::{Process, wait_for};

impl Fleet {
    /// Where the sandbox is.
    pub fn sandbox_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.sandbox_port)
    }

    /// Starts the sandbox (again), with what its journal says.
    pub async fn sandbox_start(&mut self) {
        self.sandbox = None;
        let mut command = Command::new(bin().join("payfleet-sandbox"));
        command.args(["--listen", &format!("127.0.0.1:{}", self.sandbox_port), "--data-dir"]);
        command.arg(self.folder.path().join("sandbox")).args(&self.options.sandbox);
        self.sandbox = Some(Process::start("payfleet-sandbox", &mut command, &self.folder.path().join("sandbox.log")));
        let url = format!("{}/healthz", self.sandbox_url());
        wait_for("the sandbox", Duration::from_secs(20), async || self.http.get(&url).send().await.ok()).await;
    }

    /// kill -9 of the sandbox.
    pub fn sandbox_kill(&mut self) {
        self.sandbox = None;
    }

    /// Sets faults of the sandbox while it runs.
    pub async fn faults(&self, faults: &str) {
        let url = format!("{}/faults", self.sandbox_url());
        let request = self.http.put(url).header("content-type", "application/json").body(faults.to_owned());
        let answer = request.send().await.expect("the sandbox answers");
        assert!(
            answer.status().is_success(),
            "the sandbox refused {faults}: {}",
            answer.text().await.unwrap_or_default()
        );
    }

    /// The faults as they are set.
    pub async fn faults_set(&self) -> serde_json::Value {
        let answer = self.http.get(format!("{}/faults", self.sandbox_url())).send().await.expect("the sandbox answers");
        answer.json().await.expect("faults are JSON")
    }

    /// Everything that the sandbox has planned happens now.
    pub async fn hurry(&self) {
        let answer = self.http.post(format!("{}/faults/hurry", self.sandbox_url())).send().await;
        assert!(answer.expect("the sandbox answers").status().is_success(), "the sandbox does not hurry");
    }

    /// The sandbox's counts.
    pub async fn stats(&self) -> serde_json::Value {
        let url = format!("{}/stats", self.sandbox_url());
        let answer = self.http.get(url).send().await.expect("the sandbox answers");
        answer.json().await.expect("stats are JSON")
    }

    /// Everything that the sandbox really did.
    pub async fn journal(&self) -> Vec<Movement> {
        let url = format!("{}/journal", self.sandbox_url());
        let text = self.http.get(url).send().await.expect("the sandbox answers").text().await.expect("a journal");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Waits until the sandbox has made this many payments.
    pub async fn paid_at_least(&self, payments: u64, within: Duration) {
        wait_for("payments at the sandbox", within, async || {
            (self.stats().await["paid"].as_u64().unwrap_or(0) >= payments).then_some(())
        })
        .await;
    }

    /// Asks the sandbox for something that an operator would not, by `POST`.
    pub async fn sandbox_post(&self, path: &str, body: &str) {
        let url = format!("{}{path}", self.sandbox_url());
        let request = self.http.post(url).header("content-type", "application/json").body(body.to_owned());
        let answer = request.send().await.expect("the sandbox answers");
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        assert!(status.is_success(), "the sandbox refused {path} {body}: {text}");
    }

    /// What the sandbox says on a page.
    pub async fn sandbox_get(&self, path: &str, account: &str) -> String {
        let request = self.http.get(format!("{}{path}", self.sandbox_url())).header("X-Account", account);
        request.send().await.expect("the sandbox answers").text().await.expect("a page")
    }
}
