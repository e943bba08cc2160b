//! How a member commits for the last time and leaves its group, for good or to come back.
//!
//! In: a time limit. Out: what was not committed. Commits on their way are waited for first: the
//! process may end right after, and the good-bye of a member goes out on a connection of its own,
//! where it would overtake them (`ConsumerCoordinator.close`).
//!
//! Start at [`GroupConsumer::close`].

use std::sync::Arc;
use std::time::Duration;

use runtime::sync::oneshot;

use super::GroupConsumer;
use super::commit::When;
use super::config::GroupMembershipOperation;
use super::error::CommitError;
use super::member::MemberState;
use super::task::{Leave, Order};
use crate::error::ClientError;

impl GroupConsumer {
    /// Waits for the commits on their way, commits, if that happens by itself, and leaves the group;
    /// a static member is expected back and does not leave a classic group. Gives up after `limit`.
    ///
    /// # Errors
    /// The commits on their way, or the last one, did not come to an end in time, or the last one
    /// was refused. The member is gone all the same.
    pub async fn close(self, limit: Duration) -> Result<(), CommitError> {
        self.close_with(GroupMembershipOperation::Default, limit).await
    }

    /// As [`GroupConsumer::close`], with a choice whether the member leaves the group.
    pub async fn close_with(
        mut self,
        operation: GroupMembershipOperation,
        limit: Duration,
    ) -> Result<(), CommitError> {
        self.leave(false, operation, limit).await
    }

    /// As [`GroupConsumer::close`], but the consumer can subscribe again. It has given up all
    /// partitions without a word, and an error that ended the membership is forgotten.
    pub async fn unsubscribe(&mut self, limit: Duration) -> Result<(), CommitError> {
        self.leave(true, GroupMembershipOperation::Default, limit).await
    }

    async fn leave(
        &mut self,
        stays: bool,
        operation: GroupMembershipOperation,
        limit: Duration,
    ) -> Result<(), CommitError> {
        let clock = Arc::clone(&self.client.runtime().clock);
        let deadline = self.client.now() + limit;
        let last = runtime::timeout(&*clock, limit, self.commit_at_close()).await;
        let timed_out = || ClientError::TimedOut { limit, last: None }.into();
        let result = last.unwrap_or_else(|_| Err(timed_out()));
        let (done, left) = oneshot::channel();
        let orders = self.committer.orders.clone();
        // The task outlives the handle; it is gone only after it panicked.
        if let Ok(place) = orders.reserve().await {
            // Nothing waits between these, so that a future that is dropped leaves no half of it.
            self.shared.mute();
            place.send(Order::Leave(Leave { stays, operation, done }));
        }
        self.give_up_everything();
        runtime::select! {
            _ = left => {}
            () = clock.sleep_until(deadline) => {}
        }
        result
    }

    fn give_up_everything(&mut self) {
        self.keep(|_| false);
        self.telling = None;
        self.owed = None;
        self.failed = None;
        // A lookup on its way is of what was.
        self.lookup += 1;
        self.looking = false;
    }

    /// What has to be committed before the member is gone.
    async fn commit_at_close(&self) -> Result<(), CommitError> {
        self.shared.commits_settled().await;
        if self.config.auto_commit.is_none() {
            return Ok(());
        }
        let mut offsets = self.positions();
        let state = self.membership().state;
        if let (MemberState::Left | MemberState::Failed, Some(told)) = (state, &self.owed) {
            // The application knows that these are lost.
            offsets.retain(|at, _| !told.contains(at));
        }
        self.commit_by_itself(offsets, When::AtClose).await
    }
}
