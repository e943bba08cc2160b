//! Commands over several groups, and readers of several topics: every result is told, and a failure
//! of one is no excuse for the others.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::server::Peer;
use tests::suite::{Case, Lab};

use super::super::{expect, expect_contains, json, klamm, klamm_any_status, klamm_fails};
use super::{member, offsets, topic, until};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("cli::group::one_failure_does_not_hide_the_rest", one_fails),
        Case::new("cli::group::all_groups", all_groups),
        Case::new("cli::group::files_of_several_groups", files),
        Case::new("cli::group::consume_several_topics", several_topics),
    ]
}

/// Runs klamm, which has to fail, and gives what it printed and what it complained.
fn partly(lab: &Lab, arguments: &[&str]) -> Result<(String, String)> {
    let output = klamm_any_status(lab, arguments, "")?;
    let (text, errors) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    let status = output.status.code();
    ensure!(status == Some(1), "klamm {arguments:?} ended with {status:?}: {text} {errors}");
    Ok((text, errors))
}

/// Groups that have committed something for a topic and have no members.
fn empty_groups(lab: &Lab, topic: &str, names: &[&str]) -> Result<Vec<String>> {
    let groups: Vec<String> = names.iter().map(|name| format!("{topic}-{name}")).collect();
    let mut reset = vec!["group", "reset"];
    reset.extend(groups.iter().map(String::as_str));
    klamm(lab, &[&reset[..], &["--topic", topic, "--to", "1", "--execute"]].concat(), "")?;
    Ok(groups)
}

fn one_fails(lab: &Lab) -> Result<()> {
    let topic = topic(lab, "partly", 3)?;
    let groups = empty_groups(lab, &topic, &["a", "z"])?;
    let [first, last] = &groups[..] else { unreachable!("two groups") };
    let directory = tempfile::tempdir()?;
    // Its group has the topic's name, which is between the two.
    let mut reader = member(lab, &topic, &["--assignor", "sticky"], &directory.path().join("log"))?;
    // Before it has committed how far it is, nobody knows how far it is behind.
    let read = |group: &Value| group["state"] == "Stable" && group["members"][0]["lag"] == 0;
    let stable = until(lab, &topic, read)?;
    ensure!(stable["assignor"] == "sticky", "{stable}");
    klamm(lab, &["produce", &topic, "-p", "0"], "more\n")?;
    let text = klamm(lab, &["group", "describe", &topic], "")?;
    let heads = text.lines().find(|line| line.contains("SUBSCRIBED")).context("members")?;
    expect_contains(heads, &["LAG"])?;

    let missing = format!("{topic}-missing");
    let (text, errors) = partly(lab, &["group", "describe", &missing, first])?;
    expect_contains(&text, &[&format!("group {first}")])?;
    expect_contains(&errors, &["there is no group", &missing])?;
    let reset = ["group", "reset", first, &topic, last, "--all-topics", "--to", "2", "--execute"];
    let (text, errors) = partly(lab, &reset)?;
    expect_contains(&text, &["GROUP", first, last])?;
    expect_contains(&errors, &[&format!("`{topic}` has members")])?;
    for group in &groups {
        expect(&offsets(lab, group)?, "0:2 1:2")?;
    }
    // One that is missing in the middle, and two that fail.
    let delete = ["group", "delete", first, &topic, &missing, last];
    let (text, errors) = partly(lab, &delete)?;
    expect(&text, &format!("{first}: deleted\n{last}: deleted\n"))?;
    expect_contains(&errors, &["has members", "there is no group"])?;
    let (text, _) = partly(lab, &["group", "delete", &missing, &topic, "-o", "json"])?;
    let results: Value = serde_json::from_str(&text)?;
    ensure!(results.as_array().is_some_and(|all| all.len() == 2), "{results}");
    ensure!(results[1]["deleted"] == false && results[1]["error"].is_string(), "{results}");
    // Who is there is removed, whoever else was named.
    let id = stable["members"][0]["member"].as_str().context("a member id")?;
    let (text, errors) = partly(lab, &["group", "remove-member", &topic, id, "nobody"])?;
    expect(&text, &format!("{topic}: removed 1 members\n"))?;
    expect_contains(&errors, &["`nobody`"])?;
    reader.kill()
}

