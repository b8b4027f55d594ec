//! The doors through which data comes in: nothing slips through them in silence, and what may be there twice is said.

use crate::harness::{AFFILIATES, COMMISSIONS, Done, Place};

fn import(place: &Place, kind: &str, file: &str, more: &[&str]) -> Done {
    place.file("f.csv", file);
    place.run(&[&["import", kind, "--tenant", "acme", "f.csv"], more].concat())
}

fn commissions(place: &Place, rows: &str, more: &[&str]) -> Done {
    import(place, "commissions", &format!("{COMMISSIONS}{rows}"), more)
}

fn run(place: &Place, period: &str, more: &[&str]) -> Done {
    place.run(&[&["run", "--tenant", "acme", "--period", period], more].concat())
}

/// The JSON of a command that ended with this code.
fn json(done: Done, code: i32) -> serde_json::Value {
    assert_eq!(done.code, code, "{}{}", done.out, done.err);
    serde_json::from_str(&done.out).unwrap()
}

fn due(place: &Place) -> Vec<String> {
    place.texts(
        "SELECT external_id, to_char(due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), late_for FROM commission ORDER BY 1",
    )
}

#[test]
fn a_clawback_in_the_hold_period_is_due_with_its_sale_whichever_comes_first() {
    let sale = |n: u32, at: &str| format!("s{n},a{n},O1,50.00,EUR,{at}T10:00:00Z,sale\n");
    let back = |n: u32, at: &str| format!("b{n},a{n},O1,-50.00,EUR,{at}T10:00:00Z,clawback\n");
    // 1: one file, the clawback first; 2: two files, the sale first; 3: two files, the clawback first.
    let files = [
        [back(1, "2026-02-05"), sale(1, "2026-01-25"), sale(2, "2026-01-25"), back(3, "2026-02-05")].concat(),
        [back(2, "2026-02-05"), sale(3, "2026-01-25")].concat(),
    ];
    let place = Place::with_affiliates();
    place.run(&["import", "affiliates", "--tenant", "acme", "--hold-days", "30", "affiliates.csv"]).ok();
    for file in &files {
        commissions(&place, file, &[]).ok();
    }
    let together: Vec<String> =
        ["b1", "b2", "b3", "s1", "s2", "s3"].iter().map(|id| format!("({id},2026-02-24,)")).collect();
    assert_eq!(due(&place), together);
    assert!(run(&place, "2026-02", &["--dry-run"]).ok().ends_with("nothing is due\n"));

    // A sale that is due already, another affiliate's, another order's, another currency's, none: at once. Of two
    // sales the first that is due later.
    let rows = "x1,a1,O1,-1.00,EUR,2026-02-25T10:00:00Z,clawback\nx2,a2,O9,-1.00,EUR,2026-02-05T10:00:00Z,clawback\n\
                x3,a3,,-1.00,EUR,2026-02-05T10:00:00Z,clawback\nx4,a1,O4,-1.00,EUR,2026-02-05T10:00:00Z,clawback\n\
                x5,a1,O4,-1.00,USD,2026-02-05T10:00:00Z,clawback\n\
                y1,a1,O4,9.00,EUR,2026-02-04T10:00:00Z,sale\ny2,a1,O4,9.00,EUR,2026-01-24T10:00:00Z,sale\n\
                y3,a1,O4,9.00,EUR,2026-01-02T10:00:00Z,sale\ny4,a1,O9,9.00,EUR,2026-01-24T10:00:00Z,sale\n";
    commissions(&place, rows, &[]).ok();
    assert_eq!(
        due(&place)[6..11],
        ["(x1,2026-02-25,)", "(x2,2026-02-05,)", "(x3,2026-02-05,)", "(x4,2026-02-23,)", "(x5,2026-02-05,)"]
            .map(str::to_owned)
    );

    // What a run has counted stays where it is; a clawback of it is due at once, and late.
    run(&place, "2026-02", &[]).ok();
    commissions(&place, "z1,a1,O1,-1.00,EUR,2026-02-20T10:00:00Z,clawback\n", &[]).ok();
    commissions(&place, "z2,a2,O9,30.00,EUR,2026-02-10T10:00:00Z,sale\n", &[]).ok();
    assert_eq!(
        due(&place)[11..],
        [
            "(y1,2026-03-06,)",
            "(y2,2026-02-23,)",
            "(y3,2026-02-01,)",
            "(y4,2026-02-23,)",
            "(z1,2026-02-20,2)",
            "(z2,2026-03-12,)"
        ]
        .map(str::to_owned)
    );
    assert_eq!(due(&place)[7], "(x2,2026-02-05,)");
}

