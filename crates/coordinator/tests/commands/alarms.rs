//! Alarms as people see and answer them, by the real program on a real database.

use crate::harness::Place;

#[test]
fn an_alarm_is_shown_answered_and_kept() {
    let place = Place::with_affiliates();
    place.commissions("c1,a1,o1,25.00,EUR,2011-11-05T12:00:00Z,sale\n").ok();
    place.run(&["run", "--tenant", "acme", "--period", "2011-11"]).ok();
    let payout = place.number("SELECT id FROM payout");
    assert_eq!(place.run(&["alarms", "list"]).ok(), "no alarm waits for an answer\n");
    assert_eq!(place.run(&["alarms", "list", "--all"]).ok(), "no alarm was ever raised\n");
    assert!(!place.run(&["status"]).ok().contains("alarm"), "there is none");
    place.execute(
        "UPDATE run SET paused_at = now(), pause_reason = 'looks wrong';
         INSERT INTO alarm (tenant_id, run_id, payout_id, kind, words)
         SELECT tenant_id, run_id, id, 'double_payment', 'po_1, po_2' FROM payout;
         INSERT INTO alarm (tenant_id, run_id, kind, words) SELECT tenant_id, id, 'out_of_balance', 'EUR' FROM run;",
    );

    assert!(place.run(&["status"]).ok().ends_with("2 alarms wait for an answer: `alarms list`\n"));
    assert_eq!(place.run(&["status", "--json"]).json()["alarms"], 2);
    let table = place.run(&["alarms", "list"]).ok();
    let rows: Vec<&str> = table.lines().filter(|line| line.contains("acme")).collect();
    assert_eq!(rows.len(), 2, "{table}");
    for part in [payout.to_string().as_str(), "double_payment", "po_1, po_2"] {
        assert!(rows[0].contains(part), "{table}");
    }
    assert!(rows[1].contains("out_of_balance") && !rows[1].contains(&payout.to_string()), "{table}");
    let json = place.run(&["alarms", "list", "--json"]).json();
    let alarm = &json["alarms"][0];
    assert!(alarm["raised_at"].as_str().unwrap().starts_with("20"));
    for (key, value) in [
        ("id", serde_json::json!(1)),
        ("tenant", "acme".into()),
        ("run", 1.into()),
        ("payout", payout.into()),
        ("alarm", "double_payment".into()),
        ("about", "po_1, po_2".into()),
        ("answer", serde_json::Value::Null),
    ] {
        assert_eq!(alarm[key], value, "{key}");
    }
    assert!(json["alarms"][1]["payout"].is_null());
    let newest = place.run(&["alarms", "list", "--limit", "1", "--json"]).json();
    assert_eq!(newest["alarms"].as_array().unwrap().len(), 1);
    assert_eq!(newest["alarms"][0]["id"], 2);

    let waits = "run 1 has alarms that nobody has answered: `alarms list` shows them, and when each is answered it can \
                 be resumed";
    place.run(&["resume", "1"]).failed(75, waits);
    let answer = ["alarms", "answer", "1", "--words", " ticket 4711 "];
    assert_eq!(place.run(&answer).code, 64, "who says so?");
    let viewer = place.person("vic", "viewer");
    place
        .run_as(&viewer, &answer)
        .failed(64, "vic is viewer, who may not steer runs; ask an operator, an approver or an administrator");
    let operator = place.person("olga", "operator");
    assert_eq!(place.run_as(&operator, &["alarms", "answer", "1", "--words", " "]).code, 64, "an answer has words");
    let gone = |alarm| format!("there is no alarm {alarm} that waits for an answer; `alarms list` shows those that do");
    place.run_as(&operator, &["alarms", "answer", "3", "--words", "x"]).failed(64, &gone(3));
    assert_eq!(place.run_as(&operator, &answer).ok(), "alarm 1 is answered by olga\n");
    place.run_as(&operator, &answer).failed(64, &gone(1));
    place.run(&["resume", "1"]).failed(75, waits);
    assert_eq!(place.run(&["status", "--json"]).json()["alarms"], 1);
    place.run_as(&operator, &["alarms", "answer", "2", "--words", "a bug, ticket 4712"]).ok();
    assert_eq!(place.run(&["alarms", "list"]).ok(), "no alarm waits for an answer\n");
    assert!(place.run(&["resume", "1"]).ok().starts_with("run 1 goes on\n"));

    assert!(place.run(&["alarms", "list", "--all"]).ok().contains("olga: ticket 4711"));
    let kept = place.run(&["alarms", "list", "--all", "--json"]).json();
    assert_eq!(kept["alarms"][1]["answer"], serde_json::json!({"by": "olga", "words": "a bug, ticket 4712"}));
}
