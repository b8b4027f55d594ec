//! Who is paid and who is not, by name: of a run that would be made (`run --dry-run --list`) and of one that there is
//! (`run show`).

use std::collections::BTreeMap;

use payfleet_domain::{AffiliateId, Currency, PayoutId, PayoutState, masked};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{Decided, Excluded, NewRun, Obstacle, PayoutFilter, PayoutRow, PlanLine, RunRow, Store, Way};
use serde_json::{Map, Value, json};

use crate::cli::{FormArgs, RunShowArgs, WhichArgs};
use crate::failure::Failure;
use crate::plan::find;
use crate::report::{RunFields, headline, plan_table};
use crate::sheet::{Field, Form, Sheet};
use crate::{show, words};

/// Rows that are read and written at a time.
const PAGE: i64 = 500;

/// Of a run that would be made.
const DECIDED: &[&str] = &[
    "affiliate",
    "name",
    "currency",
    "amount",
    "verdict",
    "why",
    "obstacles",
    "method",
    "rail",
    "account",
    "destination",
];

/// Of a run that there is.
const SHOWN: &[&str] = &[
    "payout",
    "affiliate",
    "name",
    "currency",
    "amount",
    "state",
    "code",
    "why",
    "obstacles_now",
    "method",
    "rail",
    "account",
    "destination",
    "reference",
    "settled_at",
];

/// In which form, and how much of destinations.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    form: Form,
    destinations: bool,
}

impl Look {
    /// As it is asked for.
    pub fn of(args: FormArgs, json: bool) -> Look {
        let form = match (json, args.csv) {
            (true, _) => Form::Json,
            (false, true) => Form::Csv,
            (false, false) => Form::Text,
        };
        Look { form, destinations: args.destinations }
    }

    fn destination(&self, way: &Way) -> Field {
        destination(&way.destination, self.destinations)
    }
}

fn destination(destination: &str, in_full: bool) -> Field {
    Field::Text(if in_full { destination.to_owned() } else { masked(destination) })
}

/// An obstacle in a word or two.
pub fn obstacle(one: &Obstacle) -> String {
    match &one.method {
        Some(method) => format!("{} ({method})", one.code),
        None => one.code.to_string(),
    }
}

fn obstacles(all: &[Obstacle]) -> Field {
    Field::Texts(all.iter().map(obstacle).collect())
}

/// `run --dry-run --list`: who would be paid, and who not and why. Holds one page, however many they are.
pub async fn dry_run(store: &Store, new: NewRun, tenant: &str, chunk: i64, look: Look) -> Result<ExitCode, Failure> {
    let mut plan = store.plan_dry_open(new, chunk).await?;
    let head = object(json!({
        "dry_run": true, "tenant": tenant, "period": new.period.to_string(), "sequence": new.sequence,
        "minimum": show::units(new.minimum),
    }));
    if look.form == Form::Text {
        show::print(&format!(
            "dry run: {tenant} {}, minimum {}; nothing was written\n",
            new.period,
            show::units(new.minimum)
        ));
    }
    let mut sheet = Sheet::begin(look.form, &head, "accounts", DECIDED)?;
    let mut sums: BTreeMap<(Currency, String), (i64, i128)> = BTreeMap::new();
    while let Some(rows) = plan.rows_next().await? {
        for row in &rows {
            let verdict = row.reason.map_or("pay", |reason| reason.code()).to_owned();
            let sum = sums.entry((row.amount.currency, verdict)).or_default();
            sum.0 += 1;
            sum.1 += i128::from(row.amount.minor);
        }
        for page in rows.chunks(PAGE as usize) {
            let page: Vec<Vec<Field>> = page.iter().map(|row| decided(row, look)).collect();
            if !sheet.page(&page)? {
                return Ok(ExitCode::Done);
            }
        }
    }
    plan.end().await?;
    let line = |((currency, verdict), (accounts, amount_minor))| PlanLine { currency, verdict, accounts, amount_minor };
    let lines: Vec<PlanLine> = sums.into_iter().map(line).collect();
    sheet.end(&object(json!({ "plan": lines })))?;
    if look.form == Form::Text {
        show::print(&format!("{}\n", plan_table(&lines)));
    }
    Ok(ExitCode::Done)
}

