//! Controls outlive the files that follow: holds, limits and ways to be paid are taken away in so many words, and
//! counted; a limit binds its currency only.

use crate::harness::{COMMISSIONS, Place};

const HEADER: &str = "affiliate_id,name,email,country,currency,method,destination";

/// A tenant whose rail pays everybody.
fn place() -> Place {
    let place = Place::new();
    place.file("none.csv", format!("{HEADER}\nnobody,N,e,NL,EUR,paypal,n@example.org\n"));
    place.run(&["import", "affiliates", "--tenant", "acme", "none.csv"]).ok();
    for method in ["paypal", "venmo"] {
        place.run(&["rails", "set", "--tenant", "acme", "--method", method, "--rail", "sandbox-payout"]).ok();
    }
    place
}

/// Imports affiliates with these columns beside the usual ones; what the answer says of controls.
fn import(place: &Place, columns: &str, rows: &[&str]) -> String {
    place.file("affiliates.csv", format!("{HEADER}{columns}\n{}\n", rows.join("\n")));
    let answer = place.run(&["import", "affiliates", "--tenant", "acme", "affiliates.csv"]).ok();
    answer.split_once("unchanged\n").unwrap().1.to_owned()
}

/// Sales of 2026-01, as `affiliate amount currency`.
fn sales(place: &Place, sales: &[&str]) {
    let row = |(n, sale): (usize, &&str)| match sale.split(' ').collect::<Vec<_>>()[..] {
        [who, amount, currency] => format!("s{n},{who},O{n},{amount},{currency},2026-01-10T10:00:00Z,sale\n"),
        _ => panic!("{sale}"),
    };
    let rows: String = sales.iter().enumerate().map(row).collect();
    place.file("sales.csv", format!("{COMMISSIONS}{rows}"));
    place.run(&["import", "commissions", "--tenant", "acme", "sales.csv"]).ok();
}

/// What a run would decide: `currency verdict accounts amount`.
fn decided(place: &Place) -> Vec<String> {
    let answer = place.run(&["run", "--tenant", "acme", "--period", "2026-01", "--dry-run", "--json"]).json();
    let line = |line: &serde_json::Value| {
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        format!("{} {} {} {}", text("currency"), text("verdict"), line["accounts"], line["amount_minor"])
    };
    answer["plan"].as_array().unwrap().iter().map(line).collect()
}

const MOVED: &str = "1 affiliate is in another currency now, without limits in it: \
                     limits of other currencies do not bind; import min and max with the new currency\n";

#[test]
fn a_limit_binds_its_own_currency_only() {
    let place = place();
    let row = |id: &str| format!("{id},N,e,NL,EUR,paypal,{id}@example.org,50.00,100.00");
    let rows = ["L1", "L2", "L3", "L4"].map(row);
    assert_eq!(import(&place, ",min,max", &rows.each_ref().map(String::as_str)), "controls: 8 limits changed\n");
    sales(&place, &["L1 20000 JPY", "L2 30.000 KWD", "L3 4000 JPY", "L4 49.99 EUR", "L4 100.01 HUF"]);
    let all = ["EUR outside_limits 1 4999", "HUF pay 1 10001", "JPY pay 2 24000", "KWD pay 1 30000"];
    assert_eq!(decided(&place), all);
    assert_eq!(import(&place, "", &["L3,N,e,JP,JPY,paypal,l3@example.org"]), MOVED);
    assert_eq!(decided(&place), all);
    // Limits of the new currency, in its own units; those of the old one are still there.
    assert_eq!(
        import(&place, ",min,max", &["L3,N,e,JP,JPY,paypal,l3@example.org,4001,9000"]),
        "controls: 2 limits changed\n"
    );
    assert_eq!(decided(&place)[2..], ["JPY outside_limits 1 4000", "JPY pay 1 20000", "KWD pay 1 30000"]);
    assert_eq!(import(&place, ",max", &["L2,N,e,KW,KWD,,,29.999"]), "controls: 1 limit changed\n");
    assert_eq!(decided(&place)[4..], ["KWD outside_limits 1 30000"]);
    // Back to the first currency: its limits were kept.
    assert_eq!(import(&place, "", &["L3,N,e,NL,EUR,,"]), "");
    assert_eq!(
        place.texts(
            "SELECT l.currency, min_minor, max_minor
               FROM payout_limit l JOIN affiliate a ON a.id = affiliate_id
              WHERE external_id = 'L3'
              ORDER BY 1"
        ),
        ["(EUR,5000,10000)", "(JPY,4001,9000)"]
    );
}

