//! The administrator of groups: sends all members of a group away, sets its offsets, deletes some of
//! them or the group, and lets them come back; deletes offsets while members are there.
//!
//! Each attempt to write is a write of the history, and is made once: so it is known of one that is
//! refused that nothing of it was done, whatever became of the attempts before it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::admin::PerItem;
use client::group::{CommittedOffset, Offsets};
use client::{Admin, Client, ClientError, IsolationLevel, OffsetSpec, TopicPartition};
use history::{GroupWhat, Partition, WriteOutcome, Writer};
use model::{Instant, Offset};
use protocol::{ErrorCode, StrBytes};

use super::member::committed;
use super::{Seat, text_of, topic_partition};

/// Members are waited for so long.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What got no answer is tried again for so long.
const ATTEMPTS_LIMIT: Duration = Duration::from_secs(5);
/// Between two attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(100);

/// Writes by the partitions that they are about.
type Writes = BTreeMap<TopicPartition, u32>;

impl Seat {
    /// Resets the group at this place of the scenario; `once` makes one attempt of each request.
    pub(super) async fn reset(&mut self, client: &Client, once: &Admin, at: usize) {
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
            0..2 => self.delete_group(once, &group).await,
            2 => self.delete_offsets(client, once, &group).await,
            _ => self.set_offsets(client, once, &group).await,
        }
        self.look_at_offsets(client, &group).await;
        work.groups.open(&group);
    }

    /// Deletes some offsets, of topics that members read and of others.
    pub(super) async fn delete_offsets(&mut self, client: &Client, once: &Admin, group: &Arc<str>) {
        let mut chosen = self.work.partitions();
        chosen.retain(|_| self.dice.one_in(2));
        if chosen.is_empty() {
            return;
        }
        let wanted = chosen.iter().map(topic_partition).collect();
        let fits = [
            ErrorCode::GroupSubscribedToTopic,
            ErrorCode::GroupIdNotFound,
            // Nobody knows yet what its members read.
            ErrorCode::NonEmptyGroup,
        ];
        let mut attempts = self.attempts();
        while self.is_next(&mut attempts).await {
            let write = |at: &Partition| {
                let noted = vec![(at.clone(), None)];
                (topic_partition(at), self.note_write(group, Writer::Admin, noted))
            };
            let writes: Writes = chosen.iter().map(write).collect();
            let answers = once.delete_group_offsets(&StrBytes::from(&**group), &wanted).await;
            self.note_all_written(group, writes, "OffsetDelete", &answers, &fits);
            attempts.is_over = !is_worth_repeating(&answers);
        }
        self.look_at_offsets(client, group).await;
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
    async fn look_at_offsets(&self, client: &Client, group: &Arc<str>) {
        let admin = Admin::new(client);
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

    async fn delete_group(&mut self, once: &Admin, group: &Arc<str>) {
        let fits = [ErrorCode::NonEmptyGroup, ErrorCode::GroupIdNotFound];
        let mut attempts = self.attempts();
        while self.is_next(&mut attempts).await {
            let offsets = self.work.partitions().into_iter().map(|at| (at, None)).collect();
            let write = self.note_write(group, Writer::Deletion, offsets);
            let answers = once.delete_groups([StrBytes::from(&**group)]).await;
            let answer = answers.into_values().next().expect("each group has an answer");
            attempts.is_over = !is_worth_repeating(&answer);
            self.note_written(group, write, "DeleteGroups", answer, &fits);
        }
    }

    /// Sets some offsets to drawn ones, each anywhere in its log.
    async fn set_offsets(&mut self, client: &Client, once: &Admin, group: &Arc<str>) {
        let partitions = self.work.partitions();
        let specs = partitions.iter().map(|at| (topic_partition(at), OffsetSpec::Latest)).collect();
        let ends = client.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
        let mut chosen = Vec::new();
        for partition in partitions {
            let at = topic_partition(&partition);
            let end = ends.get(&at).and_then(|found| found.as_ref().ok()?.offset);
            let Some(end) = end.filter(|_| !self.dice.one_in(3)) else { continue };
            let offset = Offset(self.dice.range(0, end.0.max(0) as u64 + 1) as i64);
            chosen.push((partition, offset));
        }
        if chosen.is_empty() {
            return;
        }
        let mut attempts = self.attempts();
        while self.is_next(&mut attempts).await {
            let (mut offsets, mut writes) = (Offsets::new(), Writes::new());
            for (partition, offset) in &chosen {
                let write = self.work.groups.next_write();
                let mut value = CommittedOffset::from(*offset);
                value.metadata = StrBytes::from(format!("{write} sets {partition} to {offset}"));
                let noted = vec![(partition.clone(), Some(committed(&value)))];
                self.note_numbered(group, write, Writer::Admin, noted);
                writes.insert(topic_partition(partition), write);
                offsets.insert(topic_partition(partition), value);
            }
            let answers = once.alter_group_offsets(&StrBytes::from(&**group), &offsets).await;
            let fits = [ErrorCode::UnknownMemberId];
            self.note_all_written(group, writes, "OffsetCommit of an admin", &answers, &fits);
            attempts.is_over = !is_worth_repeating(&answers);
        }
    }

    fn attempts(&self) -> Attempts {
        let until = self.runtime.clock.now() + ATTEMPTS_LIMIT;
        Attempts { count: 0, until, is_over: false }
    }

    /// Whether there is one more attempt; waits for it.
    async fn is_next(&self, attempts: &mut Attempts) -> bool {
        if attempts.is_over || attempts.until <= self.runtime.clock.now() {
            return false;
        }
        if 0 < attempts.count {
            self.sleep(ATTEMPT_PAUSE).await;
        }
        attempts.count += 1;
        true
    }

    /// What a request of many writes was answered with.
    fn note_all_written(
        &self,
        group: &Arc<str>,
        writes: Writes,
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
        self.note_numbered(group, write, by, offsets);
        write
    }

    fn note_numbered(
        &self,
        group: &Arc<str>,
        write: u32,
        by: Writer,
        offsets: Vec<(Partition, Option<history::Committed>)>,
    ) {
        let what = GroupWhat::Write { write, by, offsets, may_repeat: false };
        self.work.note_group(self.node, group, what);
    }

    /// What it was answered with. Who is refused for what the group is, as `fits` has it, has changed
    /// nothing; of everything else but success nobody knows.
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
                let is_refused = match cause(&error) {
                    ClientError::Broker(refusal) => fits.contains(&refusal.code),
                    ClientError::Request(error) => error.was_never_sent(),
                    _ => false,
                };
                let error = text_of(&error);
                if is_refused {
                    WriteOutcome::Refused { error }
                } else {
                    WriteOutcome::Unknown { error }
                }
            }
        };
        let what = GroupWhat::Written { write, outcome, epoch: -1 };
        self.work.note_group(self.node, group, what);
    }
}

/// How often a request was made, and until when it is made again.
struct Attempts {
    count: u32,
    until: Instant,
    is_over: bool,
}

/// Whether the same request may succeed when it is sent again.
fn is_worth_repeating<T>(answer: &Result<T, ClientError>) -> bool {
    answer.as_ref().is_err_and(|error| cause(error).is_retriable())
}

/// What went wrong in the one attempt there was.
fn cause(error: &ClientError) -> &ClientError {
    match error {
        ClientError::TimedOut { last: Some(last), .. } => last,
        error => error,
    }
}
