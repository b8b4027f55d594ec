//! What comes from outside, and what must hold of it whatever its bytes are. Each function takes any bytes and panics
//! where something does not hold. The fuzz targets of `tests/fuzz` call them, and the test `corpus` calls them with
//! what is kept there.

mod vendors;
mod webhooks;

use std::path::Path;
use std::sync::LazyLock;

use futures_util::{FutureExt, StreamExt};
use payfleet_domain::{
    BatchKey, Country, Currency, DestinationKind, Money, Movement, Outcome, PayoutId, PayoutKey, Period, Reference,
    RefusalCode, StatementLine, StopReason, visible,
};
use payfleet_input::{CsvError, CsvReader, How, Mapping, Source};
use payfleet_queue::Hint;
use payfleet_rails::{
    Account, Answer, Call, Credential, Finding, Going, Instruction, Pace, Payee, StatementError, StatementItem,
};
use payfleet_reconciler::{CsvStatement, FileItem, ReconcileError};
use time::macros::datetime;
use uuid::Uuid;

pub use vendors::{paypal_answer, stripe_answer, wise_answer};
pub use webhooks::webhook;

/// What is thrown at one reader.
pub type Target = fn(&[u8]);

/// The fuzz targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("hint", hint),
    ("csv", csv),
    ("statement", statement),
    ("rail_answer", rail_answer),
    ("paypal_answer", paypal_answer),
    ("stripe_answer", stripe_answer),
    ("wise_answer", wise_answer),
    ("webhook", webhook),
    ("words", words),
];

/// A stream entry. What is read as a hint is written with the same meaning.
pub fn hint(bytes: &[u8]) {
    if let Ok(hint) = Hint::decode(bytes) {
        assert_eq!(Hint::decode(&hint.encode()), Ok(hint));
    }
}

/// A file to import, of ours and of two other systems. An error names its line and column; what is well-formed CSV is
/// read as the `csv` crate reads it.
pub fn csv(bytes: &[u8]) {
    let (ours, [impact, post_affiliate_pro]) = (How::default(), &*PRESETS);
    let judged = [
        payfleet_coordinator::hostile::affiliates(bytes.to_owned(), &ours),
        payfleet_coordinator::hostile::commissions(bytes.to_owned(), &ours),
        payfleet_coordinator::hostile::commissions(bytes.to_owned(), impact),
        payfleet_coordinator::hostile::commissions(bytes.to_owned(), post_affiliate_pro),
        payfleet_coordinator::hostile::affiliates(bytes.to_owned(), post_affiliate_pro),
    ];
    judged.into_iter().filter_map(Result::err).for_each(|report| every_line_has_a_place(&report, bytes));
    as_the_csv_crate(bytes);
}

/// Two presets, with the currency that one of them does not say.
static PRESETS: LazyLock<[How; 2]> = LazyLock::new(|| {
    ["impact", "post-affiliate-pro"].map(|name| How {
        map: Some(Mapping::open(name).expect("a preset")),
        set: vec![("currency".to_owned(), "EUR".to_owned())],
        ..How::default()
    })
});

/// A report on a file that is called FILE: one line for each problem, with a line that there is and a column, and how
/// many there are.
fn every_line_has_a_place(report: &str, bytes: &[u8]) {
    let mut lines: Vec<&str> = report.split('\n').collect();
    let last = lines.pop().unwrap_or_default();
    assert!(last.starts_with("nothing ") && last.contains(" error"), "{report:?}");
    let lines_max = 1 + bytes.iter().filter(|byte| matches!(**byte, b'\n' | b'\r')).count();
    assert!(!lines.is_empty(), "{report:?}");
    // What is quoted from the file may hold anything but a line break, so that each problem is one line.
    for problem in lines {
        let place = problem.strip_prefix("FILE:").and_then(|rest| rest.split_once(':'));
        let Some((line, rest)) = place else { panic!("no place in {problem:?}") };
        let line: usize = line.parse().expect("a line's number");
        assert!(line >= 1 && line <= lines_max, "line {line} of {lines_max}");
        assert!(rest.contains(": "), "no column in {problem:?}");
    }
}