#[test]
fn a_file_that_comes_after_the_run_of_its_month_is_told_by_everybody() {
    let place = Place::with_affiliates();
    run(&place, "2026-09", &[]).ok();
    assert_eq!(place.run(&["periods", "--tenant", "acme"]).ok(), "");
    let way = "run --tenant acme --period 2026-09 --sequence 2";
    let rows = "e1,a1,O1,50.00,EUR,2026-09-25T10:00:00Z,sale\ne2,a2,O2,50.00,EUR,2026-10-01T00:00:00Z,sale\n";
    let told = format!(
        "of months that were run already: 1 commission of 2026-09 (1); the tenant's next run pays that: \
         of the next month, or now `{way}`\n"
    );
    let dry = commissions(&place, rows, &["--dry-run"]).ok();
    let head = "commissions: 2 rows, 2 new, 0 updated, 0 unchanged\n";
    assert!(dry.starts_with(&format!("dry run: nothing was written\n{head}{told}")), "{dry}");
    assert!(dry.contains(" e1 ") && dry.contains(" 2026-09 ") && !dry.contains(" e2 "), "{dry}");
    assert_eq!(place.number("SELECT count(*) FROM commission"), 0);
    assert_eq!(commissions(&place, rows, &[]).ok(), format!("{head}{told}"));
    // The same file again brings nothing new, so nothing is said of it.
    assert_eq!(commissions(&place, rows, &[]).ok(), "commissions: 2 rows, 0 new, 0 updated, 2 unchanged\n");

    let since = format!(
        "money is due since: 1 commission of 2026-09 (1) became known after the run of their month\n\
         the tenant's next run pays it: that of the next month, or now `{way}`\n"
    );
    let periods = place.run(&["periods", "--tenant", "acme"]);
    assert_eq!((&periods.err, periods.out.as_str()), (&since, "2026-09 --sequence 2\n2026-10\n"));
    for more in [&[][..], &["--dry-run"]] {
        let again = run(&place, "2026-09", more);
        assert!(again.code == 3 && again.out.ends_with(&since), "{again:?}");
    }
    let again = json(run(&place, "2026-09", &["--json"]), 3);
    assert_eq!(again["due_since"]["late"], serde_json::json!([{"month": "2026-09", "commissions": 1}]));
    assert_eq!(again["due_since"]["next"], serde_json::json!({"period": "2026-09", "sequence": 2}));
    assert!(run(&place, "2026-09", &["--sequence", "2", "--dry-run"]).ok().contains("50.00"));
    run(&place, "2026-09", &["--sequence", "2"]).ok();
    run(&place, "2026-09", &[]).ok();
    assert_eq!(place.run(&["periods", "--tenant", "acme"]).ok(), "2026-10\n");

    // Months before the newest one that was run: the way is another run of that.
    run(&place, "2026-10", &[]).ok();
    commissions(&place, "e3,a1,O3,50.00,EUR,2026-07-25T10:00:00Z,sale\n", &[]).ok();
    run(&place, "2026-06", &["--dry-run"]).failed(
        64,
        "period 2026-06 ended before the last cutoff, that of 2026-10: what was due then belongs to later runs; \
         runs are created in the order of their periods",
    );
    assert!(run(&place, "2026-09", &[]).out.contains("1 commission of 2026-07 (1)"));
    assert_eq!(place.run(&["periods", "--tenant", "acme"]).ok(), "2026-10 --sequence 2\n");
}

