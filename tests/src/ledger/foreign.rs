//! Writers in a process of their own, through a client that nobody here wrote: their lines become
//! the events of a [`Ledger`].
//!
//! In: a program that is called as `clients/go/ledger` is and prints its lines. Out: events, in the
//! order of the lines. The program numbers its producers from 0, as the ledger does.
//!
//! Start at [`Writers`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use history::{Partition, Promise, RecordId, Seen, Stored, read_value};

use super::Ledger;
use crate::child::{Background, wait_for};
use crate::driver::{Driver, Range};

/// The producers of the program: so many of each promise, in this order. The last one that promises
/// at-least-once waits for the leader's acknowledgement only.
const PRODUCERS: [(Promise, u32); 3] =
    [(Promise::Idempotent, 4), (Promise::AtLeastOnce, 2), (Promise::AtMostOnce, 1)];

/// Longest time that the program may take to finish what it has begun.
const END_LIMIT: Duration = Duration::from_secs(90);

/// The program and the thread that reads its lines.
#[derive(Debug)]
pub struct Writers {
    process: Background,
    scribe: Option<JoinHandle<Result<()>>>,
}

impl Writers {
    /// Starts `command` against the broker at `address`; its log goes below `directory`.
    ///
    /// # Errors
    /// The program does not start, or the ledger has other producers already.
    pub fn start(
        mut command: Command,
        address: &str,
        directory: &Path,
        ledger: &Arc<Ledger>,
    ) -> Result<Writers> {
        let mut next = 0;
        for (promise, count) in PRODUCERS {
            for _ in 0..count {
                // Without idempotence both clients have one request in flight.
                let number = ledger.producer(promise, promise == Promise::AtLeastOnce);
                ensure!(number == next, "the ledger has producers already");
                next += 1;
            }
        }
        command.args([address, ledger.topic(), &ledger.partitions().count().to_string()]);
        command.args(PRODUCERS.map(|(_, count)| count.to_string()));
        let mut process = Background::start_piped(&mut command, &directory.join("writers.log"))?;
        let stdout = process.child().stdout.take().context("stdout of the writers")?;
        let ledger = Arc::clone(ledger);
        let scribe = thread::spawn(move || copy(stdout, &ledger));
        Ok(Writers { process, scribe: Some(scribe) })
    }

    /// Whether they are still at work.
    ///
    /// # Errors
    /// They are not, and why.
    pub fn check(&mut self) -> Result<()> {
        if self.scribe.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join()?;
            let log = self.process.log_tail();
            bail!("the writers ended with {:?}: {log}", self.process.ended()?);
        }
        Ok(())
    }

    /// Lets them finish what they have begun, and waits until all of it is in the ledger.
    ///
    /// # Errors
    /// They do not end in time, or end with an error.
    pub fn stop(mut self) -> Result<()> {
        drop(self.process.child().stdin.take());
        let status = wait_for("the end of the writers", END_LIMIT, || self.process.ended())?;
        if !status.success() {
            bail!("the writers ended with {status}: {}", self.process.log_tail());
        }
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        let scribe = self.scribe.take().context("the writers have ended")?;
        scribe.join().map_err(|_| anyhow!("the scribe panicked"))?
    }
}

fn copy(from: impl Read, ledger: &Ledger) -> Result<()> {
    for line in BufReader::new(from).lines() {
        let line = line?;
        note(&line, ledger).with_context(|| format!("{line:?} is no line of a ledger"))?;
    }
    Ok(())
}

/// `S producer sequence partition`, then `A producer sequence offset` (`-` when none was said) or
/// `F producer sequence error`.
fn note(line: &str, ledger: &Ledger) -> Result<()> {
    let mut words = line.splitn(4, ' ');
    let mut word = || words.next().context("four words");
    let kind = word()?;
    let id = RecordId { producer: word()?.parse()?, sequence: word()?.parse()? };
    match (kind, word()?) {
        ("S", partition) => ledger.send(id, partition.parse()?),
        ("A", "-") => ledger.acknowledged(id, None),
        ("A", offset) => ledger.acknowledged(id, Some(offset.parse()?)),
        ("F", error) => ledger.given_up(id, error),
        _ => bail!("it begins with {kind:?}"),
    }
    Ok(())
}

/// Reads a whole topic through a foreign client.
///
/// # Errors
/// The client reports an error, or does not answer.
pub fn read_all(reader: &mut Driver, ledger: &Ledger) -> Result<BTreeMap<Partition, Stored>> {
    /// Most records that one answer of the driver holds.
    const CHUNK: i64 = 20_000;
    let topic = ledger.topic();
    let mut all = BTreeMap::new();
    for partition in ledger.partitions() {
        let index = partition.index;
        let log_start = reader.offset_for(topic, index, "earliest")?.0.context("earliest")?;
        let end = reader.offset_for(topic, index, "latest")?.0.context("latest")?;
        let mut stored = Stored { log_start, end, records: vec![] };
        let mut from = log_start;
        while from < end {
            let until = end.min(from + CHUNK);
            let range = Range { topic, partition: index, from, end: until };
            stored.records.extend(reader.fetch(&[range])??.into_iter().map(|read| {
                let content = read_value(read.record.value.as_deref().unwrap_or_default());
                Seen { offset: read.offset, content }
            }));
            from = until;
        }
        all.insert(partition, stored);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use history::{Outcome, What};

    use super::*;

    #[test]
    fn lines_become_events() {
        let ledger = Ledger::new("t", 3);
        let number = ledger.producer(Promise::AtMostOnce, false);
        let lines = "S 0 0 2\nS 0 1 1\nS 0 2 0\nA 0 0 17\nA 0 1 -\nF 0 2 it is gone\n";
        copy(lines.as_bytes(), &ledger).unwrap();
        let id = |sequence| RecordId { producer: number, sequence };
        let send = |sequence, index| What::Send {
            id: id(sequence),
            partition: ledger.partition(index),
            key: None,
        };
        let sent = |sequence, outcome| What::Sent { id: id(sequence), outcome };
        let expected = [
            send(0, 2),
            send(1, 1),
            send(2, 0),
            sent(0, Outcome::Acknowledged { offset: Some(17) }),
            sent(1, Outcome::Acknowledged { offset: None }),
            sent(2, Outcome::Unknown { error: "it is gone".to_owned() }),
        ];
        let written: Vec<What> =
            ledger.history().events.into_iter().map(|event| event.what).collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn other_lines_are_errors() {
        let ledger = Ledger::new("t", 3);
        for line in ["", "A 0 0", "A 0 x 17", "B 0 0 17", "S 0 0 -"] {
            assert!(note(line, &ledger).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_producer_that_retries_has_no_reason_to_give_up() {
        for (promise, expected) in [(Promise::Idempotent, 1), (Promise::AtMostOnce, 0)] {
            let ledger = Ledger::new("t", 3);
            ledger.producer(promise, false);
            copy("S 0 0 2\nF 0 0 error\n".as_bytes(), &ledger).unwrap();
            assert_eq!(ledger.history().check().violations.len(), expected, "{promise:?}");
        }
    }
}
