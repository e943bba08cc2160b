//! Requests of groups that nobody sends: of members that there are not, in generations that are not,
//! twice and out of order, at groups that live and at groups of its own.
//!
//! It knows no member id of a group that lives, and speaks for nobody there: every such request is
//! refused, and the members notice nothing. In a group of its own it does what no client does.
//!
//! Start at [`Act::odd_group`].

use bytes::Bytes;
use history::Partition;
use protocol::messages as m;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::{ErrorCode, Request, StrBytes};

use super::Act;
use super::wire::Wire;

/// Versions with names, and with a member's instance id.
const JOIN_VERSION: i16 = 5;
/// One that asks for no id first.
const JOIN_AT_ONCE_VERSION: i16 = 3;
const SYNC_VERSION: i16 = 3;
const HEARTBEAT_VERSION: i16 = 3;
const LEAVE_VERSION: i16 = 3;
const COMMIT_VERSIONS: [i16; 3] = [2, 7, 9];
const FETCH_VERSION: i16 = 9;
/// `offset.metadata.max.bytes` is 4096.
const METADATA_BYTES: usize = 5_000;
const SESSION_MS: i32 = 2_000;
/// A name that many records, which belong together, do not fit into a batch with; ten of them are more
/// than a quarter of the smallest segment.
const LONG_NAME_BYTES: usize = 30_000;

/// Nobody is a member of this id: the group knows another, or none, or is none.
const STRANGER: &[ErrorCode] = &[
    ErrorCode::UnknownMemberId,
    ErrorCode::GroupIdNotFound,
    ErrorCode::IllegalGeneration,
    ErrorCode::FencedInstanceId,
];

impl Act {
    pub(super) async fn odd_group(&mut self) {
        let Some(mut wire) = Wire::connect(&mut self.seat).await else { return };
        let groups: Vec<String> = self.seat.work.scenario.groups.keys().cloned().collect();
        if groups.is_empty() || self.seat.dice.one_in(4) {
            return match self.seat.dice.range(0, 4) {
                0 => self.large_group(&mut wire).await,
                _ => self.own_group(&mut wire).await,
            };
        }
        let group = StrBytes::from(self.seat.dice.pick(&groups).as_str());
        // Several at once, on one connection: a stranger may be insistent.
        for _ in 0..self.seat.dice.range(1, 6) {
            match self.seat.dice.range(0, 9) {
                0 => self.stray_join(&mut wire, &group).await,
                1 => self.stray_sync(&mut wire, &group).await,
                2 => self.stray_heartbeat(&mut wire, &group).await,
                3 => self.stray_leave(&mut wire, &group).await,
                4 | 5 => self.stray_commit(&mut wire, &group).await,
                6 | 7 => self.stray_consumer_heartbeat(&mut wire, &group).await,
                _ => self.look_at_groups(&mut wire, &group).await,
            }
        }
    }

    /// Sends `request`; every code of its answer has to fit, and there has to be one.
    async fn expect<R: Request>(
        &mut self,
        wire: &mut Wire,
        (request, version): (&R, i16),
        codes: impl Fn(&R::Response) -> Vec<i16>,
        fits: &[ErrorCode],
    ) -> Option<R::Response> {
        let response = wire.call(request, version).await;
        let response = response.map_err(|missing| self.missed(&missing)).ok()?;
        let codes: Vec<ErrorCode> =
            codes(&response).into_iter().map(ErrorCode::from_code).collect();
        let is_fit = |code: &&ErrorCode| {
            fits.contains(code) || (code.is_error() && self.seat.work.weather.explains(**code))
        };
        match codes.iter().find(|code| !is_fit(code)) {
            Some(code) => self.unfit(format!("{code} of {codes:?}")),
            None if codes.is_empty() => self.unfit("without an answer to what was asked"),
            None => {}
        }
        Some(response)
    }

    /// The id of nobody, or one that no id can be.
    fn stranger(&mut self) -> StrBytes {
        let number = self.number;
        match self.seat.dice.range(0, 3) {
            0 => StrBytes::from("x".repeat(2_000)),
            1 => StrBytes::from(format!("nobody-{number} é漢🦀")),
            _ => StrBytes::from(format!("nobody-{number}")),
        }
    }

    /// One of the static members' instance ids, at times.
    fn instance(&mut self, group: &StrBytes) -> Option<StrBytes> {
        self.seat.dice.one_in(3).then(|| StrBytes::from(format!("{group}-0")))
    }

