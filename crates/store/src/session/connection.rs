//! A connection on loan.

use std::fmt;
use std::ops::{Deref, DerefMut};

use deadpool::managed::Object;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Error};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{CLEAR, Manager, Session, Sessions, silence};

/// A connection on loan. Given back when dropped, unless it is kept, given up, or in a transaction.
pub(crate) struct Connection {
    pub(super) session: Option<Held>,
    /// Given back after it.
    pub(super) place: Option<OwnedSemaphorePermit>,
    pub(super) sessions: Sessions,
    pub(super) number: u64,
}

pub(super) enum Held {
    /// Of the pool.
    Lent(Object<Manager>),
    /// Beside it, from now on to its end.
    Kept(Session),
}

impl Held {
    fn take(self) -> Session {
        match self {
            Held::Lent(session) => Object::take(session),
            Held::Kept(session) => session,
        }
    }
}

impl Connection {
    /// Has it stay with its holder from now on, whatever task that is, and end with it: what the session has (locks,
    /// tables, an open transaction) is nobody else's. The pool has a place for another one.
    pub(crate) fn keep(mut self) -> Connection {
        self.session = self.session.take().map(|session| Held::Kept(session.take()));
        self.place = None;
        if let Some(in_use) = self.sessions.inner.in_use().get_mut(&self.number) {
            in_use.lifeline = None;
        }
        self
    }

    /// Ends it, and waits a moment for the server to know.
    pub(crate) async fn end(self) -> Result<(), Error> {
        tokio::time::timeout(CLEAR, self.detach().close()).await.unwrap_or_else(|_| Err(silence()))
    }

    /// Takes it out, for somebody who watches it by other means.
    pub(crate) fn detach(mut self) -> PgConnection {
        let session = self.session.take().expect("it is there until it is dropped");
        session.take().connection
    }

    /// Whether the task that holds it was told that it is lost.
    fn is_given_up(&self) -> bool {
        let in_use = self.sessions.inner.in_use();
        in_use.get(&self.number).is_some_and(|held| held.lifeline.as_ref().is_some_and(CancellationToken::is_cancelled))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let is_given_up = self.is_given_up();
        self.sessions.inner.in_use().remove(&self.number);
        // The server rolls back what is open when it sees the end of the connection, at once.
        if let Some(Held::Lent(session)) = self.session.take()
            && (is_given_up || session.connection.is_in_transaction())
        {
            drop(Object::take(session));
        }
    }
}

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self.session.as_ref().expect("it is there until it is dropped") {
            Held::Lent(session) => &session.connection,
            Held::Kept(session) => &session.connection,
        }
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self.session.as_mut().expect("it is there until it is dropped") {
            Held::Lent(session) => &mut session.connection,
            Held::Kept(session) => &mut session.connection,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("number", &self.number).finish_non_exhaustive()
    }
}
