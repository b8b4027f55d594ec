//! Callers that are cancelled: what the driver loses then, and that the store loses nothing, wherever in an operation
//! it happens.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Db, TTL, paid, refused, report};
use crate::wire::{Message, Proxy, Session};
use futures_util::future::BoxFuture;
use payfleet_domain::{DestinationKind, HoldReason, Outcome, PayoutId, Rail};
use payfleet_store::{
    AffiliateRow, AffiliateRows, AffiliatesTarget, CommissionRow, CommissionRows, Decision, Feed, NewRun, Planned,
    Report, Said, Store, TenantRail,
};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor};
use time::macros::datetime;
use tokio::sync::{Notify, mpsc};

/// Holds back one group of messages: the `at`th since it was set.
#[derive(Default)]
struct Stop {
    at: AtomicUsize,
    passed: AtomicUsize,
    reached: Notify,
    go: Notify,
}

impl Stop {
    fn set(&self, at: usize) {
        self.passed.store(0, Ordering::SeqCst);
        self.at.store(at, Ordering::SeqCst);
    }
}

struct Stopping(Arc<Stop>);

impl Session for Stopping {
    fn to_server(&self, group: Vec<Message>) -> BoxFuture<'_, Vec<Message>> {
        Box::pin(async move {
            let nth = self.0.passed.fetch_add(1, Ordering::SeqCst) + 1;
            if nth == self.0.at.load(Ordering::SeqCst) {
                self.0.reached.notify_one();
                self.0.go.notified().await;
            }
            group
        })
    }
}

async fn url_of(db: &Db) -> String {
    let admin = std::env::var("PAYFLEET_TEST_POSTGRES").unwrap();
    let name: String = db.scalar("SELECT current_database()::text").await;
    format!("{}/{name}", admin.rsplit_once('/').unwrap().0)
}

/// The fact for which there is the hook (sqlx 0.9.0, #4385): if the first half fails, the driver was mended.
#[tokio::test]
async fn a_cancelled_begin_loses_the_next_write_unless_the_connection_is_cleared_before_use() {
    let db = Db::new().await;
    db.sql.execute("CREATE TABLE written (n int)").await.unwrap();
    for (cleared, kept) in [(false, 0), (true, 1)] {
        let stop = Arc::new(Stop::default());
        let session = stop.clone();
        let proxy = Proxy::start(&url_of(&db).await, move || Arc::new(Stopping(session.clone()))).await;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .before_acquire(move |connection, _| {
                Box::pin(async move {
                    if cleared {
                        connection.execute("ROLLBACK").await?;
                    }
                    Ok(true)
                })
            })
            .test_before_acquire(false)
            .connect(&proxy.url)
            .await
            .unwrap();
        stop.set(if cleared { 2 } else { 1 }); // BEGIN
        tokio::select! {
            _ = pool.begin() => panic!("BEGIN was not held back"),
            _ = stop.reached.notified() => {}
        }
        stop.go.notify_one();
        let write = pool.execute("INSERT INTO written VALUES (1)").await.unwrap();
        assert_eq!(write.rows_affected(), 1, "the write is acknowledged");
        pool.close().await;
        let there: i64 = db.scalar("SELECT count(*) FROM written").await;
        assert_eq!(there, kept, "cleared before use: {cleared}");
    }
    db.drop().await;
}

/// Turns a question of the store into the beginning of a transaction that nobody ends.
struct Forgetful;

impl Session for Forgetful {
    fn to_server(&self, group: Vec<Message>) -> BoxFuture<'_, Vec<Message>> {
        Box::pin(async move {
            let forget = |message: Message| match message.statement() {
                Some((_, sql)) if sql.starts_with("-- rails_open") => message.with_statement("BEGIN"),
                _ => message,
            };
            group.into_iter().map(forget).collect()
        })
    }
}

#[tokio::test]
async fn the_stores_connections_are_cleared_before_use() {
    let db = Db::new().await;
    let proxy = Proxy::start(&url_of(&db).await, || Arc::new(Forgetful)).await;
    let store = Store::connect(&proxy.url, 1).await.unwrap();
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'";
    store.rails_open().await.unwrap();
    assert_eq!(db.scalar::<i64>(open).await, 1, "a transaction was left open");
    store.tenants_list().await.unwrap();
    assert_eq!(db.scalar::<i64>(open).await, 0, "whoever comes next is not in it");
    store.close().await;
    db.drop().await;
}

type Write = Box<dyn Fn(Store) -> BoxFuture<'static, ()>>;

/// A public operation that writes; `work` does what the caller does.
fn write<F: Future<Output = ()> + Send + 'static>(work: impl Fn(Store) -> F + 'static) -> Write {
    Box::new(move |store| Box::pin(work(store)))
}

