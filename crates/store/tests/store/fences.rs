//! The conditions inside the guards before a payment (plan, G1, G2) and at the end of a run (G5), one by one, where the
//! guards' own tests pass without them: found by taking each away (see `mutants`). Those inside G3 and G4 are in
//! `proofs`.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::{Db, TTL, paid, rail, refused, report, unknown};
use payfleet_domain::{BatchId, BatchState, HoldReason, Outcome};
use payfleet_store::{CloseVerdict, IntentRefused, NewRun, Planned, Report};

const HOUR: Duration = Duration::from_secs(3600);

async fn due(db: &Db, rail: &'static str) -> Vec<BatchId> {
    db.store.batches_due(rail, HashSet::new(), 100).await.unwrap()
}

#[tokio::test]
async fn what_is_not_due_or_of_a_run_that_is_not_paying_is_neither_published_nor_leased() {
    let db = Db::new().await;
    let name = "sandbox-payout";
    let tenant = db.tenant("t", name, 6).await;
    let run = db.planned(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    assert!(db.try_lease(batches[0]).await.is_none() && due(&db, name).await.is_empty(), "not begun");
    db.store.run_pause(run, "a look").await.unwrap();
    assert_eq!(db.store.runs_begin().await.unwrap(), 0, "a paused run does not begin");
    db.store.run_resume(run).await.unwrap();
    assert_eq!(db.store.runs_begin().await.unwrap(), 1);
    assert_eq!(due(&db, name).await, batches);
    assert_eq!(db.store.batches_due(name, HashSet::from([batches[1]]), 9).await.unwrap(), [batches[0], batches[2]]);
    let leased = db.lease(batches[0]).await;
    assert_eq!(due(&db, name).await, batches[1..], "a leased batch is not published");
    db.store.lease_release(leased.lease, HOUR).await.unwrap();
    assert!(db.try_lease(batches[0]).await.is_none() && due(&db, name).await == batches[1..], "not due");
    db.pay(batches[1], paid).await;
    assert_eq!(due(&db, name).await, [batches[2]], "a finished batch is not published");
    let leased = db.lease(batches[2]).await;
    db.intent(&leased).await;
    db.expire_lease(batches[2]).await;
    db.store.run_pause(run, "a look").await.unwrap();
    assert_eq!(due(&db, name).await, [], "nothing of a paused run is published");
    db.store.run_resume(run).await.unwrap();
    db.expire_lease(batches[0]).await;
    // As if the cancelling program had died after its first transaction.
    db.change("UPDATE run SET state = 'cancelled' WHERE id = $1", run.0).await;
    assert!(db.try_lease(batches[0]).await.is_none(), "what was not sent is not touched any more");
    assert_eq!(due(&db, name).await, [batches[2]], "what was perhaps sent is followed to its end");
    assert_eq!(db.store.runs_to_cancel().await.unwrap(), [run]);
    db.store.run_cancel(run).await.unwrap();
    assert_eq!(db.store.runs_to_cancel().await.unwrap(), []);
    assert!(db.try_lease(batches[2]).await.is_some());
    let other = db.tenant("u", name, 2).await;
    db.run(other, "2026-01", 2).await;
    assert_eq!(db.store.runs_to_cancel().await.unwrap(), [], "a run that goes on is not cancelled");
    db.drop().await;
}

#[tokio::test]
async fn a_run_that_is_over_is_not_worked_on() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-file", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    db.intent(&leased).await;
    db.expire_lease(batch).await;
    db.change("UPDATE run SET state = 'settled', settled_at = now() WHERE id = $1", run.0).await;
    assert!(db.try_lease(batch).await.is_none() && due(&db, "sandbox-file").await.is_empty());
    assert!(db.store.run_pause(run, "late").await.is_err());
    assert!(db.store.run_cancel(run).await.is_err());
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::NotYet);
    let other = db.tenant("u", "sandbox-file", 2).await;
    let new = NewRun { tenant: other, period: "2026-01".parse().unwrap(), sequence: 1, minimum: "1".parse().unwrap() };
    let (planning, _) = db.store.run_create(new).await.unwrap();
    assert_eq!(db.store.runs_begin().await.unwrap(), 0, "a plan that is not complete is not begun");
    db.store.run_pause(planning.id, "a look").await.unwrap();
    assert_eq!(db.store.plan_chunk(planning.id, 7, 2).await.unwrap(), Planned::Paused);
    assert!(db.store.run_cancel(planning.id).await.is_err(), "a plan must be complete to be cancelled");
    db.drop().await;
}

