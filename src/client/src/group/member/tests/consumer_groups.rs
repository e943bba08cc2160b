//! The same for the consumer protocol: members around a model of the coordinator's reconciliation
//! (`CurrentAssignmentBuilder`), with answers that get lost, late releases, expulsions, newcomers.

use proptest::prelude::*;

use super::groups::{PARTITIONS, Peer, assert_apart};
use super::*;

/// A member as the coordinator keeps it.
#[derive(Debug, Default)]
struct Kept {
    epoch: i32,
    previous_epoch: i32,
    /// What it may have.
    assigned: BTreeSet<i32>,
    /// What it was told to give up and has not yet said that it did.
    revoking: BTreeSet<i32>,
}

#[derive(Default)]
struct Coordinator {
    epoch: i32,
    members: BTreeMap<StrBytes, Kept>,
}

impl Coordinator {
    /// Partition by partition, member by member.
    fn target(&self, member: &StrBytes) -> BTreeSet<i32> {
        let count = self.members.len();
        let place = self.members.keys().position(|id| id == member).expect("a member");
        (0..PARTITIONS).filter(|index| *index as usize % count == place).collect()
    }

    /// Takes the oldest heartbeat of `peer`; with `is_lost` the answer does not arrive.
    fn serve(&mut self, peer: &mut Peer, is_lost: bool) {
        let (id, call) = peer.waiting.remove(0);
        let Call::ConsumerHeartbeat(request) = call else { panic!("{call:?}") };
        let answer = match self.heartbeat(&request) {
            Ok((epoch, assigned)) => {
                let assigned: Vec<i32> = assigned.into_iter().collect();
                heartbeat_answer(epoch, Some(&assigned))
            }
            Err(code) => heartbeat_error(code),
        };
        let lost = || Answer::ConsumerHeartbeat(Err(no_answer()));
        peer.answer(id, if is_lost { lost() } else { answer });
    }

    fn heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(i32, BTreeSet<i32>), ErrorCode> {
        let owned: Option<BTreeSet<i32>> = request.topic_partitions.as_ref().map(|topics| {
            topics.iter().flat_map(|topic| topic.partitions.iter().copied()).collect()
        });
        let member = request.member_id.clone();
        if request.member_epoch == 0 {
            assert_eq!(owned, Some(BTreeSet::new()), "whoever joins has nothing");
            assert!(request.subscribed_topic_names.is_some() && request.rebalance_timeout_ms > 0);
            self.members.insert(member.clone(), Kept::default());
            self.epoch += 1;
        } else {
            let kept = self.members.get(&member).ok_or(ErrorCode::UnknownMemberId)?;
            // An answer that got lost is asked for again in the epoch before.
            let is_late = request.member_epoch == kept.previous_epoch
                && owned.as_ref().is_some_and(|owned| owned.is_subset(&kept.assigned));
            if request.member_epoch != kept.epoch && !is_late {
                return Err(ErrorCode::FencedMemberEpoch);
            }
        }
        Ok(self.reconcile(&member, owned))
    }

    fn reconcile(
        &mut self,
        member: &StrBytes,
        owned: Option<BTreeSet<i32>>,
    ) -> (i32, BTreeSet<i32>) {
        let (target, epoch) = (self.target(member), self.epoch);
        let others = self.members.iter().filter(|(id, _)| *id != member);
        let taken: BTreeSet<i32> =
            others.flat_map(|(_, kept)| kept.assigned.union(&kept.revoking).copied()).collect();
        let kept = self.members.get_mut(member).expect("a member");
        let let_go = |revoking: &mut BTreeSet<i32>| {
            if owned.as_ref().is_some_and(|owned| owned.is_disjoint(revoking)) {
                revoking.clear();
            }
        };
        let_go(&mut kept.revoking);
        if kept.revoking.is_empty() {
            kept.revoking = kept.assigned.difference(&target).copied().collect();
            kept.assigned.retain(|index| target.contains(index));
            // What it was given in an answer that it never got, it does not have to give up.
            let_go(&mut kept.revoking);
        }
        if kept.revoking.is_empty() {
            kept.assigned.extend(target.difference(&taken));
            if kept.epoch != epoch {
                kept.previous_epoch = std::mem::replace(&mut kept.epoch, epoch);
            }
        }
        (kept.epoch.max(1), kept.assigned.clone())
    }

    fn expel(&mut self, member: &StrBytes) {
        if self.members.remove(member).is_some() {
            self.epoch += 1;
        }
    }

    fn ids(&self) -> BTreeSet<StrBytes> {
        self.members.keys().cloned().collect()
    }
}

fn newcomer(number: usize) -> Peer {
    Peer::with_random(config(GroupProtocol::Consumer, &[]), number as u64)
}

proptest! {
    #[test]
    fn consumer_groups_share_and_settle(
        steps in prop::collection::vec((0..12u8, any::<prop::sample::Index>()), 0..120),
    ) {
        let mut coordinator = Coordinator::default();
        let mut peers = vec![newcomer(0), newcomer(1)];
        for (step, which) in &steps {
            let place = which.index(peers.len());
            match step {
                0..=4 if !peers[place].waiting.is_empty() => {
                    coordinator.serve(&mut peers[place], *step == 4);
                }
                5..=6 => peers[place].release(),
                7..=8 => peers[place].tick(),
                9 if peers.len() < 4 => peers.push(newcomer(peers.len())),
                10 => coordinator.expel(&peers[place].script.member.membership().member_id),
                _ => {}
            }
            assert_apart(&peers, &coordinator.ids());
        }
        for _ in 0..40 {
            for peer in &mut peers {
                peer.tick();
                peer.release();
                while !peer.waiting.is_empty() {
                    coordinator.serve(peer, false);
                }
            }
            assert_apart(&peers, &coordinator.ids());
        }
        let total: usize = peers.iter().map(|peer| peer.has.len()).sum();
        let story: Vec<_> = peers.iter().map(|peer| (peer.script.member.membership(), &peer.has)).collect();
        prop_assert_eq!(total, PARTITIONS as usize, "{:?} {:?}", story, coordinator.members);
        for peer in &peers {
            let membership = peer.script.member.membership();
            prop_assert_eq!(membership.state, MemberState::Stable);
            prop_assert_eq!(membership.epoch, MemberEpoch(coordinator.epoch));
        }
    }
}
