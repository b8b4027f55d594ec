//! Money that comes back in part, as an answer or a lookup tells it: it is counted as what it is, and frees nothing by
//! itself.

use crate::support::{Db, looked_up, paid};
use payfleet_domain::{Epoch, Money, Outcome, PayoutId, Reference};

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
