//! From answers and records to words.

use protocol::messages as m;
use protocol::{ErrorCode, LastRebalance, StrBytes};

use super::World;
use crate::call::Response;
use crate::record::Record;

impl World {
    pub(crate) fn tell_record(&mut self, record: &Record) {
        let line = match record {
            Record::OffsetCommit { key, value } => {
                let place = format!("{} {}-{}", key.group, key.topic, key.partition);
                match value {
                    Some(value) if value.expire_timestamp >= 0 => {
                        let until = value.expire_timestamp;
                        format!("log: {place} at {} until {until} ms", value.offset)
                    }
                    Some(value) => format!("log: {place} at {}", value.offset),
                    None => format!("log: {place} gone"),
                }
            }
            Record::GroupMetadata { key, value: None } => format!("log: {} gone", key.group),
            Record::GroupMetadata { key, value: Some(value) } => {
                let members = value.members.iter().map(|member| {
                    let assignment = show_bytes(&member.assignment);
                    format!(" {}:{assignment}", self.name(&member.member_id))
                });
                let members: String = members.collect();
                format!("log: {} generation {}{members}", key.group, value.generation)
            }
            other => format!("log: {other:?}"),
        };
        self.tell(&line);
    }

    pub(crate) fn tell_answer(&mut self, who: &str, response: &Response) {
        let text = match response {
            Response::JoinGroup(response) => self.show_join(response),
            Response::SyncGroup(response) => match response.error_code {
                0 => format!("reads {}", show_bytes(&response.assignment)),
                code => format!("sync: {}", error(code)),
            },
            Response::Heartbeat(response) => format!("beat: {}", error(response.error_code)),
            Response::LeaveGroup(response) => {
                let members = response.members.iter();
                let members = members.map(|one| format!(" {}", error(one.error_code)));
                format!("leave: {}{}", error(response.error_code), members.collect::<String>())
            }
            Response::OffsetCommit(response) => {
                let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
                let errors = partitions.map(|one| format!(" {}", error(one.error_code)));
                format!("commit:{}", errors.collect::<String>())
            }
            Response::OffsetFetch(response) => show_offsets(response),
            Response::OffsetDelete(response) => {
                let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
                let errors = partitions.map(|one| format!(" {}", error(one.error_code)));
                format!("forget: {}{}", error(response.error_code), errors.collect::<String>())
            }
            Response::DeleteGroup(code) => format!("delete: {}", error(code.code())),
            Response::DescribeGroup(group) => self.show_description(group),
            Response::ListGroups(groups) => {
                let groups = groups.iter().map(|group| {
                    let kind = &group.protocol_type;
                    format!(" {}/{kind}/{}/{}", group.group_id, group.group_state, group.group_type)
                });
                format!("list:{}", groups.collect::<String>())
            }
            other => format!("{other:?}"),
        };
        self.tell(&format!("{who}: {text}"));
    }

    fn show_join(&self, response: &m::JoinGroupResponse) -> String {
        if response.error_code != 0 {
            let member = match response.member_id.as_str() {
                "" => String::new(),
                _ => format!(" for {}", self.name(&response.member_id)),
            };
            assert_eq!(response.generation_id, -1);
            let protocol = response.protocol_name.as_ref().map_or("null", |name| name.as_str());
            let protocol = if protocol.is_empty() { "" } else { " (null protocol)" };
            return format!("join: {}{member}{protocol}", error(response.error_code));
        }
        let members: Vec<_> =
            response.members.iter().map(|member| self.name(&member.member_id)).collect();
        let skip = if response.skip_assignment { " skip" } else { "" };
        format!(
            "{} in generation {} by {} led by {} of [{}]{skip}",
            self.name(&response.member_id),
            response.generation_id,
            response.protocol_name.as_ref().map_or("null", |name| name.as_str()),
            self.name(&response.leader),
            members.join(" "),
        )
    }

    fn show_description(&self, group: &m::describe_groups_response::DescribedGroup) -> String {
        let members = group.members.iter().map(|member| {
            format!(
                " {}({} {} {} {})",
                self.name(&member.member_id),
                member.client_id,
                member.client_host,
                member.member_metadata.len(),
                show_bytes(&member.member_assignment),
            )
        });
        let members: String = members.collect();
        let message = group.error_message.as_ref().map_or("", |text| text.as_str());
        let code = error(group.error_code);
        let why = LastRebalance::from_tagged(&group.unknown_tagged_fields);
        let why = why.map(|why| format!(" because {} at {} ms", why.reason, why.at));
        let why = self.name_members(&why.unwrap_or_default());
        let (state, kind, data) = (&group.group_state, &group.protocol_type, &group.protocol_data);
        format!("describe: {code} {message}{state}/{kind}/{data}{members}{why}")
    }

    /// Of a member that nobody knows yet, its id.
    pub(crate) fn name(&self, member: &StrBytes) -> String {
        match self.names.get(member) {
            Some(name) => name.clone(),
            None if member.is_empty() => "nobody".to_owned(),
            None => member.split('-').next().unwrap().to_owned() + "?",
        }
    }

    /// A text with names for member ids.
    pub(crate) fn name_members(&self, text: &str) -> String {
        let names = self.names.iter();
        names.fold(text.to_owned(), |text, (id, name)| text.replace(id.as_str(), name))
    }
}

fn show_offsets(group: &m::offset_fetch_response::OffsetFetchResponseGroup) -> String {
    let topics = group.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(move |one| {
            let metadata = one.metadata.as_ref().map_or("null", |text| text.as_str());
            let metadata = if metadata.is_empty() { "" } else { " with metadata" };
            format!(" {}-{}@{}{metadata}", topic.name, one.partition_index, one.committed_offset)
        })
    });
    let topics: String = topics.collect();
    format!("offsets: {}{topics}", error(group.error_code))
}

fn error(code: i16) -> &'static str {
    match code {
        0 => "ok",
        code => ErrorCode::from_code(code).name(),
    }
}

fn show_bytes(bytes: &[u8]) -> String {
    match bytes {
        [] => "nothing".to_owned(),
        bytes => String::from_utf8_lossy(bytes).into_owned(),
    }
}
