//! Carries out what a member decides, in the background, so that heartbeats go on while the
//! application works.
//!
//! In: [`Order`]s of the application's handle, answers of the coordinator, metadata. Out: notices
//! and the present membership, in `Shared`. The task ends without a word to the coordinator when the
//! handle is dropped, as a process that is killed would.
//!
//! Start at [`GroupTask::run`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::{Instant, TopicId};
use protocol::messages::LeaveGroupRequest;
use protocol::{ErrorCode, StrBytes};
use runtime::Task;
use runtime::sync::{mpsc, oneshot};

use super::config::{GroupConfig, GroupMembershipOperation, GroupProtocol};
use super::member::{
    Action, Answer, Call, CallId, ClassicMember, ConsumerMember, Member, MemberEpoch, Topics,
};
use super::shared::Shared;
use super::subscription::Subscription;
use crate::client::{Client, TopicSet};
use crate::coordinator::{CoordinatorLink, patient};
use crate::error::ClientError;
use crate::link::SendOptions;
use crate::metadata::View;

/// How many orders or answers may wait.
pub(crate) const QUEUE_MAX: usize = 64;

/// From the application.
pub(crate) enum Order {
    Subscribe(Subscription),
    /// What the oldest open notice took away is given up.
    Released,
    CommitRefused(MemberEpoch, ErrorCode),
    Rejoin(StrBytes),
    Leave(Leave),
}

/// Leave the group.
pub(crate) struct Leave {
    /// The application goes on, and may subscribe again.
    pub(crate) stays: bool,
    pub(crate) operation: GroupMembershipOperation,
    /// Told when that is done or can not be done.
    pub(crate) done: oneshot::Sender<()>,
}

/// From the tasks that wait.
enum Event {
    Answered(CallId, Answer),
    Refreshed(Result<Arc<View>, ClientError>),
    Resolved,
}

/// Those that wait for answers. They end with the member: its connection shall close, as it does when
/// a process is killed.
#[derive(Default)]
struct Calls(BTreeMap<CallId, Task>);

impl Drop for Calls {
    fn drop(&mut self) {
        self.0.values().for_each(Task::abort);
    }
}

/// See the module.
pub(crate) struct GroupTask {
    client: Client,
    config: Arc<GroupConfig>,
    member: Member,
    coordinator: CoordinatorLink,
    shared: Arc<Shared>,
    report: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    calls: Calls,
    subscription: Option<Subscription>,
    /// As the leader of a classic group: the topics of all members.
    counted: BTreeSet<StrBytes>,
    refreshing: bool,
    /// What is on its way may be older than what was asked for meanwhile.
    refresh_again: bool,
    refresh_at: Option<Instant>,
    refresh_failures: u32,
    resolving: bool,
    leaving: Option<oneshot::Sender<()>>,
    /// The task ends once the member has left.
    closing: bool,
    done: bool,
}

impl GroupTask {
    pub(crate) fn new(
        client: &Client,
        config: Arc<GroupConfig>,
        coordinator: CoordinatorLink,
        shared: Arc<Shared>,
        instance: u64,
    ) -> GroupTask {
        let (report, events) = mpsc::channel(QUEUE_MAX);
        let backoff = client.config().retry_backoff;
        let random = client.runtime().random.stream("group member", instance);
        let member = match config.protocol {
            GroupProtocol::Classic => {
                let member = ClassicMember::new(Arc::clone(&config), backoff, random);
                Member::Classic(Box::new(member))
            }
            GroupProtocol::Consumer => {
                let member = ConsumerMember::new(Arc::clone(&config), backoff, random);
                Member::Consumer(Box::new(member))
            }
        };
        GroupTask {
            client: client.clone(),
            config,
            member,
            coordinator,
            shared,
            report,
            events,
            calls: Calls::default(),
            subscription: None,
            counted: BTreeSet::new(),
            refreshing: false,
            refresh_again: false,
            refresh_at: None,
            refresh_failures: 0,
            resolving: false,
            leaving: None,
            closing: false,
            done: false,
        }
    }

    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while !self.done {
            let wake = self.next_wake().unwrap_or(Instant(u64::MAX));
            let sleep = self.client.runtime().clock.sleep_until(wake);
            runtime::select! {
                order = orders.recv() => match order {
                    Some(order) => self.on_order(order),
                    // The application is gone, as if it was killed.
                    None => break,
                },
                event = self.events.recv() => {
                    self.on_event(event.expect("the task holds a sender itself"));
                }
                () = sleep => self.on_time(),
            }
            self.act();
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let member = self.member.next_wake(self.shared.last_poll());
        let refresh = self.refresh_at.filter(|_| !self.refreshing);
        member.into_iter().chain(refresh).min()
    }

