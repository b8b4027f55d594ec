//! Imports that are right: what they do the first time, the second, and with changes.

use crate::harness::{AFFILIATES, COMMISSIONS, Place};

#[test]
fn the_same_file_twice_is_a_no_op() {
    let place = Place::new();
    place.file("a.csv", format!("{AFFILIATES}a1,Ann,ann@example.com,Germany,EUR,paypal,ann@example.com\n"));
    let affiliates = &["import", "affiliates", "--tenant", "acme", "a.csv"];
    assert_eq!(place.run(affiliates).ok(), "tenant acme is new\naffiliates: 1 rows, 1 new, 0 updated, 0 unchanged\n");
    assert_eq!(place.run(affiliates).ok(), "affiliates: 1 rows, 0 new, 0 updated, 1 unchanged\n");

    // One of them twice in the file, with the line ends of Windows and an empty line.
    let rows = "c1,a1,o1,10.00,EUR,2011-11-01T00:00:00Z,sale\r\n\
                c2,a1,\"o,2\",-3,EUR,2011-11-02T00:00:00Z,clawback\r\n\
                \r\n\
                c1,a1,o1,10.00,EUR,2011-11-01T00:00:00Z,sale\r\n";
    let look = "look: 1 row says what another one says, under the same id, and counts once\n  \
                line 5: `c1` and `c1`, on line 2\n";
    for counts in ["2 new, 0 updated, 1 unchanged", "0 new, 0 updated, 3 unchanged"] {
        assert_eq!(place.commissions(rows).ok(), format!("commissions: 3 rows, {counts}\n{look}"));
    }
    assert_eq!(
        place.texts("SELECT external_id, order_ref, amount_minor, kind FROM commission ORDER BY 1"),
        ["(c1,o1,1000,sale)", "(c2,\"o,2\",-300,clawback)"]
    );
    assert_eq!(place.number("SELECT count(*) FROM account"), 1);
}

#[test]
fn columns_are_found_by_name_and_files_may_come_through_a_pipe() {
    let place = Place::with_affiliates();
    let file = "kind,amount,currency,commission_id,order_ref,earned_at,affiliate_id\n\
                sale,5,EUR,c1,o,2011-11-01T00:00:00Z,a2\n";
    let args = &["import", "commissions", "--tenant", "acme", "--json", "-"];
    let json: serde_json::Value = serde_json::from_str(&place.run_with_stdin(args, file).ok()).unwrap();
    assert_eq!((&json["rows"], &json["new"], &json["unchanged"]), (&1.into(), &1.into(), &0.into()));
    place.run_with_stdin(args, &format!("{COMMISSIONS}x\n")).failed(
        65,
        "stdin:2:affiliate_id: the row has 1 fields and the header 7; look for commas, one too few, \
         or for a text with commas that is not in quotes\n\
         nothing was imported: 1 error",
    );
}

#[test]
fn a_tenant_is_made_only_by_a_file_that_is_right() {
    let place = Place::new();
    place.file(
        "a.csv",
        format!("{AFFILIATES}a1,Ann,e,NL,EUR,paypal,a@example.com\na1,Bob,e,NL,EUR,paypal,a@example.com\n"),
    );
    let args = &["import", "affiliates", "--tenant", "acme", "--hold-days", "3", "a.csv"];
    assert_eq!(place.run(args).code, 65);
    assert_eq!(place.number("SELECT count(*) FROM tenant"), 0);
    place.file("a.csv", format!("{AFFILIATES}a1,Ann,e,NL,EUR,paypal,a@example.com\n"));
    place.run(args).ok();
    place.commissions("c1,a1,o,5,EUR,2011-11-29T12:00:00Z,sale\n").ok();
    assert_eq!(place.texts("SELECT due_at, due_month FROM commission"), ["(\"2011-12-02 12:00:00+00\",24143)"]);
}

const REPLACED: &str = "0 new, 1 updated, 0 unchanged\ncontrols: 1 destination changed\n";

#[test]
fn another_destination_is_another_row() {
    let place = Place::new();
    let import = |row: &str| {
        place.file("a.csv", format!("{AFFILIATES}{row}\n"));
        place.run(&["import", "affiliates", "--tenant", "acme", "a.csv"]).ok()
    };
    let methods = || {
        place.texts("SELECT id, method, destination, retired_at IS NOT NULL AS retired FROM payout_method ORDER BY id")
    };
    import("a1,Ann,e,NL,EUR,paypal,ann@example.com");
    // Letter case and space make no other payee.
    assert!(import("a1,Ann,e,NL,EUR,paypal, Ann@Example.COM ").ends_with("0 new, 0 updated, 1 unchanged\n"));
    assert_eq!(methods(), ["(1,paypal,ann@example.com,f)"]);
    assert!(import("a1,Ann,e,NL,EUR,paypal,other@example.com").ends_with(REPLACED));
    assert_eq!(methods(), ["(1,paypal,ann@example.com,t)", "(2,paypal,other@example.com,f)"]);
    assert!(import("a1,Ann,e,NL,EUR,sepa,DE44 5001 0517 5407 3249 31").ends_with(REPLACED));
    // Back to the first: a new row, since the old one was retired.
    import("a1,Ann,e,NL,EUR,paypal,ann@example.com");
    // Nothing said, nothing changed.
    assert!(import("a1,Ann,e,NL,EUR,,").ends_with("0 new, 0 updated, 1 unchanged\n"));
    assert!(import("a1,Ann,e,NL,EUR,none,").ends_with("1 updated, 0 unchanged\ncontrols: 1 method retired\n"));
    assert_eq!(
        methods(),
        [
            "(1,paypal,ann@example.com,t)",
            "(2,paypal,other@example.com,t)",
            "(3,sepa,\"DE44 5001 0517 5407 3249 31\",t)",
            "(4,paypal,ann@example.com,t)"
        ]
    );
    assert!(import("a1,Anna,,,EUR,,").ends_with("0 new, 1 updated, 0 unchanged\n"));
    assert_eq!(place.texts("SELECT name, email, country, currency FROM affiliate"), ["(Anna,e,NL,EUR)"]);
}

