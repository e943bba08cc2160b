//! `klamm group reset`: set where a group goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use client::admin::GroupFilter;
use client::group::{CommittedOffset, Offsets};
use client::{OffsetSpec, TopicPartition};
use model::{Offset, Timestamp};
use protocol::{ErrorCode, StrBytes};
use serde_json::{Value, json};

use super::Groups;
use crate::cli::{GroupReset, Place};
use crate::commands::start::Start;
use crate::failure::Failure;
use crate::output::{OutputFormat, print, print_json, print_table};

/// What is committed, as far as anything is.
type Present = BTreeMap<TopicPartition, CommittedOffset>;

impl Groups {
    pub(super) async fn reset(&self, reset: GroupReset) -> Result<(), Failure> {
        let group = StrBytes::from(reset.group.as_str());
        if reset.execute {
            self.expect_no_members(&group).await?;
        }
        let present = match self.admin.list_group_offsets(&group, None, false).await {
            Ok(present) => present,
            Err(error) => return Err(self.failure(&group, "read the offsets of", &error).await),
        };
        let targets = match &reset.from_file {
            Some(file) => read_targets(file, &group)?,
            None => {
                let partitions = self.scope(&reset, &group, &present).await?;
                self.targets(&reset, &group, partitions, &present).await?
            }
        };
        let targets = self.within_logs(targets).await?;
        if reset.execute {
            self.execute(&group, &targets).await?;
        }
        self.print_targets(&reset, &group, &present, &targets)?;
        if !reset.execute && !reset.export {
            eprintln!("nothing was changed; --execute does it");
        }
        Ok(())
    }

    /// Members would go on where they are, and commit that.
    async fn expect_no_members(&self, group: &StrBytes) -> Result<(), Failure> {
        let mut described = self.admin.describe_groups([group.clone()]).await;
        let described = described.remove(group).expect("every group has an answer");
        match described {
            Ok(description) if description.members.is_empty() => Ok(()),
            Ok(_) => Err(has_members(group)),
            // It is made by the commit.
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => Ok(()),
            Err(error) => Err(self.failure(group, "describe", &error).await),
        }
    }

    async fn scope(
        &self,
        reset: &GroupReset,
        group: &StrBytes,
        present: &Present,
    ) -> Result<BTreeSet<TopicPartition>, Failure> {
        if reset.all_topics {
            if present.is_empty() {
                let listed = self.admin.list_groups(&GroupFilter::default()).await;
                let is_there = listed.is_ok_and(|listed| listed.groups.contains_key(group));
                return Err(match is_there {
                    true => Failure::new(format!("group `{group}` has committed nothing"))
                        .hint("name the topics with --topic"),
                    false => self.not_there(group).await,
                });
            }
            return Ok(present.keys().cloned().collect());
        }
        let mut partitions = BTreeSet::new();
        for scope in &reset.topics {
            partitions.extend(self.partitions_of(scope).await?);
        }
        Ok(partitions)
    }

    /// Where each partition is to go on.
    async fn targets(
        &self,
        reset: &GroupReset,
        group: &StrBytes,
        partitions: BTreeSet<TopicPartition>,
        present: &Present,
    ) -> Result<BTreeMap<TopicPartition, Offset>, Failure> {
        let now = self.client.runtime().clock.wall();
        let spec = match reset.to {
            Some(Place::Start(Start::Beginning)) => OffsetSpec::Earliest,
            Some(Place::Start(Start::Since(time))) => OffsetSpec::At(time),
            Some(Place::Start(Start::Ago(ago))) => {
                let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
                OffsetSpec::At(Timestamp(now.0.saturating_sub(ago).max(0)))
            }
            _ => OffsetSpec::Latest,
        };
        let mut found = BTreeMap::new();
        let listed = self.offsets(partitions.iter().cloned(), spec).await?;
        let ends = self.offsets(partitions, OffsetSpec::Latest).await?;
        for (at, listed) in listed {
            let end = ends.get(&at).copied().flatten().unwrap_or(Offset::ZERO);
            // No record is that young: what comes next is.
            let place = listed.unwrap_or(end);
            let current = present.get(&at).map(|committed| committed.offset);
            let target = match (reset.to, reset.shift) {
                // What nobody committed has no present place; as a new consumer, it goes to the end.
                (Some(Place::Current), _) => current.unwrap_or(end),
                (Some(Place::Start(Start::At(offset))), _) => offset,
                (Some(Place::Start(Start::BeforeEnd(count))), _) => {
                    Offset(end.0.saturating_sub(count))
                }
                (Some(Place::Start(_)), _) => place,
                (None, shift) => {
                    let current = current.ok_or_else(|| no_place(group, &at))?;
                    Offset(current.0.saturating_add(shift.unwrap_or(0)))
                }
            };
            found.insert(at, target);
        }
        Ok(found)
    }

