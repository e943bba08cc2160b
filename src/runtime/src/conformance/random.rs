//! Streams of randomness are distinct and spread.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::checks;
use crate::{RandomStream, Rng, Runtime, split_seed};

checks!(random_streams_are_distinct, random_streams_are_spread, split_seed_repeats);

fn first(mut stream: RandomStream) -> u64 {
    stream.next_u64()
}

async fn random_streams_are_distinct(runtime: Runtime, _: PathBuf) {
    let mut seen = BTreeSet::new();
    for concern in ["", "a", "b", "ab", "topic-id", "backoff"] {
        for key in [0, 1, 2, 256, u64::MAX] {
            let number = first(runtime.random.stream(concern, key));
            assert!(seen.insert(number), "{concern:?} {key} gives another stream's numbers");
        }
    }
}

async fn random_streams_are_spread(runtime: Runtime, _: PathBuf) {
    let mut stream = runtime.random.stream("spread", 0);
    let mut bytes = [0; 4096];
    stream.fill_bytes(&mut bytes);
    let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
    // Half of 32,768 bits, give or take 22 standard deviations.
    assert!((14_384..18_384).contains(&ones), "{ones} of 32768 bits are set");
}

async fn split_seed_repeats(_: Runtime, _: PathBuf) {
    let numbers = |seed, concern, key| {
        let mut stream = split_seed(seed, concern, key);
        [stream.next_u64(), stream.next_u64()]
    };
    assert_eq!(numbers(7, "net", 3), numbers(7, "net", 3));
    assert_ne!(numbers(7, "net", 3), numbers(8, "net", 3));
    assert_ne!(numbers(7, "net", 3), numbers(7, "net", 4));
    assert_ne!(numbers(7, "net", 3), numbers(7, "disk", 3));
    // Fixed for ever: a seed that someone wrote down must replay on every machine.
    assert_eq!(numbers(7, "net", 3), [11_979_584_602_985_528_275, 2_266_018_850_230_563_350]);
}