fn all_groups(lab: &Lab) -> Result<()> {
    let topic = topic(lab, "all-groups", 3)?;
    let groups = empty_groups(lab, &topic, &["a", "b"])?;
    let described = json(lab, &["group", "describe", "--all"])?;
    let described = described.as_array().context("groups")?;
    let names: BTreeSet<&str> =
        described.iter().filter_map(|group| group["group"].as_str()).collect();
    ensure!(groups.iter().all(|group| names.contains(group.as_str())), "{names:?}");
    let plans = json(lab, &["group", "reset", "--all-groups", "-t", &topic, "--to", "P7D"])?;
    let plans = plans.as_array().context("plans")?;
    let plan = plans.iter().find(|plan| plan["group"] == *groups[0]).context("a plan")?;
    ensure!(plan["executed"] == false && plan["partitions"][0]["after"] == 0, "{plan}");
    let slip = klamm_fails(lab, 2, &["group", "list", "--state", "Emtpy"], "")?;
    expect_contains(&slip, &["did you mean `Empty`"])?;
    let unknown = klamm_fails(lab, 2, &["group", "list", "--type", "connect"], "")?;
    expect_contains(&unknown, &["classic", "consumer"])?;
    if matches!(lab.peer(), Peer::Running(_)) {
        println!("SKIPPED: the groups are not ours to delete");
        return Ok(());
    }
    // Those of other cases may have members still.
    let output = klamm_any_status(lab, &["group", "delete", "--all-groups"], "")?;
    let text = String::from_utf8(output.stdout)?;
    expect_contains(
        &text,
        &[&format!("{}: deleted", groups[0]), &format!("{}: deleted", groups[1])],
    )
}

fn files(lab: &Lab) -> Result<()> {
    let topic = topic(lab, "files-of-groups", 5)?;
    let groups = empty_groups(lab, &topic, &["a", "b,c"])?;
    let [plain, comma] = &groups[..] else { unreachable!("two groups") };
    let export = ["group", "reset", plain, comma, "--all-topics", "--to", "current", "--export"];
    let exported = klamm(lab, &export, "")?;
    let line = |group: &str, partition: i32, offset: i32| {
        format!("{group},{topic},{partition},{offset}\n")
    };
    let quoted = format!("\"{comma}\"");
    let lines = |offset: i32| {
        [plain, &quoted]
            .iter()
            .flat_map(|group| [line(group, 0, offset), line(group, 1, offset)])
            .collect::<String>()
    };
    expect(&exported, &lines(1))?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("offsets.csv").display().to_string();
    std::fs::write(&file, lines(4))?;
    let done = json(lab, &["group", "reset", "--from-file", &file, "--execute"])?;
    ensure!(done.as_array().is_some_and(|plans| plans.len() == 2), "{done}");
    for group in &groups {
        expect(&offsets(lab, group)?, "0:4 1:4")?;
    }
    // One group out of the file.
    std::fs::write(&file, lines(2))?;
    klamm(lab, &["group", "reset", comma, "--from-file", &file, "--execute"], "")?;
    expect(&offsets(lab, plain)?, "0:4 1:4")?;
    expect(&offsets(lab, comma)?, "0:2 1:2")?;
    std::fs::write(&file, format!("{topic},0,3\n"))?;
    let nameless = ["group", "reset", "--from-file", &file, "--execute"];
    expect_contains(&klamm_fails(lab, 1, &nameless, "")?, &["line 1", "names no group"])
}

fn several_topics(lab: &Lab) -> Result<()> {
    let topics = [topic(lab, "several-one", 3)?, topic(lab, "several-two", 4)?];
    let [one, two] = &topics;
    for (protocol, assignor) in [("classic", "roundrobin,range"), ("consumer", "range")] {
        let group = format!("{one}-{protocol}");
        let how = ["--group-protocol", protocol, "--assignor", assignor, "--from", "beginning"];
        let read = ["consume", one, two, "--exit-at-end", "--group", &group];
        let text = klamm(lab, &[&read[..], &how].concat(), "")?;
        ensure!(text.lines().count() == 14, "{protocol}: {text}");
    }
    let text = klamm(lab, &["consume", one, two, "--from", "beginning", "--exit-at-end"], "")?;
    ensure!(text.lines().count() == 14, "without a group: {text}");
    let pattern = one.replace("one", "(one|two)");
    let group = format!("{one}-regex");
    let how = ["--group", &group, "--from", "beginning", "-n", "14"];
    let matching = ["consume", "--regex", &pattern, "--group-protocol", "consumer"];
    let text = klamm(lab, &[&matching[..], &how].concat(), "")?;
    ensure!(text.lines().count() == 14, "by expression: {text}");
    for (arguments, complaint) in [
        (&["--regex", "x"][..], "--regex"),
        (&[one, "--regex", "x", "--group-protocol", "consumer"], "--regex"),
        (&[one, "--assignor", "stiky"], "did you mean `sticky`?"),
        (&[one, "--assignor", "a,b", "--group-protocol", "consumer"], "one --assignor"),
    ] {
        let wrong = [&["consume", "--group", &group], arguments].concat();
        expect_contains(&klamm_fails(lab, 2, &wrong, "")?, &[complaint])?;
    }
    Ok(())
}
