//! `klamm topic`: create, list, describe, alter, delete.

use std::collections::BTreeMap;

use client::admin::{
    ConfigEntry, ConfigOperation, ConfigResource, ConfigSource, NewTopic, PerItem,
};
use client::metadata::Topic;
use client::{
    Admin, Client, ClientError, IsolationLevel, OffsetSpec, PerPartition, TopicPartition,
};
use model::{BrokerId, Offset};
use protocol::{ErrorCode, StrBytes};
use runtime::Runtime;
use serde_json::{Value, json};

use crate::cli::{Global, TopicAlter, TopicCommand, TopicCreate};
use crate::connect::{connect, topic_failure};
use crate::failure::Failure;
use crate::output::{OutputFormat, print, print_json, print_table};

/// Runs one of the commands.
pub(crate) async fn run(
    runtime: Runtime,
    global: Global,
    command: TopicCommand,
) -> Result<(), Failure> {
    let client = connect(&runtime, &global).await?;
    let topics = Topics { admin: Admin::new(&client), client, output: global.output };
    match command {
        TopicCommand::Create(create) => topics.create(create).await,
        TopicCommand::List { internal } => topics.list(internal).await,
        TopicCommand::Describe { topics: names, all_configs } => {
            topics.describe(names, all_configs).await
        }
        TopicCommand::Alter(alter) => topics.alter(alter).await,
        TopicCommand::Delete { topics: names, if_exists } => topics.delete(names, if_exists).await,
    }
}

struct Topics {
    client: Client,
    admin: Admin,
    output: OutputFormat,
}

impl Topics {
    async fn create(&self, create: TopicCreate) -> Result<(), Failure> {
        let new = NewTopic {
            partitions: create.partitions,
            replication_factor: create.replication_factor,
            assignments: Vec::new(),
            configs: create.configs.into_iter().collect(),
        };
        let topics = create.topics.iter().map(|name| (name.as_str().into(), new.clone())).collect();
        let created = self.admin.create_topics(&topics, create.dry_run).await;
        let verb = if create.dry_run { "would create" } else { "created" };
        let mut results = Vec::new();
        for (name, result) in created {
            let existed = is_code(&result, ErrorCode::TopicAlreadyExists);
            if existed && create.if_not_exists {
                results.push(Done::new(&name, "already there", json!({"created": false})));
                continue;
            }
            let created = match result {
                Ok(created) => created,
                Err(error) => {
                    // What was done is told, too.
                    self.print_done(results)?;
                    let failure = Failure::client(format!("create topic `{name}`"), &error);
                    return Err(match existed {
                        true => failure.hint("--if-not-exists makes that no failure"),
                        false => failure,
                    });
                }
            };
            let count = created.partitions.map(|count| format!(" with {count} partitions"));
            let text = format!("{verb}{}", count.unwrap_or_default());
            let more = json!({
                "created": !create.dry_run,
                "topic_id": created.id.to_string(),
                "partitions": created.partitions,
                "replication_factor": created.replication_factor,
            });
            results.push(Done::new(&name, &text, more));
        }
        self.print_done(results)
    }

    async fn list(&self, internal: bool) -> Result<(), Failure> {
        let topics = self.admin.list_topics().await;
        let topics = topics.map_err(|error| Failure::client("list topics", &error))?;
        let shown: Vec<&Topic> = topics.values().filter(|t| internal || !t.internal).collect();
        match self.output {
            OutputFormat::Json => print_json(&Value::from_iter(shown.iter().map(|topic| {
                json!({
                    "topic": topic.name.as_str(),
                    "topic_id": topic.id.to_string(),
                    "partitions": topic.partitions.len(),
                    "replication_factor": replication_factor(topic),
                    "internal": topic.internal,
                })
            }))),
            OutputFormat::Table if shown.is_empty() => {
                eprintln!("no topics yet; `klamm topic create NAME` makes one");
                Ok(())
            }
            OutputFormat::Table => print_table(
                ["TOPIC", "PARTITIONS", "REPLICAS"],
                shown.iter().map(|topic| {
                    let partitions = topic.partitions.len().to_string();
                    [topic.name.to_string(), partitions, replication_factor(topic).to_string()]
                }),
            ),
        }
    }