#[test]
fn months_are_skipped_only_by_whoever_says_so() {
    let place = Place::with_affiliates();
    let sale = |n: u32, month: u32| format!("c{n},a1,O{n},50.00,EUR,2026-{month:02}-25T10:00:00Z,sale\n");
    commissions(&place, &[sale(1, 8), sale(2, 9), sale(3, 10)].concat(), &[]).ok();
    let refused = "before 2026-10, 2026-08, 2026-09 were never run and have money due; \
                   a run of 2026-10 closes them and pays that money too: run 2026-08 first, or say --skip-months";
    for more in [&[][..], &["--dry-run"]] {
        run(&place, "2026-10", more).failed(64, refused);
    }
    assert_eq!(place.number("SELECT count(*) FROM run"), 0);
    run(&place, "2026-08", &[]).ok();
    run(&place, "2026-10", &[]).failed(
        64,
        "before 2026-10, 2026-09 was never run and has money due; a run of 2026-10 closes it and pays that money too: \
         run 2026-09 first, or say --skip-months",
    );
    assert!(run(&place, "2026-10", &["--skip-months", "--dry-run"]).ok().contains("100.00"));
    run(&place, "2026-10", &["--skip-months"]).ok();
    run(&place, "2026-10", &[]).ok();
}

/// What a person has stopped is not begun by cron, which asks for the month again.
#[test]
fn a_run_that_was_cancelled_is_not_begun_again_and_names_what_pays_its_money() {
    let place = Place::with_affiliates();
    commissions(&place, "c1,a1,o,10,EUR,2026-01-05T00:00:00Z,sale\nc2,a2,o,20,EUR,2026-01-05T00:00:00Z,sale\n", &[])
        .ok();
    run(&place, "2026-01", &[]).ok();
    let way = "money is due since: run 1 was cancelled, and what of it was not sent is due again\n\
               the tenant's next run pays it: that of the next month, or now \
               `run --tenant acme --period 2026-01 --sequence 2`\n";
    let cancelled = place.run(&["cancel", "1"]).ok();
    assert!(cancelled.ends_with(way), "{cancelled}");
    for more in [&[][..], &["--dry-run"]] {
        let asked = run(&place, "2026-01", more);
        assert!(
            asked.code == 3 && asked.out.starts_with("run 1 exists\n") && asked.out.ends_with(way),
            "{}",
            asked.out
        );
    }
    assert_eq!(place.number("SELECT count(*) FROM run"), 1, "cron has begun what a person has stopped");
    assert_eq!(place.run(&["periods", "--tenant", "acme"]).ok(), "2026-01 --sequence 2\n");
    // A cancel that was cut off before all of it was free is finished first.
    place.execute(
        "UPDATE payout SET state = 'planned' WHERE run_id = 1;
         ALTER TABLE transfer DISABLE TRIGGER transfer_append_only;
         DELETE FROM transfer WHERE kind = 3; UPDATE account SET carried_minor = 0;
         UPDATE batch SET state = 'ready', closed_at = NULL WHERE run_id = 1",
    );
    let second = run(&place, "2026-01", &["--sequence", "2"]).ok();
    assert!(second.starts_with("run 2: acme 2026-01 (2), paying") && second.contains("30.00"), "{second}");
    assert_eq!(
        place.texts("SELECT run_id, state, sum(amount_minor) FROM payout GROUP BY 1, 2 ORDER BY 1"),
        ["(1,cancelled,3000)", "(2,planned,3000)"]
    );
    assert!(run(&place, "2026-01", &[]).ok().contains("run 1 exists"), "its money is counted by the second");
}

