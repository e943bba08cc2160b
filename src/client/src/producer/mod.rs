//! Producer: records in, acknowledgements out.
//!
//! [`Producer::send`] picks the partition and puts the record into a batch; a task sends the
//! batches and retries them by the rules of Kafka's clients. With idempotence, the default, no
//! record is written twice and none overtakes another of its partition.
//!
//! `core.rs` decides, `sender.rs` acts; `partition_queue.rs` and `verdict.rs` hold the rules.
//!
//! Start at [`Producer::start`].

mod batch;
mod config;
mod core;
mod encode;
mod error;
mod partition_queue;
mod response;
mod sender;
mod verdict;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use model::{PartitionIndex, Timestamp};
use protocol::{ErrorCode, StrBytes};
use runtime::sync::{Notify, mpsc};

pub use batch::{Delivery, RecordMetadata};
pub use config::{Acks, ProducerConfig};
pub use error::{DeliveryError, ProducerConfigError, SendError};

use self::batch::BatchRecord;
use self::core::{Appended, Core};
use self::sender::{EVENTS_MAX, Progress, Sender};
use crate::client::Client;
use crate::error::ClientError;
use crate::metadata::{Topic, TopicPartition};
use crate::partitioner::{StickyPartitioner, partition_for_key};
use crate::record::Header;

pub(crate) use self::sender::millis;

/// A record to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerRecord {
    /// Where to.
    pub topic: StrBytes,
    /// Which partition; by key, or any, when not given.
    pub partition: Option<PartitionIndex>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; a record without one deletes its key in a compacted topic.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// When it happened; now, when not given.
    pub timestamp: Option<Timestamp>,
}

/// Sends records. Cheap to clone; the last clone that goes lets what it took be sent still.
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

struct Handle {
    client: Client,
    config: ProducerConfig,
    shared: Arc<Shared>,
    sticky: Mutex<StickyPartitioner>,
}

/// What the handles and the sender's task share.
struct Shared {
    core: Mutex<Core>,
    /// Something may be ready.
    wake: Notify,
    /// Buffer memory may be free.
    memory: Notify,
    finished: Finished,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        // Nothing under this lock awaits.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the sender's task has ended.
#[derive(Default)]
struct Finished {
    done: Mutex<bool>,
    told: Notify,
}

impl Finished {
    fn finish(&self) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_waiters();
    }

