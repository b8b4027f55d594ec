//! Money that comes back in part, as an answer or a lookup tells it: it is counted as what it is, and frees nothing by
//! itself.

use crate::support::{Db, looked_up, paid};
use payfleet_domain::{Epoch, Money, Movement, Outcome, PayoutId, Reference, StatementLine};

#[tokio::test]
async fn a_part_that_came_back_is_counted_with_its_amount_and_frees_nothing() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-batch", 3).await;
    let run = db.run(tenant, "2026-01", 3).await;
    let batch = db.batches(run).await[0];
    db.pay(batch, paid).await;
    let payouts = db.payouts(run).await;
    let reference = |payout: PayoutId| Reference(format!("ref-{payout}"));
    let part = |payout, minor, currency: &str| {
        Outcome::ReturnedPart(reference(payout), Money { minor, currency: currency.parse().unwrap() })
    };
    let news = looked_up(
        batch,
        Epoch(1),
        vec![
            (payouts[0], part(payouts[0], 400, "EUR")),
            (payouts[1], part(payouts[1], 1_000, "USD")),
            (payouts[2], Outcome::Returned(reference(payouts[2]))),
        ],
    );
    db.store.outcomes_record(news.clone()).await.unwrap();
    db.store.outcomes_record(news).await.unwrap();
    assert_eq!(db.states(run).await, "paid 2, returned 1", "only what came back whole is due again");
    let told: String = db
        .scalar(
            "SELECT string_agg(amount_minor || ' ' || currency, ', ' ORDER BY payout_id) FROM movement
              WHERE kind = 'returned'",
        )
        .await;
    assert_eq!(told, "400 EUR, 1000 EUR", "another currency is no part of this money");
    let kept: String = db.scalar("SELECT string_agg(payout_id || ': ' || code, ', ') FROM evidence").await;
    assert_eq!(kept, format!("{}: 1000 USD", payouts[1]), "but it is told");
    db.assert_ledger().await;
    db.drop().await;
}

/// A rail that tells every part under the payment's own reference tells the sum, as Stripe's `amount_reversed` is.
#[tokio::test]
async fn more_that_came_back_under_the_same_reference_counts_and_all_of_it_is_due_again() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-batch", 1).await;
    let run = db.run(tenant, "2026-01", 1).await;
    let batch = db.batches(run).await[0];
    db.pay(batch, paid).await;
    let payout = db.payouts(run).await[0];
    let reference = Reference(format!("ref-{payout}"));
    let ordered: i64 = db.scalar("SELECT amount_minor FROM payout").await;
    for (minor, stands) in [(ordered - 100, "paid 1"), (ordered - 1, "paid 1"), (ordered, "returned 1")] {
        let part = Outcome::ReturnedPart(reference.clone(), Money { minor, currency: "EUR".parse().unwrap() });
        db.store.outcomes_record(looked_up(batch, Epoch(1), vec![(payout, part)])).await.unwrap();
        assert_eq!(db.states(run).await, stands, "after {minor} of {ordered}");
    }
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn orders_say_who_is_paid_as_far_as_the_tenant_has_told_it() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-batch", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    sqlx::query("UPDATE affiliate SET name = 'Ann ' || external_id, country = 'DE'").execute(&db.sql).await.unwrap();
    let orders = db.store.orders_read(batch, &[payfleet_domain::PayoutState::Planned]).await.unwrap();
    assert_eq!(orders.len(), 2);
    for order in orders {
        assert_eq!(order.payee_name, format!("Ann {}", order.affiliate));
        assert_eq!(order.payee_country, "DE");
    }
    db.drop().await;
}

/// What is due stays the ledger's and the key's, whatever the rail is told.
#[tokio::test]
async fn rails_and_statements_speak_of_what_is_paid_and_the_ledger_of_what_is_due() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 1).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let payout = db.payouts(run).await[0];
    db.unfix().await;
    db.change("UPDATE payout SET pays_minor = 1100, pays_currency = 'USD' WHERE id = $1", payout.0).await;
    let leased = db.lease(db.batches(run).await[0]).await;
    let intent = db.intent(&leased).await;
    let order = &intent.orders[0];
    assert_eq!((order.amount.minor, order.amount.currency.code(), order.due_currency.code()), (1100, "USD", "EUR"));
    db.record(&leased, &intent, paid).await;

    let as_due = db.line(payout, &format!("ref-{payout}")).await;
    db.line_read("sandbox-payout", as_due.clone()).await;
    let differs = "SELECT count(*) FROM statement_line WHERE differs_amount AND differs_currency";
    assert_eq!(db.scalar::<i64>(differs).await, 1, "no rail pays what is due");
    let as_paid = StatementLine { amount_minor: 1100, currency: "USD".to_owned(), ..as_due };
    db.line_read("sandbox-payout", as_paid.clone()).await;
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM listed").await, 1);
    let part = Outcome::ReturnedPart(
        Reference(format!("ref-{payout}")),
        Money { minor: 1000, currency: "USD".parse().unwrap() },
    );
    db.store.outcomes_record(looked_up(leased.lease.batch, Epoch(1), vec![(payout, part)])).await.unwrap();
    assert_eq!(db.states(run).await, "paid 1", "not all of it came back");
    let back = StatementLine {
        movement: Movement::Returned,
        reference: "back".to_owned(),
        of: Some(as_paid.reference.clone()),
        ..as_paid
    };
    db.line_read("sandbox-payout", back).await;
    assert_eq!(db.states(run).await, "returned 1");
    let ledger = "SELECT string_agg(kind || ' ' || amount_minor || ' ' || currency, ', ' ORDER BY kind) FROM transfer";
    assert_eq!(db.scalar::<String>(ledger).await, "0 1000 EUR, 2 1000 EUR, 4 1000 EUR");
    assert_eq!(db.scalar::<i64>("SELECT carried_minor FROM account").await, 1000);
    db.assert_ledger().await;
    db.drop().await;
}
