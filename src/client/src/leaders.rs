//! Requests that each partition's leader has to answer.
//!
//! In: partitions and how to ask one broker about some of them. Out: an answer or an error for
//! every partition, after retries with fresh metadata where the error class allows it.

use std::collections::BTreeMap;

use model::{BrokerId, LeaderEpoch};
use protocol::{ErrorCode, Request, StrBytes};

use crate::client::{Client, TopicSet};
use crate::error::{BrokerError, ClientError};
use crate::metadata::TopicPartition;

/// An answer or an error for each partition.
pub type PerPartition<T> = BTreeMap<TopicPartition, Result<T, ClientError>>;

/// The partitions that one request asks about, with the leader's epoch as this client knows it.
pub(crate) type Asked = Vec<(TopicPartition, LeaderEpoch)>;

impl Client {
    /// Asks the leader of each of `partitions`, all brokers at once, until each has an answer or an
    /// error that does not go away, or the API time limit passes.
    pub(crate) async fn ask_leaders<R, T>(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        request: impl Fn(&Asked) -> R,
        answers: impl Fn(R::Response) -> Vec<(TopicPartition, Result<T, BrokerError>)>,
    ) -> PerPartition<T>
    where
        R: Request + Send + Sync + 'static,
    {
        let mut open: BTreeMap<TopicPartition, Option<ClientError>> =
            partitions.into_iter().map(|at| (at, None)).collect();
        let mut done = PerPartition::new();
        let limit = self.config().api_timeout;
        let deadline = self.now() + limit;
        let mut rounds = 0;
        while !open.is_empty() {
            if rounds > 0 || self.lacks_leader(open.keys()) {
                self.refresh_for(&mut open, &mut done).await;
            }
            self.ask_round(&mut open, &mut done, &request, &answers).await;
            if open.is_empty() {
                break;
            }
            rounds += 1;
            let pause = self.retry_pause(rounds);
            if self.now() + pause >= deadline {
                for (at, last) in std::mem::take(&mut open) {
                    let last = last.map(Box::new);
                    done.insert(at, Err(ClientError::TimedOut { limit, last }));
                }
                break;
            }
            runtime::sleep(&*self.runtime().clock, pause).await;
        }
        done
    }

    fn lacks_leader<'a>(&self, mut open: impl Iterator<Item = &'a TopicPartition>) -> bool {
        let view = self.view();
        open.any(|at| view.leader(at).is_none())
    }

    /// Fresh leaders for what is open. Partitions that do not exist are done with.
    async fn refresh_for<T>(
        &self,
        open: &mut BTreeMap<TopicPartition, Option<ClientError>>,
        done: &mut PerPartition<T>,
    ) {
        let mut topics: Vec<StrBytes> = open.keys().map(|at| at.topic.clone()).collect();
        topics.dedup();
        let view = match self.refresh(TopicSet::Named(topics), false).await {
            Ok(view) => view,
            Err(error) => {
                for last in open.values_mut() {
                    *last = Some(error.clone());
                }
                return;
            }
        };
        for at in open.keys().cloned().collect::<Vec<_>>() {
            let Some(topic) = view.topics.get(&at.topic) else { continue };
            let error = match topic.error {
                ErrorCode::None if topic.partitions.contains_key(&at.partition) => continue,
                ErrorCode::None => ClientError::UnknownPartition {
                    topic: at.topic.clone(),
                    partition: at.partition,
                    count: topic.partitions.len(),
                },
                ErrorCode::UnknownTopicOrPartition => {
                    ClientError::UnknownTopic { topic: at.topic.clone() }
                }
                code if code.is_retriable() => continue,
                code => BrokerError { code, message: None }.into(),
            };
            open.remove(&at);
            done.insert(at, Err(error));
        }
    }

    /// One request to every leader.
    async fn ask_round<R, T>(
        &self,
        open: &mut BTreeMap<TopicPartition, Option<ClientError>>,
        done: &mut PerPartition<T>,
        request: &impl Fn(&Asked) -> R,
        answers: &impl Fn(R::Response) -> Vec<(TopicPartition, Result<T, BrokerError>)>,
    ) where
        R: Request + Send + Sync + 'static,
    {
        let view = self.view();
        let mut by_leader: BTreeMap<BrokerId, Asked> = BTreeMap::new();
        for (at, last) in open.iter_mut() {
            match view.leader(at) {
                Some((leader, epoch)) => {
                    by_leader.entry(leader).or_default().push((at.clone(), epoch));
                }
                None if last.is_none() => {
                    let code = ErrorCode::LeaderNotAvailable;
                    *last = Some(BrokerError { code, message: None }.into());
                }
                None => {}
            }
        }
        let options = crate::link::SendOptions::within(self.config().request_timeout);
        let sent: Vec<_> = by_leader
            .into_iter()
            .map(|(leader, asked)| (self.submit(leader, request(&asked), options), asked))
            .collect();
        for (pending, asked) in sent {
            let response = match pending {
                Ok(pending) => pending.response().await,
                Err(error) => Err(error),
            };
            let results = match response {
                Ok(Some(response)) => answers(response),
                Ok(None) => Vec::new(),
                Err(error) => {
                    let failed = |(at, _)| (at, ClientError::from(error.clone()));
                    settle(asked.into_iter().map(failed), open, done);
                    continue;
                }
            };
            for (at, result) in results {
                match result {
                    Ok(answer) if open.remove(&at).is_some() => {
                        done.insert(at, Ok(answer));
                    }
                    Ok(_) => {}
                    Err(error) => settle([(at, ClientError::from(error))], open, done),
                }
            }
        }
    }
}

/// Notes failures: those that may go away stay open.
fn settle<T>(
    failed: impl IntoIterator<Item = (TopicPartition, ClientError)>,
    open: &mut BTreeMap<TopicPartition, Option<ClientError>>,
    done: &mut PerPartition<T>,
) {
    for (at, error) in failed {
        if !open.contains_key(&at) {
            continue;
        }
        if error.is_retriable() {
            open.insert(at, Some(error));
        } else {
            open.remove(&at);
            done.insert(at, Err(error));
        }
    }
}
