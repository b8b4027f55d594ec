//! Rails as plain data: what each promises, so that the coordinator plans by it and the fleet acts on it without
//! linking one.

use std::time::Duration;

use crate::{Currency, DestinationKind};

/// What a rail offers to find out whether a request was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RailClass {
    /// An idempotency key that is remembered for `horizon`: an unknown outcome is resolved by the same bytes under the
    /// same key.
    Key {
        /// How long the rail is certain to remember a key.
        horizon: Duration,
    },
    /// An authoritative lookup by our reference, and no key: an unknown outcome is looked up once the request can no
    /// longer arrive.
    Lookup,
    /// Both: looked up first, then sent again under the same key.
    KeyAndLookup {
        /// How long the rail is certain to remember a key.
        horizon: Duration,
    },
    /// Neither: what went out and was not answered is held for two people. Never sent again.
    Neither,
}

/// How it becomes known what became of a payment that the rail has accepted. Apart from how an unknown request is
/// resolved, which its class says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// The rail is asked, by our key.
    ByKey,
    /// The rail is asked, by its own name of the payment: what it was accepted under (PayPal's `payout_batch_id`, the
    /// number of Wise's transfer). Without that name it cannot be asked.
    ByReference,
    /// Nobody can be asked: statements and files tell.
    ByStatement,
}

/// What the idempotency key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUnit {
    /// Every payout is a request of its own.
    Payout,
    /// A batch is one request; it is paid, refused or unknown under one key.
    Batch,
}

/// A rail's declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rail {
    /// Its name in schema, logs and commands.
    pub name: &'static str,
    /// How an unknown outcome is resolved.
    pub class: RailClass,
    /// How what it accepted is followed.
    pub follow: Follow,
    /// What one request carries.
    pub key_unit: KeyUnit,
    /// Payouts in one batch, at most. Where the key unit is the batch, also what one call may carry.
    pub payouts_per_batch: u32,
    /// Calls a second that the whole fleet may make on one account; `None` is no limit.
    pub calls_per_sec: Option<u32>,
    /// Whether questions count against that rate as payments do.
    pub rate_counts_questions: bool,
    /// After this time from its intent a request can no longer be executed: the rail enforces it, or it is far beyond
    /// what the client waits and the network keeps.
    pub request_lifetime: Duration,
    /// The rail repeats a refusal for the same key for ever, so that no older request under it can still pay.
    pub pins_refusals: bool,
    /// Currencies that it pays; empty is all.
    pub currencies: &'static [&'static str],
    /// Kinds of destinations that it can pay; empty is all.
    pub kinds: &'static [DestinationKind],
    /// The largest single payment in minor units, if there is a limit.
    pub max_minor: Option<i64>,
    /// So long after it was sent an accepted payment is paid, or refused, or its rail cannot be waited for: people
    /// look.
    pub news_within: Duration,
    /// How long after payment money can still come back.
    pub return_window: Duration,
    /// The rail has statements. Of one without them nothing is ever proven but by its answers.
    pub has_statement: bool,
    /// A line may appear on a statement so long after the instant that it bears, although a statement claimed before to
    /// reach that far.
    pub statement_lag: Duration,
    /// It may accept a payment and list it only later, when it is executed or claimed: until then its statement proves
    /// nothing of what nobody here knows to be accepted.
    pub lists_late: bool,
    /// Whether a line of it says to whom a payment went; else key, amount and account tell the payment alone.
    pub statement_names_payee: bool,
    /// Whether each line of it repeats our key. Else a line may be told by the rail's own name for the payment alone,
    /// which its answers brought.
    pub statement_bears_key: bool,
}

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 60 * 60)
}