fn as_the_csv_crate(bytes: &[u8]) {
    let mut reader = CsvReader::new(bytes, b',');
    let mut rows = Vec::new();
    let mut last = 0;
    loop {
        match reader.advance() {
            Ok(false) => break,
            Ok(true) => {
                let record = reader.record();
                assert!(record.line > last, "lines go up");
                last = record.line;
                rows.push(record.fields().map(<[u8]>::to_vec).collect::<Vec<_>>());
            }
            Err(CsvError::Io(error)) => panic!("{error}"),
            // The other reader guesses on.
            Err(CsvError::Malformed { line, what, .. }) => {
                assert!(line >= 1 && !what.is_empty());
                return;
            }
        }
    }
    // It takes a lone carriage return for a line end, and drops a byte order mark.
    let odd = bytes.starts_with(b"\xef\xbb\xbf") || bytes.windows(2).any(|pair| pair[0] == b'\r' && pair[1] != b'\n');
    if odd || bytes.ends_with(b"\r") {
        return;
    }
    let mut other = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let others: Vec<Vec<Vec<u8>>> = other
        .byte_records()
        .map(|record| record.expect("it takes anything").iter().map(<[u8]>::to_vec).collect())
        .collect();
    assert_eq!(rows, others);
}

/// A statement, as a file and from a rail. An error is said to come from a line that there is; what is read from a rail
/// does not depend on how it was cut into pieces, and lines in a file are what they would be in another.
pub fn statement(bytes: &[u8]) {
    statement_file(bytes);
    let whole = from_rail(vec![bytes.to_owned()]);
    let half = bytes.len() / 2;
    assert_eq!(whole, from_rail(vec![bytes[..half].to_owned(), bytes[half..].to_owned()]));
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(whole.0.len() < lines, "{} lines of {lines}", whole.0.len());
    match whole.1 {
        // A statement that is complete says so on its last line, and every line before was read.
        None => assert_eq!(whole.0.len() + 1, lines - 1),
        Some(StatementError::BrokeOff { lines: read, .. }) => assert_eq!(read, whole.0.len() as u64),
        Some(StatementError::Unreadable { line, .. }) => assert_eq!(line, whole.0.len() as u64 + 1),
        Some(error) => panic!("{error}"),
    }
}

fn from_rail(pieces: Vec<Vec<u8>>) -> (Vec<StatementLine>, Option<StatementError>) {
    let mut stream = payfleet_rails::hostile::statement(pieces);
    let (mut lines, mut ended) = (Vec::new(), false);
    while let Some(item) = stream.next().now_or_never().expect("all of it is there") {
        match item {
            Ok(StatementItem::Line(line)) => {
                assert!(!ended, "nothing follows the end");
                lines.push(line);
            }
            Ok(StatementItem::End(end)) => {
                assert_eq!(end.lines, lines.len() as u64);
                assert!(end.until <= end.now);
                ended = true;
            }
            Err(error) => {
                assert!(stream.next().now_or_never().expect("all of it is there").is_none(), "an error is the end");
                return (lines, Some(error));
            }
        }
    }
    assert!(ended, "it says where it ends");
    (lines, None)
}

fn statement_file(bytes: &[u8]) {
    let path = Path::new("FILE");
    let read = || -> Result<Vec<FileItem>, ReconcileError> {
        let open = || CsvStatement::new(path, Source::of("FILE", bytes.to_owned()), &How::default());
        open()?.check(|| false)?;
        let (mut statement, mut items) = (open()?, Vec::new());
        while let Some(item) = statement.next()? {
            items.push(item);
        }
        Ok(items)
    };
    match read() {
        Ok(items) => {
            let count = items.len();
            for (at, item) in items.into_iter().enumerate() {
                match item {
                    FileItem::Line(line) => {
                        assert!(!line.reference.is_empty() && line.currency.len() == 3);
                        assert!(line.amount_minor > 0 && line.fee_minor >= 0);
                        let is_back = line.movement == Movement::Returned;
                        assert!(is_back || (line.fee_minor == 0 && line.of.is_none()));
                    }
                    FileItem::End(end) => {
                        assert_eq!((at + 1, end.reach.lines), (count, at as u64), "all lines are before it");
                        assert!(end.rail.has_statement && !end.account.is_empty() && end.reach.from <= end.reach.until);
                    }
                }
            }
        }
        Err(ReconcileError::Malformed { report }) => every_line_has_a_place(&report, bytes),
        Err(other) => panic!("{other}"),
    }
}