    async fn stray_join(&mut self, wire: &mut Wire, group: &StrBytes) {
        self.begin(format!("JoinGroup of a stranger in {group}"));
        let (member_id, group_instance_id) = (self.stranger(), self.instance(group));
        let lists: [&[&str]; 3] = [&[], &["range"], &["", "x", "x"]];
        let names = *self.seat.dice.pick(&lists);
        let protocol = |name: &&str| JoinGroupRequestProtocol {
            name: StrBytes::from(*name),
            metadata: Bytes::from_static(&[0xff; 7]),
            ..Default::default()
        };
        let session_timeout_ms = *self.seat.dice.pick(&[SESSION_MS, SESSION_MS, -1, 0, i32::MAX]);
        let request = m::JoinGroupRequest {
            group_id: group.clone(),
            session_timeout_ms,
            rebalance_timeout_ms: *self.seat.dice.pick(&[SESSION_MS, -1, i32::MAX]),
            member_id,
            group_instance_id,
            protocol_type: StrBytes::from(*self.seat.dice.pick(&["consumer", "connect", ""])),
            protocols: names.iter().map(protocol).collect(),
            ..Default::default()
        };
        let fits = [
            ErrorCode::UnknownMemberId,
            ErrorCode::FencedInstanceId,
            ErrorCode::InconsistentGroupProtocol,
            ErrorCode::InvalidSessionTimeout,
            ErrorCode::GroupMaxSizeReached,
        ];
        let code = |response: &m::JoinGroupResponse| vec![response.error_code];
        self.expect(wire, (&request, JOIN_VERSION), code, &fits).await;
    }

