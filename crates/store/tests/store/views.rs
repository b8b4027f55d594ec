//! What people look at says what is so: counts that are kept beside the work, why batches wait, an affiliate's money, a
//! payout's life.

use std::time::Duration;

use crate::support::{Db, paid, rail, refused, unknown};
use payfleet_domain::{Exclusion, HoldReason, NotPaid, Outcome, PayoutId, PayoutState, RunId, WaitReason};
use payfleet_store::{Decision, Mark, PayoutFilter, TenantRail, What, WhoPlaced, WorkerWords};
use time::OffsetDateTime;

/// What the payouts themselves say, as the counts do.
async fn counted(db: &Db, run: RunId) -> Vec<(String, String, i64, String)> {
    sqlx::query_as(
        "SELECT state, currency::text, count(*), sum(amount_minor)::text FROM payout WHERE run_id = $1
          GROUP BY state, currency ORDER BY state, currency",
    )
    .bind(run.0)
    .fetch_all(&db.sql)
    .await
    .unwrap()
}

pub async fn assert_outcomes(db: &Db, run: RunId) {
    let told = db.store.run_outcomes(run).await.unwrap().into_iter().map(|line| {
        (line.state.as_str().to_owned(), line.currency.to_string(), line.payouts, line.amount_minor.to_string())
    });
    assert_eq!(told.collect::<Vec<_>>(), counted(db, run).await);
}

fn worker(name: &str, rails: &[&str]) -> WorkerWords {
    WorkerWords {
        name: name.to_owned(),
        version: "1".to_owned(),
        started_at: OffsetDateTime::now_utc(),
        is_ending: false,
        rails: rails.iter().map(|rail| (*rail).to_owned()).collect(),
        lacks: Vec::new(),
        paced: Vec::new(),
        trouble: None,
    }
}

#[tokio::test]
async fn outcomes_and_what_a_cancel_never_sends_are_counted_as_they_are() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 12).await;
    let run = db.planned(tenant, "2026-01", 2).await;
    assert_outcomes(&db, run).await;
    db.store.runs_begin().await.unwrap();
    let batches = db.batches(run).await;
    let first = db.payouts(run).await[0];
    db.pay(batches[0], |payout| if payout == first { paid(payout) } else { refused(payout) }).await;
    db.pay(batches[1], unknown).await;
    db.pay(batches[2], paid).await;
    assert_outcomes(&db, run).await;
    let line = db.line(db.payouts(run).await[4], "back").await;
    let back = payfleet_domain::StatementLine { movement: payfleet_domain::Movement::Returned, ..line };
    let of_runs = db.line_read("sandbox-payout", back).await.of_runs;
    assert_eq!(of_runs.into_iter().collect::<Vec<_>>(), [(Some(run), 1)]);
    let stray = payfleet_domain::StatementLine { key: "of somebody else".into(), ..db.line(first, "x").await };
    let of_runs = db.line_read("sandbox-payout", stray).await.of_runs;
    assert_eq!(of_runs.into_iter().collect::<Vec<_>>(), [(None, 1)], "it fits no payout, and is told");
    db.store.payout_stop(db.payouts(run).await[6], "looks odd").await.unwrap();
    let leased = db.lease(batches[3]).await;
    db.store.intent_write(leased.lease, "w", rail("sandbox-payout"), false).await.unwrap().unwrap_err();
    assert_outcomes(&db, run).await;
    let cancelled = db.store.run_cancel(run).await.unwrap();
    assert_outcomes(&db, run).await;
    assert_eq!(db.store.cancel_counts(run).await.unwrap(), (cancelled.cast_signed(), 0));
    // Whoever asks again, and whoever did it: it is how many, and not how many just now.
    assert_eq!(db.store.run_cancel(run).await.unwrap(), 0);
    assert_eq!(db.store.cancel_counts(run).await.unwrap().0, cancelled.cast_signed());
    let codes = db.store.run_codes(run).await.unwrap();
    assert!(codes.iter().any(|line| line.code == "receiver_unregistered" && line.payouts == 1), "{codes:?}");
    db.drop().await;
}

