//! Groups whose members are of several libraries, or of both protocols.

use anyhow::Result;

use super::admin::is;
use super::{PARTITIONS, in_lab};
use crate::group::{Group, Kind, Options};
use crate::suite::{Case, Lab};

/// One classic group with a member of each of these kinds, whose assignors have one name. Each of
/// them is the group's leader once, and so divides the partitions among all that are left.
pub fn mixed(kinds: [&'static Kind; 3]) -> Case {
    let name = format!("mixed::{}", kinds.map(|kind| kind.name).join("_and_"));
    let topic = name.clone();
    let tools: Vec<_> = kinds.iter().flat_map(|kind| kind.client.tools).copied().collect();
    let body = move |lab: &Lab| {
        in_lab(lab, kinds[0], &lab.topic(&topic), PARTITIONS, |group| leaders(group, &kinds))
    };
    Case::new(name, body).with_tools(&tools)
}

fn leaders(group: &mut Group<'_>, kinds: &[&'static Kind]) -> Result<()> {
    for kind in kinds {
        group.join(kind, &Options::default())?;
        group.settle()?;
    }
    while let [leader, others @ ..] = group.here().as_slice() {
        group.produce(5)?;
        group.wait_read()?;
        group.wait_all_committed()?;
        group.was_read_once()?;
        group.leave(*leader)?;
        if !others.is_empty() {
            group.settle()?;
        }
    }
    Ok(())
}

/// Members of the classic protocol, then one of the consumer protocol beside them, then classic
/// again: the group is converted while it runs, up and down (KIP-848).
pub fn migration(classic: &'static Kind, consumer: &'static Kind) -> Case {
    let name = format!("migration::{}_and_{}", classic.name, consumer.name);
    let topic = name.clone();
    let body = move |lab: &Lab| {
        in_lab(lab, consumer, &lab.topic(&topic), PARTITIONS, |group| {
            up_and_down(group, classic, consumer)
        })
    };
    Case::new(name, body).with_tools(classic.client.tools).with_tools(consumer.client.tools)
}

fn up_and_down(
    group: &mut Group<'_>,
    classic: &'static Kind,
    consumer: &'static Kind,
) -> Result<()> {
    group.gather(classic, 2, &Options::default())?;
    all_is_read_once(group)?;
    has_type(group, consumer, "classic")?;
    let convert = group.join(consumer, &Options::default())?;
    group.settle()?;
    has_type(group, consumer, "consumer")?;
    all_is_read_once(group)?;
    // Classic members come and go in a group of the other type.
    group.leave(0)?;
    group.settle()?;
    group.gather(classic, 1, &Options::default())?;
    all_is_read_once(group)?;
    group.leave(convert)?;
    group.settle()?;
    has_type(group, consumer, "classic")?;
    all_is_read_once(group)?;
    group.disperse()
}

fn all_is_read_once(group: &mut Group<'_>) -> Result<()> {
    group.produce(5)?;
    group.wait_read()?;
    group.wait_all_committed()?;
    group.was_read_once()
}

fn has_type(group: &mut Group<'_>, kind: &Kind, due: &str) -> Result<()> {
    group.wait_asking(&format!("the group to be of type {due}"), |group| {
        Ok(is(&group.describe(kind)?["type"], due))
    })
}