fn decided(row: &Decided, look: Look) -> Vec<Field> {
    let way = row.way.as_ref();
    vec![
        Field::Text(row.affiliate.clone()),
        Field::Text(row.name.clone()),
        Field::Text(row.amount.currency.to_string()),
        Field::Amount(row.amount),
        Field::Text(row.reason.map_or("pay", |reason| reason.code()).to_owned()),
        Field::text(row.reason.map(|reason| reason.meaning())),
        obstacles(&row.obstacles),
        Field::text(way.map(|way| way.method.clone())),
        Field::text(way.map(|way| way.rail.clone())),
        Field::text(way.map(|way| way.account.clone())),
        way.map_or(Field::None, |way| look.destination(way)),
    ]
}

/// `run show`.
pub async fn run_show(store: &Store, args: &RunShowArgs) -> Result<ExitCode, Failure> {
    let run = find(store, args.run).await?;
    show_run(store, &run, args.which, Look::of(args.form, args.json)).await
}

/// The payouts and exclusions of a run.
pub async fn show_run(store: &Store, run: &RunRow, which: WhichArgs, look: Look) -> Result<ExitCode, Failure> {
    let filter = match which {
        WhichArgs { excluded: true, .. } => None,
        WhichArgs { refused: true, .. } => Some(PayoutFilter::In(PayoutState::Refused)),
        WhichArgs { held: true, .. } => Some(PayoutFilter::In(PayoutState::Held)),
        WhichArgs { .. } => Some(PayoutFilter::All),
    };
    let with_excluded = which.excluded || !(which.payouts || which.refused || which.held);
    let head = object(serde_json::to_value(RunFields::from(run)).unwrap_or_default());
    if look.form == Form::Text {
        show::print(&format!("{}\n", headline(run)));
    }
    let mut sheet = Sheet::begin(look.form, &head, "accounts", SHOWN)?;
    if let Some(filter) = filter {
        let mut after: Option<PayoutId> = None;
        loop {
            let rows = store.payouts_page(run.id, filter, after, PAGE).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.payout);
            let page: Vec<Vec<Field>> = rows.iter().map(|row| payout(row, look)).collect();
            if !sheet.page(&page)? {
                return Ok(ExitCode::Done);
            }
        }
    }
    if with_excluded {
        let mut after: Option<AffiliateId> = None;
        loop {
            let rows = store.exclusions_page(run, after, PAGE).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.affiliate_id);
            let page: Vec<Vec<Field>> = rows.iter().map(excluded).collect();
            if !sheet.page(&page)? {
                return Ok(ExitCode::Done);
            }
        }
    }
    let rows = sheet.end(&Map::new())?;
    if look.form == Form::Text && rows == 0 {
        show::print("nobody\n");
    }
    Ok(ExitCode::Done)
}

fn payout(row: &PayoutRow, look: Look) -> Vec<Field> {
    vec![
        Field::Number(row.payout.0),
        Field::Text(row.affiliate.clone()),
        Field::Text(row.name.clone()),
        Field::Text(row.amount.currency.to_string()),
        Field::Amount(row.amount),
        Field::Text(row.state.as_str().to_owned()),
        Field::text(row.code.clone()),
        Field::Text(words::of_payout(row.state, row.code.as_deref()).to_owned()),
        Field::None,
        Field::Text(row.way.method.clone()),
        Field::Text(row.way.rail.clone()),
        Field::Text(row.way.account.clone()),
        look.destination(&row.way),
        Field::text(row.reference.clone()),
        Field::text(row.settled_at.map(show::instant)),
    ]
}

fn excluded(row: &Excluded) -> Vec<Field> {
    let mut fields = vec![
        Field::None,
        Field::Text(row.affiliate.clone()),
        Field::Text(row.name.clone()),
        Field::Text(row.amount.currency.to_string()),
        Field::Amount(row.amount),
        Field::Text("excluded".to_owned()),
        Field::Text(row.reason.code().to_owned()),
        Field::Text(row.reason.meaning().to_owned()),
        obstacles(&row.now),
    ];
    fields.resize_with(SHOWN.len(), || Field::None);
    fields
}

/// The fields of an object.
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
