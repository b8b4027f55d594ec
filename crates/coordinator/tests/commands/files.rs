//! Files as people have them: what spreadsheets write, what other systems export, and that an advice which is followed
//! helps.

use std::collections::BTreeMap;

use crate::harness::{AFFILIATES, COMMISSIONS, Done, Place};

fn import(place: &Place, kind: &str, file: &str, content: impl AsRef<[u8]>, more: &[&str]) -> Done {
    place.file(file, content);
    place.run(&[&["import", kind, "--tenant", "acme", file], more].concat())
}

fn utf_16(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A row with an umlaut, as Windows-1252.
fn windows(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

#[test]
fn whatever_a_spreadsheet_writes_is_recognised_and_said() {
    let place = Place::new();
    let text = format!("{AFFILIATES}B1,Jürgen,b@example.org,DE,EUR,paypal,b@example.org\n").replace('\n', "\r\n");
    let semicolons = text.replace(',', ";");
    let tabs = text.replace(',', "\t");
    let loose = format!(
        "sep=;\r\n{}\r\n;;;;;;;\r\nB1;Jürgen;b@example.org;DE;EUR;paypal;b@example.org;\r\n;;;;;;;\r\n",
        " Affiliate_ID ;NAME;email;COUNTRY;Currency;method;\"destination\";"
    );
    let bom = format!("\u{feff}{text}");
    let (bars, macintosh) = (text.replace(',', "|"), text.replace("\r\n", "\r"));
    let files: [(&[u8], &str); 8] = [
        (bom.as_bytes(), "UTF-8 with a byte order mark, separated by commas"),
        (&windows(&text), "Windows-1252, separated by commas"),
        (&windows(&semicolons), "Windows-1252, separated by semicolons"),
        (&utf_16(&tabs), "UTF-16, separated by tabs"),
        (&utf_16(&semicolons), "UTF-16, separated by semicolons"),
        (bars.as_bytes(), "UTF-8, separated by vertical bars"),
        (loose.as_bytes(), "UTF-8, separated by semicolons"),
        (macintosh.as_bytes(), "UTF-8 with the line ends of an old Macintosh, separated by commas"),
    ];
    for (content, read_as) in files {
        let done = import(&place, "affiliates", "f.csv", content, &["--json"]);
        assert_eq!(done.err, format!("f.csv: read as {read_as}\n"));
        let answer = done.json();
        assert_eq!((&answer["rows"], &answer["read_as"]), (&1.into(), &read_as.into()));
        assert_eq!(place.texts("SELECT external_id, name FROM affiliate"), ["(B1,Jürgen)"], "{read_as}");
    }
    // The same through a pipe, which cannot be looked at twice; and nothing is said of what is usual.
    place.file("f.csv", windows(&semicolons));
    let shell = format!("'{}' import affiliates --tenant acme - < f.csv", env!("CARGO_BIN_EXE_payfleet-coordinator"));
    let mut command = place.command(&[]);
    let envs: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    command = std::process::Command::new("sh");
    command.args(["-c", &shell]).current_dir(place.dir.path());
    command.envs(envs.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let piped = command.output().unwrap();
    assert_eq!(String::from_utf8(piped.stderr).unwrap(), "stdin: read as Windows-1252, separated by semicolons\n");
    let plain = import(&place, "affiliates", "f.csv", text.as_bytes(), &[]);
    assert_eq!((plain.err.as_str(), plain.code), ("", 0));
}

#[test]
fn what_is_no_table_or_another_one_is_named_with_the_way_out() {
    let place = Place::with_affiliates();
    let affiliates = format!("{AFFILIATES}b1,N,e,NL,EUR,paypal,x@example.com\n");
    let commissions = format!("{COMMISSIONS}c1,a1,o1,10.00,EUR,2011-11-01T00:00:00Z,sale\n");
    let statement = "key,reference,amount_minor,currency,destination,status,at\nk,r,1,EUR,d,paid,\n";
    let mixed =
        [COMMISSIONS.as_bytes(), "c1,a1,ü,1,EUR,2011-11-01T00:00:00Z,sale\n".as_bytes(), b"c2,a1,J\xfc,1"].concat();
    let cases: [(&str, &[u8], &str); 13] = [
        (
            "commissions",
            b"PK\x03\x04\x14\0\x06\0[Content_Types].xml",
            "1:file: the file is an Excel workbook (.xlsx); open it, and save the sheet as `CSV UTF-8`",
        ),
        (
            "affiliates",
            b"\x1f\x8b\x08",
            "1:file: the file is a gzip archive; unpack it (`gunzip FILE`), and hand in what is in it",
        ),
        (
            "commissions",
            b"%PDF-1.4\n",
            "1:file: the file is a PDF; no amounts are read from a printed page: export the data as CSV",
        ),
        (
            "commissions",
            b"<!DOCTYPE html>\n<html>",
            "1:file: the file is a web page, perhaps one that asks to log in; download the export again, as CSV",
        ),
        ("commissions", b"[{\"id\": 1}]", "1:file: the file is JSON; export the data as CSV"),
        (
            "commissions",
            b"\n\r\n  \n",
            "1:file: the file is empty; it begins with a header: \
             commission_id,affiliate_id,order_ref,amount,currency,earned_at,kind",
        ),
        (
            "affiliates",
            commissions.as_bytes(),
            "1:header: the file is a file of commissions, and this takes a file of affiliates; \
             import it with `payfleet-coordinator import commissions`",
        ),
        (
            "commissions",
            affiliates.as_bytes(),
            "1:header: the file is a file of affiliates, and this takes a file of commissions; \
             import it with `payfleet-coordinator import affiliates`",
        ),
        (
            "commissions",
            statement.as_bytes(),
            "1:header: the file is a statement, and this takes a file of commissions; \
             hand it in with `payfleet-reconciler run RUN --statement FILE`",
        ),
        (
            "commissions",
            b"c1,a1,o1,10.00,EUR,2011-11-01T00:00:00Z,sale\n",
            "1:header: the file has no header: its first line is `c1,a1,o1,10.00,EUR,2011-11-01T00:00:00Z,sale`, \
             a row; put this line before it: commission_id,affiliate_id,order_ref,amount,currency,earned_at,kind",
        ),
        (
            "commissions",
            b"id,publisher_id,extra,commission,date,commission_status\n",
            "1:header: the file is an export of Awin; say --map awin",
        ),
        (
            "commissions",
            b"commission_id,affiliate_id,order_ref,ammount,currency,earned_at,kind\n",
            "1:ammount: an unknown column, perhaps `amount` misspelt; the columns are commission_id, affiliate_id, \
             order_ref, amount, currency, earned_at, kind; remove or rename it\n\
             f.csv:1:amount: the column is missing; add it to the header and to every row",
        ),
        (
            "commissions",
            &mixed,
            "3:file: some letters are UTF-8 and this one is not: two files were put together, or one was damaged; \
             save it again as `CSV UTF-8`, or, if all of it is written so, say --encoding windows-1252",
        ),
    ];
    for (kind, content, message) in cases {
        let errors = 1 + message.matches("\nf.csv:").count();
        let errors = if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") };
        import(&place, kind, "f.csv", content, &[])
            .failed(65, &format!("f.csv:{message}\nnothing was imported: {errors}"));
    }
    assert_eq!(place.number("SELECT count(*) FROM commission"), 0);
}

#[test]
fn an_advice_that_is_followed_helps() {
    let place = Place::with_affiliates();
    let amounts = |rows: &[&str]| {
        let rows = rows.iter().enumerate();
        let rows: String =
            rows.map(|(n, amount)| format!("{amount}-{n};a1;o{n};{amount};EUR;2011-11-01T00:00:00Z;sale\n")).collect();
        format!("{}{rows}", COMMISSIONS.replace(',', ";"))
    };
    place.file("marks.toml", "decimal = \",\"\ngrouping = \".\"\n");
    place.file("thousands.toml", "grouping = \",\"\n");
    // The file, what the error advises, and what is done then.
    let cases: [(&str, &str, &[&str]); 4] = [
        ("1234,56", "`1234,56` has a decimal comma; say --decimal ,", &["--decimal", ","]),
        (
            "1.234,57",
            "say --decimal , and write `grouping = \".\"` in a mapping file (--map FILE.toml)",
            &["--map", "marks.toml"],
        ),
        (
            "1,234.58",
            "write `grouping = \",\"` in a mapping file (--map FILE.toml), or leave them out",
            &["--map", "thousands.toml"],
        ),
        (
            "1,234",
            "say --decimal , if it is decimal, else write `grouping = \",\"` in a mapping file",
            &["--map", "thousands.toml"],
        ),
    ];
    for (amount, advice, followed) in cases {
        let refused = import(&place, "commissions", "f.csv", amounts(&[amount]), &[]);
        assert!(refused.code == 65 && refused.err.contains(advice), "{}", refused.err);
        import(&place, "commissions", "f.csv", amounts(&[amount]), followed).ok();
    }
    let stored = place.texts("SELECT amount_minor FROM commission ORDER BY 1");
    assert_eq!(stored, ["(123400)", "(123456)", "(123457)", "(123458)"]);

    // How letters are written; a pipe is judged by its beginning, which is UTF-8 here.
    let row = |id: &str| format!("{id},a1,Jür,1,EUR,2011-11-01T00:00:00Z,sale\n");
    let mixed = [format!("{COMMISSIONS}{}", row("m1")).into_bytes(), windows(&row("m2"))].concat();
    let refused = import(&place, "commissions", "f.csv", &mixed, &[]);
    assert!(refused.err.contains("say --encoding windows-1252"), "{}", refused.err);
    import(&place, "commissions", "f.csv", &mixed, &["--encoding", "windows-1252"]).ok();
    let mut long = COMMISSIONS.to_owned();
    (0..8_000).for_each(|n| long.push_str(&row(&format!("p{n}")).replace('ü', "u")));
    let late = [long.into_bytes(), windows(&row("late"))].concat();
    place.file("late.csv", &late);
    let piped = |more: &str| {
        let program = env!("CARGO_BIN_EXE_payfleet-coordinator");
        let mut command = std::process::Command::new("sh");
        let import = format!("cat late.csv | '{program}' import commissions --tenant acme - {more}");
        command.args(["-c", &import]).current_dir(place.dir.path()).env("PAYFLEET_DATABASE_URL", &place.url);
        command.env("PAYFLEET_THIS_SERVER_MAY_LOSE_CONFIRMED_PAYMENTS", "yes, this is a test");
        let output = command.env("PAYFLEET_LOG", "error").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, err) = piped("");
    assert!(
        code == Some(65) && err.contains("stdin:8002:order_ref: ") && err.contains("name the file instead of a pipe"),
        "{err}"
    );
    assert_eq!(piped("--encoding windows-1252").0, Some(0));
    // Both ways out: now they are there already.
    let named = place.run(&["import", "commissions", "--tenant", "acme", "late.csv"]);
    assert_eq!(named.err, "late.csv: read as Windows-1252, separated by commas\n");
    assert_eq!(named.ok(), "commissions: 8001 rows, 0 new, 0 updated, 8001 unchanged\n");
    // And what the options say is what counts.
    let bars = format!("{COMMISSIONS}x1,a1,o;1,1.00,EUR,2011-11-01T00:00:00Z,sale\n").replace(',', "^");
    import(&place, "commissions", "f.csv", &bars, &["--delimiter", "^"]).ok();
    assert_eq!(place.texts("SELECT order_ref FROM commission WHERE external_id = 'x1'"), ["(o;1)"]);
    for wrong in [
        ["--encoding", "klingon"],
        ["--delimiter", "ab"],
        ["--decimal", ";"],
        ["--map", "awinn"],
        ["--set", "curency=EUR"],
    ] {
        assert_eq!(import(&place, "commissions", "f.csv", &bars, &wrong).code, 64, "{wrong:?}");
    }
}

#[test]
fn a_file_that_comes_to_something_else_is_refused() {
    let place = Place::with_affiliates();
    let rows = format!(
        "{COMMISSIONS}c1,a1,o1,10.00,EUR,2011-11-01T00:00:00Z,sale\nc2,a1,o2,7.50,EUR,2011-11-01T00:00:00Z,sale\n\
         c3,a1,o2,-2.50,EUR,2011-11-01T00:00:00Z,clawback\nc4,a2,o3,900,JPY,2011-11-01T00:00:00Z,sale\n"
    );
    let import = |more: &[&str]| import(&place, "commissions", "f.csv", &rows, more);
    let end = "look for what is missing or there twice, or correct the figure";
    import(&["--expect-rows", "5"]).failed(
        65,
        &format!(
            "f.csv:5:--expect-rows: 5 rows are expected, and the file has 4; {end}\nnothing was imported: 1 error"
        ),
    );
    import(&["--expect-rows", "3", "--expect-sum", "EUR=17.50", "--expect-sum", "USD=1.00"]).failed(
        65,
        &format!(
            "f.csv:5:--expect-rows: 3 rows are expected, and the file has 4; {end}\n\
             f.csv:5:--expect-sum: 17.50 EUR is expected, and the rows come to 15.00 EUR; {end}\n\
             f.csv:5:--expect-sum: 1.00 USD is expected, and the rows come to 0.00 USD; {end}\n\
             f.csv:5:--expect-sum: nothing in JPY is expected, and the rows come to 900 JPY; {end}\n\
             nothing was imported: 4 errors"
        ),
    );
    assert_eq!(place.number("SELECT count(*) FROM commission"), 0);
    import(&["--expect-rows", "4", "--expect-sum", "JPY=900", "--expect-sum", "EUR=15.00"]).ok();
    assert_eq!(import(&["--expect-sum", "EUR=1,50"]).code, 64);
}

/// A row of an export: the values in the order of the columns.
struct Export {
    preset: &'static str,
    set: &'static [&'static str],
    affiliates: &'static str,
    commissions: &'static str,
    /// What is stored: id, affiliate, order, minor units, kind, instant.
    stored: &'static [&'static str],
    left_out: &'static [(&'static str, u64)],
    reversed: u64,
}