    async fn describe(&self, names: Vec<String>, all_configs: bool) -> Result<(), Failure> {
        let names: Vec<StrBytes> = names.into_iter().map(StrBytes::from).collect();
        let described = self.admin.describe_topics(names).await;
        let described = described.map_err(|error| Failure::client("describe topics", &error))?;
        let mut documents = Vec::new();
        for (name, topic) in described {
            let topic = match topic {
                Ok(topic) => topic,
                Err(error) => return Err(topic_failure(&self.client, &name, &error).await),
            };
            let starts = self.offsets(&topic, OffsetSpec::Earliest).await;
            let ends = self.offsets(&topic, OffsetSpec::Latest).await;
            let configs = self.configs(&name).await?;
            match self.output {
                OutputFormat::Json => documents.push(document(&topic, &starts, &ends, &configs)),
                OutputFormat::Table => {
                    if !documents.is_empty() {
                        print("\n")?;
                    }
                    documents.push(Value::Null);
                    print_topic(&topic, &starts, &ends, &configs, all_configs)?;
                }
            }
        }
        match self.output {
            OutputFormat::Json => print_json(&Value::Array(documents)),
            OutputFormat::Table => Ok(()),
        }
    }

    async fn offsets(&self, topic: &Topic, spec: OffsetSpec) -> BTreeMap<i32, Offset> {
        let led = topic.available.iter();
        let specs = led.map(|index| (TopicPartition::new(topic.name.clone(), index.0), spec));
        let found: PerPartition<_> =
            self.client.list_offsets(&specs.collect(), IsolationLevel::ReadUncommitted).await;
        let offset = |(at, listed): (TopicPartition, Result<client::ListedOffset, _>)| {
            Some((at.partition.0, listed.ok()?.offset?))
        };
        found.into_iter().filter_map(offset).collect()
    }

    async fn configs(&self, name: &StrBytes) -> Result<BTreeMap<StrBytes, ConfigEntry>, Failure> {
        let resource = ConfigResource::topic(name.clone());
        let mut found = self.admin.describe_configs([resource.clone()], false).await;
        let configs = found.remove(&resource).unwrap_or(Ok(BTreeMap::new()));
        configs.map_err(|error| Failure::client(format!("read the settings of `{name}`"), &error))
    }

    async fn alter(&self, alter: TopicAlter) -> Result<(), Failure> {
        let name = StrBytes::from(alter.topic);
        let mut changes = BTreeMap::new();
        for (key, value) in alter.configs {
            changes.insert(key, ConfigOperation::Set(value));
        }
        for key in alter.delete_configs {
            changes.insert(key, ConfigOperation::Delete);
        }
        if changes.is_empty() && alter.partitions.is_none() {
            return Err(Failure::usage("nothing to alter")
                .hint("give --partitions, --config or --delete-config"));
        }
        let verb = if alter.dry_run { "would change" } else { "changed" };
        let mut results = Vec::new();
        if !changes.is_empty() {
            let count = changes.len();
            let resource = ConfigResource::topic(name.clone());
            let changes = BTreeMap::from([(resource, changes)]);
            let altered = self.admin.alter_configs(&changes, alter.dry_run).await;
            self.check(&name, "change the settings of", altered).await?;
            let text = format!("{verb} {count} settings");
            results.push(Done::new(&name, &text, json!({"settings_changed": count})));
        }
        if let Some(partitions) = alter.partitions {
            let counts = BTreeMap::from([(name.clone(), partitions)]);
            let created = self.admin.create_partitions(&counts, alter.dry_run).await;
            self.check(&name, "add partitions to", created).await?;
            let text = format!("{verb} the number of partitions to {partitions}");
            results.push(Done::new(&name, &text, json!({"partitions": partitions})));
        }
        self.print_done(results)
    }

    /// Fails with the first error among `results`.
    async fn check<K: Ord>(
        &self,
        name: &StrBytes,
        verb: &str,
        results: PerItem<K, ()>,
    ) -> Result<(), Failure> {
        for result in results.into_values() {
            if let Err(error) = result {
                return Err(self.failure(name, verb, error).await);
            }
        }
        Ok(())
    }

    async fn failure(&self, name: &StrBytes, verb: &str, error: ClientError) -> Failure {
        if error.code() == Some(ErrorCode::UnknownTopicOrPartition) {
            let error = ClientError::UnknownTopic { topic: name.clone() };
            return topic_failure(&self.client, name, &error).await;
        }
        Failure::client(format!("{verb} topic `{name}`"), &error)
    }

