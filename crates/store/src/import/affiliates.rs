//! Affiliates and where they can be paid: new ones are inserted, changed ones updated. A payout method never changes
//! its destination: another one is another row, and the old one is retired. What a row does not say stays as it is, and
//! what is taken away is counted.

use payfleet_domain::{Currency, Destination, MethodKinds, TenantId, look_key};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;

use super::copy::CopyRows;
use super::problem::{ImportError, Problems};
use super::{Changes, Controls, Feed, Imported, Terms, change, contradiction, copy_feed, limit, payees};
use crate::connect::{Step, Store, StoreError};
use crate::method::kinds_read;

/// What a row says of something that may be there or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Said<T> {
    /// Nothing: it stays as it is.
    #[default]
    Nothing,
    /// It is taken away.
    Gone,
    /// It is this from now on.
    Is(T),
}

/// An affiliate with one of its payout methods, or with none. An empty text says nothing.
#[derive(Debug, Clone, Copy)]
pub struct AffiliateRow<'a> {
    /// Where it is in the file.
    pub line: u64,
    /// The tenant's own name for the affiliate.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its e-mail address.
    pub email: &'a str,
    /// Where it is.
    pub country: &'a str,
    /// What it is usually paid in.
    pub currency: Currency,
    /// Whether it is not to be paid for now; `None` leaves that as it is.
    pub on_hold: Option<bool>,
    /// The method of this priority and its destination.
    pub method: Said<(&'a str, &'a Destination)>,
    /// Methods are tried from the lowest up.
    pub priority: i16,
    /// The least that the kind of method is used for, in minor units of the affiliate's currency. Of that kind of
    /// method, whatever the address.
    pub min: Said<i64>,
    /// And the most.
    pub max: Said<i64>,
}

/// The name that no method has: it takes away the method that had the row's priority.
const NO_METHOD: &str = "none";

/// Some affiliates, ready to be sent.
#[derive(Debug, Default)]
pub struct AffiliateRows(CopyRows);

impl AffiliateRows {
    /// Adds one.
    pub fn push(&mut self, row: &AffiliateRow<'_>) {
        self.0.row(|fields| {
            fields.bigint(row.line.cast_signed()).text(row.id);
            for text in [row.name, row.email, row.country] {
                match text {
                    "" => fields.null(),
                    _ => fields.text(text),
                };
            }
            fields.text(row.currency.code());
            match row.on_hold {
                Some(on_hold) => fields.boolean(on_hold),
                None => fields.null(),
            };
            match row.method {
                Said::Is((method, destination)) => {
                    fields.text(method).text(destination.as_str()).text(destination.compared())
                }
                Said::Gone => fields.text(NO_METHOD).null().null(),
                Said::Nothing => fields.null().null().null(),
            };
            fields.smallint(row.priority);
            for limit in [row.min, row.max] {
                match limit {
                    Said::Is(minor) => fields.bigint(minor),
                    Said::Gone => fields.bigint(limit::NO_LIMIT),
                    Said::Nothing => fields.null(),
                };
            }
            fields.bigint(look_key(row.id));
        });
    }

    /// How large they are; to bound what is in memory.
    pub fn size(&self) -> usize {
        self.0.bytes().len()
    }
}

/// Where a file of affiliates goes.
#[derive(Debug, Clone)]
pub struct AffiliatesTarget {
    /// The tenant; it is made if there is none of this name.
    pub tenant: String,
    /// Days until a commission is due, from now on; `None` leaves that as it is.
    pub hold_days: Option<i32>,
    /// The kinds of the tenant's methods by which the destinations were checked.
    pub kinds: MethodKinds,
}

impl Store {
    /// Imports a file of affiliates.
    pub async fn affiliates_import(
        &self,
        target: AffiliatesTarget,
        feed: mpsc::Receiver<Feed<AffiliateRows>>,
    ) -> Result<Imported, ImportError> {
        self.affiliates_import_on(target, Terms::default(), feed).await
    }

    /// The same on these terms.
    pub async fn affiliates_import_on(
        &self,
        target: AffiliatesTarget,
        terms: Terms,
        mut feed: mpsc::Receiver<Feed<AffiliateRows>>,
    ) -> Result<Imported, ImportError> {
        let (mut imported, held) = self
            .import("affiliates_import", terms, move |tx| {
                Box::pin(async move { import(tx, target, terms, &mut feed).await })
            })
            .await?;
        if terms.dry_run {
            return Ok(imported);
        }
        if !held.is_empty()
            && let Some(controls) = &mut imported.controls
        {
            let (_, perhaps_sent) = self.holds_arrive(imported.tenant, held).await?;
            controls.perhaps_sent = perhaps_sent.unsigned_abs();
        }
        self.import_analyze(
            imported.new + imported.updated,
            "-- import_analyze\nANALYZE affiliate, payout_method, payout_limit",
        )
        .await;
        Ok(imported)
    }
}

