//! `payfleet-reconciler`: configuration in, dependencies built, run.

use payfleet_reconciler::{Options, ReconcileError, run};
use payfleet_runtime::exit::{ExitCode, parse_cli};
use payfleet_runtime::telemetry::LogFormat;
use payfleet_store::chain;

fn main() -> ExitCode {
    let options: Options = parse_cli();
    if let Err(error) = payfleet_runtime::telemetry::init(&options.log) {
        eprintln!("payfleet-reconciler: {error}");
        return ExitCode::Usage;
    }
    // One statement at a time goes through one session: a second thread would only add its memory.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime cannot be started");
            return ExitCode::Unavailable;
        }
    };
    let log = options.log.log_format;
    let code = match runtime.block_on(run(options)) {
        Ok(code) => code,
        // Many lines, for the person who handed the file in, whatever is logged.
        Err(error @ ReconcileError::Malformed { .. }) if log == LogFormat::Text => {
            eprintln!("error: {error}");
            error.exit_code()
        }
        Err(error) => {
            tracing::error!("{}", chain(&error));
            error.exit_code()
        }
    };
    payfleet_runtime::telemetry::end();
    code
}