/// Samples after the public documentation that the presets name.
const EXPORTS: [Export; 6] = [
    Export {
        preset: "awin",
        set: &["currency=GBP"],
        affiliates: "",
        commissions: "\"id\",\"publisher_id\",\"sale_amount\",\"commission\",\"date\",\"commission_status\",\
                      \"validation_date\",\"extra\",\"type\",\"site_name\"\n\
                      \"1501\",\"P1\",\"100.00\",\"8.00\",\"2026-01-31 23:30:00\",\"approved\",\"2026-02-10 10:00:00\",\
                      \"A-1\",\"Sale\",\"a, b & c\"\n\
                      \"1502\",\"P1\",\"50.00\",\"4.00\",\"2026-01-12 09:15:00\",\"pending\",\"\",\"A-2\",\"Sale\",\
                      \"blog\"\n\
                      \"1503\",\"P2\",\"50.00\",\"4.00\",\"2026-01-13 09:15:00\",\"declined\",\"2026-02-10 10:00:00\",\
                      \"A-3\",\"Sale\",\"blog\"\n\
                      \"1504\",\"P2\",\"0.00\",\"0.00\",\"2026-01-13 09:15:00\",\"1\",\"2026-02-10 10:00:00\",\"A-4\",\
                      \"Lead\",\"blog\"\n",
        stored: &[
            "(1501,P1,A-1,800,sale,\"2026-01-31 23:30:00+00\")",
            "(1503,P2,A-3,400,sale,\"2026-01-13 09:15:00+00\")",
            "(1503/reversed,P2,A-3,-400,clawback,\"2026-01-13 09:15:00+00\")",
        ],
        left_out: &[("amount 0", 1), ("commission_status pending", 1)],
        reversed: 1,
    },
    Export {
        preset: "cj",
        set: &["currency=USD"],
        affiliates: "",
        commissions: "actionStatus,commissionId,original,orderId,publisherId,publisherName,eventDate,postingDate,\
                      pubCommissionAmountUsd,correctionReason\n\
                      LOCKED,9001,true,C-1,P1,One,2026-01-05T08:00:00Z,2026-01-05T09:00:00Z,12.50,\n\
                      CLOSED,9002,false,C-1,P1,One,2026-01-05T08:00:00Z,2026-01-20T09:00:00Z,-12.50,\
                      RETURNED_MERCHANDISE\n\
                      NEW,9003,true,C-2,P2,Two,2026-01-06T08:00:00Z,2026-01-06T09:00:00Z,3.00,\n\
                      EXTENDED,9004,true,C-3,P2,Two,2026-01-06T08:00:00Z,2026-01-06T09:00:00Z,\"1,003.00\",\n",
        stored: &[
            "(9001,P1,C-1,1250,sale,\"2026-01-05 08:00:00+00\")",
            "(9002,P1,C-1,-1250,clawback,\"2026-01-05 08:00:00+00\")",
        ],
        left_out: &[
            ("actionStatus or Action Status or Status extended", 1),
            ("actionStatus or Action Status or Status new", 1),
        ],
        reversed: 0,
    },
    Export {
        preset: "impact",
        set: &[],
        affiliates: "",
        commissions: "Action Id,Partner Id,Partner,OID,Status,Sale Amount,Payout,Currency,Action Date,Locking Date\n\
                      10.20.30,P1,One,I-1,APPROVED,\"1,250.00\",\"$1,025.00\",USD,\"Jan 05, 2026 08:00\",2026-02-15\n\
                      10.20.31,P1,One,I-2,REVERSED,100.00,$10.00,USD,2026-01-06 08:00:00,2026-02-15\n\
                      10.20.32,P2,Two,I-3,PENDING,100.00,$10.00,USD,2026-01-06 08:00:00,2026-02-15\n",
        stored: &[
            "(10.20.30,P1,I-1,102500,sale,\"2026-01-05 08:00:00+00\")",
            "(10.20.31,P1,I-2,1000,sale,\"2026-01-06 08:00:00+00\")",
            "(10.20.31/reversed,P1,I-2,-1000,clawback,\"2026-01-06 08:00:00+00\")",
        ],
        left_out: &[("Status or Action Status or State pending", 1)],
        reversed: 1,
    },
    Export {
        preset: "post-affiliate-pro",
        set: &["currency=EUR"],
        affiliates: "[[AFFILIATES]]\n\
                     !USERID;!REFID;!DATEINSERTED;!DATEAPPROVED;!USERNAME;!FIRSTNAME;!LASTNAME;!RSTATUS\n\
                     P1;one;2025-01-01 10:00:00;2025-01-02 10:00:00;one@example.org;Ann;Bee;A\n\
                     P2;two;2025-01-01 10:00:00;2025-01-02 10:00:00;two@example.org;;Cee;A\n\
                     P3;three;2025-01-01 10:00:00;;three@example.org;Dee;;P\n",
        commissions: "[[COMMISSIONS]]\n\
                      !TRANSID,!USERID,!RSTATUS,!RTYPE,!DATEINSERTED,!PAYOUTSTATUS,!COMMISSION,!ORDERID,!TOTALCOST,\
                      !MERCHANTNOTE\n\
                      t1,P1,A,S,2026-01-05 08:00:00,U,15,ORDER_1,100,\"paid\nlater\"\n\
                      t2,P1,A,R,2026-01-06 08:00:00,U,-15,ORDER_1,-100,\n\
                      t3,P2,A,H,2026-01-06 08:00:00,U,2.50,ORDER_2,-100,\n\
                      t4,P2,P,S,2026-01-06 08:00:00,U,10,ORDER_3,80,\n\
                      t5,P2,D,S,2026-01-06 08:00:00,U,5,ORDER_4,70,\n\
                      t6,P2,A,S,2026-01-06 08:00:00,P,5,ORDER_5,70,\n\
                      t7,P2,D,S,2026-01-06 08:00:00,P,9,ORDER_6,70,\n\
                      t8,P2,D,R,2026-01-06 08:00:00,U,-3,ORDER_2,-100,\n",
        stored: &[
            "(t1,P1,ORDER_1,1500,sale,\"2026-01-05 08:00:00+00\")",
            "(t2,P1,ORDER_1,-1500,clawback,\"2026-01-06 08:00:00+00\")",
            "(t3,P2,ORDER_2,-250,clawback,\"2026-01-06 08:00:00+00\")",
            "(t5,P2,ORDER_4,500,sale,\"2026-01-06 08:00:00+00\")",
            "(t5/reversed,P2,ORDER_4,-500,clawback,\"2026-01-06 08:00:00+00\")",
            // A refund that is none any more: nothing was taken from anybody.
            "(t8,P2,ORDER_2,-300,clawback,\"2026-01-06 08:00:00+00\")",
            "(t8/reversed,P2,ORDER_2,300,sale,\"2026-01-06 08:00:00+00\")",
        ],
        // What it had paid before it was ever imported is nobody's business here, declined or not.
        left_out: &[
            ("!PAYOUTSTATUS P", 1),
            ("!RSTATUS P", 1),
            ("reversed, and not imported before it was to be left out", 1),
        ],
        reversed: 2,
    },
    Export {
        preset: "rewardful",
        set: &[],
        affiliates: "id,created_at,state,first_name,last_name,email,paypal_email\n\
                     P1,2025-01-01,active,Ann,Bee,one@example.org,pay@example.org\n\
                     P2,2025-01-01,active,Cee,,two@example.org,\n",
        commissions: "id,created_at,amount,currency,state,due_at,paid_at,voided_at,affiliate_id,sale_id\n\
                      39e68c88,2026-01-19T16:28:31.164Z,30.00,USD,due,2026-02-18T16:28:25.000Z,,,P1,s1\n\
                      39e68c89,2026-01-20T16:28:31.164Z,20.00,USD,voided,2026-02-18T16:28:25.000Z,,\
                      2026-01-25T16:28:25.000Z,P1,s2\n\
                      39e68c90,2026-01-20T16:28:31.164Z,20.00,USD,paid,2026-02-18T16:28:25.000Z,\
                      2026-02-18T16:28:25.000Z,,P2,s3\n\
                      39e68c91,2026-01-20T16:28:31.164Z,20.00,USD,pending,,,,P2,s4\n",
        stored: &[
            "(39e68c88,P1,s1,3000,sale,\"2026-01-19 16:28:31.164+00\")",
            "(39e68c89,P1,s2,2000,sale,\"2026-01-20 16:28:31.164+00\")",
            "(39e68c89/reversed,P1,s2,-2000,clawback,\"2026-01-20 16:28:31.164+00\")",
        ],
        left_out: &[("state or Status paid", 1), ("state or Status pending", 1)],
        reversed: 1,
    },
    Export {
        preset: "tapfiliate",
        set: &[],
        affiliates: "id,firstname,lastname,email\nP1,Ann,Bee,one@example.org\nP2,Cee,Dee,two@example.org\n",
        commissions: "external_id,amount,created_at,affiliate_id,affiliate_email,program,currency,commission_amount,\
                      commission_status\n\
                      ORD1,100,2026-01-05T08:00:00+0100,P1,one@example.org,main,EUR,10.00,approved\n\
                      ORD2,100,2026-01-05T08:00:00+0100,P2,two@example.org,main,EUR,10.00,disapproved\n\
                      ORD3,100,2026-01-05T08:00:00+0100,P2,two@example.org,main,EUR,10.00,pending\n",
        stored: &[
            "(ORD1,P1,ORD1,1000,sale,\"2026-01-05 07:00:00+00\")",
            "(ORD2,P2,ORD2,1000,sale,\"2026-01-05 07:00:00+00\")",
            "(ORD2/reversed,P2,ORD2,-1000,clawback,\"2026-01-05 07:00:00+00\")",
        ],
        left_out: &[("commission_status pending", 1)],
        reversed: 1,
    },
];

