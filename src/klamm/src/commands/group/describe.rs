//! `klamm group describe`: state, members, lag.

use std::collections::BTreeMap;

use client::admin::{GroupDescription, MemberDescription};
use client::group::CommittedOffset;
use client::{OffsetSpec, TopicPartition};
use model::Offset;
use protocol::StrBytes;
use serde_json::{Value, json};

use super::Groups;
use crate::cli::{GroupDescribe, Named};
use crate::failure::Failure;
use crate::output::{OutputFormat, print, print_json, print_table};
use crate::times::format_time;

/// One look at a group.
struct Look {
    group: GroupDescription,
    partitions: BTreeMap<TopicPartition, Progress>,
}

/// How far a group is in one partition.
struct Progress {
    committed: Option<CommittedOffset>,
    /// `None` where the partition is gone.
    end: Option<Offset>,
    /// The place of its reader among the members.
    reader: Option<usize>,
}

impl Progress {
    fn lag(&self) -> Option<i64> {
        Some((self.end?.0 - self.committed.as_ref()?.offset.0).max(0))
    }
}

impl Groups {
    pub(super) async fn describe(&self, describe: GroupDescribe) -> Result<(), Failure> {
        let Some(interval) = describe.watch else { return self.show(describe.named, false).await };
        let clock = &*self.client.runtime().clock;
        let mut looks = describe.count.unwrap_or(u64::MAX);
        while looks > 0 {
            if self.output == OutputFormat::Table {
                print(&format!("{}\n", format_time(clock.wall())))?;
            }
            self.show(describe.named.clone(), true).await?;
            looks -= 1;
            if looks > 0 {
                runtime::sleep(clock, interval).await;
            }
        }
        Ok(())
    }

    /// Looks once. With `repeats` a JSON document takes one line.
    async fn show(&self, named: Named, repeats: bool) -> Result<(), Failure> {
        let (groups, mut failures) = self.named(named).await?;
        let mut documents = Vec::new();
        let mut is_first = true;
        for group in &groups {
            let look = match self.look(group).await {
                Ok(look) => look,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            match self.output {
                OutputFormat::Json => documents.push(document(&look)),
                OutputFormat::Table => {
                    if !is_first {
                        print("\n")?;
                    }
                    print_look(&look)?;
                }
            }
            is_first = false;
        }
        match self.output {
            // Nothing to show is no list that is empty.
            OutputFormat::Json if documents.is_empty() && !failures.is_empty() => {}
            OutputFormat::Json if repeats => print(&format!("{}\n", Value::from(documents)))?,
            OutputFormat::Json => print_json(&Value::from(documents))?,
            OutputFormat::Table if repeats => print("\n")?,
            OutputFormat::Table => {}
        }
        Failure::all(failures)
    }

    async fn look(&self, name: &StrBytes) -> Result<Look, Failure> {
        let mut described = self.admin.describe_groups([name.clone()]).await;
        let described = described.remove(name).expect("every group has an answer");
        let group = match described {
            Ok(group) => group,
            Err(error) => return Err(self.failure(name, "describe", &error).await),
        };
        let committed = match self.admin.list_group_offsets(name, None, false).await {
            Ok(committed) => committed,
            Err(error) => return Err(self.failure(name, "read the offsets of", &error).await),
        };
        if group.state == *"Dead" && committed.is_empty() {
            return Err(self.not_there(name).await);
        }
        let mut partitions = BTreeMap::new();
        for (at, committed) in committed {
            let progress = Progress { committed: Some(committed), end: None, reader: None };
            partitions.insert(at, progress);
        }
        for (place, member) in group.members.iter().enumerate() {
            for at in &member.assignment {
                let unknown = Progress { committed: None, end: None, reader: None };
                partitions.entry(at.clone()).or_insert(unknown).reader = Some(place);
            }
        }
        let ends = self.offsets(partitions.keys().cloned(), OffsetSpec::Latest).await?;
        for (at, end) in ends {
            if let Some(progress) = partitions.get_mut(&at) {
                progress.end = end;
            }
        }
        Ok(Look { group, partitions })
    }
}

fn print_look(look: &Look) -> Result<(), Failure> {
    let group = &look.group;
    let word = |word: &StrBytes| if word.is_empty() { "-".to_owned() } else { word.to_string() };
    let epochs = group.epochs.map(|(epoch, assignment)| match epoch == assignment {
        true => format!("  epoch {epoch}"),
        false => format!("  epoch {epoch}, assignment of epoch {assignment}"),
    });
    print(&format!(
        "group {}  type {}  state {}  assignor {}{}\ncoordinator {} ({})  members {}  lag {}\n",
        group.group_id,
        group.group_type.name(),
        word(&group.state),
        word(&group.assignor),
        epochs.unwrap_or_default(),
        group.coordinator.id,
        group.coordinator.address(),
        group.members.len(),
        total_lag(look),
    ))?;
    if let Some(last) = &group.last_rebalance {
        // What a client gave as a reason may hold anything.
        let reason = last.reason.escape_debug();
        print(&format!("last rebalance {}: {reason}\n", format_time(last.at)))?;
    }
    if !look.partitions.is_empty() {
        print("\n")?;
        print_table(
            ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "CLIENT", "HOST"],
            look.partitions.iter().map(|(at, progress)| partition_row(group, at, progress)),
        )?;
    }
    if group.members.is_empty() {
        return Ok(());
    }
    print("\n")?;
    print_table(
        ["MEMBER", "INSTANCE", "CLIENT", "HOST", "EPOCH", "PARTITIONS", "LAG", "SUBSCRIBED"],
        group.members.iter().enumerate().map(|(place, member)| {
            let instance = member.instance_id.as_ref().map_or("-".to_owned(), StrBytes::to_string);
            let epoch = member.epoch.map_or("-".to_owned(), |epoch| epoch.to_string());
            [
                member.member_id.to_string(),
                instance,
                member.client_id.to_string(),
                member.host.to_string(),
                epoch,
                share(member),
                member_lag(look, place).map_or("-".to_owned(), |lag| lag.to_string()),
                subscription(member),
            ]
        }),
    )
}

