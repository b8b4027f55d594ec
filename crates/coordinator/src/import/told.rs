//! What an import says by name: what it changed, what came late, and what should be looked at.

use payfleet_store::{Changes, LateRow, MonthCount, Suspicion, SuspicionKind, Suspicions};

use crate::show;
use crate::since::{Next, months};
use payfleet_input::{Problem, Problems};

/// What came after the run of its month, and who pays it.
pub fn late(late: &[MonthCount], next: &Next, tenant: &str) -> String {
    format!(
        "of months that were run already: {}; the tenant's next run pays that: of the next month, or now \
         `run --tenant {tenant} --period {}`\n",
        months(late),
        next.arguments()
    )
}

/// The same, row by row.
pub fn late_rows(rows: &[LateRow], late: &[MonthCount]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = show::table(&["line", "commission", "affiliate", "month"]);
    for row in rows {
        let line = show::number(row.line);
        table.add_row([line, (&row.commission).into(), (&row.affiliate).into(), (&row.month).into()]);
    }
    let all: i64 = late.iter().map(|month| month.commissions).sum();
    format!("{table}\n{}", more(rows.len(), all.unsigned_abs()))
}

/// What would change, by affiliate.
pub fn changes(changes: &Changes) -> String {
    if changes.first.is_empty() {
        return String::new();
    }
    let mut table = show::table(&["affiliate", "change", "of", "from", "to"]);
    for change in &changes.first {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let what = change.what.replace('_', " ");
        table.add_row([change.affiliate.clone(), what, text(&change.of), text(&change.from), text(&change.to)]);
    }
    format!("{table}\n{}", more(changes.first.len(), changes.total))
}

/// What of a list is not shown.
fn more(shown: usize, total: u64) -> String {
    match total.saturating_sub(shown as u64) {
        0 => String::new(),
        more => format!("and {more} more; --limit shows more of them\n"),
    }
}

/// One kind, in words: of one row, of many, and what is to be said of a row.
fn words(kind: SuspicionKind) -> (&'static str, &'static str) {
    match kind {
        SuspicionKind::SaidAgain => (
            "row says what another one says, under the same id, and counts once",
            "rows say what another one says, under the same id, and count once",
        ),
        SuspicionKind::Reversed => (
            "commission was taken back and is not reversed any more; it stays taken back: if it is to be paid, import \
             it by a file of its own under another id",
            "commissions were taken back and are not reversed any more; they stay taken back: what is to be paid, \
             import by a file of its own under other ids",
        ),
        SuspicionKind::SameSale => {
            ("commission is another one in all but the id", "commissions are another one in all but the id")
        }
        SuspicionKind::CommissionIdAlike => {
            ("commission's id looks like another one's", "commissions' ids look like another one's")
        }
        SuspicionKind::AffiliateIdAlike => {
            ("affiliate's id looks like another one's", "affiliates' ids look like another one's")
        }
        SuspicionKind::DestinationShared => {
            ("affiliate has the destination of another one", "affiliates have the destination of another one")
        }
        SuspicionKind::DestinationWasAnothers => (
            "affiliate has a destination that was another one's before",
            "affiliates have a destination that was another one's before",
        ),
    }
}

/// For whoever should look: how many, and the first of them.
pub fn suspicions(suspicions: &Suspicions) -> String {
    let mut told = String::new();
    for (kind, count) in &suspicions.counts {
        let (one, many) = words(*kind);
        told += &format!("look: {count} {}\n", if *count == 1 { one } else { many });
        let of_kind: Vec<&Suspicion> = suspicions.first.iter().filter(|suspicion| suspicion.kind == *kind).collect();
        for suspicion in &of_kind {
            told += &format!("  line {}: {}\n", suspicion.line, pair(suspicion));
        }
        if let more @ 1.. = count.saturating_sub(of_kind.len() as u64) {
            told += &format!("  and {more} more\n");
        }
    }
    told
}

fn pair(suspicion: &Suspicion) -> String {
    let place = match suspicion.other_line {
        Some(line) => format!("on line {line}"),
        None => "known before".to_owned(),
    };
    format!("`{}` and `{}`, {place}", suspicion.id, suspicion.other)
}

/// The same for programs.
pub fn suspicion_fields(suspicions: &Suspicions) -> serde_json::Value {
    let counts: serde_json::Map<String, serde_json::Value> = suspicions
        .counts
        .iter()
        .filter_map(|(kind, count)| Some((serde_json::to_value(kind).ok()?.as_str()?.to_owned(), (*count).into())))
        .collect();
    serde_json::json!({ "counts": counts, "first": suspicions.first })
}

/// The same as why nothing of the file was taken.
pub fn refused(suspicions: Suspicions) -> Problems {
    let total = suspicions.counts.iter().map(|(_, count)| count).sum();
    let mut first: Vec<Problem> = suspicions
        .first
        .iter()
        .map(|suspicion| Problem {
            line: suspicion.line,
            column: match suspicion.kind {
                SuspicionKind::SaidAgain
                | SuspicionKind::Reversed
                | SuspicionKind::SameSale
                | SuspicionKind::CommissionIdAlike => "commission_id",
                SuspicionKind::AffiliateIdAlike => "affiliate_id",
                SuspicionKind::DestinationShared | SuspicionKind::DestinationWasAnothers => "destination",
            }
            .to_owned(),
            what: format!(
                "{}: {}; correct the row or take it out, or import without --strict if both are meant",
                words(suspicion.kind).0,
                pair(suspicion)
            ),
        })
        .collect();
    first.sort_by_key(|problem| problem.line);
    Problems::of(first, total)
}
