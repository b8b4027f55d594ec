//! What a program must still know when it is started again, whatever became of the servers: a folder beside it.

use std::path::PathBuf;

/// Where a program keeps what must outlive it. To be flattened into a program's options.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StateArgs {
    /// A folder for what must outlive this program; several may share one [default: $STATE_DIRECTORY, as systemd sets it, else $XDG_STATE_HOME/payfleet,
    /// else ~/.local/state/payfleet]
    #[arg(long, env = "PAYFLEET_STATE_DIR", value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
}

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Nobody said where.
    #[error(
        "there is no folder for what must outlive this program: give --state-dir or PAYFLEET_STATE_DIR (there is no HOME either)"
    )]
    Nowhere,
    /// It cannot be used.
    #[error("--state-dir: cannot {doing} {}: {source}", path.display())]
    Unusable {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl StateArgs {
    /// This folder.
    pub fn of(dir: impl Into<PathBuf>) -> StateArgs {
        StateArgs { state_dir: Some(dir.into()) }
    }

    /// The folder, whether it is there or not.
    pub fn dir(&self) -> Result<PathBuf, StateError> {
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let systemd = || named("STATE_DIRECTORY")?.to_str()?.split(':').next().map(PathBuf::from);
        let xdg = || Some(PathBuf::from(named("XDG_STATE_HOME")?).join("payfleet"));
        let home = || Some(PathBuf::from(named("HOME")?).join(".local/state/payfleet"));
        self.state_dir.clone().or_else(systemd).or_else(xdg).or_else(home).ok_or(StateError::Nowhere)
    }
}
