//! What may happen, and how a story tells it.

use std::fmt;

use payfleet_domain::{Effect, NextStep};

use crate::others::Person;
use crate::world::{Answer, Who};

/// What may happen.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    Lease(Who, NextStep),
    LookUp(Who, Option<Answer>),
    LookUpFails(Who),
    Intent(Who, Option<usize>),
    Hold(Who),
    Call(Who, usize),
    CallNot(Who, usize),
    Arrive { n: usize, answer: Answer, to: Option<Who> },
    AnswerLost { n: usize, answer: Answer },
    Busy { n: usize, to: Who },
    Duplicate(usize),
    TimeOut(Who, usize),
    Record(Who, Answer),
    RecordUnconfirmed(Who, Answer),
    Crash(Who),
    Tick,
    TickLosesLease(Who),
    Cancel,
    Settles,
    Fails,
    Statement,
    Absent,
    Say(Person, &'static str, Effect),
    NextRun,
    Pause,
    Resume,
    Control,
    Hears(Who),
    InEffect,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Action::Lease(who, step) => match step {
                NextStep::WaitUntil(_) | NextStep::AwaitStatement(_) => {
                    write!(f, "{who:?} takes the lease, must wait, and gives it back")
                }
                step => write!(f, "{who:?} takes the lease; next step: {step:?}"),
            },
            Action::LookUp(who, Some(answer)) => write!(f, "{who:?} asks the rail, which says: {answer:?}"),
            Action::LookUp(who, None) => write!(f, "{who:?} asks the rail, which says: not found"),
            Action::LookUpFails(who) => write!(f, "{who:?} asks the rail and gets no answer"),
            Action::Intent(who, Some(n)) => write!(f, "{who:?} has its intent: attempt {}", n + 1),
            Action::Intent(who, None) => write!(f, "{who:?} gets no intent"),
            Action::Hold(who) => write!(f, "{who:?} holds the batch for people"),
            Action::Call(who, n) => write!(f, "{who:?} calls: attempt {} is under way", n + 1),
            Action::CallNot(who, n) => write!(f, "{who:?} does not call for attempt {} after all", n + 1),
            Action::Arrive { n, answer, to: Some(who) } => {
                write!(f, "attempt {} arrives; {who:?} gets the answer: {answer:?}", n + 1)
            }
            Action::Arrive { n, answer, to: None } => write!(f, "attempt {} arrives: {answer:?}; nobody waits", n + 1),
            Action::AnswerLost { n, answer } => write!(f, "attempt {} arrives: {answer:?}; the answer is lost", n + 1),
            Action::Busy { n, to } => write!(f, "attempt {} arrives; {to:?} gets the answer: not executed", n + 1),
            Action::Duplicate(n) => write!(f, "the network duplicates attempt {}", n + 1),
            Action::TimeOut(who, n) => write!(f, "{who:?} no longer waits for attempt {}", n + 1),
            Action::Record(who, answer) => write!(f, "{who:?} records: {answer:?}"),
            Action::RecordUnconfirmed(who, answer) => {
                write!(f, "{who:?} records: {answer:?}; the connection breaks after the commit")
            }
            Action::Crash(who) => write!(f, "{who:?} crashes"),
            Action::Tick => write!(f, "time passes"),
            Action::TickLosesLease(who) => write!(f, "time passes; {who:?} is stopped and its lease ends"),
            Action::Cancel => write!(f, "the run is cancelled, and the batch with it if it was not sent"),
            Action::Settles => write!(f, "the rail pays what it accepted"),
            Action::Fails => write!(f, "the rail refuses what it accepted"),
            Action::Statement => write!(f, "the statement shows the payment"),
            Action::Absent => write!(f, "a statement that reaches past the death of every attempt does not show it"),
            Action::Say(person, says, effect) => write!(f, "somebody {person:?} says {says}, which {effect}"),
            Action::NextRun => write!(f, "the next run pays the money that was released"),
            Action::Pause => write!(f, "the run is paused"),
            Action::Resume => write!(f, "the run is resumed"),
            Action::Control => write!(f, "the affiliate is put on hold"),
            Action::Hears(who) => write!(f, "{who:?} hears of the stop and confirms it"),
            Action::InEffect => write!(f, "the stop is in effect"),
        }
    }
}
