//! The inputs that are kept for the fuzz targets, each tried by the stable toolchain too: what once broke something
//! never does so again.

use std::path::Path;

use payfleet_tests::hostile::TARGETS;

#[test]
fn every_kept_input_is_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in TARGETS {
        let mut tried = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            println!("{}", path.display()); // shown if it breaks
            target(&bytes);
            // Cut anywhere it must be survived as well.
            (0..bytes.len()).step_by(1 + bytes.len() / 50).for_each(|end| target(&bytes[..end]));
            tried += 1;
        }
        assert!(tried >= 5, "{name} has {tried} inputs");
    }
    let folders = std::fs::read_dir(&corpus).unwrap().count();
    assert_eq!(folders, TARGETS.len(), "every folder belongs to a target");
}

#[test]
fn every_target_has_its_program() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut found: Vec<String> = std::fs::read_dir(programs)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    let mut expected: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    expected.sort();
    assert_eq!(found, expected);
}
