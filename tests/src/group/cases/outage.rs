//! The broker is killed under a running group, while records flow.

use anyhow::{Context, Result};

use super::admin::is;
use super::{PARTITIONS, flow};
use crate::driver::Driver;
use crate::group::{Group, Kind, Options};
use crate::server::Server;
use crate::suite::Lab;

/// Records of each partition that are read and committed long before.
const EARLY: i64 = 5;

/// Three members outlive the broker's death, in the midst of a producer's records: nothing that was
/// acknowledged is skipped, nothing committed is read again, and the group is stable again with the
/// members it had.
pub(super) fn outage(lab: &Lab, kind: &'static Kind, name: &str) -> Result<()> {
    lab.mortal(|server| {
        let address = server.address();
        let start = |what: &str| {
            let log = lab.path().join(format!("{name}-{what}.log"));
            Driver::start(&mut (kind.client.command)(&address)?, &log, lab.settles())
        };
        let (mut admin, mut producer) = (start("admin")?, start("producer")?);
        let mut group = Group::new(name, PARTITIONS, &address, lab.path(), &mut admin)?;
        group.gather(kind, 3, &Options::default())?;
        group.produce(EARLY)?;
        group.wait_read()?;
        group.wait_all_committed()?;
        group.was_read_once()?;
        let seed = u64::from(std::process::id());
        let acknowledged = flow::beside_a_producer(&mut group, &mut producer, seed, |group| {
            flow::goes_on(group)?;
            kill(group, server)?;
            // Members have to live with what happened; an admin comes afterwards. (librdkafka's,
            // once connected, looks for the coordinator's old connection for minutes.)
            *group.driver = start("admin")?;
            group.committed()?;
            flow::goes_on(group)
        })?;
        flow::is_read(&mut group, &acknowledged)?;
        group.wait_asking("the group to be stable", |group| {
            let described = group.describe(kind)?;
            let members = described["members"].as_array().map(Vec::len);
            Ok(is(&described["state"], "stable") && members == Some(3))
        })?;
        let ends = group.ends().clone();
        flow::calm(&mut group, 5)?;
        for (partition, end) in ends {
            group.was_read(partition, 0..EARLY, 1)?;
            group.was_read(partition, end..end + 5, 1)?;
        }
        group.disperse()
    })
}

/// SIGKILL for the broker, and a start; what was committed when it died binds whoever reads
/// afterwards.
pub(super) fn kill(group: &mut Group<'_>, server: &mut Server) -> Result<()> {
    let committed = group.committed()?;
    server.kill()?;
    group.hold_to(&committed)?;
    server.restart().context("after a kill")
}
