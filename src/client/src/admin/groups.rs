//! Groups: listing, describing, deleting, removing members.
//!
//! Every broker lists the groups that it coordinates; everything else goes to a group's coordinator.
//! A group is described by the API of consumer groups first, and by the classic one when the broker
//! does not know that API or the group is not of that type (`DescribeConsumerGroupsHandler`).

use std::collections::{BTreeMap, BTreeSet};

use model::BrokerId;
use protocol::messages::consumer_group_describe_response as modern;
use protocol::messages::describe_groups_response as classic;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, LeaveGroupRequest,
    ListGroupsRequest,
};
use protocol::{ErrorCode, LastRebalance, StrBytes};

use super::{Admin, PerItem};
use crate::client::TopicSet;
use crate::error::{BrokerError, ClientError, RequestError};
use crate::group::assignor::wire::{decode_assignment, decode_topics};
use crate::group::leave_in;
use crate::metadata::{Node, TopicPartition};

/// The protocol type of consumers.
const CONSUMER: &str = "consumer";

/// Which groups to list. Nothing named is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFilter {
    /// `Stable`, `Empty`, …; from brokers since Kafka 2.6.
    pub states: BTreeSet<String>,
    /// `classic`, `consumer`, `share`, …; from brokers since Kafka 3.8.
    pub types: BTreeSet<String>,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub group_id: StrBytes,
    /// `consumer`, `connect`, …; empty when only offsets are kept in it.
    pub protocol_type: StrBytes,
    /// Its state; empty from old brokers.
    pub state: StrBytes,
    /// `Classic`, `Consumer`, as [`GroupType::name`] writes them whatever the broker's case is; other
    /// types as the broker names them; empty from old brokers.
    pub group_type: StrBytes,
}

/// The groups of a cluster.
#[derive(Clone, Debug, Default)]
pub struct GroupList {
    /// By id.
    pub groups: BTreeMap<StrBytes, GroupListing>,
    /// Brokers that did not tell theirs.
    pub unheard: BTreeMap<BrokerId, ClientError>,
}

/// Which protocol a group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupType {
    /// JoinGroup and SyncGroup.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

impl GroupType {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            GroupType::Classic => "Classic",
            GroupType::Consumer => "Consumer",
        }
    }

    /// The type of that name, whose case differs between brokers.
    fn from_name(name: &str) -> Option<GroupType> {
        let types = [GroupType::Classic, GroupType::Consumer];
        types.into_iter().find(|known| known.name().eq_ignore_ascii_case(name))
    }
}

/// A group and its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group_id: StrBytes,
    /// Which protocol it speaks.
    pub group_type: GroupType,
    /// What its members are: `consumer` and others; empty when it never had any.
    pub protocol_type: StrBytes,
    /// `Stable`, `Empty`, `PreparingRebalance`, `Assigning`, `Dead`, …
    pub state: StrBytes,
    /// How partitions are assigned; empty while that is open.
    pub assignor: StrBytes,
    /// The epoch of the group and of its assignment, in a consumer group.
    pub epochs: Option<(i32, i32)>,
    /// Why and when it last began to rebalance; of brokers other than klamm nothing is known, nor of
    /// what was before its coordinator took it over.
    pub last_rebalance: Option<LastRebalance>,
    /// Who coordinates it.
    pub coordinator: Node,
    /// Its members, by member id.
    pub members: Vec<MemberDescription>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its member id.
    pub member_id: StrBytes,
    /// Its `group.instance.id`.
    pub instance_id: Option<StrBytes>,
    /// Its `client.id`.
    pub client_id: StrBytes,
    /// Where it connects from.
    pub host: StrBytes,
    /// Its epoch, in a consumer group.
    pub epoch: Option<i32>,
    /// What it subscribes to by name.
    pub topics: BTreeSet<StrBytes>,
    /// What it subscribes to by expression, in a consumer group.
    pub regex: Option<StrBytes>,
    /// What it has.
    pub assignment: BTreeSet<TopicPartition>,
    /// What it shall have, in a consumer group.
    pub target: Option<BTreeSet<TopicPartition>>,
    /// Whether it speaks the classic protocol in a consumer group.
    pub is_classic: bool,
}

/// A member to remove from a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberToRemove {
    /// By member id.
    Member(StrBytes),
    /// A static one, by `group.instance.id`.
    Instance(StrBytes),
}

