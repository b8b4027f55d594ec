//! A private Redis server: its own process, port and directory, ended with its test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use deadpool_redis::redis::{self, aio::MultiplexedConnection};
use payfleet_queue::Queue;

pub const PREFIX: &str = "payfleet-test";

pub struct RedisServer {
    port: u16,
    child: Child,
    directory: tempfile::TempDir,
}

impl RedisServer {
    pub fn start() -> RedisServer {
        let directory = tempfile::tempdir().unwrap();
        // Another process may take the port between the look and the start; then there is another.
        for _ in 0..20 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(child) = launch(port, directory.path()) {
                return RedisServer { port, child, directory };
            }
        }
        panic!("redis-server does not start");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub async fn queue(&self) -> Queue {
        Queue::connect(&self.url(), PREFIX).await.unwrap()
    }

    /// A connection to look and meddle with.
    pub async fn raw(&self) -> MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    /// Returns once some client waits in a blocking read.
    pub async fn wait_for_reader(&self) {
        let mut raw = self.raw().await;
        loop {
            let clients: String = redis::cmd("INFO").arg("clients").query_async(&mut raw).await.unwrap();
            if clients.contains("blocked_clients:1") {
                return;
            }
        }
    }

    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// On the same port, with nothing in it.
    pub fn start_again(&mut self) {
        self.child = launch(self.port, self.directory.path()).expect("the port is still ours");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(port: u16, directory: &std::path::Path) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let ready = output.lines().map_while(Result::ok).any(|line| line.contains("Ready to accept connections"));
    if ready {
        Some(child)
    } else {
        let _ = child.wait();
        None
    }
}