#[test]
fn a_date_far_from_now_must_be_meant() {
    let place = Place::with_affiliates();
    let row = |id: &str, at: &str| format!("{id},a1,o,10,EUR,{at}T00:00:00Z,sale\n");
    let file = [row("c1", "2026-01-05"), row("c2", "2062-01-05"), row("c3", "2016-01-05"), row("c4", "1970-01-01")];
    let ago = "which is 20 years ago, or 3 years before the last of this file; correct the date, or say --allow-dates \
               if it is meant";
    let message = format!(
        "f.csv:3:earned_at: `c2` is earned at 2062-01-05T00:00:00Z, which is more than a day from now; \
         correct the date, or say --allow-dates if it is meant\n\
         f.csv:4:earned_at: `c3` is earned at 2016-01-05T00:00:00Z, {ago}\n\
         f.csv:5:earned_at: `c4` is earned at 1970-01-01T00:00:00Z, {ago}\n\
         nothing was imported: 3 errors"
    );
    for more in [&[][..], &["--dry-run"]] {
        commissions(&place, &file.concat(), more).failed(65, &message);
    }
    assert_eq!(place.number("SELECT count(*) FROM commission"), 0);
    // Old throughout is no slip.
    commissions(&place, &row("c5", "2011-01-05"), &[]).ok();
    commissions(&place, &file.concat(), &["--allow-dates"]).ok();
    assert_eq!(place.number("SELECT count(*) FROM commission"), 5);
}

/// Everything of affiliates that an import writes.
fn affiliates(place: &Place) -> Vec<String> {
    [
        "SELECT external_id, name, email, country, currency, on_hold FROM affiliate ORDER BY 1",
        "SELECT affiliate_id, method, destination, priority, retired_at IS NULL FROM payout_method ORDER BY 1, 4, 5",
        "SELECT affiliate_id, method, currency, min_minor, max_minor FROM payout_limit ORDER BY 1, 2, 3",
        "SELECT name, hold_days FROM tenant",
    ]
    .iter()
    .flat_map(|sql| place.texts(sql))
    .collect()
}

