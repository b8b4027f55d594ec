//! A pooler between the programs and Postgres: in session mode it is welcome, in transaction mode it is refused, since
//! locks and settings of a session would be others' there.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions, Process, free_port, wait_for};
use tokio::net::TcpStream;

const LONG: Duration = Duration::from_secs(60);

/// PgBouncer in front of a fleet's Postgres.
struct Pooler {
    _process: Process,
    url: String,
}

impl Pooler {
    async fn start(fleet: &Fleet, mode: &str) -> Pooler {
        let (port, postgres) = (free_port(), fleet.postgres.address().port());
        let folder = tempfile::Builder::new().prefix("payfleet-pooler-").tempdir().unwrap().keep();
        let users = folder.join("users.txt");
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let settings = folder.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n\
             payfleet = host=127.0.0.1 port={postgres}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = trust\n\
             auth_file = {}\n\
             pool_mode = {mode}\n\
             default_pool_size = 40\n\
             ignore_startup_parameters = extra_float_digits\n",
            users.display()
        );
        std::fs::write(&settings, text).unwrap();
        let mut command = Command::new("/usr/sbin/pgbouncer");
        command.arg(&settings);
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root. `nobody`, of whom nothing is kept.
            for path in [&folder, &users, &settings] {
                std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
            }
            command.uid(65_534).gid(65_534);
        }
        let process = Process::start("pgbouncer", &mut command, &fleet.folder().join(format!("pgbouncer-{mode}.log")));
        wait_for("the pooler to listen", Duration::from_secs(20), async || {
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Pooler { _process: process, url: format!("postgres://postgres@127.0.0.1:{port}/payfleet") }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_sessions_is_welcome_and_one_of_transactions_refused() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 10, ..FleetOptions::default() }, 200).await;
    let run = fleet.run("shop", "2026-01").await;
    let transactions = Pooler::start(&fleet, "transaction").await;
    let refused = fleet.coordinator(&["--database-url", &transactions.url, "status"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(69), "{said}");
    assert!(said.contains("a pooler in transaction mode"), "{said}");
    let mut worker = fleet.worker(&["--database-url", &transactions.url]);
    let ended = worker.process.ends_within(LONG).await;
    assert_eq!(ended.and_then(|status| status.code()), Some(69), "{}", worker.log());
    let sessions = Pooler::start(&fleet, "session").await;
    let _worker = fleet.worker(&["--database-url", &sessions.url]);
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}
