//! The order of a producer's records.

use crate::script::{check, check_with};
use history::Rules;

#[test]
fn an_idempotent_producer_is_in_order_without_a_gap() {
    check("send 0#0, send 0#1, stored 0 2 0=0#1 1=0#0", &["nonmonotonic-send"]);
    check("send 0#0, send 0#1, stored 0 1 0=0#1", &["send-gap"]);
    check("send 0#0, lose 0#0, send 0#1, stored 0 1 0=0#1", &[]);
    check("send 1#0, send 1#1, stored 0 2 0=1#1 1=1#0", &[]);
}

#[test]
fn what_was_read_before_it_was_deleted_has_an_order_too() {
    let sent = "send 0#0, send 0#1, send 1#0,";
    let wrong = format!("{sent} seek 1 0, poll 1 0=0#1 1=0#0, trim 2, stored 2 2");
    check(&wrong, &["nonmonotonic-send"]);
    check(&format!("{sent} seek 1 0, poll 1 0=0#0 1=0#1, trim 2, stored 2 2"), &[]);
    // 0#0 can not have been anywhere.
    check(&format!("{sent} seek 1 0, poll 1 0=1#0 1=0#1, trim 2, stored 2 2"), &["send-gap"]);
    // It may have been at 0.
    check(&format!("{sent} trim 1, stored 1 2 1=0#1"), &[]);
}

#[test]
fn answers_of_an_ordered_producer_rise() {
    let sent = |producer: u32| format!("send {producer}#0, send {producer}#1, trim 2, stored 2 2,");
    for producer in [0, 3] {
        let sent = sent(producer);
        check(&format!("{sent} ack {producer}#0 0, ack {producer}#1 1"), &[]);
        let wrong = format!("{sent} ack {producer}#0 1, ack {producer}#1 0");
        check(&wrong, &["nonmonotonic-send"]);
    }
    check(&format!("{} ack 1#0 1, ack 1#1 0", sent(1)), &[]);
}

#[test]
fn the_first_copies_of_an_ordered_producer_rise() {
    check("send 3#0, ack 3#0 1, send 3#1, stored 0 2 0=3#1 1=3#0", &["nonmonotonic-send"]);
    check("send 3#0, ack 3#0 1, send 3#1, stored 0 3 0=3#0 1=3#0 2=3#1", &[]);
    // Two of one batch, sent twice.
    let twice = "send 3#0, send 3#1, ack 3#0 2, stored 0 4 0=3#0 1=3#1 2=3#0 3=3#1";
    check(twice, &[]);
    // It gave up on the first, which came late.
    check("send 3#0, lose 3#0, send 3#1, stored 0 2 0=3#1 1=3#0", &[]);
    check("send 1#0, ack 1#0 1, send 1#1, stored 0 2 0=1#1 1=1#0", &[]);
}

#[test]
fn a_loss_of_power_may_take_a_gap_along() {
    let rules = Rules { is_lost_with_power: true, ..Rules::default() };
    check_with(rules, "send 0#0, send 0#1, stored 0 1 0=0#1", &["send-gap"]);
    check_with(rules, "send 0#0, power, send 0#1, stored 0 1 0=0#1", &[]);
    let early = "send 0#0, send 0#1, power, stored 0 2 0=0#1 1=0#0";
    check_with(rules, early, &[]);
    let late = "power, send 0#0, send 0#1, stored 0 2 0=0#1 1=0#0";
    check_with(rules, late, &["nonmonotonic-send"]);
}