#[test]
fn a_dry_run_names_what_would_change_and_changes_nothing() {
    const ALL: &str = "affiliate_id,name,email,country,currency,method,destination,on_hold,min,max\n";
    let place = Place::new();
    let import =
        |rows: &[&str], more: &[&str]| import(&place, "affiliates", &format!("{ALL}{}\n", rows.join("\n")), more);
    let first = [
        "Q1,Quy,q,NL,EUR,paypal,q1@example.org,true,,",
        "Q2,Qin,q,NL,EUR,paypal,q2@example.org,false,20.00,100.00",
        "Q3,Qua,q,NL,EUR,paypal,q3@example.org,false,20.00,100.00",
        "Q4,Que,q,NL,EUR,paypal,q4@example.org,,,",
    ];
    // Nobody is there yet, the tenant neither.
    let dry = import(&first, &["--dry-run"]).ok();
    assert!(
        dry.starts_with(
            "dry run: nothing was written\ntenant acme is new\naffiliates: 4 rows, 4 new, 0 updated, 0 unchanged\n\
             controls: 1 hold set, 4 limits changed\n"
        ),
        "{dry}"
    );
    assert_eq!(place.number("SELECT count(*) FROM tenant"), 0);
    import(&first, &[]).ok();
    place.run(&["affiliate", "hold", "Q4", "--tenant", "acme", "--reason", "fraud"]).ok();
    let before = affiliates(&place);

    // Blank is unchanged.
    let blank =
        ["Q1,Quy,q,NL,EUR,paypal,q1@example.org,,,", "Q2,,,,EUR,,,,,", "Q3,Qua,q,NL,EUR,,,,,", "Q4,Que,q,NL,EUR,,,,,"];
    assert_eq!(
        import(&blank, &["--dry-run"]).ok(),
        "dry run: nothing was written\naffiliates: 4 rows, 0 new, 0 updated, 4 unchanged\n"
    );
    let second = [
        "Q1,Quy,q,NL,EUR,paypal,q1@example.org,false,10.00,",
        "Q2,Qin,q,NL,EUR,none,,,25.00,none",
        "Q3,Qua,q,JP,JPY,paypal,new@example.org,true,,",
        "Q4,Que,q,NL,EUR,,,false,,",
        "Q5,Qoo,q,NL,EUR,paypal,q5@example.org,true,,",
    ];
    // Limits of a method that the row takes away cannot be set: the row says so.
    assert_eq!(import(&second, &["--dry-run"]).code, 65);
    let second = [second[0], "Q2,Qin,q,NL,EUR,none,,,,none", second[2], second[3], second[4]];
    let dry = json(import(&second, &["--dry-run", "--json"]), 0);
    let change = |affiliate: &str, what: &str, of: &str, from: &str, to: &str| {
        let or_null = |text: &str| if text.is_empty() { serde_json::Value::Null } else { text.into() };
        serde_json::json!({
            "affiliate": affiliate, "what": what, "of": or_null(of), "from": or_null(from), "to": or_null(to),
        })
    };
    assert_eq!(
        dry["changes"]["first"],
        serde_json::json!([
            change("Q1", "hold_lifted", "", "on hold", "not on hold"),
            change("Q1", "limit_changed", "paypal min", "", "10.00 EUR"),
            change("Q2", "limit_removed", "paypal max", "100.00 EUR", ""),
            change("Q2", "method_retired", "priority 0", "paypal q2@example.org", ""),
            change("Q3", "currency_changed", "", "EUR", "JPY"),
            change("Q3", "destination_changed", "priority 0", "paypal q3@example.org", "paypal new@example.org"),
            change("Q3", "hold_set", "", "not on hold", "on hold"),
            change("Q4", "hold_kept", "", "on hold", "on hold"),
            change("Q5", "hold_set", "", "", "on hold"),
        ])
    );
    let text = import(&second, &["--dry-run", "--limit", "2", "--hold-days", "9"]).ok();
    assert!(text.contains("hold lifted") && text.contains("10.00 EUR") && !text.contains("Q2"), "{text}");
    assert!(text.ends_with("and 7 more; --limit shows more of them\n"), "{text}");
    assert_eq!(affiliates(&place), before, "a dry run has changed something");
    // And so it is.
    let done = json(import(&second, &["--json"]), 0);
    for field in ["rows", "new", "updated", "unchanged", "controls"] {
        assert_eq!(done[field], dry[field], "{field}");
    }
    assert_ne!(affiliates(&place), before);
}

