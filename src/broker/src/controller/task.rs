//! The task that owns the metadata log.
//!
//! In: commands. Out: records in the log, the image, answers. All commands that wait are decided one
//! after the other, each on the image that the ones before it make, then written and synced at once.
//!
//! Start at [`Controller::run`].

use std::sync::Arc;

use metadata::config::BrokerConfig;
use metadata::{Image, Record};
use runtime::sync::{mpsc, oneshot, watch};
use runtime::{RandomStream, Rng};

use crate::controller::metadata_log::{MetadataLog, MetadataLogError};
use crate::controller::{Command, ControllerUnavailable, Decide, Reply};
use crate::error_chain::Chain;

/// How many commands share a write.
const GROUP_MAX: usize = 64;

pub(super) struct Controller {
    log: MetadataLog,
    image: Image,
    config: Arc<BrokerConfig>,
    stream: RandomStream,
    publish: watch::Sender<Image>,
    /// Why nothing is decided any more.
    failed: Option<Arc<str>>,
}

/// A command that was decided and waits for its records to be durable.
struct Decided {
    reply: Reply,
    /// The image that its answer holds in.
    after: model::Offset,
    changes: bool,
}

impl Controller {
    pub(super) fn new(
        log: MetadataLog,
        image: Image,
        config: Arc<BrokerConfig>,
        stream: RandomStream,
        publish: watch::Sender<Image>,
    ) -> Controller {
        Controller { log, image, config, stream, publish, failed: None }
    }

    /// Works until it is told to stop or nobody can tell it anything any more.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut stopped: Option<oneshot::Sender<()>> = None;
        let mut waiting = Vec::with_capacity(GROUP_MAX);
        while stopped.is_none() && queue.recv_many(&mut waiting, GROUP_MAX).await > 0 {
            let mut group = Vec::with_capacity(waiting.len());
            for command in waiting.drain(..) {
                match command {
                    // What came behind a stop is dropped, which its sender hears as stopped.
                    _ if stopped.is_some() => {}
                    Command::Decide(decide) => group.push(decide),
                    Command::Stop(done) => stopped = Some(done),
                }
            }
            self.decide(group).await;
        }
        // Closed first, so that nobody waits for an answer that does not come.
        drop(queue);
        if let Err(error) = self.log.close().await {
            tracing::error!(error = %Chain(&error), "close the metadata log");
        }
        if let Some(done) = stopped {
            // Whoever asked may be gone.
            let _ = done.send(());
        }
    }

    async fn decide(&mut self, group: Vec<Decide>) {
        if group.is_empty() {
            return;
        }
        let mut draft = self.image.clone();
        let mut batches: Vec<Vec<Record>> = Vec::new();
        let mut decided = Vec::with_capacity(group.len());
        for decide in group {
            let stream = &mut self.stream;
            let mut random = || {
                let mut bytes = [0; 16];
                stream.fill_bytes(&mut bytes);
                bytes
            };
            let (records, reply) = decide(&draft, &self.config, &mut random);
            let changes = !records.is_empty();
            if changes {
                draft = draft
                    .replay(draft.next_offset(), &records)
                    .expect("the controller decides only what fits the image it decides by");
                batches.push(records);
            }
            decided.push(Decided { reply, after: draft.offset(), changes });
        }
        let result = self.commit(batches).await;
        for Decided { reply, after, changes } in decided {
            // An answer without a change may rest on changes that came to nothing, too.
            let holds_anyway = !changes && after == self.image.offset();
            match &result {
                Ok(()) => reply(Ok(after)),
                Err(_) if holds_anyway => reply(Ok(after)),
                Err(unavailable) => reply(Err(unavailable.clone())),
            }
        }
        if result.is_ok() {
            self.log.snapshot_if_due(&self.image).await;
        }
    }

    /// Makes the batches durable, and publishes the image that holds them.
    async fn commit(&mut self, batches: Vec<Vec<Record>>) -> Result<(), ControllerUnavailable> {
        if batches.is_empty() {
            return Ok(());
        }
        if let Some(reason) = &self.failed {
            return Err(ControllerUnavailable::Offline(Arc::clone(reason)));
        }
        match self.log.append(&self.image, batches).await {
            Ok(image) => {
                self.image = image;
                self.publish.send(self.image.clone());
                Ok(())
            }
            Err(MetadataLogError::DiskFull) => {
                runtime::sometimes!("there is no room for metadata");
                tracing::warn!("no room on the disk for the metadata log");
                Err(ControllerUnavailable::DiskFull)
            }
            Err(MetadataLogError::TooLarge) => Err(ControllerUnavailable::TooLarge),
            Err(error) => {
                let reason: Arc<str> = display(&error).into();
                tracing::error!(error = &*reason, "the metadata log is offline until a restart");
                self.failed = Some(Arc::clone(&reason));
                Err(ControllerUnavailable::Offline(reason))
            }
        }
    }
}

/// An error with its causes.
fn display(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
