//! More than three minutes of everything at once. The judge is the sandbox's journal. What never struck proves nothing: on a machine that is too slow for
//! everything to strike in that time it goes on with other seeds until it has.

use std::collections::BTreeMap;
use std::time::Duration;

use payfleet_tests::chaos::{ChaosOptions, Fault, run};

/// So often, at most. Each is judged whole.
const STORMS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minutes_of_chaos_pay_nobody_twice_and_leave_nobody_out() {
    let mut struck: BTreeMap<Fault, u64> = BTreeMap::new();
    let (mut kills, mut crashes) = (0, 0);
    // Recoveries that nothing else disturbed.
    let mut measured = [("kills", 0), ("FLUSHALL", 0)];
    for storm in 1..=STORMS {
        let seed = rand::random_range(0..1_000_000);
        let report = run(ChaosOptions { lasts: Duration::from_secs(200), seed, keep: false }).await;
        println!("{report}");
        assert_eq!(report.broken(), Vec::<String>::new(), "seed {seed}");
        for (fault, _) in Fault::ALL {
            let impossible = fault == Fault::DiskFull && report.notes().iter().any(|note| note.contains("mounted"));
            *struck.entry(fault).or_default() += report.count(fault).max(impossible.into());
        }
        kills += report.kills();
        crashes += report.crashes();
        measured[0].1 += report.after_kill().undisturbed;
        measured[1].1 += report.after_flush().undisturbed;
        let missed: Vec<Fault> =
            Fault::ALL.iter().map(|(fault, _)| *fault).filter(|fault| struck[fault] == 0).collect();
        let is_enough = missed.is_empty()
            && measured.iter().all(|(_, recoveries)| *recoveries > 0)
            && (kills >= 100 && struck[&Fault::Paused] >= 30 && crashes >= 10);
        if is_enough {
            return;
        }
        println!(
            "after storm {storm}: never struck {missed:?}; {kills} kills, {} pauses, {crashes} crashes, undisturbed recoveries {measured:?}",
            struck[&Fault::Paused]
        );
    }
    panic!("{STORMS} storms were not enough");
}
