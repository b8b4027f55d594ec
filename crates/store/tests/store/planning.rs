//! Planning against a plain reference: small random tenants over several periods, with what can happen to a plan on its
//! way. Whatever the chunks and batches are, each account is decided as the reference decides it, every amount is where
//! it belongs, and nobody is lost.

use std::collections::BTreeMap;

use crate::support::{Db, TTL};
use payfleet_domain::{
    BatchId, Currency, DestinationKind, Money, Outcome, PayoutId, Rail, Reference, RefusalCode, RunId, TenantId,
};
use payfleet_store::{
    AffiliateRow, AffiliateRows, AffiliatesTarget, CommissionRow, CommissionRows, Feed, NewRun, Obstacle, PayoutFilter,
    PlanLine, Planned, Report, Said, Store, TenantRail, Way,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rust_decimal::Decimal;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use tokio::sync::mpsc;

const PERIODS: [&str; 3] = ["2025-01", "2025-02", "2025-03"];
/// Exclusive ends of the periods.
const ENDS: [OffsetDateTime; 3] =
    [datetime!(2025-02-01 0:00 UTC), datetime!(2025-03-01 0:00 UTC), datetime!(2025-04-01 0:00 UTC)];
/// With two decimals, none and three.
const CURRENCIES: [(&str, u32); 3] = [("EUR", 2), ("JPY", 0), ("KWD", 3)];
/// The tenant's methods and their rails; the last has none, and the one before it one that this build does not know. Of
/// the real ones see [`RAILS_SAY`].
const METHODS: [(&str, Option<&str>); 8] = [
    ("stripe", Some("stripe")),
    ("paypal", Some("paypal")),
    ("post", Some("wise")),
    ("batch", Some("sandbox-batch")),
    ("file", Some("sandbox-file")),
    ("payout", Some("sandbox-payout")),
    ("closed", Some("a-rail-of-another-build")),
    ("nowhere", None),
];

/// Of which method and currency, what is said, and of which amounts.
type RailSays = (&'static str, &'static str, &'static str, fn(i64) -> bool);

/// What a real rail says of a method in a currency, and of which amounts: anything is no destination of Wise, PayPal
/// does not pay KWD, Stripe pays it in steps of ten minor units, and its account JPY up to a limit.
const RAILS_SAY: [RailSays; 6] = [
    ("post", "EUR", "kind_unsupported", |_| true),
    ("post", "JPY", "kind_unsupported", |_| true),
    ("post", "KWD", "kind_unsupported", |_| true),
    ("paypal", "KWD", "currency_unsupported", |_| true),
    ("stripe", "JPY", "outside_limits", |amount| amount > LARGEST_JPY),
    ("stripe", "KWD", "amount_uneven", |amount| amount > 0 && amount % 10 != 0),
];
const LARGEST_JPY: i64 = 4_000;

/// Whether a rail says so of an amount.
fn rail_says(code: &str, method: &Method, currency: usize, amount: i64) -> bool {
    let is_of = |(of, code, ..): &&RailSays| *of == METHODS[method.kind].0 && *code == CURRENCIES[currency].0;
    RAILS_SAY.iter().filter(is_of).any(|(_, _, said, holds)| *said == code && holds(amount))
}

#[derive(Debug, Clone)]
struct Method {
    kind: usize,
    usable: bool,
}

#[derive(Debug, Clone)]
struct Affiliate {
    on_hold: bool,
    /// In the order in which they are tried.
    methods: Vec<Method>,
    /// The least and the most of a kind of method in a currency.
    limits: BTreeMap<(usize, usize), (Option<i64>, Option<i64>)>,
}

#[derive(Debug, Clone)]
struct Commission {
    affiliate: usize,
    currency: usize,
    minor: i64,
    earned_at: OffsetDateTime,
    /// The affiliate's order that it names; 0 is none.
    order: usize,
    /// When it becomes known: by the first or second file before run n (2n), or while that is being planned (2n + 1).
    stage: usize,
    file: usize,
}

/// How one run is planned, and what becomes of its payouts.
#[derive(Debug, Clone)]
struct Handling {
    chunk: i64,
    batch_size: u32,
    minimum: Decimal,
    /// After the first chunk the coordinator is started anew.
    interrupted: bool,
    /// Two coordinators at once.
    raced: bool,
    /// Outcomes come only when the next run is being planned.
    outcomes_late: bool,
    /// By payout, taken in turns.
    outcomes: Vec<u8>,
}

#[derive(Debug, Clone)]
struct World {
    hold_days: i32,
    affiliates: Vec<Affiliate>,
    commissions: Vec<Commission>,
    runs: Vec<Handling>,
}

fn world() -> impl Strategy<Value = World> {
    let limit = |range: std::ops::Range<i64>| proptest::option::weighted(0.3, range);
    let method = (0..METHODS.len(), proptest::bool::weighted(0.8)).prop_map(|(kind, usable)| Method { kind, usable });
    let of = (0..METHODS.len(), 0..CURRENCIES.len());
    let limits = proptest::collection::btree_map(of, (limit(1..3_000), limit(3_000..9_000)), 0..9);
    let affiliate = (proptest::bool::weighted(0.15), proptest::collection::vec(method, 0..4), limits)
        .prop_map(|(on_hold, methods, limits)| Affiliate { on_hold, methods, limits });
    // Days, and moments around the ends of periods, which are where a commission could be lost or taken twice.
    let edge = (0..3_usize, -2_i64..3).prop_map(|(end, micros)| ENDS[end] + Duration::microseconds(micros));
    let day = (0_i64..100, 0_i64..86_400)
        .prop_map(|(day, second)| datetime!(2024-12-28 0:00 UTC) + Duration::days(day) + Duration::seconds(second));
    let minor = prop_oneof![4 => 1_i64..6_000, 2 => -5_000_i64..0, 1 => prop_oneof![Just(1000_i64), Just(-1000)]];
    let handling = (
        prop_oneof![2_i64..6, Just(1000)],
        prop_oneof![2_u32..5, Just(1000)],
        prop_oneof![Just("0"), Just("1"), Just("10"), Just("10.005"), Just("0.5"), Just("33.3333")],
        any::<(bool, bool, bool)>(),
        proptest::collection::vec(0_u8..4, 1..9),
    )
        .prop_map(|(chunk, batch_size, minimum, (interrupted, raced, outcomes_late), outcomes)| Handling {
            chunk,
            batch_size,
            minimum: minimum.parse().unwrap(),
            interrupted,
            raced,
            outcomes_late,
            outcomes,
        });
    (1_usize..10).prop_flat_map(move |count| {
        let earned = prop_oneof![edge.clone(), day.clone()];
        let known = (0..2 * PERIODS.len(), 0..2_usize);
        let commission = (0..count, 0..CURRENCIES.len(), minor.clone(), earned, 0..4_usize, known).prop_map(
            |(affiliate, currency, minor, earned_at, order, (stage, file))| Commission {
                affiliate,
                currency,
                minor,
                earned_at,
                order,
                stage,
                file,
            },
        );
        (
            prop_oneof![Just(0), 0..40_i32],
            proptest::collection::vec(affiliate.clone(), count),
            proptest::collection::vec(commission, 0..60),
            proptest::collection::vec(handling.clone(), PERIODS.len()),
        )
            .prop_map(|(hold_days, affiliates, commissions, runs)| World {
                hold_days,
                affiliates,
                commissions,
                runs,
            })
    })
}

/// What is decided about an account: the amount, what of it was carried over, and the reason not to pay or the place of
/// the method that is paid to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decision {
    amount: i64,
    carried: i64,
    verdict: Result<usize, &'static str>,
}

/// Affiliate and currency.
type Account = (usize, usize);

/// The reference: balances, when each commission that is known is due, and the run whose window it is in.
#[derive(Clone, Default)]
struct Books {
    carried: BTreeMap<Account, i64>,
    due: BTreeMap<usize, OffsetDateTime>,
    window: BTreeMap<usize, usize>,
}

impl Books {
    fn new() -> Books {
        Books::default()
    }

    /// A file becomes known. A sale is due after the hold period; a clawback at once, or with the first sale of its
    /// order and currency that is due later and that no run has counted.
    fn learn(&mut self, world: &World, stage: usize, file: usize) {
        let of = |at: &usize| &world.commissions[*at];
        for (at, commission) in world.commissions.iter().enumerate() {
            if (commission.stage, commission.file) == (stage, file) {
                let hold = if commission.minor > 0 { world.hold_days } else { 0 };
                self.due.insert(at, commission.earned_at + Duration::days(hold.into()));
            }
        }
        let uncounted: Vec<usize> = self.due.keys().filter(|at| !self.window.contains_key(at)).copied().collect();
        for clawback in uncounted.iter().filter(|at| of(at).minor < 0 && of(at).order > 0) {
            let of_whom = |at: &usize| (of(at).affiliate, of(at).currency, of(at).order);
            let sales = uncounted.iter().filter(|at| of(at).minor > 0);
            let same = sales.filter(|at| of_whom(at) == of_whom(clawback));
            let later = same.map(|at| self.due[at]).filter(|due| *due > of(clawback).earned_at).min();
            self.due.insert(*clawback, later.unwrap_or(of(clawback).earned_at));
        }
    }

    /// A run's cutoff is fixed: what is known and due by then, and in no run's window, is in its window.
    fn fix(&mut self, run: usize) {
        for (at, due) in &self.due {
            if *due < ENDS[run] {
                self.window.entry(*at).or_insert(run);
            }
        }
    }

    /// Decides about one affiliate in a run, and moves the balances.
    fn decide(&mut self, world: &World, run: usize, affiliate: usize) -> Vec<(Account, Decision)> {
        let mut decided = Vec::new();
        for currency in 0..CURRENCIES.len() {
            let account = (affiliate, currency);
            let carried = self.carried.get(&account).copied().unwrap_or(0);
            let mut amount = carried;
            for (at, commission) in world.commissions.iter().enumerate() {
                let mine = (commission.affiliate, commission.currency) == account;
                if mine && self.window.get(&at) == Some(&run) {
                    amount += commission.minor;
                }
            }
            let verdict =
                verdict(&world.affiliates[affiliate], currency, amount, minimum(world.runs[run].minimum, currency));
            self.carried.insert(account, if verdict.is_ok() { 0 } else { amount });
            if amount != 0 {
                decided.push((account, Decision { amount, carried, verdict }));
            }
        }
        decided
    }
}

/// Minor units of a threshold in units, rounded up.
fn minimum(units: Decimal, currency: usize) -> i64 {
    let scaled = units * Decimal::from(10_i64.pow(CURRENCIES[currency].1));
    i64::try_from(scaled.ceil()).unwrap()
}

fn verdict(affiliate: &Affiliate, currency: usize, amount: i64, minimum: i64) -> Result<usize, &'static str> {
    if amount < 0 {
        return Err("negative_balance");
    }
    if amount < minimum {
        return Err("below_minimum");
    }
    if affiliate.on_hold {
        return Err("on_hold");
    }
    let obstacle = |method: &Method| {
        let (min, max) = affiliate.limits.get(&(method.kind, currency)).copied().unwrap_or_default();
        if !method.usable {
            Some("method_unusable")
        } else if METHODS[method.kind].1.is_none_or(|rail| Rail::named(rail).is_err()) {
            Some("no_rail")
        } else if let Some(code) = ["kind_unsupported", "currency_unsupported"]
            .into_iter()
            .find(|code| rail_says(code, method, currency, amount))
        {
            Some(code)
        } else if min.is_some_and(|min| amount < min)
            || max.is_some_and(|max| amount > max)
            || rail_says("outside_limits", method, currency, amount)
        {
            Some("outside_limits")
        } else {
            rail_says("amount_uneven", method, currency, amount).then_some("amount_uneven")
        }
    };
    // The first that can be used; if none can, what is wrong with the first.
    match affiliate.methods.iter().position(|method| obstacle(method).is_none()) {
        Some(method) => Ok(method),
        None => Err(affiliate.methods.first().map_or("no_method", |method| obstacle(method).unwrap())),
    }
}

