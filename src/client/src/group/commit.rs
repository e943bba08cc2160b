//! Committing and reading a member's offsets, by Kafka's rules for each error
//! (`ConsumerCoordinator.OffsetCommitResponseHandler`, `CommitRequestManager`).
//!
//! In: offsets. Out: committed or an error; what the coordinator says about the membership on the
//! way is passed on to the member's task. Commits of one member reach the coordinator in the order
//! of the calls, as long as it stays the same.
//!
//! Start at [`Committer::commit`].

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use protocol::{ErrorCode, StrBytes};
use runtime::sync::{mpsc, oneshot};

use super::config::{GroupConfig, GroupProtocol};
use super::error::CommitError;
use super::member::{MemberEpoch, MemberState};
use super::offsets::{
    CommittedOffset, Identity, TopicIds, commit_answers, commit_request, fetch_answers,
    fetch_request,
};
use super::shared::Shared;
use super::task::Order;
use crate::client::{Client, TopicSet};
use crate::coordinator::CoordinatorLink;
use crate::error::{BrokerError, ClientError, RequestError};
use crate::link::{Pending, SendOptions};
use crate::metadata::TopicPartition;

/// Offsets by partition.
pub type Offsets = BTreeMap<TopicPartition, CommittedOffset>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Committer {
    pub(crate) client: Client,
    pub(crate) config: Arc<GroupConfig>,
    pub(crate) coordinator: CoordinatorLink,
    pub(crate) shared: Arc<Shared>,
    pub(crate) orders: mpsc::Sender<Order>,
}

/// What a commit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// The application asks for it.
    Asked,
    /// Partitions go to others, who wait for it. A topic that is gone does not come back by waiting
    /// (`CommitRequestManager`): when only such topics are left, that is the result.
    BeforeRevocation,
    /// The same, and nobody polls any more. A member that joins its next generation commits in the
    /// one it was in, as coordinators allow; while they wait for the leader's assignment they do
    /// not, and the end of that is waited for.
    AtClose,
}

/// A commit that was sent. Dropping it forgets the outcome, not the commit.
#[derive(Debug)]
pub struct PendingCommit(oneshot::Receiver<Result<(), CommitError>>);

impl PendingCommit {
    /// Waits for the outcome.
    pub async fn committed(self) -> Result<(), CommitError> {
        let lost = || RequestError::UnknownBroker(model::BrokerId::NONE);
        self.0.await.unwrap_or_else(|_| Err(ClientError::from(lost()).into()))
    }
}

impl Committer {
    /// Commits, and tries again what may go away until the API time limit passes.
    pub(crate) async fn commit(&self, offsets: &Offsets, when: When) -> Result<(), CommitError> {
        if when == When::AtClose && self.shared.membership().state == MemberState::Joining {
            // A join may wait at the broker, and what is behind it on the connection too.
            self.coordinator.reconnect();
        }
        let deadline = self.client.now() + self.client.config().api_timeout;
        let mut failures = 0;
        loop {
            let error = match self.commit_once(offsets, when).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            failures += 1;
            let pause = self.client.retry_pause(failures);
            let again =
                self.is_worth_repeating(&error, when) && self.client.now() + pause < deadline;
            if !again {
                return Err(error);
            }
            runtime::sleep(&*self.client.runtime().clock, pause).await;
        }
    }

    /// Commits once, in the order of the calls, without waiting for the outcome.
    pub(crate) fn submit(&self, offsets: Offsets) -> PendingCommit {
        let (done, outcome) = oneshot::channel();
        let sent = self.prepare(&offsets, When::Asked).map(|(identity, build, ids, options)| {
            (identity, ids, self.coordinator.submit(build, options))
        });
        let committer = self.clone();
        let open = self.shared.begin_commit();
        runtime::spawn(self.client.runtime(), "group commit", async move {
            let committed = match sent {
                Err(error) => Err(error),
                Ok((identity, ids, Some(Ok(pending)))) => {
                    committer.outcome(&identity, &ids, answer_of(pending).await).await
                }
                Ok((_, _, Some(Err(error)))) => Err(ClientError::from(error).into()),
                // To look for the coordinator first would let a later commit overtake this one.
                Ok((_, _, None)) => {
                    let code = ErrorCode::CoordinatorNotAvailable;
                    Err(ClientError::from(BrokerError { code, message: None }).into())
                }
            };
            // Nobody may want to know.
            let _ = done.send(committed);
            drop(open);
        });
        PendingCommit(outcome)
    }

