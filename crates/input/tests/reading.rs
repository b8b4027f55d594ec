//! Files as they come, read to their end.

#![allow(clippy::unwrap_used)]

use payfleet_input::{AFFILIATES, COMMISSIONS, FileKind, How, Mapping, OpenError, Problems, RowError, Rows, Source};

/// What is read of a file: its rows, each with its line and the texts of its columns, or the report.
fn read(source: Source, kind: &'static FileKind, how: &How) -> Result<Vec<(u64, String)>, String> {
    let report = |problems: Problems| problems.report("F", "nothing");
    let mut rows = Rows::open(source, kind, how).map_err(|error| match error {
        OpenError::Problems(problems) => report(problems),
        OpenError::Mapping(wrong) => wrong.to_string(),
        OpenError::Io(error) => panic!("{error}"),
    })?;
    let (mut found, mut problems) = (Vec::new(), Problems::default());
    loop {
        match rows.next() {
            Ok(None) if problems.is_empty() => return Ok(found),
            Ok(None) => return Err(report(problems)),
            Ok(Some(row)) => {
                let texts = (0..kind.columns.len()).filter_map(|column| row.get(column));
                found.push((row.line, texts.collect::<Vec<_>>().join("/")));
            }
            Err(RowError::Io(error)) => panic!("{error}"),
            Err(RowError::Wrong { faults, is_fatal }) => {
                problems.add_all(faults);
                if is_fatal {
                    return Err(report(problems));
                }
            }
        }
    }
}

fn ours(text: impl Into<Vec<u8>>) -> Result<Vec<(u64, String)>, String> {
    read(Source::of("F", text.into()), &COMMISSIONS, &How::default())
}

fn mapped(map: &str, set: &[(&str, &str)], text: &str) -> Result<Vec<(u64, String)>, String> {
    let map = Mapping::parse("m.toml", map).map_err(|wrong| wrong.to_string())?;
    let set = set.iter().map(|(column, value)| ((*column).to_owned(), (*value).to_owned())).collect();
    let how = How { map: Some(map), set, ..How::default() };
    read(Source::of("F", text.into()), &COMMISSIONS, &how)
}

const HEADER: &str = "commission_id,affiliate_id,order_ref,amount,currency,earned_at,kind";

#[test]
fn what_spreadsheets_add_is_passed_over_and_what_they_lose_is_not() {
    let rows = |text: &str| ours(text.replace("HEADER", HEADER));
    assert_eq!(rows("HEADER\n1,2,3,4,5,6,7\n"), Ok(vec![(2, "1/2/3/4/5/6/7".to_owned())]));
    assert_eq!(
        rows("\nHEADER,,\n,,,,,,,,\n\"\", ,,,,,,,\n1,2,3,4,5,6,7,,\n"),
        Ok(vec![(5, "1/2/3/4/5/6/7".to_owned())])
    );
    assert_eq!(rows("sep=,\nHEADER\n1,2,3,4,5,6,7\n"), Ok(vec![(3, "1/2/3/4/5/6/7".to_owned())]));
    assert_eq!(ours(format!("\"sep=;\";;\n{}\n", HEADER.replace(',', ";"))), Ok(vec![]));
    let nameless = rows("HEADER,\n1,2,3,4,5,6,7,8\n").unwrap_err();
    assert!(nameless.starts_with("F:2:field 8: `8` stands in a column that the header has no name for"), "{nameless}");
    // A letter that an earlier conversion lost.
    let lost = rows("HEADER\n1,J\u{fffd}rgen,3,4,5,6,7\n").unwrap_err();
    assert!(lost.starts_with("F:2:affiliate_id: `J<U+FFFD>rgen` has a letter that was lost"), "{lost}");
    let broken: Vec<u8> = format!("{HEADER}\n1,2").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let broken = ours([&broken[..], b"\0\xd8,\0,\0,\0,\0,\0\n\0"].concat()).unwrap_err();
    assert!(broken.contains("is not UTF-16"), "{broken}");
    // `sep=` of another kind is not obeyed where a delimiter was said.
    let how = How { delimiter: Some(b','), ..How::default() };
    assert!(read(Source::of("F", format!("sep=;\n{HEADER}\n").into_bytes()), &COMMISSIONS, &how).is_ok());
}