#[test]
fn exports_of_other_systems_are_imported_by_their_presets() {
    let place = Place::new();
    for export in &EXPORTS {
        let Export { preset, set, .. } = export;
        let set: Vec<&str> = set.iter().flat_map(|value| ["--set", value]).collect();
        let import = |kind: &str, content: &str, more: &[&str]| {
            place.file("f.csv", content);
            place.run(&[&["import", kind, "--tenant", preset, "f.csv", "--json"], more].concat())
        };
        let theirs = |kind, content| import(kind, content, &[&["--map", preset], &set[..]].concat());
        match export.affiliates {
            "" => {
                let rows = ["P1", "P2"].map(|id| format!("{id},Name,,,EUR,,\n"));
                import("affiliates", &format!("{AFFILIATES}{}", rows.concat()), &[]).ok();
            }
            // What such an export does not have is said for every row.
            affiliates if *preset == "post-affiliate-pro" => {
                let answer = theirs("affiliates", affiliates).json();
                assert_eq!((&answer["rows"], &answer["left_out"]["!RSTATUS P"]), (&2.into(), &1.into()));
            }
            affiliates => {
                place.file("f.csv", affiliates);
                let map = ["--map", preset, "--set", "currency=EUR"];
                let refused = import("affiliates", affiliates, &map[..2]);
                assert!(refused.code == 64 && refused.err.contains("such as --set currency=EUR"), "{}", refused.err);
                assert_eq!(import("affiliates", affiliates, &map).json()["rows"], 2);
            }
        }
        for is_again in [false, true] {
            let answer = theirs("commissions", export.commissions).json();
            let new = if is_again { 0 } else { export.stored.len() };
            assert_eq!((&answer["new"], &answer["reversed"]), (&new.into(), &export.reversed.into()), "{preset}");
            let left_out: BTreeMap<&str, u64> = export.left_out.iter().copied().collect();
            assert_eq!(answer["left_out"], serde_json::json!(left_out), "{preset}");
        }
        let stored = format!(
            "SELECT c.external_id, a.external_id, c.order_ref, c.amount_minor, c.kind, c.earned_at FROM commission c
               JOIN affiliate a ON a.tenant_id = c.tenant_id AND a.id = c.affiliate_id
               JOIN tenant t ON t.id = c.tenant_id
              WHERE t.name = '{preset}' ORDER BY 1"
        );
        assert_eq!(place.texts(&stored), export.stored, "{preset}");
        let known = export
            .commissions
            .replace("pending", "mislaid")
            .replace("PENDING", "mislaid")
            .replace("NEW", "mislaid")
            .replace(",P,S,", ",mislaid,S,");
        let unknown = theirs("commissions", &known);
        assert!(
            unknown.code == 65 && unknown.err.contains("`mislaid` is a word that the mapping does not know; it knows "),
            "{}",
            unknown.err
        );
    }
    let name: Vec<String> =
        place.texts("SELECT name, email FROM affiliate WHERE external_id = 'P1' AND name LIKE 'Ann%' ORDER BY 1");
    assert_eq!(name, ["(\"Ann Bee\",one@example.org)"; 3]);
    assert_eq!(place.texts("SELECT method, destination FROM payout_method"), ["(paypal,pay@example.org)"]);
    // For people: what was left out, and what was reversed.
    place.file("f.csv", EXPORTS[2].commissions);
    assert_eq!(
        place.run(&["import", "commissions", "--tenant", "impact", "--map", "impact", "f.csv"]).ok(),
        "commissions: 3 rows, 0 new, 0 updated, 3 unchanged\n\
         left out: 1 of the file's 3 rows: 1 of Status or Action Status or State pending\n\
         reversed: 1 commission, imported with what takes it back\n"
    );
}

