//! A member of a classic group.

use std::time::Duration;

use bytes::Bytes;
use protocol::StrBytes;
use protocol::messages::group_metadata_value::MemberMetadata;

use crate::call::Ticket;

/// One way to assign that a member knows, with what it says about itself in its terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberProtocol {
    /// Such as `range`.
    pub(crate) name: StrBytes,
    /// Opaque to a group; with protocol type `consumer` a `ConsumerProtocolSubscription`.
    pub(crate) metadata: Bytes,
}

/// More than what a member's part of a record has beside its texts and bytes.
pub(crate) const MEMBER_RECORD_BYTES: usize = 64;

/// A call that is answered later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The call's.
    pub(crate) ticket: Ticket,
    /// The version that the answer is for.
    pub(crate) api_version: i16,
}

/// A member of a classic group; its id is the key it stands under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassicMember {
    /// `group.instance.id` of a static member (KIP-345).
    pub(crate) instance_id: Option<StrBytes>,
    /// As given by its last JoinGroup under a new id.
    pub(crate) client_id: StrBytes,
    /// The address it joined from.
    pub(crate) client_host: StrBytes,
    /// How long the group waits for it to rejoin.
    pub(crate) rebalance_timeout: Duration,
    /// How long it may show no sign of life.
    pub(crate) session_timeout: Duration,
    /// What it can do, best first; after a load only what its group had chosen.
    pub(crate) protocols: Vec<MemberProtocol>,
    /// What the leader last gave it; empty when it has nothing.
    pub(crate) assignment: Bytes,
    /// Its JoinGroup, until the join phase ends.
    pub(crate) awaiting_join: Option<Waiting>,
    /// Its SyncGroup, until the leader's comes.
    pub(crate) awaiting_sync: Option<Waiting>,
    /// Whether it has never been in a generation of this group: it may be gone while it waits.
    pub(crate) is_new: bool,
}

impl ClassicMember {
    /// What it says about itself in the terms of a protocol.
    pub(crate) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|known| known.name == *protocol).map(|known| &known.metadata)
    }

    /// The first of its protocols that is a candidate.
    pub(crate) fn vote(&self, is_candidate: impl Fn(&str) -> bool) -> Option<&StrBytes> {
        self.protocols.iter().map(|known| &known.name).find(|name| is_candidate(name))
    }

    /// Whether the coordinator owes it an answer, which is why it shows no sign of life.
    pub(crate) fn is_excused(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// Its part of the group's record.
    pub(crate) fn to_record(&self, id: &StrBytes, protocol: Option<&StrBytes>) -> MemberMetadata {
        let subscription = protocol.and_then(|protocol| self.metadata(protocol)).cloned();
        MemberMetadata {
            member_id: id.clone(),
            group_instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: millis(self.rebalance_timeout),
            session_timeout: millis(self.session_timeout),
            subscription: subscription.unwrap_or_default(),
            assignment: self.assignment.clone(),
            ..MemberMetadata::default()
        }
    }

    /// At most so many bytes are its part of the group's record.
    pub(crate) fn record_bytes_max(&self, id: &StrBytes, protocol: Option<&StrBytes>) -> usize {
        let instance = self.instance_id.as_ref().map_or(0, |instance| instance.len());
        let texts = id.len() + instance + self.client_id.len() + self.client_host.len();
        let subscription = protocol.and_then(|protocol| self.metadata(protocol));
        let bytes = subscription.map_or(0, Bytes::len) + self.assignment.len();
        MEMBER_RECORD_BYTES + texts + bytes
    }

    /// A member as the log knows it.
    pub(crate) fn from_record(
        member: MemberMetadata,
        protocol: Option<&StrBytes>,
    ) -> ClassicMember {
        // Before version 1 of the value there was no rebalance timeout.
        let rebalance_timeout = match member.rebalance_timeout {
            -1 => member.session_timeout,
            given => given,
        };
        let protocols = protocol.map(|name| MemberProtocol {
            name: name.clone(),
            metadata: Bytes::copy_from_slice(&member.subscription),
        });
        ClassicMember {
            instance_id: member.group_instance_id.as_ref().map(StrBytes::detached),
            client_id: member.client_id.detached(),
            client_host: member.client_host.detached(),
            rebalance_timeout: duration(rebalance_timeout),
            session_timeout: duration(member.session_timeout),
            protocols: protocols.into_iter().collect(),
            assignment: Bytes::copy_from_slice(&member.assignment),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        }
    }
}

/// Milliseconds as requests and records have them; below zero counts as none.
pub(crate) fn duration(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// The same the other way; more than fits counts as the most that does.
pub(crate) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
