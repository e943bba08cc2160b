//! Randomness: one reproducible stream per concern, so that a choice added in one place does not
//! change the choices made in another.

/// What a [`RandomStream`] can do.
pub use rand_core::Rng;
pub use rand_xoshiro::Xoshiro256PlusPlus as RandomStream;
use rand_xoshiro::rand_core::SeedableRng;

/// Where streams come from: the operating system's entropy in production, the seed in a simulation.
pub trait Random: Send + Sync + 'static {
    /// The stream of `concern` (a fixed name such as `"topic-id"`) and `key` (which of many).
    ///
    /// Different arguments give unrelated streams. Equal arguments give equal streams in a
    /// simulation and unrelated ones in production: take a stream once and keep it.
    fn stream(&self, concern: &str, key: u64) -> RandomStream;
}

/// The stream that belongs to `(seed, concern, key)`; the same on every machine.
pub fn split_seed(seed: u64, concern: &str, key: u64) -> RandomStream {
    // FNV-1a over the parts: no need to resist attack, only to give distinct concerns distinct
    // streams; the generator's own seeding spreads the bits.
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let parts = seed.to_le_bytes().into_iter().chain(concern.bytes()).chain(key.to_le_bytes());
    for byte in parts {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    RandomStream::seed_from_u64(hash)
}
