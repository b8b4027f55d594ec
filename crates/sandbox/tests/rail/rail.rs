//! A running sandbox, and short ways to talk to it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything here may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Rail {
    pub child: Child,
    pub address: String,
    client: reqwest::Client,
    dir: Option<TempDir>,
}

pub struct Answer {
    pub status: StatusCode,
    pub replay: bool,
    pub body: Value,
}

impl Answer {
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("")
    }
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payfleet-sandbox"));
    command.env("PAYFLEET_LOG", "warn");
    command
}

impl Rail {
    pub fn start(options: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), options)
    }

    pub fn start_in(dir: TempDir, options: &[&str]) -> Self {
        let mut child = program()
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir.path())
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();
        payfleet_runtime::tls::cryptography_set();
        Self { child, address, client: reqwest::Client::new(), dir: Some(dir) }
    }

    pub fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// SIGKILL; what was written stays.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.dir.take().unwrap()
    }

    pub fn restart(self, options: &[&str]) -> Self {
        Self::start_in(self.kill(), options)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer {
            status: response.status(),
            replay: response.headers().contains_key("idempotent-replay"),
            body: response.json().await.unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub fn payout(&self, idempotency_key: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, "/payout/payouts").header("idempotency-key", idempotency_key).json(body)
    }

    pub async fn pay(&self, key: &str) -> Answer {
        self.send(self.payout(key, &instruction(key))).await
    }

    pub async fn set_faults(&self, faults: Value) {
        let answer = self.send(self.request(Method::PUT, "/faults").json(&faults)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    pub async fn text(&self, path: &str) -> String {
        let response = self.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }

    pub async fn lines(&self, path: &str) -> Vec<Value> {
        self.text(path).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub async fn journal(&self) -> Vec<Value> {
        self.lines("/journal").await
    }

    pub async fn statement(&self, shape: &str) -> Vec<Value> {
        self.statement_part(&format!("shape={shape}")).await.0
    }

    /// The lines of a statement, and its end.
    pub async fn statement_part(&self, query: &str) -> (Vec<Value>, Option<Value>) {
        let mut lines = self.lines(&format!("/statement?{query}")).await;
        let end = lines.pop_if(|line| line["end"] == true);
        if let Some(end) = &end {
            assert_eq!(end["lines"], lines.len());
        }
        (lines, end)
    }

    pub async fn stats(&self) -> Value {
        self.get("/stats").await.body
    }

    /// Asks until the journal has so many lines.
    pub async fn journal_of(&self, lines: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.journal().await.len() < lines {
            assert!(Instant::now() < deadline, "{:?}", self.journal().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks until the statement has so many lines.
    pub async fn statement_of(&self, shape: &str, lines: usize) -> Vec<Value> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let statement = self.statement(shape).await;
            if statement.len() >= lines {
                return statement;
            }
            assert!(Instant::now() < deadline, "only {statement:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Rail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn instruction(key: &str) -> Value {
    json!({"key": key, "amount_minor": 1234, "currency": "EUR", "destination": format!("{key}@example.org")})
}

/// One field of every line.
pub fn column<'a>(lines: &'a [Value], name: &str) -> Vec<&'a str> {
    lines.iter().map(|line| line[name].as_str().unwrap()).collect()
}
