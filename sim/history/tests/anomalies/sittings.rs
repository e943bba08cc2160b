//! What a loss of power excuses, where the page cache may be lost, and what it does not.

use crate::script::{check, check_with};
use history::Rules;

const CACHED: Rules = Rules {
    is_compacted: false,
    retention_ms: None,
    retention_bytes: None,
    record_bytes_max: 0,
    is_lost_with_power: true,
};

#[test]
fn a_loss_of_power_excuses_only_the_page_cache() {
    let lost = "send 0#0, ack 0#0 0, power, stored 0 0";
    check(lost, &["lost-write", "end-fell"]);
    check_with(CACHED, lost, &[]);
    let later = "power, send 0#0, ack 0#0 0, stored 0 0";
    check_with(CACHED, later, &["lost-write", "end-fell"]);
}

#[test]
fn only_a_loss_after_the_answer_excuses() {
    let lost = "send 0#0, power, wait 6, ack 0#0 0, stored 0 0";
    check_with(CACHED, lost, &["lost-write", "end-fell"]);
    // The answer may have been on its way.
    check_with(CACHED, "send 0#0, power, wait 4, ack 0#0 0, stored 0 0", &[]);
}

#[test]
fn a_loss_takes_an_end() {
    let two = "send 0#0, ack 0#0 0, send 1#0, ack 1#0 1,";
    check_with(CACHED, &format!("{two} power, stored 0 1 0=0#0"), &[]);
    check_with(CACHED, &format!("{two} power, stored 0 0"), &[]);
    let middle = format!("{two} send 1#1, power, stored 0 2 0=1#1 1=1#0");
    check_with(CACHED, &middle, &["lost-write"]);
    // What was written after the loss stays where it is.
    let after = "send 0#0, ack 0#0 0, power, send 1#0, send 1#1, ack 1#1 1, stored 0 2 0=1#0 1=1#1";
    check_with(CACHED, after, &[]);
}

#[test]
fn one_sitting_is_consistent() {
    let polled = "send 1#0, send 1#1, seek 1 0, poll 1 0=1#0,";
    let other = "seek 2 0, poll 2 0=1#1, stored 0 1 0=1#1";
    check_with(CACHED, &format!("{polled} power, {other}"), &[]);
    let lines = format!("power, {polled} {other}");
    check_with(CACHED, &lines, &["inconsistent-offsets", "lost-read"]);
    let repeated = "send 0#0, seek 1 0, poll 1 0=0#0,";
    check_with(CACHED, &format!("{repeated} power, stored 0 2 0=0#0 1=0#0"), &[]);
    check_with(CACHED, &format!("power, {repeated} stored 0 2 0=0#0 1=0#0"), &["duplicate"]);
}

#[test]
fn a_loss_does_not_move_readers() {
    let sent = "send 0#0, send 0#1, seek 1 0,";
    let back = format!("{sent} poll 1 0=0#0, power, poll 1 0=0#0, stored 0 2 0=0#0 1=0#1");
    check_with(CACHED, &back, &["nonmonotonic-poll"]);
    let skip = format!("{sent} power, poll 1 1=0#1, stored 0 2 0=0#0 1=0#1");
    check_with(CACHED, &skip, &["poll-skip"]);
    let told = format!("{sent} poll 1 0=0#0, power, reset 1 1, poll 1 0=0#1, stored 0 1 0=0#1");
    check_with(CACHED, &told, &[]);
}

#[test]
fn the_end_falls_with_a_loss_only() {
    let sent = "send 0#0, send 0#1, ack 0#0 0, ack 0#1 1,";
    check_with(CACHED, &format!("{sent} power, bounds 0 1, stored 0 1 0=0#0"), &[]);
    let lines = format!("power, {sent} bounds 0 1, stored 0 2 0=0#0 1=0#1");
    check_with(CACHED, &lines, &["end-fell"]);
}