/// A sale that was approved when it was imported, and is declined in the next export of the same month.
#[test]
fn what_is_declined_later_is_taken_back() {
    let place = Place::with_affiliates();
    // Of the second one's sale there is a refund besides.
    for (preset, approved, declined, sums) in [
        ("awin", "approved", "declined", ["(800)", "(0)"]),
        ("post-affiliate-pro", "t1,P1,A", "t1,P1,D", ["(0)", "(-1500)"]),
    ] {
        let export = EXPORTS.iter().find(|export| export.preset == preset).unwrap();
        let rows = ["P1", "P2"].map(|id| format!("{id},Name,,,EUR,,\n"));
        place.file("a.csv", format!("{AFFILIATES}{}", rows.concat()));
        place.run(&["import", "affiliates", "--tenant", preset, "a.csv"]).ok();
        let import = |content: &str| {
            place.file("f.csv", content);
            let map = ["import", "commissions", "--tenant", preset, "f.csv", "--map", preset, "--set", export.set[0]];
            place.run(&[&map[..], &["--json"]].concat()).json()
        };
        let due = format!(
            "SELECT sum(c.amount_minor)::text FROM commission c JOIN tenant t ON t.id = c.tenant_id
               JOIN affiliate a ON a.id = c.affiliate_id WHERE t.name = '{preset}' AND a.external_id = 'P1'"
        );
        import(export.commissions);
        assert_eq!(place.texts(&due), [sums[0]], "{preset}");
        let answer = import(&export.commissions.replace(approved, declined));
        assert!(answer["reversed"].as_u64() > Some(1), "{preset}: {answer}");
        assert_eq!(place.texts(&due), [sums[1]], "{preset}");
    }
}

