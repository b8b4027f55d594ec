//! The judge: what really happened, by the sandbox's journal, against what was planned. Of outcomes nothing that our
//! database says is believed: it is judged too, by the same invariants as a statement.

use std::collections::{BTreeMap, HashMap, HashSet};

use payfleet_domain::invariant::{PaymentFacts, PayoutFacts, broken, every_payment_is_planned};
use payfleet_domain::{DiscrepancyKind, PaymentAccount, Witness};
use serde::Deserialize;
use sqlx::{PgPool, Row};

/// Debits and credits of everything that the ledger has, in each currency.
pub async fn ledger_sums(database: &PgPool) -> Result<BTreeMap<String, i128>, sqlx::Error> {
    let sums: Vec<(String, String)> =
        sqlx::query_as("SELECT currency::text, sum(amount_minor)::text FROM ledger_entry GROUP BY currency")
            .fetch_all(database)
            .await?;
    Ok(sums.into_iter().map(|(currency, sum)| (currency, sum.parse().expect("a sum is a number"))).collect())
}

/// A movement of money, as the sandbox wrote it down.
#[derive(Debug, Clone, Deserialize)]
pub struct Movement {
    /// The payout's key.
    pub key: String,
    /// The rail's name for it.
    #[serde(default)]
    pub id: String,
    /// Minor units.
    pub amount_minor: i64,
    /// What the rail kept of money that came back.
    #[serde(default)]
    pub fee_minor: i64,
    /// Its currency.
    pub currency: String,
    /// Where to.
    pub destination: String,
    /// `paid`, `refused` or `returned`.
    pub event: String,
    /// When the sandbox executed it.
    #[serde(with = "time::serde::rfc3339")]
    pub at: time::OffsetDateTime,
    /// The account that it was paid from.
    #[serde(default)]
    pub account: String,
    /// A payment that nobody asked for.
    #[serde(default)]
    pub extra: bool,
    /// The number of the plan by which it happened later than it was asked for; only in the sandbox's own file.
    #[serde(default)]
    pub plan: Option<u64>,
    /// Why it was refused or came back.
    #[serde(default)]
    pub code: Option<String>,
    /// The batch or file that it came in.
    #[serde(default)]
    pub batch: Option<String>,
    /// The payment that came back, or the one that was refused after it was accepted.
    #[serde(default)]
    pub of_id: Option<String>,
}

impl Movement {
    /// The payout that its key names, or -1.
    pub fn payout(&self) -> i64 {
        self.key.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(-1)
    }
}

/// A payout as it was planned.
#[derive(Debug, Clone)]
pub struct PlannedPayout {
    /// Its number; a key begins with it.
    pub id: i64,
    /// Minor units.
    pub amount_minor: i64,
    /// Its currency.
    pub currency: String,
    /// Where to.
    pub destination: String,
    /// Where our database says that it stands.
    pub state: String,
}

/// What journal and plan say together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Planned payouts.
    pub planned: usize,
    /// Planned payouts that were paid exactly once, with amount, currency and destination as planned.
    pub paid_once: usize,
    /// Payouts with more than one payment.
    pub twice: Vec<i64>,
    /// Payments that nobody planned, or with another amount, currency or destination, or that our database denies.
    pub wrong: Vec<String>,
    /// Planned payouts without a payment, with the state that our database gives them.
    pub unpaid: Vec<(i64, String)>,
}

/// Every payout of a run, as planned.
pub async fn planned(database: &PgPool, run: i64) -> Vec<PlannedPayout> {
    let rows = sqlx::query(
        "SELECT p.id, p.amount_minor, p.currency, m.destination, p.state
           FROM payout p JOIN payout_method m ON m.id = p.method_id WHERE p.run_id = $1",
    )
    .bind(run)
    .fetch_all(database)
    .await
    .expect("the plan can be read");
    rows.iter()
        .map(|row| PlannedPayout {
            id: row.get("id"),
            amount_minor: row.get("amount_minor"),
            currency: row.get("currency"),
            destination: row.get("destination"),
            state: row.get("state"),
        })
        .collect()
}