/// Also returns whom it has put on hold.
async fn import(
    tx: &mut PgConnection,
    target: AffiliatesTarget,
    terms: Terms,
    feed: &mut mpsc::Receiver<Feed<AffiliateRows>>,
) -> Result<(Imported, Vec<i64>), ImportError> {
    sqlx::raw_sql(
        "-- import_affiliate_create
         -- What a line does not say is absent; what it takes away is the method `none`, or a limit of 0.
         CREATE TEMP TABLE import_affiliate (
           line bigint NOT NULL, external_id text NOT NULL, name text, email text, country text,
             currency char(3) NOT NULL, on_hold boolean,
           method text, destination text, compared text, priority smallint NOT NULL, min_minor bigint,
           max_minor bigint, id_key bigint NOT NULL) ON COMMIT DROP;
         CREATE TEMP TABLE import_new (affiliate_id bigint NOT NULL, on_hold boolean NOT NULL) ON COMMIT DROP;
         -- What was changed; of which method or limit, from what to what (of a limit in minor units of the currency).
         CREATE TEMP TABLE import_changed (
           affiliate_id bigint NOT NULL, what text NOT NULL, of_what text, was text, becomes text,
           currency char(3)) ON COMMIT DROP",
    )
    .execute(&mut *tx)
    .await
    .step("import_affiliate_create")?;
    let copy = "-- import_affiliate_copy\nCOPY import_affiliate FROM STDIN WITH (FORMAT binary)";
    let rows = copy_feed(tx, "import_affiliate_copy", copy, feed, |chunk: AffiliateRows| chunk.0).await?;
    sqlx::query("-- import_affiliate_analyze\nANALYZE import_affiliate (external_id)")
        .execute(&mut *tx)
        .await
        .step("import_affiliate_analyze")?;

    // The tenant's row is locked from here on: imports of one tenant take turns.
    let (tenant, tenant_is_new, had, has): (i32, bool, Option<i32>, i32) = sqlx::query_as(
        "-- import_tenant_ensure
         WITH before AS (SELECT hold_days FROM tenant WHERE name = $1)
         INSERT INTO tenant (name, hold_days) VALUES ($1, coalesce($2, 0))
             ON CONFLICT (name) DO UPDATE SET hold_days = coalesce($2, tenant.hold_days)
      RETURNING id, xmax = 0, (SELECT hold_days FROM before), hold_days",
    )
    .bind(&target.tenant)
    .bind(target.hold_days)
    .fetch_one(&mut *tx)
    .await
    .step("import_tenant_ensure")?;
    if kinds_read(tx, tenant).await? != target.kinds {
        return Err(ImportError::KindsChanged);
    }

    let mut problems = Problems::default();
    contradiction::between_lines(tx, &mut problems).await?;
    problems.check()?;
    payees::looks_complete(tx, tenant).await?;
    let new = run(tx, "affiliates_insert", AFFILIATES_INSERT, tenant).await?;
    // Before methods are retired: the limits of a line without a method are those of the method that is there.
    limit::limits_write(tx, tenant).await?;
    run(tx, "affiliates_update", AFFILIATES_UPDATE, tenant).await?;
    run(tx, "holds_keep", HOLDS_KEEP, tenant).await?;
    run(tx, "methods_retire", METHODS_RETIRE, tenant).await?;
    let mut problems = Problems::default();
    contradiction::destinations_twice(tx, tenant, &mut problems).await?;
    problems.check()?;
    run(tx, "methods_insert", METHODS_INSERT, tenant).await?;
    let suspicions = payees::payees_alike(tx, tenant, terms.named).await?;
    terms.refuse_if_strict(&suspicions)?;
    let changes = if terms.dry_run { change::changes_read(tx, tenant, terms.named).await? } else { Changes::default() };
    let (known, updated, controls) = counted(tx).await?;
    let held = sqlx::query_scalar("-- import_held\nSELECT affiliate_id FROM import_changed WHERE what = 'hold_set'")
        .fetch_all(tx)
        .await
        .step("import_held")?;
    let imported = Imported {
        tenant: TenantId(tenant),
        tenant_is_new,
        hold_days: had.filter(|had| *had != has).map(|had| (had, has)),
        rows,
        new,
        updated,
        unchanged: known - new - updated,
        left_out: 0,
        controls: Some(controls),
        late: Vec::new(),
        newest: None,
        suspicions,
        changes,
        late_rows: Vec::new(),
    };
    Ok((imported, held))
}