/// Everything that an operation may change, without instants and numbers from sequences.
const STATE: &str = "
  SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT format('batch %s %s %s epoch %s attempt %s owner %s free %s', run_id, first_payout_id, state, lease_epoch,
      attempt, lease_owner, lease_until = '-infinity') FROM batch
    UNION ALL SELECT format('payout %s %s %s %s', id, state, reference, code) FROM payout
    UNION ALL SELECT format('attempt %s %s', n, result) FROM attempt
    UNION ALL SELECT format('run %s %s %s %s', tenant_id, ordinal, state, pause_reason) FROM run
    UNION ALL SELECT format('chunk %s %s %s', run_id, n, is_planned) FROM plan_chunk
    UNION ALL SELECT format('transfer %s %s', payout_id, kind) FROM transfer
    UNION ALL SELECT format('evidence %s %s', payout_id, says) FROM evidence
    UNION ALL SELECT format('hold %s %s', payout_id, resolution) FROM hold
    UNION ALL SELECT format('word %s %s %s %s', subject, subject_id, says, effect) FROM word
    UNION ALL SELECT format('account %s %s', affiliate_id, carried_minor) FROM account
    UNION ALL SELECT format('commission %s', external_id) FROM commission
    UNION ALL SELECT format('affiliate %s %s', external_id, name) FROM affiliate
    UNION ALL SELECT format('tenant %s %s', name, hold_days) FROM tenant
    UNION ALL SELECT format('rail %s %s', method, account) FROM tenant_rail) AS state (line)";

fn feed<R>(rows: R) -> mpsc::Receiver<Feed<R>> {
    let (sender, receiver) = mpsc::channel(2);
    assert!(sender.try_send(Feed::Rows(rows)).is_ok() && sender.try_send(Feed::End).is_ok());
    receiver
}

fn new_run(tenant: payfleet_domain::TenantId, period: &str) -> NewRun {
    NewRun { tenant, period: period.parse().unwrap(), sequence: 1, minimum: "1".parse().unwrap() }
}

/// A world in which every operation has something to do, and the operations.
async fn world(db: &Db) -> Vec<(&'static str, Write)> {
    let rail = Rail::named("sandbox-payout").unwrap();
    let tenant = db.tenant("t", rail.name, 8).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    let unsent = db.lease(batches[0]).await.lease;
    let leased = db.lease(batches[1]).await;
    let sent = db.intent(&leased).await;
    let held = db.lease(batches[2]).await;
    db.intent(&held).await;
    db.store.batch_hold(held.lease, HoldReason::Poison).await.unwrap();
    let question = held.first;
    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    db.change(
        "UPDATE attempt SET opened_at = '2000-01-01', may_arrive_until = '2000-01-02' WHERE batch_id = $1",
        batches[2].0,
    )
    .await;
    sqlx::query(
        "INSERT INTO rail_account (rail, account, reaches_to, reaches_ours) VALUES ('sandbox-payout', 't', now(), now())
             ON CONFLICT (rail, account) DO UPDATE SET reaches_to = now(), reaches_ours = now()",
    )
    .execute(&db.sql)
    .await
    .unwrap();
    db.store.hold_decide(question, Decision::NotPaid, ann).await.unwrap();
    let free = batches[3];
    let (planning, _) = db.store.run_create(new_run(tenant, "2026-02")).await.unwrap();
    let other = db.tenant("planned", rail.name, 2).await;
    let (planned, _) = db.store.run_create(new_run(other, "2026-01")).await.unwrap();
    while db.store.plan_chunk(planned.id, 7, 2).await.unwrap() != Planned::Complete {}
    let third = db.tenant("paid", rail.name, 2).await;
    let (over, _) = db.store.run_create(new_run(third, "2026-01")).await.unwrap();
    while db.store.plan_chunk(over.id, 7, 2).await.unwrap() != Planned::Complete {}
    sqlx::query("UPDATE run SET state = 'paying', paying_at = now() WHERE id = $1")
        .bind(over.id.0)
        .execute(&db.sql)
        .await
        .unwrap();
    db.pay(db.batches(over.id).await[0], paid).await;
    let over = over.id;

    let says = |outcome: fn(PayoutId) -> Outcome| -> Report { report(&leased, &sent, outcome) };
    let (paid, refused) = (says(paid), says(refused));
    let whole = Report { refused_whole: true, ..refused.clone() };
    let record = |news: Report| {
        write(move |store| {
            let news = news.clone();
            async move { assert!(store.outcomes_record(news).await.is_ok()) }
        })
    };
    vec![
        ("lease_acquire", write(move |s| async move { s.lease_acquire(free, "w", TTL).await.map(drop).unwrap() })),
        ("lease_release", write(move |s| async move { s.lease_release(unsent, Duration::ZERO).await.unwrap() })),
        (
            "intent_write",
            write(move |s| async move { s.intent_write(unsent, "w", rail, false).await.map(drop).unwrap() }),
        ),
        (
            "batch_hold",
            write(move |s| async move { s.batch_hold(unsent, HoldReason::Poison).await.map(drop).unwrap() }),
        ),
        ("batch_split", write(move |s| async move { s.batch_split(unsent).await.map(drop).unwrap() })),
        ("record paid", record(paid)),
        ("record refused", record(refused)),
        ("record refused whole", record(whole)),
        (
            "hold_decide",
            write(move |s| async move { s.hold_decide(question, Decision::NotPaid, bob).await.map(drop).unwrap() }),
        ),
        ("plan_chunk", write(move |s| async move { s.plan_chunk(planning.id, 7, 2).await.map(drop).unwrap() })),
        ("runs_begin", write(|s| async move { s.runs_begin().await.map(drop).unwrap() })),
        ("run_close", write(move |s| async move { s.run_close(over).await.map(drop).unwrap() })),
        ("run_pause", write(move |s| async move { s.run_pause(run, "a look").await.unwrap() })),
        ("run_cancel", write(move |s| async move { s.run_cancel(run).await.map(drop).unwrap() })),
        ("run_create", write(move |s| async move { s.run_create(new_run(other, "2026-02")).await.map(drop).unwrap() })),
        ("tenant_ensure", write(|s| async move { s.tenant_ensure("t", Some(7)).await.map(drop).unwrap() })),
        (
            "tenant_rail_set",
            write(move |s| async move {
                let rail =
                    TenantRail { method: "x".into(), rail: "null".into(), account: "new".into(), credential: None };
                s.tenant_rail_set(tenant, rail).await.unwrap();
            }),
        ),
        (
            "commissions_import",
            write(|s| async move { s.commissions_import("t", feed(commission())).await.map(drop).unwrap() }),
        ),
        (
            "affiliates_import",
            write(|s| async move {
                let target = AffiliatesTarget { tenant: "t".into(), hold_days: None, kinds: Default::default() };
                s.affiliates_import(target, feed(affiliate())).await.map(drop).unwrap();
            }),
        ),
    ]
}