/// All rails that this build knows.
///
/// The sandbox's four shapes cover the four classes; `null` answers at once inside the worker, for measuring everything
/// else. Real ones follow.
pub const RAILS: &[Rail] = &[
    Rail {
        name: "sandbox-payout",
        class: RailClass::Key { horizon: days(1) },
        follow: Follow::ByStatement,
        key_unit: KeyUnit::Payout,
        payouts_per_batch: 500,
        calls_per_sec: None,
        rate_counts_questions: true,
        request_lifetime: Duration::from_secs(60),
        pins_refusals: true,
        currencies: &[],
        kinds: &[],
        max_minor: None,
        news_within: days(7),
        return_window: days(5),
        has_statement: true,
        statement_lag: Duration::ZERO,
        lists_late: false,
        statement_names_payee: true,
        statement_bears_key: true,
    },
    Rail {
        name: "sandbox-batch",
        class: RailClass::KeyAndLookup { horizon: days(30) },
        follow: Follow::ByKey,
        key_unit: KeyUnit::Batch,
        payouts_per_batch: 500,
        calls_per_sec: None,
        rate_counts_questions: true,
        request_lifetime: Duration::from_secs(60),
        pins_refusals: true,
        currencies: &[],
        kinds: &[],
        max_minor: None,
        news_within: days(45),
        return_window: days(30),
        has_statement: true,
        statement_lag: Duration::ZERO,
        lists_late: true,
        statement_names_payee: true,
        statement_bears_key: true,
    },
    Rail {
        name: "sandbox-lookup",
        class: RailClass::Lookup,
        follow: Follow::ByKey,
        key_unit: KeyUnit::Payout,
        payouts_per_batch: 250,
        calls_per_sec: None,
        rate_counts_questions: true,
        request_lifetime: Duration::from_secs(5),
        pins_refusals: false,
        currencies: &[],
        kinds: &[],
        max_minor: None,
        news_within: days(7),
        return_window: days(5),
        has_statement: true,
        statement_lag: Duration::ZERO,
        lists_late: false,
        statement_names_payee: true,
        statement_bears_key: true,
    },
    Rail {
        name: "sandbox-file",
        class: RailClass::Neither,
        follow: Follow::ByStatement,
        key_unit: KeyUnit::Batch,
        payouts_per_batch: 500,
        calls_per_sec: None,
        rate_counts_questions: true,
        request_lifetime: days(3),
        pins_refusals: false,
        currencies: &[],
        kinds: &[],
        max_minor: None,
        news_within: days(14),
        return_window: days(56),
        has_statement: true,
        statement_lag: Duration::ZERO,
        lists_late: true,
        statement_names_payee: true,
        statement_bears_key: true,
    },
    Rail {
        name: "null",
        class: RailClass::Key { horizon: days(1) },
        follow: Follow::ByStatement,
        key_unit: KeyUnit::Batch,
        payouts_per_batch: 5_000,
        calls_per_sec: None,
        rate_counts_questions: true,
        request_lifetime: Duration::from_secs(60),
        pins_refusals: true,
        currencies: &[],
        kinds: &[],
        max_minor: None,
        news_within: days(1),
        return_window: days(0),
        has_statement: false,
        statement_lag: Duration::ZERO,
        lists_late: false,
        statement_names_payee: true,
        statement_bears_key: true,
    },
    // PayPal Payouts. Class K and not K+L: there is no lookup by `sender_batch_id`. The same bytes under the same id
    // are answered by the first batch's own id (error `USER_BUSINESS_ERROR` with a link), and by that it is followed.
    // A batch that ends DENIED frees its id, so refusals are not pinned; its adapter believes one only when all
    // requests of before are dead, and the fleet only if none of them can have made another batch.
    Rail {
        name: "paypal",
        class: RailClass::Key { horizon: days(30) },
        follow: Follow::ByReference,
        key_unit: KeyUnit::Batch,
        payouts_per_batch: 1_000,
        calls_per_sec: Some(6),
        // "400 POSTs a minute" (Payouts API).
        rate_counts_questions: false,
        request_lifetime: Duration::from_secs(120),
        pins_refusals: false,
        // PayPal, "Currency codes".
        currencies: &[
            "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS", "JPY", "MXN", "MYR",
            "NOK", "NZD", "PHP", "PLN", "RUB", "SEK", "SGD", "THB", "TWD", "USD",
        ],
        kinds: &[DestinationKind::Email, DestinationKind::PaypalId, DestinationKind::Phone],
        max_minor: None,
        news_within: days(45),
        return_window: days(30),
        has_statement: true,
        // Transaction Search: "up to three hours".
        statement_lag: Duration::from_secs(3 * 60 * 60),
        lists_late: true,
        statement_names_payee: false,
        // `custom_field` "usually" carries it (Transaction Search).
        statement_bears_key: false,
    },
    // Stripe Connect, transfers. Class L and not K+L: refusals before execution are not stored, and stored ones for a
    // day only ("Idempotent requests"), so a refusal that is seen while an older request is under way is no proof; on
    // L all are dead before anything is concluded. Its key is sent all the same.
    Rail {
        name: "stripe",
        class: RailClass::Lookup,
        follow: Follow::ByKey,
        key_unit: KeyUnit::Payout,
        payouts_per_batch: 500,
        calls_per_sec: Some(20),
        rate_counts_questions: true,
        request_lifetime: Duration::from_secs(90),
        pins_refusals: false,
        currencies: &[],
        kinds: &[DestinationKind::StripeAccount],
        max_minor: None,
        news_within: days(7),
        return_window: days(10),
        has_statement: true,
        statement_lag: Duration::from_secs(5 * 60),
        lists_late: false,
        statement_names_payee: true,
        statement_bears_key: true,
    },
    // Wise. Class L and not K+L, for the reason of `stripe`: how long a `customerTransactionId` is remembered is not
    // published, and that funding was refused does not stop a request for it that is under way.
    Rail {
        name: "wise",
        class: RailClass::Lookup,
        follow: Follow::ByReference,
        key_unit: KeyUnit::Payout,
        payouts_per_batch: 500,
        calls_per_sec: Some(10),
        rate_counts_questions: true,
        request_lifetime: Duration::from_secs(90),
        pins_refusals: false,
        currencies: &[],
        kinds: &[DestinationKind::WiseRecipient],
        max_minor: None,
        news_within: days(45),
        return_window: days(30),
        has_statement: true,
        statement_lag: Duration::from_secs(60 * 60),
        lists_late: false,
        statement_names_payee: false,
        // Only as the reference of the transfer, where Wise takes it.
        statement_bears_key: false,
    },
];

