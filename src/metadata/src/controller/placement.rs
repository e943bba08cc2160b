//! Which brokers keep the replicas of new partitions.
//!
//! In: the live brokers with their racks, how many partitions, how many replicas each, a random number.
//! Out: replicas per partition, the preferred leader first.
//!
//! Leaders go round through all brokers; followers follow them, on racks that the partition does not use
//! yet as long as there are any, and each round begins its followers one further on, so that the
//! partitions of one leader do not all share their followers. (What Kafka's `StripedReplicaPlacer` is for.)

use model::BrokerId;

use crate::image::Image;

/// Places `count` partitions of `factor` replicas, for a topic that has `first` partitions already.
///
/// `None` when there are fewer live brokers than replicas.
pub(super) fn place(
    image: &Image,
    first: usize,
    count: usize,
    factor: usize,
    random: u64,
) -> Option<Vec<Vec<BrokerId>>> {
    let brokers = striped_by_rack(image);
    if factor == 0 || factor > brokers.len() {
        return None;
    }
    let start = (random % brokers.len() as u64) as usize;
    let partitions = first..first + count;
    Some(partitions.map(|partition| replicas(&brokers, start, partition, factor)).collect())
}

/// A live broker and where it stands.
type Place<'a> = (BrokerId, Option<&'a str>);

/// The live brokers, one of each rack in turn.
fn striped_by_rack(image: &Image) -> Vec<Place<'_>> {
    let mut places: Vec<(usize, Option<&str>, BrokerId)> = Vec::new();
    for broker in image.live_brokers() {
        let rack = broker.rack.as_deref();
        let turn = places.iter().filter(|(_, other, _)| *other == rack).count();
        places.push((turn, rack, broker.id));
    }
    places.sort_unstable();
    places.into_iter().map(|(_, rack, id)| (id, rack)).collect()
}

fn replicas(brokers: &[Place<'_>], start: usize, partition: usize, factor: usize) -> Vec<BrokerId> {
    let total = brokers.len();
    let leader = (start + partition) % total;
    let round = partition / total;
    let mut chosen: Vec<Place<'_>> = vec![brokers[leader]];
    while chosen.len() < factor {
        // The others in the order of this round, from the one behind the leader on.
        let others = (0..total - 1).map(|at| (leader + 1 + (at + round) % (total - 1)) % total);
        let next = others
            .map(|at| brokers[at])
            .filter(|place| !chosen.contains(place))
            .min_by_key(|(_, rack)| chosen.iter().filter(|(_, used)| used == rack).count())
            .expect("there are at least as many brokers as replicas");
        chosen.push(next);
    }
    chosen.into_iter().map(|(id, _)| id).collect()
}