/// All that stands in the way, and of which method.
fn obstacles(affiliate: &Affiliate, currency: usize, amount: i64, minimum: i64) -> Vec<(String, Option<String>)> {
    let of_account = [
        (amount < 0, "negative_balance"),
        ((0..minimum).contains(&amount), "below_minimum"),
        (affiliate.on_hold, "on_hold"),
    ];
    let mut all: Vec<(String, Option<String>)> =
        of_account.iter().filter(|(holds, _)| *holds).map(|(_, code)| ((*code).to_owned(), None)).collect();
    let of_method = |method: &Method| {
        let (min, max) = affiliate.limits.get(&(method.kind, currency)).copied().unwrap_or_default();
        let says = |code| rail_says(code, method, currency, amount);
        let is_outside =
            min.is_some_and(|min| amount < min) || max.is_some_and(|max| amount > max) || says("outside_limits");
        let found = [
            (!method.usable, "method_unusable"),
            (METHODS[method.kind].1.is_none_or(|rail| Rail::named(rail).is_err()), "no_rail"),
            (says("kind_unsupported"), "kind_unsupported"),
            (says("currency_unsupported"), "currency_unsupported"),
            (amount > 0 && is_outside, "outside_limits"),
            (says("amount_uneven"), "amount_uneven"),
        ];
        let found = found.into_iter().filter(|(holds, _)| *holds);
        found.map(|(_, code)| (code.to_owned(), Some(METHODS[method.kind].0.to_owned()))).collect::<Vec<_>>()
    };
    let of_methods: Vec<_> = affiliate.methods.iter().map(of_method).collect();
    if of_methods.is_empty() {
        all.push(("no_method".to_owned(), None));
    }
    if of_methods.iter().all(|found| !found.is_empty()) {
        all.extend(of_methods.into_iter().flatten());
    }
    all
}

