//! Each anomaly in the smallest history that shows it, beside the nearest one that is fine.

#![allow(clippy::unwrap_used, reason = "a script that is wrong fails its test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use history::{
    Content, Event, History, Outcome, Partition, Producer, Promise, RecordId, Rules, Seen, Stored,
    What,
};

/// A history, written in words; see [`Script::run`].
struct Script {
    history: History,
    rules: Rules,
    at: u64,
}

fn partition() -> Partition {
    Partition { topic: Arc::from("orders"), index: 0 }
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(word: &str) -> T {
    word.parse().unwrap()
}

/// `0#3` is the record 3 of producer 0.
fn id(word: &str) -> RecordId {
    let (producer, sequence) = word.split_once('#').unwrap();
    RecordId { producer: number(producer), sequence: number(sequence) }
}

/// `5=0#3` is the record 3 of producer 0 at offset 5; `5=?` bytes that nobody sends, `5=!0#3` the
/// record changed.
fn seen(word: &str) -> Seen {
    let (offset, content) = word.split_once('=').unwrap();
    let content = match content.strip_prefix('!') {
        Some(altered) => Content::Altered(id(altered)),
        None if content == "?" => Content::Foreign,
        None => Content::Record(id(content)),
    };
    Seen { offset: number(offset), content }
}

impl Script {
    fn new(rules: Rules) -> Script {
        let promises = [Promise::Idempotent, Promise::AtLeastOnce, Promise::AtMostOnce];
        let producers = promises.map(|promise| Producer { promise }).to_vec();
        Script { history: History { producers, ..History::default() }, rules, at: 0 }
    }

    /// Lines such as `send 0#0 [KEY]`, `ack 0#0 5`, `refuse 0#0`, `lose 0#0`, `seek 1 0`,
    /// `poll 1 0=0#0 1=0#1`, `bounds START END`, `trim 3`, `power`, `stored START END 0=0#0 …`.
    fn run(mut self, lines: &str) -> Vec<&'static str> {
        for line in lines.lines().flat_map(|line| line.split(',')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            self.at += 1_000;
            match self.event(&words) {
                Some(what) => self.history.events.push(Event { at: self.at, what }),
                None => self.store(&words),
            }
        }
        let topic = Arc::from("orders");
        self.history.topics = BTreeMap::from([(topic, self.rules)]);
        let verdict = self.history.check();
        verdict.violations.iter().map(|violation| violation.anomaly.name()).collect()
    }

    fn event(&self, words: &[&str]) -> Option<What> {
        let sent = |outcome| What::Sent { id: id(words[1]), outcome };
        let error = || "ERROR".to_owned();
        let partition = partition();
        Some(match words[0] {
            "send" => {
                What::Send { id: id(words[1]), partition, key: words.get(2).map(|key| number(key)) }
            }
            "ack" => sent(Outcome::Acknowledged { offset: words.get(2).map(|at| number(at)) }),
            "refuse" => sent(Outcome::Refused { error: error() }),
            "lose" => sent(Outcome::Unknown { error: error() }),
            "seek" => What::Seek { reader: number(words[1]), partition, offset: number(words[2]) },
            "poll" => {
                let records = words[2..].iter().map(|word| seen(word)).collect();
                What::Poll { reader: number(words[1]), partition, records }
            }
            "reset" => {
                What::Reset { reader: number(words[1]), partition, offset: number(words[2]) }
            }
            "bounds" => {
                let (log_start, end) = (Some(number(words[1])), Some(number(words[2])));
                What::Bounds { partition, asked: self.at - 1, log_start, end }
            }
            "trim" => What::Trim { partition, before: number(words[1]) },
            "power" => What::PowerLoss { node: "n1".to_owned() },
            "unfit" => What::UnfitError { request: "Produce".to_owned(), error: error() },
            _ => return None,
        })
    }

    fn store(&mut self, words: &[&str]) {
        assert_eq!(words[0], "stored");
        let records = words[3..].iter().map(|word| seen(word)).collect();
        let stored = Stored { log_start: number(words[1]), end: number(words[2]), records };
        self.history.stored.insert(partition(), stored);
    }
}

fn check(lines: &str, expected: &[&str]) {
    check_with(Rules::default(), lines, expected);
}

fn check_with(rules: Rules, lines: &str, expected: &[&str]) {
    assert_eq!(Script::new(rules).run(lines), expected, "{lines}");
}

