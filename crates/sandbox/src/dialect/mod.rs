//! What the dialects of PayPal, Stripe and Wise have in common: what they remember, balances, credentials, notices.
//!
//! All of it follows from records in `faults.jsonl` and from the lines of the journal that returns and second payments
//! make; the same `apply` and `follow` build it live and after a restart. What moved money is judged by the journal
//! alone.

pub mod admin;
pub mod book;
pub mod call;
pub mod faults;
pub mod hooks;
pub mod limit;
pub mod money;
pub mod sign;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use axum::http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

pub use call::{Answer, Kind, call, execute_late};

use crate::core::Core;
use crate::lies::Phantom;
use crate::movement::Movement;
use crate::paypal::state::{Paypal, PaypalRecord};
use crate::stripe::state::{Stripe, StripeRecord};
use crate::wire::{At, Shape};
use crate::wise::state::{Wise, WiseRecord};
use crate::{paypal, stripe, wise};
use hooks::{Hook, Notice, Notices};
use limit::Limits;

/// What an account has at a vendor before anything happens, in the vendor's smallest unit: more than any test spends.
pub const OPENING_MINOR: i64 = 1_000_000_000_000_000;

/// What a dialect keeps. The line that it concerns, if any, is beside it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A balance changed by something else than a payment.
    Balance {
        /// Of which dialect
        shape: Shape,
        /// and account.
        account: String,
        /// ISO 4217.
        currency: String,
        /// By so much, in the vendor's smallest unit.
        change_minor: i64,
    },
    /// A credential is refused from now on, or taken again.
    Revoked {
        /// Which; of PayPal a client id or a token.
        credential: String,
        /// Whether it is refused.
        revoked: bool,
    },
    /// Where notices go to.
    Hook {
        /// Of which dialect.
        shape: Shape,
        /// Nowhere, if it is not said.
        hook: Option<Hook>,
    },
    /// Of Stripe.
    Stripe(StripeRecord),
    /// Of PayPal.
    Paypal(PaypalRecord),
    /// Of Wise.
    Wise(WiseRecord),
}

/// What an account has, by currency.
#[derive(Default)]
pub struct Balances(BTreeMap<(Shape, String, String), i64>);

impl Balances {
    /// In the vendor's smallest unit.
    pub fn of(&self, shape: Shape, account: &str, currency: &str) -> i64 {
        self.0.get(&(shape, account.to_owned(), currency.to_owned())).copied().unwrap_or(OPENING_MINOR)
    }

    /// More or, below 0, less.
    pub fn change(&mut self, shape: Shape, account: &str, currency: &str, by_minor: i64) {
        let balance = self.0.entry((shape, account.to_owned(), currency.to_owned())).or_insert(OPENING_MINOR);
        *balance = balance.saturating_add(by_minor);
    }

    /// All that an account ever had something of.
    pub fn all(&self, shape: Shape, account: &str) -> impl Iterator<Item = (&str, i64)> {
        let from = (shape, account.to_owned(), String::new());
        let balances = self.0.range((Bound::Included(from), Bound::Unbounded));
        let owned = account.to_owned();
        balances
            .take_while(move |((other, name, _), _)| *other == shape && *name == owned)
            .map(|((_, _, currency), balance)| (currency.as_str(), *balance))
    }
}

/// See the module.
#[derive(Default)]
pub struct Dialects {
    /// Of Stripe.
    pub stripe: Stripe,
    /// Of PayPal.
    pub paypal: Paypal,
    /// Of Wise.
    pub wise: Wise,
    /// Of all three.
    pub balances: Balances,
    /// Requests of the current window.
    pub limits: Limits,
    /// Credentials that are refused.
    pub revoked: HashSet<String>,
    /// Where notices go to.
    pub hooks: HashMap<Shape, Hook>,
    /// What is to be sent.
    pub notices: Notices,
    /// Answers given, for the ids that vendors give to requests.
    pub requests: u64,
}

impl Dialects {
    /// Takes in what was kept.
    pub fn apply(&mut self, line: u64, record: Record) {
        match record {
            Record::Balance { shape, account, currency, change_minor } => {
                self.balances.change(shape, &account, &currency, change_minor);
            }
            Record::Revoked { credential, revoked } => {
                match revoked {
                    true => self.revoked.insert(credential),
                    false => self.revoked.remove(&credential),
                };
            }
            Record::Hook { shape, hook } => {
                match hook {
                    Some(hook) => self.hooks.insert(shape, hook),
                    None => self.hooks.remove(&shape),
                };
            }
            Record::Stripe(record) => self.stripe.apply(line, record, &mut self.balances),
            Record::Paypal(record) => self.paypal.apply(record, &mut self.balances),
            Record::Wise(record) => self.wise.apply(line, record, &mut self.balances),
        }
    }

    /// Takes in what came later to a payment: money that came back, or a second payment that nobody asked for.
    pub fn follow(&mut self, movement: &Movement<'_>) {
        match movement.shape {
            Shape::Stripe => self.stripe.follow(movement, &mut self.balances),
            Shape::Paypal => self.paypal.follow(movement, &mut self.balances),
            Shape::Wise => self.wise.follow(movement, &mut self.balances),
            Shape::Payout | Shape::Batch | Shape::Lookup | Shape::File => {}
        }
    }

    /// Takes in a payment that is told and never was.
    pub fn invent(&mut self, line: u64, phantom: &Phantom) {
        match phantom.shape {
            Shape::Stripe => self.stripe.invent(line, phantom),
            Shape::Paypal => self.paypal.invent(line, phantom),
            Shape::Wise => self.wise.invent(line, phantom),
            Shape::Payout | Shape::Batch | Shape::Lookup | Shape::File => {}
        }
    }

    /// No key is known from now on.
    pub fn forget_keys(&mut self) {
        self.stripe.forget_keys();
        self.paypal.forget_keys();
        self.wise.forget_keys();
    }

    /// Has something told, if anybody wants to know.
    pub fn notify(&mut self, shape: Shape, at: At, id: String, body: String) {
        if self.hooks.contains_key(&shape) {
            self.notices.push(Notice { shape, due: at, id, about: None, body, tries: 0, is_extra: false });
        }
    }

    /// Whether notices of this dialect go anywhere.
    pub fn is_heard(&self, shape: Shape) -> bool {
        self.hooks.contains_key(&shape)
    }

    /// A number for the next request.
    pub fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }
}

/// Has it told that money came back, or that a payment was made again.
pub fn told_later(core: &mut Core, movement: &Movement<'_>) {
    match movement.shape {
        Shape::Stripe => stripe::told_later(core, movement),
        Shape::Paypal => paypal::told_return(core, movement),
        Shape::Wise => wise::told_return(core, movement),
        Shape::Payout | Shape::Batch | Shape::Lookup | Shape::File => {}
    }
}

/// What the caller bears as `Authorization: Bearer`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::trim).filter(|token| !token.is_empty())
}

/// A header as text.
pub fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The parts of a query or of a form, decoded, in their order.
pub fn form(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// The first part of this name.
pub fn part<'f>(form: &'f [(String, String)], name: &str) -> Option<&'f str> {
    form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}
