//! All payment processors: what an adapter is, which there are, and the conformance suite that each must pass.
//!
//! A rail promises by its declaration in `domain`; an adapter turns one request into what is *known* about each payout
//! afterwards. It decides nothing: not whether to send, not when to send again, not what an unknown outcome becomes. It
//! keeps no state besides its connections, knows neither database nor queue, and never writes a destination, an amount
//! or a secret to a log or an error.

#![warn(missing_docs)]

mod accounts;
mod adapter;
mod cause;
mod checks;
mod decimal;
#[doc(hidden)]
pub mod hostile;
mod null;
mod oauth;
mod pages;
mod paypal;
mod registry;
mod sandbox;
mod stripe;
mod transport;
mod wise;

pub use accounts::{Accounts, FundingAccount, Limits, PaypalAccount, StripeAccount, WiseAccount};
pub use adapter::{
    Account, Adapter, Answer, Call, Credential, Finding, Going, Instruction, Pace, Payee, StatementError,
    StatementItem, StatementStream, Turns,
};
pub use paypal::Paypal;
pub use registry::{RailsConfig, RealRails, Registry, RegistryError};
pub use stripe::{BankPayout, BankPayoutState, Stripe};
pub use wise::{Group, Recipient, RecipientMade, Wise};