/// A tenant with affiliates of these ids, and imports of it by a preset.
fn tenant(place: &Place, preset: &str, ids: &[&str], more: &[&str]) {
    let rows: String = ids.iter().map(|id| format!("{id},Name,,,EUR,paypal,{id}@example.org\n")).collect();
    place.file("a.csv", format!("{AFFILIATES}{rows}"));
    place.run(&[&["import", "affiliates", "--tenant", preset, "a.csv"], more].concat()).ok();
    place.run(&["rails", "set", "--tenant", preset, "--method", "paypal", "--rail", "sandbox-batch"]).ok();
}

fn theirs(place: &Place, preset: &str, content: &str, more: &[&str]) -> Done {
    place.file("f.csv", content);
    let map = ["import", "commissions", "--tenant", preset, "f.csv", "--map", preset, "--set", "currency=EUR"];
    place.run(&[&map[..], more].concat())
}

fn stored(place: &Place) -> Vec<String> {
    place.texts("SELECT external_id, amount_minor, due_at::date, late_for FROM commission ORDER BY external_id")
}

const PAP: &str = "!TRANSID,!USERID,!RSTATUS,!RTYPE,!DATEINSERTED,!PAYOUTSTATUS,!COMMISSION,!ORDERID\n";

/// Who was paid from here is often marked as paid there. What is declined after that is taken back all the same.
#[test]
fn what_is_marked_as_paid_there_and_declined_is_taken_back_if_it_was_imported() {
    let place = Place::new();
    let pap = "post-affiliate-pro";
    tenant(&place, pap, &["P1"], &[]);
    let row = |id: &str, status: &str, paid: &str| format!("{id},P1,{status},S,2026-01-05 08:00:00,{paid},95,{id}o\n");
    theirs(&place, pap, &format!("{PAP}{}", row("t1", "A", "U")), &[]).ok();
    let declined = format!("{PAP}{}{}", row("t1", "D", "P"), row("t2", "D", "P"));
    let told = theirs(&place, pap, &declined, &[]).ok();
    assert_eq!(
        told,
        "commissions: 2 rows, 1 new, 0 updated, 1 unchanged\n\
         left out: 1 of the file's 2 rows: 1 of reversed, and not imported before it was to be left out\n\
         reversed: 1 commission, imported with what takes it back\n"
    );
    let expected = ["(t1,9500,2026-01-05,)", "(t1/reversed,-9500,2026-01-05,)"];
    assert_eq!(stored(&place), expected);
    let again = theirs(&place, pap, &declined, &["--json"]).json();
    assert_eq!((&again["new"], &again["reversed"], &again["rows"]), (&0.into(), &1.into(), &2.into()));
    assert_eq!(stored(&place), expected);
    // Old ones that were never imported are looked at no further.
    let old = format!("{PAP}{}", row("t0", "D", "P").replace("2026-01", "2001-01"));
    assert_eq!(theirs(&place, pap, &old, &["--json"]).json()["rows"], 0);
}