/// The answer of a rail to a submission or a question: two bytes say which rail and which status, the rest is the body.
/// There is a word for each payout, and a definite one only where the body says exactly that of exactly this payout.
pub fn rail_answer(bytes: &[u8]) {
    let [rail, status, body @ ..] = bytes else { return };
    let (rail, count) = [("sandbox-payout", 1), ("sandbox-batch", 2), ("sandbox-lookup", 1), ("sandbox-file", 2)]
        [usize::from(rail % 4)];
    const STATUSES: [u16; 16] = [200, 201, 202, 400, 401, 402, 403, 404, 409, 410, 422, 429, 500, 502, 503, 204];
    let status = STATUSES[usize::from(status % 16)];
    let order = Order::new(count);
    let called = Told { order: &order, status, body, refuses_payments: count == 1 };
    match payfleet_rails::hostile::submitted(rail, &order.call(), status, body) {
        Answer::Each(outcomes) => {
            assert_eq!(outcomes.len(), order.instructions.len());
            outcomes.iter().enumerate().for_each(|(at, outcome)| called.justify(rail, at, outcome, false));
        }
        Answer::All(outcome) => called.justify(rail, 0, &outcome, false),
        Answer::Stopped(reason) => {
            assert_eq!((reason, status), (StopReason::CredentialRefused, 401));
            called.justify(rail, 0, &Outcome::NotExecuted, false);
        }
    }
    if matches!(rail, "sandbox-batch" | "sandbox-lookup") {
        let findings = payfleet_rails::hostile::looked_up(rail, &order.call(), status, body);
        assert_eq!(findings.len(), order.instructions.len());
        for (at, finding) in findings.iter().enumerate() {
            match finding {
                Finding::NotYet | Finding::Unanswered => {}
                Finding::NotFound => assert!(status == 404 && called.code() == Some("not_found".to_owned())),
                Finding::Known(Outcome::NotExecuted | Outcome::Unknown) => panic!("that is no finding"),
                Finding::Known(outcome) => called.justify(rail, at, outcome, true),
            }
        }
    }
}

struct Order {
    account: Account,
    batch_key: BatchKey,
    instructions: Vec<Instruction>,
}

impl Order {
    fn new(count: i64) -> Order {
        let instructions = (1..=count).map(|number| Instruction {
            key: format!("{}-0123456789abcdef", (1_i64 << 32) + number).parse().expect("a key's form"),
            amount: Money { minor: 1000 + number, currency: "EUR".parse().expect("a currency") },
            destination: "ann@example.com".to_owned(),
            payee: Payee::default(),
            reference: None,
        });
        Order {
            account: Account { name: "main".to_owned(), credential: Some(Credential::new("s3cret")) },
            batch_key: BatchKey::derive(Uuid::from_u128(7), PayoutId(1), PayoutId(count)),
            instructions: instructions.collect(),
        }
    }

    fn call(&self) -> Call<'_> {
        Call {
            account: &self.account,
            batch_key: &self.batch_key,
            instructions: &self.instructions,
            expires_at: datetime!(2026-01-02 03:04:05 UTC),
            going: Going::On,
            pace: Pace::Free,
        }
    }
}

/// What a rail said, read anew and without the adapters.
struct Told<'a> {
    order: &'a Order,
    status: u16,
    body: &'a [u8],
    refuses_payments: bool,
}