/// How many affiliates the file names, how many of those that were known have changed, and what was changed of what
/// stops money.
async fn counted(tx: &mut PgConnection) -> Result<(u64, u64, Controls), StoreError> {
    let step = "import_affiliates_count";
    let row = sqlx::query(
        "-- import_affiliates_count
         SELECT (SELECT count(DISTINCT external_id) FROM import_affiliate) AS known,
                (SELECT count(DISTINCT c.affiliate_id) FROM import_changed c
                  WHERE what <> 'hold_kept' AND NOT EXISTS (SELECT FROM import_new n
                    WHERE n.affiliate_id = c.affiliate_id)) AS updated,
                (SELECT count(*) FROM import_changed c JOIN affiliate a ON a.id = c.affiliate_id
                  WHERE c.what = 'currency_changed' AND EXISTS (SELECT FROM payout_limit l WHERE l.affiliate_id = a.id)
                    AND NOT EXISTS (SELECT FROM payout_limit l WHERE l.affiliate_id = a.id
                      AND l.currency = a.currency)) AS limits_of_other_currency,
                count(*) FILTER (WHERE what = 'hold_set') + (SELECT count(*) FROM import_new
                  WHERE on_hold) AS holds_set,
                count(*) FILTER (WHERE what = 'hold_lifted') AS holds_lifted,
                count(*) FILTER (WHERE what = 'hold_kept') AS holds_kept,
                count(*) FILTER (WHERE what = 'limit_changed') AS limits_changed,
                count(*) FILTER (WHERE what = 'limit_removed') AS limits_removed,
                count(*) FILTER (WHERE what = 'method_retired') AS methods_retired,
                count(*) FILTER (WHERE what = 'destination_changed') AS destinations_changed
           FROM import_changed",
    )
    .fetch_one(tx)
    .await
    .step(step)?;
    let count = |column: &str| Ok::<u64, StoreError>(row.try_get::<i64, _>(column).step(step)?.unsigned_abs());
    let controls = Controls {
        holds_set: count("holds_set")?,
        holds_lifted: count("holds_lifted")?,
        holds_kept: count("holds_kept")?,
        limits_changed: count("limits_changed")?,
        limits_removed: count("limits_removed")?,
        methods_retired: count("methods_retired")?,
        destinations_changed: count("destinations_changed")?,
        limits_of_other_currency: count("limits_of_other_currency")?,
        perhaps_sent: 0,
    };
    Ok((count("known")?, count("updated")?, controls))
}

async fn run(
    tx: &mut PgConnection,
    step: &'static str,
    statement: &'static str,
    tenant: i32,
) -> Result<u64, StoreError> {
    let done = sqlx::query(statement).bind(tenant).execute(tx).await.step(step)?;
    Ok(done.rows_affected())
}

/// In the order of the file, so that the numbers of affiliates follow it.
const AFFILIATES_INSERT: &str = "-- affiliates_insert
  WITH inserted AS (
    INSERT INTO affiliate (tenant_id, external_id, name, email, country, currency, on_hold, id_key)
    SELECT $1, i.external_id, coalesce(i.name, ''), coalesce(i.email, ''), coalesce(i.country, ''), i.currency,
           coalesce(i.on_hold, false), i.id_key
      FROM import_affiliate i
     WHERE NOT EXISTS (SELECT FROM affiliate a WHERE a.tenant_id = $1 AND a.external_id = i.external_id)
     ORDER BY i.line
        ON CONFLICT (tenant_id, external_id) DO NOTHING
 RETURNING id, on_hold)
  INSERT INTO import_new SELECT id, on_hold FROM inserted";