/// What a list shows of an account, whether it was planned or would be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    affiliate: String,
    currency: String,
    amount: i64,
    reason: Option<String>,
    obstacles: Vec<(String, Option<String>)>,
    way: Option<[String; 4]>,
}

fn told(obstacles: Vec<Obstacle>) -> Vec<(String, Option<String>)> {
    obstacles.into_iter().map(|one| (one.code.to_string(), one.method)).collect()
}

fn way(way: Way) -> [String; 4] {
    [way.method, way.rail, way.account, way.destination]
}

/// A tenant in the database, as the world says.
struct Tenant<'a> {
    db: &'a Db,
    id: TenantId,
    name: String,
    /// The affiliates' numbers, in order.
    numbers: Vec<i64>,
}

async fn feed<R: Send + 'static>(rows: R) -> mpsc::Receiver<Feed<R>> {
    let (sender, receiver) = mpsc::channel(2);
    sender.send(Feed::Rows(rows)).await.unwrap();
    sender.send(Feed::End).await.unwrap();
    receiver
}

impl Tenant<'_> {
    async fn new<'a>(db: &'a Db, name: &str, world: &World) -> Tenant<'a> {
        let id = db.store.tenant_ensure(name, Some(world.hold_days)).await.unwrap();
        for (method, rail) in METHODS {
            if let Some(rail) = rail {
                let rail =
                    TenantRail { method: method.into(), rail: rail.into(), account: name.into(), credential: None };
                // Not every rail can be set by name; a row of an older build may name one all the same.
                sqlx::query("INSERT INTO tenant_rail (tenant_id, method, rail, account) VALUES ($1, $2, $3, $4)")
                    .bind(id.0)
                    .bind(&rail.method)
                    .bind(&rail.rail)
                    .bind(&rail.account)
                    .execute(&db.sql)
                    .await
                    .unwrap();
            }
        }
        let largest = [("JPY".to_owned(), LARGEST_JPY)].into();
        db.store.account_limits_say("stripe", name, &largest).await.unwrap();
        let mut rows = AffiliateRows::default();
        for (at, affiliate) in world.affiliates.iter().enumerate() {
            let id = format!("a{at}");
            let row = AffiliateRow {
                line: 1,
                id: &id,
                name: "n",
                email: "e",
                country: "DE",
                currency: "EUR".parse().unwrap(),
                on_hold: Some(affiliate.on_hold),
                method: Said::Nothing,
                priority: 0,
                min: Said::Nothing,
                max: Said::Nothing,
            };
            if affiliate.methods.is_empty() {
                rows.push(&row);
            }
            for (priority, method) in affiliate.methods.iter().enumerate() {
                let destination = format!("{id}-{priority}@example.com");
                let priority = i16::try_from(priority * 3).unwrap();
                let destination = DestinationKind::Opaque.check(&destination).unwrap();
                let method = Said::Is((METHODS[method.kind].0, &destination));
                rows.push(&AffiliateRow { method, priority, ..row });
            }
        }
        let target = AffiliatesTarget { tenant: name.to_owned(), hold_days: None, kinds: Default::default() };
        db.store.affiliates_import(target, feed(rows).await).await.unwrap();
        let numbers: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM affiliate WHERE tenant_id = $1 ORDER BY substr(external_id, 2)::int")
                .bind(id.0)
                .fetch_all(&db.sql)
                .await
                .unwrap();
        for (at, affiliate) in world.affiliates.iter().enumerate() {
            for (priority, _) in affiliate.methods.iter().enumerate().filter(|(_, method)| !method.usable) {
                sqlx::query("UPDATE payout_method SET usable = false WHERE affiliate_id = $1 AND priority = $2")
                    .bind(numbers[at])
                    .bind(i16::try_from(priority * 3).unwrap())
                    .execute(&db.sql)
                    .await
                    .unwrap();
            }
        }
        for (at, affiliate) in world.affiliates.iter().enumerate() {
            let said = affiliate.limits.iter().filter(|(_, limits)| **limits != (None, None));
            for ((kind, currency), (min, max)) in said {
                sqlx::query("INSERT INTO payout_limit VALUES ($1, $2, $3, $4, $5, $6)")
                    .bind(id.0)
                    .bind(numbers[at])
                    .bind(METHODS[*kind].0)
                    .bind(CURRENCIES[*currency].0)
                    .bind(min)
                    .bind(max)
                    .execute(&db.sql)
                    .await
                    .unwrap();
            }
        }
        Tenant { db, id, name: name.to_owned(), numbers }
    }

    /// What becomes known at a stage.
    async fn learn(&self, world: &World, stage: usize, books: &mut Books) {
        for file in 0..2 {
            let mut rows = CommissionRows::default();
            let said = world.commissions.iter().enumerate().filter(|(_, one)| (one.stage, one.file) == (stage, file));
            let mut any = false;
            for (at, commission) in said {
                any = true;
                rows.push(&CommissionRow {
                    line: 1,
                    id: &format!("c{at}"),
                    affiliate: &format!("a{}", commission.affiliate),
                    order_ref: &if commission.order > 0 { format!("o{}", commission.order) } else { String::new() },
                    amount: Money {
                        minor: commission.minor,
                        currency: CURRENCIES[commission.currency].0.parse().unwrap(),
                    },
                    earned_at: commission.earned_at,
                    reversal: payfleet_store::Reversal::default(),
                });
            }
            if any {
                self.db.store.commissions_import(&self.name, feed(rows).await).await.unwrap();
            }
            books.learn(world, stage, file);
        }
    }

    fn account(&self, affiliate: i64, currency: &str) -> Account {
        let affiliate = self.numbers.iter().position(|number| *number == affiliate).unwrap();
        (affiliate, CURRENCIES.iter().position(|(code, _)| *code == currency).unwrap())
    }

    /// What the plan says.
    async fn decisions(&self, run: RunId) -> BTreeMap<Account, Decision> {
        /// Affiliate, currency, amount, carried; the method's priority, or the reason of an exclusion.
        type Decided = (i64, String, i64, i64, Option<i16>, Option<String>);
        let rows: Vec<Decided> = sqlx::query_as(
            "SELECT p.affiliate_id, p.currency::text, p.amount_minor, p.carried_minor, m.priority, NULL
               FROM payout p JOIN payout_method m ON m.id = p.method_id AND m.affiliate_id = p.affiliate_id
                 WHERE p.run_id = $1
             UNION ALL
             SELECT affiliate_id, currency::text, amount_minor, carried_minor, NULL, reason FROM exclusion
               WHERE run_id = $1",
        )
        .bind(run.0)
        .fetch_all(&self.db.sql)
        .await
        .unwrap();
        let count = rows.len();
        let decisions: BTreeMap<_, _> = rows
            .into_iter()
            .map(|(affiliate, currency, amount, carried, priority, reason)| {
                let verdict = match (priority, reason) {
                    (Some(priority), None) => Ok(usize::try_from(priority / 3).unwrap()),
                    (None, Some(reason)) => Err(payfleet_domain::Exclusion::ALL
                        .iter()
                        .map(payfleet_domain::Exclusion::code)
                        .find(|code| *code == reason)
                        .unwrap()),
                    other => panic!("{other:?}"),
                };
                (self.account(affiliate, &currency), Decision { amount, carried, verdict })
            })
            .collect();
        assert_eq!(decisions.len(), count, "an account is decided once");
        decisions
    }

    /// What a dry run says, row by row, in order.
    async fn dry_rows(&self, new: NewRun, chunk: i64) -> Vec<Listed> {
        let mut plan = self.db.store.plan_dry_open(new, chunk).await.unwrap();
        let mut rows = Vec::new();
        while let Some(page) = plan.rows_next().await.unwrap() {
            rows.extend(page.into_iter().map(|row| Listed {
                affiliate: row.affiliate,
                currency: row.amount.currency.to_string(),
                amount: row.amount.minor,
                reason: row.reason.map(|reason| reason.to_string()),
                obstacles: told(row.obstacles),
                way: row.way.map(way),
            }));
        }
        plan.end().await.unwrap();
        rows.sort();
        rows
    }

    /// The same of a run that was planned, by pages.
    async fn shown(&self, run: RunId, page: i64) -> Vec<Listed> {
        let store = &self.db.store;
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let payouts = store.payouts_page(run, PayoutFilter::All, after, page).await.unwrap();
            let Some(last) = payouts.last() else { break };
            after = Some(last.payout);
            rows.extend(payouts.into_iter().map(|row| Listed {
                affiliate: row.affiliate,
                currency: row.amount.currency.to_string(),
                amount: row.amount.minor,
                reason: None,
                obstacles: Vec::new(),
                way: Some(way(row.way)),
            }));
        }
        let (row, mut after) = (store.run_find(run).await.unwrap().unwrap(), None);
        loop {
            let excluded = store.exclusions_page(&row, after, page).await.unwrap();
            let Some(last) = excluded.last() else { break };
            after = Some(last.affiliate_id);
            rows.extend(excluded.into_iter().map(|row| Listed {
                affiliate: row.affiliate,
                currency: row.amount.currency.to_string(),
                amount: row.amount.minor,
                reason: Some(row.reason.to_string()),
                obstacles: told(row.now),
                way: None,
            }));
        }
        rows.sort();
        rows
    }

    async fn carried(&self) -> BTreeMap<Account, i64> {
        let rows: Vec<(i64, String, i64)> = sqlx::query_as(
            "SELECT affiliate_id, currency::text, carried_minor
               FROM account
              WHERE tenant_id = $1 AND carried_minor <> 0",
        )
        .bind(self.id.0)
        .fetch_all(&self.db.sql)
        .await
        .unwrap();
        rows.into_iter().map(|(affiliate, currency, minor)| (self.account(affiliate, &currency), minor)).collect()
    }

    /// Every payout is in exactly one batch, and every batch is one that its rail takes.
    async fn assert_batches(&self, run: RunId, batch_size: u32) {
        let payouts: Vec<(i64, i64, String, String)> = sqlx::query_as(
            "SELECT p.id, p.amount_minor, p.currency::text, m.method
               FROM payout p JOIN payout_method m ON m.id = p.method_id
              WHERE p.run_id = $1 ORDER BY p.id",
        )
        .bind(run.0)
        .fetch_all(&self.db.sql)
        .await
        .unwrap();
        let batches: Vec<(i64, i64, i32, i64, String, String, String)> = sqlx::query_as(
            "SELECT first_payout_id, last_payout_id, payouts, amount_minor, currency::text, rail, account
               FROM batch
              WHERE run_id = $1
              ORDER BY first_payout_id",
        )
        .bind(run.0)
        .fetch_all(&self.db.sql)
        .await
        .unwrap();
        let mut rest = &payouts[..];
        for (first, last, count, amount, currency, rail, account) in batches {
            let (own, others) = rest.split_at(usize::try_from(count).unwrap());
            rest = others;
            assert_eq!((own[0].0, own[own.len() - 1].0), (first, last), "batches follow one another without a gap");
            assert!(u32::try_from(count).unwrap() <= batch_size.min(Rail::named(&rail).unwrap().payouts_per_batch));
            assert_eq!(own.iter().map(|payout| payout.1).sum::<i64>(), amount);
            for (_, _, of, method) in own {
                let known = METHODS.iter().find(|(name, _)| name == method).unwrap().1;
                assert_eq!((of, known, &account), (&currency, Some(rail.as_str()), &self.name));
            }
        }
        assert!(rest.is_empty(), "payouts without a batch: {rest:?}");
    }

    /// Tells what became of a run's payouts. What comes back or was refused is due again.
    async fn settle(&self, run: RunId, outcomes: &[u8], books: &mut Books) {
        let store = &self.db.store;
        let rows: Vec<(i64, i64, String, i64)> =
            sqlx::query_as("SELECT id, affiliate_id, currency::text, amount_minor FROM payout WHERE run_id = $1")
                .bind(run.0)
                .fetch_all(&self.db.sql)
                .await
                .unwrap();
        let accounts: BTreeMap<i64, (Account, i64)> = rows
            .into_iter()
            .map(|(id, affiliate, currency, minor)| (id, (self.account(affiliate, &currency), minor)))
            .collect();
        let batches: Vec<i64> = sqlx::query_scalar("SELECT id FROM batch WHERE run_id = $1")
            .bind(run.0)
            .fetch_all(&self.db.sql)
            .await
            .unwrap();
        for batch in batches {
            let leased = store.lease_acquire(BatchId(batch), "w", TTL).await.unwrap().expect("it is free");
            let rail = Rail::named(&leased.rail).unwrap();
            let intent = store.intent_write(leased.lease, "w", rail, false).await.unwrap().expect("it was never sent");
            let told = |payout: PayoutId| {
                let reference = Reference(format!("ref-{payout}"));
                match outcomes[usize::try_from(payout.0 & 0xffff_ffff).unwrap() % outcomes.len()] {
                    0 | 1 => Outcome::Paid(reference),
                    // The same may be tried again: no method is closed by it, of which `methods` tells.
                    2 => Outcome::Refused(RefusalCode::new("receiver_unregistered")),
                    _ => Outcome::Returned(reference),
                }
            };
            let outcomes: Vec<(PayoutId, Outcome)> =
                intent.orders.iter().map(|order| (order.payout, told(order.payout))).collect();
            for (payout, _) in outcomes.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Paid(_))) {
                let (account, minor) = accounts[&payout.0];
                *books.carried.entry(account).or_default() += minor;
            }
            let report = Report {
                batch: BatchId(batch),
                epoch: leased.lease.epoch,
                attempt: Some(intent.attempt),
                outcomes,
                unanswered: false,
                refused_whole: false,
                available_in: std::time::Duration::ZERO,
                release: true,
            };
            store.outcomes_record(report).await.unwrap();
        }
    }
}

