//! Each anomaly in the smallest history that shows it, beside the nearest one that is fine.

#![allow(clippy::unwrap_used, reason = "a script that is wrong fails its test")]

mod deletion;
mod groups;
mod order;
mod places;
mod script;
mod sittings;
mod unended;

use history::Rules;
use script::{check, check_with};

#[test]
fn what_is_acknowledged_stays() {
    check("send 0#0, ack 0#0 0, stored 0 1 0=0#0", &[]);
    check("send 0#0, ack 0#0 0, stored 0 0", &["lost-write", "end-fell"]);
    check("send 1#0, ack 1#0 0, stored 0 0", &["lost-write", "end-fell"]);
    check("send 0#0, lose 0#0, stored 0 0", &[]);
    check("send 0#0, stored 0 0", &[]);
    check("send 2#0, ack 2#0, stored 0 0", &[]);
}

#[test]
fn what_came_while_everything_was_read_may_be_missing() {
    check("send 0#0, read, ack 0#0 0, stored 0 0", &[]);
    check("send 0#0, ack 0#0 0, read, stored 0 0", &["lost-write", "end-fell"]);
    let taken = "send 0#0, send 1#0, read, ack 0#0 0, stored 0 1 0=1#0";
    check(taken, &["lost-write", "inconsistent-offsets"]);
    check("send 0#0, read, seek 1 0, poll 1 0=0#0, stored 0 0", &[]);
}

#[test]
fn what_was_read_stays() {
    check("send 0#0, seek 1 0, poll 1 0=0#0, stored 0 0", &["lost-read", "end-fell"]);
    check("send 0#0, seek 1 0, poll 1 0=0#0, stored 0 1 0=0#0", &[]);
}

#[test]
fn nothing_is_made_up() {
    check("stored 0 1 0=?", &["thin-air"]);
    check("stored 0 1 0=0#7", &["thin-air"]);
    check("send 0#0, stored 0 1 0=!0#0", &["altered"]);
    check("send 1#0, refuse 1#0, stored 0 1 0=1#0", &["refused-visible"]);
}

#[test]
fn readers_go_forwards_without_a_jump() {
    let start = "send 0#0, send 0#1, send 0#2, stored 0 3 0=0#0 1=0#1 2=0#2, seek 1 0,";
    let check = |polls: &str, expected: &[&str]| check(&format!("{start} {polls}"), expected);
    check("poll 1 0=0#0 1=0#1, poll 1 2=0#2", &[]);
    check("poll 1 0=0#0 2=0#2", &["poll-skip"]);
    check("poll 1 0=0#0, poll 1 0=0#0", &["nonmonotonic-poll"]);
    check("poll 1 0=0#0, seek 1 0, poll 1 0=0#0", &[]);
    check("poll 1 0=0#0, reset 1 1, poll 1 2=0#2", &["log-start", "unfit-error"]);
    check("poll 1 0=0#0, seek 2 1, poll 2 1=0#1, poll 1 1=0#1", &[]);
}

#[test]
fn no_offset_is_left_out() {
    check("send 0#0, send 0#1, stored 0 3 0=0#0 2=0#1", &["hole"]);
    check("send 0#0, stored 0 2 0=0#0", &["hole"]);
}

#[test]
fn bounds_only_rise() {
    let records = "send 0#0, send 0#1, stored 0 2 0=0#0 1=0#1,";
    let check = |bounds: &str, expected: &[&str]| check(&format!("{records} {bounds}"), expected);
    check("bounds 0 1, bounds 0 2", &[]);
    check("bounds 0 2, bounds 0 1", &["end-fell"]);
    check("bounds 0 3", &["end-fell"]);
    check("bounds 1 2, bounds 0 2", &["log-start", "log-start", "log-start"]);
}

#[test]
fn compaction_keeps_the_last_of_each_key() {
    let rules = Rules { is_compacted: true, ..Rules::default() };
    let sent = "send 0#0 7, ack 0#0 0, send 0#1 7, ack 0#1 1, send 0#2 8, ack 0#2 2,";
    check_with(rules, &format!("{sent} stored 0 3 1=0#1 2=0#2"), &[]);
    check_with(rules, &format!("{sent} stored 0 3 1=0#1"), &["lost-write"]);
    check_with(rules, &format!("{sent} stored 0 3 0=0#0 2=0#2"), &["lost-write"]);
}

#[test]
fn errors_without_a_cause_are_told() {
    check("unfit, stored 0 0", &["unfit-error"]);
}

#[test]
fn the_end_is_behind_what_was_told() {
    let records = "send 0#0, send 0#1, stored 0 2 0=0#0 1=0#1,";
    let check = |bounds: &str, expected: &[&str]| check(&format!("{records} {bounds}"), expected);
    check("ack 0#1 1, bounds 0 2", &[]);
    check("ack 0#1 1, bounds 0 1", &["end-fell"]);
    check("bounds 0 1, ack 0#1 1", &[]);
    check("seek 1 0, poll 1 0=0#0 1=0#1, bounds 0 2", &[]);
    check("seek 1 0, poll 1 0=0#0 1=0#1, bounds 0 1", &["end-fell"]);
}

#[test]
fn a_reader_jumps_only_over_what_was_compacted() {
    let rules = Rules { is_compacted: true, ..Rules::default() };
    let check = |lines: &str, expected: &[&str]| check_with(rules, lines, expected);
    let sent = "send 0#0 7, ack 0#0 0, send 0#1 8, ack 0#1 1, seek 1 0,";
    let later = "send 0#2 7, ack 0#2 2,";
    check(&format!("{sent} {later} poll 1 1=0#1 2=0#2, stored 0 3 1=0#1 2=0#2"), &[]);
    // The record that has its key was sent after that.
    let early = format!("{sent} poll 1 1=0#1, {later} stored 0 3 1=0#1 2=0#2");
    check(&early, &["poll-skip"]);
    // It is there still.
    let kept = format!("{sent} {later} poll 1 1=0#1 2=0#2, stored 0 3 0=0#0 1=0#1 2=0#2");
    check(&kept, &["poll-skip"]);
    // Where nothing is compacted an unknown record, too, is passed over.
    let lines = "send 0#0, send 0#1, seek 1 0, poll 1 0=0#0 2=0#1, trim 3, stored 3 3";
    check_with(Rules::default(), lines, &["poll-skip"]);
}

#[test]
fn a_deleted_topic_does_not_come_back() {
    let first = "create, send 0#0, ack 0#0 0, wait 6, delete, deleted,";
    check(first, &[]);
    check(&format!("{first} listed"), &["topic-came-back"]);
    check(&format!("{first} create, listed"), &[]);
    check("create, wait 1, delete, wait 5, listed", &[]);
    let second = "create, send 0#1, ack 0#1 0, seek 1 0,";
    check(&format!("{first} {second} poll 1 0=0#1"), &[]);
    let back = format!("{first} {second} poll 1 0=0#0");
    check(&back, &["inconsistent-offsets", "thin-air"]);
    check(&format!("{first} {second} bounds 0 1"), &[]);
    // Nobody knows whether a request that was sent before was late.
    let late = "create, send 0#0, ack 0#0 0, delete, deleted, create, seek 1 0, poll 1 0=0#0";
    check(late, &[]);
}