const AFFILIATES_UPDATE: &str = "-- affiliates_update
  WITH said AS (
    SELECT DISTINCT a.id, a.on_hold AS was_on_hold, a.currency AS was_currency, coalesce(i.name, a.name) AS name,
           coalesce(i.email, a.email) AS email, coalesce(i.country, a.country) AS country, i.currency, i.on_hold
      FROM import_affiliate i JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = i.external_id
     WHERE (a.name, a.email, a.country, a.currency, a.on_hold) IS DISTINCT FROM
           (coalesce(i.name, a.name), coalesce(i.email, a.email), coalesce(i.country, a.country), i.currency,
             coalesce(i.on_hold, a.on_hold))),
  changed AS (
    UPDATE affiliate a
       SET name = s.name, email = s.email, country = s.country, currency = s.currency,
         on_hold = coalesce(s.on_hold, a.on_hold)
      FROM said s WHERE a.tenant_id = $1 AND a.id = s.id
 RETURNING a.id, a.on_hold, s.was_on_hold, a.currency, s.was_currency)
  INSERT INTO import_changed (affiliate_id, what, was, becomes)
  SELECT id, what, was, becomes FROM changed, LATERAL (VALUES
    (CASE WHEN on_hold AND NOT was_on_hold THEN 'hold_set'
          WHEN was_on_hold AND NOT on_hold THEN 'hold_lifted' ELSE 'affiliate' END,
     CASE WHEN was_on_hold THEN 'on hold' ELSE 'not on hold' END,
     CASE WHEN on_hold THEN 'on hold' ELSE 'not on hold' END),
    (CASE WHEN currency <> was_currency THEN 'currency_changed' END,
     was_currency::text, currency::text)) AS w (what, was, becomes)
   WHERE what IS NOT NULL";

/// A file is exported in the belief that nobody is on hold as easily as in the knowledge of it, so it does not overrule
/// a person. A statement of its own, which sees a hold that was placed while this import waited for its row.
const HOLDS_KEEP: &str = "-- holds_keep
  WITH kept AS (
    UPDATE affiliate a SET on_hold = true
      FROM control c, import_affiliate i
     WHERE a.tenant_id = $1 AND NOT a.on_hold AND c.affiliate_id = a.id AND c.lifted_at IS NULL
       AND i.external_id = a.external_id
 RETURNING a.id)
  UPDATE import_changed c SET what = 'hold_kept', becomes = 'on hold' FROM kept
   WHERE c.affiliate_id = kept.id AND c.what = 'hold_lifted'";

const METHODS_RETIRE: &str = "-- methods_retire
  WITH changed AS (
    UPDATE payout_method m SET retired_at = clock_timestamp()
      FROM import_affiliate i JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = i.external_id
     WHERE m.tenant_id = $1 AND m.affiliate_id = a.id AND m.priority = i.priority AND m.retired_at IS NULL
       AND i.method IS NOT NULL
       AND (m.method, coalesce(m.compared, m.destination)) IS DISTINCT FROM (i.method, i.compared)
 RETURNING m.affiliate_id, m.priority, m.method AS old_method, m.destination AS old_destination,
           i.method, i.destination)
  INSERT INTO import_changed
  SELECT affiliate_id, CASE method WHEN 'none' THEN 'method_retired' ELSE 'destination_changed' END,
         'priority ' || priority, old_method || ' ' || old_destination, method || ' ' || destination FROM changed";

const METHODS_INSERT: &str = "-- methods_insert
  WITH changed AS (
    INSERT INTO payout_method (tenant_id, affiliate_id, method, destination, compared, priority, usable, unusable_code)
    SELECT $1, i.id, i.method, i.destination, nullif(i.compared, i.destination), i.priority, closed.code IS NULL,
           closed.code
           -- As one of the lines that say it writes it.
      FROM (SELECT DISTINCT ON (a.id, i.priority) a.id, i.method, i.destination, i.compared, i.priority
              FROM import_affiliate i JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = i.external_id
             WHERE i.destination IS NOT NULL ORDER BY a.id, i.priority, i.line) AS i
      -- An account that is closed is so under whatever priority; a row that this file has retired speaks of it too.
      LEFT JOIN (SELECT affiliate_id, method, coalesce(compared, destination) AS destination,
                        min(unusable_code) AS code
                   FROM payout_method
                  WHERE tenant_id = $1 AND unusable_code IS NOT NULL AND (retired_at IS NULL OR retired_at >= now())
                  GROUP BY 1, 2, 3) AS closed
             ON closed.affiliate_id = i.id AND closed.method = i.method AND closed.destination = i.compared
     WHERE NOT EXISTS (SELECT FROM payout_method m
                        WHERE m.tenant_id = $1 AND m.affiliate_id = i.id AND m.priority = i.priority
                          AND m.retired_at IS NULL)
     ORDER BY i.id, i.priority
 RETURNING affiliate_id, priority, method, destination)
  INSERT INTO import_changed
  SELECT affiliate_id, 'method_added', 'priority ' || priority, NULL, method || ' ' || destination FROM changed";