#[tokio::test]
async fn a_lease_knows_of_every_request_that_may_arrive() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    assert_eq!((leased.facts.may_arrive_until, leased.facts.stalled_leases), (None, 1));
    let first = db.intent(&leased).await;
    db.expire_lease(batch).await;
    let again = db.lease(batch).await;
    assert!(again.facts.may_arrive_until.is_some(), "not answered");
    assert_eq!(again.facts.stalled_leases, 2);
    db.record(&leased, &first, unknown).await;
    assert_eq!(db.scalar::<i32>("SELECT stalled_leases FROM batch").await, 2, "a late worker is no news of this one");
    assert!(db.try_lease(batch).await.is_none(), "nor does it give another's lease back");
    let second = db.intent(&again).await;
    db.record(&again, &second, unknown).await;
    let third = db.lease(batch).await;
    let until: Vec<time::OffsetDateTime> =
        sqlx::query_scalar("SELECT may_arrive_until FROM attempt ORDER BY n").fetch_all(&db.sql).await.unwrap();
    assert_eq!(third.facts.may_arrive_until, Some(until[1]), "the last of two that nothing is known about");
    assert_eq!((third.facts.unknown_attempts, third.facts.stalled_leases), (2, 1));
    db.expire_lease(batch).await;
    db.store.lease_release(third.lease, HOUR).await.unwrap();
    assert!(db.try_lease(batch).await.is_some(), "an ended lease cannot put the batch off");
    db.drop().await;
}

#[tokio::test]
async fn who_is_not_done_with_a_batch_keeps_its_lease() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    let mut news = report(&leased, &intent, paid);
    (news.release, news.available_in) = (false, HOUR);
    news.outcomes.truncate(1);
    db.store.outcomes_record(news).await.unwrap();
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::NotYet, "half of it is under way");
    assert!(db.try_lease(batch).await.is_none());
    db.expire_lease(batch).await;
    let new = db.lease(batch).await;
    let late = Report { available_in: HOUR, ..report(&leased, &intent, unknown) };
    db.store.outcomes_record(late).await.unwrap();
    assert_eq!(db.store.leases_renew(vec![(batch, new.lease.epoch)], TTL).await.unwrap().len(), 1);
    db.change("UPDATE batch SET lease_until = '-infinity' WHERE id = $1", batch.0).await;
    assert!(db.try_lease(batch).await.is_some(), "a late worker does not put the batch off");
    db.drop().await;
}

#[tokio::test]
async fn g2_counts_a_lookup_only_under_the_newest_lease_and_of_what_is_dead() {
    let db = Db::new().await;
    let lookup = rail("sandbox-lookup");
    let tenant = db.tenant("t", lookup.name, 4).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    for batch in &batches {
        let leased = db.lease(*batch).await;
        db.intent(&leased).await;
        db.age(*batch, 60).await;
        db.expire_lease(*batch).await;
    }
    let old = db.lease(batches[0]).await;
    db.expire_lease(batches[0]).await;
    let new = db.lease(batches[0]).await;
    let lost = db.store.intent_write(old.lease, "w", lookup, true).await.unwrap();
    assert_eq!(lost.unwrap_err(), IntentRefused::LeaseLost);
    let open = "SELECT count(*) FROM attempt WHERE result IS NULL";
    assert_eq!(db.scalar::<i64>(open).await, 2, "who lost the lease resolves nothing");
    let second = db.store.intent_write(new.lease, "w", lookup, true).await.unwrap().unwrap();
    assert_eq!(db.scalar::<i64>(open).await, 2, "the dead one of this batch, and not the other batch's");
    db.record(&new, &second, unknown).await;
    let third = db.lease(batches[0]).await;
    let early = db.store.intent_write(third.lease, "w", lookup, true).await.unwrap();
    assert_eq!(early.unwrap_err(), IntentRefused::NotSafe, "an unknown one may still arrive");
    db.age(batches[0], 60).await;
    assert_eq!(db.store.intent_write(third.lease, "w", lookup, true).await.unwrap().unwrap().attempt.0, 3);
    db.drop().await;
}

