//! The options of the program. Parsing only.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use payfleet_runtime::secret::{Secret, SecretError, read_secret};
use payfleet_runtime::telemetry::LogArgs;

use crate::engine::Settings;
use crate::faults::FaultConfig;
use crate::wire::Shape;

/// What is asked over HTTP.
const AFTER_HELP: &str = r#"Statements, of the account in the header X-Account:
  GET /statement?shape=SHAPE[&from=INSTANT][&cursor=LINE][&limit=N]
      one JSON object a line. The last one says how far it reaches:
      {"end":true,"from":...,"until":...,"now":...,"lines":N}; everything from `from`, included, to `until`,
      excluded, is on it. A page that `limit` cuts has no end.
  GET /statement.csv?shape=SHAPE[...][&full=1][&end=1]
      full adds the columns fee_minor and of; end adds the last row
      #end,sandbox-SHAPE/ACCOUNT,LINES,,FROM,complete,UNTIL

Faults, drawn for each call or payment (PUT /faults changes those that the body names, null and DELETE put back):
  latency_ms latency_jitter_ms lose_answer lose_request error_before error_after rate_limit hang garble
  refuse {CODE: share}     return_rate return_after_ms return_fee_minor
  reject_after[_ms]        batch, file: refused after it was accepted
  duplicate_after[_ms]     made again later
  execute_late[_ms]        the connection is dropped, and the request executed so much later; with
                           execute_late_answered a file gets its receipt at once
  statement_lag_ms {SHAPE: MS}
  clock_ahead_ms           its clock, by which requests expire and answers are dated
  lie {amount currency destination reference omit_statement phantom_statement duplicate_payment reach_ms}
  only_shape max seed

Faults by hand; a payment is named by key (shape, account), or by its reference as `id`:
  POST /faults/return {key|id, amount_minor?, fee_minor?, code?, at?}
      `at` ahead: it comes back then; `at` in the past: now, and the statement tells that instant
  POST /faults/plant {kind, key|id, at?}
      kind: amount currency destination omit_statement phantom_statement duplicate_payment, and
      wrong_account with to_account: made again from another account; `at` for the two that pay again
  POST /faults/hurry       everything that is planned happens now; answers when it has
  POST /faults/prune-keys

GET /journal[?shape=&account=&from_line=] is the truth, GET /stats counts. What is planned survives a restart.