/// Holds the journal against the plans of some runs, which must be all that the journal is about.
pub fn judge(planned: &[PlannedPayout], journal: &[Movement]) -> Verdict {
    let mut movements: HashMap<i64, Vec<&Movement>> = HashMap::new();
    let mut verdict = Verdict { planned: planned.len(), ..Verdict::default() };
    let known: HashSet<i64> = planned.iter().map(|payout| payout.id).collect();
    for movement in journal.iter().filter(|movement| movement.event != "refused") {
        let id = movement.payout();
        if every_payment_is_planned(&PaymentFacts { is_planned: known.contains(&id) }) {
            movements.entry(id).or_default().push(movement);
        } else {
            verdict.wrong.push(movement.key.clone());
        }
    }
    for payout in planned {
        let movements = movements.remove(&payout.id).unwrap_or_default();
        let facts = facts(payout, &movements);
        let broken = broken(&facts);
        if broken.contains(&DiscrepancyKind::PaidTwice) {
            verdict.twice.push(payout.id);
        }
        // One that counts as paid and was not is told by its state.
        let wrong =
            |kind: &&DiscrepancyKind| !matches!(kind, DiscrepancyKind::PaidTwice | DiscrepancyKind::NotOnStatement);
        let told = |kind: &DiscrepancyKind| format!("{}, {}: {kind}", payout.id, payout.state);
        verdict.wrong.extend(broken.iter().filter(wrong).map(told));
        match movements.iter().filter(|movement| movement.event == "paid").count() {
            0 => verdict.unpaid.push((payout.id, payout.state.clone())),
            1 if broken.is_empty() => verdict.paid_once += 1,
            _ => {}
        }
    }
    verdict
}

/// What the journal says of a payout, as the invariants ask for it.
pub fn facts(payout: &PlannedPayout, movements: &[&Movement]) -> PayoutFacts {
    let mut account = PaymentAccount::default();
    for (movement, nth) in movements.iter().zip(0..) {
        let name = format!("{nth}");
        match movement.event.as_str() {
            "paid" => account.pay(&name, Witness::Listed, movement.amount_minor),
            _ => account.give_back(&name, Witness::Listed, movement.amount_minor + movement.fee_minor),
        }
    }
    let state = payout.state.parse().expect("our database has our words");
    let paid = || movements.iter().filter(|movement| movement.event == "paid");
    PayoutFacts {
        amount_differs: paid().any(|movement| movement.amount_minor != payout.amount_minor),
        currency_differs: movements.iter().any(|movement| movement.currency != payout.currency),
        destination_differs: movements.iter().any(|movement| movement.destination != payout.destination),
        ..PayoutFacts::of(state, payout.amount_minor, &account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payout(state: &str) -> PlannedPayout {
        let (currency, destination) = ("EUR".to_owned(), "ann@example.com".to_owned());
        PlannedPayout { id: 7, amount_minor: 500, currency, destination, state: state.to_owned() }
    }

    fn movement(event: &str, amount_minor: i64) -> Movement {
        let at = time::OffsetDateTime::UNIX_EPOCH;
        let PlannedPayout { id, currency, destination, .. } = payout("paid");
        Movement {
            key: format!("{id}-00"),
            id: String::new(),
            amount_minor,
            fee_minor: 0,
            currency,
            destination,
            event: event.to_owned(),
            at,
            account: String::new(),
            extra: false,
            plan: None,
            code: None,
            batch: None,
            of_id: None,
        }
    }

    #[test]
    fn what_really_happened_is_judged() {
        let judged = |state: &str, journal: &[(&str, i64)]| {
            let journal: Vec<Movement> = journal.iter().map(|(event, minor)| movement(event, *minor)).collect();
            judge(&[payout(state)], &journal)
        };
        let fine = Verdict { planned: 1, paid_once: 1, ..Verdict::default() };
        assert_eq!(judged("paid", &[("paid", 500)]), fine);
        assert_eq!(judged("held", &[("paid", 500)]), fine);
        assert_eq!(judged("returned", &[("paid", 500), ("returned", 500)]), fine);
        let unpaid = |state: &str| Verdict { planned: 1, unpaid: vec![(7, state.to_owned())], ..Verdict::default() };
        assert_eq!(judged("refused", &[("refused", 500)]), unpaid("refused"));
        assert_eq!(judged("paid", &[]), unpaid("paid"));
        assert_eq!(
            judged("paid", &[("paid", 500), ("paid", 500)]),
            Verdict { planned: 1, twice: vec![7], ..Verdict::default() }
        );
        for (state, journal, kind) in [
            ("paid", &[("paid", 501)][..], "amount_differs"),
            ("refused", &[("paid", 500)], "paid_unrecorded"),
            ("paid", &[("paid", 500), ("returned", 500)], "return_unrecorded"),
        ] {
            assert_eq!(judged(state, journal).wrong, [format!("7, {state}: {kind}")]);
        }
        let stranger = Movement { key: "8-00".to_owned(), ..movement("paid", 500) };
        assert_eq!(judge(&[payout("held")], &[stranger]).wrong, ["8-00"]);
    }
}
