//! Every kind of bad input: the message, its place, the exit code, and that nothing has changed.

use crate::harness::{AFFILIATES, COMMISSIONS, Place};

const GOOD: &str = "c0,a1,o0,10.00,EUR,2011-11-01T00:00:00Z,sale\n";

/// One import after the other into the same place: (content, what is said after `error: `).
fn each_is_refused(place: &Place, kind: &str, cases: &[(&[u8], &str)]) {
    for (content, message) in cases {
        place.file("f.csv", content);
        let done = place.run(&["import", kind, "--tenant", "acme", "f.csv"]);
        done.failed(65, message);
        let left = place.number("SELECT count(*) FROM commission") + place.number("SELECT count(*) FROM affiliate") - 3;
        assert_eq!(left, 0, "something was imported: {message}");
    }
}

#[test]
fn rows_of_commissions_that_are_wrong() {
    let place = Place::with_affiliates();
    let cases = [
        (
            "c1,a1,o1,10.001,EUR,2011-11-01T00:00:00Z,sale\n",
            "amount: `10.001` has too many decimals: EUR has 2; correct the amount",
        ),
        (
            "c1,a1,o1,10.5,JPY,2011-11-01T00:00:00Z,sale\n",
            "amount: `10.5` has too many decimals: JPY has 0; correct the amount",
        ),
        (
            "c1,a1,o1,10000000000000.01,EUR,2011-11-01T00:00:00Z,sale\n",
            "amount: `10000000000000.01` is too large: one amount has at most 1,000,000,000,000,000 minor units; \
             correct the amount",
        ),
        (
            "c1,a1,o1,99999999999999999999,EUR,2011-11-01T00:00:00Z,sale\n",
            "amount: `99999999999999999999` is too large: one amount has at most 1,000,000,000,000,000 minor units; \
             correct the amount",
        ),
        (
            "c1,a1,o1,ten,EUR,2011-11-01T00:00:00Z,sale\n",
            "amount: `ten` is not an amount: write digits with a decimal point, such as 12.30; correct the amount",
        ),
        ("c1,a1,o1,0.00,EUR,2011-11-01T00:00:00Z,sale\n", "amount: is zero, which pays nobody; leave the row out"),
        (
            "c1,a1,o1,10.00,EURO,2011-11-01T00:00:00Z,sale\n",
            "currency: `EURO` is not a currency code of ISO 4217, such as EUR or JPY; correct the code",
        ),
        (
            "c1,a1,o1,-10.00,EUR,2011-11-01T00:00:00Z,sale\n",
            "kind: a sale of -10.00 EUR: a negative amount is a `clawback`; correct one of the two",
        ),
        (
            "c1,a1,o1,10.00,EUR,2011-11-01T00:00:00Z,clawback\n",
            "kind: a clawback of 10.00 EUR: the amount must be negative; correct one of the two",
        ),
        ("c1,a1,o1,10.00,EUR,2011-11-01T00:00:00Z,bonus\n", "kind: `bonus` is not a kind; write `sale` or `clawback`"),
        (
            "c1,a1,o1,10.00,EUR,2011-11-01,sale\n",
            "earned_at: `2011-11-01` is not an instant of RFC 3339; write date, time and offset, such as \
             2011-11-30T08:26:00Z, or say how they are written by `dates` and `time_zone` in a mapping file (--map)",
        ),
        (
            "c1,a1,o1,10.00,EUR,0211-11-01T00:00:00Z,sale\n",
            "earned_at: `0211-11-01T00:00:00Z` is not between the years 1970 and 2999; correct the year",
        ),
        (",a1,o1,10.00,EUR,2011-11-01T00:00:00Z,sale\n", "commission_id: is empty; every row needs one"),
        ("c1, a1,o1,10.00,EUR,2011-11-01T00:00:00Z,sale\n", "affiliate_id: ` a1` has space around it; remove it"),
        (
            "c1,a1,o1,10.00,EUR,2011-11-01T00:00:00Z\n",
            "kind: the row has 6 fields and the header 7; look for commas, one too few, or for a text with commas that \
             is not in quotes",
        ),
        (
            "c1,a1,o1,1,000.00,EUR,2011-11-01T00:00:00Z,sale\n",
            "field 8: the row has 8 fields and the header 7; look for commas, one too many, or for a text with commas \
             that is not in quotes",
        ),
        (
            "c1,a1,o\"1,10.00,EUR,2011-11-01T00:00:00Z,sale\n",
            "order_ref: a quote inside a field that does not begin with one; put the field in quotes and double those \
             inside",
        ),
        (
            "c1,a1,\"o\"1,10.00,EUR,2011-11-01T00:00:00Z,sale\n",
            "order_ref: text after a closing quote; double the quotes inside a field",
        ),
        (
            "c1,a1,\"o1,10.00,EUR,2011-11-01T00:00:00Z,sale\n",
            "order_ref: a quote is opened here and never closed; close it",
        ),
        (
            "c1,a1,\"o\n1\",10.00,EUR,2011-11-01T00:00:00Z,sale\n",
            "order_ref: `o<U+000A>1` has a line break, a tab or another control character; remove it",
        ),
        (
            "c1,nobody,o1,10.00,EUR,2011-11-01T00:00:00Z,sale\n",
            "affiliate_id: there is no affiliate `nobody`; import it first, or correct the id",
        ),
        (
            "c0,a1,o0,10.01,EUR,2011-11-01T00:00:00Z,sale\n",
            "amount: `c0` is on line 2 too, with 10.00 EUR there and 10.01 EUR here; keep the line that is right",
        ),
    ];
    for (row, message) in cases {
        let content = format!("{COMMISSIONS}{GOOD}{row}");
        let message = format!("f.csv:3:{message}\nnothing was imported: 1 error");
        each_is_refused(&place, "commissions", &[(content.as_bytes(), &message)]);
    }
    // All that is wrong with a row, and what nobody sees made visible.
    let content = format!(
        "{COMMISSIONS}c\u{200b}1,a1 ,o1,1,5,EUR,2011-11-01,sell\nc2,\u{430}lice ,o1,\"1,5\",EUR,2011-11-01,sell\n"
    );
    let message = "f.csv:2:field 8: the row has 8 fields and the header 7; look for commas, one too many, \
                   or for a text with commas that is not in quotes\n\
                   f.csv:3:affiliate_id: `<U+0430>lice ` has space around it; remove it\n\
                   f.csv:3:amount: `1,5` has a decimal comma; say --decimal ,\n\
                   f.csv:3:earned_at: `2011-11-01` is not an instant of RFC 3339; \
                   write date, time and offset, such as 2011-11-30T08:26:00Z, or say how they are written by \
                   `dates` and `time_zone` in a mapping file (--map)\n\
                   f.csv:3:kind: `sell` is not a kind; write `sale` or `clawback`\n\
                   nothing was imported: 5 errors";
    each_is_refused(&place, "commissions", &[(content.as_bytes(), message)]);
    let long = format!("{COMMISSIONS}c1,a1,o1,{},EUR,2011-11-01T00:00:00Z,sale\n", "9".repeat(30_000));
    let shown = format!(
        "f.csv:2:amount: `{}…` is not an amount: write digits with a decimal point, such as 12.30; \
         correct the amount\n\
         nothing was imported: 1 error",
        "9".repeat(80)
    );
    each_is_refused(&place, "commissions", &[(long.as_bytes(), &shown)]);
}

