//! Several members around a model of a coordinator, with any order of answers, releases, deaths and
//! newcomers: nothing belongs to two members that both count, and a group left alone settles.
//!
//! The coordinator keeps to `GroupMetadataManager`'s rules as far as members can tell.

use proptest::prelude::*;

use super::*;

pub(super) const PARTITIONS: i32 = 7;

/// A member of the model group and what its application has.
pub(super) struct Peer {
    pub(super) script: Script,
    pub(super) has: BTreeSet<TopicPartition>,
    /// Notices that take something away and are not answered.
    open: Vec<BTreeSet<TopicPartition>>,
    /// Requests that are not answered, oldest first.
    pub(super) waiting: Vec<(CallId, Call)>,
}

impl Peer {
    pub(super) fn new(config: GroupConfig) -> Peer {
        Peer::with_random(config, 0)
    }

    pub(super) fn with_random(config: GroupConfig, key: u64) -> Peer {
        let mut peer = Peer {
            script: Script::with_random(config, key),
            has: BTreeSet::new(),
            open: Vec::new(),
            waiting: Vec::new(),
        };
        peer.script.member.on_subscription(peer.script.now, Topics::Named(["t".into()].into()));
        peer.settle();
        peer
    }

    /// Carries out what the member wants.
    fn settle(&mut self) {
        loop {
            let actions = self.script.member.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Send(id, call) => self.waiting.push((id, call)),
                    Action::Count(_) => {
                        let counts = BTreeMap::from([("t".into(), PARTITIONS)]);
                        self.script.member.on_counts(self.script.now, &counts);
                    }
                    Action::Tell(Notice::Assign(change)) => self.has.extend(change.partitions),
                    Action::Tell(Notice::Revoke(change) | Notice::Lose(change)) => {
                        self.open.push(change.partitions);
                    }
                    Action::Tell(Notice::Failed(error)) => panic!("{error}"),
                    Action::Resolve(_) => {
                        let names = BTreeMap::from([(TOPIC, "t".into())]);
                        self.script.member.on_names(self.script.now, names);
                    }
                    Action::ForgetCoordinator | Action::Done => {}
                }
            }
        }
    }

    pub(super) fn release(&mut self) {
        if !self.open.is_empty() {
            let gone = self.open.remove(0);
            self.has.retain(|at| !gone.contains(at));
            self.script.polled = self.script.now;
            self.script.member.on_released(self.script.now);
            self.settle();
        }
    }

    pub(super) fn answer(&mut self, id: CallId, answer: Answer) {
        self.script.member.on_answer(self.script.now, id, answer);
        self.settle();
    }

    pub(super) fn tick(&mut self) {
        self.script.polled = self.script.now;
        if let Some(wake) = self.script.member.next_wake(Some(self.script.polled)) {
            self.script.now = self.script.now.max(wake);
            self.script.polled = self.script.now;
            self.script.member.on_tick(self.script.now, Some(self.script.polled));
            self.settle();
        }
    }
}

/// A classic group as its coordinator keeps it.
#[derive(Default)]
struct Coordinator {
    generation: i32,
    members: BTreeSet<StrBytes>,
    /// Those that join, and have not been answered: by member id the peer and its call.
    joining: BTreeMap<StrBytes, (usize, CallId, Call)>,
    syncing: BTreeMap<StrBytes, (usize, CallId)>,
    shares: Option<BTreeMap<StrBytes, Bytes>>,
    rebalancing: bool,
    /// Ids that were given out and not joined with yet.
    pending: BTreeSet<StrBytes>,
    next_id: u32,
}

impl Coordinator {
    /// Takes one request of `peer`, and answers whom it can.
    fn serve(&mut self, place: usize, peers: &mut [Peer]) {
        let (id, call) = peers[place].waiting.remove(0);
        match &call {
            Call::Join(request) if request.member_id.is_empty() => {
                self.next_id += 1;
                let name = format!("m{}", self.next_id);
                self.pending.insert(name.as_str().into());
                peers[place].answer(id, join_error(ErrorCode::MemberIdRequired, &name));
            }
            Call::Join(request)
                if !self.pending.remove(&request.member_id)
                    && !self.members.contains(&request.member_id) =>
            {
                peers[place].answer(id, join_error(ErrorCode::UnknownMemberId, ""));
            }
            Call::Join(request) => {
                self.members.insert(request.member_id.clone());
                self.joining.insert(request.member_id.clone(), (place, id, call.clone()));
                self.rebalance(peers);
            }
            Call::Sync(request) => self.sync(place, id, request.clone(), peers),
            Call::Heartbeat(request) => {
                let code = match () {
                    () if !self.members.contains(&request.member_id) => ErrorCode::UnknownMemberId,
                    () if request.generation_id != self.generation => ErrorCode::IllegalGeneration,
                    () if self.rebalancing => ErrorCode::RebalanceInProgress,
                    () => ErrorCode::None,
                };
                peers[place].answer(id, beat(code));
            }
            Call::Leave(_) | Call::ConsumerHeartbeat(_) => unreachable!("{call:?}"),
        }
    }

    fn rebalance(&mut self, peers: &mut [Peer]) {
        self.rebalancing = true;
        for (place, id) in std::mem::take(&mut self.syncing).into_values() {
            peers[place].answer(id, sync_error(ErrorCode::RebalanceInProgress));
        }
        self.complete(peers);
    }