    async fn delete(&self, names: Vec<String>, if_exists: bool) -> Result<(), Failure> {
        let names = names.into_iter().map(StrBytes::from);
        let mut results = Vec::new();
        for (name, result) in self.admin.delete_topics(names).await {
            if if_exists && is_code(&result, ErrorCode::UnknownTopicOrPartition) {
                results.push(Done::new(&name, "was not there", json!({"deleted": false})));
                continue;
            }
            if let Err(error) = result {
                self.print_done(results)?;
                return Err(self.failure(&name, "delete", error).await);
            }
            results.push(Done::new(&name, "deleted", json!({"deleted": true})));
        }
        self.print_done(results)
    }

    fn print_done(&self, results: Vec<Done>) -> Result<(), Failure> {
        match self.output {
            OutputFormat::Json if results.is_empty() => Ok(()),
            OutputFormat::Json => {
                print_json(&Value::from_iter(results.into_iter().map(|done| done.json)))
            }
            OutputFormat::Table => {
                let lines = results.iter().map(|done| format!("{}: {}\n", done.name, done.text));
                print(&lines.collect::<String>())
            }
        }
    }
}

/// What was done to a topic.
struct Done {
    name: StrBytes,
    text: String,
    json: Value,
}

impl Done {
    fn new(name: &StrBytes, text: &str, mut json: Value) -> Done {
        json["topic"] = Value::from(name.as_str());
        Done { name: name.clone(), text: text.to_owned(), json }
    }
}

fn is_code<T>(result: &Result<T, ClientError>, code: ErrorCode) -> bool {
    result.as_ref().is_err_and(|error| error.code() == Some(code))
}

fn replication_factor(topic: &Topic) -> usize {
    topic.partitions.values().map(|partition| partition.replicas.len()).max().unwrap_or(0)
}

fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

fn document(
    topic: &Topic,
    starts: &BTreeMap<i32, Offset>,
    ends: &BTreeMap<i32, Offset>,
    configs: &BTreeMap<StrBytes, ConfigEntry>,
) -> Value {
    let partitions = topic.partitions.iter().map(|(index, partition)| {
        json!({
            "partition": index.0,
            "leader": partition.leader.0,
            "leader_epoch": partition.leader_epoch.0,
            "replicas": ids(&partition.replicas),
            "isr": ids(&partition.isr),
            "start_offset": starts.get(&index.0).map(|offset| offset.0),
            "end_offset": ends.get(&index.0).map(|offset| offset.0),
        })
    });
    let configs = configs.iter().map(|(name, entry)| {
        let value = json!({
            "value": entry.value.as_ref().map(|value| value.as_str()),
            "source": entry.source.name(),
        });
        (name.to_string(), value)
    });
    json!({
        "topic": topic.name.as_str(),
        "topic_id": topic.id.to_string(),
        "internal": topic.internal,
        "partitions": partitions.collect::<Vec<_>>(),
        "configs": configs.collect::<serde_json::Map<_, _>>(),
    })
}

fn print_topic(
    topic: &Topic,
    starts: &BTreeMap<i32, Offset>,
    ends: &BTreeMap<i32, Offset>,
    configs: &BTreeMap<StrBytes, ConfigEntry>,
    all_configs: bool,
) -> Result<(), Failure> {
    print(&format!("topic {}  id {}\n\n", topic.name, topic.id))?;
    let offset = |offsets: &BTreeMap<i32, Offset>, index: i32| {
        offsets.get(&index).map_or("-".to_owned(), Offset::to_string)
    };
    let list = |brokers: &[BrokerId]| {
        brokers.iter().map(BrokerId::to_string).collect::<Vec<_>>().join(",")
    };
    print_table(
        ["PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", "START", "END"],
        topic.partitions.iter().map(|(index, partition)| {
            let leader = match partition.leader {
                BrokerId::NONE => "none".to_owned(),
                leader => leader.to_string(),
            };
            [
                index.to_string(),
                leader,
                partition.leader_epoch.to_string(),
                list(&partition.replicas),
                list(&partition.isr),
                offset(starts, index.0),
                offset(ends, index.0),
            ]
        }),
    )?;
    let shown: Vec<_> = configs
        .iter()
        .filter(|(_, entry)| all_configs || entry.source == ConfigSource::Topic)
        .collect();
    if shown.is_empty() {
        return Ok(());
    }
    print("\n")?;
    print_table(
        ["SETTING", "VALUE", "SOURCE"],
        shown.into_iter().map(|(name, entry)| {
            let value = match &entry.value {
                _ if entry.is_sensitive => "(secret)".to_owned(),
                Some(value) => value.to_string(),
                None => "-".to_owned(),
            };
            [name.to_string(), value, entry.source.name().to_owned()]
        }),
    )
}
