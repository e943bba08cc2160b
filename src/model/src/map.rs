//! Hash tables whose order is the same in every run.
//!
//! `std`'s tables draw a random seed per process, which would make simulated runs differ. Use
//! [`std::collections::BTreeMap`] where order shows outside, these where only look-ups matter.

// Why the ban of `std`'s tables does not hold here: the hasher below has no random state.
#![allow(clippy::disallowed_types)]

use std::collections::{HashMap, HashSet};

/// The hasher of [`FastMap`], for tables of other crates.
pub use rustc_hash::FxBuildHasher as FastHasher;

/// A hash map without random state.
pub type FastMap<K, V> = HashMap<K, V, FastHasher>;

/// A hash set without random state.
pub type FastSet<K> = HashSet<K, FastHasher>;
