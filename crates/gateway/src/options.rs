//! The gateway's options. Each is an environment variable too.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use payfleet_runtime::secret::DatabaseArgs;
use payfleet_runtime::telemetry::LogArgs;

const AFTER_HELP: &str = "\
Exit codes: 0 ended as asked, 64 usage, 69 Postgres cannot be reached or used at the start, an address is taken, or it \
did not end within --drain and two seconds and was ended, 70 a broken invariant.";

const AFTER_WEBHOOKS_HELP: &str = "\
Each account of the file that has a table `webhooks` is heard at POST /webhooks/RAIL/ACCOUNT (deploy/RAILS.md, \
\"Webhooks\"). It speaks plain
HTTP/1.1: put a proxy with a public certificate in front of it, and let nothing but /webhooks/ through. It needs no \
Redis, and of Postgres
only the role that deploy/gateway-role.sql makes. Start as many as you like.

Answers: 200 when the event is committed, or was before; 401 signature missing or wrong, or too old; 400 signed and no \
event; 404 no such
account; 405 no POST; 408 a body that comes too slowly; 413 one that is too large; 503 with Retry-After when \
it cannot be
verified or kept now. Nothing is lost by any of them but time: the fleet asks the rails anyway.

Example:
  payfleet-gateway webhooks --listen 127.0.0.1:8480 --rail-accounts /etc/payfleet/rails.toml \
--database-url postgres://gateway1@db/payfleet";

/// What others may reach. Each door is a command with an address of its own, and none is open unless it is started. It
/// cannot pay: it links no rail.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "payfleet-gateway", version, after_help = AFTER_HELP)]
pub struct Options {
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(subcommand)]
    pub door: Door,
}

/// Which door.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Door {
    /// Hears what rails say unasked: verifies it, keeps it once, and has the payment looked at that it names.
    Webhooks(WebhooksArgs),
}

/// Options of the door for webhooks.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_WEBHOOKS_HELP)]
pub struct WebhooksArgs {
    /// Where rails are heard.
    #[arg(long, env = "PAYFLEET_WEBHOOKS_LISTEN", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// The file that says where the funding accounts of the real rails are, the same as the workers'. Of it only names,
    /// addresses and the tables `webhooks` are read.
    #[arg(long, env = "PAYFLEET_RAIL_ACCOUNTS", value_name = "FILE")]
    pub rail_accounts: PathBuf,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "PAYFLEET_ADMIN_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9484")]
    pub admin_listen: SocketAddr,
    /// The largest body that is taken, in bytes.
    #[arg(long, env = "PAYFLEET_WEBHOOKS_BODY", value_name = "BYTES", default_value_t = 65_536,
          value_parser = clap::value_parser!(u32).range(1_024..=1_048_576))]
    pub body_limit: u32,
    /// Connections at once, at most; others wait. With the largest body it bounds the memory.
    #[arg(long, env = "PAYFLEET_WEBHOOKS_CONNECTIONS", value_name = "N", default_value_t = 512,
          value_parser = clap::value_parser!(u16).range(1..=16_384))]
    pub connections: u16,
    /// How long to finish what is in hand after a signal to end.
    #[arg(long, env = "PAYFLEET_DRAIN", default_value = "10s", value_parser = humantime::parse_duration)]
    pub drain: Duration,
}