/// The clawback of a sale that is approved again stands: nobody is paid for it, and that is said.
#[test]
fn what_is_approved_again_after_it_was_taken_back_is_told() {
    for (preset, approved, declined) in [
        ("awin", "1,P1,o1,8.00,2026-01-05,approved\n", "1,P1,o1,8.00,2026-01-05,declined\n"),
        ("post-affiliate-pro", "1,P1,A,S,2026-01-05,U,8,o1\n", "1,P1,D,S,2026-01-05,U,8,o1\n"),
        // A refund that counts again, too.
        ("post-affiliate-pro", "1,P1,A,R,2026-01-05,U,8,o1\n", "1,P1,D,R,2026-01-05,U,8,o1\n"),
    ] {
        let place = Place::new();
        tenant(&place, preset, &["P1"], &[]);
        let header = match preset {
            "awin" => "id,publisher_id,extra,commission,date,commission_status\n",
            _ => PAP,
        };
        let (approved, declined) = (format!("{header}{approved}"), format!("{header}{declined}"));
        theirs(&place, preset, &approved, &["--strict"]).ok();
        theirs(&place, preset, &approved, &["--strict"]).ok();
        let told = theirs(&place, preset, &declined, &["--strict"]).ok();
        assert!(!told.contains("look:"), "{told}");
        let before = stored(&place);
        let told = theirs(&place, preset, &approved, &[]).ok();
        assert!(
            told.contains(
                "look: 1 commission was taken back and is not reversed any more; it stays taken back: if it is to be \
                 paid, import it by a file of its own under another id\n  line 2: `1` and `1/reversed`, known before\n"
            ),
            "{told}"
        );
        let counts = theirs(&place, preset, &approved, &["--json"]).json()["suspicions"]["counts"].clone();
        assert_eq!(counts, serde_json::json!({ "reversed": 1 }));
        let refused = theirs(&place, preset, &approved, &["--strict"]);
        assert!(refused.code == 65 && refused.err.contains("`1` and `1/reversed`"), "{}", refused.err);
        assert_eq!(stored(&place), before);
    }
}

