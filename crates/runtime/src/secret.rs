//! Secrets from the command line, the environment or a file: read once, never printed.
//!
//! Every secret option comes as a pair: `--x` (`PAYFLEET_X`) with the value, `--x-file` (`PAYFLEET_X_FILE`) with the
//! path of a file that holds it. Nothing here fetches secrets from a service.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A string that must not appear in logs, errors or help: `Debug` and `Display` print a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the one place that hands it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

// With this clap takes `Option<Secret>` as the type of an option.
impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(value: &str) -> Result<Self, Infallible> {
        Ok(value.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why a secret could not be had. Ends a program with [`ExitCode::Usage`](crate::exit::ExitCode::Usage).
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Value and file are both given, and they may differ.
    #[error("--{name} and --{name}-file are both given (an environment variable counts): remove one")]
    Both {
        /// The option, without dashes.
        name: &'static str,
    },
    /// The file cannot be read.
    #[error("--{name}-file: cannot read {}", path.display())]
    Unreadable {
        /// The option, without dashes.
        name: &'static str,
        /// The file that was named.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file holds nothing.
    #[error("--{name}-file: {} is empty", path.display())]
    Empty {
        /// The option, without dashes.
        name: &'static str,
        /// The file that was named.
        path: PathBuf,
    },
    /// Neither is given, and the program cannot do without.
    #[error(
        "--{name} is missing: give it, or set {env}, or name a file that holds it with --{name}-file or {env}_FILE"
    )]
    Missing {
        /// The option, without dashes.
        name: &'static str,
        /// The environment variable of the option.
        env: &'static str,
    },
    /// The token and a file that holds it are both given, and they may be two people's.
    #[error("PAYFLEET_TOKEN and PAYFLEET_TOKEN_FILE (or --token-file) are both given: remove one")]
    TwoTokens,
    /// Somebody must say who they are, and did not.
    #[error(
        "this needs to know who you are: set PAYFLEET_TOKEN to your token, or name a file that holds it with \
         PAYFLEET_TOKEN_FILE or --token-file; `payfleet-coordinator people add` makes one"
    )]
    NoToken,
    /// A row names a credential that this process was not given.
    #[error(
        "the credential {name} of a rail is missing: set PAYFLEET_RAIL_CREDENTIAL_{name}, or name its file with \
         PAYFLEET_RAIL_CREDENTIAL_{name}_FILE"
    )]
    NoCredential {
        /// As the row names it.
        name: String,
    },
}

/// The secret of the option `--{name}`, from its value or from the file named by `--{name}-file`.
///
/// An empty value or path counts as not given: that is what an unset variable becomes in a compose file. One trailing
/// newline of the file is not part of the secret.
pub fn read_secret(
    value: Option<impl Into<Secret>>,
    file: Option<PathBuf>,
    name: &'static str,
) -> Result<Option<Secret>, SecretError> {
    let value = value.map(Into::into).filter(|secret: &Secret| !secret.0.is_empty());
    let file = file.filter(|path| !path.as_os_str().is_empty());
    match (value, file) {
        (Some(_), Some(_)) => Err(SecretError::Both { name }),
        (None, Some(path)) => read_file(path, name).map(Some),
        (value, None) => Ok(value),
    }
}

/// The credential that a tenant's rail names: the value of `PAYFLEET_RAIL_CREDENTIAL_{name}`, or what the file holds
/// that is named by `PAYFLEET_RAIL_CREDENTIAL_{name}_FILE`. Read each time that it is needed, so that a secret can be
/// rotated while the program runs.
pub fn rail_credential(name: &str) -> Result<Secret, SecretError> {
    let variable = format!("PAYFLEET_RAIL_CREDENTIAL_{name}");
    let value = std::env::var(&variable).ok().map(Secret::from);
    let file = std::env::var_os(format!("{variable}_FILE")).map(PathBuf::from);
    read_secret(value, file, "PAYFLEET_RAIL_CREDENTIAL")?
        .ok_or_else(|| SecretError::NoCredential { name: name.to_owned() })
}

/// Who somebody is: the token that `people add` printed. It is never an argument, since those can be read by everybody
/// on the machine. To be flattened into the options of what a person decides.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TokenArgs {
    /// A file that holds your token, instead of the environment variable PAYFLEET_TOKEN
    #[arg(long, env = "PAYFLEET_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// The token, if one is given.
    pub fn given(&self) -> Result<Option<Secret>, SecretError> {
        let value = std::env::var("PAYFLEET_TOKEN").ok().map(Secret::from);
        read_secret(value, self.token_file.clone(), "token").map_err(|error| match error {
            SecretError::Both { .. } => SecretError::TwoTokens,
            other => other,
        })
    }

    /// The token; the error says how to give it.
    pub fn token(&self) -> Result<Secret, SecretError> {
        self.given()?.ok_or(SecretError::NoToken)
    }
}

