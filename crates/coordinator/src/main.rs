//! The coordinator: imports, plans, shows. It cannot pay: it does not link the rails.

use payfleet_coordinator::{Cli, run};
use payfleet_runtime::exit::{ExitCode, parse_cli};

// One thread for the asynchronous work: it waits for Postgres most of the time, and files are read on a thread of their
// own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(parse_cli::<Cli>()).await
}
