//! Why a command was not done, and the exit code that says so to scripts.

use std::fmt;

use payfleet_memory::MemoryError;
use payfleet_queue::QueueError;
use payfleet_runtime::exit::ExitCode;
use payfleet_runtime::secret::SecretError;
use payfleet_runtime::telemetry::{LogArgs, LogFormat};
use payfleet_store::{
    AlarmError, ConfirmError, ControlError, HoldError, PeopleError, RecoveryError, ResumeError, RunChangeError,
    RunCreateError, StoreError, chain,
};

/// What a person reads, and what a script acts on.
#[derive(Debug)]
pub struct Failure {
    code: ExitCode,
    message: String,
}

impl Failure {
    /// The command line is wrong, or names what does not exist.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { code: ExitCode::Usage, message: message.into() }
    }

    /// The input is wrong; nothing of it was taken.
    pub fn input(message: impl Into<String>) -> Failure {
        Failure { code: ExitCode::BadInput, message: message.into() }
    }

    /// Another is at it, or a person has stopped it.
    pub fn busy(message: impl Into<String>) -> Failure {
        Failure { code: ExitCode::Busy, message: message.into() }
    }

    /// A fault in the program or its data.
    pub fn broken(message: impl Into<String>) -> Failure {
        Failure { code: ExitCode::Broken, message: message.into() }
    }

    /// What a script is told.
    pub fn code(&self) -> ExitCode {
        self.code
    }

    /// Says it on stderr, in the form of the logs, and gives the code to end with.
    pub fn tell(self, log: &LogArgs) -> ExitCode {
        match log.log_format {
            LogFormat::Text => eprintln!("error: {}", self.message),
            LogFormat::Json => tracing::error!(exit_code = self.code.code(), "{}", self.message),
        }
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let code = match &error {
            StoreError::Url => ExitCode::Usage,
            StoreError::Unreachable { .. }
            | StoreError::Unfit { .. }
            | StoreError::Schema(_)
            | StoreError::Behind(_)
            | StoreError::Memory(_) => ExitCode::Unavailable,
            StoreError::Statement { .. } if error.is_outage() => ExitCode::Unavailable,
            StoreError::Statement { .. } | StoreError::Broken(_) => ExitCode::Broken,
        };
        Failure { code, message: chain(&error) }
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Failure {
        let code = match &error {
            QueueError::Url(_) | QueueError::Prefix(_) | QueueError::Rate { .. } => ExitCode::Usage,
            QueueError::Unreachable { .. }
            | QueueError::Evicts { .. }
            | QueueError::Command { .. }
            | QueueError::Answer { .. } => ExitCode::Unavailable,
        };
        Failure { code, message: chain(&error) }
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Failure {
        Failure::usage(chain(&error))
    }
}

impl From<RunCreateError> for Failure {
    fn from(error: RunCreateError) -> Failure {
        match error {
            RunCreateError::Store(error) => error.into(),
            busy @ RunCreateError::StillPlanning(_) => Failure::busy(busy.to_string()),
            RunCreateError::OutOfOrder { .. }
            | RunCreateError::SkipsMonths { .. }
            | RunCreateError::SequenceGap { .. }
            | RunCreateError::NotOver(_) => Failure::usage(error.to_string()),
        }
    }
}

impl From<RunChangeError> for Failure {
    fn from(error: RunChangeError) -> Failure {
        match error {
            RunChangeError::Store(error) => error.into(),
            RunChangeError::Unknown(_) | RunChangeError::Illegal { .. } => Failure::usage(error.to_string()),
            RunChangeError::Alarmed(_) => Failure::busy(error.to_string()),
        }
    }
}

impl From<AlarmError> for Failure {
    fn from(error: AlarmError) -> Failure {
        match error {
            AlarmError::Store(error) => error.into(),
            AlarmError::NotOpen(_) | AlarmError::Who(_) => Failure::usage(error.to_string()),
        }
    }
}

impl From<ResumeError> for Failure {
    fn from(error: ResumeError) -> Failure {
        match error {
            ResumeError::Store(error) => error.into(),
            ResumeError::Who(who) => Failure::usage(who.to_string()),
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Failure {
        match error {
            ControlError::Store(error) => error.into(),
            ControlError::NoPayout(_)
            | ControlError::NoAffiliate(_)
            | ControlError::Settled { .. }
            | ControlError::NotStopped(_)
            | ControlError::NotOnHold(_)
            | ControlError::Recovered { .. }
            | ControlError::NotRecovered(_)
            | ControlError::WordsOfRecovery
            | ControlError::Who(_)
            | ControlError::SamePerson(_) => Failure::usage(error.to_string()),
        }
    }
}

impl From<HoldError> for Failure {
    fn from(error: HoldError) -> Failure {
        match error {
            HoldError::Store(error) => error.into(),
            later @ (HoldError::NotBefore { .. } | HoldError::NotBeforeStatement { .. }) => {
                Failure::busy(later.to_string())
            }
            HoldError::NotHeld(_)
            | HoldError::Who(_)
            | HoldError::SamePerson(_)
            | HoldError::Control { .. }
            | HoldError::OnStatement { .. } => Failure::usage(error.to_string()),
        }
    }
}

impl From<ConfirmError> for Failure {
    fn from(error: ConfirmError) -> Failure {
        match error {
            ConfirmError::Store(error) => error.into(),
            ConfirmError::NotWaiting(_)
            | ConfirmError::Several { .. }
            | ConfirmError::NotContested(_)
            | ConfirmError::Who(_)
            | ConfirmError::SamePerson(_) => Failure::usage(error.to_string()),
        }
    }
}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Failure {
        match error {
            MemoryError::Store(error) => error.into(),
            MemoryError::State(error) => Failure::usage(chain(&error)),
        }
    }
}

impl From<RecoveryError> for Failure {
    fn from(error: RecoveryError) -> Failure {
        match error {
            RecoveryError::Store(error) => error.into(),
            RecoveryError::NotRead(_) => Failure::busy(error.to_string()),
            RecoveryError::NotOpen
            | RecoveryError::Pending(_)
            | RecoveryError::Who(_)
            | RecoveryError::SamePerson(_) => Failure::usage(error.to_string()),
        }
    }
}

impl From<PeopleError> for Failure {
    fn from(error: PeopleError) -> Failure {
        match error {
            PeopleError::Store(error) => error.into(),
            PeopleError::Who(_)
            | PeopleError::NoToken
            | PeopleError::FirstIsAdministrator
            | PeopleError::NameTaken(_)
            | PeopleError::NoSuchPerson(_)
            | PeopleError::LastAdministrator(_) => Failure::usage(error.to_string()),
        }
    }
}
