//! Child processes, signals to them, and waiting for a condition.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A process that this test started. Killed when dropped, and nothing else ever is.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a program; what it prints goes to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Process {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("the log can be opened");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file handle can be cloned")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Process { name: name.to_owned(), child }
    }

    /// Starts a program whose stderr nobody reads: a pipe, which is full soon.
    pub fn start_unread(name: &str, command: &mut Command) -> Process {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Process { name: name.to_owned(), child }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{} cannot be signalled: {error}", self.name));
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Waits until it ends by itself, and says how; `None` if that takes longer.
    pub async fn ends_within(&mut self, within: Duration) -> Option<ExitStatus> {
        let since = Instant::now();
        while since.elapsed() < within {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// The most memory that it ever had resident, in KiB; `None` when it has ended.
    pub fn peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Waits until it ends by itself; the result is how, and the most memory that it was seen to have, in KiB.
    pub async fn wait_and_watch(&mut self) -> (ExitStatus, u64) {
        let mut peak = 0;
        loop {
            peak = peak.max(self.peak_kib().unwrap_or(0));
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return (status, peak);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(since.elapsed() < within, "{} did not end within {within:?}", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on at the moment, below those that the system hands out to whoever connects: a program
/// that is started a little later may find one of those taken.
pub fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let drawn = std::iter::repeat_with(|| rand::random_range(20_000..32_000)).take(1_000);
    drawn.into_iter().find(is_free).expect("a free port")
}

/// Waits until `ready` answers with something; panics with `what` if it does not in time.
pub async fn wait_for<T>(what: &str, within: Duration, mut ready: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = ready().await {
            return found;
        }
        assert!(since.elapsed() < within, "waited {within:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
