//! What a member's task and the application's handle share.
//!
//! Invariant: the lock is held for a few words, never while something waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::Instant;
use runtime::sync::Notify;

use super::member::{MemberEpoch, MemberState, Membership, Notice};

pub(crate) struct Shared {
    state: Mutex<State>,
    /// A notice is there.
    pub(crate) news: Notify,
    /// The last commit on its way has ended.
    pub(crate) commits_ended: Notify,
}

struct State {
    notices: VecDeque<Notice>,
    /// The application has given up everything: notices tell it nothing.
    muted: bool,
    membership: Membership,
    /// When the application last polled; `None` while it does.
    last_poll: Option<Instant>,
    /// How many commits are on their way that nobody needs to wait for.
    commits: usize,
}

/// A commit on its way.
pub(crate) struct OpenCommit(Arc<Shared>);

impl Drop for OpenCommit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.commits -= 1;
        if state.commits == 0 {
            self.0.commits_ended.notify_one();
        }
    }
}

impl Shared {
    pub(crate) fn new(now: Instant) -> Shared {
        let membership = Membership {
            state: MemberState::Unsubscribed,
            member_id: Default::default(),
            epoch: MemberEpoch::NONE,
            assignor: None,
            is_leader: false,
        };
        let last_poll = Some(now);
        let state =
            State { notices: VecDeque::new(), muted: false, membership, last_poll, commits: 0 };
        Shared { state: Mutex::new(state), news: Notify::new(), commits_ended: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, notice: Notice) {
        let mut state = self.state();
        if state.muted {
            return;
        }
        // An application that does not poll may miss generations that changed nothing for it, so
        // that what waits for it stays bounded by its partitions.
        if let (Some(Notice::Assign(last)), Notice::Assign(next)) =
            (state.notices.back_mut(), &notice)
            && next.partitions.is_empty()
        {
            last.epoch = next.epoch;
            return;
        }
        state.notices.push_back(notice);
        drop(state);
        self.news.notify_one();
    }

    pub(crate) fn next_notice(&self) -> Option<Notice> {
        self.state().notices.pop_front()
    }

    /// Forgets the notices there are and all that come until [`Shared::unmute`].
    pub(crate) fn mute(&self) {
        let mut state = self.state();
        state.muted = true;
        state.notices.clear();
    }

    pub(crate) fn unmute(&self) {
        self.state().muted = false;
    }

    pub(crate) fn publish(&self, membership: Membership) {
        self.state().membership = membership;
    }

    pub(crate) fn membership(&self) -> Membership {
        self.state().membership.clone()
    }

    /// Counts a commit until the result is dropped.
    pub(crate) fn begin_commit(self: &Arc<Shared>) -> OpenCommit {
        self.state().commits += 1;
        OpenCommit(Arc::clone(self))
    }

    /// Waits until no commit is on its way.
    pub(crate) async fn commits_settled(&self) {
        while self.state().commits > 0 {
            self.commits_ended.notified().await;
        }
    }

    pub(crate) fn last_poll(&self) -> Option<Instant> {
        self.state().last_poll
    }

    pub(crate) fn set_last_poll(&self, at: Option<Instant>) {
        self.state().last_poll = at;
    }
}
