//! The controller of a cluster of one node: owner of the metadata log.
//!
//! In: commands from handlers, over a bounded queue. Out: answers once what they say is durable, and
//! the image, published after every change.
//!
//! One task owns the log. It decides commands by the pure functions of [`metadata::controller`], all
//! that wait together with one write and one sync, replays what it wrote, publishes, and answers.
//!
//! Invariants:
//! - an answer leaves only after its records are durable and the image that holds them is published
//! - after a write or sync that went wrong nothing is decided any more: what the log holds is unknown
//!
//! Start at [`start`].

mod metadata_log;
mod snapshot;
mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use metadata::config::BrokerConfig;
use metadata::controller::{
    self as decide, Alteration, ControllerError, CreatedTopic, Decision, DeletedTopic, FoundTopic,
    MorePartitions, NewTopic, ProducerIdBlock, Random, Registration, Replacement, TopicRef,
};
use metadata::{Image, Record};
use model::{BrokerEpoch, BrokerId, Offset, TopicId};
use protocol::ErrorCode;
use runtime::sync::{mpsc, oneshot, watch};
use runtime::{Runtime, Task};
use storage::LogDir;

use crate::controller::metadata_log::MetadataLog;
pub(crate) use crate::controller::metadata_log::MetadataLogError;

/// The features that this klamm brings to life, with their levels; a cluster of an older klamm gets
/// them at the first start of this one.
pub(crate) const FEATURES: &[(&str, u16)] = &[("group.version", 1)];

/// How many commands wait for the controller; past it, those who give them wait too.
const QUEUE_MAX: usize = 256;

/// An answer, and the offset of the image that it holds in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed<T> {
    /// The image with this offset, and every later one, has what the answer says.
    pub(crate) offset: Offset,
    /// The answer.
    pub(crate) outcome: T,
}

/// Why a command got no answer. What it asked for may have happened or not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerUnavailable {
    /// The broker stops.
    #[error("the broker is stopping")]
    Stopped,
    /// There is no room for the records; nothing happened.
    #[error("no room on the disk for the metadata log: nothing was changed")]
    DiskFull,
    /// The request's records are too much at once; nothing happened.
    #[error("the request changes too much at once: split it")]
    TooLarge,
    /// The log can not be written any more.
    #[error("the metadata log is offline until the broker is restarted: {0}")]
    Offline(Arc<str>),
}

impl ControllerUnavailable {
    /// Kafka's code for it.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            // Clients look for another controller, and find this broker again after its restart.
            ControllerUnavailable::Stopped => ErrorCode::NotController,
            ControllerUnavailable::DiskFull | ControllerUnavailable::Offline(_) => {
                ErrorCode::KafkaStorageError
            }
            ControllerUnavailable::TooLarge => ErrorCode::PolicyViolation,
        }
    }
}

/// What became of a command.
pub(crate) type Answer<T> = Result<Committed<T>, ControllerUnavailable>;

/// Decides a command; gives the records, and who is to hear of the answer.
type Decide =
    Box<dyn FnOnce(&Image, &BrokerConfig, Random<'_>) -> (Vec<Record>, Reply) + Send + 'static>;

/// Hears at which offset the answer holds.
type Reply = Box<dyn FnOnce(Result<Offset, ControllerUnavailable>) + Send + 'static>;

enum Command {
    Decide(Decide),
    Stop(oneshot::Sender<()>),
}

/// Gives commands to the controller. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ControllerHandle {
    commands: mpsc::Sender<Command>,
}

/// A controller at work.
pub(crate) struct Controller {
    /// Gives it commands.
    pub(crate) handle: ControllerHandle,
    /// What it published last.
    pub(crate) image: watch::Receiver<Image>,
    task: Task,
}

/// Opens the metadata log of `log_dir`, replays it, begins it if it is new, and starts the task.
///
/// # Errors
/// The log can not be read or written, or is not of this cluster.
pub(crate) async fn start(
    runtime: &Runtime,
    config: Arc<BrokerConfig>,
    log_dir: &LogDir,
) -> Result<Controller, MetadataLogError> {
    let snapshot_after = config.metadata_log_max_record_bytes_between_snapshots;
    let (mut log, mut image) = MetadataLog::open(runtime, log_dir, snapshot_after).await?;
    let first = begin(&image, log_dir.cluster_id());
    if !first.is_empty() {
        image = log.append(&image, vec![first]).await?;
    }
    if image.cluster_id() != Some(log_dir.cluster_id()) {
        return Err(MetadataLogError::ClusterId {
            log: image.cluster_id().unwrap_or_default().to_owned(),
            directory: log_dir.cluster_id().to_owned(),
        });
    }
    let (publish, published) = watch::channel(image.clone());
    let (commands, queue) = mpsc::channel(QUEUE_MAX);
    let stream = runtime.random.stream("controller", 0);
    let controller = task::Controller::new(log, image, config, stream, publish);
    let task = runtime::spawn(runtime, "controller", controller.run(queue));
    Ok(Controller { handle: ControllerHandle { commands }, image: published, task })
}