#[test]
fn what_a_spreadsheet_has_taken_zeros_from_is_seen() {
    let place = Place::new();
    let payee = |id: &str| format!("{AFFILIATES}{id},Zoe,z@example.org,NL,EUR,paypal,zoe@example.org\n");
    let sales = |payee: &str, ids: [&str; 2]| {
        let [one, two] = ids;
        format!(
            "{one},{payee},ORD-1,20.00,EUR,2026-01-10T10:00:00Z,sale\n\
             {two},{payee},ORD-2,20.00,EUR,2026-01-11T10:00:00Z,sale\n"
        )
    };
    assert!(!import(&place, "affiliates", &payee("007"), &[]).ok().contains("look:"));
    assert!(!commissions(&place, &sales("007", ["001", "002"]), &[]).ok().contains("look:"));

    let told = "f.csv:2:affiliate_id: affiliate's id looks like another one's: `7` and `007`, known before; \
                correct the row or take it out, or import without --strict if both are meant\n\
                f.csv:2:destination: affiliate has the destination of another one: `7` and `007`, known before; \
                correct the row or take it out, or import without --strict if both are meant\n\
                nothing was imported: 2 errors";
    for more in [&["--strict"][..], &["--strict", "--dry-run"]] {
        import(&place, "affiliates", &payee("7"), more).failed(65, told);
    }
    assert_eq!(place.number("SELECT count(*) FROM affiliate"), 1);
    let look = "look: 1 affiliate's id looks like another one's\n  line 2: `7` and `007`, known before\n\
                look: 1 affiliate has the destination of another one\n  line 2: `7` and `007`, known before\n";
    for more in [&["--dry-run"][..], &[]] {
        let answer = import(&place, "affiliates", &payee("7"), more).ok();
        assert!(answer.ends_with(look), "{answer}");
    }
    // Who is known was looked at when they came.
    assert!(!import(&place, "affiliates", &payee("7"), &["--strict"]).ok().contains("look:"));

    let look = "look: 2 commissions are another one in all but the id\
                \n  line 2: `1` and `001`, known before\
                \n  line 3: `2` and `002`, known before\n\
                look: 2 commissions' ids look like another one's\
                \n  line 2: `1` and `001`, known before\
                \n  line 3: `2` and `002`, known before\n";
    assert_eq!(commissions(&place, &sales("7", ["1", "2"]), &["--strict"]).code, 65);
    for more in [&["--dry-run"][..], &[]] {
        let answer = commissions(&place, &sales("7", ["1", "2"]), more).ok();
        assert!(answer.ends_with(look), "{answer}");
    }
    assert!(!commissions(&place, &sales("7", ["1", "2"]), &["--strict"]).ok().contains("look:"));
    let dry = json(commissions(&place, &sales("007", ["01", "3"]), &["--dry-run", "--json"]), 0);
    assert_eq!(dry["suspicions"]["counts"], serde_json::json!({"same_sale": 2, "commission_id_alike": 1}));

    // Within one file; and each of: letter case, space, letters that look alike. Another order, amount, instant or
    // payee is another sale.
    let rows = [
        "x1,7,O1,5.00,EUR,2026-02-01T00:00:00Z,sale",
        "y1,7,O1,5.00,EUR,2026-02-01T00:00:00Z,sale",
        "X01,7,O2,5.00,EUR,2026-02-01T00:00:00Z,sale",
        "z 1,007,O1,5.01,EUR,2026-02-01T00:00:00Z,sale",
        "z1,007,O1,5.00,EUR,2026-02-01T00:00:01Z,sale",
        "\u{410}9,007,O1,6.00,EUR,2026-02-01T00:00:00Z,sale",
        "a9,007,O1,7.00,EUR,2026-02-01T00:00:00Z,sale",
        "w1,007,O1,5.00,EUR,2026-02-01T00:00:00Z,sale",
        "w1,007,O1,5.00,EUR,2026-02-01T00:00:00Z,sale",
    ];
    let answer = commissions(&place, &(rows.join("\n") + "\n"), &[]).ok();
    assert!(
        answer.ends_with(
            "look: 2 commissions are another one in all but the id\
             \n  line 3: `y1` and `x1`, on line 2\
             \n  line 9: `w1` and `x1`, on line 2\n\
             look: 3 commissions' ids look like another one's\n  line 4: `X01` and `x1`, on line 2\n  \
             line 6: `z1` and `z 1`, on line 5\n  line 8: `a9` and `\u{410}9`, on line 7\n\
             look: 1 row says what another one says, under the same id, and counts once\n  \
             line 10: `w1` and `w1`, on line 9\n"
        ),
        "{answer}"
    );
}

#[test]
fn destinations_that_go_from_hand_to_hand_are_seen() {
    let place = Place::new();
    let import = |rows: &str, more: &[&str]| import(&place, "affiliates", &format!("{AFFILIATES}{rows}"), more);
    let row = |id: &str, destination: &str| format!("{id},N,e,NL,EUR,paypal,{destination}\n");
    let shared =
        import(&[row("b1", "x@example.org"), row("b2", "x@example.org"), row("b3", "y@example.org")].concat(), &[])
            .ok();
    assert!(
        shared.ends_with("look: 1 affiliate has the destination of another one\n  line 3: `b2` and `b1`, on line 2\n"),
        "{shared}"
    );
    // b3 moves away, and b4 gets what was b3's.
    assert!(!import(&row("b3", "z@example.org"), &["--strict"]).ok().contains("look:"));
    let was = import(&row("b4", "y@example.org"), &[]).ok();
    assert!(
        was.ends_with(
            "look: 1 affiliate has a destination that was another one's before\n  line 2: `b4` and `b3`, known before\n"
        ),
        "{was}"
    );
    assert_eq!(import(&row("b2", "z@example.org"), &["--strict"]).code, 65);
    // Those whose ids a version before has taken are compared too.
    place.execute("UPDATE affiliate SET id_key = NULL");
    assert!(import(&row("B2", "q@example.org"), &[]).ok().contains("line 2: `B2` and `b2`, known before"));
}

