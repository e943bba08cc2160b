//! Something changes under a group: its topic grows, a static member restarts.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::group::{Event, Group, Kind, Options, Protocol};

/// New partitions get owners, and are read from their first record, without a restart. The members,
/// one of which had more than the others, have as many each then.
pub(super) fn partitions_added(group: &mut Group<'_>, kind: &'static Kind) -> Result<()> {
    group.gather(kind, 3, &Options::default())?;
    group.produce(5)?;
    group.wait_read()?;
    group.add_partitions(6)?;
    group.settle()?;
    group.produce(5)?;
    group.wait_read()?;
    group.wait_all_committed()?;
    group.was_read_once()?;
    group.disperse()
}

/// A member with an instance id restarts within its session: it gets the partitions back that it
/// had, and the others notice nothing (KIP-345).
///
/// It is killed where the newcomer fences the old one. With the consumer protocol the newcomer is
/// refused as long as the old one is there, so that one is stopped, and does not leave by that.
pub(super) fn static_member(group: &mut Group<'_>, kind: &'static Kind) -> Result<()> {
    // A virtual machine on busy cores may take longer to start than sessions are elsewhere.
    let session_timeout = Duration::from_secs(30);
    group.set_session_timeout(session_timeout)?;
    let instance = |name: &str| {
        let instance = Some(format!("instance-{name}"));
        Options { instance, session_timeout, ..Options::default() }
    };
    let others = [group.join(kind, &instance("a"))?, group.join(kind, &instance("b"))?];
    let old = group.join(kind, &instance("c"))?;
    group.settle()?;
    group.produce(5)?;
    group.wait_read()?;
    group.wait_all_committed()?;
    let had = group.owned(old).clone();
    let told = others.map(|index| group.told(index));
    let rebalances = group.rebalances()?;
    match kind.protocol {
        Protocol::Classic => group.kill(old)?,
        Protocol::Consumer => group.leave(old).map(drop)?,
    }
    let new = group.join(kind, &instance("c"))?;
    group.settle()?;
    ensure!(*group.owned(new) == had, "has {:?}, had {had:?}", group.owned(new));
    group.produce(5)?;
    group.wait_read()?;
    group.wait_all_committed()?;
    group.was_read_once()?;
    // An assignment that comes out as it was moves nothing, so look also at what counts them.
    let now = group.rebalances()?;
    ensure!(now == rebalances, "{now}; before the restart: {rebalances}");
    for (index, told) in others.into_iter().zip(told) {
        let moved = group.history(index).skip(told).find(|event| match event {
            Event::Assigned(moved) | Event::Revoked(moved) | Event::Lost(moved) => {
                !moved.is_empty()
            }
            _ => false,
        });
        ensure!(moved.is_none(), "member {index} was disturbed: {moved:?}");
    }
    for index in group.here() {
        group.kill(index)?;
    }
    Ok(())
}