    fn on_time(&mut self) {
        let now = self.client.now();
        self.member.on_tick(now, self.shared.last_poll());
        if !self.refreshing && self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh();
        }
    }

    fn on_order(&mut self, order: Order) {
        let now = self.client.now();
        match order {
            Order::Subscribe(subscription) => self.on_subscription(now, subscription),
            Order::Released => self.member.on_released(now),
            Order::CommitRefused(epoch, code) => self.member.on_commit_refused(now, epoch, code),
            Order::Rejoin(reason) => self.member.on_rejoin(now, reason),
            Order::Leave(leave) => self.on_leave(now, leave),
        }
    }

    fn on_leave(&mut self, now: Instant, leave: Leave) {
        self.leaving = Some(leave.done);
        self.closing = !leave.stays;
        self.subscription = None;
        self.counted.clear();
        self.refresh_at = None;
        let reason = match leave.stays {
            true => "the consumer has unsubscribed",
            false => "the consumer is being closed",
        };
        self.member.on_leave(now, leave.operation, reason);
        // What it tells from here on is about what is subscribed to next.
        self.shared.unmute();
    }

    fn on_left(&mut self) {
        self.done = self.closing;
        if let Some(leaving) = self.leaving.take() {
            // Who asked may have stopped waiting.
            let _ = leaving.send(());
        }
    }

    fn on_subscription(&mut self, now: Instant, subscription: Subscription) {
        match (&subscription, self.config.protocol) {
            (Subscription::Topics(topics), GroupProtocol::Consumer) => {
                self.member.on_subscription(now, Topics::Named(topics.clone()));
            }
            (Subscription::Regex(regex), _) => {
                self.member.on_subscription(now, Topics::Regex(regex.clone()));
            }
            (Subscription::Topics(topics), GroupProtocol::Classic) => {
                self.member.on_subscription(now, Topics::Named(topics.clone()));
                self.refresh_at = Some(now + self.client.config().metadata_max_age);
            }
            // What matches is not known before the topics are.
            (Subscription::Matching(_), _) => self.refresh_at = Some(now),
        }
        self.subscription = Some(subscription);
    }

    fn on_event(&mut self, event: Event) {
        let now = self.client.now();
        match event {
            Event::Answered(id, answer) => {
                self.calls.0.remove(&id);
                self.member.on_answer(now, id, answer);
            }
            Event::Refreshed(_) if self.refresh_again => {
                self.refreshing = false;
                self.refresh_again = false;
                self.refresh();
            }
            Event::Refreshed(Ok(view)) => {
                self.refreshing = false;
                self.on_view(now, &view);
                self.refresh_at = Some(now + self.until_refresh(&view));
            }
            Event::Refreshed(Err(error)) => {
                tracing::debug!(group = %self.config.group_id, %error, "refresh metadata");
                self.refreshing = false;
                self.refresh_failures = self.refresh_failures.saturating_add(1);
                self.refresh_at = Some(now + self.client.retry_pause(self.refresh_failures));
            }
            Event::Resolved => {
                self.resolving = false;
                let view = self.client.view();
                let names = view.topics.values().map(|topic| (topic.id, topic.name.clone()));
                self.member.on_names(now, names.collect());
            }
        }
    }

    /// Topics that may appear any moment are asked for soon again, all others once in a while
    /// (`Metadata.handleMetadataResponse`).
    fn until_refresh(&mut self, view: &View) -> Duration {
        let named = match &self.subscription {
            Some(Subscription::Topics(topics)) => Some(topics),
            _ => None,
        };
        let is_awaited = |topic: &StrBytes| {
            view.topics.get(topic).is_none_or(|topic| topic.error.is_retriable())
        };
        if !named.into_iter().flatten().chain(&self.counted).any(is_awaited) {
            self.refresh_failures = 0;
            return self.client.config().metadata_max_age;
        }
        self.refresh_failures = self.refresh_failures.saturating_add(1);
        self.client.retry_pause(self.refresh_failures)
    }

    fn on_view(&mut self, now: Instant, view: &View) {
        if let Some(Subscription::Matching(pattern)) = &self.subscription {
            let usable = view.topics.values().filter(|t| !t.internal && !t.partitions.is_empty());
            let names = usable.map(|topic| topic.name.clone());
            let matching = names.filter(|name| pattern.matches(name)).collect();
            self.member.on_subscription(now, Topics::Named(matching));
        }
        let usable = view.topics.values().filter(|topic| topic.error == ErrorCode::None);
        let counts = usable.map(|topic| (topic.name.clone(), topic.partitions.len() as i32));
        self.member.on_counts(now, &counts.collect());
    }

    /// Carries out what the member wants, then shows where it stands.
    fn act(&mut self) {
        loop {
            let actions = self.member.take_actions();
            // Notices come after the membership that they belong to, for whoever commits on them.
            self.shared.publish(self.member.membership());
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Send(id, call) => self.call(id, call),
                    Action::Count(topics) => {
                        self.counted = topics;
                        self.refresh();
                    }
                    Action::Resolve(ids) => self.resolve(ids),
                    Action::ForgetCoordinator => self.coordinator.forget(),
                    Action::Tell(notice) => self.shared.tell(notice),
                    Action::Done => self.on_left(),
                }
            }
        }
    }

    fn call(&mut self, id: CallId, call: Call) {
        if matches!(call, Call::Leave(_)) {
            // A join may wait at the broker, and what is behind it on the connection too.
            self.coordinator.reconnect();
        }
        let coordinator = self.coordinator.clone();
        let report = self.report.clone();
        let (request_timeout, rebalance) =
            (self.client.config().request_timeout, self.config.poll_interval_max);
        let task = runtime::spawn(self.client.runtime(), "group call", async move {
            let options = match call {
                Call::Join(_) | Call::Sync(_) => patient(request_timeout, rebalance),
                _ => SendOptions::within(request_timeout),
            };
            let answer = ask(&coordinator, call, options).await;
            // Nobody listens when the member is gone.
            let _ = report.send(Event::Answered(id, answer)).await;
        });
        self.calls.0.insert(id, task);
    }

    fn refresh(&mut self) {
        if self.refreshing {
            self.refresh_again = true;
            return;
        }
        let topics = match &self.subscription {
            Some(Subscription::Matching(_)) => TopicSet::All,
            Some(Subscription::Topics(topics)) => {
                TopicSet::Named(topics.union(&self.counted).cloned().collect())
            }
            Some(Subscription::Regex(_)) | None => {
                self.refresh_at = None;
                return;
            }
        };
        self.refreshing = true;
        let (client, report) = (self.client.clone(), self.report.clone());
        runtime::spawn(self.client.runtime(), "group metadata", async move {
            let refreshed = client.refresh(topics, false).await;
            let _ = report.send(Event::Refreshed(refreshed)).await;
        });
    }

    fn resolve(&mut self, ids: BTreeSet<TopicId>) {
        if self.resolving {
            return;
        }
        self.resolving = true;
        let (client, report) = (self.client.clone(), self.report.clone());
        runtime::spawn(self.client.runtime(), "group topic names", async move {
            let view = client.view();
            let unknown: Vec<TopicId> =
                ids.into_iter().filter(|id| view.name_of(*id).is_none()).collect();
            if !unknown.is_empty()
                && let Err(error) = client.refresh(TopicSet::Ids(unknown), false).await
            {
                // The next heartbeat's answer asks again.
                tracing::debug!(%error, "resolve topic ids");
            }
            let _ = report.send(Event::Resolved).await;
        });
    }
}

