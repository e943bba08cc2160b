//! Admin: topics, configurations, partitions, brokers, groups.
//!
//! Each operation answers for every item on its own: a request about three topics may create two.
//! Requests that any broker takes go to any; the rest go to the partition's leader or the broker
//! that is meant. What may go away is tried again until the API time limit passes.
//!
//! Start at [`Admin::new`].

mod cluster;
mod configs;
mod group_offsets;
mod groups;
mod partitions;
mod topics;

use std::collections::BTreeMap;

use protocol::{ErrorCode, Request, StrBytes};

pub use cluster::{BrokerDescription, ClusterDescription, LogDirDescription, PartitionSize};
pub use configs::{
    ConfigEntry, ConfigOperation, ConfigResource, ConfigResourceType, ConfigSource, ConfigSynonym,
};
pub use groups::{
    GroupDescription, GroupFilter, GroupList, GroupListing, GroupType, MemberDescription,
    MemberToRemove,
};
pub use partitions::ProducerState;
pub use topics::{CreatedTopic, NewTopic};

use crate::client::Client;
use crate::error::{BrokerError, ClientError};

/// An answer or an error for each item of a request.
pub type PerItem<K, T> = BTreeMap<K, Result<T, ClientError>>;

/// Administers a cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// An admin that talks through `client`.
    pub fn new(client: &Client) -> Admin {
        Admin { client: client.clone() }
    }

    /// The client it talks through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn timeout_ms(&self) -> i32 {
        crate::producer::millis(self.client.config().request_timeout)
    }

    /// Sends a request that any broker takes until each item of the answer is final or the API time
    /// limit passes: `request` builds it for the items still open, `answers` takes the response
    /// apart.
    async fn per_item<K, R, T>(
        &self,
        items: impl IntoIterator<Item = K>,
        request: impl Fn(&[K]) -> R,
        answers: impl Fn(R::Response) -> Vec<(K, Result<T, BrokerError>)>,
    ) -> PerItem<K, T>
    where
        K: Ord + Clone,
        R: Request + Clone + Send + Sync + 'static,
    {
        let mut open: BTreeMap<K, Option<ClientError>> =
            items.into_iter().map(|item| (item, None)).collect();
        let mut done = PerItem::new();
        let limit = self.client.config().api_timeout;
        let deadline = self.client.now() + limit;
        let mut rounds = 0;
        while !open.is_empty() {
            let keys: Vec<K> = open.keys().cloned().collect();
            match self.client.send_any(request(&keys)).await {
                Ok(response) => {
                    for (key, result) in answers(response) {
                        match result {
                            Err(error) if retries(error.code) => {
                                open.insert(key, Some(error.into()));
                            }
                            result => {
                                open.remove(&key);
                                done.insert(key, result.map_err(ClientError::from));
                            }
                        }
                    }
                }
                Err(error) if error.is_retriable() => {
                    open.values_mut().for_each(|last| *last = Some(error.clone().into()));
                }
                Err(error) => {
                    let failed = open.keys().map(|key| (key.clone(), Err(error.clone().into())));
                    done.extend(failed);
                    return done;
                }
            }
            rounds += 1;
            let pause = self.client.retry_pause(rounds);
            if open.is_empty() || self.client.now() + pause >= deadline {
                break;
            }
            runtime::sleep(&*self.client.runtime().clock, pause).await;
        }
        for (key, last) in open {
            let last = last.map(Box::new);
            done.insert(key, Err(ClientError::TimedOut { limit, last }));
        }
        done
    }
}

/// Whether an administrative request is worth repeating. A topic that does not exist is an answer.
fn retries(code: ErrorCode) -> bool {
    let final_here = matches!(code, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId);
    code.is_retriable() && !final_here
}

/// What [`BrokerError::check`] says, with `value` when it is no error.
fn checked<T>(code: i16, message: Option<StrBytes>, value: T) -> Result<T, BrokerError> {
    BrokerError::check(code, message)?;
    Ok(value)
}