/// What has to be written before anything else: to an empty log the cluster, to any log the features
/// that it does not have yet.
fn begin(image: &Image, cluster_id: &str) -> Vec<Record> {
    if image.cluster_id().is_none() {
        return decide::bootstrap(cluster_id, FEATURES);
    }
    let known: &BTreeMap<String, u16> = image.features();
    FEATURES
        .iter()
        .filter(|(name, level)| known.get(*name).is_none_or(|known| known < level))
        .map(|&(name, level)| Record::Feature { name: name.to_owned(), level })
        .collect()
}

impl Controller {
    /// Ends the task after what is queued, and closes its log in good order.
    pub(crate) async fn stop(self) {
        let (done, ended) = oneshot::channel();
        if self.handle.commands.send(Command::Stop(done)).await.is_ok() {
            // An error says that the task is gone, which is what we want.
            let _ = ended.await;
        }
        if self.task.join().await.is_err() {
            tracing::error!("the controller's task ended in a panic");
        }
    }
}

impl ControllerHandle {
    async fn command<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&Image, &BrokerConfig, Random<'_>) -> Decision<T> + Send + 'static,
    ) -> Answer<T> {
        let (answer, answered) = oneshot::channel();
        let decide: Decide = Box::new(move |image, config, random| {
            let Decision { records, outcome } = decide(image, config, random);
            let reply: Reply = Box::new(move |offset: Result<Offset, _>| {
                // Who does not wait any more does not want to know.
                let _ = answer.send(offset.map(|offset| Committed { offset, outcome }));
            });
            (records, reply)
        });
        let sent = self.commands.send(Command::Decide(decide)).await;
        sent.map_err(|_| ControllerUnavailable::Stopped)?;
        answered.await.unwrap_or(Err(ControllerUnavailable::Stopped))
    }

    /// Creates topics; answers in the order of the request.
    pub(crate) async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Answer<Vec<Result<CreatedTopic, ControllerError>>> {
        self.command(move |image, config, random| {
            decide::create_topics(image, config, &topics, validate_only, random)
        })
        .await
    }

    /// Takes in topics whose logs `broker` found; answers in the order of `found`.
    pub(crate) async fn adopt_topics(
        &self,
        found: Vec<FoundTopic>,
        broker: BrokerId,
    ) -> Answer<Vec<Result<TopicId, ControllerError>>> {
        self.command(move |image, config, random| {
            decide::adopt_topics(image, config, &found, broker, random)
        })
        .await
    }

    /// Adds partitions to topics; answers in the order of the request.
    pub(crate) async fn create_partitions(
        &self,
        topics: Vec<MorePartitions>,
        validate_only: bool,
    ) -> Answer<Vec<Result<(), ControllerError>>> {
        self.command(move |image, config, random| {
            decide::create_partitions(image, config, &topics, validate_only, random)
        })
        .await
    }

    /// Deletes topics; answers in the order of the request.
    pub(crate) async fn delete_topics(
        &self,
        topics: Vec<TopicRef>,
    ) -> Answer<Vec<Result<DeletedTopic, ControllerError>>> {
        self.command(move |image, config, _| decide::delete_topics(image, config, &topics)).await
    }

    /// Changes configs one by one; answers in the order of the request.
    pub(crate) async fn incremental_alter_configs(
        &self,
        alterations: Vec<Alteration>,
        validate_only: bool,
    ) -> Answer<Vec<Result<(), ControllerError>>> {
        self.command(move |image, config, _| {
            decide::incremental_alter_configs(image, config, &alterations, validate_only)
        })
        .await
    }

    /// Replaces all configs of resources; answers in the order of the request.
    pub(crate) async fn alter_configs(
        &self,
        replacements: Vec<Replacement>,
        validate_only: bool,
    ) -> Answer<Vec<Result<(), ControllerError>>> {
        self.command(move |image, config, _| {
            decide::alter_configs(image, config, &replacements, validate_only)
        })
        .await
    }

    /// Gives `broker` the next block of producer ids.
    pub(crate) async fn allocate_producer_ids(
        &self,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> Answer<Result<ProducerIdBlock, ControllerError>> {
        self.command(move |image, _, _| decide::allocate_producer_ids(image, broker, epoch)).await
    }

    /// Takes a broker in, fenced; partitions that it leads are its own from here on.
    pub(crate) async fn register_broker(
        &self,
        registration: Registration,
    ) -> Answer<Result<BrokerEpoch, ControllerError>> {
        self.command(move |image, _, _| decide::register_broker(image, &registration)).await
    }

    /// Says that a broker is ready to lead.
    pub(crate) async fn unfence_broker(
        &self,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> Answer<Result<(), ControllerError>> {
        self.command(move |image, _, _| decide::unfence_broker(image, broker, epoch)).await
    }
}
