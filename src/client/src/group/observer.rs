//! Who hears of the commits that a consumer makes by itself (`enable.auto.commit`), as Kafka's
//! interceptors do (`ConsumerInterceptor.onCommit`).
//!
//! In: commits that are about to be sent, and how they ended. Out: both, with a number. One that is
//! given up, because the process ends or the time is over, has no end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::commit::Offsets;
use super::error::CommitError;
use super::member::MemberEpoch;
use super::shared::Shared;

/// A commit that a consumer makes by itself.
#[derive(Clone, Debug)]
pub enum AutoCommit {
    /// It is about to be sent.
    Begun {
        /// Tells it from the others of this observer.
        number: u64,
        /// What is committed.
        offsets: Offsets,
        /// The generation or member epoch that the member is in.
        epoch: MemberEpoch,
        /// Whether it is sent again where that may help.
        may_repeat: bool,
    },
    /// It is answered, or can not be made.
    Ended {
        /// Which.
        number: u64,
        /// How.
        outcome: Result<(), CommitError>,
        /// The generation or member epoch that the member is in by now.
        epoch: MemberEpoch,
    },
}

/// Hears of commits; must not block.
#[derive(Clone)]
pub struct CommitObserver {
    tell: Arc<dyn Fn(AutoCommit) + Send + Sync>,
    commits: Arc<AtomicU64>,
}

impl CommitObserver {
    /// One that does this with what it hears.
    pub fn new(tell: impl Fn(AutoCommit) + Send + Sync + 'static) -> CommitObserver {
        CommitObserver { tell: Arc::new(tell), commits: Arc::default() }
    }

    pub(super) fn begin(
        &self,
        shared: &Arc<Shared>,
        offsets: &Offsets,
        may_repeat: bool,
    ) -> Observed {
        let number = self.commits.fetch_add(1, Ordering::Relaxed);
        let (offsets, epoch) = (offsets.clone(), shared.membership().epoch);
        (self.tell)(AutoCommit::Begun { number, offsets, epoch, may_repeat });
        Observed { observer: self.clone(), shared: Arc::clone(shared), number }
    }
}

impl fmt::Debug for CommitObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitObserver").finish_non_exhaustive()
    }
}

/// A commit whose end is to be told.
pub(super) struct Observed {
    observer: CommitObserver,
    shared: Arc<Shared>,
    number: u64,
}

impl Observed {
    pub(super) fn end(self, outcome: &Result<(), CommitError>) {
        let (number, outcome) = (self.number, outcome.clone());
        let epoch = self.shared.membership().epoch;
        (self.observer.tell)(AutoCommit::Ended { number, outcome, epoch });
    }
}
