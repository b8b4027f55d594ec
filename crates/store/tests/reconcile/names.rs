//! Lines that bear no key of ours, of a rail whose statements need not: they are known by the rail's own names.

use payfleet_domain::{DiscrepancyKind as Kind, Movement, Outcome, PayoutId, Reference, StatementEnd, StatementLine};
use payfleet_store::{AccountRead, StatementAccount, StatementSource};
use time::{Duration, OffsetDateTime};

use crate::world::{DAY, World};

/// The world of the others, whose runs were paid over Wise, and the lines of its statement, without keys.
async fn keyless() -> (World, Vec<StatementLine>) {
    let world = World::new(60).await;
    world.tamper("UPDATE batch SET rail = 'wise' WHERE rail = 'sandbox-payout'".to_owned()).await;
    let mut lines = Vec::new();
    for payout in world.payouts("paid").await {
        lines.push(StatementLine {
            key: String::new(),
            destination: String::new(),
            at: Some(OffsetDateTime::now_utc()),
            ..world.line_of(payout).await
        });
    }
    (world, lines)
}

/// Reads a part of the statement. Returns from where it was wanted, and what it brought.
async fn read(
    world: &World,
    lines: &[StatementLine],
    open_from: Option<OffsetDateTime>,
) -> (OffsetDateTime, AccountRead) {
    let account = StatementAccount { rail: "wise".to_owned(), account: "main".to_owned(), credential: None };
    let reading = world.store.account_open(&account, StatementSource::Rail).await.unwrap();
    let mut reading = reading.expect("nobody else is at it");
    for line in lines {
        reading.line_add(line.clone()).await.unwrap();
    }
    let (from, now) = (reading.from().unwrap(), OffsetDateTime::now_utc());
    let end = StatementEnd { from, until: now, now, open_from, lines: lines.len() as u64 };
    (from, reading.end(Some(end)).await.unwrap())
}

async fn count(world: &World, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&world.raw).await.unwrap()
}

const STRAYS: &str = "SELECT count(*) FROM statement_line WHERE payout_id IS NULL";
const LISTED: &str = "SELECT coalesce(sum(length(replace(bits::text, '0', ''))), 0)::bigint FROM listed";

/// What a comparison of the run finds of payments that nobody ordered.
async fn never_planned(world: &World) -> usize {
    let run = world.store.run_find(world.run.id).await.unwrap().unwrap();
    let mut session = world.store.reconciliation_open(&run).await.unwrap().expect("nobody else is at it");
    session.compare(DAY).await.unwrap();
    let found = session.discrepancies_read(0, 10_000).await.unwrap();
    session.close().await.unwrap();
    found.iter().filter(|one| one.kind == Kind::NeverPlanned).count()
}

#[tokio::test]
async fn payments_and_returns_are_known_by_the_rails_own_names() {
    let (world, mut lines) = keyless().await;
    let paid = lines.len() as i64;
    let back = StatementLine {
        reference: "back_1".to_owned(),
        of: Some(lines[0].reference.clone()),
        movement: Movement::Returned,
        ..lines[0].clone()
    };
    lines.push(back);
    let (_, brought) = read(&world, &lines, None).await;
    assert_eq!((count(&world, STRAYS).await, count(&world, LISTED).await), (0, paid));
    assert_eq!(brought.applied.returned, 1);
    let again = read(&world, &lines, None).await.1.applied;
    assert_eq!((again.returned, again.alarms), (0, 0), "the same lines are no news");
    assert_eq!(never_planned(&world).await, 0);
}

#[tokio::test]
async fn what_is_read_before_it_is_known_here_is_known_afterwards() {
    let (world, lines) = keyless().await;
    let payout: PayoutId = world.payouts("paid").await[0];
    world
        .tamper(format!("UPDATE payout SET state = 'unknown', reference = NULL, settled_at = NULL WHERE id = {payout}"))
        .await;
    world.tamper(format!("DELETE FROM transfer WHERE payout_id = {payout} AND kind = 2")).await;
    read(&world, &lines, None).await;
    assert_eq!(count(&world, STRAYS).await, 1);
    assert_eq!(never_planned(&world).await, 1, "as long as nobody knows it");
    let news = "SELECT news_no FROM run WHERE period = '2011-11'";
    world.learned(payout, Outcome::Paid(Reference(lines[0].reference.clone()))).await;
    let before = count(&world, news).await;
    read(&world, &[], None).await;
    assert_eq!(count(&world, LISTED).await, lines.len() as i64);
    assert_eq!(never_planned(&world).await, 0);
    assert!(count(&world, news).await > before, "its verdict is asked again");
    let named = count(&world, "SELECT count(*) FROM statement_line_named").await;
    read(&world, &lines, None).await;
    assert_eq!((named, count(&world, "SELECT count(*) FROM statement_line_named").await), (1, 1));
}

#[tokio::test]
async fn a_name_of_two_payouts_is_nobodys_and_a_strangers_is_none() {
    let (world, lines) = keyless().await;
    let payouts = world.payouts("paid").await;
    world.tamper(format!("UPDATE payout SET reference = 'po_{}' WHERE id = {}", payouts[0], payouts[1])).await;
    let stranger = StatementLine { reference: "po_1".to_owned(), ..lines[0].clone() };
    read(&world, &[lines[0].clone(), stranger], None).await;
    assert_eq!((count(&world, STRAYS).await, count(&world, LISTED).await), (2, 0));
    // A rail that repeats our keys says by their absence that it is nobody's of ours.
    world.tamper("UPDATE batch SET rail = 'stripe' WHERE rail = 'wise'".to_owned()).await;
    let account = StatementAccount { rail: "stripe".to_owned(), account: "main".to_owned(), credential: None };
    let mut reading = world.store.account_open(&account, StatementSource::Rail).await.unwrap().unwrap();
    reading.line_add(lines[2].clone()).await.unwrap();
    reading.end(None).await.unwrap();
    assert_eq!((count(&world, STRAYS).await, count(&world, LISTED).await), (3, 0));
}

#[tokio::test]
async fn the_next_part_begins_where_something_was_still_pending() {
    let (world, _) = keyless().await;
    let pending = (OffsetDateTime::now_utc() - Duration::HOUR).replace_nanosecond(0).unwrap();
    read(&world, &[], Some(pending)).await;
    let reaches = "SELECT (reaches_ours > clock_timestamp() - interval '1 minute')::int::bigint FROM rail_account
                    WHERE rail = 'wise'";
    assert_eq!(count(&world, reaches).await, 0, "what is pending may be paid: of nothing newer is it silent");
    let (from, _) = read(&world, &[], None).await;
    assert_eq!(from, pending);
    assert_eq!(count(&world, reaches).await, 1, "what is not on it now is missing");
    let (from, _) = read(&world, &[], None).await;
    assert!(from > pending, "it is final now");
}