/// What a spreadsheet does to ids, truth values and amounts, and the words that lead out of it.
#[test]
fn what_a_spreadsheet_has_made_of_a_file_is_seen() {
    let place = Place::with_affiliates();
    // Two ids that it made one are one sale, all else being equal.
    let twice = "9,a1,O1,10.00,EUR,2026-01-05T10:00:00Z,sale\n".repeat(2);
    assert_eq!(commissions(&place, &twice, &["--strict"]).code, 65);
    let answer = commissions(&place, &twice, &[]).ok();
    let look = "look: 1 row says what another one says, under the same id, and counts once\n  \
                line 3: `9` and `9`, on line 2\n";
    assert!(answer.contains(look), "{answer}");
    for (id, expected) in [
        ("3.02611E+11", "commission_id: `3.02611E+11` is what a spreadsheet makes of a long number"),
        ("3,02611E+11", "commission_id: `3,02611E+11` is what a spreadsheet makes of a long number"),
        ("#N/A", "commission_id: `#N/A` is what a spreadsheet writes where a formula failed"),
    ] {
        let refused = commissions(&place, &format!("\"{id}\",a1,O1,10.00,EUR,2026-01-05T10:00:00Z,sale\n"), &[]);
        assert!(refused.code == 65 && refused.err.contains(expected), "{}", refused.err);
    }
    for id in ["E+11", "12E+11", "3.0E+1", "3.E+11", "1E11", "#1234", "A3.0E+11"] {
        commissions(&place, &format!("{id},a1,O1,10.00,EUR,2026-01-05T10:00:00Z,sale\n"), &["--dry-run"]).ok();
    }
    let on_hold = |word: &str| {
        let file = format!("{},on_hold\na1,,,,EUR,,,{word}\n", AFFILIATES.trim_end());
        import(&place, "affiliates", &file, &[]).ok();
        place.texts("SELECT on_hold FROM affiliate WHERE external_id = 'a1'")
    };
    for (word, is) in [("TRUE", "(t)"), ("FALSE", "(f)"), ("WAHR", "(t)"), ("falsch", "(f)")] {
        assert_eq!(on_hold(word), [is], "{word}");
    }
    // The advice about points between thousands, word for word.
    let german = "m1,a1,O1,\"1.500,00\",EUR,2026-01-05T10:00:00Z,sale\n";
    let refused = commissions(&place, german, &[]);
    assert!(refused.err.contains("say --decimal , and write `grouping = \".\"` in a mapping file"), "{}", refused.err);
    let columns = ["commission_id", "affiliate_id", "order_ref", "amount", "currency", "earned_at", "kind"];
    let columns: String = columns.iter().map(|name| format!("{name} = \"{name}\"\n")).collect();
    place.file("g.toml", format!("grouping = \".\"\n[commissions.columns]\n{columns}"));
    commissions(&place, german, &["--map", "g.toml", "--decimal", ","]).ok();
    assert_eq!(place.texts("SELECT amount_minor FROM commission WHERE external_id = 'm1'"), ["(150000)"]);
    // The hold period decides when everybody is paid.
    let said = |days: &str, more: &[&str]| {
        let file = format!("{AFFILIATES}a1,,,,EUR,,\n");
        import(&place, "affiliates", &file, &[&["--hold-days", days], more].concat()).ok()
    };
    for more in [&["--dry-run"][..], &[]] {
        let answer = said("45", more);
        assert!(answer.contains("hold period of acme: 0 days before, 45 now"), "{answer}");
    }
    assert!(!said("45", &[]).contains("hold period"));
}
