//! Who is paid and who not, by name; one affiliate and one payout; why nothing is paid; a word about many holds.

use std::io::{BufRead, BufReader};

use crate::harness::{AFFILIATES, Place};

const JANUARY: [&str; 5] = ["run", "--tenant", "acme", "--period", "2026-01"];

/// a1 is paid; `=a2` has a formula for a name, is on hold and under the minimum; a3 has two methods, and neither can be
/// used.
fn place() -> Place {
    let place = Place::new();
    place.file(
        "affiliates.csv",
        format!(
            "{},priority,on_hold,min\n{}",
            AFFILIATES.trim_end(),
            "a1,Ann,e,NL,EUR,paypal,ann@example.com,0,false,\n\
             a2,\"=HYPERLINK(\"\"x\"\")\",e,NL,EUR,paypal,bob@example.com,0,true,\n\
             a3,Cid,e,NL,EUR,paypal,cid@example.com,0,false,400.00\n\
             a3,Cid,e,NL,EUR,venmo,cid-wise@example.com,1,false,\n"
        ),
    );
    place.run(&["import", "affiliates", "--tenant", "acme", "affiliates.csv"]).ok();
    place.run(&["rails", "set", "--tenant", "acme", "--method", "paypal", "--rail", "sandbox-payout"]).ok();
    let sale = |id: &str, amount: &str| format!("c{id},{id},o,{amount},EUR,2026-01-05T12:00:00Z,sale\n");
    place.commissions(&[sale("a1", "25.00"), sale("a2", "9.99"), sale("a3", "300.00")].concat()).ok();
    place
}

fn cells(csv: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_bytes());
    reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[test]
fn everybody_is_named_before_and_after_with_all_that_stands_in_the_way() {
    let place = place();
    let dry = place.run(&[&JANUARY[..], &["--dry-run", "--list", "--csv", "--chunk", "1"]].concat()).ok();
    let rows = cells(&dry);
    assert_eq!(rows[0][..5], ["affiliate", "name", "currency", "amount", "verdict"]);
    assert_eq!(rows[1], ["a1", "Ann", "EUR", "25.00", "pay", "", "", "paypal", "sandbox-payout", "default", "an***om"]);
    assert_eq!(rows[2][1], "'=HYPERLINK(\"x\")", "no spreadsheet takes it for a formula");
    assert_eq!(
        rows[2][4..7],
        ["below_minimum", "less is due than the run's minimum; it adds up", "below_minimum; on_hold"]
    );
    assert_eq!(
        (rows[3][4].as_str(), rows[3][6].as_str()),
        ("outside_limits", "outside_limits (paypal); no_rail (venmo)")
    );
    assert_eq!(place.number("SELECT count(*) FROM run"), 0);
    let text = place.run(&[&JANUARY[..], &["--dry-run", "--list"]].concat()).ok();
    assert!(text.contains("outside_limits (paypal); no_rail (venmo)") && text.contains("│ EUR"), "{text}");
    let json = place.run(&[&JANUARY[..], &["--dry-run", "--list", "--json", "--destinations"]].concat()).json();
    assert_eq!(json["accounts"][0]["destination"], "ann@example.com");
    assert_eq!((&json["accounts"][0]["amount_minor"], json["plan"].as_array().unwrap().len()), (&2500.into(), 3));
    for wrong in [&["--list"][..], &["--dry-run", "--csv", "--json", "--list"], &["--dry-run", "--csv"]] {
        assert_eq!(place.run(&[&JANUARY[..], wrong].concat()).code, 64, "{wrong:?}");
    }

    place.run(&JANUARY).ok();
    let show = |args: &[&str]| place.run(&[&["run", "show", "1"], args].concat());
    let all = cells(&show(&["--csv"]).ok());
    assert_eq!(all.iter().skip(1).map(|row| row[1].as_str()).collect::<Vec<_>>(), ["a1", "a2", "a3"]);
    // The same reasons, account by account.
    for (before, after) in rows[2..].iter().zip(&all[2..]) {
        assert_eq!((&before[4], &before[6]), (&after[6], &after[8]));
    }
    assert_eq!(cells(&show(&["--payouts", "--csv"]).ok()).len(), 2);
    assert_eq!(cells(&show(&["--excluded", "--csv"]).ok()).len(), 3);
    // What stands in the way is looked at anew; the reason stays what the plan counted.
    place.run(&["affiliate", "release", "--tenant", "acme", "a2"]).ok();
    let json = show(&["--excluded", "--json"]).json();
    let one = &json["accounts"][0];
    assert_eq!((&one["code"], &one["obstacles_now"]), (&"below_minimum".into(), &vec!["below_minimum"].into()));
    assert!(show(&["--refused"]).ok().ends_with("nobody\n"));
    place.execute("UPDATE payout SET state = 'refused', code = 'account_closed'");
    let refused = cells(&show(&["--refused", "--csv"]).ok());
    assert_eq!(refused[1][5..7], ["refused", "account_closed"]);
    assert_eq!(show(&["--refused", "--held"]).code, 64);
    // An environment that is set for other commands is in nobody's way.
    let set = place.command(&["run", "show", "1", "--held"]).env("PAYFLEET_TENANT", "acme").output().unwrap();
    assert!(set.status.success(), "{set:?}");
    place.run(&["run", "show", "9"]).failed(64, "there is no run 9; `status` lists them");
    assert_eq!(place.run(&["run"]).code, 64);
}

