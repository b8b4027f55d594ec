//! The worker's options. Each is an environment variable too.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use payfleet_domain::Rail;
use payfleet_runtime::secret::{DatabaseArgs, RedisArgs};
use payfleet_runtime::state::StateArgs;
use payfleet_runtime::telemetry::LogArgs;

const AFTER_HELP: &str = "\
Start as many as you like, and stop any of them at any time. SIGTERM, SIGINT, SIGHUP and SIGQUIT finish or hand \
back what it holds, within --drain
and five seconds whatever is away, and end it with 0. SIGTERM or SIGINT sent again ends it at once, with 143 or 130. \
In each of these ways answers that
cannot be recorded because Postgres is away are written to a file in --state-dir, and recorded by the next \
worker that is given that folder. After a
kill -9 the others take over within the lease's lifetime and a second or two.

Exit codes: 0 ended as asked, 64 usage, 69 Postgres cannot be reached or used at the start, Redis would throw \
hints away, or the database is behind
what was seen of it (restored from a backup), or it did not end within --drain and four seconds and was ended, \
70 a broken invariant.

Example:
  payfleet-worker --database-url postgres://payfleet@db/payfleet --redis-url redis://redis/ \
--sandbox-url http://sandbox:8090";

/// Leases batches of payouts, pays them through their rails, and records what became of them.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "payfleet-worker", version, after_help = AFTER_HELP)]
pub struct Options {
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub redis: RedisArgs,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub log: LogArgs,
    /// What the keys in Redis begin with; the same for all programs of one fleet.
    #[arg(long, env = "PAYFLEET_REDIS_PREFIX", default_value = "payfleet")]
    pub redis_prefix: String,
    /// Batches in flight in this process, at most. Bounds its memory.
    #[arg(long, env = "PAYFLEET_CONCURRENCY", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Calls to rails in flight in this process, at most.
    #[arg(long, env = "PAYFLEET_CALLS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub calls: u16,
    /// How long a lease lasts without renewal; it is renewed four times as often. A killed worker's batches are free
    /// after it.
    #[arg(long, env = "PAYFLEET_LEASE_TTL", default_value = "8s", value_parser = humantime::parse_duration)]
    pub lease_ttl: Duration,
    /// How long one call to a rail may take.
    #[arg(long, env = "PAYFLEET_CALL_TIMEOUT", default_value = "10s", value_parser = humantime::parse_duration)]
    pub call_timeout: Duration,
    /// The first wait after a failure; it doubles with each further one.
    #[arg(long, env = "PAYFLEET_BACKOFF_FIRST", default_value = "500ms", value_parser = humantime::parse_duration)]
    pub backoff_first: Duration,
    /// The longest wait after failures.
    #[arg(long, env = "PAYFLEET_BACKOFF_LONGEST", default_value = "60s", value_parser = humantime::parse_duration)]
    pub backoff_longest: Duration,
    /// How long to finish what is in flight after a signal to end. Keep it five seconds below the grace period of
    /// whatever sends the signal.
    #[arg(long, env = "PAYFLEET_DRAIN", default_value = "20s", value_parser = humantime::parse_duration)]
    pub drain: Duration,
    /// Connections to Postgres, at most; one more while it sweeps, and one more for moments. By default four more than
    /// the batches in flight need, at most 16. Many workers open fewer: they share what the server allows, and leave
    /// some to others.
    #[arg(long, env = "PAYFLEET_CONNECTIONS", value_parser = clap::value_parser!(u32).range(2..=1024))]
    pub connections: Option<u32>,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "PAYFLEET_ADMIN_LISTEN", default_value = "127.0.0.1:9464")]
    pub admin_listen: SocketAddr,
    /// The sandbox rail, as http://HOST:PORT. Without it, this worker leaves the sandbox rails to others.
    #[arg(long, env = "PAYFLEET_SANDBOX_URL")]
    pub sandbox_url: Option<String>,
    /// Offer the rail `null` too, which marks everybody paid and pays nobody; for measuring. Without it, this worker
    /// leaves such batches to others.
    #[arg(long, env = "PAYFLEET_NULL_RAIL", value_parser = FalseyValueParser::new())]
    pub null_rail: bool,
    /// A file that says where the funding accounts of the real rails are (TOML, one `[[account]]` each; no secrets). A
    /// rail without any is left to others.
    #[arg(long, env = "PAYFLEET_RAIL_ACCOUNTS", value_name = "FILE")]
    pub rail_accounts: Option<PathBuf>,
    /// Real money may be paid. Without it a file with an account that pays real money (`live = true`) ends the worker
    /// at its start, so that no rehearsal pays.
    #[arg(long, env = "PAYFLEET_LIVE", value_parser = FalseyValueParser::new())]
    pub live: bool,
    /// Calls a second that the whole fleet may make on one account of a rail, as RAIL=N; may be repeated, or separated
    /// by commas.
    #[arg(long, env = "PAYFLEET_RATE_LIMITS", value_delimiter = ',')]
    pub rate_limit: Vec<RateLimit>,
}

/// A limit set by the operator, for instance because the account has a lower one than the rail.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    pub rail: &'static str,
    pub calls_per_sec: u32,
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rail, number) =
            text.split_once('=').ok_or_else(|| format!("`{text}` is not RAIL=N, such as sandbox-payout=100"))?;
        let rail = Rail::named(rail).map_err(|unknown| unknown.to_string())?.name;
        let calls_per_sec = number.parse().ok().filter(|n| *n > 0);
        let calls_per_sec =
            calls_per_sec.ok_or_else(|| format!("`{number}` is not a number of calls a second above 0"))?;
        Ok(RateLimit { rail, calls_per_sec })
    }
}

impl Options {
    /// Connections to Postgres, at most.
    pub fn connections(&self) -> u32 {
        self.connections.unwrap_or_else(|| (u32::from(self.concurrency) + 4).min(16))
    }
}
