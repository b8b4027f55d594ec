//! What rails and files say after the first answer, and after the verdict: the programs as people call them, and the
//! sandbox's journal as the judge.
use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions, Worker};

const LONG: Duration = Duration::from_secs(90);

/// A tenant `shop` with this many affiliates of 20.00 EUR each, whose run of 2026-01 is paid and compared.
async fn paid(affiliates: usize) -> (Fleet, i64, Worker) {
    let mut fleet = Fleet::start(FleetOptions::default()).await;
    people(&fleet, affiliates, "2026-01");
    fleet.rails_set("shop");
    let run = fleet.run("shop", "2026-01").await;
    let worker = fleet.worker(&[]);
    fleet.settled(run, LONG).await;
    fleet.assert_reconciled(run).await;
    (fleet, run, worker)
}

fn people(fleet: &Fleet, affiliates: usize, month: &str) {
    let mut files = [
        "affiliate_id,name,email,country,currency,method,destination\n".to_owned(),
        "commission_id,affiliate_id,order_ref,amount,currency,earned_at,kind\n".to_owned(),
    ];
    for n in 1..=affiliates {
        files[0].push_str(&format!("A{n},Ann,a{n}@example.org,NL,EUR,paypal,a{n}@example.org\n"));
        files[1].push_str(&format!("{month}-{n},A{n},O{n},20.00,EUR,{month}-10T10:00:00Z,sale\n"));
    }
    for (what, text) in ["affiliates", "commissions"].into_iter().zip(files) {
        let path = fleet.folder().join(format!("{what}.csv"));
        std::fs::write(&path, text).unwrap();
        fleet.must(&["import", what, "--tenant", "shop", path.to_str().unwrap()]);
    }
}

/// The lines of the account's statement, as a person saves them.
async fn statement(fleet: &Fleet) -> Vec<String> {
    fleet.sandbox_get("/statement.csv?shape=payout", "shop").await.lines().map(str::to_owned).collect()
}

fn save(fleet: &Fleet, name: &str, lines: &[String]) -> String {
    let path = fleet.folder().join(name);
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    path.to_str().unwrap().to_owned()
}

async fn balance(fleet: &Fleet, affiliate: &str) -> i64 {
    let sql = "SELECT carried_minor FROM account a JOIN affiliate f ON f.id = a.affiliate_id WHERE f.external_id = $1";
    sqlx::query_scalar(sql).bind(affiliate).fetch_one(&fleet.database).await.unwrap()
}

async fn key_of(fleet: &Fleet, affiliate: &str) -> String {
    let destination = format!("{}@example.org", affiliate.to_lowercase());
    let line = fleet.journal().await.into_iter().find(|movement| movement.destination == destination);
    line.expect("it is in the journal").key
}

/// The state of the payout of an affiliate in a run.
async fn payout(fleet: &Fleet, run: i64, affiliate: &str) -> (i64, String) {
    let sql = "SELECT p.id, p.state
                 FROM payout p JOIN affiliate f ON f.id = p.affiliate_id
                WHERE p.run_id = $1 AND f.external_id = $2";
    sqlx::query_as(sql).bind(run).bind(affiliate).fetch_one(&fleet.database).await.unwrap()
}

/// Money comes back under a name of its own, as banks and PayPal give it: on one statement with its payment, or alone
/// on a later one. A file that one person handed in frees nothing before a second has confirmed it.
#[tokio::test]
async fn a_return_with_its_own_reference_is_seen_wherever_its_payment_stands() {
    for alone in [false, true] {
        let (fleet, run, _worker) = paid(1).await;
        let lines = statement(&fleet).await;
        let payment: Vec<&str> = lines[1].split(',').collect();
        let (key, at) = (payment[0], payment[6]); // whenever this test runs, money comes back when it was out
        let back = format!("{key},RTN-1,2000,EUR,a1@example.org,returned,{at}");
        let file = if alone { vec![lines[0].clone(), back] } else { [lines.clone(), vec![back]].concat() };
        let file = save(&fleet, "returned.csv", &file);
        let report = fleet.reconcile(run, &["--statement", &file]);
        assert_eq!(report.code, 4, "{}\n{}", report.stdout, report.stderr);
        assert!(report.stdout.contains("return_unconfirmed"), "{}", report.stdout);
        assert_eq!((payout(&fleet, run, "A1").await.1.as_str(), balance(&fleet, "A1").await), ("paid", 0));

        let number = payout(&fleet, run, "A1").await.0.to_string();
        for token in fleet.approvers() {
            let said = fleet.coordinator_as(&token, &["statements", "confirm", &number]);
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        }
        assert_eq!((payout(&fleet, run, "A1").await.1.as_str(), balance(&fleet, "A1").await), ("returned", 2000));
        let watched = fleet.watch_once();
        assert_eq!((watched.code, fleet.state(run).await.as_str()), (0, "reconciled"), "{}", watched.stderr);
    }
}