#[test]
fn a_later_file_takes_nothing_away_that_it_does_not_name() {
    let place = place();
    let rows = [
        "Q1,Quy,q1@example.org,NL,EUR,paypal,q1@example.org,true,,",
        "Q2,Qin,q2@example.org,NL,EUR,paypal,q2@example.org,false,20.00,100.00",
        "Q3,Qua,q3@example.org,NL,EUR,paypal,q3@example.org,false,20.00,100.00",
        "Q4,Que,q4@example.org,NL,EUR,paypal,q4@example.org,false,,",
    ];
    assert_eq!(import(&place, ",on_hold,min,max", &rows), "controls: 1 hold set, 4 limits changed\n");
    sales(&place, &["Q1 500.00 EUR", "Q2 500.00 EUR", "Q3 500.00 EUR", "Q4 500.00 EUR"]);
    assert_eq!(import(&place, ",on_hold", &["Q1,Quy,q1@example.org,NL,EUR,paypal,q1@example.org,"]), "");
    assert_eq!(
        import(&place, ",min", &["Q2,Qin,q2@example.org,NL,EUR,paypal,q2@example.org,25.00"]),
        "controls: 1 limit changed\n"
    );
    assert_eq!(
        import(&place, "", &["Q3,Qua,q3@example.org,NL,EUR,paypal,q3new@example.org"]),
        "controls: 1 destination changed\n"
    );
    assert_eq!(import(&place, "", &["Q4,Que Ltd,q4@example.org,NL,EUR,,"]), "");
    assert_eq!(decided(&place), ["EUR on_hold 1 50000", "EUR outside_limits 2 100000", "EUR pay 1 50000"]);
}

