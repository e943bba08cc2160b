//! From properties to a [`BrokerConfig`].
//!
//! In: properties, in the order of the file, the command line's last. Out: the settings and notes
//! about what has no effect, or all errors at once, each with its line.
//!
//! A key that comes twice counts with its last value, as in Java, and is noted. A key that is not
//! known is an error: a typing error in `log.retention.ms` would lose data in silence.

mod groups;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use model::BrokerId;

use crate::config::ConfigError;
use crate::config::broker::{broker_definition, broker_definitions, removed_setting};
use crate::config::broker_config::{BrokerConfig, ProcessRole};
use crate::config::definition::{Standing, parts};
use crate::config::layers::Layers;
use crate::config::listener::{ListenerError, resolve_listeners};
use crate::config::nearest::nearest;
use crate::config::properties::Property;
use crate::config::topic_config::TopicConfig;
use crate::image::Overrides;

static NOTHING: Overrides = Overrides::new();

/// Settings, and what there is to say about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The settings.
    pub config: BrokerConfig,
    /// What the user may want to know.
    pub notes: Vec<Note>,
}

/// Something about a setting that is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// It has no effect, and needs none.
    NotNeeded {
        /// Its line.
        line: Option<u32>,
        /// Its name.
        key: String,
        /// Why.
        why: &'static str,
    },
    /// It has no effect, though one would expect it.
    NotYet {
        /// Its line.
        line: Option<u32>,
        /// Its name.
        key: String,
        /// What is missing.
        missing: &'static str,
    },
    /// It comes again later, and that value counts.
    Duplicate {
        /// Its line.
        line: Option<u32>,
        /// Its name.
        key: String,
        /// The line that counts; `None` for the command line.
        by: Option<u32>,
    },
}

impl Note {
    /// Whether the user may have expected an effect: worth a warning rather than a remark.
    pub fn is_warning(&self) -> bool {
        match self {
            Note::NotNeeded { .. } => false,
            Note::NotYet { .. } | Note::Duplicate { .. } => true,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::NotNeeded { line, key, why } => {
                write!(f, "{}`{key}` is accepted and not needed: {why}", Place(*line))
            }
            Note::NotYet { line, key, missing } => {
                write!(f, "{}`{key}` has no effect: {missing}", Place(*line))
            }
            Note::Duplicate { line, key, by: Some(by) } => {
                write!(f, "{}`{key}` comes again in line {by}, which counts", Place(*line))
            }
            Note::Duplicate { line, key, by: None } => {
                write!(f, "{}`{key}` is overridden on the command line", Place(*line))
            }
        }
    }
}

/// `line 12: `, or nothing.
struct Place(Option<u32>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, "line {line}: "))
    }
}

/// A setting that the broker can not start with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The name or the value alone is wrong.
    #[error("{}{error}", Place(*line))]
    Config {
        /// Its line, if it has one.
        line: Option<u32>,
        /// What is wrong.
        #[source]
        error: ConfigError,
    },
    /// The listeners make no sense.
    #[error("{}{key}: {error}", Place(*line))]
    Listener {
        /// The line of the setting.
        line: Option<u32>,
        /// Its name.
        key: &'static str,
        /// What is wrong.
        #[source]
        error: ListenerError,
    },
    /// Two settings that contradict each other.
    #[error("{}`{key}` is `{value}`, but {rule}", Place(*line))]
    Contradiction {
        /// The line of the setting.
        line: Option<u32>,
        /// Its name.
        key: &'static str,
        /// Its value.
        value: String,
        /// What has to hold.
        rule: &'static str,
    },
}

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SettingErrors(pub Vec<SettingError>);