/// What was refused, and then is proven paid, is not paid again.
#[tokio::test]
async fn late_proof_is_booked_and_the_next_run_does_not_pay_again() {
    let mut fleet = Fleet::start(FleetOptions::default()).await;
    people(&fleet, 1, "2026-01");
    fleet.rails_set("shop");
    fleet.faults(r#"{"refuse": {"account_closed": 1.0}}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let _worker = fleet.worker(&[]);
    fleet.settled(run, LONG).await;
    fleet.faults(r#"{"refuse": {"account_closed": 0}}"#).await;
    assert_eq!((payout(&fleet, run, "A1").await.1.as_str(), balance(&fleet, "A1").await), ("refused", 2000));
    let key = key_of(&fleet, "A1").await;
    let header = "key,reference,amount_minor,currency,destination,status,at".to_owned();
    let file = save(&fleet, "late.csv", &[header, format!("{key},po_late,2000,EUR,a1@example.org,paid,")]);
    let report = fleet.reconcile(run, &["--statement", &file]);
    assert_eq!(report.code, 4, "{}\n{}", report.stdout, report.stderr);
    assert!(report.stdout.contains("paid_late"), "{}", report.stdout);
    assert!(report.stderr.contains("returned=0 late=1"), "{}", report.stderr);
    assert_eq!((payout(&fleet, run, "A1").await.1.as_str(), balance(&fleet, "A1").await), ("paid", 0));

    // What is earned now is not paid either, before two people have looked.
    people(&fleet, 1, "2026-02");
    let dry = fleet.must(&["run", "--tenant", "shop", "--period", "2026-02", "--dry-run"]);
    assert!(dry.contains("contested") && !dry.contains("pay "), "{dry}");
}

/// After the verdict one payment is doubled at the rail, another comes back, and the key of a third is executed on
/// somebody else's account.
#[tokio::test]
async fn news_after_the_verdict_is_seen_by_whoever_watches() {
    let (fleet, run, _worker) = paid(5).await;
    let keys = [key_of(&fleet, "A1").await, key_of(&fleet, "A2").await, key_of(&fleet, "A3").await];
    fleet.sandbox_post("/faults/plant", &format!(r#"{{"kind": "duplicate_payment", "key": "{}"}}"#, keys[0])).await;
    fleet.sandbox_post("/faults/return", &format!(r#"{{"key": "{}"}}"#, keys[1])).await;
    let watched = fleet.watch_once();
    assert_eq!((watched.code, fleet.state(run).await.as_str()), (4, "discrepant"), "{}", watched.stderr);
    assert!(watched.stderr.contains("ALARM"), "{}", watched.stderr);
    assert_eq!((payout(&fleet, run, "A2").await.1.as_str(), balance(&fleet, "A2").await), ("returned", 2000));
    assert_eq!((payout(&fleet, run, "A1").await.1.as_str(), balance(&fleet, "A1").await), ("paid", 0));

    // One of the two comes back: the payee has the other, nothing is due, and the sum is right again.
    let second = fleet.journal().await.into_iter().rfind(|line| line.key == keys[0]).unwrap();
    fleet.sandbox_post("/faults/return", &format!(r#"{{"key": "{}", "id": "{}"}}"#, second.key, second.id)).await;
    fleet.watch_once();
    assert_eq!(fleet.state(run).await, "reconciled");
    assert_eq!((payout(&fleet, run, "A1").await.1.as_str(), balance(&fleet, "A1").await), ("paid", 0));

    // A fourth party: account `mart` of another tenant pays under a key of `shop`.
    fleet.must(&["sample", "--plain", "--affiliates", "2", "--start", "2026-01", "--tenant", "mart"]);
    fleet.rails_set("mart");
    let mart = fleet.run("mart", "2026-01").await;
    fleet.settled(mart, LONG).await;
    let plant =
        format!(r#"{{"kind": "wrong_account", "key": "{}", "account": "shop", "to_account": "mart"}}"#, keys[2]);
    fleet.sandbox_post("/faults/plant", &plant).await;
    fleet.watch_once();
    assert_eq!((fleet.state(run).await.as_str(), fleet.state(mart).await.as_str()), ("discrepant", "reconciled"));
    let report = fleet.reconcile(run, &[]);
    assert!(report.stdout.contains("account_differs") && report.stdout.contains("paid_twice"), "{}", report.stdout);
}

/// Money that comes back speaks against no verdict, so it is said by itself: in the log of whoever reads the statement,
/// and in `status` for good.
#[tokio::test]
async fn money_that_comes_back_after_the_verdict_is_said() {
    let (fleet, run, _worker) = paid(2).await;
    for watches in [true, false] {
        let affiliate = if watches { "A1" } else { "A2" };
        let key = key_of(&fleet, affiliate).await;
        fleet.sandbox_post("/faults/return", &format!(r#"{{"key": "{key}"}}"#)).await;
        let read = if watches { fleet.watch_once() } else { fleet.reconcile(run, &[]) };
        assert_eq!((read.code, fleet.state(run).await.as_str()), (0, "reconciled"), "{}", read.stderr);
        let number = payout(&fleet, run, affiliate).await.0;
        let said = read.stderr.lines().find(|line| line.contains("payouts came back")).expect(&read.stderr);
        for part in
            ["WARN", "returned=1", "late=0", &format!("run {run}: 1 ({number})"), "payfleet-coordinator status RUN"]
        {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("2000") && !said.contains("20.00"), "amounts stay out of logs: {said}");
        assert!(
            watches || read.stdout.contains(&format!("came back, or paid after all: run {run}: 1 ({number})")),
            "{}",
            read.stdout
        );
    }
    assert!(!fleet.watch_once().stderr.contains("came back"), "it is said once");
    assert!(fleet.must(&["status"]).contains("reconciled, 2 returned"));
    let one = fleet.must(&["status", &run.to_string()]);
    let back = one.split("Came back, and due again").nth(1).expect(&one);
    assert!(back.contains("A1") && back.contains("A2"), "{one}");
}

/// A statement without its end proves nothing to be missing, nor absent.
#[tokio::test]
async fn a_file_is_of_an_account_and_proves_no_more_than_it_says() {
    let mut fleet = Fleet::start(FleetOptions { sepa: "sandbox-lookup", ..FleetOptions::default() }).await;
    people(&fleet, 2, "2026-01");
    fleet.rails_set("shop");
    fleet.faults(r#"{"refuse": {"account_closed": 1.0}}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let _worker = fleet.worker(&[]);
    fleet.settled(run, LONG).await;
    let header = "key,reference,amount_minor,currency,destination,status,at".to_owned();
    let empty = save(&fleet, "empty.csv", std::slice::from_ref(&header));
    let report = fleet.reconcile(run, &["--statement", &empty]);
    assert_eq!((report.code, fleet.state(run).await.as_str()), (75, "settled"), "{}\n{}", report.stdout, report.stderr);
    assert!(report.stdout.contains("sandbox-payout/shop was never read to an end mark"), "{}", report.stdout);
    // Nobody has a statement of what is still to come.
    let ahead = format!("#end,sandbox-payout/shop,0,,2026-01-01T00:00:00Z,complete,{}-01-01T00:00:00Z", 2999);
    let ahead = save(&fleet, "ahead.csv", &[header.clone(), ahead]);
    let report = fleet.reconcile(run, &["--statement", &ahead]);
    assert!(
        report.stderr.contains("it is believed up to now") && report.stderr.contains("2999-01-01"),
        "{}",
        report.stderr
    );
    // Whose it is, if it says so, is not guessed.
    let other = save(
        &fleet,
        "other.csv",
        &[header, "#end,sandbox-payout/mart,0,,2026-01-01T00:00:00Z,complete,2026-12-01T00:00:00Z".to_owned()],
    );
    let report = fleet.reconcile(run, &["--statement", &other]);
    assert_eq!(report.code, 64, "{}\n{}", report.stdout, report.stderr);
    assert!(report.stderr.contains("sandbox-payout/mart"), "{}", report.stderr);
    // The rail's own word, with its end.
    fleet.assert_reconciled(run).await;
}