async fn plan_to_end(store: &Store, run: RunId, handling: &Handling) {
    while store.plan_chunk(run, handling.chunk, handling.batch_size).await.unwrap() != Planned::Complete {}
}

/// By currency and verdict: how many, and how much.
fn grouped(decisions: &BTreeMap<Account, Decision>) -> Vec<PlanLine> {
    let mut lines: BTreeMap<(Currency, String), (i64, i128)> = BTreeMap::new();
    for ((_, currency), decision) in decisions {
        let verdict = decision.verdict.map_or_else(str::to_owned, |_| "pay".to_owned());
        let line = lines.entry((CURRENCIES[*currency].0.parse().unwrap(), verdict)).or_default();
        line.0 += 1;
        line.1 += i128::from(decision.amount);
    }
    let line = |((currency, verdict), (accounts, amount_minor))| PlanLine { currency, verdict, accounts, amount_minor };
    lines.into_iter().map(line).collect()
}

async fn follow(db: &Db, name: &str, world: &World) {
    let tenant = Tenant::new(db, name, world).await;
    let mut books = Books::new();
    let mut unsettled: Option<(RunId, &[u8])> = None;
    let mut paid = 0_i64;
    for (at, handling) in world.runs.iter().enumerate() {
        tenant.learn(world, 2 * at, &mut books).await;
        let new =
            NewRun { tenant: tenant.id, period: PERIODS[at].parse().unwrap(), sequence: 1, minimum: handling.minimum };
        let dry = db.store.plan_dry(new, handling.chunk).await.unwrap();
        let dry_rows = tenant.dry_rows(new, handling.chunk).await;
        let (run, fresh) = db.store.run_create(new).await.unwrap();
        assert!(fresh);
        let run = run.id;
        books.fix(at);
        // The first chunk; then what happens in between meets affiliates of which some are planned and the others are
        // not.
        let cursor = match db.store.plan_chunk(run, handling.chunk, handling.batch_size).await.unwrap() {
            Planned::Chunk(progress) => progress.affiliates.1,
            _ => 0,
        };
        let mut decided = BTreeMap::new();
        let mut foreseeing = books.clone();
        let (before, after): (Vec<usize>, Vec<usize>) =
            (0..world.affiliates.len()).partition(|affiliate| tenant.numbers[*affiliate] <= cursor);
        before.iter().for_each(|affiliate| decided.extend(books.decide(world, at, *affiliate)));
        // What becomes due again while a run is being planned is the next one's, wherever the plan is.
        let mut due_again = Books::new();
        if let Some((previous, outcomes)) = unsettled.take() {
            tenant.settle(previous, outcomes, &mut due_again).await;
        }
        if handling.interrupted {
            let (again, fresh) = db.store.run_create(new).await.unwrap();
            assert!(again.id == run && !fresh, "a second trigger finds the run");
        }
        // So does what becomes known.
        tenant.learn(world, 2 * at + 1, &mut books).await;
        if handling.raced {
            tokio::join!(plan_to_end(&db.store, run, handling), plan_to_end(&db.store, run, handling));
        } else {
            plan_to_end(&db.store, run, handling).await;
        }
        after.iter().for_each(|affiliate| decided.extend(books.decide(world, at, *affiliate)));
        due_again.carried.into_iter().for_each(|(account, minor)| *books.carried.entry(account).or_default() += minor);

        assert_eq!(tenant.decisions(run).await, decided, "{}", PERIODS[at]);
        assert_eq!(db.store.plan_lines(run).await.unwrap(), grouped(&decided), "the sums of payouts and exclusions");
        let mut foreseen = BTreeMap::new();
        (0..world.affiliates.len()).for_each(|affiliate| foreseen.extend(foreseeing.decide(world, at, affiliate)));
        assert_eq!(dry, grouped(&foreseen), "the dry run");
        assert_eq!(tenant.shown(run, handling.chunk).await, dry_rows, "the dry run is the plan, row by row");
        for row in &dry_rows {
            let currency = CURRENCIES.iter().position(|(code, _)| *code == row.currency).unwrap();
            let affiliate = &world.affiliates[row.affiliate[1..].parse::<usize>().unwrap()];
            let all = obstacles(affiliate, currency, row.amount, minimum(handling.minimum, currency));
            assert_eq!(row.obstacles, all, "{row:?}");
            assert_eq!(row.reason.as_ref(), all.first().map(|(code, _)| code), "the first is what the plan counts");
        }
        assert_eq!(foreseen, decided);
        let expected: BTreeMap<_, _> =
            books.carried.iter().filter(|(_, minor)| **minor != 0).map(|(account, minor)| (*account, *minor)).collect();
        assert_eq!(tenant.carried().await, expected, "what is carried over");
        tenant.assert_batches(run, handling.batch_size).await;

        paid +=
            decided.values().filter(|decision| decision.verdict.is_ok()).map(|decision| decision.amount).sum::<i64>();
        db.store.runs_begin().await.unwrap();
        if handling.outcomes_late {
            unsettled = Some((run, &handling.outcomes));
        } else {
            tenant.settle(run, &handling.outcomes, &mut books).await;
        }
    }
    // Nothing appears or vanishes: what was taken is with the payees, reserved, or carried over; what came back counts
    // once more.
    let taken: i64 = books.window.keys().map(|at| world.commissions[*at].minor).sum();
    let back: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(amount_minor), 0)::bigint FROM transfer WHERE tenant_id = $1 AND kind IN (3, 4)",
    )
    .bind(tenant.id.0)
    .fetch_one(&db.sql)
    .await
    .unwrap();
    assert_eq!(taken, paid - back + books.carried.values().sum::<i64>());
}

#[test]
fn every_plan_is_the_references_plan() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let db = runtime.block_on(Db::new());
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24);
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() });
    let number = std::cell::Cell::new(0);
    let result = runner.run(&world(), |world| {
        number.set(number.get() + 1);
        let name = format!("t{}", number.get());
        let followed = std::panic::AssertUnwindSafe(|| runtime.block_on(follow(&db, &name, &world)));
        std::panic::catch_unwind(followed).map_err(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            TestCaseError::fail(text.unwrap_or_default())
        })
    });
    if result.is_ok() {
        runtime.block_on(db.assert_ledger());
    }
    runtime.block_on(db.drop());
    if let Err(error) = result {
        panic!("{error}");
    }
}
