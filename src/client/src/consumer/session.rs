//! Fetch sessions: a broker remembers what a consumer fetches, so that requests and responses name
//! only what changed (KIP-227, `FetchSessionHandler`).
//!
//! In: the partitions to fetch now, and how the last request ended. Out: which of them the next
//! request has to name, and which to take back. Pure; one session per broker.
//!
//! Invariant: `partitions` is what the broker has in its session, as far as this side can know;
//! after any doubt the next request names everything and opens a new session.

use std::collections::BTreeMap;

use model::{LeaderEpoch, Offset, TopicId};
use protocol::ErrorCode;

use crate::metadata::TopicPartition;

/// How one partition shall be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topic_id: TopicId,
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) bytes_max: i32,
}

/// The session part of a fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRequest {
    pub(crate) session_id: i32,
    pub(crate) session_epoch: i32,
    /// Partitions to name.
    pub(crate) named: Vec<(TopicPartition, Wanted)>,
    /// Partitions to take out of the session.
    pub(crate) forgotten: Vec<(TopicPartition, TopicId)>,
}

/// No session: a request with this id opens one, if its epoch is [`OPEN`].
const NO_SESSION: i32 = 0;

/// The epoch of a request that opens a session, and closes the one it names.
const OPEN: i32 = 0;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct FetchSession {
    id: i32,
    epoch: i32,
    partitions: BTreeMap<TopicPartition, Wanted>,
}

impl FetchSession {
    /// The next request, for exactly the partitions of `wanted`.
    pub(crate) fn build(&mut self, wanted: BTreeMap<TopicPartition, Wanted>) -> SessionRequest {
        let (session_id, session_epoch) = (self.id, self.epoch);
        if self.epoch == OPEN {
            let named = wanted.iter().map(|(at, wanted)| (at.clone(), *wanted)).collect();
            self.partitions = wanted;
            return SessionRequest { session_id, session_epoch, named, forgotten: Vec::new() };
        }
        let mut forgotten = Vec::new();
        for (at, old) in &self.partitions {
            // A topic that was created anew is another topic, though its name is the same.
            if wanted.get(at).is_none_or(|new| new.topic_id != old.topic_id) {
                forgotten.push((at.clone(), old.topic_id));
            }
        }
        let changed = wanted.iter().filter(|(at, new)| self.partitions.get(*at) != Some(*new));
        let named = changed.map(|(at, new)| (at.clone(), *new)).collect();
        self.partitions = wanted;
        SessionRequest { session_id, session_epoch, named, forgotten }
    }

    /// The last request was answered with this top-level error and session id.
    pub(crate) fn on_response(&mut self, error: ErrorCode, session_id: i32) {
        match error {
            ErrorCode::None if session_id == NO_SESSION => *self = FetchSession::default(),
            ErrorCode::None if session_id == self.id && self.epoch != OPEN => {
                self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
            }
            ErrorCode::None => {
                self.id = session_id;
                self.epoch = 1;
            }
            ErrorCode::FetchSessionIdNotFound => *self = FetchSession::default(),
            _ => self.epoch = OPEN,
        }
    }

    /// The last request has no response: what the broker knows is uncertain.
    pub(crate) fn on_failure(&mut self) {
        self.epoch = OPEN;
    }
}

#[cfg(test)]
mod tests {
    use model::Uuid;

    use super::*;

    fn wanted(offsets: &[(i32, i64)]) -> BTreeMap<TopicPartition, Wanted> {
        let wanted = |offset| Wanted {
            topic_id: Uuid([1; 16]),
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(0),
            bytes_max: 100,
        };
        offsets.iter().map(|&(p, o)| (TopicPartition::new("t", p), wanted(o))).collect()
    }

    fn summary(request: &SessionRequest) -> (i32, i32, Vec<i32>, Vec<i32>) {
        let named = request.named.iter().map(|(at, _)| at.partition.0).collect();
        let forgotten = request.forgotten.iter().map(|(at, _)| at.partition.0).collect();
        (request.session_id, request.session_epoch, named, forgotten)
    }

    #[test]
    fn only_changes_are_named() {
        let mut session = FetchSession::default();
        let first = session.build(wanted(&[(0, 0), (1, 0)]));
        assert_eq!(summary(&first), (0, 0, vec![0, 1], vec![]));
        session.on_response(ErrorCode::None, 77);
        let second = session.build(wanted(&[(0, 5), (1, 0)]));
        assert_eq!(summary(&second), (77, 1, vec![0], vec![]));
        session.on_response(ErrorCode::None, 77);
        let third = session.build(wanted(&[(1, 0), (2, 0)]));
        assert_eq!(summary(&third), (77, 2, vec![2], vec![0]));
    }

    #[test]
    fn a_recreated_topic_replaces_its_predecessor() {
        let mut session = FetchSession::default();
        session.build(wanted(&[(0, 0)]));
        session.on_response(ErrorCode::None, 77);
        let mut other = wanted(&[(0, 0)]);
        other.values_mut().for_each(|wanted| wanted.topic_id = Uuid([2; 16]));
        assert_eq!(summary(&session.build(other)), (77, 1, vec![0], vec![0]));
    }

    #[test]
    fn doubt_names_everything_again() {
        for (error, expected) in [
            (Some(ErrorCode::FetchSessionIdNotFound), (0, 0)),
            (Some(ErrorCode::InvalidFetchSessionEpoch), (77, 0)),
            (Some(ErrorCode::FetchSessionTopicIdError), (77, 0)),
            (None, (77, 0)),
        ] {
            let mut session = FetchSession::default();
            session.build(wanted(&[(0, 0), (1, 0)]));
            session.on_response(ErrorCode::None, 77);
            session.build(wanted(&[(0, 5), (1, 0)]));
            match error {
                Some(error) => session.on_response(error, 0),
                None => session.on_failure(),
            }
            let next = session.build(wanted(&[(0, 5), (1, 0)]));
            assert_eq!(summary(&next), (expected.0, expected.1, vec![0, 1], vec![]));
        }
    }

    #[test]
    fn a_broker_without_room_for_sessions_gets_full_requests() {
        let mut session = FetchSession::default();
        for _ in 0..3 {
            let request = session.build(wanted(&[(0, 0)]));
            assert_eq!(summary(&request), (0, 0, vec![0], vec![]));
            session.on_response(ErrorCode::None, 0);
        }
    }

    #[test]
    fn epochs_wrap_to_one() {
        let mut session = FetchSession { id: 7, epoch: i32::MAX, partitions: BTreeMap::new() };
        session.on_response(ErrorCode::None, 7);
        assert_eq!(session.epoch, 1);
    }
}
