//! Destinations by kind: what is refused, what is kept as it was written, when two are the same, and what `rails` says
//! of them. And where an affiliate is, and whether there was the currency.

use crate::harness::{AFFILIATES, COMMISSIONS, Done, Place};

fn import(place: &Place, rows: &[&str]) -> Done {
    place.file("a.csv", format!("{AFFILIATES}{}\n", rows.join("\n")));
    place.run(&["import", "affiliates", "--tenant", "acme", "a.csv"])
}

/// Everything that is said of a file, line by line, in the order of its rows.
fn refused(done: &Done) -> Vec<String> {
    assert_eq!((done.code, done.out.as_str()), (65, ""), "{}", done.err);
    let mut lines: Vec<String> = done.err.lines().map(|line| line.trim_start_matches("error: ").to_owned()).collect();
    assert!(lines.pop().is_some_and(|last| last.starts_with("nothing was imported: ")));
    lines
}

/// Affiliate, destination as it is sent, and whether it is retired, in the order in which they came.
fn methods(place: &Place) -> Vec<String> {
    place.texts(
        "SELECT a.external_id, m.destination, m.retired_at IS NOT NULL AS retired
           FROM payout_method m JOIN affiliate a ON a.id = m.affiliate_id ORDER BY m.id",
    )
}

const UNCHANGED: &str = "0 new, 0 updated, 1 unchanged\n";

#[test]
fn addresses_that_cannot_be_right_are_refused_each_with_its_place() {
    let place = Place::new();
    let rows = [
        "I1,a,a@example.org,NL,EUR,paypal,i\u{200b}an@example.org",
        "I2,a,a@example.org,NL,EUR,paypal,i\u{430}n@example.org",
        "I3,a,a@example.org,NL,EUR,paypal,ia\u{a0}n@example.org",
        "I4,a,a@example.org,NL,EUR,paypal,mailto:ian@example.org",
        "I5,a,a@example.org,NL,EUR,paypal,<ian@example.org>",
        "I6,a,a@example.org,NL,EUR,paypal,\"ian@example.org,\"",
        "I7,a,a@example.org,NL,EUR,paypal,ian@example..org",
        "I8,a,a@example.org,NL,EUR,iban,NL91ABNA0417164301",
        "I9,a,a@example.org,NL,EUR,giro,IBAN: NL91 ABNA 0417 1643 00",
        "I10,a,a@example.org,NL,EUR,btc,1Mixed\u{202e}Case",
    ];
    assert_eq!(
        refused(&import(&place, &rows)),
        [
            "a.csv:2:destination: `i<U+200B>an@example.org`: letter 2 is U+200B (zero width space), which nobody \
             sees; remove it",
            "a.csv:3:destination: `i<U+0430>n@example.org`: letter 2 is U+0430 (Cyrillic small letter a), which looks \
             like a; type it anew",
            "a.csv:4:destination: `ia<U+00A0>n@example.org`: letter 3 is U+00A0 (no-break space); no space may be \
             inside: remove it",
            "a.csv:5:destination: `mailto:ian@example.org`: begins with `mailto:`, which is not part of it; remove \
             that",
            "a.csv:6:destination: `<ian@example.org>`: is not an e-mail address: it has angle brackets; write only \
             what is between them",
            "a.csv:7:destination: `ian@example.org,`: letter 16 is `,`, which cannot be in an e-mail address; remove \
             or correct it",
            "a.csv:8:destination: `ian@example..org`: is not an e-mail address: it has two dots in a row",
            "a.csv:9:destination: `NL91ABNA0417164301`: is not an IBAN: its check digits do not fit; compare it with \
             the original",
            "a.csv:10:destination: `IBAN: NL91 ABNA 0417 1643 00`: begins with `IBAN:`, which is not part of it; \
             remove that",
            "a.csv:11:destination: `1Mixed<U+202E>Case`: letter 7 is U+202E (right-to-left override), which nobody \
             sees; remove it",
        ]
    );
    assert_eq!(place.number("SELECT count(*) FROM tenant"), 0);
    // As each is told to be.
    let mended = [
        "I1,a,,NL,EUR,paypal,ian@example.org",
        "I8,a,,NL,EUR,iban,NL91ABNA0417164300",
        "I9,a,,NL,EUR,giro,NL91 ABNA 0417 1643 00",
    ];
    import(&place, &mended).ok();
}

