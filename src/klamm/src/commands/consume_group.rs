//! `klamm consume --group`: read as a member of a group.
//!
//! What was printed is committed every `auto.commit.interval.ms` (5 seconds), before partitions go to
//! others and on the way out; what could not be printed is not. So a record may be printed twice
//! when this process dies, and is never left out.

use std::collections::BTreeMap;
use std::time::Duration;

use client::consumer::OffsetReset;
use client::group::{Assignor, Change};
use client::{
    Client, ConsumerConfig, ConsumerRecord, GroupConfig, GroupConsumer, GroupProtocol, OffsetSpec,
    Polled, Subscription, TopicPartition,
};
use model::Offset;
use protocol::StrBytes;
use runtime_tokio::StopSignals;

use super::consume::{POLL, isolation, lookup, partitions, print_records};
use super::format::Format;
use super::start::Start;
use crate::cli::{Consume, GroupProtocolArgument};
use crate::failure::Failure;
use crate::nearest::nearest;
use crate::output::OutputFormat;

/// How long the last commit and the good-bye may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// How to be a member.
pub(super) fn config(arguments: &Consume) -> Result<GroupConfig, Failure> {
    let group = arguments.group.as_deref().unwrap_or_default();
    let base = GroupConfig {
        instance_id: arguments.group_instance.as_deref().map(StrBytes::from),
        consumer: ConsumerConfig {
            isolation: isolation(arguments),
            offset_reset: reset_of(arguments, group)?,
            ..ConsumerConfig::default()
        },
        ..GroupConfig::new(group)
    };
    match arguments.group_protocol {
        GroupProtocolArgument::Classic if arguments.regex.is_some() => {
            Err(Failure::usage("the coordinator of a classic group knows no --regex")
                .hint("--group-protocol consumer joins a group whose coordinator does"))
        }
        GroupProtocolArgument::Classic if arguments.assignors.is_empty() => {
            Ok(GroupConfig { protocol: GroupProtocol::Classic, ..base })
        }
        GroupProtocolArgument::Classic => {
            let assignors = arguments.assignors.iter().map(|name| assignor(name));
            let assignors = assignors.collect::<Result<_, _>>()?;
            Ok(GroupConfig { protocol: GroupProtocol::Classic, assignors, ..base })
        }
        GroupProtocolArgument::Consumer => match &arguments.assignors[..] {
            [] => Ok(GroupConfig { protocol: GroupProtocol::Consumer, ..base }),
            [name] => {
                let remote_assignor = Some(name.as_str().into());
                Ok(GroupConfig { protocol: GroupProtocol::Consumer, remote_assignor, ..base })
            }
            _ => Err(Failure::usage("the coordinator of a consumer group takes one --assignor")),
        },
    }
}

fn assignor(name: &str) -> Result<Assignor, Failure> {
    Assignor::from_name(name).ok_or_else(|| {
        let names = Assignor::ALL.map(Assignor::name);
        let failure = Failure::usage(format!("there is no assignor `{name}` for classic groups"));
        match nearest(name, names) {
            Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
            None => failure.hint(format!("there are {}", names.join(", "))),
        }
    })
}

/// Where to start without a committed offset; nothing else can be asked for in a group.
fn reset_of(arguments: &Consume, group: &str) -> Result<OffsetReset, Failure> {
    match arguments.from {
        Start::Beginning => Ok(OffsetReset::Earliest),
        Start::End => Ok(OffsetReset::Latest),
        _ => Err(Failure::usage(
            "a group goes on where it was; --from beginning or --from end says where it begins",
        )
        .hint(format!("`klamm group reset {group} --all-topics --to PLACE` moves it"))),
    }
}

/// A member that prints.
pub(super) struct Reader {
    pub(super) client: Client,
    pub(super) format: Format,
    pub(super) output: OutputFormat,
}

