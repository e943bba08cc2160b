//! Histories, written in words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use history::{
    Committed, Content, Event, GroupEvent, GroupRules, GroupWhat, History, Outcome, Partition,
    Producer, Promise, Protocol, RecordId, Rules, Seen, Stored, Verdict, What, WriteOutcome,
    Writer,
};

const SECOND: u64 = 1_000_000_000;

/// A history, written in words; see [`Script::run`].
pub struct Script {
    history: History,
    rules: Rules,
    group: Option<GroupRules>,
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
    /// An empty history of a topic with these rules.
    pub fn new(rules: Rules) -> Script {
        let producer = |promise, is_ordered| Producer { promise, is_ordered };
        let producers = vec![
            producer(Promise::Idempotent, false),
            producer(Promise::AtLeastOnce, false),
            producer(Promise::AtMostOnce, false),
            producer(Promise::AtLeastOnce, true),
        ];
        Script { history: History { producers, ..History::default() }, rules, group: None, at: 0 }
    }

    /// With the group `g`.
    pub fn with_group(self, group: GroupRules) -> Script {
        Script { group: Some(group), ..self }
    }

    /// Lines such as `send 0#0 [KEY]`, `ack 0#0 5`, `refuse 0#0`, `lose 0#0`, `seek 1 0`,
    /// `poll 1 0=0#0 1=0#1`, `bounds START END`, `trim 3`, `trimmed 3`, `power`, `clock MS PPM`,
    /// `create`, `delete`, `deleted`, `listed`, `read` for the begin of the last read, `stored START END 0=0#0 …`; `wait SECONDS` lets time
    /// pass. Producer 0 is idempotent, 1 at least once, 2 at most once, 3 at least once in order.
    pub fn run(self, lines: &str) -> Vec<&'static str> {
        names(&self.history(lines).check())
    }

    /// The same for a run that never came to its end.
    pub fn run_without_end(self, lines: &str) -> Vec<&'static str> {
        names(&self.history(lines).check_without_end())
    }

    fn history(mut self, lines: &str) -> History {
        for line in lines.lines().flat_map(|line| line.split(',')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            self.at += 1_000;
            match self.event(&words) {
                Some(what) => self.history.events.push(Event { at: self.at, what }),
                None => self.other(&words),
            }
        }
        self.history.read_from.get_or_insert(self.at + 1_000);
        self.history.read_by = Some(self.at + 1_000);
        let topic = Arc::from("orders");
        self.history.topics = BTreeMap::from([(topic, self.rules)]);
        self.history.groups.extend(self.group.map(|rules| (Arc::from("g"), rules)));
        self.history
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
            "trimmed" => What::Trimmed { partition, low_watermark: number(words[1]) },
            "create" => What::CreateTopic { topic: partition.topic },
            "delete" => What::DeleteTopic { topic: partition.topic },
            "deleted" => What::TopicDeleted { topic: partition.topic },
            "clock" => {
                let (ahead_ms, drift_ppm) = (number(words[1]), number(words[2]));
                What::Clock { node: "n1".to_owned(), ahead_ms, drift_ppm }
            }
            "power" => What::PowerLoss { node: "n1".to_owned() },
            "unfit" => What::UnfitError { request: "Produce".to_owned(), error: error() },
            _ => return self.of_group(words),
        })
    }

    /// What happens in the group `g`: `began M [INSTANCE]`, of a mixed one `began M [consumer]`, `assign
    /// M EPOCH [none] [leads]`, `release M [UNTOLD]`,
    /// `lost M [none]`, `end M`; `commit W M EPOCH OFFSET` is the write number W, `recommit …` one that may
    /// be sent twice, `set W OFFSET`, `forget W` and `drop W` are of an admin; `done W [EPOCH]`, `refused W`,
    /// `unknown W`; `fetched OFFSET:W` tells what W wrote there, `fetched none` nothing;
    /// `process M OFFSET…`; `counted N` members are in it.
    fn of_group(&self, words: &[&str]) -> Option<What> {
        let error = || "ERROR".to_owned();
        let member = || number(words[1]);
        let partitions = vec![partition()];
        let value = |write: &str, offset: &str| {
            vec![(
                partition(),
                Some(Committed { offset: number(offset), metadata: format!("w{write}") }),
            )]
        };
        let write = |by, offsets, may_repeat| {
            let write = number(words[1]);
            GroupWhat::Write { write, by, offsets, may_repeat }
        };
        let written = |outcome| {
            let epoch = words.get(2).map_or(-1, |epoch| number(epoch));
            GroupWhat::Written { write: number(words[1]), outcome, epoch }
        };
        let what = match words[0] {
            "began" => {
                let own = self.group.as_ref().map_or(Protocol::Classic, |group| group.protocol);
                let protocol = match (own, words.get(2)) {
                    (Protocol::Mixed, Some(&"consumer")) => Protocol::Consumer,
                    (Protocol::Mixed, _) => Protocol::Classic,
                    (own, _) => own,
                };
                let instance = words.get(2).filter(|_| own != Protocol::Mixed);
                let instance = instance.map(|name| Arc::from(*name));
                GroupWhat::Began { member: member(), instance, protocol }
            }
            "assign" => {
                let has = |word: &str| words[3..].contains(&word);
                let partitions = if has("none") { Vec::new() } else { partitions };
                let (epoch, untold, is_leader) = (number(words[2]), self.at, has("leads"));
                GroupWhat::Assigned { member: member(), epoch, partitions, untold, is_leader }
            }
            "release" => {
                let untold = words.get(2).map_or(0, |ago| self.at - number::<u64>(ago) * SECOND);
                GroupWhat::Released { member: member(), partitions, is_lost: false, untold }
            }
            "lost" => {
                let partitions = if words.len() < 3 { partitions } else { Vec::new() };
                GroupWhat::Released { member: member(), partitions, is_lost: true, untold: 0 }
            }
            "end" => GroupWhat::Ended { member: member() },
            "commit" | "recommit" => {
                let by = Writer::Member { member: number(words[2]), epoch: number(words[3]) };
                write(by, value(words[1], words[4]), words[0] == "recommit")
            }
            "set" => write(Writer::Admin, value(words[1], words[2]), false),
            "forget" => write(Writer::Admin, vec![(partition(), None)], false),
            "drop" => write(Writer::Deletion, vec![(partition(), None)], false),
            "done" => written(WriteOutcome::Done),
            "refused" => written(WriteOutcome::Refused { error: error() }),
            "unknown" => written(WriteOutcome::Unknown { error: error() }),
            "fetched" => {
                let offsets = match words[1].split_once(':') {
                    Some((offset, write)) => value(write, offset),
                    None => vec![(partition(), None)],
                };
                GroupWhat::Fetched { asked: self.at - 1, offsets }
            }
            "counted" => GroupWhat::Counted { members: number(words[1]) },
            "process" => {
                let offsets = words[2..].iter().map(|offset| number(offset)).collect();
                GroupWhat::Processed { member: member(), partition: partition(), offsets }
            }
            _ => return None,
        };
        Some(What::Group(GroupEvent { group: Arc::from("g"), what }))
    }

    fn other(&mut self, words: &[&str]) {
        match words[0] {
            "wait" => self.at += number::<u64>(words[1]) * SECOND,
            "read" => self.history.read_from = Some(self.at),
            "listed" => self.history.listed = Some(BTreeSet::from([partition().topic])),
            "stored" => {
                let records = words[3..].iter().map(|word| seen(word)).collect();
                let (log_start, end) = (number(words[1]), number(words[2]));
                self.history.stored.insert(partition(), Stored { log_start, end, records });
            }
            word => panic!("{word} is no word of a script"),
        }
    }
}

fn names(verdict: &Verdict) -> Vec<&'static str> {
    verdict.violations.iter().map(|violation| violation.anomaly.name()).collect()
}

/// Whether the history shows just these anomalies, in a topic that deletes nothing.
#[track_caller]
pub fn check(lines: &str, expected: &[&str]) {
    check_with(Rules::default(), lines, expected);
}

/// The same in a topic with these rules.
#[track_caller]
pub fn check_with(rules: Rules, lines: &str, expected: &[&str]) {
    assert_eq!(Script::new(rules).run(lines), expected, "{lines}");
}