#[test]
fn a_destination_is_sent_as_it_was_written_and_compared_as_its_kind_says() {
    let place = Place::new();
    let first = [
        "D1,Dan,d@example.org,NL,EUR,stripe,acct_1QxYzAbCdEfGh",
        "D2,Deb,e@example.org,NL,EUR,btc,1MixedCaseAddrXyZ9",
        "D3,Dot,f@example.org,NL,EUR,iban,nl91 abna 0417 1643 00",
        "D4,Zoe,z@example.org,NL,EUR,paypal, Zoe@Example.org ",
    ];
    import(&place, &first).ok();
    let as_written = [
        "(D1,acct_1QxYzAbCdEfGh,f)",
        "(D2,1MixedCaseAddrXyZ9,f)",
        "(D3,\"nl91 abna 0417 1643 00\",f)",
        "(D4,Zoe@Example.org,f)",
    ];
    assert_eq!(methods(&place), as_written);
    for same in [
        "D3,Dot,,,EUR,iban,NL91ABNA0417164300",
        "D4,Zoe,,,EUR,paypal,zoe@EXAMPLE.org",
        "D1,Dan,,,EUR,stripe,acct_1QxYzAbCdEfGh",
    ] {
        assert!(import(&place, &[same]).ok().ends_with(UNCHANGED), "{same}");
    }
    // One affiliate, written in two ways in one file; the first is kept.
    let twice = ["D5,E,,,EUR,paypal,Eve@example.org", "D5,E,,,EUR,paypal,eve@Example.org"];
    assert!(import(&place, &twice).ok().starts_with("affiliates: 2 rows, 1 new"));
    assert_eq!(methods(&place)[4], "(D5,Eve@example.org,f)");
    // Another priority is another method, and not for what is there already.
    place.file(
        "a.csv",
        "affiliate_id,name,email,country,currency,method,destination,priority\nD5,E,,,EUR,paypal,EVE@example.org,1\n",
    );
    place.run(&["import", "affiliates", "--tenant", "acme", "a.csv"]).failed(
        65,
        "a.csv:2:destination: `D5` has this destination already, with priority 0; give each destination of an \
         affiliate one priority, and name \
         both in the file to swap them\nnothing was imported: 1 error",
    );
    import(&place, &["D6,F,,,EUR,paypal,f@example.org", "D6,F,,,EUR,paypal,g@example.org"]).failed(
        65,
        "a.csv:3:destination: `D6` is on line 2 too, with `f@example.org` there and `g@example.org` here; keep the \
         line that is right\n\
         nothing was imported: 1 error",
    );
    // What tells letters apart tells two apart that differ in one.
    for (other, id) in [("D1,Dan,,,EUR,stripe,acct_1QxYzAbCdEfGH", "D1"), ("D2,Deb,,,EUR,btc,1mixedcaseaddrxyz9", "D2")]
    {
        assert!(import(&place, &[other]).ok().ends_with("controls: 1 destination changed\n"), "{id}");
    }
    // What a version wrote that knew only small letters stays as it is, and is the same where its kind says so.
    place.execute(
        "INSERT INTO affiliate (tenant_id, external_id, name, email, country, currency)
         VALUES (1, 'old', 'O', '', '', 'EUR');
         INSERT INTO payout_method (tenant_id, affiliate_id, method, destination)
         SELECT 1, id, 'paypal', 'old@example.org' FROM affiliate WHERE external_id = 'old'",
    );
    assert!(import(&place, &["old,O,,,EUR,paypal,Old@Example.org"]).ok().ends_with(UNCHANGED));
    assert!(methods(&place).contains(&"(old,old@example.org,f)".to_owned()));
}

