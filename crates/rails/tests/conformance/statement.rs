//! A statement is read to its proven end, or it is an error: a payment that is missing from it counts as not paid.

use futures_util::TryStreamExt;
use payfleet_domain::{Movement, StatementEnd, StatementLine};
use payfleet_rails::{Account, StatementError, StatementItem};
use time::macros::datetime;

use crate::Shape;
use crate::server::{Act, Server};

const FIRST: &str = concat!(
    r#"{"line":7,"key":"k1","reference":"po_1","amount_minor":5,"currency":"EUR","#,
    r#""destination":"ann@example.com","status":"paid","at":"2026-01-02T03:04:05.678Z"}"#
);
const SECOND: &str = concat!(
    r#"{"line":9,"key":"k1","reference":"rt_1","amount_minor":5,"fee_minor":2,"currency":"EUR","#,
    r#""destination":"ann@example.com","status":"returned","at":null,"of":"po_1"}"#
);

/// The last line of a statement of so many.
pub fn end(lines: usize) -> String {
    format!(
        "{{\"end\":true,\"from\":\"2026-01-02T00:00:00.000Z\",\"until\":\"2026-01-03T00:00:00Z\",\
         \"now\":\"2026-01-03T01:00:00Z\",\"lines\":{lines}}}"
    ) + "\n"
}

fn account() -> Account {
    Account { name: "main".to_owned(), credential: None }
}

/// The lines before the end, and how it ended. One that ends well says how far it reaches.
pub async fn read(shape: Shape, act: Act) -> (Vec<StatementLine>, Result<(), StatementError>) {
    let server = Server::with(act).await;
    let mut stream = match shape.adapter(&server.url).statement(&account(), datetime!(2026-01-02 0:00 UTC)).await {
        Ok(stream) => stream,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut lines = Vec::new();
    loop {
        match stream.try_next().await {
            Ok(Some(StatementItem::Line(line))) => lines.push(line),
            Ok(Some(StatementItem::End(end))) => {
                let reach = StatementEnd {
                    from: datetime!(2026-01-02 0:00 UTC),
                    until: datetime!(2026-01-03 0:00 UTC),
                    now: datetime!(2026-01-03 1:00 UTC),
                    open_from: None,
                    lines: lines.len() as u64,
                };
                assert_eq!(end, reach);
                match stream.try_next().await {
                    Ok(None) => return (lines, Ok(())),
                    Ok(Some(more)) => panic!("{more:?} after the end"),
                    Err(error) => return (lines, Err(error)),
                }
            }
            Ok(None) => panic!("a statement ends with its end or with an error"),
            Err(error) => {
                assert!(matches!(stream.try_next().await, Ok(None)), "a stream ends with its error");
                return (lines, Err(error));
            }
        }
    }
}

pub fn chunked(chunks: &[&str], end: &str) -> Act {
    let mut raw = "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for chunk in chunks {
        raw += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
    }
    Act::Raw((raw + end).into_bytes())
}

pub const END: &str = "0\r\n\r\n";

#[tokio::test]
async fn lines_come_as_they_are_wherever_they_are_cut() {
    let text = format!("{FIRST}\n{SECOND}\n{}", end(2));
    for cut in [0, 1, 60, FIRST.len(), FIRST.len() + 1, text.len() - 1, text.len()] {
        let (head, tail) = text.split_at(cut);
        let chunks: Vec<&str> = [head, tail].into_iter().filter(|chunk| !chunk.is_empty()).collect();
        let (lines, end) = read(Shape::PAYOUT, chunked(&chunks, END)).await;
        assert_eq!(end, Ok(()));
        let paid = StatementLine {
            key: "k1".to_owned(),
            reference: "po_1".to_owned(),
            amount_minor: 5,
            fee_minor: 0,
            currency: "EUR".to_owned(),
            destination: "ann@example.com".to_owned(),
            movement: Movement::Paid,
            at: Some(datetime!(2026-01-02 03:04:05.678 UTC)),
            of: None,
        };
        let returned = StatementLine {
            reference: "rt_1".to_owned(),
            fee_minor: 2,
            movement: Movement::Returned,
            at: None,
            of: Some("po_1".to_owned()),
            ..paid.clone()
        };
        assert_eq!(lines, [paid, returned]);
    }
}

#[tokio::test]
async fn every_shape_asks_for_its_own_statement() {
    for (shape, word) in
        [(Shape::PAYOUT, "payout"), (Shape::BATCH, "batch"), (Shape::LOOKUP, "lookup"), (Shape::FILE, "file")]
    {
        let server = Server::with(Act::Reply(200, end(0))).await;
        let stream = shape.adapter(&server.url).statement(&account(), datetime!(2026-01-02 0:00 UTC)).await.unwrap();
        let items: Vec<_> = stream.try_collect().await.unwrap();
        assert!(matches!(items[..], [StatementItem::End(_)]), "{items:?}");
        let [request] = &server.seen()[..] else { panic!("one request") };
        assert_eq!(request.line, format!("GET /statement?shape={word}&from=2026-01-02T00%3A00%3A00Z HTTP/1.1"));
        assert_eq!(request.header("x-account"), Some("main"));
    }
}

