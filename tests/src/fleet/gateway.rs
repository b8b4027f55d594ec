//! The fleet's gateway, in its own role, and the sandbox told to send it notices.

use std::path::PathBuf;
use std::time::Duration;

use super::Fleet;
use crate::process::{Process, free_port, wait_for};

/// A gateway process that hears webhooks.
pub struct Gateway {
    /// The process.
    pub process: Process,
    /// Where it hears.
    pub port: u16,
    /// Its admin port.
    pub admin: u16,
}

/// As its operator makes it.
const ROLE: &str = include_str!("../../../deploy/gateway-role.sql");

impl Fleet {
    /// The file of the funding accounts (`PAYFLEET_RAIL_ACCOUNTS=rails.toml` for programs, whose folder it is in): one
    /// account `shop` at each real rail, all of them at the sandbox, and each sends notices.
    pub async fn rail_accounts(&self) -> PathBuf {
        let keys = self.http.get(format!("{}/webhooks/keys", self.sandbox_url())).send().await;
        let keys: serde_json::Value = keys.expect("the sandbox answers").json().await.expect("keys are JSON");
        let [authority, public] = ["paypal_authority", "wise_public_key"].map(|key| keys[key].as_str().expect("a PEM"));
        let sandbox = self.sandbox_url();
        let text = format!(
            r#"
            [[account]]
            rail = "paypal"
            name = "shop"
            base_url = "{sandbox}/paypal"
            webhooks = {{ id = "WH-1", authority = """{authority}""" }}
            [[account]]
            rail = "stripe"
            name = "shop"
            base_url = "{sandbox}/stripe"
            webhooks = {{ secrets = ["STRIPE_HOOK"] }}
            [[account]]
            rail = "wise"
            name = "shop"
            base_url = "{sandbox}/wise"
            profile = 12345678
            balances = {{ EUR = 200001 }}
            webhooks = {{ public_keys = ["""{public}"""] }}
            "#
        );
        let path = self.folder.path().join("rails.toml");
        std::fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Starts a gateway in a role that can do no more than it needs, and has the sandbox send it notices.
    pub async fn gateway(&self) -> Gateway {
        sqlx::raw_sql(ROLE).execute(&self.database).await.expect("the role can be made");
        sqlx::query("CREATE ROLE gateway1 LOGIN IN ROLE payfleet_gateway")
            .execute(&self.database)
            .await
            .expect("a login");
        let (port, admin) = (free_port(), free_port());
        let mut command = self.program("payfleet-gateway");
        command
            .args([
                "webhooks",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--admin-listen",
                &format!("127.0.0.1:{admin}"),
            ])
            .env("PAYFLEET_RAIL_ACCOUNTS", "rails.toml")
            .env("PAYFLEET_RAIL_CREDENTIAL_STRIPE_HOOK", "whsec_fleet")
            .env("PAYFLEET_DATABASE_URL", self.postgres.url("payfleet").replacen("postgres@", "gateway1@", 1));
        let process = Process::start("payfleet-gateway", &mut command, &self.folder.path().join("gateway.log"));
        let ready = format!("http://127.0.0.1:{admin}/readyz");
        wait_for("the gateway", Duration::from_secs(30), async || {
            self.http.get(&ready).send().await.ok().filter(|answer| answer.status().is_success()).map(drop)
        })
        .await;
        for shape in ["paypal", "stripe", "wise"] {
            let hook = format!(
                r#"{{"url": "http://127.0.0.1:{port}/webhooks/{shape}/shop", "secret": "whsec_fleet",
                     "webhook_id": "WH-1", "retry_ms": 100, "tries": 8}}"#
            );
            let request = self.http.put(format!("{}/webhooks/{shape}", self.sandbox_url()));
            let answer = request.header("content-type", "application/json").body(hook).send().await;
            let answer = answer.expect("the sandbox answers");
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
        }
        Gateway { process, port, admin }
    }

    /// What became of the sandbox's notices, once none is waiting or under way.
    pub async fn notices_settled(&self) -> serde_json::Value {
        wait_for("the sandbox's notices", Duration::from_secs(60), async || {
            let answer = self.http.get(format!("{}/webhooks", self.sandbox_url())).send().await.ok()?;
            let told: serde_json::Value = answer.json().await.ok()?;
            (told["waiting"] == 0 && told["under_way"] == 0).then_some(told)
        })
        .await
    }
}