impl Told<'_> {
    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.body).expect("only JSON is believed")
    }

    fn code(&self) -> Option<String> {
        let said: serde_json::Value = serde_json::from_slice(self.body).ok()?;
        said["error"]["code"].as_str().map(str::to_owned)
    }

    fn justify(&self, rail: &str, at: usize, outcome: &Outcome, asked: bool) {
        match outcome {
            Outcome::Unknown => {}
            Outcome::NotExecuted => {
                let code = self.code().expect("a code");
                assert!(matches!((self.status, code.as_str()), (429, "rate_limited") | (409, "expired") | (401, _)));
            }
            Outcome::Refused(_) if !asked => {
                let code = self.code().expect("a code");
                assert!(
                    (self.status, code.as_str()) == (400, "invalid_item")
                        || self.status == 402 && self.refuses_payments
                );
            }
            // Everything else is a success, and one without an error in it.
            _ => {
                assert!(matches!(self.status, 200..=202), "{} {outcome:?}", self.status);
                let said = self.json();
                assert!(said.get("error").is_none_or(serde_json::Value::is_null), "{said}");
                match (rail, asked) {
                    ("sandbox-batch", false) => self.receipt(&said["batch_id"], outcome),
                    ("sandbox-file", _) => self.receipt(&said["receipt"], outcome),
                    ("sandbox-batch", true) => {
                        assert_eq!(said["sender_batch_id"], self.order.batch_key.as_str());
                        let key = self.order.instructions[at].key.as_str();
                        let items = said["items"].as_array().expect("items");
                        let item: Vec<_> = items.iter().filter(|item| item["key"] == key).collect();
                        let [item] = item[..] else { panic!("{} items for one payout", item.len()) };
                        self.item(at, item, outcome, &said["batch_id"]);
                    }
                    _ => self.item(at, &said, outcome, &serde_json::Value::Null),
                }
            }
        }
    }

    fn receipt(&self, reference: &serde_json::Value, outcome: &Outcome) {
        assert!(matches!(outcome, Outcome::Accepted(Reference(name)) if reference == name.as_str()), "{outcome:?}");
    }

    fn item(&self, at: usize, said: &serde_json::Value, outcome: &Outcome, batch: &serde_json::Value) {
        let asked = &self.order.instructions[at];
        assert_eq!(said["key"], asked.key.as_str());
        assert_eq!(said["amount_minor"], asked.amount.minor);
        assert_eq!(said["currency"], asked.amount.currency.code());
        let status = said["status"].as_str().expect("a status");
        let named = |Reference(name): &Reference| !name.is_empty() && said["id"] == name.as_str();
        match outcome {
            // Of several payments the one came back that it names; the payee has another.
            Outcome::Paid(reference) => {
                assert!(
                    named(reference) && (status == "paid" || status == "returned" && said["count"].as_u64() > Some(1))
                )
            }
            Outcome::Returned(reference) => {
                // Only what is asked for one payment counts its payments.
                let of_one = !batch.is_null() || said["count"].as_u64().unwrap_or(1) == 1;
                assert!(status == "returned" && named(reference) && of_one)
            }
            Outcome::Refused(_) => {
                assert!(status == "refused" && said["code"].as_str().is_some_and(|code| !code.is_empty()))
            }
            Outcome::Accepted(reference) => {
                assert!(
                    matches!(status, "pending" | "unclaimed") && (named(reference) || batch == reference.0.as_str())
                );
            }
            Outcome::ReturnedPart(..) => panic!("the sandbox gives back whole payments"),
            Outcome::NotExecuted | Outcome::Unknown => {}
        }
    }
}

/// The words that files, rails and people write: keys, amounts, periods and destinations. What is taken is written
/// again as it was, or stays as it is.
pub fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = text.parse::<PayoutKey>() {
        assert_eq!(key.as_str(), text);
        if let Ok(payout) = key.payout() {
            assert!(text.starts_with(&format!("{}-", payout.0)));
        }
    }
    if let Ok(period) = text.parse::<Period>() {
        assert_eq!(period.to_string(), text);
        assert!(period.cutoff().to_offset(time::UtcOffset::UTC).year() >= 0);
    }
    for code in ["EUR", "JPY", "KWD", "CLF"] {
        let currency: Currency = code.parse().expect("a currency");
        if let Ok(money) = currency.parse_amount(text) {
            assert_eq!(currency.parse_amount(&money.to_decimal().to_string()), Ok(money));
        }
    }
    for kind in DestinationKind::ALL {
        match kind.check(text) {
            Ok(destination) => {
                assert_eq!((destination.as_str(), destination.compared()), (text.trim(), &*kind.compared(text)));
                assert_eq!(kind.compared(destination.compared()), destination.compared());
                assert_eq!(kind.check(destination.as_str()), Ok(destination));
            }
            Err(wrong) => assert_eq!(visible(&wrong.to_string()), wrong.to_string(), "a message of which all is seen"),
        }
    }
    if let Ok(country) = Country::read(text) {
        assert_eq!(visible(&country.text), country.text);
    }
    assert!(RefusalCode::new(text).as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
}
