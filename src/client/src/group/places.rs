//! Where a member of a group reads in its partitions: pausing and seeking.
//!
//! Both can be asked for as soon as a partition is assigned, also before it is known where the group
//! was: what is sought needs no lookup, and what is paused then begins without handing out records.
//!
//! Start at [`GroupConsumer::seek`].

use model::{Offset, Timestamp};

use super::GroupConsumer;
use crate::consumer::ConsumerError;
use crate::metadata::TopicPartition;

impl GroupConsumer {
    /// Hands out nothing of `at` until [`GroupConsumer::resume`], or until `at` is assigned anew.
    pub fn pause(&mut self, at: &TopicPartition) -> Result<(), ConsumerError> {
        if self.starting.contains(at) {
            self.paused.insert(at.clone());
            return Ok(());
        }
        self.consumer.pause(at)
    }

    /// Undoes [`GroupConsumer::pause`].
    pub fn resume(&mut self, at: &TopicPartition) -> Result<(), ConsumerError> {
        if self.starting.contains(at) {
            self.paused.remove(at);
            return Ok(());
        }
        self.consumer.resume(at)
    }

    /// Goes on at `offset`.
    pub fn seek(&mut self, at: &TopicPartition, offset: Offset) -> Result<(), ConsumerError> {
        self.begin_by_hand(at);
        self.consumer.seek(at, offset)
    }

    /// Goes on at the first record there is.
    pub fn seek_to_beginning(&mut self, at: &TopicPartition) -> Result<(), ConsumerError> {
        self.begin_by_hand(at);
        self.consumer.seek_to_beginning(at)
    }

    /// Goes on behind the last record.
    pub fn seek_to_end(&mut self, at: &TopicPartition) -> Result<(), ConsumerError> {
        self.begin_by_hand(at);
        self.consumer.seek_to_end(at)
    }

    /// Goes on at the first record that is not older than `time`.
    pub fn seek_to_time(
        &mut self,
        at: &TopicPartition,
        time: Timestamp,
    ) -> Result<(), ConsumerError> {
        self.begin_by_hand(at);
        self.consumer.seek_to_time(at, time)
    }

    /// Where to start `at` needs no lookup any more, and the last record that was handed out is no
    /// longer the one before the next.
    fn begin_by_hand(&mut self, at: &TopicPartition) {
        self.epochs.remove(at);
        if self.starting.remove(at) {
            self.begin(vec![at.clone()]);
        }
    }
}