fn read_file(path: PathBuf, name: &'static str) -> Result<Secret, SecretError> {
    let mut text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(SecretError::Unreadable { name, path, source }),
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(SecretError::Empty { name, path });
    }
    Ok(Secret(text))
}

/// Where Postgres is. To be flattened into a program's options.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DatabaseArgs {
    /// The Postgres to use, as postgres://user:password@host/database
    #[arg(long, env = "PAYFLEET_DATABASE_URL", hide_env_values = true, value_name = "URL", global = true)]
    database_url: Option<Secret>,
    /// A file that holds the database URL, instead of --database-url
    #[arg(long, env = "PAYFLEET_DATABASE_URL_FILE", value_name = "FILE", global = true)]
    database_url_file: Option<PathBuf>,
}

impl DatabaseArgs {
    /// The URL; the error names the options that would have given it.
    pub fn url(&self) -> Result<Secret, SecretError> {
        required(&self.database_url, &self.database_url_file, "database-url", "PAYFLEET_DATABASE_URL")
    }
}

/// Where Redis is. To be flattened into a program's options.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RedisArgs {
    /// The Redis to use, as redis://:password@host:6379/0
    #[arg(long, env = "PAYFLEET_REDIS_URL", hide_env_values = true, value_name = "URL", global = true)]
    redis_url: Option<Secret>,
    /// A file that holds the Redis URL, instead of --redis-url
    #[arg(long, env = "PAYFLEET_REDIS_URL_FILE", value_name = "FILE", global = true)]
    redis_url_file: Option<PathBuf>,
}

impl RedisArgs {
    /// The URL; the error names the options that would have given it.
    pub fn url(&self) -> Result<Secret, SecretError> {
        required(&self.redis_url, &self.redis_url_file, "redis-url", "PAYFLEET_REDIS_URL")
    }
}

fn required(
    value: &Option<Secret>,
    file: &Option<PathBuf>,
    name: &'static str,
    env: &'static str,
) -> Result<Secret, SecretError> {
    read_secret(value.clone(), file.clone(), name)?.ok_or(SecretError::Missing { name, env })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        database: DatabaseArgs,
        #[command(flatten)]
        redis: RedisArgs,
    }

    fn file(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        assert_eq!(secret.expose(), "hunter2");
        let cli = Cli::parse_from(["x", "--database-url", "postgres://u:hunter2@h/d"]);
        assert!(!format!("{cli:?}").contains("hunter2"));
    }

    #[test]
    fn one_trailing_newline_is_not_part_of_it() {
        for (content, secret) in [("s", "s"), ("s\n", "s"), ("s\r\n", "s"), (" s \n\n", " s \n")] {
            let file = file(content);
            let read = read_secret(None::<Secret>, Some(file.path().into()), "token");
            assert_eq!(read.unwrap().unwrap().expose(), secret);
        }
    }

    #[test]
    fn value_and_file_exclude_each_other() {
        let file = file("s");
        let error = read_secret(Some("v".to_owned()), Some(file.path().into()), "token").unwrap_err();
        assert_eq!(
            error.to_string(),
            "--token and --token-file are both given (an environment variable counts): remove one"
        );
    }

    #[test]
    fn empty_means_not_given_but_an_empty_file_is_an_error() {
        assert_eq!(read_secret(Some(String::new()), Some(PathBuf::new()), "token").unwrap(), None);
        let file = file("\n");
        let error = read_secret(None::<String>, Some(file.path().into()), "token").unwrap_err();
        assert!(matches!(error, SecretError::Empty { name: "token", .. }));
        let error = read_secret(None::<String>, Some("/nowhere/at/all".into()), "token");
        assert!(matches!(error.unwrap_err(), SecretError::Unreadable { name: "token", .. }));
    }

    #[test]
    fn a_token_is_read_from_a_file_and_is_no_argument() {
        #[derive(Debug, Parser)]
        struct Deciding {
            #[command(flatten)]
            who: TokenArgs,
        }
        let file = file("payfleet_x\n");
        let path = file.path().to_str().unwrap();
        let who = Deciding::parse_from(["x", "--token-file", path]).who;
        assert_eq!(who.token().unwrap().expose(), "payfleet_x");
        assert!(Deciding::try_parse_from(["x", "--token", "payfleet_x"]).is_err());
        let nobody = TokenArgs::default().token().unwrap_err().to_string();
        for way in ["PAYFLEET_TOKEN ", "PAYFLEET_TOKEN_FILE", "--token-file", "people add"] {
            assert!(nobody.contains(way), "{nobody}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_way_out() {
        let message = DatabaseArgs::default().url().unwrap_err().to_string();
        for part in ["--database-url ", "PAYFLEET_DATABASE_URL,", "--database-url-file", "PAYFLEET_DATABASE_URL_FILE"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(RedisArgs::default().url().unwrap_err().to_string().contains("PAYFLEET_REDIS_URL_FILE"));
        let cli = Cli::parse_from(["x", "--redis-url", "redis://h"]);
        assert_eq!(cli.redis.url().unwrap().expose(), "redis://h");
    }
}