#[test]
fn a_pipe_is_judged_by_its_beginning_and_a_file_by_all_of_it() {
    let row = b"1,2,3,4,5,6,7\n".to_vec();
    let begin = |row: &[u8]| [format!("{HEADER}\n").as_bytes(), row, &b"1,2,3,4,5,6,7\n".repeat(30_000)].concat();
    let pipe = |bytes: Vec<u8>| read(Source::pipe("F", std::io::Cursor::new(bytes)), &COMMISSIONS, &How::default());
    let windows = b"1,J\xfcrgen,3,4,5,6,7\n";
    let late = [begin(&row), windows.to_vec()].concat();
    assert!(ours(late.clone()).is_ok_and(|rows| rows.last().unwrap().1.contains("Jürgen")));
    let wrong = pipe(late).unwrap_err();
    assert!(
        wrong.starts_with("F:30003:affiliate_id: ") && wrong.contains("name the file instead of a pipe"),
        "{wrong}"
    );
    // The other way round it would be read as something else than it is.
    let letters = [begin(windows), "1,ü,3,4,5,6,7\n".into()].concat();
    let wrong = pipe(letters.clone()).unwrap_err();
    assert!(wrong.contains(":file: the input is UTF-8 from here on, and its beginning is not"), "{wrong}");
    assert!(ours(letters).unwrap_err().contains("some letters are UTF-8 and this one is not"));
    assert!(pipe(begin(windows)).is_ok());
    // What fits into the beginning is known like a file.
    let short = [format!("{HEADER}\n").as_bytes(), &row, windows].concat();
    assert_eq!(pipe(short.clone()), ours(short));
}

#[test]
fn a_file_that_is_in_the_way_of_its_options_is_told_so() {
    let set = |column: &str, value: &str| How { set: vec![(column.to_owned(), value.to_owned())], ..How::default() };
    let header = "affiliate_id,name,email,country,method,destination";
    let rows =
        |header: &str, how| read(Source::of("F", format!("{header}\n1,2,3,4,5,6\n").into_bytes()), &AFFILIATES, &how);
    assert_eq!(rows(header, set("currency", "EUR")), Ok(vec![(2, "1/2/3/4/EUR/5/6".to_owned())]));
    assert!(rows(header, How::default()).unwrap_err().starts_with("F:1:currency: the column is missing"));
    // A misspelt column must not be ignored because another one was set.
    assert!(
        rows(&header.replace("email", "emial"), set("currency", "EUR"))
            .unwrap_err()
            .contains("perhaps `email` misspelt")
    );
    assert!(rows(header, set("email", "x")).unwrap_err().contains("the file has the column, and --set says it too"));
    assert!(
        rows(header, set("mail", "x"))
            .unwrap_err()
            .contains("--set mail: no column of a file of affiliates, perhaps `email`")
    );
}

const MAP: &str = "decimal = \",\"\n\
                   strip = [\"€\"]\n\
                   [commissions.columns]\n\
                   commission_id = [\"Id\", \"Number\"]\n\
                   affiliate_id = \"Who\"\n\
                   amount = \"Sum\"\n\
                   currency = { constant = \"EUR\" }\nearned_at = \"When\"\n";

