//! Who is paid and who is not: the one query that plans, dry runs and screens share, and the list of reasons why an
//! account is not paid. Each reason is written once, as its code and its condition. A plan asks for the first that
//! holds, in the order of [`Exclusion`]; a list for people asks for all.

use std::collections::BTreeMap;

use payfleet_domain::{
    Currency, DestinationKind, Exclusion, MAX_AMOUNT_MINOR, MAX_BALANCE_MINOR, MAX_PAYOUTS_PER_BATCH, RAILS, rail_steps,
};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use time::OffsetDateTime;

use crate::connect::StoreError;
use crate::sql::{added_minor, month_of};

/// What the query needs to know of rails and currencies, which are rules of `domain` and not rows.
pub(crate) struct Rules {
    rails: serde_json::Value,
    currencies: Vec<String>,
    minimums: Vec<i64>,
}

/// What `$6` holds.
#[derive(Serialize)]
struct RailRules {
    rails: Vec<RailRule>,
    /// What the destinations of a method are of which the tenant has said nothing.
    kinds: BTreeMap<&'static str, &'static str>,
    steps: Vec<StepRule>,
}

#[derive(Serialize)]
struct RailRule {
    rail: &'static str,
    payouts_per_batch: u32,
    currencies: &'static [&'static str],
    kinds: Vec<&'static str>,
    max_minor: i64,
}

/// A rail pays multiples of so many minor units only.
#[derive(Serialize)]
struct StepRule {
    rail: &'static str,
    currency: String,
    minor: i64,
}

impl Rules {
    /// `batch_size` lowers what the rails allow, if it is less.
    pub(crate) fn new(minimum: Decimal, batch_size: u32) -> Result<Rules, StoreError> {
        let rails: Vec<RailRule> = RAILS
            .iter()
            .map(|rail| RailRule {
                rail: rail.name,
                payouts_per_batch: rail.payouts_per_batch.min(batch_size).clamp(1, MAX_PAYOUTS_PER_BATCH),
                currencies: rail.currencies,
                kinds: rail.kinds.iter().map(|kind| kind.as_str()).collect(),
                max_minor: rail.max_minor.unwrap_or(MAX_AMOUNT_MINOR).min(MAX_AMOUNT_MINOR),
            })
            .collect();
        let kinds = DestinationKind::NAMED.iter().map(|(method, kind)| (*method, kind.as_str())).collect();
        let steps =
            rail_steps().map(|(rail, currency, minor)| StepRule { rail, currency: currency.code().to_owned(), minor });
        let rails = RailRules { rails, kinds, steps: steps.collect() };
        let mut rules = Rules {
            rails: serde_json::to_value(rails).map_err(|error| StoreError::Broken(error.to_string()))?,
            currencies: Vec::new(),
            minimums: Vec::new(),
        };
        for currency in Currency::all() {
            rules.currencies.push(currency.code().to_owned());
            let minor = currency.threshold_minor(minimum);
            rules
                .minimums
                .push(minor.ok_or_else(|| StoreError::Broken(format!("a minimum of {minimum} {currency} overflows")))?);
        }
        Ok(rules)
    }
}

/// Some affiliates of a tenant, by their numbers: excluded, included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub tenant: i32,
    pub after: i64,
    pub up_to: i64,
}

/// What a run pays: what became due after one instant and up to another, and what was left for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub ordinal: i32,
    pub opens_after: Option<OffsetDateTime>,
    pub cutoff: OffsetDateTime,
}

/// What [`judged`] asks for, `$1` to `$6`.
pub(crate) fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    part: &Part,
    rules: &Rules,
) -> Query<'q, Postgres, PgArguments> {
    query
        // Planned anew for each part: a plan that is kept forgets how many affiliates lie between $2 and $3, and takes
        // minutes.
        .persistent(false)
        .bind(part.tenant)
        .bind(part.after)
        .bind(part.up_to)
        .bind(rules.currencies.clone())
        .bind(rules.minimums.clone())
        .bind(rules.rails.clone())
}

/// What [`DUE`] asks for besides, `$7` to `$9`.
pub(crate) fn bind_window<'q>(
    query: Query<'q, Postgres, PgArguments>,
    window: &Window,
) -> Query<'q, Postgres, PgArguments> {
    query.bind(window.opens_after).bind(window.cutoff).bind(window.ordinal)
}

