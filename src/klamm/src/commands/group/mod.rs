//! `klamm group`: list, describe, reset, delete, remove members.

mod describe;
mod offsets_file;
mod reset;

use std::collections::{BTreeMap, BTreeSet};

use client::admin::{GroupFilter, GroupListing, MemberToRemove};
use client::{Admin, Client, ClientError, IsolationLevel, OffsetSpec, TopicPartition};
use model::{BrokerId, Offset};
use protocol::{ErrorCode, StrBytes};
use runtime::Runtime;
use serde_json::{Value, json};

use crate::cli::{Global, GroupCommand, Named, Scope};
use crate::connect::{connect, topic_failure};
use crate::failure::Failure;
use crate::nearest::nearest;
use crate::output::{OutputFormat, print, print_json, print_table};

/// Runs one of the commands.
pub(crate) async fn run(
    runtime: Runtime,
    global: Global,
    command: GroupCommand,
) -> Result<(), Failure> {
    let client = connect(&runtime, &global).await?;
    let groups = Groups { admin: Admin::new(&client), client, output: global.output };
    match command {
        GroupCommand::List { states, types } => groups.list(states, types).await,
        GroupCommand::Describe(describe) => groups.describe(describe).await,
        GroupCommand::Reset(reset) => groups.reset(reset).await,
        GroupCommand::Delete { named, if_exists } => groups.delete(named, if_exists).await,
        GroupCommand::DeleteOffsets { group, topics } => groups.delete_offsets(group, topics).await,
        GroupCommand::RemoveMember { group, members, instances } => {
            groups.remove_members(group, members, instances).await
        }
    }
}

/// A list that is not whole must not pass for one.
fn unheard(brokers: BTreeMap<BrokerId, ClientError>) -> Vec<Failure> {
    let failure = |(broker, error): (BrokerId, ClientError)| {
        Failure::client(format!("list the groups of broker {broker}"), &error)
    };
    brokers.into_iter().map(failure).collect()
}

/// As Kafka's tool lists them: by their protocol type, which is empty as long as a group has only
/// been given offsets.
fn is_consumer_group(group: &GroupListing) -> bool {
    let word = group.group_type.to_ascii_lowercase();
    let kind = ["", "classic", "consumer"].contains(&word.as_str());
    kind && ["", "consumer"].contains(&group.protocol_type.as_str())
}

struct Groups {
    client: Client,
    admin: Admin,
    output: OutputFormat,
}

impl Groups {
    async fn list(&self, states: Vec<String>, types: Vec<String>) -> Result<(), Failure> {
        let filter =
            GroupFilter { states: BTreeSet::from_iter(states), types: BTreeSet::from_iter(types) };
        let listed = self.admin.list_groups(&filter).await;
        let listed = listed.map_err(|error| Failure::client("list groups", &error))?;
        let groups: Vec<&GroupListing> = listed.groups.values().collect();
        match self.output {
            OutputFormat::Json => print_json(&Value::from_iter(groups.iter().map(|group| {
                json!({
                    "group": group.group_id.as_str(),
                    "type": group.group_type.as_str(),
                    "state": group.state.as_str(),
                    "protocol_type": group.protocol_type.as_str(),
                })
            })))?,
            OutputFormat::Table if groups.is_empty() => {
                eprintln!("no groups; `klamm consume TOPIC --group NAME` joins one");
            }
            OutputFormat::Table => print_table(
                ["GROUP", "TYPE", "STATE", "PROTOCOL"],
                groups.iter().map(|group| {
                    let words =
                        [&group.group_id, &group.group_type, &group.state, &group.protocol_type];
                    words
                        .map(|word| if word.is_empty() { "-".to_owned() } else { word.to_string() })
                }),
            )?,
        }
        Failure::all(unheard(listed.unheard))
    }

    /// The groups that are meant, and what kept others from being found.
    async fn named(&self, named: Named) -> Result<(Vec<StrBytes>, Vec<Failure>), Failure> {
        if !named.all_groups {
            let names = named.groups.into_iter().map(StrBytes::from);
            return Ok((names.collect(), Vec::new()));
        }
        let listed = self.admin.list_groups(&GroupFilter::default()).await;
        let listed = listed.map_err(|error| Failure::client("list groups", &error))?;
        // Those of other programs, such as Connect, have tools of their own.
        let names = listed.groups.values().filter(|group| is_consumer_group(group));
        let names: Vec<StrBytes> = names.map(|group| group.group_id.clone()).collect();
        if names.is_empty() {
            eprintln!("no consumer groups");
        }
        Ok((names, unheard(listed.unheard)))
    }

    async fn delete(&self, named: Named, if_exists: bool) -> Result<(), Failure> {
        let (names, mut failures) = self.named(named).await?;
        let mut results = Vec::new();
        for (group, result) in self.admin.delete_groups(names).await {
            match result {
                Ok(()) => results.push((group, Ok(true))),
                Err(error) if if_exists && error.code() == Some(ErrorCode::GroupIdNotFound) => {
                    results.push((group, Ok(false)));
                }
                Err(error) => {
                    let failure = self.failure(&group, "delete", &error).await;
                    results.push((group, Err(failure.text())));
                    failures.push(failure);
                }
            }
        }
        match self.output {
            OutputFormat::Json => {
                print_json(&Value::from_iter(results.iter().map(
                    |(group, result)| match result {
                        Ok(deleted) => json!({"group": group.as_str(), "deleted": deleted}),
                        Err(error) => {
                            json!({"group": group.as_str(), "deleted": false, "error": error})
                        }
                    },
                )))?;
            }
            OutputFormat::Table => {
                let line = |(group, result): &(StrBytes, Result<bool, String>)| match result {
                    Ok(true) => format!("{group}: deleted\n"),
                    Ok(false) => format!("{group}: was not there\n"),
                    // The failure has its own line, among those.
                    Err(_) => String::new(),
                };
                print(&results.iter().map(line).collect::<String>())?;
            }
        }
        Failure::all(failures)
    }

