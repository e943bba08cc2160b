//! Why a member's request is not served.

use std::time::Duration;

use protocol::messages::ConsumerGroupHeartbeatResponse;
use protocol::{ErrorCode, StrBytes};

/// Messages are at most so long.
const MESSAGE_BYTES_MAX: usize = 1000;

/// An error for a member, with the text that Kafka sends where it sends one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Refusal {
    /// The message is cut where it is longer than anybody reads: it may repeat what a client sent,
    /// and has to fit into the answer.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        let mut message = message.into();
        if MESSAGE_BYTES_MAX < message.len() {
            let end = (0..=MESSAGE_BYTES_MAX).rfind(|end| message.is_char_boundary(*end));
            message.truncate(end.unwrap_or(0));
            message.push('…');
        }
        Refusal { code, message }
    }

    pub(super) fn group_not_found(group: &str) -> Refusal {
        let message = format!("Consumer group {group} not found.");
        Refusal::new(ErrorCode::GroupIdNotFound, message)
    }

    pub(super) fn not_a_consumer_group(group: &str) -> Refusal {
        let message = format!("Group {group} is not a consumer group.");
        Refusal::new(ErrorCode::GroupIdNotFound, message)
    }

    pub(super) fn unknown_member(member: &str, group: &str) -> Refusal {
        let message = format!("Member {member} is not a member of group {group}.");
        Refusal::new(ErrorCode::UnknownMemberId, message)
    }

    pub(super) fn group_full(size_max: usize) -> Refusal {
        let message =
            format!("The consumer group has reached its maximum capacity of {size_max} members.");
        Refusal::new(ErrorCode::GroupMaxSizeReached, message)
    }

    pub(super) fn unknown_instance(instance: &str) -> Refusal {
        Refusal::new(ErrorCode::UnknownMemberId, format!("Instance id {instance} is unknown."))
    }

    pub(super) fn fenced_instance(member: &str, instance: &str, holder: &str) -> Refusal {
        let message = format!(
            "Static member {member} with instance id {instance} was fenced by member {holder}."
        );
        Refusal::new(ErrorCode::FencedInstanceId, message)
    }

    pub(super) fn unreleased_instance(member: &str, instance: &str, holder: &str) -> Refusal {
        let message = format!(
            "Static member {member} with instance id {instance} cannot join the group because the \
             instance id is owned by {holder} member."
        );
        Refusal::new(ErrorCode::UnreleasedInstanceId, message)
    }

    pub(super) fn fenced_epoch(received: i32, known: i32) -> Refusal {
        let size = if received > known { "greater" } else { "smaller" };
        let message = format!(
            "The consumer group member has a {size} member epoch ({received}) than the one known by \
             the group coordinator ({known}). The member must abandon all its partitions and rejoin."
        );
        Refusal::new(ErrorCode::FencedMemberEpoch, message)
    }

    /// As a heartbeat's answer.
    pub(crate) fn into_heartbeat_response(self) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse {
            error_code: self.code.code(),
            error_message: Some(StrBytes::from(self.message)),
            ..Default::default()
        }
    }
}

/// Milliseconds on the wire.
pub(super) fn to_ms(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Milliseconds from the wire; what is negative is no time at all.
pub(super) fn from_ms(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
