//! Runs: planned once, whoever asks, however often, and whatever dies meanwhile.

use std::collections::BTreeSet;

use crate::harness::{Place, data};

const JANUARY: [&str; 5] = ["run", "--tenant", "acme", "--period", "2026-01"];

/// Everything that a plan wrote, without what differs from one database to the next.
fn plan(place: &Place) -> Vec<String> {
    [
        "SELECT p.id, a.external_id, p.amount_minor, p.carried_minor, p.currency
           FROM payout p JOIN affiliate a ON a.id = p.affiliate_id
          ORDER BY p.id",
        "SELECT run_id, a.external_id, e.currency, reason, amount_minor
           FROM exclusion e JOIN affiliate a ON a.id = e.affiliate_id
          ORDER BY 1, 2, 3",
        "SELECT run_id, rail, currency, first_payout_id, last_payout_id, payouts, amount_minor
           FROM batch
          ORDER BY first_payout_id",
        "SELECT run_id, currency, verdict, sum(accounts), sum(amount_minor)
           FROM run_plan
          GROUP BY 1, 2, 3
          ORDER BY 1, 2, 3",
        "SELECT payout_id, kind, amount_minor FROM transfer ORDER BY payout_id, kind",
        "SELECT a.external_id, c.currency, carried_minor
           FROM account c JOIN affiliate a ON a.id = c.affiliate_id
          ORDER BY 1, 2",
    ]
    .iter()
    .flat_map(|sql| place.texts(sql))
    .collect()
}

fn sample(affiliates: &str) -> Place {
    let place = Place::new();
    place.run(&["sample", "--affiliates", affiliates, "--commissions-per-affiliate", "2", "--tenant", "acme"]).ok();
    for method in ["paypal", "sepa"] {
        place.run(&["rails", "set", "--tenant", "acme", "--method", method, "--rail", "null"]).ok();
    }
    place
}

#[test]
fn a_dry_run_decides_what_the_run_does_and_writes_nothing() {
    let place = sample("3000");
    let before = plan(&place);
    let dry = place.run(&[&JANUARY[..], &["--dry-run", "--json", "--chunk", "700"]].concat()).json();
    assert_eq!(plan(&place), before);
    assert_eq!(place.number("SELECT count(*) FROM run"), 0);
    let run = place.run(&[&JANUARY[..], &["--json"]].concat()).json();
    assert_eq!(dry["plan"], run["plan"]);
    let verdicts: BTreeSet<&str> =
        run["plan"].as_array().unwrap().iter().map(|line| line["verdict"].as_str().unwrap()).collect();
    let expected = ["below_minimum", "negative_balance", "no_method", "on_hold", "pay"];
    assert_eq!(verdicts, BTreeSet::from(expected));
    assert_eq!((&run["new"], &run["state"], &run["run"]), (&true.into(), &"paying".into(), &1.into()));
}

#[test]
fn a_run_is_asked_for_as_often_as_one_likes() {
    let place = sample("500");
    let first = place.run(&[&JANUARY[..], &["--json"]].concat()).json();
    let before = plan(&place);
    let second = place.run(&[&JANUARY[..], &["--json"]].concat()).json();
    assert_eq!((&second["new"], &second["run"], &second["plan"]), (&false.into(), &first["run"], &first["plan"]));
    assert!(place.run(&JANUARY).ok().starts_with("run 1 exists\nrun 1: acme 2026-01, paying; cutoff "));
    place.run(&["tick"]).ok();
    assert_eq!(plan(&place), before);
    place.run(&[&JANUARY[..], &["--minimum", "20"]].concat()).failed(
        64,
        "run 1 of acme 2026-01 exists with --minimum 10.00, and 20.00 is asked for; \
         the minimum of a run never changes: leave it out, or use --sequence",
    );
    let earlier = "period 2025-12 ended before the last cutoff, that of 2026-01: what was due then belongs to later \
                   runs; runs are created in the order of their periods";
    for dry in [&[][..], &["--dry-run"]] {
        place.run(&[&["run", "--tenant", "acme", "--period", "2025-12"], dry].concat()).failed(64, earlier);
        place
            .run(&[&JANUARY[..], &["--sequence", "3"], dry].concat())
            .failed(64, "run 3 of period 2026-01 needs run 2 of it first");
    }
    place
        .run(&["run", "--tenant", "acme", "--period", "2999-01"])
        .failed(64, "period 2999-01 has not ended yet; its cutoff is its last instant in UTC");
}