impl Admin {
    /// The groups of all brokers.
    pub async fn list_groups(&self, filter: &GroupFilter) -> Result<GroupList, ClientError> {
        let client = &self.client;
        let view = client.retrying(async || client.refresh(TopicSet::None, false).await).await?;
        let mut list = GroupList::default();
        for &broker in view.brokers.keys() {
            match client.retrying(async || self.groups_of(broker, filter).await).await {
                Ok(groups) => {
                    list.groups.extend(groups.into_iter().map(|g| (g.group_id.clone(), g)));
                }
                Err(error) => {
                    list.unheard.insert(broker, error);
                }
            }
        }
        Ok(list)
    }

    async fn groups_of(
        &self,
        broker: BrokerId,
        filter: &GroupFilter,
    ) -> Result<Vec<GroupListing>, ClientError> {
        let words = |words: &BTreeSet<String>| words.iter().map(|w| w.as_str().into()).collect();
        let request = ListGroupsRequest {
            states_filter: words(&filter.states),
            types_filter: words(&filter.types),
            ..Default::default()
        };
        let response = self.client.send(broker, request).await?;
        BrokerError::check(response.error_code, None)?;
        let groups = response.groups.into_iter().map(|group| GroupListing {
            group_id: group.group_id,
            protocol_type: group.protocol_type,
            state: group.group_state,
            group_type: match GroupType::from_name(&group.group_type) {
                Some(known) => StrBytes::from_static(known.name()),
                None => group.group_type,
            },
        });
        Ok(groups.collect())
    }

    /// Describes groups, each by its coordinator.
    pub async fn describe_groups(
        &self,
        groups: impl IntoIterator<Item = StrBytes>,
    ) -> PerItem<StrBytes, GroupDescription> {
        let mut described = PerItem::new();
        for group in groups {
            let description = self.describe_group(&group).await;
            described.insert(group, description);
        }
        described
    }

    async fn describe_group(&self, group: &StrBytes) -> Result<GroupDescription, ClientError> {
        match self.describe_consumer_group(group).await {
            Err(error) if is_other_api(&error) => self.describe_classic_group(group).await,
            described => described,
        }
    }

    async fn describe_consumer_group(
        &self,
        group: &StrBytes,
    ) -> Result<GroupDescription, ClientError> {
        let group_ids = vec![group.clone()];
        let request = ConsumerGroupDescribeRequest { group_ids, ..Default::default() };
        let build = move |_| request.clone();
        let judge = |response: protocol::messages::ConsumerGroupDescribeResponse| {
            let described = response.groups.into_iter().next().ok_or_else(nobody)?;
            BrokerError::check(described.error_code, described.error_message.clone())?;
            Ok(described)
        };
        let described = self.client.ask_coordinator(group, i16::MAX, build, judge).await?;
        let mut members: Vec<_> = described.members.into_iter().map(modern_member).collect();
        members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        Ok(GroupDescription {
            group_id: group.clone(),
            group_type: GroupType::Consumer,
            protocol_type: CONSUMER.into(),
            state: described.group_state,
            assignor: described.assignor_name,
            epochs: Some((described.group_epoch, described.assignment_epoch)),
            last_rebalance: LastRebalance::from_tagged(&described.unknown_tagged_fields),
            coordinator: self.coordinator_of(group),
            members,
        })
    }

    async fn describe_classic_group(
        &self,
        group: &StrBytes,
    ) -> Result<GroupDescription, ClientError> {
        let request = DescribeGroupsRequest { groups: vec![group.clone()], ..Default::default() };
        let build = move |_| request.clone();
        let judge = |response: protocol::messages::DescribeGroupsResponse| {
            let described = response.groups.into_iter().next().ok_or_else(nobody)?;
            BrokerError::check(described.error_code, described.error_message.clone())?;
            Ok(described)
        };
        let described = self.client.ask_coordinator(group, i16::MAX, build, judge).await?;
        // Other programs, such as Connect, have metadata of their own.
        let is_consumer = described.protocol_type == *CONSUMER;
        let members = described.members.into_iter();
        let mut members: Vec<_> = members.map(|m| classic_member(m, is_consumer)).collect();
        members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        Ok(GroupDescription {
            group_id: group.clone(),
            group_type: GroupType::Classic,
            protocol_type: described.protocol_type,
            state: described.group_state,
            assignor: described.protocol_data,
            epochs: None,
            last_rebalance: LastRebalance::from_tagged(&described.unknown_tagged_fields),
            coordinator: self.coordinator_of(group),
            members,
        })
    }

    /// The broker that has just answered for `group`.
    fn coordinator_of(&self, group: &StrBytes) -> Node {
        let id = self.client.known_coordinator(group).unwrap_or(BrokerId::NONE);
        let view = self.client.view();
        let unknown = Node { id, host: StrBytes::new(), port: -1, rack: None };
        view.brokers.get(&id).cloned().unwrap_or(unknown)
    }

