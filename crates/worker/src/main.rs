//! `payfleet-worker`: configuration in, dependencies built, run.

use payfleet_runtime::exit::{ExitCode, parse_cli};
use payfleet_store::chain;
use payfleet_worker::{Options, run};

fn main() -> ExitCode {
    let options: Options = parse_cli();
    if let Err(error) = payfleet_runtime::telemetry::init(&options.log) {
        eprintln!("payfleet-worker: {error}");
        return ExitCode::Usage;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime cannot be started");
            return ExitCode::Unavailable;
        }
    };
    let code = match runtime.block_on(run(options)) {
        Ok(()) => ExitCode::Done,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            error.exit_code()
        }
    };
    // Whatever still waits for something waits in vain.
    runtime.shutdown_background();
    payfleet_runtime::telemetry::end();
    code
}