impl fmt::Display for SettingErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl BrokerConfig {
    /// Reads settings; those that come later count.
    pub fn from_properties(properties: &[Property]) -> Result<Resolved, SettingErrors> {
        let mut errors = Vec::new();
        let mut notes = Vec::new();
        let mut given = Overrides::new();
        for (at, property) in properties.iter().enumerate() {
            let later = properties[at + 1..].iter().find(|later| later.key == property.key);
            if let Some(later) = later {
                let Property { line, key, .. } = property.clone();
                notes.push(Note::Duplicate { line, key, by: later.line });
                continue;
            }
            match check(property) {
                Ok(note) => {
                    notes.extend(note);
                    given.insert(property.key.clone(), property.value.trim().to_owned());
                }
                Err(error) => errors.push(SettingError::Config { line: property.line, error }),
            }
        }
        if !errors.is_empty() {
            return Err(SettingErrors(errors));
        }
        let settings = Settings { properties, given: &given };
        let config = settings.resolve().map_err(SettingErrors)?;
        Ok(Resolved { config, notes })
    }
}

impl Default for BrokerConfig {
    /// The settings of a broker that was given none.
    fn default() -> BrokerConfig {
        BrokerConfig::from_properties(&[]).expect("the defaults are valid").config
    }
}

/// Checks a setting by itself; the note says why it has no effect, if it has none.
fn check(property: &Property) -> Result<Option<Note>, ConfigError> {
    let Property { line, key, value } = property.clone();
    if let Some(definition) = broker_definition(&key) {
        definition.check(&value)?;
        return Ok(match definition.standing {
            Standing::Used => None,
            Standing::NotNeeded(why) => Some(Note::NotNeeded { line, key, why }),
            Standing::NotYet(missing) => Some(Note::NotYet { line, key, missing }),
        });
    }
    if let Some(why) = removed_setting(&key) {
        return Ok(Some(Note::NotNeeded { line, key, why }));
    }
    if let Some(missing) = prefixed_setting(&key) {
        return Ok(Some(Note::NotYet { line, key, missing }));
    }
    let names = broker_definitions().map(|definition| definition.name);
    Err(ConfigError::Unknown { scope: "broker", nearest: nearest(&key, names), name: key })
}

/// What is missing for settings whose names only begin with something known.
fn prefixed_setting(key: &str) -> Option<&'static str> {
    if let Some(rest) = key.strip_prefix("listener.name.") {
        // listener.name.LISTENER[.MECHANISM].CONFIG
        let mut tails = rest.match_indices('.').map(|(at, _)| &rest[at + 1..]);
        return tails
            .any(|tail| broker_definition(tail).is_some())
            .then_some("klamm has no settings of single listeners yet");
    }
    let is_tiered = key.starts_with("rsm.config.") || key.starts_with("rlmm.config.");
    is_tiered.then_some("klamm has no tiered storage yet")
}

/// All that was given, to be read by name.
struct Settings<'a> {
    properties: &'a [Property],
    given: &'a Overrides,
}

