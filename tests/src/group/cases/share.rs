//! Members share the partitions, and take over from each other.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::group::{Group, Kind, Options, SESSION_TIMEOUT};

/// Three members: each partition has one owner, who reads it, once.
pub(super) fn shared(group: &mut Group<'_>, kind: &'static Kind) -> Result<()> {
    group.gather(kind, 3, &Options::default())?;
    group.produce(10)?;
    group.wait_read()?;
    group.wait_all_committed()?;
    group.was_read_once()?;
    for index in group.here() {
        for &partition in group.owned(index) {
            let readers = group.readers(partition, 0);
            ensure!(readers == [index], "{partition} is of {index} and was read by {readers:?}");
        }
    }
    group.disperse()
}

/// One of three is killed that had processed more than it committed: the others read again what it
/// had not committed, nothing else, and what comes later.
pub(super) fn killed(group: &mut Group<'_>, kind: &'static Kind) -> Result<()> {
    const COMMITTED: i64 = 4;
    const FIRST: i64 = 10;
    let victim =
        group.join(kind, &Options { commit_below: Some(COMMITTED), ..Options::default() })?;
    group.gather(kind, 2, &Options::default())?;
    group.produce(FIRST)?;
    group.wait_read()?;
    let of_victim = group.owned(victim).clone();
    let due = group.ends().iter().map(|(&partition, &end)| {
        (partition, if of_victim.contains(&partition) { COMMITTED } else { end })
    });
    let due: BTreeMap<i32, i64> = due.collect();
    group.wait_committed(&due)?;
    group.kill(victim)?;
    group.settle()?;
    group.produce(5)?;
    group.wait_read()?;
    group.wait_all_committed()?;
    for (&partition, &end) in group.ends() {
        if of_victim.contains(&partition) {
            group.was_read(partition, 0..COMMITTED, 1)?;
            group.was_read(partition, COMMITTED..FIRST, 2)?;
            group.was_read(partition, FIRST..end, 1)?;
        } else {
            group.was_read(partition, 0..end, 1)?;
        }
    }
    group.disperse()
}

/// A member that leaves in good order is not waited for.
pub(super) fn leaves(group: &mut Group<'_>, kind: &'static Kind) -> Result<()> {
    // The classic protocol lets the member choose, so a slow machine is no excuse there.
    let session_timeout = Duration::from_secs(60);
    group.gather(kind, 3, &Options { session_timeout, ..Options::default() })?;
    group.produce(5)?;
    group.wait_read()?;
    group.wait_all_committed()?;
    group.leave(1)?;
    let took = group.settle()?;
    ensure!(took < SESSION_TIMEOUT, "the others waited {took:?}");
    group.produce(5)?;
    group.wait_read()?;
    group.wait_all_committed()?;
    group.was_read_once()?;
    group.disperse()
}
