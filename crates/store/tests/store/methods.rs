//! A method whose destination a rail has refused for ever is not planned again until there is another; and what the
//! destinations of a method are.

use crate::support::{Db, accepted, closed, looked_up, paid, refused, report};
use payfleet_domain::{DestinationKind, MethodKinds, Outcome, PayoutId, RefusalCode, StatementLine, TenantId};
use payfleet_store::{
    AffiliateRow, AffiliateRows, AffiliatesTarget, Feed, ImportError, KindSaid, NewRun, Said, StatementAccount,
    StatementSource,
};
use tokio::sync::mpsc;

const RAIL: &str = "sandbox-payout";

/// Imports a file about one affiliate with these methods, destinations and priorities, checked as the tenant's kinds
/// say; `none` takes away what is there.
async fn imported_all(db: &Db, id: &str, methods: &[(&str, &str, i16)]) -> Result<(), ImportError> {
    let kinds = db.store.method_kinds("t").await.unwrap();
    let mut rows = AffiliateRows::default();
    for (line, (method, text, priority)) in (2..).zip(methods) {
        let destination = kinds.of(method).check(text).unwrap();
        rows.push(&AffiliateRow {
            line,
            id,
            name: "",
            email: "",
            country: "",
            currency: "EUR".parse().unwrap(),
            on_hold: None,
            method: if *method == "none" { Said::Gone } else { Said::Is((method, &destination)) },
            priority: *priority,
            min: Said::Nothing,
            max: Said::Nothing,
        });
    }
    let (sender, receiver) = mpsc::channel(2);
    sender.try_send(Feed::Rows(rows)).unwrap();
    sender.try_send(Feed::End).unwrap();
    let target = AffiliatesTarget { tenant: "t".to_owned(), hold_days: None, kinds };
    db.store.affiliates_import(target, receiver).await.map(drop)
}

async fn imported(db: &Db, id: &str, method: &str, text: &str, priority: i16) -> Result<(), ImportError> {
    imported_all(db, id, &[(method, text, priority)]).await
}

/// What a plan would decide, as `pay 2, method_unusable 1`.
async fn decided(db: &Db, tenant: TenantId, period: &str) -> String {
    let new = NewRun { tenant, period: period.parse().unwrap(), sequence: 1, minimum: "1".parse().unwrap() };
    let lines = db.store.plan_dry(new, 100).await.unwrap();
    lines.iter().map(|line| format!("{} {}", line.verdict, line.accounts)).collect::<Vec<_>>().join(", ")
}

/// Affiliates whose methods are unusable, with the rail's code.
async fn unusable(db: &Db) -> String {
    db.scalar(
        "SELECT coalesce(string_agg(a.external_id || ' ' || m.unusable_code, ', ' ORDER BY m.id), '')
           FROM payout_method m JOIN affiliate a ON a.id = m.affiliate_id WHERE NOT m.usable",
    )
    .await
}

