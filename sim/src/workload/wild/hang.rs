//! A member of a classic group that hangs between JoinGroup and SyncGroup: it never asks for what it is
//! to read, and a part of it sends heartbeats all the same (KAFKA-12890).
//!
//! In: a group of the scenario. Out: nothing that a history would know; the group has to go on without
//! it, whether it leads or not. It goes when it is told that it is no member, or when its connection
//! ends: a coordinator that takes a group over does not know who has not synced.
//!
//! Start at [`Seat::hang`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::GroupConfig;
use protocol::messages as m;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::{Encode, ErrorCode, StrBytes, Writer};

use super::super::Seat;
use super::wire::Wire;
use crate::scenario::GroupSpec;

/// One that asks for no id first.
const JOIN_VERSION: i16 = 3;
const HEARTBEAT_VERSION: i16 = 3;
/// The version of a subscription that all members understand.
const SUBSCRIPTION_VERSION: i16 = 0;

impl Seat {
    /// Joins the group at this place of the scenario, once, and hangs.
    pub(in super::super) async fn hang(mut self, at: usize) {
        let work = Arc::clone(&self.work);
        let (group, spec) = work.group(at);
        let Some(mut wire) = Wire::connect(&mut self).await else { return };
        let request = join(&group, spec, &work.scenario.topics_of(spec));
        let joined = wire.call(&request, JOIN_VERSION).await;
        let Some(joined) = joined.ok().filter(|joined| joined.error_code == 0) else { return };
        let heartbeat = m::HeartbeatRequest {
            group_id: request.group_id,
            generation_id: joined.generation_id,
            member_id: joined.member_id,
            ..Default::default()
        };
        // A rebalance is nothing to it.
        while let Ok(answer) = wire.call(&heartbeat, HEARTBEAT_VERSION).await
            && !is_out(ErrorCode::from_code(answer.error_code))
        {
            self.sleep(Duration::from_millis(spec.heartbeat_interval_ms)).await;
        }
    }
}

fn is_out(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration)
}

/// What any member of `group` says when it joins.
fn join(group: &str, spec: &GroupSpec, topics: &BTreeSet<Arc<str>>) -> m::JoinGroupRequest {
    let named = spec.classic_assignors();
    let assignors = if named.is_empty() { GroupConfig::new(group).assignors } else { named };
    let topics = topics.iter().map(|topic| StrBytes::from(&**topic)).collect();
    let metadata = metadata(&m::ConsumerProtocolSubscription { topics, ..Default::default() });
    let protocol = |name: &'static str| JoinGroupRequestProtocol {
        name: StrBytes::from_static(name),
        metadata: metadata.clone(),
        ..Default::default()
    };
    m::JoinGroupRequest {
        group_id: StrBytes::from(group),
        session_timeout_ms: spec.session_timeout_ms as i32,
        rebalance_timeout_ms: spec.poll_interval_max_ms as i32,
        protocol_type: StrBytes::from_static("consumer"),
        protocols: assignors.iter().map(|assignor| protocol(assignor.name())).collect(),
        ..Default::default()
    }
}

fn metadata(subscription: &m::ConsumerProtocolSubscription) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(SUBSCRIPTION_VERSION);
    let encoded = subscription.encode(&mut writer, SUBSCRIPTION_VERSION);
    encoded.expect("topics of a scenario fit");
    writer.into_bytes()
}
