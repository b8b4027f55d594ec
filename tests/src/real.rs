//! The three real rails as the sandbox speaks them: a tenant whose affiliates are spread over PayPal, Stripe and Wise,
//! and a week that passes for rails and fleet alike.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use payfleet_domain::{PayoutId, PayoutKey};
use sqlx::Row;
use uuid::Uuid;

use crate::chaos::clock;
use crate::fleet::{Fleet, RunReport};
use crate::oracle::Movement;
use crate::process::wait_for;

/// Where the programs find what [`Fleet::real_rails`] writes, and the credentials of its accounts; for
/// [`FleetOptions::variables`](crate::FleetOptions). PayPal's client id and Stripe's key name the account at the
/// sandbox.
pub const VARIABLES: &[(&str, &str)] = &[
    ("PAYFLEET_RAIL_ACCOUNTS", ACCOUNTS),
    ("PAYFLEET_RAIL_CREDENTIAL_SHOP_PAYPAL", "shop:secret"),
    ("PAYFLEET_RAIL_CREDENTIAL_SHOP_STRIPE", "sk_test_shop"),
    ("PAYFLEET_RAIL_CREDENTIAL_SHOP_WISE", "token-of-shop"),
];

/// The file of the funding accounts, in the folder that programs run in.
const ACCOUNTS: &str = "accounts.toml";
/// The profile that pays at Wise.
pub const PROFILE: u64 = 4_242;
/// Method, its share in ten, and currencies that it is paid in.
const SPREAD: [(&str, u32, [&str; 2]); 3] =
    [("paypal", 5, ["EUR", "USD"]), ("stripe", 3, ["USD", "EUR"]), ("wise", 2, ["EUR", "GBP"])];

/// A fleet that does nothing for so long waits for something.
const STILL: Duration = Duration::from_secs(2);

/// After it, by every declaration, a request is dead.
pub const DEAD: Duration = Duration::from_secs(200);

/// After it every statement reaches past what was paid before.
pub const BEHIND: Duration = Duration::from_secs(4 * 3_600);

/// Of them are made weeks and months.
pub const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The rails that there are.
pub const RAILS: [&str; 3] = ["paypal", "stripe", "wise"];

impl Fleet {
    /// Makes tenant `shop` pay over the three rails: funding accounts, credentials, and so many affiliates who are due
    /// one commission each in 2026-01. `limits` is what follows `limits =` of each account, such as
    /// `{ calls_per_sec = 100 }`; an empty text leaves it out. `wise` are further lines of the account at Wise.
    pub fn real_rails(&self, affiliates: u32, limits: &str, wise: &str) {
        let base = self.sandbox_url();
        let limits = if limits.is_empty() { String::new() } else { format!("limits = {limits}\n") };
        let account = |rail: &str, more: &str| {
            format!("[[account]]\nrail = \"{rail}\"\nname = \"shop\"\nbase_url = \"{base}/{rail}\"\n{more}{limits}")
        };
        let wise = format!("profile = {PROFILE}\nbalances = {{ EUR = 1, GBP = 2, USD = 3, HUF = 4 }}\n{wise}");
        let accounts = account("paypal", "") + &account("stripe", "") + &account("wise", &wise);
        std::fs::write(self.folder().join(ACCOUNTS), accounts).expect("the folder can be written to");
        let (mut payees, mut earned) = (
            "affiliate_id,name,email,country,currency,method,destination\n".to_owned(),
            "commission_id,affiliate_id,order_ref,amount,currency,earned_at,kind\n".to_owned(),
        );
        for number in 0..affiliates {
            let (method, currency) = way(number);
            let destination = destination(method, number);
            let (whole, cents) = (25 + number % 400, number % 100);
            writeln!(payees, "A{number},Payee {number},payee{number}@example.com,DE,{currency},{method},{destination}")
                .expect("a text takes it");
            writeln!(earned, "C{number},A{number},O{number},{whole}.{cents:02},{currency},2026-01-15T12:00:00Z,sale")
                .expect("a text takes it");
        }
        for (kind, text) in [("affiliates", payees), ("commissions", earned)] {
            let file = self.folder().join(format!("{kind}.csv"));
            std::fs::write(&file, text).expect("the folder can be written to");
            self.must(&["import", kind, "--tenant", "shop", file.to_str().expect("a path of ours")]);
        }
        for rail in RAILS {
            let credential = format!("SHOP_{}", rail.to_uppercase());
            let named = ["rails", "set", "--tenant", "shop", "--method", rail, "--rail", rail, "--account", "shop"];
            self.must(&[&named[..], &["--credential", &credential]].concat());
        }
    }

