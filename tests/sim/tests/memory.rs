//! Seeds in memory.
use std::sync::Arc;
use payfleet_sim::{matrix::Matrix, memory::Memory, scenario, tell};

#[test]
fn seeds() {
    let matrix = Arc::new(Matrix::default());
    let n: u64 = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let from: u64 = std::env::var("FROM").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let t = std::time::Instant::now();
    let mut bad = 0; let mut ev = 0; let mut pe = std::time::Duration::ZERO; let mut mx = std::time::Duration::ZERO;
    for seed in from..from + n {
        let s = scenario(seed);
        let story = tell(seed, matrix.clone(), &s, Box::new(Memory::new(s.clone())));
        ev += story.events; pe += story.peace; mx = mx.max(story.peace);
        if t.elapsed().as_secs() > 60 { println!("stopped at seed {seed}"); break; }
        if !story.wrong.is_empty() {
            bad += 1;
            if bad <= 3 { println!("seed {seed}: {:#?}", story.wrong); if n == 1 { println!("{}", story.text); } }
        }
    }
    println!("events {} peace avg {:?} max {mx:?}", ev / n, pe / n as u32);
    println!("{bad} bad of {n} in {:?}\n{matrix}", t.elapsed());
    assert_eq!(bad, 0);
}