/// Without an order nothing but the id tells which sale a clawback is of.
#[test]
fn what_takes_a_sale_back_is_due_with_it_whatever_its_order() {
    const AWIN: &str = "id,publisher_id,extra,commission,date,commission_status\n";
    let place = Place::new();
    tenant(&place, "awin", &["P1", "P2"], &["--hold-days", "30"]);
    let good = "1,P1,,100.00,2025-12-20,approved\n";
    let both = "2,P1,,95.00,2026-01-20,declined\n";
    // Of one order, two sales, of which the later one is declined.
    let orders = "3,P2,o,10.00,2026-01-05,approved\n4,P2,o,20.00,2026-01-20,declined\n";
    theirs(&place, "awin", &format!("{AWIN}{good}{both}{orders}"), &[]).ok();
    let due = [
        "(1,10000,2026-01-19,)",
        "(2,9500,2026-02-19,)",
        "(2/reversed,-9500,2026-02-19,)",
        "(3,1000,2026-02-04,)",
        "(4,2000,2026-02-19,)",
        "(4/reversed,-2000,2026-02-19,)",
    ];
    assert_eq!(stored(&place), due);
    let list = place.run(&["run", "--tenant", "awin", "--period", "2026-01", "--dry-run", "--json"]).json();
    assert!(list.to_string().contains("10000") || list.to_string().contains("100.00"), "{list}");
    // What comes later of the same order moves neither; and what a run has counted is taken back at once.
    theirs(&place, "awin", &format!("{AWIN}5,P2,o,5.00,2026-01-10,approved\n"), &[]).ok();
    assert_eq!(stored(&place)[5..6], ["(4/reversed,-2000,2026-02-19,)".to_owned()]);
    place.run(&["run", "--tenant", "awin", "--period", "2026-01"]).ok();
    theirs(&place, "awin", &format!("{AWIN}1,P1,,100.00,2025-12-20,declined\n"), &[]).ok();
    assert_eq!(stored(&place)[1], "(1/reversed,-10000,2025-12-20,2)");
}