#[tokio::test]
async fn a_closed_account_is_not_planned_again_until_there_is_another() {
    let db = Db::new().await;
    let tenant = db.tenant("t", RAIL, 4).await;
    imported(&db, "a2", "other", "second way", 1).await.unwrap();
    let other =
        payfleet_store::TenantRail { method: "other".into(), rail: RAIL.into(), account: "t".into(), credential: None };
    db.store.tenant_rail_set(tenant, other).await.unwrap();
    let run = db.run(tenant, "2026-01", 100).await;
    let payouts = db.payouts(run).await;
    let outcome = |payout: PayoutId| match payouts.iter().position(|one| *one == payout) {
        Some(0 | 1) => closed(payout),
        Some(2) => refused(payout),
        _ => paid(payout),
    };
    db.pay(db.batches(run).await[0], outcome).await;
    assert_eq!(unusable(&db).await, "a1 account_closed, a2 account_closed");
    // What may be mended at the rail is tried again, and whoever has another way is paid by it.
    assert_eq!(decided(&db, tenant, "2026-02").await, "method_unusable 1, pay 2");

    // The same again is no news of the payee's, however it is written; another destination is, and then the first too.
    imported(&db, "a1", "paypal", "A1@Example.com", 0).await.unwrap();
    assert_eq!(decided(&db, tenant, "2026-02").await, "method_unusable 1, pay 2");
    // It is as closed in the second place.
    imported_all(&db, "a1", &[("paypal", "new@example.com", 0), ("paypal", "a1@example.com", 1)]).await.unwrap();
    assert_eq!(decided(&db, tenant, "2026-02").await, "pay 3");
    imported(&db, "a1", "none", "-", 0).await.unwrap();
    assert_eq!(decided(&db, tenant, "2026-02").await, "method_unusable 1, pay 2");
    imported(&db, "a1", "none", "-", 1).await.unwrap();
    imported(&db, "a1", "paypal", "new@example.com", 0).await.unwrap();
    assert_eq!(decided(&db, tenant, "2026-02").await, "pay 3");
    imported(&db, "a1", "paypal", "a1@example.com", 0).await.unwrap();
    assert_eq!(decided(&db, tenant, "2026-02").await, "pay 3");
    let closed = "a1 account_closed, a2 account_closed, a1 account_closed";
    assert_eq!(unusable(&db).await, closed, "of the rows that were refused, and the one that took the place of one");
    // And where the rail was wrong, the same is said anew.
    imported(&db, "a2", "none", "-", 0).await.unwrap();
    imported(&db, "a2", "paypal", "a2@example.com", 0).await.unwrap();
    let run = db.run(tenant, "2026-02", 100).await;
    let by: String = db
        .scalar(
            "SELECT string_agg(m.method || ' ' || m.destination, ', ' ORDER BY p.id)
               FROM payout p JOIN payout_method m ON m.id = p.method_id
              WHERE p.run_id = 2",
        )
        .await;
    assert_eq!(by, "paypal a1@example.com, paypal a2@example.com, paypal a3@example.com");
    assert_eq!(db.states(run).await, "planned 3");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn only_a_refusal_of_the_destination_that_counts_closes_it() {
    let db = Db::new().await;
    let tenant = db.tenant("t", RAIL, 3).await;
    let run = db.run(tenant, "2026-01", 100).await;
    let batch = db.batches(run).await[0];
    let payouts = db.payouts(run).await;
    // The rail takes two and pays one; then it is asked, and says that one of those that it took is refused after all.
    let taken = |payout: PayoutId| if payout == payouts[2] { paid(payout) } else { accepted(payout) };
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    db.record(&leased, &intent, taken).await;
    let late = |payout: usize| looked_up(batch, leased.lease.epoch, vec![(payouts[payout], closed(payouts[payout]))]);
    // Of what was paid it is no proof.
    db.store.outcomes_record(late(2)).await.unwrap();
    assert_eq!((unusable(&db).await.as_str(), db.states(run).await.as_str()), ("", "accepted 2, paid 1"));
    db.store.outcomes_record(late(0)).await.unwrap();
    assert_eq!(unusable(&db).await, "a1 account_closed");
    // A statement's refusal has no code: it says of the payment that it was not made, and not that none can be.
    let line = StatementLine { movement: payfleet_domain::Movement::Rejected, ..db.line(payouts[1], "rj").await };
    db.line_read(RAIL, line).await;
    assert_eq!(
        (unusable(&db).await.as_str(), db.states(run).await.as_str()),
        ("a1 account_closed", "paid 1, refused 2")
    );

    // One code for a whole request says nothing of each in it.
    db.commissions(tenant, "2026-02-15T12:00:00Z", 1000).await;
    let run = db.run(tenant, "2026-02", 100).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    let insufficient = |payout| if payout == intent.orders[0].payout { closed(payout) } else { policy() };
    let whole = payfleet_store::Report { refused_whole: true, ..report(&leased, &intent, insufficient) };
    db.store.outcomes_record(whole).await.unwrap();
    assert_eq!(db.states(run).await, "refused 2");
    assert_eq!(unusable(&db).await, "a1 account_closed");
    db.drop().await;
}

fn policy() -> Outcome {
    Outcome::Refused(RefusalCode::new("sanctions"))
}

/// To whom a payment went is a part of the proof wherever the rail says it: a file may have lost the column. Of a rail
/// that never says, key, amount and account tell the payment.
#[tokio::test]
async fn a_line_that_names_nobody_proves_nothing_but_of_a_rail_that_never_says() {
    for (of, proves) in [(RAIL, false), ("paypal", true)] {
        let db = Db::new().await;
        let tenant = db.tenant("t", of, 1).await;
        let run = db.run(tenant, "2026-01", 1).await;
        let leased = db.lease(db.batches(run).await[0]).await;
        let intent = db.intent(&leased).await;
        db.record(&leased, &intent, |_| Outcome::Unknown).await;
        let payout = db.payouts(run).await[0];
        let nobody = StatementLine { destination: String::new(), ..db.line(payout, "po").await };
        db.line_read(of, nobody).await;
        assert_eq!(db.states(run).await, if proves { "paid 1" } else { "unknown 1" }, "{of}");
        db.line_read(of, db.line(payout, "po").await).await;
        assert_eq!(db.states(run).await, "paid 1", "{of}");
        db.drop().await;
    }
}

#[tokio::test]
async fn statements_are_compared_as_the_kind_of_the_method_says() {
    let db = Db::new().await;
    let tenant = db.tenant("t", RAIL, 4).await;
    assert_eq!(
        db.store.method_kind_set(tenant, "wallet", DestinationKind::Email).await.unwrap(),
        KindSaid::Said,
        "nobody has it"
    );
    for (id, method, text) in [
        ("a1", "paypal", "Ann@Example.com"),
        ("a2", "stripe", "acct_1QxYz"),
        ("a3", "iban", "de44 5001 0517 5407 3249 31"),
        ("a4", "wallet", "Dan@Example.com"),
    ] {
        imported(&db, id, method, text, 0).await.unwrap();
        let rail = payfleet_store::TenantRail {
            method: method.into(),
            rail: RAIL.into(),
            account: "t".into(),
            credential: None,
        };
        db.store.tenant_rail_set(tenant, rail).await.unwrap();
    }
    let run = db.run(tenant, "2026-01", 100).await;
    let leased = db.lease(db.batches(run).await[0]).await;
    let intent = db.intent(&leased).await;
    let sent: Vec<&str> = intent.orders.iter().map(|order| order.destination.as_str()).collect();
    assert_eq!(sent, ["Ann@Example.com", "acct_1QxYz", "de44 5001 0517 5407 3249 31", "Dan@Example.com"], "as written");
    db.record(&leased, &intent, paid).await;
    let payouts = db.payouts(run).await;
    let account = StatementAccount { rail: RAIL.into(), account: "t".into(), credential: None };
    let mut reading = db.store.account_open(&account, StatementSource::Rail).await.unwrap().unwrap();
    let listed = ["ANN@example.COM", "acct_1qxyz", "DE44500105175407324931", "dan@example.com"];
    for (payout, destination) in payouts.iter().zip(listed) {
        let line = db.line(*payout, &format!("ref-{payout}")).await;
        reading.line_add(StatementLine { destination: destination.into(), ..line }).await.unwrap();
    }
    reading.end(None).await.unwrap();
    let differ: String = db
        .scalar(
            "SELECT coalesce(string_agg(destination, ', ' ORDER BY id), '') FROM statement_line
              WHERE differs_destination",
        )
        .await;
    assert_eq!(differ, "acct_1qxyz", "a rail's own id is another one in other letters");
    db.drop().await;
}

/// More destinations than are looked at in one go.
#[tokio::test]
async fn the_kind_of_many_destinations_changes_at_once_or_not_at_all() {
    let db = Db::new().await;
    let tenant = db.tenant("t", RAIL, 0).await;
    for statement in [
        "INSERT INTO affiliate (tenant_id, external_id, name, email, country, currency)
         SELECT $1, 'b' || n, '', '', '', 'EUR' FROM generate_series(1, 10500) AS n",
        "INSERT INTO payout_method (tenant_id, affiliate_id, method, destination, retired_at)
         SELECT $1, id, 'wallet', external_id || '@Example.com', CASE WHEN external_id = 'b7' THEN now() END
           FROM affiliate",
    ] {
        db.change(statement, tenant.0.into()).await;
    }
    let compared = "SELECT count(*) FROM payout_method WHERE compared = lower(destination)";
    let bad =
        "UPDATE payout_method m SET compared = NULL, retired_at = CASE WHEN $1 = 1 THEN now() END FROM affiliate a
                WHERE a.id = m.affiliate_id AND a.external_id = 'b10400'";
    sqlx::query(
        "INSERT INTO payout_method (tenant_id, affiliate_id, method, destination, priority)
         SELECT tenant_id, id, 'wallet', 'no address', 1 FROM affiliate WHERE external_id = 'b10400'",
    )
    .execute(&db.sql)
    .await
    .unwrap();
    let KindSaid::Refused { destinations, affiliate, why } =
        db.store.method_kind_set(tenant, "wallet", DestinationKind::Email).await.unwrap()
    else {
        panic!("one is no address")
    };
    assert_eq!((destinations, affiliate.as_str()), (1, "b10400"));
    assert!(why.unwrap().to_string().contains("letter 3 is U+0020 (space)"));
    assert_eq!(db.scalar::<i64>(compared).await, 0, "all or nothing");
    assert_eq!(db.store.method_kinds("t").await.unwrap(), MethodKinds::default());

    db.change(bad, 1).await;
    assert_eq!(db.store.method_kind_set(tenant, "wallet", DestinationKind::Email).await.unwrap(), KindSaid::Said);
    assert_eq!(db.scalar::<i64>(compared).await, 10_500, "of those that are retired too");
    let used = db.store.methods_used(tenant).await.unwrap();
    assert_eq!((used[0].method.as_str(), used[0].affiliates), ("wallet", 10_498));
    // The schema knows every kind.
    for kind in DestinationKind::ALL {
        assert_eq!(db.store.method_kind_set(tenant, "nobodys", kind).await.unwrap(), KindSaid::Said, "{kind}");
    }
    // And back: nothing is left of it.
    assert_eq!(db.store.method_kind_set(tenant, "wallet", DestinationKind::Opaque).await.unwrap(), KindSaid::Said);
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM payout_method WHERE compared IS NOT NULL").await, 0);
    db.drop().await;
}

#[tokio::test]
async fn the_unusable_reason_is_of_the_refusal_that_made_it_so() {
    let db = Db::new().await;
    let tenant = db.tenant("t", RAIL, 1).await;
    let run = db.run(tenant, "2026-01", 100).await;
    db.pay(db.batches(run).await[0], |_| Outcome::Refused(RefusalCode::new("invalid_destination"))).await;
    assert_eq!(unusable(&db).await, "a1 invalid_destination");
    db.drop().await;
}