    /// So much time passes, for the rails and for the database, and in no time for everybody else. What was under way
    /// is not: it waits until nobody holds a batch, so that no request grows older than it is.
    pub async fn time_passes(&self, by: Duration) {
        let ahead = self.faults_set().await["clock_ahead_ms"].as_i64().unwrap_or(0);
        let by_ms = i64::try_from(by.as_millis()).expect("less than an age");
        let seen = clock::connect(self.postgres.address());
        wait_for("nobody to hold a batch", Duration::from_secs(120), async || {
            let stepped = sqlx::query(
                "UPDATE sim.clock SET ahead = ahead + $1 * interval '1 millisecond'
                  WHERE NOT EXISTS (SELECT FROM batch WHERE lease_until > sim.clock_timestamp())",
            );
            let stepped = stepped.bind(by_ms).execute(&seen).await.ok()?;
            (stepped.rows_affected() == 1).then_some(())
        })
        .await;
        seen.close().await;
        self.faults(&format!(r#"{{"clock_ahead_ms": {}}}"#, ahead + by_ms)).await;
    }

    /// Waits for the end of a run. Where nothing happens any more, requests that were lost are waited for until they
    /// are dead, or rails for what their statements tell later: as much time passes, and `told` hears of it.
    pub async fn settled_as_time_passes(&self, run: i64, within: Duration, told: impl Fn(Duration)) {
        let since = Instant::now();
        let mut last = (self.payout_states(run).await, since);
        while self.state(run).await != "settled" {
            if since.elapsed() > within {
                panic!("run {run} does not end: {:?}\n{}", last.0, self.must(&["status", &run.to_string()]));
            }
            let states = self.payout_states(run).await;
            if states != last.0 {
                last = (states, Instant::now());
            } else if last.1.elapsed() > STILL {
                let is_lost = last.0.iter().any(|(state, _)| state == "unknown" || state == "planned");
                let by = if is_lost { DEAD } else { DAY };
                told(by);
                self.time_passes(by).await;
                last.1 = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Compares a run with the statements of its accounts, again where a rail did not give its own.
    pub async fn reconcile_insisting(&self, run: i64, arguments: &[&str]) -> RunReport {
        const UNAVAILABLE: i32 = 69;
        let mut report = self.reconcile(run, arguments);
        for _ in 0..30 {
            if report.code != UNAVAILABLE {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            report = self.reconcile(run, arguments);
        }
        report
    }

    /// The sandbox's journal, each movement under the payout's own key: Wise knows payments by a UUID, from which no
    /// way leads back to the payout; the plan knows it.
    pub(crate) async fn journal_by_payout(&self) -> Vec<Movement> {
        let keys = self.keys_by_uuid().await;
        let by_payout = |movement: Movement| match keys.get(&movement.key) {
            Some(key) => Movement { key: key.clone(), ..movement },
            None => movement,
        };
        self.journal().await.into_iter().map(by_payout).collect()
    }

    async fn keys_by_uuid(&self) -> HashMap<String, String> {
        let rows = sqlx::query(
            "SELECT p.id, r.key, f.external_id, p.currency::text AS currency
               FROM payout p JOIN run r ON r.id = p.run_id JOIN affiliate f ON f.id = p.affiliate_id
              WHERE EXISTS (SELECT FROM batch b WHERE b.run_id = r.id AND b.rail = 'wise'
                AND p.id BETWEEN b.first_payout_id AND b.last_payout_id)",
        );
        let rows = rows.fetch_all(&self.database).await.expect("the plan can be read");
        let key = |row: &sqlx::postgres::PgRow| {
            let currency = row.get::<String, _>("currency").parse().expect("a code of ISO 4217");
            let affiliate: String = row.get("external_id");
            PayoutKey::derive(row.get::<Uuid, _>("key"), PayoutId(row.get("id")), &affiliate, currency)
        };
        rows.iter().map(key).map(|key| (key.uuid().to_string(), key.to_string())).collect()
    }
}

/// Method and currency of the affiliate with this number.
pub fn way(number: u32) -> (&'static str, &'static str) {
    let mut place = number % 10;
    let spread = SPREAD.iter().find(|(_, share, _)| {
        let found = place < *share;
        place = place.saturating_sub(*share);
        found
    });
    let (method, _, currencies) = spread.expect("the shares are ten in ten");
    (method, currencies[(number / 10 % 2) as usize])
}

/// Where the affiliate with this number is paid.
fn destination(method: &str, number: u32) -> String {
    match method {
        "paypal" => format!("payee{number}@example.com"),
        "stripe" => format!("acct_1Payee{number:09}"),
        _ => (8_000_000 + number).to_string(),
    }
}
