//! The program: crashes, signals, exit codes, who may call.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;

use crate::rail::{DEADLINE, Rail, column, instruction, program};

#[tokio::test]
async fn a_killed_process_keeps_every_payment_it_answered_for() {
    let mut rail = Rail::start(&[]);
    for round in 0..3 {
        let answered = pay_until_killed(&mut rail, round).await;
        assert!(!answered.is_empty());
        rail = rail.restart(&[]);
        let journal = rail.journal().await;
        let keys = column(&journal, "key");
        for (key, id) in answered {
            let at = keys.iter().position(|known| *known == key).unwrap();
            assert_eq!(journal[at]["id"], id.as_str());
            let again = rail.pay(&key).await;
            assert!(again.replay);
            assert_eq!(again.body["id"], id.as_str());
        }
        assert_eq!(rail.stats().await["paid_twice"], 0);
    }
}

/// Pays from several connections, kills the program in the middle, and returns what it had answered.
async fn pay_until_killed(rail: &mut Rail, round: usize) -> Vec<(String, String)> {
    let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let mut payers = Vec::new();
    for payer in 0..8 {
        let requests: Vec<_> = (0..2_000)
            .map(|n| format!("r{round}-p{payer}-{n}"))
            .map(|key| (rail.payout(&key, &instruction(&key)), key))
            .collect();
        let sender = sender.clone();
        payers.push(tokio::spawn(async move {
            for (request, key) in requests {
                let Ok(response) = request.send().await else { return };
                let Ok(body) = response.json::<serde_json::Value>().await else { return };
                sender.send((key, body["id"].as_str().unwrap().to_owned())).unwrap();
            }
        }));
    }
    drop(sender);
    let mut answered = Vec::new();
    while answered.len() < 300 {
        answered.push(answers.recv().await.unwrap());
    }
    rail.child.kill().unwrap();
    while let Some(answer) = answers.recv().await {
        answered.push(answer);
    }
    for payer in payers {
        payer.await.unwrap();
    }
    answered
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_any_other_is_an_error() {
    let rail = Rail::start(&[]);
    rail.pay("k1").await;
    let dir = rail.kill();
    let path = dir.path().join("journal.jsonl");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"line\":2,\"shape\":\"pay").unwrap();
    let rail = Rail::start_in(dir, &[]);
    assert_eq!(column(&rail.journal().await, "key"), ["k1"]);
    assert_eq!(rail.pay("k2").await.status, 200);
    let dir = rail.kill();
    assert!(std::fs::read_to_string(&path).unwrap().lines().count() == 2);

    file.write_all(b"{}\n").unwrap();
    let output = program().args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(70));
    assert!(String::from_utf8(output.stderr).unwrap().contains("journal.jsonl: line 3"));
}

#[tokio::test]
async fn a_second_process_on_the_same_journal_is_turned_away() {
    let rail = Rail::start(&[]);
    let output = program().args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(rail.dir()).output().unwrap();
    assert_eq!(output.status.code(), Some(75));
}

#[tokio::test]
async fn asked_to_end_it_ends_even_if_a_call_hangs() {
    for signal in ["TERM", "INT"] {
        let mut rail = Rail::start(&["--faults", r#"{"hang":1}"#]);
        let hanging = tokio::spawn(rail.payout("k", &instruction("k")).send());
        let deadline = Instant::now() + DEADLINE;
        while rail.stats().await["paid"] != 1 {
            assert!(Instant::now() < deadline);
        }
        send_signal(&rail, signal);
        assert_eq!(exit_code(&mut rail).await, Some(0));
        assert!(hanging.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn asked_to_end_it_finishes_the_calls_in_hand() {
    let mut rail = Rail::start(&["--faults", r#"{"latency_ms":500}"#]);
    let call = tokio::spawn(rail.payout("k", &instruction("k")).send());
    wait_for_request(&rail).await;
    send_signal(&rail, "TERM");
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    assert_eq!(exit_code(&mut rail).await, Some(0));
}

#[tokio::test]
async fn asked_twice_it_does_not_wait() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut rail = Rail::start(&["--faults", r#"{"latency_ms":60000}"#]);
        let call = tokio::spawn(rail.payout("k", &instruction("k")).send());
        wait_for_request(&rail).await;
        send_signal(&rail, signal);
        // The first one has arrived when nobody is let in any more.
        let deadline = Instant::now() + DEADLINE;
        while tokio::net::TcpStream::connect(&rail.address).await.is_ok() {
            assert!(Instant::now() < deadline);
        }
        send_signal(&rail, signal);
        assert_eq!(exit_code(&mut rail).await, Some(code));
        assert!(call.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn when_the_journal_cannot_be_written_nobody_is_told_of_a_payment() {
    let dir = tempfile::tempdir().unwrap();
    // Not journal.jsonl: its lock would be that of the device, which all share.
    std::os::unix::fs::symlink("/dev/full", dir.path().join("faults.jsonl")).unwrap();
    let mut rail = Rail::start_in(dir, &["--faults", r#"{"lie":{"amount":1}}"#]);
    let answer = rail.payout("k", &instruction("k")).send().await;
    assert!(answer.is_err() || answer.unwrap().status() == 500);
    assert_eq!(exit_code(&mut rail).await, Some(69));
    assert_eq!(std::fs::read(rail.dir().join("journal.jsonl")).unwrap(), b"");
}

async fn wait_for_request(rail: &Rail) {
    let deadline = Instant::now() + DEADLINE;
    while rail.stats().await["requests"] != 1 {
        assert!(Instant::now() < deadline);
    }
}

fn send_signal(rail: &Rail, signal: &str) {
    let pid = rail.child.id().to_string();
    assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
}

async fn exit_code(rail: &mut Rail) -> Option<i32> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = rail.child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn mistakes_on_the_command_line_are_usage() {
    for args in [&["--data-dir"][..], &["--data-dir", "x", "--faults", r#"{"hang":2}"#], &[]] {
        assert_eq!(program().args(args).output().unwrap().status.code(), Some(64), "{args:?}");
    }
    let help = program().arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("PAYFLEET_SANDBOX_KEY_HORIZON"));
}

#[tokio::test]
async fn without_the_token_nothing_is_executed() {
    let rail = Rail::start(&["--token", "t0ken"]);
    assert_eq!(rail.pay("k").await.code(), "unauthorized");
    assert_eq!(rail.get("/journal").await.status, 401);
    assert_eq!(rail.text("/healthz").await, "alive\n");
    let paid = rail.payout("k", &instruction("k")).bearer_auth("t0ken");
    assert!(!rail.send(paid).await.replay);
    let wrong = rail.request(Method::GET, "/stats").bearer_auth("token");
    assert_eq!(rail.send(wrong).await.status, 401);
}

#[tokio::test]
async fn a_dialect_is_spoken_at_the_root_for_clients_that_know_no_other() {
    let rail = Rail::start(&["--at-root", "paypal", "--token", "admin"]);
    let id = crate::paypal::send(&rail, "b", &["k"]).await;
    let path = format!("/v1/payments/payouts/{id}");
    let asked = rail.request(Method::GET, &path).bearer_auth(rail.paypal_token().await);
    assert_eq!(crate::vendors::told(asked).await.at("/batch_header/payout_batch_id"), id);
    assert!(
        crate::vendors::told(rail.request(Method::GET, "/faults")).await.is(401),
        "what is the sandbox's own stays closed"
    );
}