#[test]
fn two_coordinators_at_once_make_one_run_and_one_plan() {
    let reference = sample("3000");
    reference.run(&[&JANUARY[..], &["--chunk", "200"]].concat()).ok();

    let place = sample("3000");
    let gate = place.gate("INSERT", "run", "true");
    let args = [&JANUARY[..], &["--chunk", "200", "--json"]].concat();
    let started = [place.start(&args), place.start(&args)];
    place.until_waiting(2); // one holds the tenant's cutoff lock and waits at the gate, the other waits for the lock
    gate.open();
    let answers = started.map(|child| Place::finish(child).json());
    let new = answers.iter().filter(|answer| answer["new"] == true).count();
    assert_eq!((new, &answers[0]["plan"]), (1, &answers[1]["plan"]));
    assert_eq!(place.number("SELECT count(*) FROM run"), 1);
    assert_eq!(plan(&place), plan(&reference));
}

#[test]
fn a_coordinator_that_was_killed_is_gone_on_with() {
    let reference = sample("3000");
    reference.run(&[&JANUARY[..], &["--chunk", "200"]].concat()).ok();

    for command in [&JANUARY[..], &["tick"]] {
        let place = sample("3000");
        let gate = place.gate("UPDATE", "plan_chunk", "NEW.n = 6");
        let mut child = place.start(&[&JANUARY[..], &["--chunk", "200", "--connections", "1"]].concat());
        place.until_waiting(1); // in the middle of a chunk
        child.kill().unwrap();
        child.wait().unwrap();
        gate.open();
        assert_eq!(place.number("SELECT count(*) FROM plan_chunk WHERE n = 6 AND NOT is_planned"), 1);
        place.run(&[command, &["--chunk", "200"]].concat()).ok();
        assert_eq!(plan(&place), plan(&reference));
        assert_eq!(place.texts("SELECT state FROM run"), ["(paying)"]);
    }
}

#[test]
fn what_becomes_known_late_is_in_the_next_run_exactly_once() {
    let place = Place::with_affiliates();
    let run = |period: &str, sequence: &str| {
        place.run(&["run", "--tenant", "acme", "--period", period, "--sequence", sequence, "--minimum", "1"]).ok();
    };
    place.commissions("c1,a1,o,10,EUR,2011-10-05T00:00:00Z,sale\n").ok();
    assert_eq!(place.run(&["periods", "--tenant", "acme"]).ok(), "2011-10\n");
    run("2011-10", "1");
    // To the microsecond: what is due at the cutoff was due in time, and is late now.
    place
        .commissions(
            "c2,a1,o,20,EUR,2011-10-31T23:59:59.9999999Z,sale\n\
             c3,a2,o,30,EUR,2011-11-01T00:00:00Z,sale\n\
             c4,a3,o,40,EUR,2010-01-01T00:00:00Z,sale\n",
        )
        .ok();
    assert_eq!(
        place.texts("SELECT external_id, late_for FROM commission ORDER BY 1"),
        ["(c1,)", "(c2,2)", "(c3,)", "(c4,2)"]
    );
    // A further run of the same month pays them at once; the next month's does not pay them again.
    run("2011-10", "2");
    run("2011-11", "1");
    assert_eq!(
        place.texts(
            "SELECT run_id, a.external_id, amount_minor
               FROM payout p JOIN affiliate a ON a.id = p.affiliate_id
              ORDER BY p.id"
        ),
        ["(1,a1,1000)", "(2,a1,2000)", "(2,a3,4000)", "(3,a2,3000)"]
    );
    assert_eq!(place.run(&["periods", "--tenant", "acme"]).ok(), "");
}

#[test]
fn people_pause_resume_and_cancel() {
    let place = Place::with_affiliates();
    place.commissions("c1,a1,o,10,EUR,2026-01-05T00:00:00Z,sale\nc2,a2,o,20,EUR,2026-01-05T00:00:00Z,sale\n").ok();
    place.run(&JANUARY).ok();
    place.run(&["pause", "1", "--reason", "the bank called"]).ok();
    let paused = "run 1 is paused: the bank called; `resume 1` lets it go on";
    let waited = place.run(&[&JANUARY[..], &["--wait"]].concat());
    assert_eq!((waited.code, waited.err.as_str()), (75, format!("error: {paused}\n").as_str()));
    place.run(&["resume", "1"]).ok();
    let out = place.run(&["cancel", "1"]).ok();
    assert!(out.starts_with("run 1 is cancelled: nothing more of it is sent\n"), "{out}");
    place.run(&["resume", "1"]).failed(64, "run 1 is cancelled and cannot be resumed");
    // Nobody begins again what a person has stopped, and cron sees that money is due.
    assert_eq!(place.run(&JANUARY).code, 3);
    assert_eq!(place.run(&[&JANUARY[..], &["--wait"]].concat()).code, 3);
    let again = place.run(&[&JANUARY[..], &["--sequence", "2", "--json"]].concat()).json();
    assert_eq!(again["plan"][0]["amount_minor"], 3000);
    let status = place.run(&["status", "2", "--json"]).json();
    assert_eq!((&status["state"], &status["progress"]["payouts"]), (&"paying".into(), &2.into()));
    assert_eq!(
        status["outcomes"][0],
        serde_json::json!({"state": "planned", "currency": "EUR", "payouts": 2, "amount_minor": 3000})
    );
    assert!(place.run(&["status"]).ok().contains("2026-01 (2)"));
}

