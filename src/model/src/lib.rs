//! Ids, offsets, epochs and time: the words that every other crate speaks.
//!
//! Each id is a newtype, so that a partition index never passes for a broker id. Arithmetic exists
//! only where it has a meaning: an offset has a next one, two offsets have a distance, a sequence
//! number wraps. Nothing here does I/O, reads a clock or draws a random number.
//!
//! Start at [`Offset`] and [`Instant`].

mod id;
mod map;
mod offset;
mod time;

pub use id::{BrokerEpoch, BrokerId, ParseUuidError, PartitionIndex, ProducerId, TopicId, Uuid};
pub use map::{FastHasher, FastMap, FastSet};
pub use offset::{LeaderEpoch, Offset, PartitionEpoch, ProducerEpoch, Sequence};
pub use time::{Instant, Timestamp};