#[test]
fn a_mapping_says_what_is_a_sale_and_what_is_not() {
    let row = |amount: &str, state: &str| {
        mapped(
            &format!(
                "{MAP}[[commissions.status]]\n\
                 column = \"State\"\n\
                 import = [\"ok\"]\n\
                 left_out = [\"wait\"]\n\
                 reversed = [\"back\"]\n\
                 clawback = [\"fee\"]\n"
            ),
            &[],
            &format!(
                "A report;;;;;\n\
                 of May\n\
                 Number;Who;Sum;When;State;Note\n\
                 7;x;{amount};2026-01-01T00:00:00Z; {state} ;\"any\n\
                 thing\"\n"
            ),
        )
    };
    let sale = |amount: &str, kind: &str| Ok(vec![(4, format!("7/x/{amount}/EUR/2026-01-01T00:00:00Z/{kind}"))]);
    assert_eq!(row("5,50 €", "OK"), sale("5.50", "sale"));
    assert_eq!(row("€ 5,50", "fee"), sale("-5.50", "clawback"));
    assert_eq!(row("-5,50", "fee"), sale("-5.50", "clawback"));
    assert_eq!(row("what", "wait"), Ok(vec![]), "of what is left out nobody cares");
    let both = vec![
        (4, "7/x/5.50/EUR/2026-01-01T00:00:00Z/sale".to_owned()),
        (4, "7/reversed/x/-5.50/EUR/2026-01-01T00:00:00Z/clawback".to_owned()),
    ];
    assert_eq!(row("5,50", "back"), Ok(both.clone()));
    assert_eq!(row("-5,50", "back"), Ok(both));
    for (amount, state, expected) in [
        ("0,00", "back", "F:4:Sum: `0.00` is what is left of a sale that was reversed, and not what it was"),
        (
            "-5,50",
            "ok",
            "F:4:Sum: `-5.50` is below zero; if that is a clawback, say negative = \"clawback\" in the mapping m.toml",
        ),
        ("5.50", "ok", "F:4:Sum: `5.50` has a point, and the decimal mark is a comma"),
        ("5,50", "", "F:4:State: `` is a word that the mapping does not know; it knows ok, wait, back, fee; add it"),
    ] {
        let wrong = row(amount, state).unwrap_err();
        assert!(wrong.starts_with(expected), "{wrong}");
    }
}

#[test]
fn a_mapping_leaves_nothing_to_chance() {
    let text = "Id;Who;Sum;When\n7;x;5;2026-01-01T00:00:00Z\n8;x;-1;2026-01-01T00:00:00Z\n9;x;0;2026-01-01T00:00:00Z\n";
    let rest = "[commissions]\nnegative = \"clawback\"\nzero = \"left_out\"\n";
    let with = |section: &str| {
        mapped(&MAP.replace("[commissions.columns]", &format!("{section}[commissions.columns]")), &[], text)
    };
    let lines = with(rest).unwrap().into_iter().map(|(_, row)| row.rsplit('/').next().unwrap().to_owned());
    assert_eq!(lines.collect::<Vec<_>>(), ["sale", "clawback"]);
    // Cents that would be taken for units, where the system always writes decimals.
    let cents = with(&format!("{rest}whole = \"error\"\n")).unwrap_err();
    assert!(
        cents.contains("F:2:Sum: `5` has no decimals, and this system always writes them: perhaps it is in cents"),
        "{cents}"
    );
    // What is set counts before what is mapped.
    let set = mapped(MAP, &[("currency", "USD"), ("kind", "sale")], "Id;Who;Sum;When\n7;x;5;t\n").unwrap();
    assert_eq!(set, [(2, "7/x/5/USD/t/sale".to_owned())]);
    let own = mapped(MAP, &[], &format!("{HEADER}\n1,2,3,4,5,6,7\n")).unwrap_err();
    assert!(own.starts_with("F:1:header: the file has our own columns; leave out --map"), "{own}");
    let twice = mapped(MAP, &[], "Id;Who;Sum;When;sum\n").unwrap_err();
    assert!(twice.starts_with("F:1:Sum: the column is there twice, and the mapping reads it"), "{twice}");
    let spread = mapped("decimal = \",\"\n", &[], &format!("{},note\n", HEADER.replace("kind", "knid"))).unwrap_err();
    assert!(
        spread.contains("F:1:note: an unknown column") && spread.contains("F:1:kind: the column is missing"),
        "{spread}"
    );
}