impl Settings<'_> {
    /// The line of a setting, if it has one.
    fn line(&self, key: &str) -> Option<u32> {
        self.properties.iter().rev().find(|property| property.key == key)?.line
    }

    fn text(&self, key: &str) -> Option<String> {
        let definition = broker_definition(key).expect("only configs of the table are asked for");
        match self.given.get(key) {
            Some(value) => Some(definition.normalized(value)),
            None => definition.default.map(str::to_owned),
        }
    }

    fn set(&self, key: &str) -> Option<String> {
        self.text(key).filter(|text| !text.is_empty())
    }

    fn number(&self, key: &str) -> i64 {
        let text = self.text(key).expect("a number that is asked for has a default");
        text.parse().expect("the value was checked, or is a default")
    }

    fn count(&self, key: &str) -> usize {
        usize::try_from(self.number(key)).unwrap_or(0)
    }

    fn limit(&self, key: &str) -> u64 {
        u64::try_from(self.number(key)).unwrap_or(0)
    }

    fn positive(&self, key: &str) -> Option<usize> {
        usize::try_from(self.number(key)).ok().filter(|&number| number > 0)
    }

    fn millis(&self, key: &str) -> Duration {
        Duration::from_millis(self.limit(key))
    }

    fn boolean(&self, key: &str) -> bool {
        self.text(key).as_deref() == Some("true")
    }

    fn contradiction(&self, key: &'static str, rule: &'static str) -> SettingError {
        let value = self.text(key).unwrap_or_default();
        SettingError::Contradiction { line: self.line(key), key, value, rule }
    }

    fn resolve(&self) -> Result<BrokerConfig, Vec<SettingError>> {
        let mut errors = Vec::new();
        let mut keep = |error: SettingError| errors.push(error);
        let node_id = self.node_id().map_err(&mut keep);
        let process_roles = self.process_roles().map_err(&mut keep);
        let log_dir = self.log_dir().map_err(&mut keep);
        let names: Vec<String> = self
            .set("controller.listener.names")
            .iter()
            .flat_map(|text| parts(text).map(str::to_ascii_uppercase).collect::<Vec<_>>())
            .collect();
        let listeners = self.listeners(&names).map_err(&mut keep);
        let per_ip = self.per_ip().map_err(&mut keep);
        let topic_defaults = self.check_topic_defaults().map_err(&mut keep);
        let checked = topic_defaults.and(self.check_groups().map_err(&mut keep));
        let (Ok(node_id), Ok(process_roles), Ok(log_dir), Ok(listeners), Ok(per_ip), Ok(())) =
            (node_id, process_roles, log_dir, listeners, per_ip, checked)
        else {
            return Err(errors);
        };
        let mut config = self.plain(node_id, log_dir);
        config.process_roles = process_roles;
        config.listeners = listeners.listeners;
        config.advertised_listeners = listeners.advertised;
        config.controller_listener_names = names;
        config.max_connections_per_ip_overrides = per_ip;
        Ok(config)
    }

    /// The settings that are one value each.
    fn plain(&self, node_id: BrokerId, log_dir: PathBuf) -> BrokerConfig {
        BrokerConfig {
            node_id,
            process_roles: Vec::new(),
            listeners: Vec::new(),
            advertised_listeners: Vec::new(),
            controller_listener_names: Vec::new(),
            log_dir,
            rack: self.set("broker.rack"),
            http_listener: self.set("klamm.http.listener"),
            auto_create_topics_enable: self.boolean("auto.create.topics.enable"),
            delete_topic_enable: self.boolean("delete.topic.enable"),
            num_partitions: i32::try_from(self.number("num.partitions")).unwrap_or(1),
            default_replication_factor: i16::try_from(self.number("default.replication.factor"))
                .unwrap_or(i16::MAX),
            socket_request_max_bytes: self.count("socket.request.max.bytes"),
            queued_max_request_bytes: self.positive("queued.max.request.bytes"),
            queued_max_requests: self.count("queued.max.requests"),
            connections_max_idle: self.millis("connections.max.idle.ms"),
            max_connections: self.limit("max.connections"),
            max_connections_per_ip: self.limit("max.connections.per.ip"),
            max_connections_per_ip_overrides: Vec::new(),
            socket_send_buffer_bytes: self.positive("socket.send.buffer.bytes"),
            socket_receive_buffer_bytes: self.positive("socket.receive.buffer.bytes"),
            socket_listen_backlog_size: u32::try_from(self.number("socket.listen.backlog.size"))
                .unwrap_or(1),
            request_timeout: self.millis("request.timeout.ms"),
            fetch_max_bytes: self.count("fetch.max.bytes"),
            max_incremental_fetch_session_cache_slots: self
                .count("max.incremental.fetch.session.cache.slots"),
            max_request_partition_size_limit: self.count("max.request.partition.size.limit"),
            groups: self.groups(),
            producer_id_expiration: self.millis("producer.id.expiration.ms"),
            producer_id_expiration_check_interval: self
                .millis("producer.id.expiration.check.interval.ms"),
            transaction_max_timeout: self.millis("transaction.max.timeout.ms"),
            log_retention_check_interval: self.millis("log.retention.check.interval.ms"),
            log_initial_task_delay: self.millis("log.initial.task.delay.ms"),
            journal_bytes: self.limit("klamm.journal.bytes"),
            log_flush_offset_checkpoint_interval: self
                .millis("log.flush.offset.checkpoint.interval.ms"),
            log_cleaner_enable: self.boolean("log.cleaner.enable"),
            log_cleaner_threads: self.count("log.cleaner.threads"),
            log_cleaner_backoff: self.millis("log.cleaner.backoff.ms"),
            log_cleaner_dedupe_buffer_size: self.count("log.cleaner.dedupe.buffer.size"),
            num_recovery_threads_per_data_dir: self.count("num.recovery.threads.per.data.dir"),
            metadata_log_max_record_bytes_between_snapshots: self
                .limit("metadata.log.max.record.bytes.between.snapshots"),
            given: self.given.clone(),
        }
    }

    fn node_id(&self) -> Result<BrokerId, SettingError> {
        let id = |key: &str| {
            self.given.get(key).and_then(|text| text.parse().ok()).filter(|id: &i32| *id >= 0)
        };
        match (id("node.id"), id("broker.id")) {
            (Some(node), Some(broker)) if node != broker => {
                Err(self.contradiction("broker.id", "`node.id` says otherwise: give one of them"))
            }
            (Some(id), _) | (None, Some(id)) => Ok(BrokerId(id)),
            (None, None) => {
                let default = self.number("node.id");
                Ok(BrokerId(i32::try_from(default).expect("the default is small")))
            }
        }
    }

    fn process_roles(&self) -> Result<Vec<ProcessRole>, SettingError> {
        let text = self.text("process.roles").unwrap_or_default();
        let roles: Vec<ProcessRole> = parts(&text)
            .filter_map(|part| match part {
                "broker" => Some(ProcessRole::Broker),
                "controller" => Some(ProcessRole::Controller),
                _ => None,
            })
            .collect();
        if roles.contains(&ProcessRole::Broker) && roles.contains(&ProcessRole::Controller) {
            return Ok(roles);
        }
        Err(self.contradiction(
            "process.roles",
            "klamm runs broker and controller in one node so far: write `broker,controller`",
        ))
    }

    fn log_dir(&self) -> Result<PathBuf, SettingError> {
        let key = if self.set("log.dirs").is_some() { "log.dirs" } else { "log.dir" };
        let text = self.text(key).unwrap_or_default();
        let mut paths = parts(&text);
        match (paths.next(), paths.next()) {
            (Some(path), None) => Ok(PathBuf::from(path)),
            _ => Err(self.contradiction(key, "klamm keeps its data in exactly one directory")),
        }
    }

    fn listeners(
        &self,
        controller_names: &[String],
    ) -> Result<crate::config::listener::Listeners, SettingError> {
        let listeners = self.text("listeners").unwrap_or_default();
        let advertised = self.set("advertised.listeners");
        let map = self.text("listener.security.protocol.map").unwrap_or_default();
        resolve_listeners(&listeners, advertised.as_deref(), &map, controller_names).map_err(
            |error| {
                let key = match error {
                    ListenerError::NotListened { .. } | ListenerError::NotReachable { .. } => {
                        "advertised.listeners"
                    }
                    ListenerError::MalformedMap { .. } => "listener.security.protocol.map",
                    ListenerError::Malformed { .. }
                    | ListenerError::Duplicate { .. }
                    | ListenerError::SamePort { .. }
                    | ListenerError::NoProtocol { .. }
                    | ListenerError::NotSpoken { .. }
                    | ListenerError::None => "listeners",
                };
                SettingError::Listener { line: self.line(key), key, error }
            },
        )
    }

    fn per_ip(&self) -> Result<Vec<(String, u64)>, SettingError> {
        let key = "max.connections.per.ip.overrides";
        let text = self.text(key).unwrap_or_default();
        parts(&text)
            .map(|part| {
                let (host, limit) = part.rsplit_once(':')?;
                Some((host.trim().to_owned(), limit.trim().parse().ok()?))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| self.contradiction(key, "each part must be HOST:COUNT"))
    }

    /// What the broker's configs mean for topics has to be possible.
    fn check_topic_defaults(&self) -> Result<(), SettingError> {
        let layers = Layers { broker: &NOTHING, default_broker: &NOTHING, given: self.given };
        TopicConfig::check(&NOTHING, &layers)
            .map_err(|error| SettingError::Config { line: None, error })
    }
}
