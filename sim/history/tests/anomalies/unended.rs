//! Runs that never came to an end: nobody read everything.

use crate::script::Script;
use history::Rules;

fn check(lines: &str, expected: &[&str]) {
    let found = Script::new(Rules::default()).run_without_end(lines);
    assert_eq!(found, expected, "{lines}");
}

#[test]
fn nothing_is_missing_that_nobody_looked_for() {
    check("send 0#0, ack 0#0 0, seek 1 0, poll 1 0=0#0, bounds 0 1", &[]);
}

#[test]
fn what_was_seen_is_judged() {
    check("seek 1 0, poll 1 0=?", &["thin-air"]);
    check("send 0#0, seek 1 0, poll 1 0=!0#0", &["altered"]);
    check("send 1#0, refuse 1#0, seek 1 0, poll 1 0=1#0", &["refused-visible"]);
    check("send 1#0, send 1#1, ack 1#0 0, ack 1#1 0", &["inconsistent-offsets"]);
    check("send 0#0, seek 1 0, poll 1 0=0#0 1=0#0", &["duplicate"]);
    check("send 0#0, ack 0#0 1, seek 1 0, poll 1 0=0#0", &["wrong-offset"]);
    check("send 0#0, send 0#1, ack 0#0 1, ack 0#1 0", &["nonmonotonic-send"]);
    check("send 0#0, send 0#1, seek 1 0, poll 1 1=0#1", &["poll-skip"]);
    check("send 1#0, ack 1#0 0, bounds 0 0", &["end-fell"]);
    check("send 1#0, ack 1#0 0, bounds 1 1", &["log-start"]);
    check("unfit", &["unfit-error"]);
}