Dialects, as the vendors' own contracts have them, and each in the journal as a shape of its own, by our key and in the
smallest units of ISO 4217. They live by the rail's clock: clock_ahead_ms lets a month pass, and is not
to be set back.
  /paypal  OAuth token (the client id is the account), payouts, items, cancel, Transaction Search, balances;
           key: sender_item_id
  /stripe  transfers, reversals, payouts (in no journal: that money is the payee's), balance transactions,
           balance; sk_test_ACCOUNT is the account;
           key: transfer_group, else metadata[payout], else the Idempotency-Key
  /wise    OAuth token, recipients, quotes, transfers, funding, batch groups, statement, simulation;
           the profile is the account; key: customerTransactionId
Their faults (PUT /faults), beside those above; a share of 1 with `max` strikes exactly so often:
  list_latency_ms garble_list strike_preparing      limit {paypal: POSTs a minute, stripe, wise: a second}
  paypal {script {ITEM or RECEIVER: STATE} unclaimed onhold onhold_ms onhold_becomes blocked blocked_takes_money
          denied duplicate_without_link created_without_id not_found_ms token_life_ms without_custom_field
          books_stand forbidden not_held}
  stripe {stored_500_paid stored_500_unpaid key_in_use lock_timeout refusals_stored list_lag_ms
          payout_fail payout_fail_after_ms payout_failure_code}
  wise   {sca sca_statement step_ms bounce cancel roll_back stuck reject forget_uuid_ms any_recipient
          token_life_ms refund_with_fee paid_in}
  webhook {lose twice late late_ms forge tamper stale_ms}
By hand:
  POST /faults/balance {shape, account, currency, amount_minor}      what an account has there from now on
  POST /faults/deposit {account, currency, amount_minor, reference?}   somebody pays in (Wise)
  POST /faults/revoke {credential, revoked?}   POST /faults/revoke-tokens   POST /faults/approve {approval}
  PUT /faults/sca-key {profile, public_key}
  PUT /webhooks/DIALECT {url, secret|webhook_id, cert_url?, tries?, retry_ms?}, DELETE; GET /webhooks, /webhooks/keys"#;

/// The sandbox rail: pays nobody, keeps a journal of what it would have paid, and misbehaves on demand.
///
/// Prints "listening on http://ADDRESS" on stdout once it takes requests.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "payfleet-sandbox", version, after_long_help = AFTER_HELP)]
pub struct Options {
    /// Where to listen; port 0 takes any free one
    #[arg(long, env = "PAYFLEET_SANDBOX_LISTEN", default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where the journal is kept; made if it does not exist
    #[arg(long, env = "PAYFLEET_SANDBOX_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// What every request must bear as `Authorization: Bearer TOKEN` [default: none needed]
    #[arg(long, env = "PAYFLEET_SANDBOX_TOKEN", hide_env_values = true)]
    token: Option<Secret>,
    /// A file that holds the token, instead of --token
    #[arg(long, env = "PAYFLEET_SANDBOX_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Start of the generator that faults are drawn from
    #[arg(long, env = "PAYFLEET_SANDBOX_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// How long after its acceptance a batch settles
    #[arg(long, env = "PAYFLEET_SANDBOX_BATCH_SETTLE_AFTER", default_value = "200ms",
        value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub batch_settle_after: Duration,
    /// How long after its acceptance a file is on the statement
    #[arg(long, env = "PAYFLEET_SANDBOX_STATEMENT_AFTER", default_value = "24h",
        value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub statement_after: Duration,
    /// How long after the instant that it bears a line is on the statement; only of one shape as SHAPE=DURATION
    #[arg(long, env = "PAYFLEET_SANDBOX_STATEMENT_LAG", value_delimiter = ',',
        value_name = "[SHAPE=]DURATION", value_parser = parse_lag)]
    pub statement_lag: Vec<(Option<Shape>, Duration)>,
    /// How long idempotency keys are remembered
    #[arg(long, env = "PAYFLEET_SANDBOX_KEY_HORIZON", default_value = "24h",
        value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub key_horizon: Duration,
    /// Requests a second and account, 429 above it; 0 is no limit
    #[arg(long, env = "PAYFLEET_SANDBOX_RATE_LIMIT", default_value = "0", value_name = "N")]
    pub rate_limit: u32,
    /// A dialect that is spoken at the root as well: for clients that know no path in front of the vendor's own
    #[arg(long, env = "PAYFLEET_SANDBOX_AT_ROOT", value_name = "DIALECT", value_parser = parse_dialect)]
    pub at_root: Option<Shape>,
    /// The faults to begin with, for example {"lose_answer":0.1,"refuse":{"account_closed":0.01}}
    #[arg(long, env = "PAYFLEET_SANDBOX_FAULTS", default_value = "{}", hide_default_value = true,
        value_name = "JSON", value_parser = FaultConfig::from_json)]
    pub faults: FaultConfig,
    /// Wait for the disk before answering, not only for the operating system
    #[arg(long, env = "PAYFLEET_SANDBOX_FSYNC", value_parser = FalseyValueParser::new())]
    pub fsync: bool,
    /// Logs
    #[command(flatten)]
    pub logs: LogArgs,
}

fn parse_lag(text: &str) -> Result<(Option<Shape>, Duration), String> {
    let (shape, duration) =
        match text.split_once('=') {
            Some((name, duration)) => {
                let named = Shape::ALL.into_iter().find(|shape| shape.name() == name);
                (
                    Some(named.ok_or_else(|| {
                        format!("`{name}` is none of payout, batch, lookup, file, paypal, stripe, wise")
                    })?),
                    duration,
                )
            }
            None => (None, text),
        };
    Ok((shape, humantime::parse_duration(duration).map_err(|error| error.to_string())?))
}

fn parse_dialect(name: &str) -> Result<Shape, String> {
    let named = Shape::ALL.into_iter().find(|shape| shape.is_dialect() && shape.name() == name);
    named.ok_or_else(|| format!("`{name}` is none of paypal, stripe, wise"))
}

impl Options {
    /// The token, if requests must bear one.
    pub fn token(&self) -> Result<Option<Secret>, SecretError> {
        read_secret(self.token.clone(), self.token_file.clone(), "token")
    }
}

impl From<Options> for Settings {
    fn from(options: Options) -> Self {
        let mut faults = options.faults;
        faults.seed = options.seed.unwrap_or(faults.seed);
        let mut statement_lag = [Duration::ZERO; Shape::COUNT];
        for (shape, lag) in options.statement_lag {
            match shape {
                Some(shape) => statement_lag[shape as usize] = lag,
                None => statement_lag = [lag; Shape::COUNT],
            }
        }
        Self {
            data_dir: options.data_dir,
            batch_settle_after: options.batch_settle_after,
            statement_after: options.statement_after,
            statement_lag,
            key_horizon: options.key_horizon,
            rate_limit: options.rate_limit,
            at_root: options.at_root,
            faults,
            fsync: options.fsync,
        }
    }
}
