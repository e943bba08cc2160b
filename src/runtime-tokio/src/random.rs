//! Randomness from the operating system's entropy.

use rand_core::SeedableRng;
use runtime::{Random, RandomStream};
use rustix::rand::{GetRandomFlags, getrandom};

/// Every stream starts from 32 fresh bytes of entropy.
pub(crate) struct OsRandom;

impl Random for OsRandom {
    fn stream(&self, _concern: &str, _key: u64) -> RandomStream {
        let mut seed = [0; 32];
        let mut filled = 0;
        while filled < seed.len() {
            match getrandom(&mut seed[filled..], GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                // Linux has the call since 3.17, and it fails for no other reason than the above.
                Err(error) => panic!("the operating system gives no entropy: {error}"),
            }
        }
        RandomStream::from_seed(seed)
    }
}
