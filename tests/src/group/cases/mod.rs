//! What members of a group may expect, once for every client and protocol.
//!
//! Every case has a group and a topic of its own. Those that kill the broker have a broker for
//! themselves ([`crate::suite::Lab::mortal`]).

use anyhow::Result;

use super::{Body, Group, Kind};
use crate::driver::Driver;
use crate::suite::{Case, Lab};

mod admin;
mod change;
mod flow;
mod incremental;
mod mixed;
mod offsets;
mod outage;
mod share;
mod storm;

pub use mixed::{migration, mixed};
pub use storm::storm;

/// Partitions of the topic of most cases: two for each of three members, three for each of two.
const PARTITIONS: i32 = 6;

/// A case, what the library has to be able to do for it, and how many partitions it begins with.
struct Entry {
    name: &'static str,
    needs: &'static [&'static str],
    partitions: i32,
    body: Body,
}

const ENTRIES: &[Entry] = &[
    Entry { name: "shared", needs: &[], partitions: PARTITIONS, body: share::shared },
    Entry { name: "killed", needs: &[], partitions: PARTITIONS, body: share::killed },
    Entry { name: "leaves", needs: &[], partitions: PARTITIONS, body: share::leaves },
    Entry { name: "partitions_added", needs: &[], partitions: 4, body: change::partitions_added },
    Entry {
        name: "static_member",
        needs: &["static_member"],
        partitions: PARTITIONS,
        body: change::static_member,
    },
    Entry { name: "offsets", needs: &[], partitions: 2, body: offsets::offsets },
    Entry {
        name: "described",
        needs: &["describe_group"],
        partitions: PARTITIONS,
        body: admin::described,
    },
];

/// All cases of one kind of members.
pub fn cases(kind: &'static Kind) -> Vec<Case> {
    let mut cases: Vec<Case> = ENTRIES
        .iter()
        .filter(|entry| entry.needs.iter().all(|what| kind.can(what)))
        .map(|entry| case(kind, entry.name, entry.partitions, entry.body))
        .collect();
    if kind.is_incremental {
        cases.push(case(kind, "incremental", PARTITIONS, incremental::incremental));
    }
    let name = format!("{}::group::outage", kind.name);
    cases.push(Case::new(name.clone(), move |lab| outage::outage(lab, kind, &lab.topic(&name))));
    cases
}

/// The cases for an assignor that differs from another kind only in how it rebalances.
pub fn rebalance_cases(kind: &'static Kind) -> Vec<Case> {
    let mut cases = vec![case(kind, "killed", PARTITIONS, share::killed)];
    if kind.is_incremental {
        cases.push(case(kind, "incremental", PARTITIONS, incremental::incremental));
    }
    cases
}

fn case(kind: &'static Kind, name: &str, partitions: i32, body: Body) -> Case {
    let name = format!("{}::group::{name}", kind.name);
    let topic = name.clone();
    Case::new(name, move |lab: &Lab| {
        in_lab(lab, kind, &lab.topic(&topic), partitions, |group| body(group, kind))
    })
}

/// A group at the broker of the suite.
fn in_lab(
    lab: &Lab,
    kind: &'static Kind,
    name: &str,
    partitions: i32,
    body: impl FnOnce(&mut Group<'_>) -> Result<()>,
) -> Result<()> {
    let address = lab.address()?;
    lab.with(kind.client, |driver: &mut Driver| {
        let mut group = Group::new(name, partitions, &address, lab.path(), driver)?;
        body(&mut group)
    })
}
