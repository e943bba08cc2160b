//! Producer ids, given to brokers in blocks.
//!
//! In: a broker in its registration. Out: a record that moves the next id on, and the ids in between.
//! They are never given twice, since the record is durable before the answer leaves (KIP-730).

use model::{BrokerEpoch, BrokerId, ProducerId};

use crate::controller::{ControllerError, Decision};
use crate::image::Image;
use crate::record::Record;

/// How many ids a broker gets at once.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// Ids that belong to one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first of them.
    pub first: ProducerId,
    /// How many there are.
    pub count: i64,
}

/// Gives `broker` the next ids.
pub fn allocate_producer_ids(
    image: &Image,
    broker: BrokerId,
    epoch: BrokerEpoch,
) -> Decision<Result<ProducerIdBlock, ControllerError>> {
    let is_registered = image.broker(broker).is_some_and(|known| known.epoch == epoch);
    if !is_registered {
        return Decision::answer(Err(ControllerError::StaleBrokerEpoch { broker, epoch }));
    }
    let first = image.next_producer_id();
    let Some(next) = first.0.checked_add(PRODUCER_ID_BLOCK).map(ProducerId) else {
        return Decision::answer(Err(ControllerError::ProducerIdsExhausted));
    };
    Decision {
        records: vec![Record::ProducerIds { broker, epoch, next }],
        outcome: Ok(ProducerIdBlock { first, count: PRODUCER_ID_BLOCK }),
    }
}
