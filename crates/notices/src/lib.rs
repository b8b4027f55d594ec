//! What rails say unasked: whether a rail has said it, and which payment it is about.
//!
//! Pure: bytes, headers, keys and the time come from the caller, and a [`Notice`] or a [`Refusal`] goes back. Nothing
//! is concluded from a notice; it names a payment that the fleet then asks the rail about. So only names are taken from
//! a body, and neither states nor amounts.

#![warn(missing_docs)]

mod account;
mod certificate;
mod notice;
pub mod paypal;
pub mod stripe;
pub mod wise;

pub use account::{Account, AccountsError, Paypal, PaypalCheck, Stripe, Webhooks, Wise, accounts_from_toml};
pub use certificate::{Authorities, CertificateError, Chain, certificate_url};
pub use notice::{About, Notice, Refusal};

/// The headers of a request, by their names in small letters; nothing where one is missing, is no text, or is there
/// twice, since then nobody knows which of them was signed.
pub type Headers<'a> = dyn Fn(&'static str) -> Option<&'a str> + Sync + 'a;