    async fn wait(&self) {
        loop {
            let mut told = std::pin::pin!(self.told.notified());
            told.as_mut().enable();
            if *self.done.lock().unwrap_or_else(PoisonError::into_inner) {
                return;
            }
            told.await;
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("config", &self.handle.config).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().close();
        self.shared.wake.notify_one();
    }
}

impl Producer {
    /// Starts a producer on `client`.
    pub fn start(client: &Client, config: ProducerConfig) -> Result<Producer, ProducerConfigError> {
        config.check()?;
        let (random, instance) = (&client.runtime().random, client.config().instance);
        let backoff = client.config().retry_backoff;
        let core = Core::new(config.clone(), backoff, random.stream("producer", instance));
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            wake: Notify::new(),
            memory: Notify::new(),
            finished: Finished::default(),
        });
        let (report, events) = mpsc::channel(EVENTS_MAX);
        let sender = Sender {
            client: client.clone(),
            config: config.clone(),
            shared: Arc::clone(&shared),
            report,
            progress: Progress::default(),
        };
        runtime::spawn(client.runtime(), "producer", sender.run(events));
        let sticky = Mutex::new(StickyPartitioner::new(
            random.stream("partitioner", instance),
            config.batch_bytes,
        ));
        let handle = Handle { client: client.clone(), config, shared, sticky };
        Ok(Producer { handle: Arc::new(handle) })
    }

    /// Takes a record. Waits, for `max.block.ms` at most, while its topic is unknown or the buffer
    /// is full; the returned [`Delivery`] tells what became of it.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, SendError> {
        let handle = &*self.handle;
        let clock = &*handle.client.runtime().clock;
        let timestamp = record.timestamp.unwrap_or_else(|| clock.wall());
        let mut waiting = BatchRecord {
            timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        let size_bytes = waiting.size_bytes_max() + batch::BATCH_HEADER_BYTES;
        if size_bytes > handle.config.request_bytes_max {
            let limit_bytes = handle.config.request_bytes_max;
            return Err(SendError::TooLarge { size_bytes, limit_bytes });
        }
        let partition = self.partition(&record.topic, record.partition, &waiting).await?;
        let at = TopicPartition { topic: record.topic, partition };
        let deadline = clock.now() + handle.config.block_max;
        loop {
            let mut memory = std::pin::pin!(handle.shared.memory.notified());
            memory.as_mut().enable();
            waiting = match self.append(&at, waiting)? {
                Ok(Appended { completion, index, .. }) => {
                    return Ok(Delivery { at, completion, index, timestamp });
                }
                Err(record) => record,
            };
            let guard = WaitingForMemory::new(&handle.shared);
            let full = runtime::select! {
                () = memory => false,
                () = clock.sleep_until(deadline) => true,
            };
            drop(guard);
            if full {
                let buffer_bytes = handle.config.buffer_bytes;
                return Err(SendError::BufferFull { buffer_bytes, limit: handle.config.block_max });
            }
        }
    }

    fn append(
        &self,
        at: &TopicPartition,
        record: BatchRecord,
    ) -> Result<Result<Appended, BatchRecord>, SendError> {
        let shared = &self.handle.shared;
        let now = self.handle.client.now();
        let mut core = shared.lock();
        if core.is_closing() {
            return Err(SendError::Closed);
        }
        let appended = core.append(now, at, record);
        drop(core);
        if appended.as_ref().is_ok_and(|appended| appended.wake) {
            shared.wake.notify_one();
        }
        Ok(appended)
    }

    async fn partition(
        &self,
        name: &StrBytes,
        wanted: Option<PartitionIndex>,
        record: &BatchRecord,
    ) -> Result<PartitionIndex, SendError> {
        let handle = &*self.handle;
        let view = handle.client.view();
        if let Some(topic) = view.topics.get(name).filter(|t| t.error == ErrorCode::None)
            && wanted.is_none_or(|index| topic.partitions.contains_key(&index))
        {
            return self.choose(topic, wanted, record);
        }
        let limit = handle.config.block_max;
        let clock = &*handle.client.runtime().clock;
        let lookup = async {
            if wanted.is_some() && view.topics.contains_key(name) {
                // The partition may be new.
                let named = crate::client::TopicSet::Named(vec![name.clone()]);
                handle.client.refresh(named, handle.config.create_topics).await?;
            }
            handle.client.topic(name, handle.config.create_topics).await
        };
        let topic = runtime::timeout(clock, limit, lookup).await;
        let topic = topic.unwrap_or(Err(ClientError::TimedOut { limit, last: None }));
        let topic = topic.map_err(|source| SendError::Topic { topic: name.clone(), source })?;
        self.choose(&topic, wanted, record)
    }

    fn choose(
        &self,
        topic: &Topic,
        wanted: Option<PartitionIndex>,
        record: &BatchRecord,
    ) -> Result<PartitionIndex, SendError> {
        let count = topic.partitions.len();
        match (wanted, &record.key) {
            (Some(partition), _) if topic.partitions.contains_key(&partition) => Ok(partition),
            (Some(partition), _) => {
                let topic = topic.name.clone();
                Err(SendError::Partition(ClientError::UnknownPartition { topic, partition, count }))
            }
            (None, _) if count == 0 => {
                let source = ClientError::UnknownTopic { topic: topic.name.clone() };
                Err(SendError::Topic { topic: topic.name.clone(), source })
            }
            (None, Some(key)) => Ok(partition_for_key(key, count)),
            (None, None) => {
                let mut sticky = self.handle.sticky.lock().unwrap_or_else(PoisonError::into_inner);
                let size_bytes = record.size_bytes_max();
                Ok(sticky.partition(&topic.name, size_bytes, &topic.available, count))
            }
        }
    }

    /// Sends everything taken so far at once, and waits until its fate is known.
    pub async fn flush(&self) {
        let open = self.handle.shared.lock().flush();
        self.handle.shared.wake.notify_one();
        for completion in open {
            completion.settled().await;
        }
    }

    /// Takes no more records and waits until all that were taken have their fate, `limit` at most;
    /// what is left then fails with [`DeliveryError::Closed`].
    pub async fn close(self, limit: Duration) {
        let shared = &self.handle.shared;
        shared.lock().close();
        shared.wake.notify_one();
        let clock = &*self.handle.client.runtime().clock;
        if runtime::timeout(clock, limit, shared.finished.wait()).await.is_err() {
            shared.lock().abort();
            shared.wake.notify_one();
        }
    }

    /// Bytes of records whose fate is open.
    pub fn buffered_bytes(&self) -> usize {
        self.handle.shared.lock().buffered_bytes()
    }
}

/// Counts a sender that waits for memory, as long as it does.
struct WaitingForMemory<'a>(&'a Shared);

impl<'a> WaitingForMemory<'a> {
    fn new(shared: &'a Shared) -> WaitingForMemory<'a> {
        shared.lock().waiting_for_memory += 1;
        // What fills is sent now, however little it is.
        shared.wake.notify_one();
        WaitingForMemory(shared)
    }
}

impl Drop for WaitingForMemory<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting_for_memory -= 1;
    }
}
