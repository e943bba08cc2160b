//! `klamm group`: list, describe, reset, delete, remove members.

mod describe;
mod reset;

use std::collections::{BTreeMap, BTreeSet};

use client::admin::{GroupFilter, GroupListing, MemberToRemove};
use client::{Admin, Client, ClientError, IsolationLevel, OffsetSpec, TopicPartition};
use model::Offset;
use protocol::{ErrorCode, StrBytes};
use runtime::Runtime;
use serde_json::{Value, json};

use crate::cli::{Global, GroupCommand, Scope};
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
        GroupCommand::Delete { groups: names, if_exists } => groups.delete(names, if_exists).await,
        GroupCommand::DeleteOffsets { group, topics } => groups.delete_offsets(group, topics).await,
        GroupCommand::RemoveMember { group, members, instances } => {
            groups.remove_members(group, members, instances).await
        }
    }
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
        // A list that is not whole must not pass for one.
        match listed.unheard.into_iter().next() {
            Some((broker, error)) => {
                Err(Failure::client(format!("list the groups of broker {broker}"), &error))
            }
            None => Ok(()),
        }
    }

    async fn delete(&self, names: Vec<String>, if_exists: bool) -> Result<(), Failure> {
        let mut done = Vec::new();
        let deleted = self.admin.delete_groups(names.into_iter().map(StrBytes::from)).await;
        for (group, result) in deleted {
            match result {
                Ok(()) => done.push((group, "deleted", true)),
                Err(error) if if_exists && error.code() == Some(ErrorCode::GroupIdNotFound) => {
                    done.push((group, "was not there", false));
                }
                Err(error) => {
                    // What was done is told, too.
                    self.print_deleted(&done)?;
                    return Err(self.failure(&group, "delete", &error).await);
                }
            }
        }
        self.print_deleted(&done)
    }

    fn print_deleted(&self, done: &[(StrBytes, &str, bool)]) -> Result<(), Failure> {
        match self.output {
            OutputFormat::Json if done.is_empty() => Ok(()),
            OutputFormat::Json => {
                print_json(&Value::from_iter(done.iter().map(
                    |(group, _, deleted)| json!({"group": group.as_str(), "deleted": deleted}),
                )))
            }
            OutputFormat::Table => {
                let lines = done.iter().map(|(group, text, _)| format!("{group}: {text}\n"));
                print(&lines.collect::<String>())
            }
        }
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
        for (at, result) in deleted {
            result.map_err(|error| {
                let failure = Failure::client(format!("delete the offset of {at}"), &error);
                match error.code() {
                    Some(ErrorCode::GroupSubscribedToTopic) => {
                        failure.hint("a member of the group reads the topic; stop it first")
                    }
                    _ => failure,
                }
            })?;
        }
        let count = partitions.len();
        match self.output {
            OutputFormat::Json => {
                print_json(&json!({"group": group.as_str(), "partitions": count}))
            }
            OutputFormat::Table => print(&format!("{group}: forgot {count} partitions\n")),
        }
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
        for (member, result) in removed {
            let (MemberToRemove::Member(name) | MemberToRemove::Instance(name)) = &member;
            result.map_err(|error| {
                Failure::client(format!("remove `{name}` from group `{group}`"), &error)
                    .hint(format!("`klamm group describe {group}` shows its members"))
            })?;
        }
        let count = wanted.len();
        match self.output {
            OutputFormat::Json => print_json(&json!({"group": group.as_str(), "members": count})),
            OutputFormat::Table => print(&format!("{group}: removed {count} members\n")),
        }
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