#[test]
fn cancelling_a_half_made_plan_finishes_it_and_pays_nobody() {
    let place = sample("3000");
    let due = "SELECT sum(amount_minor)::bigint FROM commission";
    let gate = place.gate("UPDATE", "plan_chunk", "NEW.n = 6");
    let mut child = place.start(&[&JANUARY[..], &["--chunk", "200", "--connections", "1"]].concat());
    place.until_waiting(1);
    child.kill().unwrap();
    child.wait().unwrap();
    gate.open();
    place.run(&["pause", "1"]).ok();
    assert_eq!(place.run(&JANUARY).code, 75);
    place.run(&["tick"]).ok();
    assert_eq!(place.texts("SELECT state FROM run"), ["(planning)"]);
    place.run(&["cancel", "1"]).ok();
    assert_eq!(place.texts("SELECT state, paying_at IS NULL AS never_begun FROM run"), ["(cancelled,t)"]);
    assert_eq!(place.number("SELECT sum(carried_minor)::bigint FROM account"), place.number(due));
    assert_eq!(place.number("SELECT count(*) FROM payout WHERE state <> 'cancelled'"), 0);
}

#[test]
fn the_public_data_is_planned_as_was_worked_out_elsewhere() {
    let Some(data) = data() else { return };
    let place = Place::new();
    for kind in ["affiliates", "commissions"] {
        let file = data.join(format!("retail_{kind}.csv"));
        place.run(&["import", kind, "--tenant", "retail", file.to_str().unwrap()]).ok();
    }
    for method in ["paypal", "sepa"] {
        place.run(&["rails", "set", "--tenant", "retail", "--method", method, "--rail", "sandbox-batch"]).ok();
    }
    let periods = place.run(&["periods", "--tenant", "retail", "--json"]).json();
    let periods: Vec<&str> =
        periods["periods"].as_array().unwrap().iter().map(|period| period.as_str().unwrap()).collect();
    assert_eq!((periods.len(), periods[0], periods[12]), (13, "2010-12", "2011-12"));
    for period in periods {
        place.run(&["run", "--tenant", "retail", "--period", period]).ok();
    }
    let planned: BTreeSet<(String, String, String, i64)> = place
        .rows(
            "SELECT r.period, a.external_id, p.currency::text, p.amount_minor
               FROM payout p JOIN run r ON r.id = p.run_id JOIN affiliate a ON a.id = p.affiliate_id",
        )
        .iter()
        .map(|row| (sqlx::Row::get(row, 0), sqlx::Row::get(row, 1), sqlx::Row::get(row, 2), sqlx::Row::get(row, 3)))
        .collect();
    let text = std::fs::read_to_string(data.join("retail_expected_payouts.csv")).unwrap();
    let expected: BTreeSet<(String, String, String, i64)> = text
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let currency: payfleet_domain::Currency = fields[2].parse().unwrap();
            let minor = currency.parse_amount(fields[3]).unwrap().minor;
            (fields[0].to_owned(), fields[1].to_owned(), fields[2].to_owned(), minor)
        })
        .collect();
    assert_eq!(expected.len(), 10_398);
    let missing: Vec<_> = expected.difference(&planned).take(5).collect();
    let surplus: Vec<_> = planned.difference(&expected).take(5).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, surplus {surplus:?}");
}

#[test]
fn the_rail_that_pays_nobody_must_be_asked_for() {
    let place = Place::with_affiliates();
    let set = ["rails", "set", "--tenant", "acme", "--method", "sepa", "--rail", "null"];
    let output = place.command(&set).env_remove("PAYFLEET_NULL_RAIL").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{told}");
    assert!(told.contains("marks everybody paid and pays nobody"), "{told}");
    let asked =
        place.command(&[&set[..], &["--null-rail"]].concat()).env_remove("PAYFLEET_NULL_RAIL").output().unwrap();
    assert!(asked.status.success());
}
