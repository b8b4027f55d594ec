//! What the model calls a rule, the code calls by the same name.

use std::fs;
use std::path::{Path, PathBuf};

use payfleet_domain::Rule;

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn each_rule_is_named_where_the_code_keeps_it() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is in a folder of crates");
    let mut files = Vec::new();
    for keeper in ["store", "worker", "reconciler"] {
        sources(&crates.join(keeper).join("src"), &mut files);
    }
    let texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).expect("a source is text")).collect();
    for rule in Rule::ALL {
        let named = format!("`{rule}`");
        assert!(
            texts.iter().any(|text| text.contains(&named)),
            "no source of store, worker or reconciler names {named}"
        );
    }
}