fn affiliate() -> AffiliateRows {
    let mut rows = AffiliateRows::default();
    rows.push(&AffiliateRow {
        line: 2,
        id: "new",
        name: "Ann",
        email: "ann@example.com",
        country: "DE",
        currency: "EUR".parse().unwrap(),
        on_hold: None,
        method: Said::Is(("paypal", &DestinationKind::Email.check("ann@example.com").unwrap())),
        priority: 0,
        min: Said::Nothing,
        max: Said::Nothing,
    });
    rows
}

fn commission() -> CommissionRows {
    let mut rows = CommissionRows::default();
    rows.push(&CommissionRow {
        line: 2,
        id: "imported",
        affiliate: "a1",
        order_ref: "",
        amount: payfleet_domain::Money { minor: 500, currency: "EUR".parse().unwrap() },
        earned_at: datetime!(2026-01-20 00:00 UTC),
        reversal: payfleet_store::Reversal::default(),
    });
    rows
}

/// A caller may be cancelled while any message of an operation is on its way. The operation then happens wholly, or was
/// not begun; one that is several transactions is finished by asking for it again.
#[tokio::test]
async fn a_cancelled_caller_leaves_no_operation_half_done() {
    let db = Db::new().await;
    let writes = world(&db).await;
    let restore = crate::snapshot::save(&db.sql, &["_sqlx_migrations", "transfer_kind"]).await;
    let stop = Arc::new(Stop::default());
    let session = stop.clone();
    let proxy = Proxy::start(&url_of(&db).await, move || Arc::new(Stopping(session.clone()))).await;
    let store = Store::connect(&proxy.url, 1).await.unwrap();
    let mut looker = db.sql.acquire().await.unwrap().detach();
    let mut cancelled: HashMap<&str, usize> = HashMap::new();
    for (name, work) in &writes {
        looker.execute(AssertSqlSafe(restore.clone())).await.unwrap();
        let before: String = sqlx::query_scalar(STATE).fetch_one(&mut looker).await.unwrap();
        drop(work(store.clone()));
        let untouched: String = sqlx::query_scalar(STATE).fetch_one(&mut looker).await.unwrap();
        assert_eq!(untouched, before, "{name} before it was asked for");
        work(store.clone()).await;
        let whole: String = sqlx::query_scalar(STATE).fetch_one(&mut looker).await.unwrap();
        assert_ne!(whole, before, "{name} does nothing");
        for at in 1.. {
            looker.execute(AssertSqlSafe(restore.clone())).await.unwrap();
            stop.set(at);
            tokio::select! {
                _ = stop.reached.notified() => {}
                _ = work(store.clone()) => break,
            }
            stop.go.notify_one();
            // There is one connection: this waits until nobody uses it.
            store.rails_open().await.unwrap();
            let after: String = sqlx::query_scalar(STATE).fetch_one(&mut looker).await.unwrap();
            if after != whole {
                assert_eq!(*name, "run_cancel", "cancelled at message {at}:\n{after}");
                work(store.clone()).await;
                let after: String = sqlx::query_scalar(STATE).fetch_one(&mut looker).await.unwrap();
                assert_eq!(after, whole, "{name}, again after it was cancelled at message {at}");
            }
            cancelled.insert(name, at);
        }
        stop.set(0);
    }
    assert_eq!(cancelled.len(), writes.len(), "every operation was cancelled");
    println!("{} operations, cancelled at {} messages", cancelled.len(), cancelled.values().sum::<usize>());
    store.close().await;
    drop(looker);
    db.drop().await;
}