#[tokio::test]
async fn a_statement_cut_short_is_an_error_after_what_came_before() {
    let line = format!("{FIRST}\n");
    let longer = format!("HTTP/1.1 200 X\r\ncontent-length: 10000\r\n\r\n{line}");
    let half = &SECOND[..40];
    for (case, act) in [
        ("no last chunk", chunked(&[&line], "")),
        ("in the middle of a chunk", chunked(&[&line], "ff\r\n{")),
        ("less than announced", Act::Raw(longer.into_bytes())),
        ("half a line", chunked(&[&line, half], END)),
        ("a line without its end", chunked(&[&line, SECOND], END)),
        ("between two lines", chunked(&[&line], END)),
        ("a line is missing", chunked(&[&line, &end(2)], END)),
        ("a line too many", chunked(&[&line, &end(0)], END)),
        ("half an end", chunked(&[&line, end(1).trim_end()], END)),
    ] {
        let (lines, end) = read(Shape::BATCH, act).await;
        assert_eq!(lines.len(), 1, "{case}");
        assert!(matches!(end, Err(StatementError::BrokeOff { lines: 1, .. })), "{case}: {end:?}");
    }
    // Here a lost connection could not be told from the end.
    let unframed = Act::Raw(format!("HTTP/1.1 200 X\r\n\r\n{line}").into_bytes());
    let (lines, end) = read(Shape::BATCH, unframed).await;
    assert!(lines.is_empty() && matches!(end, Err(StatementError::Unreachable { .. })), "{end:?}");
}

#[tokio::test]
async fn a_line_that_cannot_be_read_stops_the_reading() {
    for (case, bad) in [
        ("no JSON", "ann@example.com".to_owned()),
        ("empty", String::new()),
        ("a status without a meaning", SECOND.replace("returned", "fee")),
        ("an amount in quotes", SECOND.replace(":5,", ":\"5\",")),
        ("an amount with decimals", SECOND.replace(":5,", ":5.5,")),
        ("no reference", SECOND.replace("reference", "ref")),
        ("the same number", SECOND.replace(":9,", ":7,")),
        ("a lower number", SECOND.replace(":9,", ":6,")),
        ("an instant that is none", SECOND.replace("null", "\"yesterday\"")),
        ("longer than any line", SECOND.replace("k1", &"k".repeat(70_000))),
        ("an amount below nothing", SECOND.replace(":5,", ":-5,")),
        ("an amount of nothing", SECOND.replace(":5,", ":0,")),
        ("a fee below nothing", SECOND.replace(":2,", ":-2,")),
        ("a fee of a payment", SECOND.replace("returned", "paid").replace("\"of\":\"po_1\"", "\"of\":null")),
        ("a payment of a payment", SECOND.replace("returned", "paid").replace(":2,", ":0,")),
        ("an end that is none", end(1).trim_end().replace("true", "false")),
        ("an end without its reach", end(1).trim_end().replace("until", "till")),
        ("an end in the future", end(1).trim_end().replace("03T00", "03T02")),
        ("a later beginning than asked", end(1).trim_end().replace("02T00:00:00.000Z", "02T00:00:00.001Z")),
        ("lines after the end", end(1).trim_end().to_owned() + "\n" + SECOND),
    ] {
        let text = format!("{FIRST}\n{bad}\n{SECOND}\n{}", end(3));
        let (lines, end) = read(Shape::FILE, chunked(&[&text], END)).await;
        assert_eq!(lines.len(), 1, "{case}");
        let Err(error @ StatementError::Unreadable { line: 2, .. }) = end else { panic!("{case}: {end:?}") };
        assert!(!error.to_string().contains("example"), "{error}");
    }
    let endless = Act::Endless(
        b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat(),
        std::time::Duration::ZERO,
    );
    let (lines, end) = read(Shape::FILE, endless).await;
    assert!(lines.is_empty() && matches!(end, Err(StatementError::Unreadable { line: 1, .. })), "{end:?}");
}

#[tokio::test]
async fn no_statement_is_an_error_and_not_an_empty_one() {
    for status in [204, 307, 401, 404, 429, 500, 503] {
        let (_, end) = read(Shape::LOOKUP, Act::Reply(status, String::new())).await;
        let expected = StatementError::Denied { rail: "sandbox-lookup", account: "main".to_owned(), status };
        assert_eq!(end, Err(expected));
    }
    for act in [Act::DropUnread, Act::DropRead] {
        let (_, end) = read(Shape::LOOKUP, act).await;
        assert!(matches!(end, Err(StatementError::Unreachable { .. })), "{end:?}");
    }
}
