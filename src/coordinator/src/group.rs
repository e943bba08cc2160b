//! A group of any type.

use crate::classic::ClassicGroup;
use crate::consumer::ConsumerGroup;

/// One group.
#[derive(Debug)]
pub(crate) enum Group {
    /// Its members agree among themselves who reads what.
    Classic(ClassicGroup),
    /// The coordinator says who reads what (KIP-848).
    Consumer(ConsumerGroup),
}