/// Each control against a column that is not there, an empty field, and `none` or its like.
#[test]
fn absent_and_empty_are_unchanged_and_none_takes_away() {
    let place = place();
    let state = || {
        place.texts(
            "SELECT on_hold, l.min_minor, l.max_minor, destination FROM affiliate a
               LEFT JOIN payout_limit l ON l.affiliate_id = a.id
               LEFT JOIN payout_method m ON m.affiliate_id = a.id AND retired_at IS NULL WHERE external_id = 'a'",
        )
    };
    let step = |columns: &str, rest: &str, said: &str, then: &str| {
        let row = format!("a,N,e,HU,HUF,{rest}");
        assert_eq!(import(&place, columns, &[&row]), said, "{columns}: {rest}");
        assert_eq!(state(), [then], "{columns}: {rest}");
    };
    let all = ",on_hold,min,max";
    step(all, "paypal,a@x.org,true,10.00,20.00", "controls: 1 hold set, 2 limits changed\n", "(t,1000,2000,a@x.org)");
    step("", ",", "", "(t,1000,2000,a@x.org)");
    step(all, ",,,,", "", "(t,1000,2000,a@x.org)");
    step(",on_hold", ",,true", "", "(t,1000,2000,a@x.org)");
    step(",on_hold", ",,false", "controls: 1 hold lifted\n", "(f,1000,2000,a@x.org)");
    step(",on_hold", ",,", "", "(f,1000,2000,a@x.org)");
    // A file that knows of no hold does not end one that a person placed, and says so.
    place.run(&["affiliate", "hold", "a", "--tenant", "acme", "--reason", "fraud"]).ok();
    let kept = "1 affiliate stays on hold though the file says otherwise: a person placed the hold; \
                `affiliate release` ends it\n";
    step(",on_hold", ",,false", kept, "(t,1000,2000,a@x.org)");
    step(",on_hold", ",,", "", "(t,1000,2000,a@x.org)");
    place.run(&["affiliate", "release", "a", "--tenant", "acme"]).ok();
    step(",on_hold", ",,false", "", "(f,1000,2000,a@x.org)");
    step(",max", ",,30.00", "controls: 1 limit changed\n", "(f,1000,3000,a@x.org)");
    step(",max", ",,none", "controls: 1 limit removed\n", "(f,1000,,a@x.org)");
    step(",max", ",,none", "", "(f,1000,,a@x.org)");
    step(
        all,
        "paypal,b@x.org,,none,40.00",
        "controls: 1 limit changed, 1 limit removed, 1 destination changed\n",
        "(f,,4000,b@x.org)",
    );
    step(",max", "none,,none", "controls: 1 limit removed, 1 method retired\n", "(f,,,)");
    step("", "none,none", "", "(f,,,)");
    step("", ",", "", "(f,,,)");
    step("", "venmo,c@x.org", "", "(f,,,c@x.org)");

    // One limit that does not go with the other, which stays.
    import(&place, ",max", &["a,N,e,HU,HUF,,,40.00"]);
    place.file("affiliates.csv", format!("{HEADER},min\na,N,e,HU,HUF,,,40.01\n"));
    place.run(&["import", "affiliates", "--tenant", "acme", "affiliates.csv"]).failed(
        65,
        "affiliates.csv:2:min: `a` would have a `min` of 40.01 HUF above its `max` of 40.00 HUF, of which one was set \
         before; give both, or `none`\n\
         nothing was imported: 1 error",
    );
    let json = place.run(&["import", "affiliates", "--tenant", "acme", "--json", "affiliates.csv"]);
    assert_eq!(json.code, 65);
    place.file("affiliates.csv", format!("{HEADER},min,on_hold\na,N,e,HU,HUF,,,40.00,true\n"));
    let json = place.run(&["import", "affiliates", "--tenant", "acme", "--json", "affiliates.csv"]).json();
    let counts = r#"{"destinations_changed":0,"holds_kept":0,"holds_lifted":0,"holds_set":1,"limits_changed":1,
        "limits_of_other_currency":0,"limits_removed":0,"methods_retired":0,"perhaps_sent":0}"#;
    assert_eq!(json["controls"], serde_json::from_str::<serde_json::Value>(counts).unwrap());
}

#[test]
fn each_of_several_methods_has_limits_of_its_own() {
    let place = place();
    let two = ["m,N,e,NL,EUR,paypal,m@x.org,0,,60.00", "m,N,e,NL,EUR,venmo,m@x.org,1,60.01,90.00"];
    assert_eq!(import(&place, ",priority,min,max", &two), "controls: 3 limits changed\n");
    sales(&place, &["m 61.00 EUR"]);
    assert_eq!(decided(&place), ["EUR pay 1 6100"]);
    assert_eq!(import(&place, ",priority,max", &["m,N,e,NL,EUR,,,1,60.50"]), "controls: 1 limit changed\n");
    assert_eq!(decided(&place), ["EUR outside_limits 1 6100"]);
    // What one of the lines says of the affiliate counts for all; a line that says nothing contradicts nobody.
    let rows = ["m,,,,EUR,,,0,,", "m,N,e,NL,EUR,,,1,,true"];
    assert_eq!(import(&place, ",priority,max,on_hold", &rows), "controls: 1 hold set\n");
    assert_eq!(
        import(&place, ",priority,max,on_hold", &["m,,,,EUR,,,0,none,false"]),
        "controls: 1 hold lifted, 1 limit removed\n"
    );
    assert_eq!(decided(&place), ["EUR pay 1 6100"]);
}