/// Programs of the version before move payouts and count nothing, beside the fleet of this one.
#[tokio::test]
async fn what_is_moved_without_being_counted_is_read_and_counted_again() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 6).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    let payouts = db.payouts(run).await;
    let kept = async || db.scalar::<i64>("SELECT count(*) FROM batch_counted WHERE is_kept").await;
    assert_eq!(kept().await, 3, "as they were planned");
    let leased = db.lease(batches[0]).await;
    let intent = db.intent(&leased).await;

    // One that has moved a payout and not committed when the rest of its batch is recorded and counted.
    let mut older = db.sql.begin().await.unwrap();
    let accept = "UPDATE payout SET state = 'accepted', reference = 'r' WHERE id = $1";
    sqlx::query(accept).bind(payouts[0].0).execute(&mut *older).await.unwrap();
    let mut rest = crate::support::report(&leased, &intent, paid);
    rest.outcomes.retain(|(payout, _)| *payout == payouts[1]);
    db.store.outcomes_record(rest).await.unwrap();
    assert_eq!(kept().await, 3, "what is not committed is nobody's");
    assert_outcomes(&db, run).await;
    older.commit().await.unwrap();
    assert_eq!(kept().await, 0, "nobody knows which batch it was of");
    assert_outcomes(&db, run).await;
    // Also of other databases of the server: a transaction that was there before the mark may still run.
    let newest =
        "SELECT pg_snapshot_xmin(pg_current_snapshot()) > max(xid::text::bigint)::text::xid8 FROM uncounted_move";
    while !db.scalar::<bool>(newest).await {
        tokio::task::yield_now().await;
    }
    db.pay(batches[1], paid).await;
    assert_eq!(kept().await, 1, "what is counted after it is believed");
    assert_outcomes(&db, run).await;

    // Older programs fill batches too.
    db.change("UPDATE batch SET outcomes = NULL, counted_after = NULL WHERE id = $1", batches[1].0).await;
    assert_eq!(db.store.outcomes_count(100).await.unwrap(), 0, "they are at work");
    sqlx::raw_sql("UPDATE uncounted_move SET at = at - interval '61 seconds'").execute(&db.sql).await.unwrap();
    assert_eq!(db.store.outcomes_count(2).await.unwrap(), 2);
    assert_eq!(db.store.outcomes_count(2).await.unwrap(), 1);
    assert_eq!((db.store.outcomes_count(2).await.unwrap(), kept().await), (0, 3));
    assert_outcomes(&db, run).await;
    db.assert_outcomes_kept().await;

    // A copy in another cluster, whose transactions have small numbers.
    db.change("UPDATE batch SET counted_after = '9223372036854775807' WHERE id = $1", batches[1].0).await;
    assert_eq!((kept().await, db.store.outcomes_count(9).await.unwrap(), kept().await), (2, 1, 3));
    db.drop().await;
}

/// No guard believes what is kept, and whoever reads the payouts mends it.
#[tokio::test]
async fn kept_counts_that_are_wrong_are_found_out_when_a_run_is_closed_and_judged() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 4).await;
    let run = db.run(tenant, "2026-01", 2).await;
    for batch in db.batches(run).await {
        db.pay(batch, paid).await;
    }
    let break_it = async || {
        let wrong = r#"UPDATE batch SET outcomes = '[{"state": "paid", "payouts": 1, "minor": 1}]' WHERE id = $1"#;
        db.change(wrong, db.batches(run).await[0].0).await;
    };
    break_it().await;
    assert_eq!(db.store.run_outcomes(run).await.unwrap()[0].payouts, 3);
    assert_eq!(db.store.run_close(run).await.unwrap(), payfleet_store::CloseVerdict::Settled);
    assert_outcomes(&db, run).await;
    break_it().await;
    let row = db.store.run_find(run).await.unwrap().unwrap();
    let mut session = db.store.reconciliation_open(&row).await.unwrap().unwrap();
    let compared = session.compare(Duration::from_secs(600)).await.unwrap();
    assert!(compared.summary.is_miscounted);
    session.close().await.unwrap();
    assert_outcomes(&db, run).await;
    db.drop().await;
}

