//! Work that grows with what a member says, and no faster.

use std::time::Duration;

use bytes::Bytes;
use protocol::StrBytes;

use crate::classic::{ClassicGroup, ClassicMember, ClassicState, MemberProtocol};

const NAME_COUNT: usize = 20_000;

/// With as many names, searching lists takes more than ten times as long, making tables a tenth of it.
const TIME_MAX: Duration = Duration::from_secs(3);

fn member(names: impl Iterator<Item = String>) -> ClassicMember {
    let protocols =
        names.map(|name| MemberProtocol { name: StrBytes::from(name), metadata: Bytes::new() });
    ClassicMember {
        instance_id: None,
        client_id: StrBytes::new(),
        client_host: StrBytes::new(),
        rebalance_timeout: Duration::ZERO,
        session_timeout: Duration::ZERO,
        protocols: protocols.collect(),
        assignment: Bytes::new(),
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
    }
}

/// Nobody else is there who could tell how much work it was.
#[allow(clippy::disallowed_methods, clippy::disallowed_types)]
fn is_quick(work: impl FnOnce()) -> bool {
    let begun = std::time::Instant::now();
    work();
    begun.elapsed() < TIME_MAX
}

#[test]
fn many_protocols_do_not_hold_up_the_shard() {
    let names = || (0..NAME_COUNT).map(|number| format!("protocol-{number}"));
    let consumer = StrBytes::from_static("consumer");
    let mut group = ClassicGroup::new(None);
    group.add(StrBytes::from_static("a"), member(names()), &consumer);
    group.add(StrBytes::from_static("b"), member(names().rev()), &consumer);
    group.state = ClassicState::PreparingRebalance;
    let others: Vec<StrBytes> =
        (0..NAME_COUNT).map(|number| StrBytes::from(format!("other-{number}"))).collect();
    assert!(is_quick(|| {
        assert_eq!(group.select_protocol().as_deref(), Some("protocol-0"));
        assert!(!group.supports("consumer", others.iter()));
    }));
}

#[test]
fn a_name_that_a_member_has_twice_counts_once() {
    let names = |names: &[&str]| member(names.iter().map(|&name| name.to_owned()));
    let consumer = StrBytes::from_static("consumer");
    let mut group = ClassicGroup::new(None);
    group.add(StrBytes::from_static("a"), names(&["p", "q", "p"]), &consumer);
    group.add(StrBytes::from_static("b"), names(&["q", "q", "r"]), &consumer);
    group.add(StrBytes::from_static("c"), names(&["r", "q", "p"]), &consumer);
    assert_eq!(group.select_protocol().as_deref(), Some("q"));
}
