//! What DeleteRecords and retention may take, and what they may not.

use crate::script::{check, check_with};
use history::Rules;

const TWO: &str = "send 0#0, ack 0#0 0, send 0#1, ack 0#1 1,";

#[test]
fn deletion_excuses_what_it_deletes() {
    let sent = format!("{TWO} stored 1 2 1=0#1,");
    check(&sent, &["lost-write", "log-start"]);
    check(&format!("{sent} trim 1"), &[]);
    check(&format!("{sent} trim 1, seek 1 0, reset 1 0, poll 1 1=0#1"), &[]);
    check(&format!("{TWO} trim 1, stored 2 2"), &["lost-write", "log-start"]);
}

#[test]
fn a_start_is_only_told_after_it_was_asked_for() {
    let stored = "stored 1 2 1=0#1,";
    check(&format!("{TWO} {stored} trim 1, bounds 1 2"), &[]);
    check(&format!("{TWO} {stored} bounds 1 2, trim 1"), &["lost-write", "log-start"]);
    check(&format!("{TWO} {stored} seek 1 0, trim 1, reset 1 0"), &[]);
    check(&format!("{TWO} {stored} seek 1 0, reset 1 0, trim 1"), &["unfit-error"]);
}

#[test]
fn age_is_what_it_takes() {
    let rules = Rules { retention_ms: Some(3_000), ..Rules::default() };
    let check = |lines: &str, expected: &[&str]| check_with(rules, lines, expected);
    check(&format!("{TWO} wait 4, stored 2 2"), &[]);
    check(&format!("{TWO} wait 2, stored 2 2"), &["lost-write", "lost-write", "log-start"]);
    // Old by the end, but not when a client was told.
    let early = format!("{TWO} wait 2, bounds 2 2, wait 4, stored 2 2");
    check(&early, &["lost-write", "lost-write", "log-start"]);
    check(&format!("{TWO} wait 4, bounds 2 2, wait 4, stored 2 2"), &[]);
    let reset = format!("{TWO} wait 2, seek 1 0, reset 1 0, wait 4, stored 2 2");
    check(&reset, &["unfit-error"]);
    check(&format!("{TWO} wait 4, seek 1 0, reset 1 0, wait 4, stored 2 2"), &[]);
    // The second is too young.
    let second = "send 0#0, ack 0#0 0, wait 4, send 0#1, ack 0#1 1,";
    check(&format!("{second} stored 1 2 1=0#1"), &[]);
    check(&format!("{second} stored 2 2"), &["lost-write", "log-start"]);
}

#[test]
fn clocks_that_go_wrong_make_records_old() {
    let rules = Rules { retention_ms: Some(3_000), ..Rules::default() };
    let check = |lines: &str, expected: &[&str]| check_with(rules, lines, expected);
    let lost: &[&str] = &["lost-write", "lost-write", "log-start"];
    check(&format!("{TWO} clock 2500 0, wait 1, stored 2 2"), &[]);
    check(&format!("{TWO} clock 1500 0, wait 1, stored 2 2"), lost);
    check(&format!("{TWO} wait 1, bounds 2 2, clock 2500 0, stored 2 2"), lost);
    check(&format!("{TWO} wait 1, clock -2500 0, clock 0 0, stored 2 2"), &[]);
    check(&format!("clock 0 500000, {TWO} wait 2, stored 2 2"), &[]);
    check(&format!("clock 0 100000, {TWO} wait 2, stored 2 2"), lost);
}

#[test]
fn size_leaves_what_it_is_to_leave() {
    let rules = Rules { retention_bytes: Some(200), record_bytes_max: 100, ..Rules::default() };
    let check = |lines: &str, expected: &[&str]| check_with(rules, lines, expected);
    let three = format!("{TWO} send 0#2, ack 0#2 2,");
    check(&format!("{three} stored 1 3 1=0#1 2=0#2"), &[]);
    check(&format!("{three} stored 2 3 2=0#2"), &["lost-write", "log-start"]);
    // There was nothing behind it yet when a client was told.
    let early = format!("{TWO} bounds 1 2, send 0#2, ack 0#2 2, stored 1 3 1=0#1 2=0#2");
    check(&early, &["lost-write", "log-start"]);
    let unknown = Rules { record_bytes_max: 0, ..rules };
    check_with(unknown, &format!("{three} stored 3 3"), &[]);
}

#[test]
fn what_was_deleted_stays_deleted() {
    let trimmed = format!("{TWO} seek 1 0, trim 1, trimmed 1, stored 1 2 1=0#1,");
    check(&trimmed, &[]);
    check(&format!("{TWO} trim 1, trimmed 1, stored 0 2 0=0#0 1=0#1"), &["log-start"]);
    check(&format!("{TWO} trim 1, stored 0 2 0=0#0 1=0#1"), &[]);
    check(&format!("{trimmed} bounds 0 2"), &["log-start"]);
    check(&format!("{trimmed} bounds 1 2"), &[]);
    // Fetched before it was deleted.
    check(&format!("{trimmed} poll 1 0=0#0"), &[]);
    check(&format!("{trimmed} seek 1 0, poll 1 0=0#0"), &["log-start"]);
}