    async fn stray_sync(&mut self, wire: &mut Wire, group: &StrBytes) {
        self.begin(format!("SyncGroup of a stranger in {group}"));
        let request = m::SyncGroupRequest {
            group_id: group.clone(),
            generation_id: self.generation(),
            member_id: self.stranger(),
            group_instance_id: self.instance(group),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: self.stranger(),
                assignment: Bytes::from_static(b"nothing that anybody can read"),
                ..Default::default()
            }],
            ..Default::default()
        };
        let code = |response: &m::SyncGroupResponse| vec![response.error_code];
        self.expect(wire, (&request, SYNC_VERSION), code, STRANGER).await;
    }

    async fn stray_heartbeat(&mut self, wire: &mut Wire, group: &StrBytes) {
        self.begin(format!("Heartbeat of a stranger in {group}"));
        let request = m::HeartbeatRequest {
            group_id: group.clone(),
            generation_id: self.generation(),
            member_id: self.stranger(),
            group_instance_id: self.instance(group),
            ..Default::default()
        };
        self.expect(wire, (&request, HEARTBEAT_VERSION), strange_heartbeat, STRANGER).await;
    }

    async fn stray_leave(&mut self, wire: &mut Wire, group: &StrBytes) {
        self.begin(format!("LeaveGroup of strangers in {group}"));
        let count = self.seat.dice.range(1, 4);
        let mut members = Vec::new();
        for _ in 0..count {
            // An instance id alone would name a member (KIP-345).
            let (member_id, group_instance_id) = (self.stranger(), self.instance(group));
            members.push(MemberIdentity { member_id, group_instance_id, ..Default::default() });
        }
        let request =
            m::LeaveGroupRequest { group_id: group.clone(), members, ..Default::default() };
        let codes = |response: &m::LeaveGroupResponse| match response.error_code {
            0 => response.members.iter().map(|member| member.error_code).collect(),
            code => vec![code],
        };
        self.expect(wire, (&request, LEAVE_VERSION), codes, STRANGER).await;
    }

    async fn stray_commit(&mut self, wire: &mut Wire, group: &StrBytes) {
        let Some(partition) = self.partition(|_, _| true) else { return };
        self.begin(format!("OffsetCommit of a stranger in {group}"));
        let mut request = commit(group, &partition, "of a stranger");
        request.member_id = self.stranger();
        // Below 0 it may stand for an administrator, whom an empty group obeys.
        request.generation_id_or_member_epoch = self.generation().max(0);
        let version = *self.seat.dice.pick(&COMMIT_VERSIONS);
        if version >= COMMIT_VERSIONS[1] {
            request.group_instance_id = self.instance(group);
        }
        let fits = [STRANGER, &[ErrorCode::StaleMemberEpoch]].concat();
        self.expect(wire, (&request, version), commit_codes, &fits).await;
    }

    async fn stray_consumer_heartbeat(&mut self, wire: &mut Wire, group: &StrBytes) {
        let mut request = m::ConsumerGroupHeartbeatRequest {
            group_id: group.clone(),
            member_id: self.stranger(),
            ..Default::default()
        };
        let name = match self.seat.dice.range(0, 4) {
            0 => {
                request.member_epoch = self.generation().max(1);
                request.instance_id = self.instance(group);
                "an epoch of a stranger"
            }
            1 => {
                request.member_epoch = -1;
                request.instance_id = self.instance(group);
                "the leaving of a stranger"
            }
            2 => {
                request.member_epoch = *self.seat.dice.pick(&[-2, -3, i32::MIN]);
                "an epoch that is none"
            }
            _ => {
                // Whoever joins owns nothing, and says what it wants and how long it takes.
                request.rebalance_timeout_ms = *self.seat.dice.pick(&[-1, SESSION_MS]);
                "a join that lacks something"
            }
        };
        self.begin(format!("ConsumerGroupHeartbeat in {group}: {name}"));
        let fits = [
            STRANGER,
            &[
                ErrorCode::InvalidRequest,
                ErrorCode::FencedMemberEpoch,
                ErrorCode::UnreleasedInstanceId,
            ],
        ]
        .concat();
        let code = |response: &m::ConsumerGroupHeartbeatResponse| vec![response.error_code];
        self.expect(wire, (&request, 0), code, &fits).await;
    }

    /// What there is to see is shown to everybody.
    async fn look_at_groups(&mut self, wire: &mut Wire, group: &StrBytes) {
        self.begin(format!("a look at {group}"));
        let seen = [ErrorCode::None, ErrorCode::GroupIdNotFound];
        match self.seat.dice.range(0, 4) {
            0 => {
                let groups = vec![group.clone(), group.clone(), self.stranger()];
                let request = m::DescribeGroupsRequest { groups, ..Default::default() };
                let codes = |response: &m::DescribeGroupsResponse| {
                    response.groups.iter().map(|group| group.error_code).collect()
                };
                self.expect(wire, (&request, 5), codes, &seen).await;
            }
            1 => {
                let group_ids = vec![group.clone(), self.stranger()];
                let request = m::ConsumerGroupDescribeRequest { group_ids, ..Default::default() };
                let codes = |response: &m::ConsumerGroupDescribeResponse| {
                    response.groups.iter().map(|group| group.error_code).collect()
                };
                self.expect(wire, (&request, 0), codes, &seen).await;
            }
            2 => {
                let filter = vec![StrBytes::from("no state"), StrBytes::from("stable")];
                let request = m::ListGroupsRequest { states_filter: filter, ..Default::default() };
                let code = |response: &m::ListGroupsResponse| vec![response.error_code];
                self.expect(wire, (&request, 4), code, &[ErrorCode::None]).await;
            }
            _ => self.stray_fetch(wire, group).await,
        }
    }

    async fn stray_fetch(&mut self, wire: &mut Wire, group: &StrBytes) {
        let name = StrBytes::from("no-such-topic");
        let topic = OffsetFetchRequestTopics {
            name,
            partition_indexes: vec![0, -1, i32::MAX],
            ..Default::default()
        };
        let asked = OffsetFetchRequestGroup {
            group_id: group.clone(),
            member_id: Some(self.stranger()),
            member_epoch: self.generation(),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        let request = m::OffsetFetchRequest { groups: vec![asked], ..Default::default() };
        let codes = |response: &m::OffsetFetchResponse| {
            response.groups.iter().map(|group| group.error_code).collect()
        };
        let fits = [STRANGER, &[ErrorCode::None, ErrorCode::StaleMemberEpoch]].concat();
        self.expect(wire, (&request, FETCH_VERSION), codes, &fits).await;
    }

    fn generation(&mut self) -> i32 {
        *self.seat.dice.pick(&[-1, 0, 1, 2, 3, 5, 8, i32::MAX])
    }

    /// A group of its own, from its first member to its end: each step in the wrong generation too, and
    /// some twice. A broker that was away has forgotten a member that was never in a generation.
    async fn own_group(&mut self, wire: &mut Wire) {
        let group = StrBytes::from(format!("wild-{}", self.number));
        self.begin(format!("the life of {group}"));
        let ok = |more: &[ErrorCode]| [&[ErrorCode::None], STRANGER, more].concat();
        let protocol = JoinGroupRequestProtocol {
            name: StrBytes::from("odd"),
            metadata: Bytes::from(vec![7; self.seat.dice.spread(1, 20_000) as usize]),
            ..Default::default()
        };
        let join = m::JoinGroupRequest {
            group_id: group.clone(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: SESSION_MS,
            protocol_type: StrBytes::from(*self.seat.dice.pick(&["consumer", "wild"])),
            protocols: vec![protocol],
            ..Default::default()
        };
        let code = |response: &m::JoinGroupResponse| vec![response.error_code];
        let joined = self.expect(wire, (&join, JOIN_AT_ONCE_VERSION), code, &ok(&[])).await;
        let Some(joined) = joined.filter(|joined| joined.error_code == 0) else { return };
        let me = Own { group, id: joined.member_id, generation: joined.generation_id };
        for _ in 0..self.seat.dice.range(1, 8) {
            match self.seat.dice.range(0, 3) {
                0 => self.own_sync(wire, &me).await,
                1 => self.own_heartbeat(wire, &me).await,
                _ => self.own_commit(wire, &me).await,
            }
        }
        self.own_end(wire, &me).await;
    }

    /// A group whose records are long: what does not fit into the log is refused to who asks for it,
    /// and nobody else.
    async fn large_group(&mut self, wire: &mut Wire) {
        let Some(partition) = self.partition(|_, _| true) else { return };
        let name = format!("large-{}-{}", self.number, "g".repeat(LONG_NAME_BYTES));
        self.begin(format!("the life of large-{}", self.number));
        let member = |number: u64| StrBytes::from(format!("member-{number}"));
        let mut request = m::ConsumerGroupHeartbeatRequest {
            group_id: StrBytes::from(name),
            member_id: member(0),
            rebalance_timeout_ms: SESSION_MS,
            subscribed_topic_names: Some(vec![StrBytes::from("t".repeat(LONG_NAME_BYTES)); 10]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        let code = |response: &m::ConsumerGroupHeartbeatResponse| vec![response.error_code];
        let refused = [ErrorCode::InvalidRequest];
        self.expect(wire, (&request, 1), code, &refused).await;
        request.subscribed_topic_names = Some(vec![StrBytes::from(&*partition.topic)]);
        let mut members = Vec::new();
        for number in 0..self.seat.dice.range(1, 20) {
            request.member_id = member(number);
            if self.expect(wire, (&request, 1), code, &[ErrorCode::None]).await.is_none() {
                return;
            }
            let member_id = request.member_id.clone();
            members.push(MemberIdentity { member_id, ..Default::default() });
        }
        let leave = m::LeaveGroupRequest {
            group_id: request.group_id.clone(),
            members,
            ..Default::default()
        };
        let codes = |response: &m::LeaveGroupResponse| match response.error_code {
            0 => response.members.iter().map(|member| member.error_code).collect(),
            code => vec![code],
        };
        // All go together or nobody does.
        let fits = [STRANGER, &[ErrorCode::None, ErrorCode::UnknownServerError]].concat();
        self.expect(wire, (&leave, LEAVE_VERSION), codes, &fits).await;
    }

    async fn own_sync(&mut self, wire: &mut Wire, me: &Own) {
        let is_right = self.seat.dice.one_in(2);
        let request = m::SyncGroupRequest {
            group_id: me.group.clone(),
            generation_id: if is_right { me.generation } else { me.generation + 1 },
            member_id: me.id.clone(),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: me.id.clone(),
                assignment: Bytes::from(vec![9; self.seat.dice.spread(1, 20_000) as usize]),
                ..Default::default()
            }],
            ..Default::default()
        };
        let code = |response: &m::SyncGroupResponse| vec![response.error_code];
        let fits = fits_own(is_right);
        self.expect(wire, (&request, SYNC_VERSION), code, &fits).await;
    }

    async fn own_heartbeat(&mut self, wire: &mut Wire, me: &Own) {
        let is_right = self.seat.dice.one_in(2);
        let request = m::HeartbeatRequest {
            group_id: me.group.clone(),
            generation_id: if is_right { me.generation } else { me.generation - 1 },
            member_id: me.id.clone(),
            ..Default::default()
        };
        let code = |response: &m::HeartbeatResponse| match is_right {
            true => vec![response.error_code],
            false => strange_heartbeat(response),
        };
        self.expect(wire, (&request, HEARTBEAT_VERSION), code, &fits_own(is_right)).await;
    }

    async fn own_commit(&mut self, wire: &mut Wire, me: &Own) {
        let Some(partition) = self.partition(|_, _| true) else { return };
        let (is_right, is_large) = (self.seat.dice.one_in(2), self.seat.dice.one_in(3));
        let metadata = if is_large { "m".repeat(METADATA_BYTES) } else { String::new() };
        let mut request = commit(&me.group, &partition, &metadata);
        request.member_id = me.id.clone();
        request.generation_id_or_member_epoch = me.generation + i32::from(!is_right);
        let fits = match is_large {
            // Who asks comes before what is asked for.
            true => [STRANGER, &[ErrorCode::OffsetMetadataTooLarge]].concat(),
            false => fits_own(is_right),
        };
        let version = *self.seat.dice.pick(&COMMIT_VERSIONS);
        let fits = [&fits[..], &[ErrorCode::RebalanceInProgress]].concat();
        self.expect(wire, (&request, version), commit_codes, &fits).await;
    }

    async fn own_end(&mut self, wire: &mut Wire, me: &Own) {
        let Some(partition) = self.partition(|_, _| true) else { return };
        let identity = MemberIdentity { member_id: me.id.clone(), ..Default::default() };
        // The same one twice: the second is not there any more, or leaves once with the first.
        let leave = m::LeaveGroupRequest {
            group_id: me.group.clone(),
            members: vec![identity.clone(), identity],
            ..Default::default()
        };
        let codes = |response: &m::LeaveGroupResponse| match response.error_code {
            0 => response.members.iter().map(|member| member.error_code).collect(),
            code => vec![code],
        };
        let fits = fits_own(true);
        let left = self.expect(wire, (&leave, LEAVE_VERSION), codes, &fits).await;
        if left.is_none_or(|left| left.error_code != 0) {
            return;
        }
        let heartbeat = m::HeartbeatRequest {
            group_id: me.group.clone(),
            generation_id: me.generation,
            member_id: me.id.clone(),
            ..Default::default()
        };
        self.expect(wire, (&heartbeat, HEARTBEAT_VERSION), strange_heartbeat, STRANGER).await;
        let topic = OffsetDeleteRequestTopic {
            name: StrBytes::from(&*partition.topic),
            partitions: vec![
                OffsetDeleteRequestPartition { partition_index: partition.index },
                OffsetDeleteRequestPartition { partition_index: i32::MAX },
            ],
        };
        let forget = m::OffsetDeleteRequest { group_id: me.group.clone(), topics: vec![topic] };
        let codes = |response: &m::OffsetDeleteResponse| vec![response.error_code];
        self.expect(wire, (&forget, 0), codes, &fits).await;
        let delete = m::DeleteGroupsRequest {
            groups_names: vec![me.group.clone(), me.group.clone()],
            ..Default::default()
        };
        let codes = |response: &m::DeleteGroupsResponse| {
            response.results.iter().map(|group| group.error_code).collect()
        };
        self.expect(wire, (&delete, 1), codes, &fits).await;
    }
}

/// A member of a group of its own.
struct Own {
    group: StrBytes,
    id: StrBytes,
    generation: i32,
}

/// What a member in its own generation, or in another one, may be answered.
fn fits_own(is_right: bool) -> Vec<ErrorCode> {
    match is_right {
        true => [&[ErrorCode::None], STRANGER].concat(),
        false => STRANGER.to_vec(),
    }
}

/// To a heartbeat that should be refused, no error is what a coordinator says while it loads.
fn strange_heartbeat(response: &m::HeartbeatResponse) -> Vec<i16> {
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => vec![ErrorCode::CoordinatorLoadInProgress.code()],
        _ => vec![response.error_code],
    }
}

fn commit(group: &StrBytes, partition: &Partition, metadata: &str) -> m::OffsetCommitRequest {
    let at = OffsetCommitRequestPartition {
        partition_index: partition.index,
        committed_offset: 0,
        committed_metadata: Some(StrBytes::from(metadata)),
        ..Default::default()
    };
    let name = StrBytes::from(&*partition.topic);
    let topic = OffsetCommitRequestTopic { name, partitions: vec![at], ..Default::default() };
    m::OffsetCommitRequest { group_id: group.clone(), topics: vec![topic], ..Default::default() }
}

fn commit_codes(response: &m::OffsetCommitResponse) -> Vec<i16> {
    let topics = response.topics.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(|it| it.error_code)).collect()
}
