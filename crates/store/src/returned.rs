//! Money that came back, as answers and lookups tell it. What statements list of it: `reconcile/odd.rs`.

use payfleet_domain::{Money, PayoutEvent, PayoutState};
use sqlx::PgConnection;

use crate::connect::{Step, StoreError};
use crate::movement::accounts_weigh;
use crate::payout::{Moved, News, Source, holds_close, payments_told, payouts_settle};
use crate::sql::{pays_currency, pays_minor};

/// A payment came back, as an answer or a lookup tells it: under the payment's own reference, and whole or in part. It
/// went out before.
pub(crate) async fn payouts_return(
    tx: &mut PgConnection,
    news: &News,
    parts: &[Option<Money>],
    source: Source,
) -> Result<Moved, StoreError> {
    if news.is_empty() {
        return Ok(Moved::default());
    }
    let mut moved = payouts_settle_quietly(tx, news, source).await?;
    let (minors, codes) = columns(parts);
    let returned: Vec<i64> = sqlx::query_scalar(concat!(
        "-- returns_told
         INSERT INTO movement (tenant_id, payout_id, kind, reference, of_reference, amount_minor, currency, source)
         SELECT p.tenant_id, p.id, 'returned', news.reference, news.reference,
                coalesce(news.part, ",
        pays_minor!("p"),
        "), ",
        pays_currency!("p"),
        ", $3
           FROM payout p JOIN unnest($1::bigint[], $2::text[], $4::bigint[], $5::text[])
                  AS news (id, reference, part, currency) ON p.id = news.id
            -- What came back in another currency is no part of this money, and frees none of it.
          WHERE coalesce(news.currency, ",
        pays_currency!("p"),
        ") = ",
        pays_currency!("p"),
        "
          ORDER BY p.id
             ON CONFLICT DO NOTHING
      RETURNING payout_id"
    ))
    .bind(&news.ids)
    .bind(&news.words)
    .bind(source.as_str())
    .bind(minors)
    .bind(codes)
    .fetch_all(&mut *tx)
    .await
    .step("returns_told")?;
    if parts.iter().any(Option::is_some) {
        foreign_parts_keep(tx, news, parts, source).await?;
    }
    moved += accounts_weigh(tx, &returned).await?;
    holds_close(tx, &news.ids).await?;
    Ok(moved)
}

/// Parts as columns: minor units, and codes of currencies.
fn columns(parts: &[Option<Money>]) -> (Vec<Option<i64>>, Vec<Option<String>>) {
    parts.iter().map(|part| part.map(|part| (part.minor, part.currency.code().to_owned())).unzip()).unzip()
}

/// What came back in another currency than it was paid in: it cannot be set against the payout, so people have to see
/// it. It is kept as the rail told it, in minor units of that currency.
async fn foreign_parts_keep(
    tx: &mut PgConnection,
    news: &News,
    parts: &[Option<Money>],
    source: Source,
) -> Result<(), StoreError> {
    let (minors, codes) = columns(parts);
    let foreign: Vec<i64> = sqlx::query_scalar(concat!(
        "-- foreign_parts_keep
         INSERT INTO evidence (tenant_id, payout_id, source, says, reference, code)
         SELECT p.tenant_id, p.id, $3, 'returned', news.reference, news.part || ' ' || news.currency
           FROM payout p JOIN unnest($1::bigint[], $2::text[], $4::bigint[], $5::text[])
                  AS news (id, reference, part, currency) ON p.id = news.id AND ",
        pays_currency!("p"),
        " <> news.currency
          ORDER BY p.id
             ON CONFLICT DO NOTHING
      RETURNING payout_id"
    ))
    .bind(&news.ids)
    .bind(&news.words)
    .bind(source.as_str())
    .bind(minors)
    .bind(codes)
    .fetch_all(tx)
    .await
    .step("foreign_parts_keep")?;
    for payout in foreign {
        tracing::error!(
            payout,
            "money of this payout came back in another currency; it frees nothing by itself: see `payout show`"
        );
    }
    Ok(())
}

/// Payments that came back already: settled where that is news, but not weighed before their return is known too.
async fn payouts_settle_quietly(tx: &mut PgConnection, news: &News, source: Source) -> Result<Moved, StoreError> {
    let known: Vec<i64> =
        sqlx::query_scalar("-- payouts_unsettled\nSELECT id FROM payout WHERE id = ANY($1) AND state = ANY($2)")
            .bind(&news.ids)
            .bind(PayoutState::sources(PayoutEvent::Pay))
            .fetch_all(&mut *tx)
            .await
            .step("payouts_unsettled")?;
    let (unsettled, others): (Vec<_>, Vec<_>) =
        news.ids.iter().zip(&news.words).partition(|(id, _)| known.contains(id));
    let as_news = |some: Vec<(&i64, &String)>| News {
        ids: some.iter().map(|(id, _)| **id).collect(),
        words: some.into_iter().map(|(_, word)| word.clone()).collect(),
    };
    payments_told(tx, &as_news(others), source).await?;
    payouts_settle(tx, &as_news(unsettled), source).await
}