#[test]
fn headers_that_are_wrong() {
    let place = Place::with_affiliates();
    let columns = "commission_id, affiliate_id, order_ref, amount, currency, earned_at, kind";
    let unknown = format!(
        "f.csv:1:amount: the column is there twice; remove one\n\
         f.csv:1:note: an unknown column; the columns are {columns}; remove or rename it\n\
         f.csv:1:kind: the column is missing; add it to the header and to every row\nnothing was imported: 3 errors"
    );
    each_is_refused(
        &place,
        "commissions",
        &[
            (b"commission_id,affiliate_id,order_ref,amount,amount,currency,earned_at,note\n", &unknown),
            (
                b"",
                "f.csv:1:file: the file is empty; it begins with a header: \
                 commission_id,affiliate_id,order_ref,amount,currency,earned_at,kind\n\
                 nothing was imported: 1 error",
            ),
            (
                COMMISSIONS.as_bytes(),
                "f.csv:1:header: the file has a header and no rows; nothing to import\nnothing was imported: 1 error",
            ),
        ],
    );
}

#[test]
fn rows_of_affiliates_that_are_wrong() {
    let place = Place::with_affiliates();
    let cases = [
        ("b1,N,e,NL,EUR,paypal,\n", "destination: is empty and `method` is not; fill both or neither"),
        ("b1,N,e,NL,EUR,,x@example.com\n", "method: is empty and `destination` is not; fill both or neither"),
        ("b1,N,e,NL,EUR,paypal,ann\n", "destination: `ann`: is not an e-mail address: it has no @"),
        (
            "b1,N,e,NL,EUR,Pay Pal,ann@example.com\n",
            "method: `Pay Pal` is not a method; use small letters, digits, `-` and `_`, such as paypal or sepa",
        ),
        (
            "b1,N,e,NL,eur,,\n",
            "currency: `eur` is not a currency code of ISO 4217, such as EUR or JPY; correct the code",
        ),
        (
            "b0,Other,e,NL,EUR,,\n",
            "name: `b0` is on line 2 too, with `N` there and `Other` here; keep the line that is right",
        ),
        (
            "b0,N,e,NL,EUR,none,\n",
            "method: `b0` is on line 2 too, with `paypal` there and `none` here; keep the line that is right",
        ),
        (
            "b0,N,e,NL,EUR,paypal,y@example.com\n",
            "destination: `b0` is on line 2 too, with `x@example.com` there and `y@example.com` here; \
             keep the line that is right",
        ),
        (
            "b1,N,e,NL,EUR,none,x@example.com\n",
            "destination: is not empty and `method` is none; leave it empty or name the method",
        ),
    ];
    for (row, message) in cases {
        let content = format!("{AFFILIATES}b0,N,e,NL,EUR,paypal,x@example.com\n{row}");
        let message = format!("f.csv:3:{message}\nnothing was imported: 1 error");
        each_is_refused(&place, "affiliates", &[(content.as_bytes(), &message)]);
    }
    let limits = "affiliate_id,name,email,country,currency,method,destination,priority,on_hold,min,max\n";
    let cases = [
        ("-1,,,\n", "priority: `-1` is not a whole number from 0 to 99; 0 is tried first"),
        ("0,maybe,,\n", "on_hold: `maybe` is neither `true` nor `false`; write one"),
        ("0,,20,10\n", "max: is less than `min`; exchange them"),
        ("0,,0,\n", "min: `0` is not above zero; write `none` for no limit"),
    ];
    for (rest, message) in cases {
        let content = format!("{limits}b0,N,e,NL,EUR,paypal,x@example.com,{rest}");
        let message = format!("f.csv:2:{message}\nnothing was imported: 1 error");
        each_is_refused(&place, "affiliates", &[(content.as_bytes(), &message)]);
    }
    let cases = [
        ("b0,N,e,NL,EUR,none,,0,,5,\n", "2:min: is a limit of a method that the row takes away; leave it empty"),
        (
            "b0,N,e,NL,EUR,,,0,,,5\n",
            "2:max: `b0` has no method of this priority that a limit could belong to; name its method and destination",
        ),
        (
            "b0,N,e,NL,KWD,paypal,x@example.com,0,,5.001,\nb0,N,e,NL,KWD,paypal,y@example.com,1,,none,\n",
            "3:min: `b0` is on line 2 too, with 5.001 KWD there and `none` here; keep the line that is right",
        ),
    ];
    for (rows, message) in cases {
        let content = format!("{limits}{rows}");
        each_is_refused(
            &place,
            "affiliates",
            &[(content.as_bytes(), &format!("f.csv:{message}\nnothing was imported: 1 error"))],
        );
    }
}

