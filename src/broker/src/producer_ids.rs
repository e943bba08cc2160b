//! Producer ids for clients that ask for one, out of the blocks that the controller gives this broker.
//!
//! In: requests. Out: ids that no one else ever gets; the rest of a block is lost with the process.

use model::{BrokerEpoch, BrokerId, ProducerId};
use runtime::sync::{mpsc, oneshot};
use runtime::{Runtime, spawn};

use crate::controller::{ControllerHandle, ControllerUnavailable};
use metadata::controller::{ControllerError, ProducerIdBlock};
use protocol::ErrorCode;

const QUEUE_MAX: usize = 1024;

/// Why there is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoProducerId {
    /// The controller can not be asked.
    #[error(transparent)]
    Unavailable(#[from] ControllerUnavailable),
    /// The controller refuses.
    #[error(transparent)]
    Refused(#[from] ControllerError),
}

impl NoProducerId {
    /// Kafka's code for it: clients try again on these.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            NoProducerId::Unavailable(_) => ErrorCode::CoordinatorNotAvailable,
            NoProducerId::Refused(error) => error.code(),
        }
    }
}

type Answer = Result<ProducerId, NoProducerId>;

/// Hands out producer ids. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ProducerIds {
    requests: mpsc::Sender<oneshot::Sender<Answer>>,
}

impl ProducerIds {
    /// Starts handing out ids for `broker` in the registration `epoch`.
    pub(crate) fn start(
        runtime: &Runtime,
        controller: ControllerHandle,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> ProducerIds {
        let (requests, mut queue) = mpsc::channel::<oneshot::Sender<Answer>>(QUEUE_MAX);
        spawn(runtime, "producer-ids", async move {
            let mut block = ProducerIdBlock { first: ProducerId(0), count: 0 };
            while let Some(answer) = queue.recv().await {
                let next = next(&controller, broker, epoch, &mut block).await;
                // Nobody minds an id that is not used.
                let _ = answer.send(next);
            }
        });
        ProducerIds { requests }
    }

    /// An id that nobody had before.
    pub(crate) async fn next(&self) -> Answer {
        let (answer, answered) = oneshot::channel();
        let stopped = NoProducerId::Unavailable(ControllerUnavailable::Stopped);
        if self.requests.send(answer).await.is_err() {
            return Err(stopped);
        }
        answered.await.unwrap_or(Err(stopped))
    }
}

async fn next(
    controller: &ControllerHandle,
    broker: BrokerId,
    epoch: BrokerEpoch,
    block: &mut ProducerIdBlock,
) -> Answer {
    if block.count == 0 {
        *block = controller.allocate_producer_ids(broker, epoch).await?.outcome?;
    }
    let id = block.first;
    *block = ProducerIdBlock { first: ProducerId(id.0 + 1), count: block.count - 1 };
    Ok(id)
}
