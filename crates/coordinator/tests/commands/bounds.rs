//! One tenant's data stop nobody else: balances are bounded where they come in, and what goes wrong with one run is
//! told and left behind.

use crate::harness::Place;

/// The largest amount of one commission, 9 of 10 times a hundred of which fill an account.
const LARGEST: &str = "10000000000000.00";

/// With the tenants `acme` and `mart` of the same affiliates.
fn place() -> Place {
    let place = Place::with_affiliates();
    place.run(&["import", "affiliates", "--tenant", "mart", "affiliates.csv"]).ok();
    place.run(&["rails", "set", "--tenant", "mart", "--method", "paypal", "--rail", "null"]).ok();
    place
}

fn rows(who: &str, from: u32, to: u32, amount: &str) -> String {
    (from..to).map(|n| format!("c{n},{who},o{n},{amount},EUR,2026-01-10T10:00:00Z,sale\n")).collect()
}

fn refused(line: u32, errors: &str) -> String {
    format!(
        "commissions.csv:{line}:amount: with this row, sales and clawbacks of `a1` are more than 9000000000000000.00 \
         EUR in all, and no balance can be larger; correct the amount, or give what is beyond it to another affiliate\n\
         nothing was imported: {errors}"
    )
}

#[test]
fn what_no_balance_can_hold_is_refused_at_the_door() {
    let place = place();
    place.commissions(&rows("a1", 0, 901, LARGEST)).failed(65, &refused(902, "1 error"));
    assert_eq!(place.number("SELECT count(*) FROM commission"), 0);
    // To the brim; others of the tenant are none the worse.
    let full = rows("a1", 0, 900, LARGEST) + &rows("a2", 900, 950, LARGEST);
    place.commissions(&full).ok();
    place.commissions(&full).ok();
    place.commissions("x1,a2,o,1.00,EUR,2026-01-10T10:00:00Z,sale\n").ok();
    place.commissions("x2,a1,o,1.00,JPY,2026-01-10T10:00:00Z,sale\n".replace("1.00", "1").as_str()).ok();
    let more = "x3,a1,o,0.01,EUR,2026-01-10T10:00:00Z,sale\nx4,a1,o,0.01,EUR,2026-01-10T10:00:00Z,sale\n";
    let other = "x5,a3,o,1.00,EUR,2026-01-10T10:00:00Z,sale\n";
    let two = refused(2, "2 errors");
    let second = two.lines().next().unwrap().replace(":2:", ":3:");
    let told = two.replacen("\n", &format!("\n{second}\n"), 1);
    place.commissions(&format!("{more}{other}")).failed(65, &told);
    place.commissions(other).ok();
    // What was too much can be taken back, down to nothing.
    let back = |n: u32, minor: &str| format!("b{n},a1,o,-{minor},EUR,2026-01-10T10:00:00Z,clawback\n");
    let all: String = (0..900).map(|n| back(n, LARGEST)).collect();
    assert_eq!(place.commissions(&(all.clone() + &back(900, "0.01"))).code, 65);
    place.commissions(&all).ok();
    assert_eq!(
        place.texts("SELECT currency, gross_minor FROM tenant_volume ORDER BY 1"),
        ["(EUR,1850000000000000200)", "(JPY,1)"]
    );
}

/// As from a version that let it in: 9.3 times what a bigint holds, and the volume never counted.
fn fill(place: &Place) {
    place.commissions("c,a2,o,10.00,EUR,2026-01-10T10:00:00Z,sale\n").ok();
    place.execute(
        "INSERT INTO account (tenant_id, affiliate_id, currency) VALUES (1, 1, 'EUR');
         INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
           order_ref)
         SELECT 1, 'old' || n, 1, 'EUR', 1000000000000000, '2026-01-02Z', '2026-01-02Z', 'sale', ''
           FROM generate_series(1, 9300) AS n;
         DELETE FROM tenant_volume",
    );
    place.file("mart.csv", format!("{}m,a1,o,20.00,EUR,2026-01-10T10:00:00Z,sale\n", crate::harness::COMMISSIONS));
    place.run(&["import", "commissions", "--tenant", "mart", "mart.csv"]).ok();
    // A run of each, which somebody has begun to plan.
    place.execute(
        "INSERT INTO run (tenant_id, period, sequence, ordinal, cutoff, minimum)
         VALUES (1, '2026-01', 1, 1, '2026-01-31 23:59:59.999999Z', 10),
           (2, '2026-01', 1, 1, '2026-01-31 23:59:59.999999Z', 10)",
    );
}

fn plan(place: &Place, run: &str) -> Vec<String> {
    place.texts(&format!("SELECT verdict, accounts, amount_minor FROM run_plan WHERE run_id = {run} ORDER BY verdict"))
}

#[test]
fn a_balance_that_cannot_be_told_excludes_its_account_and_nothing_else() {
    let place = place();
    fill(&place);
    assert_eq!(place.run(&["tick"]).ok(), "run 2: the plan is complete\nrun 1: the plan is complete\nruns begun: 2\n");
    assert_eq!(plan(&place, "1"), ["(balance_out_of_range,1,0)", "(pay,1,1000)"]);
    assert_eq!(plan(&place, "2"), ["(pay,1,2000)"]);
    // It can be cancelled, planned again, and what was earned waits all the time.
    place.run(&["cancel", "1"]).ok();
    place.run(&["run", "--tenant", "acme", "--period", "2026-01", "--sequence", "2"]).ok();
    assert_eq!(plan(&place, "3"), ["(balance_out_of_range,1,0)", "(pay,1,1000)"]);
    place.execute(
        "INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
           order_ref, late_for)
         SELECT 1, 'back' || n, 1, 'EUR', -1000000000000000, '2026-01-02Z', '2026-01-02Z', 'clawback', '', 3
           FROM generate_series(1, 8399) AS n",
    );
    place.commissions("back,a1,o,-10000000000000.00,EUR,2026-01-10T10:00:00Z,clawback\n").ok();
    place.run(&["run", "--tenant", "acme", "--period", "2026-01", "--sequence", "3"]).ok();
    assert_eq!(plan(&place, "4"), ["(outside_limits,1,900000000000000000)"]);
    // What was there before volumes were counted is counted by the next import.
    assert_eq!(place.commissions("y,a1,o,1.00,EUR,2026-01-10T10:00:00Z,sale\n").code, 65);
    place.commissions("y,a2,o,1.00,EUR,2026-01-10T10:00:00Z,sale\n").ok();
    assert_eq!(place.texts("SELECT gross_minor FROM tenant_volume WHERE tenant_id = 1"), ["(17700000000000001100)"]);
}

#[test]
fn a_plan_that_fails_is_told_and_keeps_no_other_from_its_turn() {
    let place = place();
    fill(&place);
    place.execute(
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$;
         CREATE TRIGGER broken BEFORE INSERT ON payout FOR EACH ROW WHEN (NEW.tenant_id = 2) EXECUTE FUNCTION broken()",
    );
    let done = place.run(&["tick"]);
    assert_eq!(done.code, 70);
    assert!(done.out.starts_with("run 2 of mart: the plan failed: plan_chunk failed: "), "{}", done.out);
    assert!(done.out.ends_with("\nrun 1: the plan is complete\nruns begun: 1\n"), "{}", done.out);
    assert_eq!(done.err, "error: plans that failed: 1; the others went on\n");
    place.execute("DROP TRIGGER broken ON payout");
    assert_eq!(place.run(&["tick"]).ok(), "run 2: the plan is complete\nruns begun: 1\n");
}