#[test]
fn the_first_hundred_errors_are_shown_and_all_are_counted() {
    let place = Place::with_affiliates();
    let read: String = (1..=120).map(|n| format!("c{n},a1,o,x,EUR,2011-11-01T00:00:00Z,sale\n")).collect();
    let stored: String = (1..=120).map(|n| format!("c{n},b{n},o,1,EUR,2011-11-01T00:00:00Z,sale\n")).collect();
    for (rows, place_of_first) in
        [(read, "commissions.csv:2:amount: `x`"), (stored, "commissions.csv:2:affiliate_id: there")]
    {
        let done = place.commissions(&rows);
        assert_eq!(done.code, 65);
        assert!(done.err.starts_with(&format!("error: {place_of_first}")), "{}", done.err);
        assert!(
            done.err.ends_with("nothing was imported: 120 errors, of which these are the first 100\n"),
            "{}",
            done.err
        );
        assert_eq!(done.err.lines().count(), 101);
    }
    assert_eq!(place.number("SELECT count(*) FROM commission"), 0);
}

#[test]
fn a_row_that_was_imported_before_must_be_the_same() {
    let place = Place::with_affiliates();
    place.commissions(GOOD).ok();
    let cases = [
        ("c0,a1,o0,10.01,EUR,2011-11-01T00:00:00Z,sale\n", "amount", "10.00 EUR", "10.01 EUR"),
        ("c0,a1,o0,10.00,USD,2011-11-01T00:00:00Z,sale\n", "currency", "EUR", "USD"),
        ("c0,a2,o0,10.00,EUR,2011-11-01T00:00:00Z,sale\n", "affiliate_id", "a1", "a2"),
        ("c0,a1,o0,10.00,EUR,2011-11-01T00:00:01Z,sale\n", "earned_at", "2011-11-01T00:00:00Z", "2011-11-01T00:00:01Z"),
        ("c0,a1,o1,10.00,EUR,2011-11-01T00:00:00Z,sale\n", "order_ref", "o0", "o1"),
        ("c0,a1,o0,-10.00,EUR,2011-11-01T00:00:00Z,clawback\n", "amount", "10.00 EUR", "-10.00 EUR"),
    ];
    for (row, field, stored, given) in cases {
        place.commissions(&format!("c9,a1,o9,1.00,EUR,2011-11-01T00:00:00Z,sale\n{row}")).failed(
            65,
            &format!(
                "commissions.csv:3:{field}: `c0` was imported before with {stored}, and is {given} here; \
                 a commission never changes: correct it by one with an id of its own\nnothing was imported: 1 error"
            ),
        );
        assert_eq!(place.number("SELECT count(*) FROM commission"), 1);
    }
    // The same instant in another time zone is the same.
    place.commissions("c0,a1,o0,10.0,EUR,2011-11-01T01:00:00+01:00,sale\n").ok();
}

