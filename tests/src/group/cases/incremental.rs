//! Rebalances that let members keep what they keep (KIP-429, KIP-848).

use anyhow::{Result, ensure};

use crate::group::{Event, Group, Kind, Options};

/// Who joins takes half of the partitions; the other half never stops.
pub(super) fn incremental(group: &mut Group<'_>, kind: &'static Kind) -> Result<()> {
    let first = group.join(kind, &Options::default())?;
    group.settle()?;
    group.produce(5)?;
    group.wait_read()?;
    group.wait_all_committed()?;
    let told = group.told(first);
    group.join(kind, &Options::default())?;
    group.settle()?;
    let kept = group.owned(first).clone();
    for event in group.history(first).skip(told) {
        if let Event::Revoked(partitions) | Event::Lost(partitions) = event {
            let stopped = partitions.iter().find(|partition| kept.contains(partition));
            ensure!(stopped.is_none(), "{kept:?} were kept, but {event:?}");
        }
    }
    group.produce(5)?;
    group.wait_read()?;
    group.wait_all_committed()?;
    group.was_read_once()?;
    group.disperse()
}