    async fn delete_offsets(&self, group: String, scopes: Vec<Scope>) -> Result<(), Failure> {
        let group = StrBytes::from(group);
        let mut partitions = BTreeSet::new();
        for scope in &scopes {
            partitions.extend(self.partitions_of(scope).await?);
        }
        let deleted = match self.admin.delete_group_offsets(&group, &partitions).await {
            Ok(deleted) => deleted,
            Err(error) => return Err(self.failure(&group, "delete offsets of", &error).await),
        };
        let count = deleted.values().filter(|result| result.is_ok()).count();
        match self.output {
            OutputFormat::Json => {
                print_json(&json!({"group": group.as_str(), "partitions": count}))?;
            }
            OutputFormat::Table => print(&format!("{group}: forgot {count} partitions\n"))?,
        }
        let failed = deleted.into_iter().filter_map(|(at, result)| {
            let error = result.err()?;
            let failure = Failure::client(format!("delete the offset of {at}"), &error);
            Some(match error.code() {
                Some(ErrorCode::GroupSubscribedToTopic) => {
                    failure.hint("a member of the group reads the topic; stop it first")
                }
                _ => failure,
            })
        });
        Failure::all(failed.collect())
    }

    async fn remove_members(
        &self,
        group: String,
        members: Vec<String>,
        instances: Vec<String>,
    ) -> Result<(), Failure> {
        let group = StrBytes::from(group);
        let members = members.into_iter().map(|id| MemberToRemove::Member(id.into()));
        let instances = instances.into_iter().map(|id| MemberToRemove::Instance(id.into()));
        let wanted = members.chain(instances).collect();
        let removed = match self.admin.remove_members(&group, &wanted).await {
            Ok(removed) => removed,
            Err(error) => return Err(self.failure(&group, "remove members of", &error).await),
        };
        let count = removed.values().filter(|result| result.is_ok()).count();
        match self.output {
            OutputFormat::Json => {
                print_json(&json!({"group": group.as_str(), "members": count}))?;
            }
            OutputFormat::Table => print(&format!("{group}: removed {count} members\n"))?,
        }
        let failed = removed.into_iter().filter_map(|(member, result)| {
            let error = result.err()?;
            let (MemberToRemove::Member(name) | MemberToRemove::Instance(name)) = &member;
            let failure = Failure::client(format!("remove `{name}` from group `{group}`"), &error);
            Some(failure.hint(format!("`klamm group describe {group}` shows its members")))
        });
        Failure::all(failed.collect())
    }

    /// The partitions that a scope means.
    async fn partitions_of(&self, scope: &Scope) -> Result<Vec<TopicPartition>, Failure> {
        let name = StrBytes::from(scope.topic.as_str());
        let topic = match self.client.topic(&name, false).await {
            Ok(topic) => topic,
            Err(error) => return Err(topic_failure(&self.client, &name, &error).await),
        };
        let all: Vec<i32> = topic.partitions.keys().map(|index| index.0).collect();
        if let Some(missing) = scope.partitions.iter().find(|wanted| !all.contains(wanted)) {
            let last = all.len().saturating_sub(1);
            return Err(Failure::new(format!("topic `{name}` has no partition {missing}"))
                .hint(format!("its partitions are 0 to {last}")));
        }
        let wanted = if scope.partitions.is_empty() { &all } else { &scope.partitions };
        Ok(wanted.iter().map(|index| TopicPartition::new(name.clone(), *index)).collect())
    }

    /// One offset of each partition that has one: of a topic that is gone there is none.
    async fn offsets(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        spec: OffsetSpec,
    ) -> Result<BTreeMap<TopicPartition, Option<Offset>>, Failure> {
        let specs = partitions.into_iter().map(|at| (at, spec)).collect();
        let mut found = BTreeMap::new();
        let listed = self.client.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
        for (at, listed) in listed {
            match listed {
                Ok(listed) => found.insert(at, listed.offset),
                Err(ClientError::UnknownTopic { .. } | ClientError::UnknownPartition { .. }) => {
                    continue;
                }
                Err(error) => {
                    return Err(Failure::client(format!("look up an offset of {at}"), &error));
                }
            };
        }
        Ok(found)
    }

    async fn failure(&self, group: &StrBytes, verb: &str, error: &ClientError) -> Failure {
        match error.code() {
            Some(ErrorCode::GroupIdNotFound) => self.not_there(group).await,
            Some(ErrorCode::NonEmptyGroup) => Failure::new(format!("group `{group}` has members"))
                .hint(format!(
                    "stop them first; `klamm group describe {group}` shows who they are"
                )),
            _ => Failure::client(format!("{verb} group `{group}`"), error),
        }
    }

    async fn not_there(&self, group: &StrBytes) -> Failure {
        let failure = Failure::new(format!("there is no group `{group}`"));
        let listed = self.admin.list_groups(&GroupFilter::default()).await;
        let Ok(listed) = listed else { return failure };
        match nearest(group, listed.groups.keys().map(StrBytes::as_str)) {
            Some(name) => failure.hint(format!("did you mean `{name}`?")),
            None => failure.hint("`klamm group list` shows those there are"),
        }
    }
}
