//! Groups as admin clients list and describe them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::group::{Group, Kind, Options, Protocol};

/// A group with members, then without: state, type, assignor, members and their partitions.
pub(super) fn described(group: &mut Group<'_>, kind: &'static Kind) -> Result<()> {
    group.gather(kind, 2, &Options::default())?;
    group.wait_asking("the group to be stable", |group| {
        Ok(is(&group.describe(kind)?["state"], "stable"))
    })?;
    let described = group.describe(kind)?;
    is_of_type(&described["type"], kind.protocol).with_context(|| described.to_string())?;
    if let Some(assignor) = kind.assignor {
        ensure!(described["assignor"] == assignor, "{described}");
    }
    let members = described["members"].as_array().context("members")?;
    ensure!(members.len() == 2, "{described}");
    for member in members {
        let client_id = member["client_id"].as_str().context("client id")?;
        let index = client_id.strip_prefix("member-").context("our client id")?.parse()?;
        let partitions = member["assignment"].as_array().context("assignment")?.iter();
        let partitions = partitions.map(|place| i32::try_from(place[1].as_i64().unwrap_or(-1)));
        let partitions = partitions.collect::<std::result::Result<BTreeSet<i32>, _>>()?;
        ensure!(partitions == *group.owned(index), "{member}, has {:?}", group.owned(index));
        ensure!(member["member_id"].as_str().is_some_and(|id| !id.is_empty()), "{member}");
        let host = member["host"].as_str().unwrap_or_default();
        ensure!(host.trim_start_matches('/') == "127.0.0.1", "{member}");
    }
    listed(group, kind, "stable")?;
    group.disperse()?;
    group.wait_asking("the group to be empty", |group| {
        Ok(is(&group.describe(kind)?["state"], "empty"))
    })?;
    listed(group, kind, "empty")
}

fn listed(group: &mut Group<'_>, kind: &Kind, state: &str) -> Result<()> {
    let groups = group.driver.expect(json!({"op": "list_groups"}))?;
    let mut groups = groups.as_array().into_iter().flatten();
    let own = groups.find(|listed| listed["group"] == *group.name).context("is not listed")?;
    ensure!(own["state"].is_null() || is(&own["state"], state), "{own}");
    ensure!(own["protocol_type"] == "consumer", "{own}");
    is_of_type(&own["type"], kind.protocol).with_context(|| own.to_string())
}

/// Libraries spell Kafka's words in their own ways; null is one that does not tell.
pub(super) fn is(found: &Value, due: &str) -> bool {
    found.as_str().is_some_and(|found| found.replace('_', "").eq_ignore_ascii_case(due))
}

fn is_of_type(found: &Value, protocol: Protocol) -> Result<()> {
    ensure!(found.is_null() || is(found, protocol.name()), "{found} is not {protocol:?}");
    Ok(())
}
