//! `klamm group reset`: set where groups go on.

use std::collections::{BTreeMap, BTreeSet};

use client::admin::GroupFilter;
use client::group::{CommittedOffset, Offsets};
use client::{OffsetSpec, TopicPartition};
use model::{Offset, Timestamp};
use protocol::{ErrorCode, StrBytes};
use serde_json::{Value, json};

use super::Groups;
use super::offsets_file::{OffsetsFile, field};
use crate::cli::{GroupReset, Named, Place};
use crate::commands::start::Start;
use crate::failure::Failure;
use crate::output::{OutputFormat, print, print_json, print_table};

/// What is committed, as far as anything is.
type Present = BTreeMap<TopicPartition, CommittedOffset>;

/// What is to become of one group, or has become of it.
struct Plan {
    group: StrBytes,
    present: Present,
    targets: BTreeMap<TopicPartition, Offset>,
    /// The partitions whose offsets could not be set.
    failed: BTreeMap<TopicPartition, String>,
}

impl Groups {
    pub(super) async fn reset(&self, reset: GroupReset) -> Result<(), Failure> {
        let file = reset.from_file.as_deref().map(OffsetsFile::read).transpose()?;
        let (groups, mut failures) = match &file {
            Some(file) if reset.groups.is_empty() => (file.groups()?, Vec::new()),
            _ => {
                let (groups, all_groups) = (reset.groups.clone(), reset.all_groups);
                self.named(Named { groups, all_groups }).await?
            }
        };
        let is_single = reset.groups.len() == 1;
        let mut plans = Vec::new();
        for group in groups {
            let plan = match &file {
                Some(file) => self.plan(&reset, group, Some((file, is_single))).await,
                None => self.plan(&reset, group, None).await,
            };
            match plan {
                Ok(plan) => plans.push(plan),
                Err(failure) => failures.push(failure),
            }
        }
        if reset.execute {
            for plan in &mut plans {
                failures.extend(self.execute(plan).await);
            }
        }
        self.print_plans(&reset, &plans)?;
        if !reset.execute && !reset.export {
            eprintln!("nothing was changed; --execute does it");
        }
        Failure::all(failures)
    }

    async fn plan(
        &self,
        reset: &GroupReset,
        group: StrBytes,
        file: Option<(&OffsetsFile, bool)>,
    ) -> Result<Plan, Failure> {
        if reset.execute {
            self.expect_no_members(&group).await?;
        }
        let present = match self.admin.list_group_offsets(&group, None, false).await {
            Ok(present) => present,
            Err(error) => return Err(self.failure(&group, "read the offsets of", &error).await),
        };
        let targets = match file {
            Some((file, is_single)) => file.targets(&group, is_single)?,
            None => {
                let partitions = self.scope(reset, &group, &present).await?;
                self.targets(reset, &group, partitions, &present).await?
            }
        };
        let targets = self.within_logs(targets).await?;
        Ok(Plan { group, present, targets, failed: BTreeMap::new() })
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

    async fn execute(&self, plan: &mut Plan) -> Vec<Failure> {
        let group = &plan.group;
        let offsets: Offsets =
            plan.targets.iter().map(|(at, o)| (at.clone(), (*o).into())).collect();
        let altered = match self.admin.alter_group_offsets(group, &offsets).await {
            Ok(altered) => altered,
            Err(error) => {
                let failure = self.failure(group, "set the offsets of", &error).await;
                let text = failure.text();
                plan.failed = plan.targets.keys().map(|at| (at.clone(), text.clone())).collect();
                return vec![failure];
            }
        };
        let mut failures = Vec::new();
        for (at, result) in altered {
            let Err(error) = result else { continue };
            let failure = match error.code() {
                // Somebody joined meanwhile.
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                    has_members(group)
                }
                _ => Failure::client(format!("set the offset of {at} in `{group}`"), &error),
            };
            plan.failed.insert(at, failure.text());
            failures.push(failure);
        }
        failures
    }

    fn print_plans(&self, reset: &GroupReset, plans: &[Plan]) -> Result<(), Failure> {
        let is_single = reset.groups.len() == 1;
        if reset.export {
            let lines = plans.iter().flat_map(|plan| {
                let group = if is_single { String::new() } else { field(&plan.group) + "," };
                plan.targets
                    .iter()
                    .map(move |(at, to)| format!("{group}{},{},{to}\n", at.topic, at.partition))
            });
            return print(&lines.collect::<String>());
        }
        match (self.output, plans) {
            (OutputFormat::Json, [plan]) if is_single => print_json(&document(reset, plan)),
            (OutputFormat::Json, []) if is_single => Ok(()),
            (OutputFormat::Json, plans) => {
                print_json(&Value::from_iter(plans.iter().map(|plan| document(reset, plan))))
            }
            (OutputFormat::Table, []) => Ok(()),
            (OutputFormat::Table, [plan]) if is_single => {
                print_table(["TOPIC", "PARTITION", "BEFORE", "AFTER"], plan.rows())
            }
            (OutputFormat::Table, plans) => print_table(
                ["GROUP", "TOPIC", "PARTITION", "BEFORE", "AFTER"],
                plans.iter().flat_map(|plan| {
                    plan.rows().map(|[topic, partition, before, after]| {
                        [plan.group.to_string(), topic, partition, before, after]
                    })
                }),
            ),
        }
    }
}

impl Plan {
    fn before(&self, at: &TopicPartition) -> Option<Offset> {
        self.present.get(at).map(|committed| committed.offset)
    }

    /// What was not done has a failure of its own.
    fn rows(&self) -> impl Iterator<Item = [String; 4]> {
        let done = self.targets.iter().filter(|(at, _)| !self.failed.contains_key(*at));
        done.map(|(at, offset)| {
            let before = self.before(at).map_or("-".to_owned(), |offset| offset.to_string());
            [at.topic.to_string(), at.partition.to_string(), before, offset.to_string()]
        })
    }
}

fn document(reset: &GroupReset, plan: &Plan) -> Value {
    let partition = |(at, offset): (&TopicPartition, &Offset)| {
        let mut partition = json!({
            "topic": at.topic.as_str(),
            "partition": at.partition.0,
            "before": plan.before(at).map(|offset| offset.0),
            "after": offset.0,
        });
        if let Some(error) = plan.failed.get(at) {
            partition["error"] = error.as_str().into();
        }
        partition
    };
    json!({
        "group": plan.group.as_str(),
        "executed": reset.execute,
        "partitions": Value::from_iter(plan.targets.iter().map(partition)),
    })
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