#[tokio::test]
async fn each_batch_says_what_it_waits_for_and_since_when() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 6).await;
    let way = TenantRail {
        method: "paypal".into(),
        rail: "sandbox-payout".into(),
        account: "t".into(),
        credential: Some("ACME".into()),
    };
    db.store.tenant_rail_set(tenant, way).await.unwrap();
    let run = db.planned(tenant, "2026-01", 2).await;
    let reasons = async || {
        let waits = db.store.waits_read(&[run]).await.unwrap();
        waits.waiting.iter().map(|one| (one.reason, one.batches, one.payouts)).collect::<Vec<_>>()
    };
    assert_eq!(reasons().await, [(WaitReason::NoWorker, 3, 6)]);
    let none = db.store.worker_say(worker("other", &["null"])).await.unwrap();
    assert!(none.is_empty(), "a rail that nobody uses needs no credential: {none:?}");
    assert_eq!(reasons().await, [(WaitReason::NotBegun, 3, 6)]);
    db.store.runs_begin().await.unwrap();
    assert_eq!(reasons().await, [(WaitReason::NoWorkerForRail, 3, 6)]);
    let poor = WorkerWords { lacks: vec!["ACME".into()], ..worker("w", &["sandbox-payout"]) };
    assert_eq!(db.store.worker_say(poor).await.unwrap(), [Some("ACME".to_owned())]);
    assert_eq!(reasons().await, [(WaitReason::CredentialMissing, 3, 6)]);
    db.store.worker_say(worker("w", &["sandbox-payout"])).await.unwrap();
    assert_eq!(reasons().await, [(WaitReason::Turn, 3, 6)]);

    // The oldest has been open since its run began to pay, however often it is handed back.
    let began: OffsetDateTime = db.scalar("SELECT paying_at FROM run").await;
    let batches = db.batches(run).await;
    let leased = db.lease(batches[0]).await;
    db.store.lease_release(leased.lease, Duration::from_secs(600)).await.unwrap();
    let leased = db.lease(batches[1]).await;
    let intent = db.intent(&leased).await;
    let mut report = crate::support::report(&leased, &intent, |_| Outcome::NotExecuted);
    report.available_in = Duration::from_secs(900);
    db.store.outcomes_record(report).await.unwrap();
    let waits = db.store.waits_read(&[run]).await.unwrap();
    let told: Vec<_> =
        waits.waiting.iter().map(|one| (one.reason, one.since, one.failures, one.code.as_deref())).collect();
    assert_eq!(
        told,
        [
            (WaitReason::BackOff, Some(began), 1, Some("not_executed")),
            (WaitReason::Postponed, Some(began), 0, None),
            (WaitReason::Turn, Some(began), 0, None),
        ]
    );
    assert!(waits.waiting[0].until > waits.waiting[1].until && waits.waiting[1].until > Some(began));
    assert_eq!(db.store.run_progress(run).await.unwrap().oldest_open, Some(began));
    let paced = WorkerWords { paced: vec!["sandbox-payout/t".into()], ..worker("w", &["sandbox-payout"]) };
    db.store.worker_say(paced).await.unwrap();
    let _hand = db.lease(batches[2]).await;
    assert!(reasons().await.contains(&(WaitReason::RateLimit, 1, 2)));
    db.store.run_pause(run, "wait").await.unwrap();
    assert_eq!(reasons().await, [(WaitReason::Paused, 2, 4), (WaitReason::RateLimit, 1, 2)]);
    // Who has ended is not waited for; who has been silent for long is dead, and forgotten.
    db.store.worker_leave("w").await.unwrap();
    sqlx::raw_sql("UPDATE worker SET seen_at = seen_at - interval '31 seconds'").execute(&db.sql).await.unwrap();
    assert!(db.store.workers_alive().await.unwrap().is_empty());
    sqlx::raw_sql("UPDATE worker SET seen_at = seen_at - interval '1 hour'").execute(&db.sql).await.unwrap();
    db.store.worker_say(worker("v", &[])).await.unwrap();
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM worker").await, 1);
    db.drop().await;
}

