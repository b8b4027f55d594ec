//! What `status` says: one word must not hide another.

use crate::harness::Place;

/// A run of three payouts in one batch, whose payment has begun.
fn paying() -> Place {
    let place = Place::with_affiliates();
    let sales = ["a1", "a2", "a3"].map(|id| format!("c{id},{id},o,25.00,EUR,2011-11-05T12:00:00Z,sale\n"));
    place.commissions(&sales.concat()).ok();
    place.run(&["run", "--tenant", "acme", "--period", "2011-11"]).ok();
    place
}

/// The state of the one run, as the list of runs shows it.
fn listed(place: &Place) -> String {
    let table = place.run(&["status"]).ok();
    let row = table.lines().find(|line| line.contains("2011-11")).unwrap();
    // Columns stand apart by more than one space.
    row.split("2011-11").nth(1).unwrap().trim().split("  ").next().unwrap().to_owned()
}

#[test]
fn the_list_says_what_came_back_what_is_held_and_which_cancelled_run_differs() {
    let place = paying();
    assert_eq!(listed(&place), "paying");
    place.execute(
        "UPDATE payout
            SET state = 'returned', reference = 'po_1', settled_at = now()
          WHERE id = (SELECT min(id) FROM payout);
         INSERT INTO movement (tenant_id, payout_id, kind, reference, amount_minor, currency, source)
           SELECT tenant_id, id, 'returned', 'back-' || n, amount_minor - n, currency, 'statement'
             FROM payout, generate_series(0, 1) AS n
            WHERE state = 'returned';
         UPDATE payout SET state = 'held', code = 'no_way_to_know' WHERE state = 'planned';
         INSERT INTO hold (tenant_id, run_id, payout_id, reason)
         SELECT tenant_id, run_id, id, code FROM payout WHERE state = 'held';
         UPDATE run
            SET state = 'reconciled', verdict = 'reconciled', judged_at = now(), settled_at = now(),
              reconciled_at = now();",
    );
    assert_eq!(listed(&place), "reconciled, 1 returned, 2 held");
    let run = place.run(&["status", "--json"]).json()["runs"][0].clone();
    assert_eq!((&run["held"], &run["returned"], &run["state"]), (&2.into(), &1.into(), &"reconciled".into()));
    let one = place.run(&["status", "1"]).ok();
    let back = one.split("Came back, and due again").nth(1).unwrap();
    assert!(back.contains(&place.number("SELECT min(id) FROM payout").to_string()) && back.contains("a1"), "{one}");
    let returned = place.run(&["status", "1", "--json"]).json()["returned"].clone();
    assert_eq!((returned.as_array().unwrap().len(), &returned[0]["amount_minor"]), (1, &2500.into()));

    place.execute("UPDATE run SET state = 'cancelled', verdict = 'discrepant', reconciled_at = NULL");
    assert_eq!(listed(&place), "cancelled and discrepant, 1 returned, 2 held");
    let headline = place.run(&["status", "1"]).ok();
    assert!(headline.contains("cancelled and discrepant;"), "{headline}");
}

/// A batch is closed when the last of its payouts is done, and its last failure is of those that have no answer.
#[test]
fn payouts_are_counted_and_not_batches() {
    let place = paying();
    place.execute(
        "UPDATE batch SET state = 'sending', attempt = 1, first_sent_at = now(), last_code = 'timeout';
         UPDATE payout
            SET state = 'paid', reference = 'po_1', settled_at = now()
          WHERE id = (SELECT min(id) FROM payout);
         UPDATE payout SET state = 'refused', code = 'account_closed' WHERE id = (SELECT max(id) FROM payout);
         UPDATE payout SET state = 'unknown' WHERE state = 'planned';",
    );
    let text = place.run(&["status", "1"]).ok();
    assert!(text.contains("payouts done: 2 of 3"), "{text}");
    let json = place.run(&["status", "1", "--json"]).json();
    assert_eq!((&json["progress"]["payouts_done"], &json["progress"]["payouts"]), (&2.into(), &3.into()));
    let codes: Vec<(String, i64)> = json["codes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["code"].as_str().unwrap().to_owned(), line["payouts"].as_i64().unwrap()))
        .collect();
    assert_eq!(codes, [("account_closed".to_owned(), 1), ("timeout".to_owned(), 1)]);
}
