//! One record, one offset: what was read where, and what was answered.

use history::Rules;

use crate::script::{check, check_with};

#[test]
fn only_at_least_once_repeats() {
    check("send 0#0, ack 0#0 0, stored 0 2 0=0#0 1=0#0", &["duplicate"]);
    check("send 1#0, ack 1#0 0, stored 0 2 0=1#0 1=1#0", &[]);
    check("send 2#0, stored 0 2 0=2#0 1=2#0", &["duplicate"]);
    // Also when one of the two was read before it was deleted.
    let lines = "send 0#0, seek 1 0, poll 1 0=0#0, trim 1, stored 1 2 1=0#0";
    check(lines, &["duplicate"]);
}

#[test]
fn an_offset_has_one_record() {
    let two = "send 1#0, send 1#1, seek 1 0, poll 1 0=1#0, stored 0 2 0=1#1 1=1#0";
    check(two, &["inconsistent-offsets"]);
}

#[test]
fn an_offset_is_answered_once() {
    let sent = "send 1#0, send 1#1, ack 1#0 0,";
    check(&format!("{sent} ack 1#1 1, stored 0 2 0=1#0 1=1#1"), &[]);
    // Neither is there any more.
    check(&format!("{sent} ack 1#1 0, trim 2, stored 2 2"), &["inconsistent-offsets"]);
    // Another one is there.
    let other = format!("{sent} seek 1 0, poll 1 0=1#1, trim 1, stored 1 1");
    check(&other, &["inconsistent-offsets"]);
    check(&format!("{sent} seek 1 0, poll 1 0=1#0 1=1#1, trim 2, stored 2 2"), &[]);
}

#[test]
fn a_record_is_where_the_answer_says() {
    check("send 1#0, ack 1#0 0, send 1#1, stored 0 2 0=1#1 1=1#0", &["wrong-offset"]);
    check("send 1#0, ack 1#0 1, send 1#1, stored 0 2 0=1#1 1=1#0", &[]);
    // One that may repeat may have been compacted away there.
    let rules = Rules { is_compacted: true, ..Rules::default() };
    check_with(rules, "send 1#0 7, ack 1#0 0, stored 0 2 1=1#0", &[]);
    check_with(rules, "send 0#0 7, ack 0#0 0, stored 0 2 1=0#0", &["wrong-offset"]);
}