    /// The offsets, no smaller than the first and no greater than the end of each log.
    async fn within_logs(
        &self,
        targets: BTreeMap<TopicPartition, Offset>,
    ) -> Result<BTreeMap<TopicPartition, Offset>, Failure> {
        let firsts = self.offsets(targets.keys().cloned(), OffsetSpec::Earliest).await?;
        let ends = self.offsets(targets.keys().cloned(), OffsetSpec::Latest).await?;
        let mut kept = BTreeMap::new();
        for (at, target) in targets {
            let (Some(Some(first)), Some(Some(end))) = (firsts.get(&at), ends.get(&at)) else {
                return Err(Failure::new(format!("there is no partition {at}"))
                    .hint("`klamm topic list` shows the topics there are"));
            };
            kept.insert(at, target.max(*first).min(*end));
        }
        Ok(kept)
    }

    async fn execute(
        &self,
        group: &StrBytes,
        targets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), Failure> {
        let offsets: Offsets = targets.iter().map(|(at, o)| (at.clone(), (*o).into())).collect();
        let altered = match self.admin.alter_group_offsets(group, &offsets).await {
            Ok(altered) => altered,
            Err(error) => return Err(self.failure(group, "set the offsets of", &error).await),
        };
        for (at, result) in altered {
            result.map_err(|error| match error.code() {
                // Somebody joined meanwhile.
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                    has_members(group)
                }
                _ => Failure::client(format!("set the offset of {at}"), &error),
            })?;
        }
        Ok(())
    }

    fn print_targets(
        &self,
        reset: &GroupReset,
        group: &StrBytes,
        present: &Present,
        targets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), Failure> {
        if reset.export {
            let lines = targets
                .iter()
                .map(|(at, offset)| format!("{},{},{offset}\n", at.topic, at.partition));
            return print(&lines.collect::<String>());
        }
        let before = |at: &TopicPartition| present.get(at).map(|committed| committed.offset);
        match self.output {
            OutputFormat::Json => {
                let partition = |(at, offset): (&TopicPartition, &Offset)| {
                    json!({
                        "topic": at.topic.as_str(),
                        "partition": at.partition.0,
                        "before": before(at).map(|offset| offset.0),
                        "after": offset.0,
                    })
                };
                print_json(&json!({
                    "group": group.as_str(),
                    "executed": reset.execute,
                    "partitions": Value::from_iter(targets.iter().map(partition)),
                }))
            }
            OutputFormat::Table => print_table(
                ["TOPIC", "PARTITION", "BEFORE", "AFTER"],
                targets.iter().map(|(at, offset)| {
                    let before = before(at).map_or("-".to_owned(), |offset| offset.to_string());
                    [at.topic.to_string(), at.partition.to_string(), before, offset.to_string()]
                }),
            ),
        }
    }
}

/// The end, or the beginning, would be a guess that skips or repeats everything.
fn no_place(group: &StrBytes, at: &TopicPartition) -> Failure {
    Failure::new(format!(
        "group `{group}` has committed nothing for {at}, so there is nothing to shift"
    ))
    .hint("--to beginning or --to end says where it begins")
}

fn has_members(group: &StrBytes) -> Failure {
    Failure::new(format!("group `{group}` has members, who would not notice"))
        .hint(format!("stop them first; `klamm group describe {group}` shows who they are"))
}

/// Lines of `topic,partition,offset`, or of `group,topic,partition,offset` for several groups.
fn read_targets(
    file: &Path,
    group: &StrBytes,
) -> Result<BTreeMap<TopicPartition, Offset>, Failure> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(format!("read {name}")).because(error))?;
    let targets = parse_targets(&text, group).map_err(|line| {
        Failure::new(format!("line {line} of {name} is not topic,partition,offset"))
    })?;
    if targets.is_empty() {
        return Err(Failure::new(format!("{name} has no line for group `{group}`")));
    }
    Ok(targets)
}

/// The offsets for `group`, or the number of the line that is wrong.
fn parse_targets(text: &str, group: &StrBytes) -> Result<BTreeMap<TopicPartition, Offset>, usize> {
    let mut targets = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> =
            line.trim().split(',').map(|field| field.trim_matches('"')).collect();
        let (topic, partition, offset) = match fields[..] {
            [topic, partition, offset] => (topic, partition, offset),
            [of_group, topic, partition, offset] if of_group == group.as_str() => {
                (topic, partition, offset)
            }
            [_, _, _, _] => continue,
            _ => return Err(number),
        };
        let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse()) else {
            return Err(number);
        };
        targets.insert(TopicPartition::new(topic, partition), Offset(offset));
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_group_and_of_several() {
        let parse = |text: &str| parse_targets(text, &"g".into());
        let both = parse("t,0,5\n\ng,t,1,6\nother,t,1,7\n\"u\",0,8\n").unwrap();
        let text: Vec<String> = both.iter().map(|(at, offset)| format!("{at}={offset}")).collect();
        assert_eq!(text, ["t-0=5", "t-1=6", "u-0=8"]);
        for (wrong, line) in [("t,0", 1), ("t,0,1\nt,x,1", 2), ("t,0,-", 1)] {
            assert_eq!(parse(wrong), Err(line), "{wrong}");
        }
    }
}