#[test]
fn a_method_is_of_the_kind_that_its_tenant_says() {
    let place = Place::new();
    let row = "U1,Una,,US,USD,bank,021000021:123456789";
    let told = refused(&import(&place, &[row]));
    let way = "rails set --tenant acme --method bank --kind us-bank";
    let [told] = &told[..] else { panic!("{told:?}") };
    assert!(
        told.starts_with("a.csv:2:destination: `021000021:123456789`: letter 10 is `:`, which cannot be in an IBAN"),
        "{told}"
    );
    assert!(told.ends_with(&format!("; if those of `bank` are of kind us-bank, say so: `{way}`")), "{told}");
    // The advice is followed, before there is a tenant.
    assert_eq!(
        place.run(&way.split(' ').collect::<Vec<_>>()).ok(),
        "tenant acme is new\nacme: destinations of bank are of kind us-bank\n"
    );
    import(&place, &[row, "U2,Ulf,,US,USD,bank,011401533:00-77", "U3,Uwe,,DE,EUR,wallet,Uwe@Example.org"]).ok();
    let set = |args: &[&str]| place.run(&[&["rails", "set", "--tenant", "acme"], args].concat());
    assert_eq!(
        set(&["--method", "bank", "--rail", "sandbox-file"]).ok(),
        "acme: bank is paid over sandbox-file, account default\n"
    );
    // Not to what those that are there are not; of whom and how many is said, and no destination.
    set(&["--method", "bank", "--kind", "iban"]).failed(
        64,
        "2 destinations of `bank` would not be right as iban, the first of them that of affiliate `U1`: letter 10 is \
         `:`, which cannot be in an \
         IBAN; remove or correct it. Choose another kind, or retire them by a file with `none` as their method; \
             nothing was changed",
    );
    assert_eq!(set(&["--method", "bank", "--kind", "opaque"]).ok(), "acme: destinations of bank are of kind opaque\n");
    // What is there is compared as the new kind says, from then on.
    assert!(import(&place, &["U3,Uwe,,,EUR,wallet,uwe@example.org"]).ok().contains("1 destination changed"));
    set(&["--method", "wallet", "--kind", "email"]).ok();
    assert!(import(&place, &["U3,Uwe,,,EUR,wallet,UWE@example.org"]).ok().ends_with(UNCHANGED));
    assert_eq!(refused(&import(&place, &["U3,Uwe,,,EUR,wallet,uwe"])).len(), 1);

    let listed = place.run(&["rails", "list", "--json"]).json();
    assert_eq!((&listed["used"][0]["method"], &listed["used"][0]["kind"]), (&"bank".into(), &"opaque".into()));
    assert!(place.run(&["rails", "list"]).ok().contains("opaque"));
    for wrong in
        [&["--method", "bank"][..], &["--method", "bank", "--kind", "IBAN"], &["--method", "none", "--kind", "iban"]]
    {
        assert_eq!(set(wrong).code, 64, "{wrong:?}");
    }
    place
        .run(&["rails", "set", "--tenant", "other", "--method", "bank", "--rail", "sandbox-file"])
        .failed(64, "there is no tenant `other`; importing its affiliates makes it");
}

#[test]
fn an_affiliate_whose_destinations_would_be_one_keeps_them_two() {
    let place = Place::new();
    place.file(
        "a.csv",
        "affiliate_id,name,email,country,currency,method,destination,priority\n\
         T1,T,,,EUR,wallet,Tim@example.org,0\nT1,T,,,EUR,wallet,tim@example.org,1\n",
    );
    place.run(&["import", "affiliates", "--tenant", "acme", "a.csv"]).ok();
    place.run(&["rails", "set", "--tenant", "acme", "--method", "wallet", "--kind", "email"]).failed(
        64,
        "1 destination of `wallet` would not be right as email, the first of them that of affiliate `T1`: it is there \
         twice then. Choose another \
         kind, or retire them by a file with `none` as their method; nothing was changed",
    );
    assert_eq!(place.number("SELECT count(*) FROM payout_method WHERE compared IS NOT NULL"), 0);
    assert_eq!(place.number("SELECT count(*) FROM tenant_method"), 0);
}

#[test]
fn a_kind_that_changes_while_a_file_is_read_stops_the_file() {
    let place = Place::with_affiliates();
    // The tenant's row is taken by the import, after the kinds were read and before the methods are written.
    let gate = place.gate("UPDATE", "tenant", "true");
    place.file("a.csv", format!("{AFFILIATES}n1,N,,,EUR,wallet,Anything\n"));
    let child = place.start(&["import", "affiliates", "--tenant", "acme", "a.csv"]);
    place.until_waiting(1);
    place.execute("INSERT INTO tenant_method VALUES (1, 'wallet', 'email')");
    gate.open();
    Place::finish(child)
        .failed(75, "the kind of a method was changed while the file was read; nothing was imported: import it again");
    assert_eq!(place.number("SELECT count(*) FROM affiliate WHERE external_id = 'n1'"), 0);
}

