//! An image written out as records, and read back.
//!
//! In: an image. Out: records that make an equal image out of nothing, with the offset beside them.
//! They are the records of the log, in an order that replay accepts; only the epochs of brokers lie
//! before the offsets that the records would have, since they are those of the registrations.

use super::{Broker, Image};
use crate::image::replay::{Misfit, ReplayError};
use crate::record::{PartitionState, Record, Restart};
use model::{BrokerEpoch, Offset};

/// A snapshot that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A record that does not fit what came before.
    #[error("record {place} of the snapshot")]
    Record {
        /// Its place, from 0.
        place: usize,
        /// What does not fit.
        #[source]
        source: ReplayError,
    },
}

impl Image {
    /// Records that [`Image::from_snapshot`] makes an equal image of.
    pub fn snapshot(&self) -> Vec<Record> {
        let cluster = self.cluster_id().map(|id| Record::Cluster { cluster_id: id.to_owned() });
        let features = self
            .features
            .iter()
            .map(|(name, &level)| Record::Feature { name: name.clone(), level });
        let mut records: Vec<Record> = cluster.into_iter().chain(features).collect();
        records.extend(self.brokers.values().map(|broker| register(broker)));
        records.extend(self.adopted.iter().map(|&broker| Record::Adopted { broker }));
        for topic in self.topics.values() {
            records.push(Record::Topic { name: topic.name.to_string(), id: topic.id });
            records.extend(topic.indexed_partitions().map(|(index, partition)| {
                Record::Partition {
                    topic_id: topic.id,
                    index,
                    state: PartitionState::from(&**partition),
                }
            }));
        }
        for (resource, overrides) in &self.configs {
            records.extend(overrides.iter().map(|(name, value)| Record::Config {
                resource: resource.clone(),
                name: name.clone(),
                value: Some(value.clone()),
            }));
        }
        if self.next_producer_id.0 > 0 {
            records.push(Record::ProducerIds {
                broker: model::BrokerId::NONE,
                epoch: BrokerEpoch(-1),
                next: self.next_producer_id,
            });
        }
        records
    }

    /// The image that `records` were written from, at `offset`.
    pub fn from_snapshot(offset: Offset, records: &[Record]) -> Result<Image, SnapshotError> {
        let mut image = Image { offset, ..Image::default() };
        for (place, record) in records.iter().enumerate() {
            image.restore(offset, record).map_err(|misfit| SnapshotError::Record {
                place,
                source: ReplayError { offset, misfit },
            })?;
        }
        if cfg!(debug_assertions) {
            image.assert_invariants();
        }
        Ok(image)
    }

    /// Applies a record whose epochs are of the past.
    fn restore(&mut self, offset: Offset, record: &Record) -> Result<(), Misfit> {
        match record {
            Record::RegisterBroker { broker, epoch, .. } if epoch.0 > offset.0 => {
                Err(Misfit::BrokerEpoch { broker: *broker, epoch: *epoch })
            }
            Record::RegisterBroker { epoch, .. } => self.apply(Offset(epoch.0), record),
            Record::ProducerIds { next, .. } => self.raise_next_producer_id(*next),
            other => self.apply(offset, other),
        }
    }
}

fn register(broker: &Broker) -> Record {
    Record::RegisterBroker {
        broker: broker.id,
        epoch: broker.epoch,
        incarnation: broker.incarnation,
        endpoints: broker.endpoints.clone(),
        rack: broker.rack.clone(),
        fenced: broker.fenced,
        restart: Restart::Clean,
    }
}
