//! `klamm group` and `klamm consume --group`.

mod several;

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::child::{Background, wait_for};
use tests::install;
use tests::server::Peer;
use tests::suite::{Case, Lab};

use super::{
    LIMIT, expect, expect_contains, json, json_lines, klamm, klamm_any_status, klamm_fails,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("cli::group::consume_goes_on_where_it_was", goes_on),
        Case::new("cli::group::what_was_not_printed_is_read_again", unprinted),
        Case::new("cli::group::members_are_described", described),
        Case::new("cli::group::reset", reset),
        Case::new("cli::group::refusals", refusals),
    ];
    cases.extend(several::cases());
    cases
}

/// A topic of two partitions with `count` lines in each.
fn topic(lab: &Lab, name: &str, count: usize) -> Result<String> {
    let topic = lab.topic(name);
    klamm(lab, &["topic", "create", &topic, "-p", "2"], "")?;
    for partition in ["0", "1"] {
        let lines: String = (0..count).map(|i| format!("{partition}-{i}\n")).collect();
        klamm(lab, &["produce", &topic, "-p", partition], &lines)?;
    }
    Ok(topic)
}

/// What a group reads to the end, sorted.
fn read(lab: &Lab, topic: &str, arguments: &[&str]) -> Result<Vec<String>> {
    let common = ["consume", topic, "--group", topic, "--from", "beginning"];
    let text = klamm(lab, &[&common, arguments].concat(), "")?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

fn goes_on(lab: &Lab) -> Result<()> {
    for protocol in ["classic", "consumer"] {
        let topic = topic(lab, &format!("goes-on-{protocol}"), 5)?;
        let how = ["--group-protocol", protocol];
        let first = read(lab, &topic, &[&how[..], &["-n", "4"]].concat())?;
        ensure!(first.len() == 4, "{protocol}: {first:?}");
        let rest = read(lab, &topic, &[&how[..], &["--exit-at-end"]].concat())?;
        ensure!(rest.len() == 6, "{protocol}: {rest:?}");
        ensure!(first.iter().all(|line| !rest.contains(line)), "{protocol}: {first:?} {rest:?}");
        let nothing = read(lab, &topic, &[&how[..], &["--exit-at-end"]].concat())?;
        ensure!(nothing.is_empty(), "{protocol}: {nothing:?}");
        let described = json(lab, &["group", "describe", &topic])?;
        ensure!(described[0]["lag"] == 0 && described[0]["state"] == "Empty", "{described}");
    }
    Ok(())
}

/// The device is full: nothing was printed, so nothing may be committed.
fn unprinted(lab: &Lab) -> Result<()> {
    for protocol in ["classic", "consumer"] {
        let topic = topic(lab, &format!("unprinted-{protocol}"), 5)?;
        let how = ["--group-protocol", protocol, "--exit-at-end"];
        let mut command = Command::new(install::klamm()?);
        command.args(["consume", &topic, "--group", &topic, "--from", "beginning"]).args(how);
        command.env("KLAMM_BOOTSTRAP_SERVER", lab.address()?);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command.stdout(File::options().write(true).open("/dev/full")?);
        let mut child = command.spawn()?;
        let ended = wait_for("the end of a reader", LIMIT, || Ok(child.try_wait()?));
        child.kill()?;
        child.wait()?;
        let status = ended?;
        ensure!(status.code() == Some(1), "{protocol}: {status}");
        let lines = read(lab, &topic, &how)?;
        ensure!(lines.len() == 10, "{protocol}: {lines:?}");
    }
    Ok(())
}

/// A member in the background, until it is stopped.
fn member(lab: &Lab, topic: &str, arguments: &[&str], log: &std::path::Path) -> Result<Background> {
    let mut command = Command::new(install::klamm()?);
    command.args(["consume", topic, "--group", topic, "--from", "beginning"]).args(arguments);
    command.env("KLAMM_BOOTSTRAP_SERVER", lab.address()?);
    Background::start(&mut command, log)
}

/// The description of a group, once it is as `wanted`.
fn until(lab: &Lab, group: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    wait_for("the group to be as it should", LIMIT, || {
        let output = klamm_any_status(lab, &["group", "describe", group, "-o", "json"], "")?;
        let described: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(wanted(&described[0]).then(|| described[0].clone()))
    })
}

fn described(lab: &Lab) -> Result<()> {
    let topic = topic(lab, "described", 3)?;
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("log");
    let mut reader = member(lab, &topic, &[], &log)?;
    // It has read all; what it commits comes a little later.
    let caught_up = |group: &Value| (0..2).all(|place| group["partitions"][place]["lag"] == 0);
    let stable = until(lab, &topic, |group| group["state"] == "Stable" && caught_up(group))?;
    ensure!(stable["type"] == "Classic" && stable["assignor"] == "range", "{stable}");
    let partitions = stable["partitions"].as_array().context("partitions")?;
    let id = &stable["members"][0]["member"];
    ensure!(partitions.len() == 2 && partitions.iter().all(|p| p["member"] == *id), "{stable}");
    ensure!(partitions[0]["committed"] == 3 && partitions[0]["end"] == 3, "{stable}");
    ensure!(stable["members"][0]["client"] == "klamm-cli", "{stable}");
    let why = stable["last_rebalance"]["reason"].as_str().unwrap_or_default();
    let is_told = *lab.peer() == Peer::Klamm;
    ensure!(is_told == why.contains(id.as_str().unwrap_or_default()), "why: {why}");
    let text = klamm(lab, &["group", "describe", &topic], "")?;
    let id = id.as_str().context("a member id")?;
    expect_contains(&text, &["state Stable", "assignor range", "COMMITTED", id, "SUBSCRIBED"])?;
    let watched = ["group", "describe", &topic, "--watch", "10ms", "-n", "3", "-o", "json"];
    ensure!(json_lines(&klamm(lab, &watched, "")?)?.len() == 3, "three looks");
    let listed = json(lab, &["group", "list", "--state", "Stable", "--type", "classic"])?;
    let listed = listed.as_array().context("a list")?;
    ensure!(listed.iter().any(|group| group["group"] == *topic), "{listed:?}");
    // Nothing can be done behind its back.
    let refused = ["group", "reset", &topic, "--topic", &topic, "--to", "end", "--execute"];
    expect_contains(&klamm_fails(lab, 1, &refused, "")?, &["has members", "klamm group describe"])?;
    let deleted = klamm_fails(lab, 1, &["group", "delete", &topic], "")?;
    expect_contains(&deleted, &["has members"])?;
    let forgotten = ["group", "delete-offsets", &topic, "--topic", &topic];
    expect_contains(&klamm_fails(lab, 1, &forgotten, "")?, &["GROUP_SUBSCRIBED_TO_TOPIC"])?;
    klamm(lab, &["group", "remove-member", &topic, id], "")?;
    let lost = || Ok(reader.log().contains("lost").then_some(()));
    wait_for("the member to notice", LIMIT, lost)?;
    until(lab, &topic, |group| group["state"] == "Stable")?;
    // A member that is stopped leaves at once.
    let status = reader.terminate(Duration::from_secs(10))?;
    ensure!(status.success(), "{status}");
    let gone = until(lab, &topic, |group| group["state"] == "Empty")?;
    ensure!(gone["members"] == json!([]), "{gone}");
    Ok(())
}

/// The offsets of a group, as text.
fn offsets(lab: &Lab, group: &str) -> Result<String> {
    let described = json(lab, &["group", "describe", group])?;
    let partitions = described[0]["partitions"].as_array().context("partitions")?;
    let offset = |p: &Value| format!("{}:{}", p["partition"], p["committed"]);
    Ok(partitions.iter().map(offset).collect::<Vec<_>>().join(" "))
}

fn reset(lab: &Lab) -> Result<()> {
    let topic = topic(lab, "reset", 10)?;
    let reset =
        |arguments: &[&str]| klamm(lab, &[&["group", "reset", &topic], arguments].concat(), "");
    // The group is made by the first one.
    let planned =
        klamm_any_status(lab, &["group", "reset", &topic, "-t", &topic, "--to", "4"], "")?;
    expect_contains(&String::from_utf8(planned.stdout)?, &["BEFORE", "AFTER"])?;
    expect_contains(&String::from_utf8(planned.stderr)?, &["nothing was changed", "--execute"])?;
    klamm_fails(lab, 1, &["group", "describe", &topic], "")?;
    // There is no place yet that could be shifted.
    let shift = ["group", "reset", &topic, "-t", &topic, "--shift", "1", "--execute"];
    let refused = klamm_fails(lab, 1, &shift, "")?;
    expect_contains(&refused, &[&format!("{topic}-0"), "nothing to shift"])?;
    klamm_fails(lab, 1, &["group", "describe", &topic], "")?;
    reset(&["--topic", &topic, "--to", "4", "--execute"])?;
    expect(&offsets(lab, &topic)?, "0:4 1:4")?;
    for (arguments, expected) in [
        (vec!["--all-topics", "--shift", "3"], "0:7 1:7"),
        (vec!["--all-topics", "--shift", "-100"], "0:0 1:0"),
        (vec!["--topic", &format!("{topic}:1"), "--to", "end"], "0:0 1:10"),
        (vec!["--all-topics", "--to", "-2"], "0:8 1:8"),
        (vec!["--all-topics", "--to", "99"], "0:10 1:10"),
        (vec!["--all-topics", "--to", "2020-01-01"], "0:0 1:0"),
        (vec!["--all-topics", "--to", "0ms"], "0:10 1:10"),
        (vec!["--all-topics", "--to", "P7D"], "0:0 1:0"),
        (vec!["--all-topics", "--to", "PT0S"], "0:10 1:10"),
        (vec!["--all-topics", "--to", "beginning"], "0:0 1:0"),
    ] {
        reset(&[&arguments[..], &["--execute"]].concat())?;
        let offsets = offsets(lab, &topic)?;
        ensure!(offsets == expected, "{arguments:?}: {offsets}");
    }
    reset(&["--topic", &format!("{topic}:0"), "--to", "6", "--execute"])?;
    let exported = reset(&["--all-topics", "--to", "current", "--export"])?;
    expect(&exported, &format!("{topic},0,6\n{topic},1,0\n"))?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("offsets.csv").display().to_string();
    std::fs::write(&file, format!("{topic},0,2\n\"{topic}\",1,3\n"))?;
    let done = json(lab, &["group", "reset", &topic, "--from-file", &file, "--execute"])?;
    ensure!(done["executed"] == true && done["partitions"][0]["before"] == 6, "{done}");
    expect(&offsets(lab, &topic)?, "0:2 1:3")?;
    let scope = format!("{topic}:1");
    klamm(lab, &["group", "delete-offsets", &topic, "--topic", &scope], "")?;
    expect(&offsets(lab, &topic)?, "0:2")?;
    let rest = read(lab, &topic, &["--exit-at-end"])?;
    ensure!(rest.len() == 18, "{rest:?}");
    klamm(lab, &["group", "delete", &topic], "")?;
    expect_contains(&klamm(lab, &["group", "delete", &topic, "--if-exists"], "")?, &["not there"])
}

fn refusals(lab: &Lab) -> Result<()> {
    let topic = topic(lab, "payroll", 1)?;
    read(lab, &topic, &["--exit-at-end"])?;
    let slip = topic.replace("payroll", "payrol");
    let hint = format!("did you mean `{topic}`?");
    for arguments in [
        vec!["group", "describe", &slip],
        vec!["group", "delete", &slip],
        vec!["group", "reset", &slip, "--all-topics", "--to", "end"],
    ] {
        let unknown = klamm_fails(lab, 1, &arguments, "")?;
        expect_contains(&unknown, &["there is no group", &slip, &hint])?;
    }
    let nowhere = format!("{topic}:7");
    let missing = ["group", "reset", &topic, "--topic", &nowhere, "--to", "end"];
    expect_contains(&klamm_fails(lab, 1, &missing, "")?, &["no partition 7", "0 to 1"])?;
    let file = ["group", "reset", &topic, "--from-file", "/no/such/file"];
    expect_contains(&klamm_fails(lab, 1, &file, "")?, &["/no/such/file"])?;
    for arguments in [
        vec!["group"],
        vec!["group", "describe"],
        vec!["group", "reset", &topic, "--to", "end"],
        vec!["consume", &topic, "--group", "g", "--from", "17"],
        vec!["consume", &topic, "--group", "g", "-p", "0"],
        vec!["consume", &topic, "--group-protocol", "consumer"],
    ] {
        let complaint = klamm_fails(lab, 2, &arguments, "")?;
        ensure!(!complaint.is_empty(), "{arguments:?} says what is wrong");
    }
    Ok(())
}