impl Reader {
    /// Reads until the count or the end is reached or a signal comes, then leaves the group.
    pub(super) async fn run(
        self,
        arguments: Consume,
        config: GroupConfig,
        mut signals: StopSignals,
    ) -> Result<(), Failure> {
        let all = partitions(&self.client, &arguments).await?;
        let isolation = config.consumer.isolation;
        let goals = match arguments.exit_at_end {
            true => Some(lookup(&self.client, &all, OffsetSpec::Latest, isolation).await?),
            false => None,
        };
        let mut consumer = GroupConsumer::new(&self.client, config);
        let subscription = match &arguments.regex {
            Some(regex) => Subscription::Regex(regex.as_str().into()),
            None => Subscription::topics(arguments.topics.iter().map(String::as_str)),
        };
        consumer.subscribe(subscription).await.map_err(|e| Failure::new("subscribe").because(e))?;
        let read = runtime::select! {
            _ = signals.next() => Ok(()),
            read = self.read(&mut consumer, arguments.count, goals) => read,
        };
        let closed = consumer.close(CLOSE_LIMIT).await;
        read?;
        closed.map_err(|error| Failure::new("commit what was read").because(error))
    }

    async fn read(
        &self,
        consumer: &mut GroupConsumer,
        count: Option<u64>,
        goals: Option<BTreeMap<TopicPartition, Offset>>,
    ) -> Result<(), Failure> {
        let mut left = count.unwrap_or(u64::MAX);
        let mut assigned = false;
        while left > 0 && !(assigned && reached(goals.as_ref(), consumer).await?) {
            let polled = consumer.poll(POLL).await;
            match polled.map_err(|error| Failure::new("consume").because(error))? {
                Polled::Nothing => {}
                Polled::Records(mut records) => {
                    let room = usize::try_from(left).unwrap_or(usize::MAX);
                    // What is not printed is not to be committed.
                    go_back(consumer, records.get(room..).unwrap_or_default())?;
                    records.truncate(room);
                    left -= records.len() as u64;
                    if let Err(failure) = print_records(&records, &self.format, self.output) {
                        // How much of it went out nobody knows.
                        go_back(consumer, &records)?;
                        return Err(failure);
                    }
                }
                Polled::Assigned(change) => {
                    assigned = true;
                    tell("assigned", &change);
                }
                Polled::Revoked(change) => tell("revoked", &change),
                Polled::Lost(change) => tell("lost", &change),
            }
        }
        Ok(())
    }
}

/// Goes back to the first of `records` in each of their partitions.
fn go_back(consumer: &mut GroupConsumer, records: &[ConsumerRecord]) -> Result<(), Failure> {
    for record in records.iter().rev() {
        let back = consumer.seek(&record.at, record.offset);
        back.map_err(|error| Failure::new("seek").because(error))?;
    }
    Ok(())
}

/// Says on stderr what comes and goes.
fn tell(verb: &str, change: &Change) {
    let partitions: Vec<String> = change.partitions.iter().map(TopicPartition::to_string).collect();
    let list = if partitions.is_empty() { "nothing".to_owned() } else { partitions.join(" ") };
    eprintln!("{verb} {list} (generation {})", change.epoch);
}

/// Whether everything was read up to its goal: what is assigned, or by others if nothing is.
async fn reached(
    goals: Option<&BTreeMap<TopicPartition, Offset>>,
    consumer: &GroupConsumer,
) -> Result<bool, Failure> {
    let Some(goals) = goals else { return Ok(false) };
    let assignment = consumer.assignment();
    if !assignment.is_empty() {
        let done = |at: &TopicPartition| {
            let position = consumer.position(at);
            goals.get(at).is_none_or(|end| position.is_some_and(|position| position >= *end))
        };
        return Ok(assignment.iter().all(done));
    }
    let committed = consumer.committed(goals.keys().cloned()).await;
    let committed =
        committed.map_err(|error| Failure::client("read the offsets of the group", &error))?;
    let offset = |at| committed.get(at).and_then(Option::as_ref).map_or(0, |c| c.offset.0);
    Ok(goals.iter().all(|(at, end)| offset(at) >= end.0))
}