/// Sends one request; an answer that moves the group elsewhere is remembered.
async fn ask(coordinator: &CoordinatorLink, call: Call, options: SendOptions) -> Answer {
    macro_rules! send {
        ($kind:ident, $build:expr) => {{
            let answer = coordinator.call($build, options).await;
            if let Ok(response) = &answer {
                coordinator.note(ErrorCode::from_code(response.error_code));
            }
            Answer::$kind(answer)
        }};
    }
    match call {
        Call::Join(request) => send!(Join, move |_| request),
        Call::Sync(request) => send!(Sync, move |_| request),
        Call::Heartbeat(request) => send!(Heartbeat, move |_| request),
        Call::ConsumerHeartbeat(request) => send!(ConsumerHeartbeat, move |_| request),
        Call::Leave(request) => {
            let left = coordinator.call(move |version| leave_in(request, version), options).await;
            if let Err(error) = left {
                tracing::debug!(%error, "leave the group");
            }
            Answer::Leave
        }
    }
}

/// Before version 3 a request named one member.
pub(crate) fn leave_in(request: LeaveGroupRequest, version: i16) -> LeaveGroupRequest {
    match (version, request.members.first()) {
        (..3, Some(member)) => {
            let member_id = member.member_id.clone();
            LeaveGroupRequest { member_id, members: Vec::new(), ..request }
        }
        _ => request,
    }
}