#[tokio::test]
async fn taken_over_is_what_another_worker_had_not_given_back() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 6).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    let taken_over = async || db.store.run_progress(run).await.unwrap().batches_recovered;
    // Under way, paid without an answer at first, and handed back: nobody died.
    let under_way = db.lease(batches[0]).await;
    db.intent(&under_way).await;
    db.pay(batches[1], unknown).await;
    let again = db.store.lease_acquire(batches[1], "v", crate::support::TTL).await.unwrap().unwrap();
    let intent = db.store.intent_write(again.lease, "v", rail("sandbox-payout"), false).await.unwrap().unwrap();
    db.record(&again, &intent, paid).await;
    assert_eq!(taken_over().await, 0);
    db.expire_lease(batches[0]).await;
    assert_eq!(taken_over().await, 0, "nobody has taken it yet");
    db.store.lease_acquire(batches[0], "v", crate::support::TTL).await.unwrap().unwrap();
    assert_eq!(taken_over().await, 1);
    db.drop().await;
}

#[tokio::test]
async fn an_affiliate_shows_its_money_all_that_stands_in_the_way_and_who_placed_it() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    let run = db.run(tenant, "2026-01", 1).await;
    let payouts = db.payouts(run).await;
    let batches = db.batches(run).await;
    db.pay(batches[0], paid).await;
    db.store.payout_stop(payouts[2], "looks odd").await.unwrap();
    for statement in [
        "INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
           order_ref)
         SELECT tenant_id, 'due' || id, id, 'EUR', 700, now() - interval '1 minute', now() - interval '1 minute',
           'sale', '' FROM affiliate",
        "INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
           order_ref)
         SELECT tenant_id, 'later' || id, id, 'EUR', 90, now(), now() + interval '70 days', 'sale', '' FROM affiliate",
        "UPDATE affiliate SET on_hold = true WHERE external_id = 'a2'",
        "INSERT INTO payout_limit
         SELECT tenant_id, id, 'paypal', 'EUR', 800, NULL FROM affiliate WHERE external_id = 'a2'",
    ] {
        sqlx::raw_sql(statement).execute(&db.sql).await.unwrap();
    }
    let view = async |who: &str| {
        db.store.affiliate_view(tenant, who, "20".parse().unwrap(), 5).await.unwrap().expect("it is there")
    };
    assert!(db.store.affiliate_view(tenant, "a9", "20".parse().unwrap(), 5).await.unwrap().is_none());

    let one = view("a1").await;
    let [balance] = &one.balances[..] else { panic!("{one:?}") };
    assert_eq!((balance.due.minor, balance.not_yet_due_minor, balance.reserved_minor), (700, 90, 0));
    assert_eq!(balance.obstacles.iter().map(|one| one.code).collect::<Vec<_>>(), [Exclusion::BelowMinimum]);
    assert!(one.placed.is_empty());
    assert_eq!((one.runs.len(), one.runs[0].payout, one.runs[0].state.as_str()), (1, Some(payouts[0]), "paid"));

    let two = view("a2").await;
    assert_eq!(two.balances[0].reserved_minor, 1000);
    let codes: Vec<Exclusion> = two.balances[0].obstacles.iter().map(|one| one.code).collect();
    assert_eq!(codes, [Exclusion::BelowMinimum, Exclusion::OnHold, Exclusion::OutsideLimits], "all, and not the first");
    assert_eq!(two.placed.iter().map(|one| one.by).collect::<Vec<_>>(), [WhoPlaced::File]);
    assert_eq!((two.limits.len(), two.limits[0].min_minor), (1, Some(800)));
    db.store.affiliate_hold(tenant, "a2", "the address is odd").await.unwrap();
    let placed = view("a2").await.placed;
    assert_eq!((placed[0].by, placed[0].why.as_str()), (WhoPlaced::Person, "the address is odd"));
    assert!(placed[0].since.is_some());

    let three = view("a3").await;
    assert_eq!((three.placed[0].by, three.placed[0].payout), (WhoPlaced::Person, Some(payouts[2])));
    assert!(three.methods[0].usable && three.methods[0].rail.is_some());
    db.drop().await;
}

