//! Holding the lines of a statement against what was planned. Nothing here changes anything, and nothing that a plan
//! has fixed ever changes, so pieces are matched beside each other and before anything is locked.

use std::collections::{BTreeMap, HashMap};

use payfleet_domain::{
    Currency, DestinationKind, LineDiffers, Money, Movement, PayoutId, PayoutKey, Rail, RunId, StatementLine,
};
use sqlx::{PgConnection, Row};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::reading::Paying;
use crate::connect::{Step, StoreError};
use crate::method::kinds_of;
use crate::order::{destinations_of, names_of, range};
use crate::session::Sessions;
use crate::sql::{pays_currency, pays_minor};

/// Money cannot come back before it went out. Banks tell days and not instants, and clocks differ.
const BEFORE_IT_WAS_SENT: Duration = Duration::DAY;

/// What the lines of a piece are.
#[derive(Debug, Default)]
pub(super) struct Matched {
    /// Payments just as they were ordered.
    pub plain: Vec<Plain>,
    /// Refusals of payments that the rail had accepted, of payouts of ours.
    pub rejected: Vec<Odd>,
    /// Everything else.
    pub odd: Vec<Odd>,
    /// How many lines are of a payout of which run; without a run, of none of ours.
    pub of_runs: BTreeMap<Option<RunId>, u64>,
}

/// A payment as it was ordered: payout and reference. Whether it is the one that we know of is seen when it is
/// recorded.
#[derive(Debug, Clone)]
pub(super) struct Plain {
    pub payout: PayoutId,
    pub line: StatementLine,
}

/// A line that says something else, and what.
#[derive(Debug, Clone)]
pub(super) struct Odd {
    /// Of a line whose key is ours.
    pub payout: Option<PayoutId>,
    pub line: StatementLine,
    pub differs: LineDiffers,
    pub differs_account: bool,
    /// It came back before it went out, or more of it, or in another currency, or nobody can tell it from another
    /// return.
    pub differs_return: bool,
    /// It came back, and nothing of its batch counts as sent: only if a payment of it is known all the same can that
    /// be.
    pub is_unsent_return: bool,
}

impl Odd {
    pub fn of(payout: Option<PayoutId>, line: StatementLine, differs: LineDiffers, differs_account: bool) -> Odd {
        Odd { payout, line, differs, differs_account, differs_return: false, is_unsent_return: false }
    }
}

/// A payout that a key of the piece claims to be of.
#[derive(Debug)]
struct Planned {
    run_key: Uuid,
    affiliate: String,
    /// Part of its key.
    due_currency: Currency,
    /// What the rail was told.
    pays: Money,
    method: i64,
    destination: Option<String>,
}

/// Where a payout travelled, and since when.
#[derive(Debug)]
struct Way {
    last: i64,
    is_ours: bool,
    first_sent_at: Option<OffsetDateTime>,
}

