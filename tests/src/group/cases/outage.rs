//! The broker is killed under a running group.

use anyhow::Result;

use super::PARTITIONS;
use super::admin::is;
use crate::driver::Driver;
use crate::group::{Group, Kind, Options};
use crate::suite::Lab;

/// Members outlive the broker's death: nothing is skipped, nothing committed is read again, and the
/// group is stable again with the members it had.
pub(super) fn outage(lab: &Lab, kind: &'static Kind, name: &str) -> Result<()> {
    lab.mortal(|server| {
        let address = server.address();
        let log = lab.path().join(format!("{name}-driver.log"));
        let start = || {
            let mut command = (kind.client.command)(&address)?;
            Driver::start(&mut command, &log, lab.settles())
        };
        let mut driver = start()?;
        let mut group = Group::new(name, PARTITIONS, &address, lab.path(), &mut driver)?;
        group.gather(kind, 2, &Options::default())?;
        group.produce(5)?;
        group.wait_read()?;
        group.wait_all_committed()?;
        server.kill()?;
        server.restart()?;
        // Members have to live with what happened; an admin comes afterwards. (librdkafka's, once
        // connected, looks for the coordinator's old connection for minutes.)
        *group.driver = start()?;
        group.produce(5)?;
        group.wait_read()?;
        group.settle()?;
        group.wait_asking("the group to be stable", |group| {
            let described = group.describe(kind)?;
            let members = described["members"].as_array().map(Vec::len);
            Ok(is(&described["state"], "stable") && members == Some(2))
        })?;
        group.settle()?;
        group.wait_all_committed()?;
        group.disperse()
    })
}