#[tokio::test]
async fn a_payout_tells_its_life_in_the_order_of_time() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-file", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let [one, other] = db.payouts(run).await[..] else { panic!("two payouts") };
    let [batch] = db.batches(run).await[..] else { panic!("one batch") };
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    db.record(&leased, &intent, unknown).await;
    db.expire_lease(batch).await;
    let again = db.lease(batch).await;
    db.store.batch_hold(again.lease, HoldReason::NoWayToKnow).await.unwrap().unwrap();

    let held = db.store.payout_view(one).await.unwrap().unwrap();
    assert!(matches!(held.not_paid, Some(NotPaid::NotBefore(_))), "{:?}", held.not_paid);
    assert_eq!((held.commissions.len(), held.commissions_count, held.carried_minor), (1, 1, 0));
    assert_eq!(db.line(one, "x").await.key, held.key.to_string(), "as a rail sees it");
    let held_ones = db.store.held_page(run, HoldReason::NoWayToKnow, None, 1).await.unwrap();
    assert_eq!(held_ones, [one]);
    assert_eq!(db.store.held_page(run, HoldReason::NoWayToKnow, Some(one), 9).await.unwrap(), [other]);
    assert!(db.store.held_page(run, HoldReason::Poison, None, 9).await.unwrap().is_empty());
    let rows = db.store.payouts_page(run, PayoutFilter::In(PayoutState::Held), None, 9).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.payout).collect::<Vec<_>>(), [one, other]);

    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    db.store.hold_decide(one, Decision::Paid("po-1".into()), ann).await.unwrap();
    db.store.hold_decide(one, Decision::Paid("po-1".into()), bob).await.unwrap();
    let view = db.store.payout_view(one).await.unwrap().unwrap();
    assert!(view.events.windows(2).all(|pair| pair[0].at <= pair[1].at), "{:?}", view.events);
    let kind = |what: &What| match what {
        What::RunCreated => "created",
        What::Planned => "planned",
        What::PaymentBegan => "began",
        What::Attempt { n: 1, .. } => "attempt",
        What::AttemptEnded { .. } => "ended",
        What::Transfer { name, .. } if name == "reserve" => "reserve",
        What::Transfer { name, .. } if name == "settle" => "settle",
        What::Held { .. } => "held",
        What::Word { effect, .. } => {
            if effect == "agrees" {
                "agrees"
            } else {
                "proposes"
            }
        }
        What::HoldEnded { .. } => "let go",
        What::Paid { .. } => "paid",
        other => panic!("{other:?}"),
    };
    let mut told: Vec<&str> = view.events.iter().map(|event| kind(&event.what)).collect();
    assert_eq!(told[..2], ["created", "reserve"]);
    assert_eq!(told[2..8], ["planned", "began", "attempt", "ended", "held", "proposes"]);
    // What one transaction did has one instant, or almost.
    told[8..].sort_unstable();
    assert_eq!(told[8..], ["agrees", "let go", "paid", "settle"]);
    assert_eq!((view.state, view.reference.as_deref(), view.not_paid), (PayoutState::Paid, Some("po-1"), None));
    assert!(db.store.payout_view(PayoutId(one.0 + 7)).await.unwrap().is_none());
    db.drop().await;
}

#[tokio::test]
async fn who_only_looks_says_that_the_database_is_behind_and_stops_nobody() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 1).await;
    let run = db.run(tenant, "2026-01", 1).await;
    let leased = db.lease(db.batches(run).await[0]).await;
    let intent = db.intent(&leased).await;
    let mark = Mark {
        generation: db.store.installation().await.unwrap(),
        batch: leased.lease.batch,
        attempt: intent.attempt,
        opened_at: db.scalar("SELECT opened_at FROM attempt").await,
    };
    assert_eq!(db.store.generation_missing(vec![mark]).await.unwrap(), None);
    db.change("DELETE FROM attempt WHERE batch_id = $1", leased.lease.batch.0).await;
    let missing = db.store.generation_missing(vec![mark]).await.unwrap().expect("it is missing");
    assert!(missing.starts_with("attempt 1 of batch 1, "), "{missing}");
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM recovery").await, 0);
    db.drop().await;
}