    /// Deletes groups that have no members, with their offsets.
    pub async fn delete_groups(
        &self,
        groups: impl IntoIterator<Item = StrBytes>,
    ) -> PerItem<StrBytes, ()> {
        let mut deleted = PerItem::new();
        for group in groups {
            let groups_names = vec![group.clone()];
            let request = DeleteGroupsRequest { groups_names, ..Default::default() };
            let build = move |_| request.clone();
            let judge = |response: protocol::messages::DeleteGroupsResponse| {
                let result = response.results.first().ok_or_else(nobody)?;
                BrokerError::check(result.error_code, None)
            };
            let result = self.client.ask_coordinator(&group, i16::MAX, build, judge).await;
            deleted.insert(group, result);
        }
        deleted
    }

    /// Removes members from a classic group; from brokers before Kafka 2.3 only one by one.
    ///
    /// # Errors
    /// The request as a whole failed. Each member has a result of its own.
    pub async fn remove_members(
        &self,
        group: &StrBytes,
        members: &BTreeSet<MemberToRemove>,
    ) -> Result<PerItem<MemberToRemove, ()>, ClientError> {
        let identity = |member: &MemberToRemove| {
            let (member_id, group_instance_id) = match member {
                MemberToRemove::Member(id) => (id.clone(), None),
                MemberToRemove::Instance(id) => (StrBytes::new(), Some(id.clone())),
            };
            let reason = Some("an admin removed the member".into());
            MemberIdentity { member_id, group_instance_id, reason, ..Default::default() }
        };
        let request = LeaveGroupRequest {
            group_id: group.clone(),
            members: members.iter().map(identity).collect(),
            ..Default::default()
        };
        let build = move |version| leave_in(request.clone(), version);
        let judge = |response: protocol::messages::LeaveGroupResponse| {
            BrokerError::check(response.error_code, None)?;
            Ok(response.members)
        };
        let answers = self.client.ask_coordinator(group, i16::MAX, build, judge).await?;
        let result = |member: &MemberToRemove| {
            let answer = answers.iter().find(|answer| match member {
                MemberToRemove::Member(id) => answer.member_id == *id,
                MemberToRemove::Instance(id) => answer.group_instance_id.as_ref() == Some(id),
            });
            let code = answer.map_or(ErrorCode::None.code(), |answer| answer.error_code);
            (member.clone(), BrokerError::check(code, None).map_err(ClientError::from))
        };
        Ok(members.iter().map(result).collect())
    }
}

/// A response that leaves out what was asked for.
fn nobody() -> BrokerError {
    let message = Some(StrBytes::from_static("the response does not name the group"));
    BrokerError { code: ErrorCode::UnknownServerError, message }
}

/// Whether the group is to be described by the other API.
fn is_other_api(error: &ClientError) -> bool {
    let unknown_api =
        matches!(error, ClientError::Request(RequestError::UnsupportedVersion { .. }));
    let code = error.code();
    let other = [ErrorCode::UnsupportedVersion, ErrorCode::GroupIdNotFound];
    unknown_api || code.is_some_and(|code| other.contains(&code))
}

fn modern_member(member: modern::Member) -> MemberDescription {
    let partitions = |assignment: &modern::Assignment| {
        let topics = assignment.topic_partitions.iter();
        let each = topics.flat_map(|topic| {
            topic.partitions.iter().map(|p| TopicPartition::new(topic.topic_name.clone(), *p))
        });
        each.collect::<BTreeSet<_>>()
    };
    MemberDescription {
        assignment: partitions(&member.assignment),
        target: Some(partitions(&member.target_assignment)),
        member_id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.client_host,
        epoch: Some(member.member_epoch),
        topics: member.subscribed_topic_names.into_iter().collect(),
        regex: member.subscribed_topic_regex.filter(|regex| !regex.is_empty()),
        is_classic: member.member_type == 0,
    }
}

fn classic_member(member: classic::DescribedGroupMember, is_consumer: bool) -> MemberDescription {
    // A member that joins has no metadata yet; what is not to be understood is not shown.
    let understood = is_consumer && !member.member_metadata.is_empty();
    let topics = understood.then(|| decode_topics(&member.member_metadata).ok()).flatten();
    let assigned = is_consumer.then(|| decode_assignment(&member.member_assignment).ok());
    MemberDescription {
        member_id: member.member_id,
        instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        epoch: None,
        topics: topics.unwrap_or_default(),
        regex: None,
        assignment: assigned.flatten().unwrap_or_default(),
        target: None,
        is_classic: true,
    }
}
