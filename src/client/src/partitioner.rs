//! Which partition a record goes to.
//!
//! A key decides by murmur2, bit for bit as the Java client does it, so that all clients of a topic
//! agree. Records without a key stick to one random partition until a batch's worth of bytes went
//! there (KIP-794, `BuiltInPartitioner`): batches fill faster than with one partition per record.

use std::collections::BTreeMap;

use model::PartitionIndex;
use protocol::StrBytes;
use rand_core::Rng;
use runtime::RandomStream;

/// The partition of `key` in a topic of `partition_count` partitions (at least 1).
pub fn partition_for_key(key: &[u8], partition_count: usize) -> PartitionIndex {
    let positive = murmur2(key) & 0x7fff_ffff;
    PartitionIndex((positive as usize % partition_count) as i32)
}

/// MurmurHash2, 32 bits, with the seed of Kafka's `Utils.murmur2`.
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MIX: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MIX);
        k ^= k >> 24;
        hash = hash.wrapping_mul(MIX) ^ k.wrapping_mul(MIX);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, &byte) in rest.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * at);
        }
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

/// Keeps the partition that records without a key stick to, per topic.
#[derive(Debug)]
pub struct StickyPartitioner {
    random: RandomStream,
    switch_bytes: usize,
    topics: BTreeMap<StrBytes, Sticky>,
}

#[derive(Debug)]
struct Sticky {
    partition: PartitionIndex,
    bytes: usize,
}

impl StickyPartitioner {
    /// Switches a topic's partition after `switch_bytes` bytes (`batch.size`).
    pub fn new(random: RandomStream, switch_bytes: usize) -> StickyPartitioner {
        StickyPartitioner { random, switch_bytes, topics: BTreeMap::new() }
    }

    /// The partition of the next record without a key, which adds `size_bytes`.
    ///
    /// `available` are the partitions that have a leader now; when there are none, all
    /// `partition_count` of them are candidates.
    pub fn partition(
        &mut self,
        topic: &StrBytes,
        size_bytes: usize,
        available: &[PartitionIndex],
        partition_count: usize,
    ) -> PartitionIndex {
        if let Some(sticky) = self.topics.get_mut(topic) {
            let usable = available.is_empty() || available.binary_search(&sticky.partition).is_ok();
            let known = (sticky.partition.0 as usize) < partition_count;
            if sticky.bytes < self.switch_bytes && usable && known {
                sticky.bytes += size_bytes;
                return sticky.partition;
            }
        }
        let draw = self.random.next_u64();
        let partition = match available.len() as u64 {
            0 => PartitionIndex((draw % partition_count as u64) as i32),
            count => available[(draw % count) as usize],
        };
        self.topics.insert(topic.clone(), Sticky { partition, bytes: size_bytes });
        partition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_the_java_clients() {
        // What `org.apache.kafka.common.utils.Utils.murmur2` returns.
        for (text, hash) in [
            ("21", -973_932_308i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn keyless_records_stick_until_a_batch_is_full() {
        let mut sticky = StickyPartitioner::new(runtime::split_seed(3, "partitioner", 0), 100);
        let topic = StrBytes::from_static("t");
        let all: Vec<_> = (0..8).map(PartitionIndex).collect();
        let mut runs = Vec::new();
        for _ in 0..400 {
            let partition = sticky.partition(&topic, 10, &all, 8);
            match runs.last_mut() {
                Some((last, count)) if *last == partition => *count += 1,
                _ => runs.push((partition, 1)),
            }
        }
        assert!(runs.iter().all(|(_, count)| count % 10 == 0), "{runs:?}");
        let mut seen: Vec<_> = runs.iter().map(|(partition, _)| *partition).collect();
        seen.sort();
        seen.dedup();
        assert!(seen.len() >= 6, "40 draws of 8 reach most of them: {seen:?}");
    }

    #[test]
    fn keyless_records_avoid_partitions_without_a_leader() {
        let mut sticky = StickyPartitioner::new(runtime::split_seed(3, "partitioner", 0), 1);
        let topic = StrBytes::from_static("t");
        let available = [PartitionIndex(1), PartitionIndex(4)];
        for _ in 0..50 {
            let partition = sticky.partition(&topic, 10, &available, 8);
            assert!(available.contains(&partition));
        }
        assert!(sticky.partition(&topic, 10, &[], 3).0 < 3);
    }
}