#[test]
fn an_affiliate_and_a_payout_are_shown_by_themselves() {
    let place = place();
    place.run(&JANUARY).ok();
    let affiliate = |args: &[&str]| place.run(&[&["affiliate", "show", "--tenant", "acme"], args].concat());
    let json = affiliate(&["a2", "--json"]).json();
    assert_eq!((&json["balances"][0]["due_minor"], &json["holds"][0]["by"]), (&999.into(), &"file".into()));
    let codes: Vec<&str> =
        json["balances"][0]["obstacles"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["below_minimum", "on_hold"]);
    assert_eq!((&json["runs"][0]["state"], &json["runs"][0]["code"]), (&"excluded".into(), &"below_minimum".into()));
    let text = affiliate(&["a3"]).ok();
    for told in
        ["outside_limits (paypal): ", "no_rail (venmo): ", "from 400.00 EUR", "ci***om", "sandbox-payout/default"]
    {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(affiliate(&["a3", "--destinations"]).ok().contains("cid-wise@example.com"));
    affiliate(&["a9"]).failed(64, "tenant acme has no affiliate `a9`");

    let number = place.number("SELECT id FROM payout").to_string();
    let json = place.run(&["payout", "show", &number, "--json"]).json();
    let key = json["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with(&format!("{number}-")), "{key}");
    assert_eq!((&json["commissions"][0]["commission"], &json["destination"]), (&"ca1".into(), &"an***om".into()));
    assert_eq!((&json["events"][0]["what"], &json["state"]), (&"run_created".into(), &"planned".into()));
    let text = place.run(&["payout", "show", &key, "--destinations"]).ok();
    for told in
        ["ann@example.com", "ledger: reserve 25.00 EUR, payable to reserved", "next: nothing; `status RUN` says"]
    {
        assert!(text.contains(told), "{told}: {text}");
    }
    let other = format!("{number}-0000000000000000");
    let refused = place.run(&["payout", "show", &other]);
    assert!(
        refused.code == 64 && refused.err.contains(&format!("is no key of ours: that of payout {number} is {key}"))
    );
    place.run(&["payout", "show", "77"]).failed(64, "there is no payout 77; `run show RUN` has the numbers of a run's");
    assert_eq!(place.run(&["payout", "show", "a1"]).code, 64);
}

/// Nobody pays: who waits is told why, and is not left waiting for a run that somebody cancels.
#[test]
fn a_run_that_nobody_pays_says_why_and_ends_for_who_waits_when_it_is_cancelled() {
    let place = place();
    let mut waiting = place.start(&[&JANUARY[..], &["--wait"]].concat());
    let mut told = String::new();
    let mut err = BufReader::new(waiting.stderr.take().unwrap());
    while !told.contains("no worker lives") {
        assert!(err.read_line(&mut told).unwrap() > 0, "{told}");
    }
    assert!(
        told.contains("run 1: nothing has moved for ")
            && told.contains("1 batch (1 payouts) of sandbox-payout/default")
    );
    let status = place.run(&["status"]).ok();
    assert!(status.contains("run 1 waits: 1 batch (1 payouts) of sandbox-payout/default, open since "), "{status}");
    let one = place.run(&["status", "1", "--json"]).json();
    assert_eq!((&one["waits"][0]["reason"], &one["waits"][0]["payouts"]), (&"no_worker".into(), &1.into()));
    assert!(place.run(&["status", "1"]).ok().contains("What waits, and why"));
    let cancelled = place.run(&["cancel", "1"]).ok();
    assert!(cancelled.contains("1 payouts are never sent, and their money is due again"), "{cancelled}");
    assert!(place.run(&["cancel", "1"]).ok().contains("1 payouts are never sent"), "however often it is asked");
    let done = Place::finish(waiting);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.out.contains("run 1: acme 2026-01, cancelled;"), "{done:?}");
}

#[test]
fn a_database_that_is_behind_is_told_first_and_nothing_is_written() {
    let place = place();
    place.run(&JANUARY).ok();
    place.execute(
        "INSERT INTO attempt
         SELECT id, 1, tenant_id, 1, 'w', clock_timestamp(), clock_timestamp() + interval '1 minute' FROM batch",
    );
    place.run(&["tick"]).ok();
    assert!(!place.run(&["status"]).ok().contains("BEHIND"));
    place.execute("DELETE FROM attempt");
    for args in [&["status"][..], &["status", "1"]] {
        let told = place.run(args).ok();
        assert!(
            told.starts_with("THE DATABASE IS BEHIND what was seen of it before: attempt 1 of batch 1, "),
            "{told}"
        );
    }
    let json = place.run(&["status", "--json"]).json();
    assert!(json["behind"].as_str().unwrap().starts_with("attempt 1 of batch 1, "));
    assert_eq!(place.number("SELECT count(*) FROM recovery"), 0, "who only looks stops nobody");
    assert_eq!(place.run(&["tick"]).code, 69);
    assert!(place.run(&["status"]).ok().starts_with("A RECOVERY IS OPEN since "));
}

#[test]
fn many_holds_are_decided_in_one_go_each_by_the_rules_that_it_has_alone() {
    let place = Place::with_affiliates();
    let sales = ["a1", "a2", "a3"].map(|id| format!("c{id},{id},o,25.00,EUR,2011-11-05T12:00:00Z,sale\n"));
    place.commissions(&sales.concat()).ok();
    place.run(&["run", "--tenant", "acme", "--period", "2011-11", "--batch-size", "1"]).ok();
    place.execute(
        "ALTER TABLE batch DISABLE TRIGGER batch_fixed;
         UPDATE batch SET rail = 'sandbox-file', state = 'held', attempt = 1, first_sent_at = now(), closed_at = now();
         -- A request for the last one may still arrive.
         INSERT INTO attempt SELECT id, 1, tenant_id, 1, 'w', now() - interval '9 days',
                now() + CASE WHEN id = (SELECT max(id) FROM batch) THEN interval '1 hour' ELSE interval '-8 days' END,
                now(), 'unknown'
           FROM batch;
         UPDATE payout SET state = 'held', code = 'no_way_to_know';
         INSERT INTO hold (tenant_id, run_id, payout_id, reason)
         SELECT tenant_id, run_id, id, code FROM payout ORDER BY id;
         INSERT INTO rail_account (rail, account, reaches_to, reaches_ours)
         SELECT DISTINCT rail, account, now(), now() FROM batch
             ON CONFLICT (rail, account) DO UPDATE SET reaches_to = now(), reaches_ours = now()",
    );
    let (ann, bob) = (place.person("ann", "approver"), place.person("bob", "approver"));
    let last = place.number("SELECT max(id) FROM payout");
    let all = ["holds", "decide", "--run", "1", "--code", "no_way_to_know", "--not-paid"];
    let first = place.run_as(&ann, &all);
    assert_eq!(first.code, 75, "{first:?}");
    let lines: Vec<&str> = first.out.lines().collect();
    assert!(lines[0].starts_with(&format!("payout {last}: refused: payout {last} may still be paid")), "{first:?}");
    assert_eq!(
        lines[1..],
        [
            "2 payouts are proposed as not paid; a second person must say the same",
            "1 payouts were refused; each is named above"
        ]
    );
    let same = place.run_as(&ann, &all);
    assert!(same.out.ends_with("3 payouts were refused; each is named above\n"), "one person is one: {same:?}");
    assert_eq!(place.number("SELECT count(*) FROM payout WHERE state = 'held'"), 3);

    let numbers: Vec<String> = place
        .texts("SELECT id FROM payout ORDER BY id")
        .iter()
        .map(|row| row.trim_matches(['(', ')']).to_owned())
        .collect();
    let file = format!("# of the bank\n{}\n\n{}\n", numbers[0], numbers[1]);
    let input = |text: &str| {
        place.file("numbers.txt", text);
        place.run_as(&bob, &["holds", "decide", "--from", "numbers.txt", "--not-paid"])
    };
    let wrong = input(&format!("{file}x\n"));
    assert!(wrong.code == 65 && wrong.err.contains("numbers.txt:5: `x` is neither"), "{wrong:?}");
    assert_eq!(place.number("SELECT count(*) FROM payout WHERE state = 'held'"), 3, "nothing was decided");
    let second = input(&file);
    assert_eq!((second.code, second.out.as_str()), (0, "2 payouts count as not paid\n"), "{second:?}");
    assert_eq!(place.number("SELECT count(*) FROM payout WHERE state = 'refused'"), 2);
    let paid = place.run_as(&bob, &["holds", "decide", "--run", "1", "--code", "no_way_to_know", "--paid", "r"]);
    assert!(paid.code == 64 && paid.err.contains("one payment is of one payout"), "{paid:?}");
    assert_eq!(place.run_as(&bob, &["holds", "decide", "--run", "1", "--not-paid"]).code, 64);
    assert_eq!(place.run_as(&bob, &["holds", "decide", "--run", "1", "--code", "odd", "--not-paid"]).code, 64);
}