/// Finds out which payout each line is of, and what it says of it. A key is believed if it is the one that we derive.
pub(super) async fn piece_match(
    pool: &Sessions,
    account: &Paying,
    piece: Vec<StatementLine>,
) -> Result<Matched, StoreError> {
    let claimed = |line: &StatementLine| line.key.parse::<PayoutKey>().ok().and_then(|key| key.payout().ok());
    let mut ids: Vec<i64> = piece.iter().filter_map(claimed).map(|payout| payout.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut connection = pool.acquire().await.step("statement_payouts")?;
    let planned = planned_read(&mut connection, &ids).await?;
    let ways = ways_read(&mut connection, account, planned.keys().map(|payout| payout.0)).await?;
    // What is written as it was sent is the same whatever it is, and most of it is.
    let written_otherwise = piece.iter().filter_map(|line| {
        let planned = planned.get(&claimed(line)?)?;
        (planned.destination.as_ref() != Some(&line.destination)).then_some(planned.method)
    });
    let kinds = kinds_of(&mut connection, &written_otherwise.collect::<Vec<_>>()).await?;
    let names_payee = Rail::named(&account.rail).is_ok_and(|rail| rail.statement_names_payee);
    let mut matched = Matched::default();
    // By payout: under which names, and when.
    let mut paid = HashMap::<PayoutId, Vec<(String, Option<OffsetDateTime>)>>::new();
    for line in piece {
        let payout = claimed(&line);
        let ours = payout.and_then(|payout| planned.get(&payout).map(|planned| (payout, planned)));
        let genuine = ours.filter(|(payout, planned)| {
            let key = PayoutKey::derive(planned.run_key, *payout, &planned.affiliate, planned.due_currency);
            key.as_str() == line.key
        });
        *matched.of_runs.entry(genuine.map(|(payout, _)| payout.run())).or_default() += 1;
        let Some((payout, planned)) = genuine else {
            if line.movement == Movement::Rejected {
                continue; // nobody of ours was refused, and no money moved
            }
            let differs = LineDiffers::default();
            matched.odd.push(Odd::of(None, line, differs, false));
            continue;
        };
        let is_nameless = line.is_nameless();
        let line = line.named();
        let way = ways.range(..=payout.0).next_back().map(|(_, way)| way).filter(|way| payout.0 <= way.last);
        let differs_account = way.is_none_or(|way| !way.is_ours);
        let kind = kinds.get(&planned.method).copied().unwrap_or(DestinationKind::Opaque);
        let mut differs = line.differs(planned.pays, planned.destination.as_deref().unwrap_or_default(), kind);
        // What the rail never says cannot differ. In another rail's statement, or a file that somebody made, a line
        // that names nobody proves nothing.
        differs.destination &= names_payee || !line.destination.is_empty();
        differs.destination |= planned.destination.is_none();
        match line.movement {
            Movement::Paid if !differs.in_something() && !differs_account => {
                paid.entry(payout).or_default().push((line.reference.clone(), line.at));
                matched.plain.push(Plain { payout, line });
            }
            Movement::Paid => {
                matched.odd.push(Odd::of(Some(payout), line, differs, differs_account));
            }
            Movement::Rejected => matched.rejected.push(Odd::of(Some(payout), line, differs, differs_account)),
            Movement::Returned => {
                let sent_at = way.and_then(|way| way.first_sent_at);
                let here = paid.get(&payout).map_or(&[][..], Vec::as_slice);
                // The payment that it is of, or else the earliest: where a statement was cut must make no difference.
                let named = here.iter().find(|(name, _)| line.of.as_ref() == Some(name)).map(|(_, at)| *at);
                let earliest = || here.iter().map(|(_, at)| *at).min().flatten();
                let paid_at = named.unwrap_or_else(earliest);
                let is_too_early = match (line.at, paid_at, sent_at) {
                    (Some(at), Some(paid_at), _) => at < paid_at,
                    (Some(at), None, Some(sent_at)) => at < sent_at - BEFORE_IT_WAS_SENT,
                    (None, ..) | (_, None, None) => false,
                };
                let whole = i128::from(line.amount_minor) + i128::from(line.fee_minor);
                let is_too_much = whole > planned.pays.minor.into() || whole <= 0 || line.fee_minor < 0;
                // Where it came back from is the payee's affair, and how much of it is told apart.
                matched.odd.push(Odd {
                    differs_return: is_too_early || is_too_much || is_nameless || differs.currency,
                    is_unsent_return: sent_at.is_none() && here.is_empty(),
                    ..Odd::of(Some(payout), line, LineDiffers::default(), differs_account)
                });
            }
        }
    }
    Ok(matched)
}

/// The payouts of these numbers, of whatever run. Read as orders are, and for the same reason.
async fn planned_read(connection: &mut PgConnection, ids: &[i64]) -> Result<HashMap<PayoutId, Planned>, StoreError> {
    macro_rules! payouts {
        ($which:literal) => {
            sqlx::query_as(concat!(
                "-- statement_payouts
                 SELECT tenant_id, (SELECT key FROM run WHERE id = p.run_id), currency::text, ",
                pays_currency!("p"),
                "::text, array_agg(id), array_agg(affiliate_id), array_agg(method_id), array_agg(",
                pays_minor!("p"),
                ")
                   FROM payout p WHERE ",
                $which,
                " GROUP BY tenant_id, run_id, currency, ",
                pays_currency!("p")
            ))
        };
    }
    let alike: Vec<Alike> = match range(ids) {
        Some((low, high)) => payouts!("id BETWEEN $1 AND $2").bind(low).bind(high),
        None => payouts!("id = ANY($1)").bind(ids),
    }
    .fetch_all(&mut *connection)
    .await
    .step("statement_payouts")?;
    let mut planned = HashMap::with_capacity(ids.len());
    for (tenant, run_key, due, pays, payouts, affiliates, methods, amounts) in alike {
        let read = |code: String| {
            code.parse().map_err(|no: payfleet_domain::UnknownCurrency| StoreError::Broken(no.to_string()))
        };
        let (due_currency, currency): (Currency, Currency) = (read(due)?, read(pays)?);
        // One affiliate may have several payouts on one statement: of several runs.
        let names = names_of(connection, tenant, &affiliates).await?;
        let destinations = destinations_of(connection, tenant, &methods).await?;
        for (((payout, affiliate), method), minor) in payouts.into_iter().zip(affiliates).zip(methods).zip(amounts) {
            // Without an affiliate there is no key, and the line is nobody's.
            let Some(name) = names.get(&affiliate) else { continue };
            let destination = destinations.get(&(method, affiliate)).cloned();
            let (affiliate, pays) = (name.clone(), Money { minor, currency });
            let payout = PayoutId(payout);
            planned.insert(payout, Planned { run_key, affiliate, due_currency, pays, method, destination });
        }
    }
    Ok(planned)
}

/// Payouts of one tenant and run, and of one currency that is due and one that is paid: with the run's key, numbers,
/// affiliates, methods, what is paid in minor units.
type Alike = (i32, Uuid, String, String, Vec<i64>, Vec<i64>, Vec<i64>, Vec<i64>);

/// The batches of these payouts, by their first.
async fn ways_read(
    connection: &mut PgConnection,
    account: &Paying,
    payouts: impl Iterator<Item = i64>,
) -> Result<BTreeMap<i64, Way>, StoreError> {
    let mut spans = BTreeMap::<i64, (i64, i64)>::new();
    for id in payouts {
        let (low, high) = spans.entry(PayoutId(id).run().0).or_insert((id, id));
        (*low, *high) = ((*low).min(id), (*high).max(id));
    }
    let (runs, bounds): (Vec<i64>, Vec<(i64, i64)>) = spans.into_iter().unzip();
    let (lows, highs): (Vec<i64>, Vec<i64>) = bounds.into_iter().unzip();
    let read = "statement_batches";
    let rows = sqlx::query(
        "-- statement_batches
         SELECT b.first_payout_id, b.last_payout_id, b.rail = $4 AND b.account = $5 AS is_ours,
                -- What is ready again, or half of what was sent, was sent all the same.
                coalesce(b.first_sent_at, (
                  SELECT min(a.opened_at) FROM batch o JOIN attempt a ON a.batch_id = o.id
                   WHERE o.run_id = b.run_id AND o.first_payout_id <= b.first_payout_id
                     AND o.last_payout_id >= b.last_payout_id)) AS first_sent_at
           FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS of (run, low, high)
           JOIN batch b ON b.run_id = of.run AND b.state <> 'split' AND b.first_payout_id <= of.high
             AND b.last_payout_id >= of.low",
    )
    .bind(runs)
    .bind(lows)
    .bind(highs)
    .bind(&account.rail)
    .bind(&account.account)
    .fetch_all(connection)
    .await
    .step(read)?;
    rows.iter()
        .map(|row| {
            let way = Way {
                last: row.try_get("last_payout_id").step(read)?,
                is_ours: row.try_get("is_ours").step(read)?,
                first_sent_at: row.try_get("first_sent_at").step(read)?,
            };
            Ok((row.try_get("first_payout_id").step(read)?, way))
        })
        .collect()
}
