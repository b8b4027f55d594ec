//! How a program ends: one table of exit codes for all programs, and the parsing of the command line that keeps to it.

use std::process::Termination;

/// The exit codes, the same for every program, so that cron and scripts can act without reading logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, or found to be done already.
    Done = 0,
    /// Done, but some payouts were refused or are held for a person.
    Refused = 3,
    /// Plan, ledger and statement differ.
    Discrepant = 4,
    /// The command line is wrong.
    Usage = 64,
    /// The input is wrong; nothing of it was taken.
    BadInput = 65,
    /// A server cannot be reached, or cannot be used as it is (another schema, an evicting Redis).
    Unavailable = 69,
    /// Something that must always hold does not: a fault in the program or in its data.
    Broken = 70,
    /// Another process is at it; try later.
    Busy = 75,
}

impl ExitCode {
    /// The number the operating system is given.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

impl Termination for ExitCode {
    fn report(self) -> std::process::ExitCode {
        self.into()
    }
}

/// Parses the command line and the environment; ends the process on `--help` and `--version` (0) and on a mistake (64).
///
/// clap itself would end with 2, which the table does not have.
pub fn parse_cli<P: clap::Parser>() -> P {
    P::try_parse().unwrap_or_else(|error| {
        // Whether the message could be printed changes nothing about how the program ends.
        let _ = error.print();
        std::process::exit(i32::from(code_of_clap(&error).code()))
    })
}

fn code_of_clap(error: &clap::Error) -> ExitCode {
    if error.use_stderr() { ExitCode::Usage } else { ExitCode::Done }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(version = "1")]
    struct Cli {
        #[arg(long)]
        n: Option<u32>,
    }

    #[test]
    fn the_table_is_the_documented_one() {
        let table = [
            (ExitCode::Done, 0),
            (ExitCode::Refused, 3),
            (ExitCode::Discrepant, 4),
            (ExitCode::Usage, 64),
            (ExitCode::BadInput, 65),
            (ExitCode::Unavailable, 69),
            (ExitCode::Broken, 70),
            (ExitCode::Busy, 75),
        ];
        for (code, number) in table {
            assert_eq!(code.code(), number);
            assert_eq!(std::process::ExitCode::from(code), std::process::ExitCode::from(number));
        }
    }

    #[test]
    fn mistakes_are_usage_and_help_is_done() {
        for args in [&["x", "--n", "many"][..], &["x", "--unknown"], &["x", "stray"]] {
            assert_eq!(code_of_clap(&Cli::try_parse_from(args).unwrap_err()), ExitCode::Usage);
        }
        for arg in ["--help", "--version"] {
            assert_eq!(code_of_clap(&Cli::try_parse_from(["x", arg]).unwrap_err()), ExitCode::Done);
        }
        assert_eq!(Cli::try_parse_from(["x", "--n", "2"]).unwrap().n, Some(2));
    }
}