#[test]
fn a_method_can_be_taken_away_and_a_slip_is_pointed_out() {
    let place = Place::new();
    place.file(
        "a.csv",
        "affiliate_id,name,email,country,currency,method,destination,priority\n\
         \
             \
             \
             \
             \
             A1,A,,NL,EUR,paypal,a@example.org,0\n\
             A2,B,,NL,EUR,paypal,b@example.org,0\n\
             A2,B,,NL,EUR,sepa,NL91ABNA0417164300,1\n",
    );
    place.run(&["import", "affiliates", "--tenant", "acme", "a.csv"]).ok();
    let set =
        |method: &str| place.run(&["rails", "set", "--tenant", "acme", "--method", method, "--rail", "sandbox-payout"]);
    let remove = |method: &str| place.run(&["rails", "remove", "--tenant", "acme", "--method", method]);
    let slip = set("paypall");
    assert_eq!(
        (slip.code, slip.err.as_str()),
        (
            0,
            "warning: no affiliate has the method `paypall`, and 2 have `paypal`; if that was meant, `rails remove` \
             takes `paypall` away\n"
        )
    );
    // The advice is followed.
    assert_eq!(
        remove("paypall").ok(),
        "acme: paypall is paid over no rail any more; runs that are planned keep theirs\nno affiliate has this method\n"
    );
    for method in ["paypal", "sepa"] {
        assert_eq!(set(method).err, "", "{method}");
    }
    place.file(
        "c.csv",
        format!(
            "{COMMISSIONS}c1,A1,O1,20.00,EUR,2026-01-10T10:00:00Z,sale\nc2,A2,O2,30.00,EUR,2026-01-10T10:00:00Z,sale\n"
        ),
    );
    place.run(&["import", "commissions", "--tenant", "acme", "c.csv"]).ok();
    place.run(&["run", "--tenant", "acme", "--period", "2026-01"]).ok();
    assert_eq!(
        remove("paypal").ok(),
        "acme: paypal is paid over no rail any more; runs that are planned keep theirs\n\
         1 of the 2 affiliates who have it has no other way to be paid: plans exclude them as no_rail\n"
    );
    assert_eq!(place.texts("SELECT rail, payouts FROM batch"), ["(sandbox-payout,2)"], "as it was planned");
    place.file(
        "c.csv",
        format!(
            "{COMMISSIONS}c3,A1,O3,20.00,EUR,2026-02-10T10:00:00Z,sale\nc4,A2,O4,30.00,EUR,2026-02-10T10:00:00Z,sale\n"
        ),
    );
    place.run(&["import", "commissions", "--tenant", "acme", "c.csv"]).ok();
    let plan = place.run(&["run", "--tenant", "acme", "--period", "2026-02", "--dry-run", "--json"]).json();
    let decided: Vec<String> = plan["plan"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| format!("{} {}", line["verdict"], line["amount_minor"]))
        .collect();
    assert_eq!(decided, ["\"no_rail\" 2000", "\"pay\" 3000"]);
    remove("paypal").failed(64, "`acme` has no rail for `paypal`; it has one for sepa");
    assert!(
        remove("sepa").ok().ends_with(
            "1 of the 1 affiliates who have it has no other way to be paid: plans exclude them as no_rail\n"
        )
    );
    remove("sepa").failed(64, "`acme` has no rail for `sepa`; it has none at all");
}

#[test]
fn a_country_is_one_and_a_currency_was_there() {
    let place = Place::new();
    let told = refused(&import(&place, &["A1,A,,UK,EUR,,", "A2,A,,XX,EUR,,", "A3,A,,D,EUR,,"]));
    let unknown = |line: u32, code: &str| {
        format!(
            "a.csv:{line}:country: `{code}` is no country of ISO 3166; write its two letters, such as DE, or GB for \
             the United Kingdom"
        )
    };
    assert_eq!(told, [unknown(2, "UK"), unknown(3, "XX"), unknown(4, "D")]);
    let named = import(&place, &["A1,A,,GB,EUR,,", "A2,A,,de,HRK,,", "A3,A,,,EUR,,", "A4,A,,United Kingdom,EUR,,"]);
    assert_eq!(
        named.err,
        "warning: 1 of 4 rows name the country in words; write the two letters of ISO 3166, such as DE: rails that \
         ask for the country take nothing \
         else\n"
    );
    assert_eq!(named.code, 0);
    assert_eq!(
        place.texts("SELECT country FROM affiliate ORDER BY external_id"),
        ["(GB)", "(DE)", "(\"\")", "(\"United Kingdom\")"]
    );

    place.commissions("k1,A2,O,75.00,HRK,2023-01-01T00:00:00Z,sale\n").failed(
        65,
        "commissions.csv:2:currency: HRK ended on 2023-01-01, and EUR took its place; give what was earned since in \
         EUR\n\
         nothing was imported: 1 error",
    );
    place
        .commissions("k1,A2,O,75.00,HRK,2022-12-31T23:59:59Z,sale\nk2,A2,O,10.00,EUR,2023-01-01T00:00:00Z,sale\n")
        .ok();
}