    /// Who commits now.
    fn identity(&self, when: When) -> Result<Identity, CommitError> {
        let membership = self.shared.membership();
        let was_member = when == When::AtClose && membership.epoch > MemberEpoch::NONE;
        let not_member = |message: &'static str| {
            let message = Some(StrBytes::from_static(message));
            CommitError::NotMember(BrokerError { code: ErrorCode::UnknownMemberId, message })
        };
        match membership.state {
            MemberState::Joining if !was_member => Err(CommitError::Rebalancing),
            MemberState::Unsubscribed => Err(not_member("nothing is subscribed to")),
            MemberState::Left => Err(not_member("the member is out of the group")),
            MemberState::Failed => Err(not_member("the membership has ended")),
            MemberState::Joining | MemberState::Stable | MemberState::Rebalancing => Ok(Identity {
                group_id: self.config.group_id.clone(),
                member_id: membership.member_id,
                instance_id: self.config.instance_id.clone(),
                epoch: membership.epoch,
            }),
        }
    }

    fn prepare(
        &self,
        offsets: &Offsets,
        when: When,
    ) -> Result<
        (Identity, impl FnOnce(i16) -> OffsetCommitRequest + Send + use<>, TopicIds, SendOptions),
        CommitError,
    > {
        let identity = self.identity(when)?;
        let ids = TopicIds::known(&self.client, offsets.keys().map(|at| &at.topic));
        let options = SendOptions {
            version_max: ids.version_max(),
            ..SendOptions::within(self.client.config().request_timeout)
        };
        let (who, what, topics) = (identity.clone(), offsets.clone(), ids.clone());
        let build = move |version| commit_request(&who, &what, &topics, version);
        Ok((identity, build, ids, options))
    }

    async fn commit_once(&self, offsets: &Offsets, when: When) -> Result<(), CommitError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let (identity, build, ids, options) = self.prepare(offsets, when)?;
        let answer = self.coordinator.call(build, options).await;
        self.outcome(&identity, &ids, answer).await
    }

    /// What the response means for the commit, for the membership and for what is known of topics.
    async fn outcome(
        &self,
        identity: &Identity,
        ids: &TopicIds,
        answer: Result<OffsetCommitResponse, ClientError>,
    ) -> Result<(), CommitError> {
        let mut result = Ok(());
        for (at, code) in commit_answers(answer?, ids) {
            if code == ErrorCode::None {
                continue;
            }
            self.note_topic(&at, code).await;
            self.coordinator.note(code);
            if is_about_membership(code) {
                let order = Order::CommitRefused(identity.epoch, code);
                // The member's task is gone when the consumer is.
                let _ = self.orders.send(order).await;
            }
            // A topic that is gone is told when nothing worse happened.
            if result.as_ref().err().is_none_or(is_about_topic) {
                result = Err(commit_error(at, code));
            }
        }
        result
    }

    fn is_worth_repeating(&self, error: &CommitError, when: When) -> bool {
        match error {
            // A newer epoch is on its way, in an answer to a heartbeat.
            CommitError::NotMember(refusal) => {
                refusal.code == ErrorCode::StaleMemberEpoch && self.identity(when).is_ok()
            }
            // Otherwise the application has to poll before that can end.
            CommitError::Rebalancing => when == When::AtClose && self.identity(when).is_ok(),
            CommitError::Partition { .. } if is_about_topic(error) => when == When::Asked,
            CommitError::Partition { .. } | CommitError::Request(_) => error.is_retriable(),
        }
    }

    /// The committed offsets of `partitions`, `None` where there is none; offsets of transactions
    /// that are open are waited for.
    pub(crate) async fn committed(
        &self,
        partitions: Vec<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Option<CommittedOffset>>, ClientError> {
        let deadline = self.client.now() + self.client.config().api_timeout;
        let mut failures = 0;
        loop {
            let found = self.client.retrying(async || self.committed_once(&partitions).await).await;
            let code = found.as_ref().err().and_then(ClientError::code);
            let consumer = self.config.protocol == GroupProtocol::Consumer;
            let Some(code) = code.filter(|code| consumer && is_out_of_date(*code)) else {
                return found;
            };
            // The epoch has moved on, or the member is out: a heartbeat tells.
            failures += 1;
            let pause = self.client.retry_pause(failures);
            if self.client.now() + pause >= deadline {
                return found;
            }
            let epoch = self.shared.membership().epoch;
            // The member's task is gone when the consumer is.
            let _ = self.orders.send(Order::CommitRefused(epoch, code)).await;
            runtime::sleep(&*self.client.runtime().clock, pause).await;
        }
    }

    async fn committed_once(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Option<CommittedOffset>>, ClientError> {
        let group = self.config.group_id.clone();
        // Only the consumer protocol checks who reads.
        let identity = match self.config.protocol {
            GroupProtocol::Classic => None,
            GroupProtocol::Consumer => self.identity(When::Asked).ok(),
        };
        let identity = identity.unwrap_or_else(|| Identity::outsider(group.clone()));
        let ids = TopicIds::known(&self.client, partitions.iter().map(|at| &at.topic));
        let options = SendOptions {
            version_max: ids.version_max(),
            ..SendOptions::within(self.client.config().request_timeout)
        };
        let (wanted, topics) = (partitions.to_vec(), ids.clone());
        let build = move |version| fetch_request(&identity, Some(&wanted), &topics, true, version);
        let response = self.coordinator.call(build, options).await?;
        let fetched = fetch_answers(&group, response, &ids).inspect_err(|refusal| {
            self.coordinator.note(refusal.code);
        })?;
        let mut found = BTreeMap::new();
        for (at, offset) in fetched {
            if let Err(refusal) = &offset {
                self.note_topic(&at, refusal.code).await;
            }
            found.insert(at, offset?);
        }
        Ok(found)
    }

    /// A topic that was made anew has another id, and one that is gone has none: the next request
    /// shall know.
    async fn note_topic(&self, at: &TopicPartition, code: ErrorCode) {
        if !matches!(code, ErrorCode::UnknownTopicId | ErrorCode::InconsistentTopicId) {
            return;
        }
        let named = TopicSet::Named(vec![at.topic.clone()]);
        if let Err(error) = self.client.refresh(named, false).await {
            tracing::debug!(%error, "refresh the id of a topic");
        }
    }
}

async fn answer_of(
    pending: Pending<OffsetCommitRequest>,
) -> Result<OffsetCommitResponse, ClientError> {
    let answer = pending.response().await?;
    Ok(answer.expect("OffsetCommit is always answered"))
}

/// Whether a commit was refused because its topic is not there, or no more.
fn is_about_topic(error: &CommitError) -> bool {
    matches!(error.code(), Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId))
}

/// Whether a refusal of a commit says something about the member.
fn is_about_membership(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::RebalanceInProgress
            | ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::FencedInstanceId
            | ErrorCode::StaleMemberEpoch
            | ErrorCode::FencedMemberEpoch
    )
}

/// Whether a consumer group's coordinator refuses to tell offsets because the member that asks is not
/// the one it knows. In a classic group nobody asks as a member.
pub(super) fn is_out_of_date(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::StaleMemberEpoch | ErrorCode::UnknownMemberId)
}

fn commit_error(at: TopicPartition, code: ErrorCode) -> CommitError {
    let source = BrokerError { code, message: None };
    match code {
        ErrorCode::RebalanceInProgress => CommitError::Rebalancing,
        code if is_about_membership(code) => CommitError::NotMember(source),
        _ => CommitError::Partition { at, source },
    }
}