#[tokio::test]
async fn g2_counts_the_keys_horizon_from_the_first_request_and_opens_nothing_that_is_closed() {
    let db = Db::new().await;
    let key = rail("sandbox-payout");
    let tenant = db.tenant("t", key.name, 4).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    let mut leased = db.lease(batches[0]).await;
    for allowed in [true, true, false] {
        let intent = db.store.intent_write(leased.lease, "w", key, false).await.unwrap();
        assert_eq!(intent.is_ok(), allowed);
        db.age(batches[0], 7 * 3600).await;
        db.expire_lease(batches[0]).await;
        leased = db.lease(batches[0]).await;
    }
    assert_eq!(db.store.batch_hold(leased.lease, HoldReason::HorizonExpired).await.unwrap(), Some(2));
    db.change("UPDATE batch SET lease_until = 'infinity' WHERE id = $1", batches[0].0).await;
    let held = db.store.intent_write(leased.lease, "w", key, false).await.unwrap();
    assert_eq!(held.unwrap_err(), IntentRefused::NotSafe, "held");
    assert_eq!(db.store.batch_hold(leased.lease, HoldReason::Poison).await.unwrap(), None, "held already");
    let other = db.lease(batches[1]).await;
    let intent = db.intent(&other).await;
    assert_eq!(intent.orders.iter().map(|order| order.payout).collect::<Vec<_>>(), db.payouts(run).await[2..]);
    let mut half = report(&other, &intent, paid);
    half.outcomes.truncate(1);
    half.release = false;
    db.store.outcomes_record(half).await.unwrap();
    let rest = db.intent(&other).await;
    assert_eq!(rest.orders.len(), 1, "what is answered is not ordered again");
    db.drop().await;
}

#[tokio::test]
async fn g2_what_left_by_a_file_never_leaves_again_whatever_became_of_it() {
    let db = Db::new().await;
    let file = rail("sandbox-file");
    let tenant = db.tenant("t", file.name, 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    let old = db.lease(batch).await;
    let first = db.intent(&old).await;
    db.expire_lease(batch).await;
    let new = db.lease(batch).await;
    // Late, so the batch stays as the new lessee found it; no attempt is open any more.
    assert_eq!(db.record(&old, &first, |_| Outcome::NotExecuted).await.state, BatchState::Sending);
    let again = db.store.intent_write(new.lease, "w", file, true).await.unwrap();
    assert_eq!(again.unwrap_err(), IntentRefused::NotSafe);
    db.drop().await;
}

#[tokio::test]
async fn g2_nothing_of_a_cancelled_run_is_sent_whatever_was_sent_before() {
    let db = Db::new().await;
    let key = rail("sandbox-payout");
    let tenant = db.tenant("t", key.name, 4).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    let sent = db.lease(batches[0]).await;
    db.intent(&sent).await;
    let unsent = db.lease(batches[1]).await;
    db.store.run_cancel(run).await.unwrap();
    let stopped = db.store.intent_write(unsent.lease, "w", key, false).await.unwrap();
    assert_eq!(stopped.unwrap_err(), IntentRefused::RunStopped);
    let again = db.store.intent_write(sent.lease, "w", key, false).await.unwrap();
    assert_eq!(again.unwrap_err(), IntentRefused::RunStopped);
    db.drop().await;
}

#[tokio::test]
async fn an_intent_says_until_when_its_request_may_arrive() {
    let db = Db::new().await;
    let lookup = rail("sandbox-lookup");
    let tenant = db.tenant("t", lookup.name, 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let leased = db.lease(db.batches(run).await[0]).await;
    let intent = db.intent(&leased).await;
    let (opened, may_arrive_until): (time::OffsetDateTime, time::OffsetDateTime) =
        sqlx::query_as("SELECT opened_at, may_arrive_until FROM attempt").fetch_one(&db.sql).await.unwrap();
    assert_eq!(intent.expires_at, opened + lookup.request_lifetime);
    assert_eq!(may_arrive_until, opened + lookup.dead_after());
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::NotYet, "it is under way");
    db.drop().await;
}

#[test]
fn a_refused_intent_says_why() {
    let all = [IntentRefused::LeaseLost, IntentRefused::RunStopped, IntentRefused::NotSafe];
    let words = ["the lease was lost", "the run is paused or cancelled", "sending again is not safe now"];
    assert_eq!(all.map(|why| why.to_string()), words);
}

#[tokio::test]
async fn g5_compares_counts_and_sums_of_payments_and_exclusions() {
    for tamper in [
        "UPDATE payout SET amount_minor = amount_minor + 1 WHERE id = (SELECT max(id) FROM payout)",
        "DELETE FROM payout WHERE id = (SELECT max(id) FROM payout)",
        "UPDATE payout SET currency = 'USD' WHERE id = (SELECT max(id) FROM payout)",
        "WITH gone AS (DELETE FROM payout WHERE id = (SELECT max(id) FROM payout) RETURNING amount_minor)
         UPDATE payout SET amount_minor = amount_minor + (SELECT amount_minor FROM gone)
           WHERE id = (SELECT min(id) FROM payout)",
        "INSERT INTO payout (id, run_id, affiliate_id, method_id, amount_minor, carried_minor, settled_at, tenant_id,
           currency, state, reference)
         SELECT id + 1, run_id, affiliate_id, method_id, amount_minor, 0, now(), tenant_id, 'USD', 'paid', 'r'
           FROM payout ORDER BY id DESC LIMIT 1",
        "DELETE FROM exclusion",
        "UPDATE exclusion SET amount_minor = amount_minor - 1",
        "UPDATE run_plan SET accounts = accounts + 1 WHERE verdict <> 'pay'",
        "UPDATE payout SET state = 'unknown', settled_at = NULL WHERE id = (SELECT max(id) FROM payout)",
    ] {
        let db = Db::new().await;
        let tenant = db.tenant("t", "sandbox-payout", 3).await;
        db.change("UPDATE affiliate SET on_hold = true WHERE external_id = 'a3' AND $1 > 0", 1).await;
        let run = db.run(tenant, "2026-01", 2).await;
        db.pay(db.batches(run).await[0], paid).await;
        db.store.run_pause(run, "a look").await.unwrap();
        assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::NotYet, "paused");
        db.store.run_resume(run).await.unwrap();
        db.unfix().await;
        sqlx::query(tamper).execute(&db.sql).await.unwrap();
        let verdict = db.store.run_close(run).await.unwrap();
        assert!(matches!(verdict, CloseVerdict::NotBalanced(_)), "{tamper}");
        db.drop().await;
    }
}

