//! The administrator of groups: sends all members of a group away, sets its offsets, deletes some of
//! them or the group, and lets them come back; deletes offsets while members are there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::admin::PerItem;
use client::group::{CommittedOffset, Offsets};
use client::{Admin, Client, ClientError, IsolationLevel, OffsetSpec, TopicPartition};
use history::{GroupWhat, Partition, WriteOutcome, Writer};
use model::Offset;
use protocol::{ErrorCode, StrBytes};

use super::member::committed;
use super::{Seat, text_of, topic_partition};

/// Members are waited for so long.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Seat {
    /// Resets the group at this place of the scenario.
    pub(super) async fn reset(&mut self, client: &Client, admin: &Admin, at: usize) {
        let work = Arc::clone(&self.work);
        let (group, spec) = work.group(at);
        work.groups.close(&group);
        let deadline = self.runtime.clock.now() + PATIENCE;
        while !work.groups.is_empty(&group) && self.runtime.clock.now() < deadline {
            self.sleep(LOOK_EVERY).await;
        }
        if 0 < spec.static_members {
            // A static member does not say that it goes.
            self.sleep(Duration::from_millis(spec.session_timeout_ms + 200)).await;
        }
        match self.dice.range(0, 6) {
            0..2 => self.delete_group(admin, &group).await,
            2 => self.delete_offsets(admin, &group).await,
            _ => self.set_offsets(client, admin, &group).await,
        }
        self.look_at_offsets(admin, &group).await;
        work.groups.open(&group);
    }

    /// Deletes some offsets, of topics that members read and of others.
    pub(super) async fn delete_offsets(&mut self, admin: &Admin, group: &Arc<str>) {
        let mut chosen = self.work.partitions();
        chosen.retain(|_| self.dice.one_in(2));
        let mut writes = BTreeMap::new();
        for partition in &chosen {
            let noted = vec![(partition.clone(), None)];
            let write = self.note_write(group, Writer::Admin, noted);
            writes.insert(topic_partition(partition), write);
        }
        if writes.is_empty() {
            return;
        }
        let wanted = writes.keys().cloned().collect();
        let answers = admin.delete_group_offsets(&StrBytes::from(&**group), &wanted).await;
        let fits = [
            ErrorCode::GroupSubscribedToTopic,
            ErrorCode::GroupIdNotFound,
            // Nobody knows yet what its members read.
            ErrorCode::NonEmptyGroup,
        ];
        self.note_all_written(group, writes, "OffsetDelete", &answers, &fits);
        self.look_at_offsets(admin, group).await;
    }

    /// Counts the members of the group at this place of the scenario. While a classic group gathers its
    /// members, those that have not come yet are there besides those that have.
    pub(super) async fn count_members(&mut self, admin: &Admin, at: usize) {
        let (group, _) = self.work.group(at);
        for (_, described) in admin.describe_groups([StrBytes::from(&*group)]).await {
            match described {
                Ok(described) if &*described.state != "PreparingRebalance" => {
                    let dynamic = described.members.iter().filter(|it| it.instance_id.is_none());
                    let members = dynamic.count() as u32;
                    self.work.note_group(self.node, &group, GroupWhat::Counted { members });
                }
                Ok(_) => {}
                Err(error) => {
                    let fits = [ErrorCode::GroupIdNotFound];
                    self.note_failure(&format!("the description of {group}"), &error, &fits);
                }
            }
        }
    }

    /// Asks where the group stands.
    async fn look_at_offsets(&self, admin: &Admin, group: &Arc<str>) {
        let partitions = self.work.partitions();
        let wanted = partitions.iter().map(topic_partition).collect();
        let asked = self.work.world.now();
        let id = StrBytes::from(&**group);
        match admin.list_group_offsets(&id, Some(&wanted), true).await {
            Ok(found) => {
                let value = |at: &Partition| found.get(&topic_partition(at)).map(committed);
                let offsets = partitions.iter().map(|at| (at.clone(), value(at))).collect();
                self.work.note_group(self.node, group, GroupWhat::Fetched { asked, offsets });
            }
            Err(error) => self.note_failure(&format!("OffsetFetch of {group}"), &error, &[]),
        }
    }

    async fn delete_group(&mut self, admin: &Admin, group: &Arc<str>) {
        let offsets = self.work.partitions().into_iter().map(|at| (at, None)).collect();
        let write = self.note_write(group, Writer::Deletion, offsets);
        let answers = admin.delete_groups([StrBytes::from(&**group)]).await;
        let Some(answer) = answers.into_values().next() else { return };
        let fits = [ErrorCode::NonEmptyGroup, ErrorCode::GroupIdNotFound];
        self.note_written(group, write, "DeleteGroups", answer, &fits);
    }

    /// Sets some offsets to drawn ones, each anywhere in its log.
    async fn set_offsets(&mut self, client: &Client, admin: &Admin, group: &Arc<str>) {
        let partitions = self.work.partitions();
        let specs = partitions.iter().map(|at| (topic_partition(at), OffsetSpec::Latest)).collect();
        let ends = client.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
        let mut offsets = Offsets::new();
        let mut writes = BTreeMap::new();
        for partition in &partitions {
            let at = topic_partition(partition);
            let end = ends.get(&at).and_then(|found| found.as_ref().ok()?.offset);
            let Some(end) = end.filter(|_| !self.dice.one_in(3)) else { continue };
            let offset = Offset(self.dice.range(0, end.0.max(0) as u64 + 1) as i64);
            let mut value = CommittedOffset::from(offset);
            value.metadata = StrBytes::from(format!("set to {} of {partition}", offset.0));
            let noted = vec![(partition.clone(), Some(committed(&value)))];
            writes.insert(at.clone(), self.note_write(group, Writer::Admin, noted));
            offsets.insert(at, value);
        }
        if offsets.is_empty() {
            return;
        }
        let answers = admin.alter_group_offsets(&StrBytes::from(&**group), &offsets).await;
        let fits = [ErrorCode::UnknownMemberId];
        self.note_all_written(group, writes, "OffsetCommit of an admin", &answers, &fits);
    }

    /// What a request of many writes was answered with.
    fn note_all_written(
        &self,
        group: &Arc<str>,
        writes: BTreeMap<TopicPartition, u32>,
        request: &str,
        answers: &Result<PerItem<TopicPartition, ()>, ClientError>,
        fits: &[ErrorCode],
    ) {
        for (at, write) in writes {
            let answer = match answers {
                Ok(answers) => answers.get(&at).cloned().unwrap_or(Ok(())),
                Err(error) => Err(error.clone()),
            };
            self.note_written(group, write, request, answer, fits);
        }
    }

    fn note_write(
        &self,
        group: &Arc<str>,
        by: Writer,
        offsets: Vec<(Partition, Option<history::Committed>)>,
    ) -> u32 {
        let write = self.work.groups.next_write();
        let what = GroupWhat::Write { write, by, offsets, may_repeat: true };
        self.work.note_group(self.node, group, what);
        write
    }

    /// What it was answered with. What was sent again after no answer may have been done before.
    fn note_written(
        &self,
        group: &Arc<str>,
        write: u32,
        request: &str,
        answer: Result<(), ClientError>,
        fits: &[ErrorCode],
    ) {
        let outcome = match answer {
            Ok(()) => WriteOutcome::Done,
            Err(error) => {
                self.note_failure(&format!("{request} for {group}"), &error, fits);
                WriteOutcome::Unknown { error: text_of(&error) }
            }
        };
        let what = GroupWhat::Written { write, outcome, epoch: -1 };
        self.work.note_group(self.node, group, what);
    }
}