fn partition_row(
    group: &GroupDescription,
    at: &TopicPartition,
    progress: &Progress,
) -> [String; 8] {
    let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    let reader = progress.reader.map(|place| &group.members[place]);
    let of_reader = |word: fn(&MemberDescription) -> &StrBytes| {
        reader.map_or("-".to_owned(), |reader| word(reader).to_string())
    };
    [
        at.topic.to_string(),
        at.partition.to_string(),
        number(progress.committed.as_ref().map(|committed| committed.offset.0)),
        number(progress.end.map(|end| end.0)),
        number(progress.lag()),
        of_reader(|reader| &reader.member_id),
        of_reader(|reader| &reader.client_id),
        of_reader(|reader| &reader.host),
    ]
}

/// How many partitions a member has, and how many it shall have if that differs.
fn share(member: &MemberDescription) -> String {
    let has = member.assignment.len();
    match &member.target {
        Some(target) if *target != member.assignment => format!("{has} of {}", target.len()),
        _ => has.to_string(),
    }
}

fn subscription(member: &MemberDescription) -> String {
    let names = member.topics.iter().map(StrBytes::to_string);
    let regex = member.regex.iter().map(|regex| format!("/{regex}/"));
    let all: Vec<String> = names.chain(regex).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(",") }
}

fn total_lag(look: &Look) -> i64 {
    look.partitions.values().filter_map(Progress::lag).sum()
}

/// How far the member at `place` is behind in what it has: `None` while that is not known of any of
/// its partitions.
fn member_lag(look: &Look, place: usize) -> Option<i64> {
    let has = look.partitions.values().filter(|progress| progress.reader == Some(place));
    let lags: Vec<Option<i64>> = has.map(Progress::lag).collect();
    let is_known = lags.is_empty() || lags.iter().any(Option::is_some);
    is_known.then(|| lags.into_iter().flatten().sum())
}

fn document(look: &Look) -> Value {
    let group = &look.group;
    let places = |partitions: &std::collections::BTreeSet<TopicPartition>| {
        let place =
            |at: &TopicPartition| json!({"topic": at.topic.as_str(), "partition": at.partition.0});
        partitions.iter().map(place).collect::<Vec<_>>()
    };
    let member = |(place, member): (usize, &MemberDescription)| {
        json!({
            "member": member.member_id.as_str(),
            "instance": member.instance_id.as_ref().map(StrBytes::as_str),
            "client": member.client_id.as_str(),
            "host": member.host.as_str(),
            "epoch": member.epoch,
            "topics": member.topics.iter().map(StrBytes::as_str).collect::<Vec<_>>(),
            "regex": member.regex.as_ref().map(StrBytes::as_str),
            "assignment": places(&member.assignment),
            "target": member.target.as_ref().map(places),
            "lag": member_lag(look, place),
        })
    };
    let partition = |(at, progress): (&TopicPartition, &Progress)| {
        let reader = progress.reader.map(|place| group.members[place].member_id.as_str());
        let committed = progress.committed.as_ref();
        json!({
            "topic": at.topic.as_str(),
            "partition": at.partition.0,
            "committed": committed.map(|committed| committed.offset.0),
            "metadata": committed.map(|committed| committed.metadata.as_str()),
            "end": progress.end.map(|end| end.0),
            "lag": progress.lag(),
            "member": reader,
        })
    };
    json!({
        "group": group.group_id.as_str(),
        "type": group.group_type.name(),
        "state": group.state.as_str(),
        "protocol_type": group.protocol_type.as_str(),
        "assignor": group.assignor.as_str(),
        "epoch": group.epochs.map(|(epoch, _)| epoch),
        "assignment_epoch": group.epochs.map(|(_, assignment)| assignment),
        "last_rebalance": group.last_rebalance.as_ref().map(|last| json!({
            "at": format_time(last.at),
            "reason": last.reason.as_str(),
        })),
        "coordinator": {
            "id": group.coordinator.id.0,
            "address": group.coordinator.address(),
        },
        "members": group.members.iter().enumerate().map(member).collect::<Vec<_>>(),
        "partitions": look.partitions.iter().map(partition).collect::<Vec<_>>(),
        "lag": total_lag(look),
    })
}