#[tokio::test]
async fn a_plan_pays_whom_it_may_by_the_first_method_that_works() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 9).await;
    for statement in [
        "INSERT INTO contest (tenant_id, affiliate_id, currency, payout_id, closed_at)
         SELECT tenant_id, id, c, id * 10 + n, at FROM affiliate,
                (VALUES ('a9', 'EUR', 1, NULL), ('a9', 'EUR', 2, NULL), ('a9', 'EUR', 3, now()),
                  ('a8', 'EUR', 1, now()), ('a8', 'JPY', 2, NULL)) AS k (a, c, n, at)
          WHERE external_id = a AND $1 > 0",
        "UPDATE affiliate SET on_hold = true WHERE external_id = 'a1' AND $1 > 0",
        "UPDATE payout_method SET usable = false WHERE destination IN ('a2@example.com', 'a3@example.com') AND $1 > 0",
        "INSERT INTO payout_limit (tenant_id, affiliate_id, method, currency, min_minor)
         SELECT tenant_id, affiliate_id, method, 'EUR', 1001 FROM payout_method WHERE destination = 'a4@example.com'
           AND $1 > 0",
        "INSERT INTO payout_limit (tenant_id, affiliate_id, method, currency, max_minor)
         SELECT tenant_id, affiliate_id, method, 'EUR', 999 FROM payout_method WHERE destination = 'a5@example.com'
           AND $1 > 0",
        // What binds another method or another currency binds nobody here.
        "INSERT INTO payout_limit (tenant_id, affiliate_id, method, currency, max_minor)
         SELECT tenant_id, id, m, c, 999 FROM affiliate, (VALUES ('paypal', 'JPY'), ('sepa', 'EUR')) AS other (m, c)
           WHERE $1 > 0",
        "UPDATE payout_method SET retired_at = now() WHERE destination = 'a6@example.com' AND $1 > 0",
        "UPDATE commission SET amount_minor = 99 WHERE external_id LIKE '%a7' AND $1 > 0",
        "INSERT INTO payout_method (tenant_id, affiliate_id, method, destination, priority)
         SELECT tenant_id, id, 'paypal', 'second', 1 FROM affiliate WHERE external_id = 'a3' AND $1 > 0",
    ] {
        db.change(statement, 1).await;
    }
    // A second currency, and what belongs to other windows.
    sqlx::raw_sql(
        "INSERT INTO account (tenant_id, affiliate_id, currency)
         SELECT 1, id, 'USD' FROM affiliate WHERE external_id = 'a8';
         INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
           order_ref)
         SELECT 1, 'usd', id, 'USD', 77, '2026-01-03Z', '2026-01-03Z', 'sale', '' FROM affiliate
           WHERE external_id = 'a8';
         INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
           order_ref, late_for)
         SELECT 1, 'late', id, 'EUR', 50, '2026-01-03Z', '2026-01-03Z', 'sale', '', 2 FROM affiliate
           WHERE external_id = 'a8';
         INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
           order_ref)
         SELECT 1, 'edge' || at, id, 'EUR', 1, at, at, 'sale', ''
           FROM affiliate, (VALUES (timestamptz '2026-01-31 23:59:59.999999Z'), ('2026-02-01Z')) AS edge (at)
          WHERE external_id = 'a8'",
    )
    .execute(&db.sql)
    .await
    .unwrap();
    let first = db.planned(tenant, "2026-01", 10).await;
    let paid: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT a.external_id, p.amount_minor, m.destination FROM payout p JOIN affiliate a ON a.id = p.affiliate_id
           JOIN payout_method m ON m.id = p.method_id WHERE p.run_id = $1 ORDER BY 1",
    )
    .bind(first.0)
    .fetch_all(&db.sql)
    .await
    .unwrap();
    let paid: Vec<(&str, i64, &str)> =
        paid.iter().map(|(who, minor, to)| (who.as_str(), *minor, to.as_str())).collect();
    assert_eq!(paid, [("a3", 1000, "second"), ("a8", 1001, "a8@example.com")]);
    let why: String = db
        .scalar(
            "SELECT string_agg(external_id || ' ' || reason, ', ' ORDER BY external_id, e.currency)
                   FROM exclusion e JOIN affiliate a ON a.id = e.affiliate_id",
        )
        .await;
    assert_eq!(
        why,
        "a1 on_hold, a2 method_unusable, a4 outside_limits, a5 outside_limits, a6 no_method, a7 below_minimum, \
         a8 below_minimum, a9 contested"
    );
    db.assert_ledger().await;
    let second = db.planned(tenant, "2026-02", 10).await;
    let of_a8: i64 = sqlx::query_scalar(
        "SELECT amount_minor FROM payout WHERE run_id = $1 AND currency = 'EUR' AND amount_minor < 1000",
    )
    .bind(second.0)
    .fetch_one(&db.sql)
    .await
    .unwrap_or_default();
    assert_eq!(of_a8, 0, "51 is below the minimum");
    let carried: i64 = db
        .scalar(
            "SELECT carried_minor
               FROM account c JOIN affiliate a ON a.id = c.affiliate_id
              WHERE external_id = 'a8' AND c.currency = 'EUR'",
        )
        .await;
    assert_eq!(carried, 51, "the late one, and the one at the edge, each once");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn what_one_currency_gives_back_stays_in_it() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 1).await;
    sqlx::raw_sql(
        "INSERT INTO account (tenant_id, affiliate_id, currency) SELECT 1, id, 'USD' FROM affiliate;
         INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
           order_ref)
         SELECT 1, 'usd', id, 'USD', 7700, '2026-01-03Z', '2026-01-03Z', 'sale', '' FROM affiliate",
    )
    .execute(&db.sql)
    .await
    .unwrap();
    let run = db.run(tenant, "2026-01", 10).await;
    for batch in db.batches(run).await {
        db.pay(batch, refused).await;
    }
    db.assert_ledger().await;
    // Twice, so that what is given back is added to what is there.
    db.commissions(tenant, "2026-02-10T00:00:00Z", 50).await;
    let run = db.run(tenant, "2026-02", 10).await;
    sqlx::query("UPDATE account SET carried_minor = carried_minor + 1").execute(&db.sql).await.unwrap();
    for batch in db.batches(run).await {
        db.pay(batch, refused).await;
    }
    let carried: String =
        db.scalar("SELECT string_agg(currency || ' ' || carried_minor, ', ' ORDER BY currency) FROM account").await;
    assert_eq!(carried, "EUR 1051, USD 7701");
    db.drop().await;
}

#[tokio::test]
async fn g2_who_waited_for_the_batch_sees_that_the_run_was_paused_meanwhile() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 1).await;
    let run = db.run(tenant, "2026-01", 1).await;
    let batch = db.batches(run).await[0];
    let lease = db.lease(batch).await.lease;
    let mut keeper = db.sql.begin().await.unwrap();
    let lock = "SELECT FROM batch WHERE id = $1 FOR NO KEY UPDATE";
    sqlx::query(lock).bind(batch.0).execute(&mut *keeper).await.unwrap();
    let store = db.store.clone();
    let intent = tokio::spawn(async move { store.intent_write(lease, "w", rail("sandbox-payout"), false).await });
    db.until_waiting(1).await;
    let paused = tokio::time::timeout(Duration::from_secs(20), db.store.run_pause(run, "people look")).await;
    paused.expect("who has nothing yet keeps nobody waiting").unwrap();
    keeper.commit().await.unwrap();
    assert_eq!(intent.await.unwrap().unwrap().unwrap_err(), IntentRefused::RunStopped);
    db.drop().await;
}
