//! `sample`: realistic data of any size, the same for the same seed on any machine. It streams: neither files nor rows
//! are held in memory.

mod database;
mod files;
mod iban;
mod random;
mod recipe;

use payfleet_runtime::exit::ExitCode;

use crate::cli::{Cli, SampleArgs};
use crate::connect::open_schema;
use crate::failure::Failure;
use recipe::Recipe;

/// `sample`.
pub async fn sample(cli: &Cli, args: &SampleArgs) -> Result<ExitCode, Failure> {
    let recipe = Recipe::new(args).map_err(Failure::usage)?;
    match (&args.into, &args.tenant) {
        (Some(folder), _) => {
            files::write(&recipe, folder).map_err(|error| Failure::input(format!("{}: {error}", folder.display())))
        }
        (None, Some(tenant)) => database::import(open_schema(cli).await?, recipe, tenant).await,
        (None, None) => Err(Failure::usage("say where the sample goes: --into DIR or --tenant T")),
    }
}
