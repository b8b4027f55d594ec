//! Which crate may know which. That the coordinator cannot pay is a fact of the build; this keeps it one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate may use of ours.
const ALLOWED: &[(&str, &[&str])] = &[
    ("domain", &["letters"]),
    ("failpoint", &[]),
    ("input", &["letters"]),
    ("letters", &[]),
    ("store", &["domain", "failpoint"]),
    ("queue", &["domain", "failpoint", "runtime"]),
    ("rails", &["domain", "runtime"]),
    ("runtime", &[]),
    ("memory", &["store", "queue", "runtime"]),
    // Pure: whether a rail has said something. What pays is not needed for it.
    ("notices", &["domain"]),
    // Nor does what others may reach link what pays, or what wakes.
    ("gateway", &["domain", "notices", "store", "runtime"]),
    ("coordinator", &["domain", "input", "memory", "store", "queue", "runtime"]),
    ("worker", &["domain", "failpoint", "memory", "store", "queue", "rails", "runtime"]),
    ("reconciler", &["domain", "failpoint", "input", "memory", "store", "rails", "runtime"]),
    ("sandbox", &["runtime"]),
];

/// Each outside system, and its heavy dependency, is confined to one crate.
const CONFINED: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("deadpool-redis", &["queue"]),
    ("redis", &["queue"]),
    // The gateway asks PayPal for certificates, and whether it has signed.
    ("reqwest", &["rails", "gateway"]),
    ("rustls", &["runtime"]),
    // Who is believed about certificates, where those are verified by us.
    ("webpki-roots", &["notices"]),
];

/// The packages of the workspace, as cargo sees them.
fn packages() -> Vec<serde_json::Value> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array_mut().unwrap().drain(..).collect()
}

#[test]
fn every_arrow_between_crates_is_an_allowed_one() {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap().trim_start_matches("payfleet-").to_owned();
        let normal =
            package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"].is_null());
        uses.insert(name, normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect());
    }
    for harness in ["tests", "sim", "fuzz"] {
        uses.remove(harness);
    }
    assert_eq!(
        uses.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        ALLOWED.iter().map(|(name, _)| *name).collect()
    );
    for (name, allowed) in ALLOWED {
        for used in &uses[*name] {
            if let Some(ours) = used.strip_prefix("payfleet-") {
                assert!(allowed.contains(&ours), "{name} must not use {ours}");
            }
            if let Some((_, homes)) = CONFINED.iter().find(|(confined, _)| confined == used) {
                assert!(homes.contains(name), "{used} is for {homes:?} alone");
            }
        }
    }
}

/// What is said to have no tests is not built as a test: one in it would never run.
#[test]
fn a_target_without_tests_has_none() {
    for package in packages() {
        for target in package["targets"].as_array().unwrap() {
            if target["test"].as_bool().unwrap() {
                continue;
            }
            let root = Path::new(target["src_path"].as_str().unwrap());
            let is_lib = target["kind"].as_array().unwrap().iter().any(|kind| kind == "lib");
            let sources = if is_lib { rust_files(root.parent().unwrap()) } else { vec![root.to_owned()] };
            for source in sources {
                let text = std::fs::read_to_string(&source).unwrap();
                let is_test = |line: &str| line.trim().starts_with("#[") && line.contains("test]");
                assert!(!text.lines().any(is_test), "{} has a test, and its target is not tested", source.display());
            }
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}