#[test]
fn a_preset_can_be_printed_changed_and_used() {
    let place = Place::with_affiliates();
    let listed = place.run(&["import", "presets"]).ok();
    assert!(listed.lines().count() == 6 && listed.contains("rewardful            Rewardful\n"), "{listed}");
    assert_eq!(place.run(&["import", "presets", "shareasale"]).code, 64);
    let help = place.run(&["import", "commissions", "--help"]).ok();
    assert!(listed.lines().all(|line| help.contains(line.split(' ').next().unwrap())), "{help}");
    let printed = place.run(&["import", "presets", "awin"]).ok();
    let changed = printed.replace("[commissions.columns]\n", "[commissions.columns]\ncurrency = \"cur\"\n");
    place.file("ours.toml", changed.replace("time_zone = \"UTC\"", "time_zone = \"Europe/London\""));
    let rows = "title of the report\n\
                \n\
                id;publisher_id;extra;commission;date;commission_status;cur\n\
                1;a1;o1;8.00;2026-07-01 00:30:00;approved;GBP\n";
    import(&place, "commissions", "f.csv", rows, &["--map", "ours.toml"]).ok();
    assert_eq!(place.texts("SELECT currency, earned_at FROM commission"), ["(GBP,\"2026-06-30 23:30:00+00\")"]);
    // Of a file of theirs an error names their column.
    let unknown = import(
        &place,
        "commissions",
        "f.csv",
        rows.replace(";a1;", ";a9;").replace("\n1;", "\n2;"),
        &["--map", "ours.toml"],
    );
    unknown.failed_as_said(
        65,
        "f.csv:4:publisher_id: there is no affiliate `a9`; import it first, or correct the id\n\
         nothing was imported: 1 error",
    );
    // What is wrong with a mapping is told with its place, and with what was perhaps meant.
    for (text, expected) in [
        (
            "decimals = \",\"\n",
            "wrong.toml: `decimals` is no field of a mapping, perhaps `decimal` misspelt; there are encoding, ",
        ),
        (
            "[commissions.columns]\namuont = \"x\"\n",
            "wrong.toml: `commissions.columns.amuont` is no column of ours, perhaps `amount` misspelt",
        ),
        (
            "[[commissions.status]]\ncolumn = \"s\"\nleftout = [\"x\"]\n",
            "`commissions.status.leftout` is no field of a mapping, perhaps `left_out` misspelt",
        ),
        ("decimal = \".\"\ngrouping = \".\"\n", "wrong.toml: grouping: `.` is the decimal mark too; they must differ"),
        ("\ndates = 5\n", "wrong.toml:2: invalid type: integer `5`, expected a sequence"),
        ("dates = [\"%Y-%m-%d\"]\n", "wrong.toml: dates: `%Y-%m-%d`: it names no time zone; add time_zone"),
        ("[commissions.columns]\namount = \"x\"\n", "does not say where `commission_id` comes from"),
        (
            "[affiliates.columns]\naffiliate_id = \"x\"\n",
            "the mapping wrong.toml says nothing of a file of commissions; add a section [commissions]",
        ),
        (
            "[[commissions.status]]\ncolumn = \"s\"\nimport = [\"x\"]\nleft_out = [\"X\"]\n",
            "the word `X` of `s` is there twice",
        ),
    ] {
        place.file("wrong.toml", text);
        let refused = import(&place, "commissions", "f.csv", rows, &["--map", "wrong.toml"]);
        assert!(refused.code == 64 && refused.err.contains(expected), "{}", refused.err);
    }
    let missing = import(
        &place,
        "commissions",
        "f.csv",
        rows.replace("commission;date", "commision;date"),
        &["--map", "ours.toml"],
    );
    missing.failed(
        65,
        "f.csv:3:commission: the mapping ours.toml reads this column, and the file does not have it, \
         perhaps `commision`; its columns are id, publisher_id, extra, commision, date, commission_status, cur; \
         export it too, or change the mapping\n\
         nothing was imported: 1 error",
    );
}
