//! More than three minutes of everything at once. The judge is the sandbox's journal. What never struck proves nothing.

use std::time::Duration;

use payfleet_tests::chaos::{ChaosOptions, Fault, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minutes_of_chaos_pay_nobody_twice_and_leave_nobody_out() {
    let seed = rand::random_range(0..1_000_000);
    let report = run(ChaosOptions { lasts: Duration::from_secs(200), seed, keep: false }).await;
    println!("{report}");
    assert_eq!(report.broken(), Vec::<String>::new(), "seed {seed}");
    assert!(report.kills() >= 100, "{} kills", report.kills());
    assert!(report.count(Fault::Paused) >= 30, "{} pauses", report.count(Fault::Paused));
    assert!(report.crashes() >= 10, "{} crashes", report.crashes());
    for (fault, _) in Fault::ALL {
        let impossible = fault == Fault::DiskFull && report.notes().iter().any(|note| note.contains("mounted"));
        assert!(report.count(fault) > 0 || impossible, "{fault:?} never struck");
    }
    for (what, slowest) in [("kills", report.after_kill()), ("FLUSHALL", report.after_flush())] {
        assert!(slowest.undisturbed > 0, "no recovery from {what} was measured undisturbed: {slowest:?}");
    }
}
