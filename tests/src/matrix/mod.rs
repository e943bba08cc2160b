//! What every client must be able to do, once for all of them.
//!
//! In: a [`Client`] (its program, what its library can not do). Out: a list of cases.
//!
//! A case that a library can not do is not in its list; what a library does in its own way stands
//! beside the case. Start at [`cases`].

use std::process::Command;

use anyhow::Result;
use serde_json::json;

use crate::driver::{Driver, Range};
use crate::install::Tool;
use crate::record::{ReadRecord, Record, assorted};
use crate::suite::{Case, Lab};

mod admin;
pub mod clients;
mod cross;
mod errors;
mod produce;
mod read;

pub use cross::cross_reading;

/// A foreign client as the matrix sees it.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The name in the names of its cases.
    pub name: &'static str,
    /// What the machine needs for it.
    pub tools: &'static [Tool],
    /// The program that obeys JSON lines, given the broker's address.
    pub command: fn(&str) -> Result<Command>,
    /// The codecs it can write.
    pub codecs: &'static [&'static str],
    /// Operations that its library does not have.
    pub lacks: &'static [&'static str],
    /// How its exceptions are named.
    pub exceptions: Exceptions,
    /// Who reads back what it wrote; itself where nothing else is said.
    pub reader: Option<&'static Client>,
}

/// How a library shows an error to its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceptions {
    /// `org.apache.kafka.common.errors`, a class for each error.
    Java,
    /// `kafka.errors`, a class for each error.
    KafkaPython,
    /// One class, and a code in it.
    Code(&'static str),
}

impl Client {
    /// Whether its library has this operation.
    pub fn can(&self, operation: &str) -> bool {
        !self.lacks.contains(&operation)
    }

    /// [`assorted`] records, as far as the library sends them.
    pub fn assorted(&self) -> Vec<Record> {
        let mut records = assorted();
        if !self.can("null_record") {
            records.retain(|record| record.key.is_some() || record.value.is_some());
        }
        records
    }

    /// Who reads back what it wrote.
    pub fn reader(&self) -> &Client {
        self.reader.unwrap_or(self)
    }
}

type Body = fn(&Lab, &Client, &str) -> Result<()>;

/// A case of the matrix, and the operations it takes.
#[derive(Clone, Copy)]
struct Entry {
    name: &'static str,
    needs: &'static [&'static str],
    body: Body,
}

/// All cases of one client.
pub fn cases(client: &'static Client) -> Vec<Case> {
    let mut cases = vec![];
    for &codec in client.codecs {
        let name = format!("{}::produce::codec_{codec}", client.name);
        let topic = name.clone();
        let body = move |lab: &Lab| produce::codec(lab, client, &lab.topic(&topic), codec);
        cases.push(Case::new(name, body));
    }
    let entries = [produce::ENTRIES, read::ENTRIES, admin::ENTRIES, errors::ENTRIES].concat();
    for entry in entries {
        if entry.needs.iter().all(|operation| client.can(operation)) {
            let name = format!("{}::{}", client.name, entry.name);
            let topic = name.clone();
            let body = move |lab: &Lab| (entry.body)(lab, client, &lab.topic(&topic));
            cases.push(Case::new(name, body));
        }
    }
    cases.push(Case::new(format!("{}::hello", client.name), move |lab| hello(lab, client)));
    cases
}

/// The program is the one that the matrix believes it is.
fn hello(lab: &Lab, client: &Client) -> Result<()> {
    lab.with(client, |driver| {
        let hello = driver.hello().clone();
        println!("{}: {} {}", client.name, hello["client"], hello["version"]);
        anyhow::ensure!(hello["codecs"] == json!(client.codecs), "codecs {}", hello["codecs"]);
        for operation in client.lacks {
            let operations = hello["operations"].as_array().into_iter().flatten();
            let offered = operations.filter_map(|o| o.as_str()).any(|o| o == *operation);
            anyhow::ensure!(!offered, "{operation} is offered after all");
        }
        Ok(())
    })
}

/// The records of partition 0 from its first offset, which is 0, to its end.
fn read_all(driver: &mut Driver, topic: &str, count: usize) -> Result<Vec<ReadRecord>> {
    read_partition(driver, topic, 0, count)
}

fn read_partition(
    driver: &mut Driver,
    topic: &str,
    partition: i32,
    count: usize,
) -> Result<Vec<ReadRecord>> {
    let end = i64::try_from(count)?;
    Ok(driver.fetch(&[Range { topic, partition, from: 0, end }])??)
}

/// Compares what was read with what was written, from offset `first` on.
fn same(read: &[ReadRecord], written: &[Record], first: i64) -> Result<()> {
    let text = |read: &[ReadRecord]| {
        let lines: Vec<String> =
            read.iter().map(|r| format!("{} {:?}", r.offset, r.record)).collect();
        lines.join("\n")
    };
    for (i, (read, written)) in read.iter().zip(written).enumerate() {
        let offset = first + i64::try_from(i)?;
        anyhow::ensure!(read.offset == offset, "offset {} where {offset} was due", read.offset);
        anyhow::ensure!(
            read.record == *written,
            "offset {offset}: wrote {written:?}, read {:?}",
            read.record
        );
    }
    anyhow::ensure!(
        read.len() == written.len(),
        "wrote {} records, read {}:\n{}",
        written.len(),
        read.len(),
        text(read)
    );
    Ok(())
}

/// The offsets of an answer are `first`, `first` + 1, and so on.
fn consecutive(offsets: &[Option<i64>], first: i64) -> Result<()> {
    for (offset, due) in offsets.iter().zip(first..) {
        anyhow::ensure!(*offset == Some(due), "offset {offset:?} where {due} was due");
    }
    Ok(())
}