#[test]
fn what_the_command_line_names_must_exist() {
    let place = Place::with_affiliates();
    let message = "there is no tenant `nobody`; importing its affiliates makes it";
    place.file("c.csv", format!("{COMMISSIONS}{GOOD}"));
    place.run(&["import", "commissions", "--tenant", "nobody", "c.csv"]).failed(64, message);
    place.run(&["run", "--tenant", "nobody", "--period", "2011-11"]).failed(64, message);
    place.run(&["rails", "set", "--tenant", "nobody", "--method", "paypal", "--rail", "null"]).failed(64, message);
    place.run(&["status", "7"]).failed(64, "there is no run 7; `status` lists them");
    place.run(&["pause", "7"]).failed(64, "there is no run 7; `status` lists them");
    place.run(&["cancel", "7"]).failed(64, "there is no run 7; `status` lists them");
    let approver = place.person("ann", "approver");
    place
        .run_as(&approver, &["holds", "decide", "7", "--not-paid"])
        .failed(64, "payout 7 is not held; `holds` lists those that are");
    place
        .run(&["import", "commissions", "--tenant", "acme", "nowhere.csv"])
        .failed(65, "nowhere.csv: cannot be read: No such file or directory (os error 2)");
    for wrong in [
        &["run", "--tenant", "acme", "--period", "2011-13"][..],
        &["run", "--tenant", "Acme", "--period", "2011-11"],
        &["run", "--tenant", "acme", "--period", "2011-11", "--minimum", "1.00001"],
        &["rails", "set", "--tenant", "acme", "--method", "paypal", "--rail", "stripe"],
        &["holds", "decide", "7"],
        &["holds", "decide", "7", "--paid", "x", "--not-paid"],
        &["holds", "decide", "7", "--paid", " "],
        &["people", "add", "ann", "--role", "boss"],
        &["people", "add", "<ann>", "--role", "viewer"],
        &["people", "add", "ann"],
        &["sample", "--affiliates", "5"],
        &["nonsense"],
    ] {
        assert_eq!(place.run(wrong).code, 64, "{wrong:?}");
    }
}

