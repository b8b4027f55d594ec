//! `payfleet-sandbox`: options in, a server out.

use std::process::ExitCode as ProcessCode;
use std::sync::Arc;

use payfleet_runtime::exit::{ExitCode, parse_cli};
use payfleet_runtime::shutdown::Shutdown;
use payfleet_runtime::telemetry;
use payfleet_sandbox::engine::{Engine, Settings};
use payfleet_sandbox::journal::JournalError;
use payfleet_sandbox::options::Options;
use payfleet_sandbox::server::Server;

/// What ended the program, and how it is told to the caller.
struct Failure(ExitCode, Box<dyn std::error::Error>);

#[tokio::main]
async fn main() -> ProcessCode {
    let ended = run(parse_cli()).await;
    telemetry::end();
    match ended {
        Ok(()) => ExitCode::Done.into(),
        Err(Failure(code, error)) => {
            let mut message = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                message = format!("{message}: {cause}");
                source = cause.source();
            }
            eprintln!("payfleet-sandbox: {message}");
            code.into()
        }
    }
}

async fn run(options: Options) -> Result<(), Failure> {
    let usage = |error| Failure(ExitCode::Usage, error);
    let unavailable = |error| Failure(ExitCode::Unavailable, error);
    telemetry::init(&options.logs).map_err(|e| usage(e.into()))?;
    let token = options.token().map_err(|e| usage(e.into()))?;
    let shutdown = Shutdown::on_signals().map_err(|e| unavailable(e.into()))?;
    let listen = options.listen;
    let engine = Engine::open(Settings::from(options), shutdown).map_err(|error| {
        let code = match error {
            JournalError::Busy { .. } => ExitCode::Busy,
            JournalError::Io { .. } => ExitCode::Unavailable,
            JournalError::Corrupt { .. } => ExitCode::Broken,
        };
        Failure(code, error.into())
    })?;
    let server = Server::bind(listen, Arc::new(engine), token)
        .await
        .map_err(|e| unavailable(format!("cannot listen on {listen}: {e}").into()))?;
    println!("listening on http://{}", server.address());
    server.serve().await.map_err(|e| unavailable(e.into()))
}
