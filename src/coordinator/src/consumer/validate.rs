//! What is wrong with a heartbeat in itself (`throwIfConsumerGroupHeartbeatRequestIsInvalid`).

use protocol::ErrorCode;
use protocol::messages::ConsumerGroupHeartbeatRequest;

use super::member::{EPOCH_AWAY, EPOCH_LEAVING};
use super::refusal::Refusal;

/// Ids of members are in every record about them. Clients that make their own have 22 characters.
const ID_BYTES_MAX: usize = 1000;

/// Checks what needs no group to be checked.
///
/// # Errors
/// [`ErrorCode::InvalidRequest`] or [`ErrorCode::UnsupportedAssignor`].
pub(super) fn check(
    request: &ConsumerGroupHeartbeatRequest,
    api_version: i16,
    assignors: &[String],
) -> Result<(), Refusal> {
    // Since version 1 a member makes its own id (KIP-1082).
    let needs_member_id =
        api_version >= 1 || request.member_epoch > 0 || request.member_epoch == EPOCH_LEAVING;
    if needs_member_id {
        refuse_blank(Some(&request.member_id), "MemberId can't be empty.")?;
    }
    refuse_blank(Some(&request.group_id), "GroupId can't be empty.")?;
    refuse_blank(request.instance_id.as_deref(), "InstanceId can't be empty.")?;
    refuse_blank(request.rack_id.as_deref(), "RackId can't be empty.")?;
    refuse_long(Some(&request.member_id), "MemberId")?;
    refuse_long(request.instance_id.as_deref(), "InstanceId")?;
    match request.member_epoch {
        0 => check_join(request)?,
        EPOCH_AWAY if request.instance_id.is_none() => {
            return Err(invalid("InstanceId can't be null."));
        }
        ..EPOCH_AWAY => return Err(invalid("MemberEpoch is invalid.")),
        _ => {}
    }
    match &request.server_assignor {
        Some(name) if !assignors.iter().any(|known| name == known.as_str()) => {
            let message = format!(
                "ServerAssignor {name} is not supported. Supported assignors: {}.",
                assignors.join(", ")
            );
            Err(Refusal::new(ErrorCode::UnsupportedAssignor, message))
        }
        _ => Ok(()),
    }
}

fn check_join(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    if request.rebalance_timeout_ms == -1 {
        return Err(invalid("RebalanceTimeoutMs must be provided in first request."));
    }
    if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
        return Err(invalid("TopicPartitions must be empty when (re-)joining."));
    }
    if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
        return Err(invalid(
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        ));
    }
    Ok(())
}

fn refuse_blank(text: Option<&str>, message: &str) -> Result<(), Refusal> {
    match text {
        Some(text) if text.trim().is_empty() => Err(invalid(message)),
        _ => Ok(()),
    }
}

fn refuse_long(id: Option<&str>, what: &str) -> Result<(), Refusal> {
    match id.map_or(0, str::len) {
        ..=ID_BYTES_MAX => Ok(()),
        bytes => Err(invalid(&format!("{what} has {bytes} bytes; {ID_BYTES_MAX} are allowed."))),
    }
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}