    /// All have joined: the next generation begins.
    fn complete(&mut self, peers: &mut [Peer]) {
        let all_joined = self.members.iter().all(|member| self.joining.contains_key(member));
        if !self.rebalancing || self.members.is_empty() || !all_joined {
            return;
        }
        self.generation += 1;
        self.rebalancing = false;
        self.shares = None;
        let joining = std::mem::take(&mut self.joining);
        let leader = joining.keys().next().expect("a member").clone();
        let calls: Vec<&Call> = joining.values().map(|(_, _, call)| call).collect();
        for (member, (place, id, call)) in &joining {
            let mut members = vec![call];
            members.extend(calls.iter().filter(|other| !std::ptr::eq(**other, call)));
            let answer = joined(self.generation, &leader, &members);
            assert!(self.members.contains(member));
            peers[*place].answer(*id, answer);
        }
    }

    fn sync(
        &mut self,
        place: usize,
        id: CallId,
        request: protocol::messages::SyncGroupRequest,
        peers: &mut [Peer],
    ) {
        let code = match () {
            () if !self.members.contains(&request.member_id) => ErrorCode::UnknownMemberId,
            () if request.generation_id != self.generation => ErrorCode::IllegalGeneration,
            () if self.rebalancing => ErrorCode::RebalanceInProgress,
            () => ErrorCode::None,
        };
        if code.is_error() {
            return peers[place].answer(id, sync_error(code));
        }
        if !request.assignments.is_empty() {
            let share = |a: &protocol::messages::sync_group_request::SyncGroupRequestAssignment| {
                (a.member_id.clone(), a.assignment.clone())
            };
            self.shares = Some(request.assignments.iter().map(share).collect());
        }
        self.syncing.insert(request.member_id, (place, id));
        let Some(shares) = &self.shares else { return };
        for (member, (place, id)) in std::mem::take(&mut self.syncing) {
            let assignment = shares.get(&member).cloned().unwrap_or_default();
            let response = SyncGroupResponse { assignment, ..Default::default() };
            peers[place].answer(id, Answer::Sync(Ok(response)));
        }
    }

    /// The session of a member ends, whether or not it lives.
    fn expel(&mut self, member: &StrBytes, peers: &mut [Peer]) {
        if !self.members.remove(member) {
            return;
        }
        if let Some((place, id, _)) = self.joining.remove(member) {
            peers[place].answer(id, join_error(ErrorCode::UnknownMemberId, ""));
        }
        if let Some((place, id)) = self.syncing.remove(member) {
            peers[place].answer(id, sync_error(ErrorCode::UnknownMemberId));
        }
        self.rebalance(peers);
    }
}

/// No two members that the coordinator counts in have the same partition.
pub(super) fn assert_apart(peers: &[Peer], members: &BTreeSet<StrBytes>) {
    let mut seen = BTreeSet::new();
    for peer in peers {
        let membership = peer.script.member.membership();
        let counts =
            members.contains(&membership.member_id) && membership.epoch != MemberEpoch::NONE;
        for at in peer.has.iter().filter(|_| counts) {
            assert!(seen.insert(at.clone()), "{at} belongs to two");
        }
    }
}

fn play(assignor: Assignor, steps: &[(u8, prop::sample::Index)]) {
    let settings = || config(GroupProtocol::Classic, &[assignor]);
    let mut coordinator = Coordinator::default();
    let mut peers = vec![Peer::new(settings()), Peer::new(settings())];
    for (step, which) in steps {
        let place = which.index(peers.len());
        match step {
            0..=4 if !peers[place].waiting.is_empty() => coordinator.serve(place, &mut peers),
            5..=6 => peers[place].release(),
            7..=8 => peers[place].tick(),
            9 if peers.len() < 4 => peers.push(Peer::new(settings())),
            10 => {
                let member = peers[place].script.member.membership().member_id;
                coordinator.expel(&member, &mut peers);
            }
            _ => {}
        }
        // A generation with a leader that was expelled meanwhile is not whole; it never is shared.
        assert_apart(&peers, &coordinator.members);
    }
    for _ in 0..60 {
        for place in 0..peers.len() {
            peers[place].tick();
            peers[place].release();
            while !peers[place].waiting.is_empty() {
                coordinator.serve(place, &mut peers);
            }
        }
        // Ids that nobody came back with, as `MEMBER_ID_REQUIRED` leaves them, are not members.
        let known: BTreeSet<StrBytes> =
            peers.iter().map(|peer| peer.script.member.membership().member_id).collect();
        let gone: Vec<StrBytes> = coordinator.members.difference(&known).cloned().collect();
        gone.iter().for_each(|member| coordinator.expel(member, &mut peers));
    }
    let total: usize = peers.iter().map(|peer| peer.has.len()).sum();
    let states: Vec<_> = peers.iter().map(|peer| peer.script.member.membership()).collect();
    assert_eq!(total, PARTITIONS as usize, "{states:?}");
    assert!(states.iter().all(|membership| membership.state == MemberState::Stable), "{states:?}");
    assert_apart(&peers, &coordinator.members);
}

proptest! {
    #[test]
    fn classic_groups_share_and_settle(
        steps in prop::collection::vec((0..11u8, any::<prop::sample::Index>()), 0..120),
    ) {
        for assignor in Assignor::ALL {
            play(assignor, &steps);
        }
    }
}
