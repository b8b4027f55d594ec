//! `sample`.
use payfleet_runtime::exit::ExitCode;

use crate::cli::{Cli, SampleArgs};
use crate::failure::Failure;

pub async fn sample(_: &Cli, _: &SampleArgs) -> Result<ExitCode, Failure> {
    Ok(ExitCode::Done)
}
