//! The runbook against the programs: every word that wakes or puzzles somebody at night is in its table, and every
//! command that it names exists.

use std::collections::BTreeSet;
use std::process::Command;

use payfleet_domain::{AlarmKind, BatchState, DiscrepancyKind, Exclusion, PayoutState, RunState, WaitReason};

const RUNBOOK: &str = include_str!("../../../../deploy/RUNBOOK.md");
const ALERTS: &str = include_str!("../../../../deploy/alerts.yml");

/// The text below a heading, up to the next.
fn section(heading: &str) -> &'static str {
    let mut sections = RUNBOOK.split("\n## ");
    let found = sections.find_map(|section| section.strip_prefix(heading)?.strip_prefix('\n'));
    found.unwrap_or_else(|| panic!("the runbook has no section `{heading}`"))
}

/// The words in the first column of the tables of a section.
fn told(heading: &str) -> BTreeSet<&'static str> {
    let rows = section(heading).lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).collect()
}

fn assert_told<'a>(heading: &str, words: impl IntoIterator<Item = &'a str>) {
    let told = told(heading);
    let missing: Vec<&str> = words.into_iter().filter(|word| !told.contains(word)).collect();
    assert!(missing.is_empty(), "deploy/RUNBOOK.md, `{heading}`, does not say what to do about {missing:?}");
}

/// What stands behind a mark on the lines of a source, up to the end mark. For lists that the types do not give out.
fn words(source: &'static str, mark: &str, end: char) -> Vec<&'static str> {
    let found: Vec<&str> = source.lines().filter_map(|line| line.split_once(mark)?.1.split(end).next()).collect();
    assert!(!found.is_empty(), "no line of the source has `{mark}` any more");
    found
}

#[test]
fn every_state_is_in_the_runbook() {
    assert_told("What a run's state says", RunState::ALL.iter().map(RunState::as_str));
    assert_told("What a payout's state says", PayoutState::ALL.iter().map(PayoutState::as_str));
    assert_told("What a batch's state says", BatchState::ALL.iter().map(BatchState::as_str));
}

#[test]
fn every_reason_and_kind_is_in_the_runbook() {
    let holds = words(include_str!("../../../domain/src/hold_reason.rs"), "=> \"", '"');
    assert!(holds.contains(&"poison"), "these are not the reasons: {holds:?}");
    assert_told("Payouts are held", holds);
    assert_told("An alarm is raised", AlarmKind::ALL.iter().map(AlarmKind::as_str));
    assert_told("Why a batch waits", WaitReason::ALL.iter().map(WaitReason::code));
    assert_told("A plan excludes somebody", Exclusion::ALL.iter().map(Exclusion::code));
    assert_told("The reconciler finds discrepancies", DiscrepancyKind::ALL.iter().map(DiscrepancyKind::code));
}

#[test]
fn every_exit_code_is_in_the_runbook_and_the_readme() {
    let source = include_str!("../../../runtime/src/exit.rs").split("impl ExitCode").next().unwrap_or_default();
    let codes = words(source, " = ", ',');
    assert!(codes.contains(&"75"), "these are not the codes: {codes:?}");
    assert_told("Exit codes", codes.iter().copied());
    let readme = include_str!("../../../../README.md");
    for code in codes {
        assert!(readme.contains(&format!("\n| {code} | ")), "README.md does not explain exit code {code}");
    }
}

#[test]
fn every_alert_is_in_the_runbook_under_the_heading_that_it_names() {
    let (names, headings) = (words(ALERTS, "- alert: ", ' '), words(ALERTS, "runbook: \"RUNBOOK.md: ", '"'));
    assert_eq!(names.len(), headings.len(), "each alert says where to read on");
    for (name, heading) in names.into_iter().zip(headings) {
        assert!(
            section(heading).contains(&format!("`{name}`")),
            "`{heading}` in deploy/RUNBOOK.md does not name {name}"
        );
    }
}

#[test]
fn every_section_that_the_runbook_points_to_exists() {
    for heading in words(RUNBOOK, "| \"", '"') {
        section(heading);
    }
}

#[test]
fn every_command_in_the_runbook_exists() {
    let is_word = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase());
    let called = RUNBOOK.split("payfleet-coordinator ").skip(1).filter_map(|rest| rest.split(['`', '\n']).next());
    let commands: BTreeSet<Vec<&str>> = called.map(|rest| rest.split(' ').take_while(is_word).collect()).collect();
    assert!(commands.len() > 10, "{commands:?}");
    for mut command in commands.into_iter().filter(|command| !command.is_empty()) {
        // A third word is an argument.
        command.truncate(2);
        let help = Command::new(env!("CARGO_BIN_EXE_payfleet-coordinator")).args(&command).arg("--help").output();
        assert!(
            help.is_ok_and(|help| help.status.success()),
            "there is no `payfleet-coordinator {}`",
            command.join(" ")
        );
    }
}