/// No rail of this build has the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rail of this build; there are: {names}", names = names())]
pub struct UnknownRail(pub String);

fn names() -> String {
    RAILS.iter().map(|rail| rail.name).collect::<Vec<_>>().join(", ")
}

impl Rail {
    /// The declaration of the rail with this name.
    pub fn named(name: &str) -> Result<&'static Rail, UnknownRail> {
        RAILS.iter().find(|rail| rail.name == name).ok_or_else(|| UnknownRail(name.to_owned()))
    }

    /// When a request of an attempt opened now is certainly dead, in time after its intent: its lifetime, and half as
    /// much again for clocks that differ.
    pub fn dead_after(&self) -> Duration {
        self.request_lifetime + self.request_lifetime / 2
    }

    /// Whether the rail itself lists its payments when it is asked. A bank's statements are files that people bring.
    pub fn lists_itself(&self) -> bool {
        self.has_statement && self.class != RailClass::Neither
    }

    /// Whether a payment that it refuses after it had accepted it frees its key. Asked by its own name, such a rail
    /// tells of one request and not of the payment: another request under the key may have been accepted under another
    /// name, and only the same request again tells, since it is answered by that name, or is the payment.
    pub fn refusal_frees_key(&self) -> bool {
        self.follow == Follow::ByReference && matches!(self.class, RailClass::Key { .. }) && !self.pins_refusals
    }

    /// Whether it pays this currency.
    pub fn pays(&self, currency: Currency) -> bool {
        self.currencies.is_empty() || self.currencies.contains(&currency.code())
    }

    /// Whether it can pay destinations of this kind.
    pub fn reaches(&self, kind: DestinationKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

impl RailClass {
    /// The class as screens and documents write it (crates/README.md, Rails).
    pub fn letter(&self) -> &'static str {
        match self {
            RailClass::Key { .. } => "K",
            RailClass::Lookup => "L",
            RailClass::KeyAndLookup { .. } => "K+L",
            RailClass::Neither => "N",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_dead_after_its_lifetime_and_half_as_much_again() {
        let lookup = Rail::named("sandbox-lookup").expect("a rail of this build");
        assert_eq!(lookup.dead_after(), Duration::from_millis(7_500));
        assert_eq!(days(2), Duration::from_secs(172_800));
    }

    #[test]
    fn a_rail_that_names_currencies_pays_no_others() {
        let [eur, jpy]: [Currency; 2] = ["EUR", "JPY"].map(|code| code.parse().expect("a code of ISO 4217"));
        let euros = Rail { currencies: &["EUR"], ..RAILS[0] };
        assert!(euros.pays(eur) && !euros.pays(jpy));
        assert!(RAILS[0].pays(jpy), "none named is all");
    }

    #[test]
    fn a_rail_that_names_kinds_reaches_no_others() {
        let addresses = Rail { kinds: &[DestinationKind::Email, DestinationKind::PaypalId], ..RAILS[0] };
        let reached: Vec<_> = DestinationKind::ALL.into_iter().filter(|kind| addresses.reaches(*kind)).collect();
        assert_eq!(reached, [DestinationKind::Email, DestinationKind::PaypalId]);
        for rail in RAILS.iter().filter(|rail| rail.kinds.is_empty()) {
            assert!(
                DestinationKind::ALL.into_iter().all(|kind| rail.reaches(kind)),
                "{}: none named is all",
                rail.name
            );
        }
    }

    #[test]
    fn only_paypal_frees_a_key_by_a_refusal() {
        let frees: Vec<_> = RAILS.iter().filter(|rail| rail.refusal_frees_key()).map(|rail| rail.name).collect();
        assert_eq!(frees, ["paypal"]);
    }

    #[test]
    fn only_what_pays_nobody_has_no_statement() {
        let without: Vec<_> = RAILS.iter().filter(|rail| !rail.has_statement).map(|rail| rail.name).collect();
        assert_eq!(without, ["null"]);
    }

    #[test]
    fn an_unknown_rail_is_told_which_there_are() {
        let told = Rail::named("paper").map_err(|unknown| unknown.to_string());
        let names = "sandbox-payout, sandbox-batch, sandbox-lookup, sandbox-file, null, paypal, stripe, wise";
        assert_eq!(told, Err(format!("`paper` is not a rail of this build; there are: {names}")));
    }
}
