//! The door for webhooks: [`server`] takes requests and bounds what they may cost, [`known`] says whether an account's
//! rail has sent them, [`keep`] commits them many at a time, and [`wake`] has the batches looked at that they name.
//!
//! Nothing is concluded from a notice, and nothing but time is lost with one: the fleet asks the rails anyway.

mod certificates;
mod hear;
mod keep;
mod known;
mod server;
mod vendor;
mod wake;

use std::sync::Arc;
use std::time::Duration;

use payfleet_runtime::health::{AdminServer, Metrics, Readiness};
use payfleet_runtime::secret::DatabaseArgs;
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::Store;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::GatewayError;
use crate::options::WebhooksArgs;
use hear::Ear;
use keep::Keeper;
use known::Known;
use wake::Waker;

/// How long a statement may take on the server. Those of this door take milliseconds.
const STATEMENT: Duration = Duration::from_secs(10);

/// Connections to Postgres: two that keep, one that wakes, one that asks whether all is well.
const CONNECTIONS: u32 = 4;

/// How long the last things may take, beyond the drain.
const LAST: Duration = Duration::from_secs(2);

/// Runs until it is told to stop.
pub async fn run(database: &DatabaseArgs, args: &WebhooksArgs) -> Result<(), GatewayError> {
    let shutdown = Shutdown::on_signals().map_err(GatewayError::Signals)?;
    shutdown.enforce_within(args.drain + LAST);
    let file = std::fs::read_to_string(&args.rail_accounts)
        .map_err(|source| GatewayError::AccountsUnreadable { path: args.rail_accounts.clone(), source })?;
    let known = Known::new(payfleet_notices::accounts_from_toml(&file)?)?;
    let readiness = Readiness::new();
    let admin = AdminServer::bind(args.admin_listen, readiness.clone(), Metrics::install()?).await?;
    let failed = |source| GatewayError::Listen { address: args.listen, source };
    let listener = TcpListener::bind(args.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let store = Store::connect_for(database.url()?.expose(), CONNECTIONS, STATEMENT).await?;
    store.schema_check().await?;
    tracing::info!(%address, admin = %admin.address(), accounts = %known.paths().join(" "), "hearing");

    tokio::spawn(async move {
        if let Err(error) = admin.serve().await {
            tracing::error!("{error}");
        }
    });
    let waker = Arc::new(Waker::default());
    let waking = tokio::spawn(Arc::clone(&waker).run(store.clone()));
    let asking = tokio::spawn(ask(store.clone(), readiness));
    // Each connection has one request at a time, so nobody waits for a place.
    let keeper = Keeper::start(store.clone(), waker, args.connections.into());
    let ear = Arc::new(Ear { known, keeper, body_limit: args.body_limit as usize });
    server::serve(listener, ear, args, &shutdown).await;

    asking.abort();
    waking.abort(); // what it has not woken is found by asking
    if timeout(LAST / 2, store.close()).await.is_err() {
        tracing::warn!("Postgres still owes an answer; its connections end with this process");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Keeps the readiness true to what Postgres says.
async fn ask(store: Store, readiness: Readiness) {
    const EVERY: Duration = Duration::from_secs(2);
    const PATIENCE: Duration = Duration::from_secs(6);
    loop {
        let answer = match timeout(PATIENCE, store.schema_check()).await {
            Ok(answer) => answer.map_err(|error| format!("Postgres: {error}")),
            Err(_) => Err(format!("Postgres does not answer within {PATIENCE:?}")),
        };
        metrics::gauge!("payfleet_dependency_up", "dependency" => "postgres").set(f64::from(u8::from(answer.is_ok())));
        match answer {
            Ok(()) => readiness.set_ready(),
            Err(reason) => {
                if readiness.state().is_ok() {
                    tracing::warn!(reason, "not ready");
                }
                readiness.set_not_ready(reason);
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