#[test]
fn servers_that_are_not_there_or_not_ours() {
    let place = Place::empty();
    place.run(&["status"]).failed(69, "the database has no Payfleet schema: run `payfleet-coordinator migrate`");
    place.run(&["migrate"]).ok();
    assert_eq!(place.run(&["migrate"]).ok(), "the schema is up to date\n");
    place.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         SELECT 9999, 'later', true, checksum, 0 FROM _sqlx_migrations LIMIT 1",
    );
    let known = place.number("SELECT max(version) FROM _sqlx_migrations WHERE version < 9999");
    place.run(&["status"]).ok();
    place.execute("INSERT INTO schema_serves (serves_from) VALUES (9999)");
    let newer = format!(
        "the schema (version 9999) serves programs from version 9999 on, and this one is of version {known}: \
         upgrade the program"
    );
    place.run(&["status"]).failed(69, &newer);
    place.run(&["migrate"]).failed(69, &newer);

    let away = place.command(&["status"]).env("PAYFLEET_DATABASE_URL", "postgres://x@127.0.0.1:1/x").output().unwrap();
    assert_eq!(away.status.code(), Some(69));
    let message = String::from_utf8(away.stderr).unwrap();
    assert!(message.starts_with("error: cannot reach Postgres at 127.0.0.1:1: "), "{message}");
    let none = place.command(&["status"]).env_remove("PAYFLEET_DATABASE_URL").output().unwrap();
    assert_eq!(none.status.code(), Some(64));
    let nonsense = place.command(&["status"]).env("PAYFLEET_DATABASE_URL", "nonsense").output().unwrap();
    assert_eq!(nonsense.status.code(), Some(64));
}

/// A spreadsheet took the zeros off.
#[test]
fn an_unknown_affiliate_is_told_with_the_one_that_looks_like_it() {
    let place = Place::new();
    place.file("a.csv", format!("{AFFILIATES}00123,Name,,,EUR,,\n"));
    place.run(&["import", "affiliates", "--tenant", "acme", "a.csv"]).ok();
    place.file("c.csv", format!("{COMMISSIONS}c1,123,,1.00,EUR,2011-11-05T08:00:00Z,sale\n"));
    let refused = place.run(&["import", "commissions", "--tenant", "acme", "c.csv"]);
    assert!(
        refused.code == 65 && refused.err.contains("there is no affiliate `123`, perhaps `00123`; import it first"),
        "{}",
        refused.err
    );
}
