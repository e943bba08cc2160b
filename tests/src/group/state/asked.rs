//! What the broker is asked about a group, by an admin client.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use client::admin::{ConfigOperation, ConfigResource, ConfigResourceType, GroupDescription};
use client::{Admin, Client, ClientConfig};
use protocol::StrBytes;
use serde_json::{Value, json};

use super::{ASK, Group};
use crate::group::Kind;

impl Group<'_> {
    /// The committed offsets as the admin client sees them: partition to offset and metadata.
    ///
    /// # Errors
    /// The client can not.
    pub fn offsets(&mut self) -> Result<BTreeMap<i32, (i64, String)>> {
        let name = &self.name;
        let answer = self.driver.expect(json!({"op": "group_offsets", "group": name}))?;
        let one = |place: &Value| {
            let partition = i32::try_from(place[1].as_i64().context("partition")?)?;
            let metadata = place[3].as_str().unwrap_or_default().to_owned();
            Ok((partition, (place[2].as_i64().context("offset")?, metadata)))
        };
        answer.as_array().into_iter().flatten().map(one).collect()
    }

    /// Waits until the committed offsets are these.
    ///
    /// # Errors
    /// They are not in time.
    pub fn wait_committed(&mut self, due: &BTreeMap<i32, i64>) -> Result<()> {
        self.wait_asking("offsets to be committed", |group| {
            let found = group.offsets()?;
            let found: BTreeMap<i32, i64> = found.into_iter().map(|(p, (o, _))| (p, o)).collect();
            Ok(found == *due)
        })
    }

    /// Waits until everything that was written is committed.
    ///
    /// # Errors
    /// It is not in time.
    pub fn wait_all_committed(&mut self) -> Result<()> {
        let ends = self.ends.clone();
        self.wait_committed(&ends)
    }

    /// The committed offsets as the admin client sees them: partition to offset.
    ///
    /// # Errors
    /// The client can not, or one is below what was acknowledged to a member.
    pub fn committed(&mut self) -> Result<BTreeMap<i32, i64>> {
        let found = self.offsets()?.into_iter().map(|(partition, (offset, _))| (partition, offset));
        let found: BTreeMap<i32, i64> = found.collect();
        for (partition, told) in &self.committed {
            let found = found.get(partition);
            ensure!(
                found.is_some_and(|found| found >= told),
                "{told} was committed in partition {partition}, the admin client sees {found:?}"
            );
        }
        Ok(found)
    }

    /// Holds members to offsets that the admin client saw: nobody reads again what is below them.
    /// Not every member tells of its commits, and this is what all of them are held to.
    ///
    /// Nobody may have read anything since, as when the broker is down: then what is still to hear
    /// of the time before is here soon.
    ///
    /// # Errors
    /// An event breaks an invariant.
    pub fn hold_to(&mut self, committed: &BTreeMap<i32, i64>) -> Result<()> {
        self.listen(ASK)?;
        for (&partition, &offset) in committed {
            let known = self.committed.entry(partition).or_insert(0);
            *known = offset.max(*known);
        }
        Ok(())
    }

    /// Offsets were set from outside: what was read before counts no longer.
    pub fn forget_reads(&mut self) {
        self.committed.clear();
        self.readers.clear();
    }

    /// The group as the admin client describes it.
    ///
    /// # Errors
    /// The client can not.
    pub fn describe(&mut self, kind: &Kind) -> Result<Value> {
        let protocol = kind.protocol.name();
        let name = &self.name;
        let operation = json!({"op": "describe_group", "group": name, "protocol": protocol});
        self.driver.expect(operation)
    }

    /// The group's epoch, of the consumer protocol, and, of klamm, when and why it last rebalanced:
    /// neither changes without a rebalance. No foreign client tells all of this, so the project's
    /// own one is asked.
    ///
    /// # Errors
    /// There is no such group.
    pub fn rebalances(&self) -> Result<String> {
        let name = StrBytes::from(self.name.as_str());
        let described: GroupDescription = self.own_admin(async |admin| {
            let mut described = admin.describe_groups([name.clone()]).await;
            Ok(described.remove(&name).context("an answer")??)
        })?;
        let epoch = described.epochs.map(|(group, _)| group);
        Ok(format!("epoch {epoch:?}, last rebalance {:?}", described.last_rebalance))
    }

    /// Sets `consumer.session.timeout.ms` of this group: for members of the consumer protocol the
    /// broker decides.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn set_session_timeout(&self, timeout: Duration) -> Result<()> {
        let name = StrBytes::from(self.name.as_str());
        let resource = ConfigResource { kind: ConfigResourceType::Group, name };
        let value = ConfigOperation::Set(timeout.as_millis().to_string());
        let change = BTreeMap::from([("consumer.session.timeout.ms".to_owned(), value)]);
        let changes = BTreeMap::from([(resource.clone(), change)]);
        self.own_admin(async |admin| {
            let mut altered = admin.alter_configs(&changes, false).await;
            Ok(altered.remove(&resource).context("an answer")??)
        })
    }

    fn own_admin<T>(&self, body: impl AsyncFnOnce(Admin) -> Result<T>) -> Result<T> {
        let config = ClientConfig {
            bootstrap_servers: vec![self.address.clone()],
            ..ClientConfig::default()
        };
        runtime_tokio::run(async |runtime| {
            body(Admin::new(&Client::connect(&runtime, config).await?)).await
        })?
    }
}