#[test]
fn an_affiliate_may_have_several_methods() {
    let place = Place::new();
    let import = |rows: &str| {
        let header = "affiliate_id,name,email,country,currency,method,destination,priority,on_hold,min,max\n";
        place.file("a.csv", format!("{header}{rows}"));
        place.run(&["import", "affiliates", "--tenant", "acme", "a.csv"])
    };
    let live = || {
        place
            .texts("SELECT priority, method, destination FROM payout_method WHERE retired_at IS NULL ORDER BY priority")
    };
    let limits = || place.texts("SELECT method, currency, min_minor, max_minor FROM payout_limit ORDER BY method");
    let both =
        "a1,Ann,e,NL,EUR,paypal,one@example.com,0,true,,50.00\na1,Ann,e,NL,EUR,venmo,two@example.com,1,,50.01,\n";
    assert!(
        import(both).ok().ends_with("2 rows, 1 new, 0 updated, 0 unchanged\ncontrols: 1 hold set, 2 limits changed\n")
    );
    assert_eq!(live(), ["(0,paypal,one@example.com)", "(1,venmo,two@example.com)"]);
    assert_eq!(limits(), ["(paypal,EUR,,5000)", "(venmo,EUR,5001,)"]);
    assert_eq!(place.number("SELECT count(*) FROM affiliate WHERE on_hold"), 1);
    assert!(import(both).ok().ends_with("0 new, 0 updated, 1 unchanged\n"));
    // Other limits are no other destination.
    import("a1,Ann,e,NL,EUR,paypal,one@example.com,0,false,,60.00\n").ok();
    assert_eq!(limits(), ["(paypal,EUR,,6000)", "(venmo,EUR,5001,)"]);
    assert_eq!(place.number("SELECT count(*) FROM payout_method"), 2);
    import("a1,Ann,e,NL,EUR,venmo,two@example.com,0,false,,\n").failed(
        65,
        "a.csv:2:destination: `a1` has this destination already, with priority 1; \
         give each destination of an affiliate one priority, and name both in the file to swap them\n\
         nothing was imported: 1 error",
    );
    import("a1,Ann,e,NL,EUR,venmo,two@example.com,0,false,,\na1,Ann,e,NL,EUR,paypal,one@example.com,1,false,,\n").ok();
    assert_eq!(live(), ["(0,venmo,two@example.com)", "(1,paypal,one@example.com)"]);
    assert_eq!(limits(), ["(paypal,EUR,,6000)", "(venmo,EUR,5001,)"]);
}

#[test]
fn a_sample_is_the_same_everywhere() {
    use sha2::{Digest, Sha256};
    let place = Place::new();
    let digest = |args: &[&str], folder: &str| {
        place.run(&[&["sample", "--affiliates", "2000", "--into", folder], args].concat()).ok();
        let mut hash = Sha256::new();
        for name in ["sample_affiliates.csv", "sample_commissions.csv"] {
            hash.update(std::fs::read(place.dir.path().join(folder).join(name)).unwrap());
        }
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let rich = ["--commissions-per-affiliate", "3", "--months", "2", "--start", "2025-12"];
    assert_eq!(digest(&rich, "rich"), "44aa23a0a3444647", "the same seed must make the same sample for ever");
    assert_eq!(digest(&["--plain"], "plain"), "ce049e26a4e2d851", "the same seed must make the same sample for ever");
    assert_ne!(digest(&["--seed", "2", "--plain"], "other"), "ce049e26a4e2d851");

    // What it writes, import takes; and straight into the database it is the same.
    for (kind, file) in [("affiliates", "rich/sample_affiliates.csv"), ("commissions", "rich/sample_commissions.csv")] {
        place.run(&["import", kind, "--tenant", "acme", file]).ok();
    }
    let again = place.run(&[&["sample", "--affiliates", "2000", "--tenant", "acme"], &rich[..]].concat()).ok();
    assert!(again.starts_with("affiliates: 2000 rows, 0 new, 0 updated, 2000 unchanged\ncommissions: "), "{again}");
    assert!(again.contains(" 0 new, "), "{again}");
    assert!(place.number("SELECT count(*) FROM commission WHERE kind = 'clawback'") > 200);
    assert_eq!(place.number("SELECT count(DISTINCT currency) FROM commission"), 8);
    assert_eq!(place.texts("SELECT DISTINCT due_month FROM commission ORDER BY 1"), ["(24311)", "(24312)"]);
}