/// What is due to each account in a window: `$7` opens_after, `$8` cutoff, `$9` ordinal.
///
/// The months of the window are named one by one, since only then does the index hand out each month in the order of
/// affiliates.
pub(crate) const DUE: &str = concat!(
    "
  months AS MATERIALIZED (
    SELECT ARRAY(SELECT generate_series(
      coalesce(",
    month_of!("$7::timestamptz"),
    ",
               (SELECT min(due_month) FROM commission WHERE tenant_id = $1 AND late_for IS NULL)),
      ",
    month_of!("$8::timestamptz"),
    ")) AS list),
  earned AS (
    -- More than a balance may be is all the same. So many of the largest commission fit, so that most sums need not be
    -- asked how large they are.
    SELECT affiliate_id, currency,
           CASE WHEN count(*) <= 4000 THEN sum(amount_minor)
                ELSE greatest(least(sum(amount_minor), 4e18), -4e18) END::bigint AS minor
      FROM (
        SELECT c.affiliate_id, c.currency, c.amount_minor FROM commission c
         WHERE c.tenant_id = $1 AND c.late_for IS NULL AND c.due_month = ANY((SELECT list FROM months)::int[])
           AND c.affiliate_id > $2 AND c.affiliate_id <= $3
           AND c.due_at <= $8 AND ($7::timestamptz IS NULL OR c.due_at > $7)
        UNION ALL
        SELECT c.affiliate_id, c.currency, c.amount_minor FROM commission c
         WHERE c.tenant_id = $1 AND c.late_for = $9 AND c.affiliate_id > $2 AND c.affiliate_id <= $3) AS c
     GROUP BY affiliate_id, currency),
  -- What became due again since the run was created: for the next one. Few rows, and most often none.
  later AS (
    SELECT p.affiliate_id, p.currency,
           sum(",
    added_minor!("t"),
    ")::bigint AS minor
      FROM transfer t JOIN payout p ON p.id = t.payout_id AND p.tenant_id = $1
     WHERE t.tenant_id = $1 AND t.due_in > $9 AND p.affiliate_id > $2 AND p.affiliate_id <= $3
     GROUP BY p.affiliate_id, p.currency),
  opened AS (
    SELECT a.affiliate_id, a.currency, a.carried_minor - coalesce(l.minor, 0) AS carried_minor
      FROM account a LEFT JOIN later l ON l.affiliate_id = a.affiliate_id AND l.currency = a.currency
     WHERE a.tenant_id = $1 AND a.affiliate_id > $2 AND a.affiliate_id <= $3),
  -- A balance that is too large to be told stays what it was, and what was earned waits.
  due AS (
    SELECT o.affiliate_id, o.currency, o.carried_minor, fits.is_told,
           CASE WHEN fits.is_told THEN o.carried_minor + coalesce(e.minor, 0) ELSE o.carried_minor END AS amount_minor
      FROM opened o LEFT JOIN earned e ON e.affiliate_id = o.affiliate_id AND e.currency = o.currency,
           LATERAL (SELECT CASE WHEN o.carried_minor BETWEEN -4000000000000000000 AND 4000000000000000000
                                THEN o.carried_minor + coalesce(e.minor, 0)
                                     BETWEEN -900000000000000000 AND 900000000000000000
                                ELSE false END AS is_told) AS fits
     WHERE o.carried_minor <> 0 OR e.minor IS NOT NULL)"
);

/// The statement has it as a number.
const _: () = assert!(MAX_BALANCE_MINOR == 900_000_000_000_000_000);

/// A reason why nothing is paid, and when it holds.
type Obstacle = (Exclusion, &'static str);

/// Of an account, whatever its methods, in the order in which they are looked for.
const OF_ACCOUNT: [Obstacle; 5] = [
    (Exclusion::BalanceOutOfRange, "NOT c.is_told"),
    (Exclusion::NegativeBalance, "c.is_told AND c.amount_minor < 0"),
    (Exclusion::BelowMinimum, "c.is_told AND c.amount_minor > 0 AND c.amount_minor < minimum.minor"),
    (Exclusion::OnHold, "f.on_hold"),
    (Exclusion::Contested, "contested.affiliate_id IS NOT NULL"),
];

/// Of a method, or of there being none.
const OF_METHOD: [Obstacle; 7] = [
    (Exclusion::NoMethod, "m.id IS NULL"),
    (Exclusion::MethodUnusable, "NOT m.usable"),
    (Exclusion::NoRail, "m.id IS NOT NULL AND way.is_known IS NOT TRUE"),
    (Exclusion::KindUnsupported, "m.id IS NOT NULL AND way.is_known AND NOT way.is_reached"),
    (Exclusion::CurrencyUnsupported, "way.currencies <> '{}' AND NOT d.currency::text = ANY(way.currencies)"),
    (
        Exclusion::OutsideLimits,
        "d.amount_minor > 0
           AND (d.amount_minor < l.min_minor OR d.amount_minor > l.max_minor OR d.amount_minor > way.max_minor
                OR d.amount_minor > bound.max_minor)",
    ),
    (Exclusion::AmountUneven, "d.amount_minor > 0 AND d.amount_minor % bound.step_minor <> 0"),
];

/// The first that holds.
fn first(of: &[Obstacle]) -> String {
    of.iter().map(|(code, holds)| format!("WHEN {holds} THEN '{code}' ")).collect()
}

/// All that hold, in their order.
fn all(of: &[Obstacle]) -> String {
    let each: Vec<String> = of.iter().map(|(code, holds)| format!("CASE WHEN {holds} THEN '{code}' END")).collect();
    format!("array_remove(ARRAY[{}], NULL)", each.join(", "))
}

/// What is asked of each account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `pay`, or the first reason.
    Verdict,
    /// All reasons besides: of the account (`of_account`) and of each of its methods (`of_method` in `candidate`).
    Reasons,
}

/// Judges the accounts of `due`: `$1` tenant, `$2` and `$3` the affiliates (excluded, included), `$4` currencies, `$5`
/// their minimums, `$6` rails.
pub(crate) fn judged(asked: Asked) -> String {
    let (of_method, of_account) = match asked {
        Asked::Verdict => (String::new(), String::new()),
        Asked::Reasons => {
            (format!(", m.method, {} AS of_method", all(&OF_METHOD)), format!(", {} AS of_account", all(&OF_ACCOUNT)))
        }
    };
    format!(
        "
  rule AS (
    SELECT * FROM jsonb_to_recordset($6::jsonb -> 'rails')
      AS rule (rail text, payouts_per_batch int, currencies text[], kinds text[], max_minor bigint)),
  -- The rail accounts of the tenant, numbered: affiliates carry the number, and not three words each.
  way AS MATERIALIZED (
    SELECT t.method, t.rail, t.account, t.credential,
           dense_rank() OVER (ORDER BY t.rail, t.account, t.credential) AS lane,
           rule.rail IS NOT NULL AS is_known, rule.payouts_per_batch, rule.currencies, rule.max_minor,
           rule.kinds = '{{}}'
             OR coalesce(said.kind, $6::jsonb -> 'kinds' ->> t.method, '{opaque}') = ANY(rule.kinds) AS is_reached
      FROM tenant_rail t LEFT JOIN rule ON rule.rail = t.rail
      LEFT JOIN tenant_method said ON said.tenant_id = t.tenant_id AND said.method = t.method
     WHERE t.tenant_id = $1),
  -- In which steps a method can be paid in a currency, and how much its account pays at most: few rows, often none.
  bound AS MATERIALIZED (
    SELECT method, currency, max(step_minor) AS step_minor, min(max_minor) AS max_minor
      FROM (SELECT way.method, step.currency, step.minor AS step_minor, NULL::bigint AS max_minor
              FROM way JOIN jsonb_to_recordset($6::jsonb -> 'steps') AS step (rail text, currency text, minor bigint)
                ON step.rail = way.rail
             UNION ALL
            SELECT way.method, a.currency::text, NULL, a.max_minor
              FROM way JOIN account_limit a ON a.rail = way.rail AND a.account = way.account) AS b
     GROUP BY method, currency),
  candidate AS (
    SELECT d.*, m.priority, m.id AS method_id, way.lane, way.payouts_per_batch,
           CASE {first_of_method}END AS obstacle{of_method}
      FROM due d
      LEFT JOIN payout_method m ON m.affiliate_id = d.affiliate_id AND m.tenant_id = $1 AND m.retired_at IS NULL
                               AND m.affiliate_id > $2 AND m.affiliate_id <= $3
      -- A limit in another currency says nothing.
      LEFT JOIN payout_limit l ON l.affiliate_id = d.affiliate_id AND l.method = m.method AND l.currency = d.currency
                              AND l.tenant_id = $1 AND l.affiliate_id > $2 AND l.affiliate_id <= $3
      LEFT JOIN way ON way.method = m.method
      LEFT JOIN bound ON bound.method = m.method AND bound.currency = d.currency::text),
  choice AS (
    SELECT DISTINCT ON (affiliate_id, currency) * FROM candidate
     ORDER BY affiliate_id, currency, obstacle IS NOT NULL, priority),
  judged AS (
    SELECT c.*,
           CASE WHEN c.is_told AND c.amount_minor = 0 THEN 'nothing_due' {first_of_account}
                ELSE coalesce(c.obstacle, 'pay') END AS verdict{of_account}
      FROM choice c
      JOIN affiliate f ON f.id = c.affiliate_id AND f.tenant_id = $1 AND f.id > $2 AND f.id <= $3
      LEFT JOIN (SELECT DISTINCT affiliate_id, currency FROM contest
                  WHERE tenant_id = $1 AND closed_at IS NULL AND affiliate_id > $2 AND affiliate_id <= $3) AS contested
             ON contested.affiliate_id = c.affiliate_id AND contested.currency = c.currency
      LEFT JOIN unnest($4::text[], $5::bigint[]) AS minimum (currency, minor) ON minimum.currency = c.currency),
  decided AS NOT MATERIALIZED (SELECT * FROM judged WHERE verdict <> 'nothing_due')",
        opaque = DestinationKind::Opaque.as_str(),
        first_of_method = first(&OF_METHOD),
        first_of_account = first(&OF_ACCOUNT),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_condition_in_the_order_in_which_it_is_looked_for() {
        let codes: Vec<Exclusion> = OF_ACCOUNT.iter().chain(&OF_METHOD).map(|(code, _)| *code).collect();
        assert_eq!(codes, Exclusion::ALL);
    }
}
