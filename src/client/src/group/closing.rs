//! How a member commits for the last time and leaves its group.
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
use super::error::CommitError;
use super::member::MemberState;
use super::task::Order;
use crate::error::ClientError;

impl GroupConsumer {
    /// Waits for the commits on their way, commits, if that happens by itself, and leaves the group;
    /// a static member is expected back and does not leave a classic group. Gives up after `limit`.
    ///
    /// # Errors
    /// The commits on their way, or the last one, did not come to an end in time, or the last one
    /// was refused. The member is gone all the same.
    pub async fn close(self, limit: Duration) -> Result<(), CommitError> {
        let clock = Arc::clone(&self.client.runtime().clock);
        let deadline = self.client.now() + limit;
        let last = runtime::timeout(&*clock, limit, self.commit_at_close()).await;
        let timed_out = || ClientError::TimedOut { limit, last: None }.into();
        let result = last.unwrap_or_else(|_| Err(timed_out()));
        let (done, left) = oneshot::channel();
        self.order(Order::Leave(done)).await;
        runtime::select! {
            _ = left => {}
            () = clock.sleep_until(deadline) => {}
        }
        result
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
