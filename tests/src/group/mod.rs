//! Consumer groups of foreign clients: members that are processes of their own, and the cases that
//! every client and protocol has to pass.
//!
//! In: a [`Kind`] of member (its program, protocol and assignor). Out: a list of cases.
//!
//! A member tells what happens to it (`clients/README.md`); a [`Group`] collects it and waits for
//! what has to come. Start at [`cases::cases`] for what there is, at [`Group::wait`] for how.

pub mod cases;
pub mod kinds;
mod member;
mod state;

use std::time::Duration;

use anyhow::Result;

pub use kinds::{Kind, Protocol};
pub use member::{Event, Member, Options};
pub use state::{Group, LIMIT};

use crate::suite::Case;

/// After this time without a heartbeat a member is out. The shortest that Kafka's defaults allow.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// How often members of the classic protocol send heartbeats.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(300);

/// Broker configs for tests of groups: nobody waits for members that may come, and members of the
/// consumer protocol, whose times the broker sets, have those of the classic one.
pub const BROKER_CONFIGS: &[(&str, &str)] = &[
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.consumer.min.session.timeout.ms", "6000"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.consumer.min.heartbeat.interval.ms", "300"),
    ("group.consumer.heartbeat.interval.ms", "300"),
];

/// All cases of groups for these kinds of members.
pub fn cases_of(kinds: &[&'static Kind]) -> Vec<Case> {
    kinds.iter().flat_map(|kind| cases::cases(kind)).collect()
}

/// What a case does with a group of one kind of members.
type Body = fn(&mut Group<'_>, &'static Kind) -> Result<()>;