#[test]
fn what_is_acknowledged_stays() {
    check("send 0#0, ack 0#0 0, stored 0 1 0=0#0", &[]);
    check("send 0#0, ack 0#0 0, stored 0 0", &["lost-write"]);
    check("send 1#0, ack 1#0 0, stored 0 0", &["lost-write"]);
    check("send 0#0, lose 0#0, stored 0 0", &[]);
    check("send 0#0, stored 0 0", &[]);
    check("send 2#0, ack 2#0, stored 0 0", &[]);
}

#[test]
fn what_was_read_stays() {
    check("send 0#0, seek 1 0, poll 1 0=0#0, stored 0 0", &["lost-read"]);
    check("send 0#0, seek 1 0, poll 1 0=0#0, stored 0 1 0=0#0", &[]);
}

#[test]
fn only_at_least_once_repeats() {
    check("send 0#0, ack 0#0 0, stored 0 2 0=0#0 1=0#0", &["duplicate", "nonmonotonic-send"]);
    check("send 1#0, ack 1#0 0, stored 0 2 0=1#0 1=1#0", &[]);
    check("send 2#0, stored 0 2 0=2#0 1=2#0", &["duplicate"]);
}

#[test]
fn an_offset_has_one_record() {
    let two = "send 1#0, send 1#1, seek 1 0, poll 1 0=1#0, stored 0 2 0=1#1 1=1#0";
    check(two, &["inconsistent-offsets"]);
    check("send 1#0, ack 1#0 0, send 1#1, stored 0 2 0=1#1 1=1#0", &["wrong-offset"]);
}

#[test]
fn nothing_is_made_up() {
    check("stored 0 1 0=?", &["thin-air"]);
    check("stored 0 1 0=0#7", &["thin-air"]);
    check("send 0#0, stored 0 1 0=!0#0", &["altered"]);
    check("send 1#0, refuse 1#0, stored 0 1 0=1#0", &["refused-visible"]);
}

#[test]
fn an_idempotent_producer_is_in_order_without_a_gap() {
    check("send 0#0, send 0#1, stored 0 2 0=0#1 1=0#0", &["nonmonotonic-send", "send-gap"]);
    check("send 0#0, send 0#1, stored 0 1 0=0#1", &["send-gap"]);
    check("send 0#0, lose 0#0, send 0#1, stored 0 1 0=0#1", &[]);
    check("send 1#0, send 1#1, stored 0 2 0=1#1 1=1#0", &[]);
}

#[test]
fn readers_go_forwards_without_a_jump() {
    let start = "send 0#0, send 0#1, send 0#2, stored 0 3 0=0#0 1=0#1 2=0#2, seek 1 0,";
    let check = |polls: &str, expected: &[&str]| check(&format!("{start} {polls}"), expected);
    check("poll 1 0=0#0 1=0#1, poll 1 2=0#2", &[]);
    check("poll 1 0=0#0 2=0#2", &["poll-skip"]);
    check("poll 1 0=0#0, poll 1 0=0#0", &["nonmonotonic-poll"]);
    check("poll 1 0=0#0, seek 1 0, poll 1 0=0#0", &[]);
    check("poll 1 0=0#0, reset 1 1, poll 1 2=0#2", &["unfit-error"]);
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
    check("bounds 1 2, bounds 0 2", &["log-start", "log-start"]);
}

#[test]
fn deletion_excuses_what_it_deletes() {
    let sent = "send 0#0, ack 0#0 0, send 0#1, ack 0#1 1, stored 1 2 1=0#1,";
    check(sent, &["lost-write", "log-start"]);
    check(&format!("{sent} trim 1"), &[]);
    check(&format!("{sent} trim 1, seek 1 0, reset 1 0, poll 1 1=0#1"), &[]);
    check_with(Rules { is_retained: true, ..Rules::default() }, sent, &[]);
    check(
        "send 0#0, ack 0#0 0, send 0#1, ack 0#1 1, trim 1, stored 2 2",
        &["lost-write", "lost-write", "log-start"],
    );
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
fn a_loss_of_power_excuses_only_the_page_cache() {
    let lost = "send 0#0, ack 0#0 0, power, stored 0 0";
    check(lost, &["lost-write"]);
    let rules = Rules { is_lost_with_power: true, ..Rules::default() };
    check_with(rules, lost, &[]);
    check_with(rules, "power, send 0#0, ack 0#0 0, stored 0 0", &["lost-write"]);
}

#[test]
fn errors_without_a_cause_are_told() {
    check("unfit, stored 0 0", &["unfit-error"]);
}
