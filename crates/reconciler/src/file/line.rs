//! What the columns of a statement mean.

use payfleet_domain::{Movement, Rail, StatementEnd, StatementLine};
use payfleet_input::{Faults, Problem, Row, STATEMENT, shown};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::FileEnd;

pub(super) const KEY: usize = 0;
const REFERENCE: usize = 1;
const AMOUNT_MINOR: usize = 2;
const CURRENCY: usize = 3;
const DESTINATION: usize = 4;
const STATUS: usize = 5;
const AT: usize = 6;
/// What the rail kept of money that came back.
const FEE_MINOR: usize = 7;
/// The reference of the payment that came back.
const OF: usize = 8;

/// No field of a statement is longer.
const FIELD_BYTES_MAX: usize = 4 * 1024;

/// A row as a line of a statement.
pub(super) fn line(row: &Row<'_>) -> Result<StatementLine, Faults> {
    let mut faults = short(row);
    let reference = match row.text(REFERENCE) {
        "" => faults.keep(Err(row.problem(REFERENCE, "it is empty; every line names the payment"))),
        reference => Some(reference),
    };
    let amount_minor = faults.keep(amount(row));
    let currency = faults.keep(currency(row));
    let movement = faults.keep(movement(row));
    let at = faults.keep(match row.text(AT) {
        "" => Ok(None),
        _ => instant(row, AT, "it").map(Some),
    });
    let (fee, of) = (row.get(FEE_MINOR).unwrap_or(""), row.get(OF).unwrap_or(""));
    let fee_minor = faults.keep(if fee.is_empty() { Ok(0) } else { minor(row, FEE_MINOR) });
    if let (Some(fee), Some(movement)) = (fee_minor, movement)
        && (fee < 0 || (fee > 0 && movement != Movement::Returned))
    {
        faults.add(row.problem(FEE_MINOR, "only what came back has a fee, and none is below nothing; correct it"));
    }
    if !of.is_empty() && movement.is_some_and(|movement| movement != Movement::Returned) {
        faults.add(row.problem(OF, "only what came back is of another payment; correct it"));
    }
    let (Some(reference), Some(amount_minor), Some(currency), Some(movement), Some(at), Some(fee_minor)) =
        (reference, amount_minor, currency, movement, at, fee_minor)
    else {
        return Err(faults);
    };
    faults.verdict()?;
    Ok(StatementLine {
        key: row.text(KEY).to_owned(),
        reference: reference.to_owned(),
        amount_minor,
        fee_minor,
        currency: currency.to_owned(),
        destination: row.text(DESTINATION).to_owned(),
        movement,
        at,
        of: (!of.is_empty()).then(|| of.to_owned()),
    })
}

/// Notes the fields that are too long.
fn short(row: &Row<'_>) -> Faults {
    let mut faults = Faults::default();
    let is_long = |column: &usize| row.get(*column).is_some_and(|text| text.len() > FIELD_BYTES_MAX);
    for column in (0..STATEMENT.columns.len()).filter(is_long) {
        faults.add(row.problem(column, format!("{} is longer than any field can be", shown(row.text(column)))));
    }
    faults
}

fn minor(row: &Row<'_>, column: usize) -> Result<i64, Problem> {
    let text = row.text(column);
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let what = format!("{} is not a whole number of minor units, such as 1234 for 12.34 EUR", shown(text));
        return Err(row.problem(column, what));
    }
    text.parse().map_err(|_| row.problem(column, format!("{} is too large; correct it", shown(text))))
}

fn amount(row: &Row<'_>) -> Result<i64, Problem> {
    let amount = minor(row, AMOUNT_MINOR)?;
    if amount <= 0 {
        let what = format!(
            "{} is not more than nothing; what came back is `returned`, and has no sign",
            shown(row.text(AMOUNT_MINOR))
        );
        return Err(row.problem(AMOUNT_MINOR, what));
    }
    Ok(amount)
}

fn currency<'a>(row: &Row<'a>) -> Result<&'a str, Problem> {
    let text = row.text(CURRENCY);
    match text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        true => Ok(text),
        false => Err(row.problem(CURRENCY, format!("{} is not three letters, such as EUR", shown(text)))),
    }
}

fn movement(row: &Row<'_>) -> Result<Movement, Problem> {
    match row.text(STATUS) {
        "paid" => Ok(Movement::Paid),
        "returned" => Ok(Movement::Returned),
        "rejected" => Ok(Movement::Rejected),
        other => Err(row.problem(STATUS, format!("{} is neither `paid` nor `returned` nor `rejected`", shown(other)))),
    }
}

fn instant(row: &Row<'_>, column: usize, what: &str) -> Result<OffsetDateTime, Problem> {
    let text = row.short(column);
    OffsetDateTime::parse(&text, &Rfc3339)
        .map_err(|_| row.problem(column, format!("{what}: `{text}` is not an instant such as 2011-12-05T10:00:00Z")))
}

/// The row that ends a statement of so many lines.
pub(super) fn end(row: &Row<'_>, lines: u64) -> Result<FileEnd, Faults> {
    let mut faults = short(row);
    let whose = faults.keep(whose(row));
    let counted = row.text(AMOUNT_MINOR);
    if counted.is_empty() || !counted.bytes().all(|byte| byte.is_ascii_digit()) {
        let what = format!("{} is not the number of lines, as the end needs it", shown(counted));
        faults.add(row.problem(AMOUNT_MINOR, what));
    } else if counted.parse() != Ok(lines) {
        let what = format!("the end counts {} lines, and there are {lines}; look for what is missing", shown(counted));
        faults.add(row.problem(AMOUNT_MINOR, what));
    }
    if row.text(STATUS) != "complete" {
        faults.add(row.problem(STATUS, format!("{} is not `complete`, as the end needs it", shown(row.text(STATUS)))));
    }
    for column in [CURRENCY, FEE_MINOR, OF].into_iter().filter(|column| !row.get(*column).unwrap_or("").is_empty()) {
        faults.add(row.problem(column, format!("{} stands there, and the end has none", shown(row.text(column)))));
    }
    let from = faults.keep(instant(row, DESTINATION, "from when the statement has everything"));
    let until = faults.keep(instant(row, AT, "until when the statement has everything"));
    if let (Some(from), Some(until)) = (from, until)
        && until < from
    {
        faults.add(row.problem(AT, "it ends before it begins; exchange the two"));
    }
    let (Some((rail, account)), Some(from), Some(until)) = (whose, from, until) else { return Err(faults) };
    faults.verdict()?;
    let reach = StatementEnd { from, until, now: until, open_from: None, lines };
    Ok(FileEnd { rail, account: account.to_owned(), reach })
}

fn whose<'a>(row: &Row<'a>) -> Result<(&'static Rail, &'a str), Problem> {
    let text = row.text(REFERENCE);
    let found = text.split_once('/').filter(|(_, account)| !account.is_empty());
    let (rail, account) = found
        .ok_or_else(|| row.problem(REFERENCE, format!("{} is not RAIL/ACCOUNT, as the end needs it", shown(text))))?;
    let rail = Rail::named(rail).map_err(|unknown| row.problem(REFERENCE, unknown.to_string()))?;
    match rail.has_statement {
        true => Ok((rail, account)),
        false => Err(row.problem(REFERENCE, format!("the rail {} has no statements", rail.name))),
    }
}
