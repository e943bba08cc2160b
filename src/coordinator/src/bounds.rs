//! What a member says of itself has to fit into the log, beside what its group is told because of it.
//!
//! What a call decides of a group is in one batch. One that turns out to be too large when the shard
//! has decided already costs a new shard, and all groups of the partition wait for that. So calls are
//! measured before. Kafka decides, fails to append, and takes back what it decided.

use protocol::messages as m;
use protocol::{ErrorCode, StrBytes};

use crate::call::{Request, Response};
use crate::classic::rebalance::answer_join_error;
use crate::config::Config;
use crate::consumer::Refusal;
use crate::shard::{Caller, Output, Shard};

/// A member's own part of a batch: a classic member's subscription is written twice in a consumer
/// group, and there has to be room for the assignments of all.
const SHARE: usize = 4;

impl Config {
    /// So much may a member say of itself, and a group have to say of its members when it changes its
    /// protocol.
    pub(crate) fn member_bytes_max(&self) -> usize {
        self.record_bytes_max / SHARE
    }
}

impl Request {
    /// How many bytes of it would be in the log, if those are more than there may be.
    pub(crate) fn bytes_too_many(&self, config: &Config) -> Option<usize> {
        let bytes = match self {
            Request::JoinGroup(request) => join_bytes(request),
            Request::ConsumerGroupHeartbeat(request) => heartbeat_bytes(request),
            _ => return None,
        };
        (config.member_bytes_max() < bytes).then_some(bytes)
    }
}

fn join_bytes(request: &m::JoinGroupRequest) -> usize {
    let protocols = request.protocols.iter();
    protocols.map(|protocol| protocol.name.len() + protocol.metadata.len()).sum()
}

fn heartbeat_bytes(request: &m::ConsumerGroupHeartbeatRequest) -> usize {
    let names = request.subscribed_topic_names.iter().flatten();
    names.map(|name| name.len()).sum::<usize>() + length(&request.subscribed_topic_regex)
}

fn length(text: &Option<StrBytes>) -> usize {
    text.as_ref().map_or(0, |text| text.len())
}

impl Shard {
    /// Answers a call that says `bytes`, for which the log has no room.
    pub(crate) fn refuse_as_too_large(
        &self,
        from: Caller,
        request: &Request,
        bytes: usize,
        out: &mut Output,
    ) {
        let error = ErrorCode::InvalidRequest;
        if let Request::JoinGroup(request) = request {
            return answer_join_error(from.waiting(), &request.member_id, error, out);
        }
        let max = self.config.member_bytes_max();
        let message = format!(
            "The subscription is {bytes} bytes long; {max} are allowed, a quarter of segment.bytes of \
             __consumer_offsets."
        );
        let response = Refusal::new(error, message).into_heartbeat_response();
        out.answer(from.ticket, Response::ConsumerGroupHeartbeat(response));
    }
}
