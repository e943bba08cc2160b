//! Committed offsets: they come back as they were committed, and they say where to go on.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::driver::must_fail;
use crate::group::{Group, Kind, LIMIT, Options};

/// With everything that an encoding could spoil.
const METADATA: &str = "at 12:00, \"quoted\" \\ tab\t, čas ⏱ 時";

/// Commit with metadata, go on after a restart, reset by an admin, deletions that are refused while
/// there are members and done afterwards.
pub(super) fn offsets(group: &mut Group<'_>, kind: &'static Kind) -> Result<()> {
    let options = Options { commit_metadata: METADATA.to_owned(), ..Options::default() };
    group.gather(kind, 1, &options)?;
    group.produce(5)?;
    group.wait_read()?;
    group.wait_all_committed()?;
    for (partition, (_, metadata)) in group.offsets()? {
        ensure!(metadata == METADATA, "partition {partition} has {metadata:?}");
    }
    refusals(group, kind)?;
    group.disperse()?;

    // Another one goes on where the first was.
    group.gather(kind, 1, &Options::default())?;
    group.produce(5)?;
    group.wait_read()?;
    group.wait_all_committed()?;
    group.was_read_once()?;
    group.disperse()?;

    // And another where an admin says, who may do this when nobody is there.
    let name = group.name.clone();
    let alter = json!({
        "op": "alter_group_offsets", "group": name, "topic": name, "offsets": [[0, 3], [1, 7]],
    });
    wait_done(group, &alter)?;
    group.wait_committed(&BTreeMap::from([(0, 3), (1, 7)]))?;
    group.forget_reads();
    group.gather(kind, 1, &Options::default())?;
    group.wait("the records behind the offsets that were set", LIMIT, |group| {
        [0, 1].iter().all(|&partition| !group.readers(partition, 9).is_empty())
    })?;
    group.wait_all_committed()?;
    group.was_read(0, 0..3, 0)?;
    group.was_read(0, 3..10, 1)?;
    group.was_read(1, 0..7, 0)?;
    group.was_read(1, 7..10, 1)?;
    group.disperse()?;
    deletions(group, kind)
}

fn delete_offset(name: &str) -> Value {
    json!({"op": "delete_group_offsets", "group": name, "topic": name, "partition": 0})
}

fn refusals(group: &mut Group<'_>, kind: &Kind) -> Result<()> {
    let name = group.name.clone();
    let delete = json!({"op": "delete_group", "group": name});
    let failure = must_fail(group.driver.call(&delete)?)?;
    ensure!(failure.code == "NON_EMPTY_GROUP", "{failure}");
    if kind.can("delete_group_offsets") {
        let failure = must_fail(group.driver.call(&delete_offset(&name))?)?;
        ensure!(failure.code == "GROUP_SUBSCRIBED_TO_TOPIC", "{failure}");
    }
    let alter = json!({
        "op": "alter_group_offsets", "group": name, "topic": name, "offsets": [[0, 0]],
    });
    let failure = must_fail(group.driver.call(&alter)?)?;
    // kafkajs asks itself whether there are members, and has no code for it.
    let is_due = failure.code == "UNKNOWN_MEMBER_ID" || failure.class == "KafkaJSNonRetriableError";
    ensure!(is_due, "{failure}");
    Ok(())
}

fn deletions(group: &mut Group<'_>, kind: &Kind) -> Result<()> {
    let name = group.name.clone();
    if kind.can("delete_group_offsets") {
        wait_done(group, &delete_offset(&name))?;
        group.wait_committed(&BTreeMap::from([(1, 10)]))?;
    }
    wait_done(group, &json!({"op": "delete_group", "group": name}))?;
    group.wait_asking("the group to be gone", |group| {
        let groups = group.driver.expect(json!({"op": "list_groups"}))?;
        let mut groups = groups.as_array().into_iter().flatten();
        Ok(!groups.any(|listed| listed["group"] == *group.name))
    })
}

/// A library may say that it has left before the broker has heard of it.
fn wait_done(group: &mut Group<'_>, operation: &Value) -> Result<()> {
    group.wait_asking("the last member to have left", |group| {
        match group.driver.call(operation)? {
            Ok(_) => Ok(true),
            Err(failure)
                if ["NON_EMPTY_GROUP", "UNKNOWN_MEMBER_ID"].contains(&failure.code.as_str()) =>
            {
                Ok(false)
            }
            Err(failure) => Err(failure.into()),
        }
    })
}
