//! Access tokens: fetched once, shared by all calls of the process, and renewed a minute early. They are no state of
//! money: one that is lost costs a request.

use std::collections::HashMap;
use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::lock::Mutex;

use crate::Credential;
use crate::cause::Cause;

/// So long before its end a token is not used any more.
const EARLY: Duration = Duration::from_secs(60);

/// The tokens of one account, by the credential that brought them: several tenants may have one each.
#[derive(Default)]
pub(crate) struct Tokens {
    held: Mutex<HashMap<String, Held>>,
}

#[derive(Default)]
struct Held {
    token: Option<Token>,
    until: Option<Instant>,
    /// When none could be had, and why.
    failed: Option<(Instant, Cause)>,
}

/// What a call shows. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    text: String,
    /// No call before this one has shown it.
    pub(crate) is_new: bool,
}

/// A token as the rail gave it.
pub(crate) struct Issued {
    pub(crate) text: String,
    pub(crate) lives: Duration,
}

impl Token {
    pub(crate) fn expose(&self) -> &str {
        &self.text
    }
}

impl Tokens {
    /// A token that can be used now. One is fetched if there is none; whoever comes meanwhile waits for the same one,
    /// and is told the same if it cannot be had.
    pub(crate) async fn token<F>(&self, credential: &Credential, fetch: impl FnOnce() -> F) -> Result<Token, Cause>
    where
        F: Future<Output = Result<Issued, Cause>>,
    {
        let asked = Instant::now();
        let mut tokens = self.held.lock().await;
        let held = tokens.entry(credential.expose().to_owned()).or_default();
        if let (Some(token), Some(until)) = (&held.token, held.until)
            && until > Instant::now()
        {
            return Ok(token.clone());
        }
        if let Some((at, cause)) = &held.failed
            && *at >= asked
        {
            return Err(cause.clone());
        }
        match fetch().await {
            Ok(issued) => {
                let token = Token { text: issued.text, is_new: true };
                *held = Held {
                    token: Some(Token { is_new: false, ..token.clone() }),
                    // Of one that lives no longer than that, each is used once.
                    until: Instant::now().checked_add(issued.lives.saturating_sub(EARLY)),
                    failed: None,
                };
                Ok(token)
            }
            Err(cause) => {
                let cause = match cause {
                    // Who we are was refused, and not this request for a token alone.
                    Cause::Unauthorised => Cause::Unauthorised,
                    cause => Cause::NoToken(cause.reason()),
                };
                *held = Held { failed: Some((Instant::now(), cause.clone())), ..Held::default() };
                Err(cause)
            }
        }
    }

    /// The rail did not accept this token: the next call fetches another, unless somebody has done so already.
    pub(crate) async fn refused(&self, credential: &Credential, token: &Token) {
        if let Some(held) = self.held.lock().await.get_mut(credential.expose())
            && held.token.as_ref().is_some_and(|known| known.text == token.text)
        {
            held.token = None;
        }
    }
}
