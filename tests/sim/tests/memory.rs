//! Seeds in memory.
use std::sync::Arc;
use payfleet_sim::{matrix::Matrix, memory::Memory, scenario, tell};

#[test]
fn seeds() {
    let matrix = Arc::new(Matrix::default());
    let n: u64 = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let from: u64 = std::env::var("FROM").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let t = std::time::Instant::now();
    let mut bad = 0;
    for seed in from..from + n {
        let s = scenario(seed);
        let story = tell(seed, matrix.clone(), &s, Box::new(Memory::new(s.clone())));
        if !story.wrong.is_empty() {
            bad += 1;
            if bad <= 3 { println!("seed {seed}: {:#?}", story.wrong); if n == 1 { println!("{}", story.text); } }
        }
    }
    println!("{bad} bad of {n} in {:?}\n{matrix}", t.elapsed());
    assert_eq!(bad, 0);
}
