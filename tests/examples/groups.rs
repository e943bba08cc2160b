//! How long rebalances take, and what many members cost: klamm beside Apache Kafka, in turns.
//!
//! `cargo run --release -p tests --example groups [-- klamm|kafka]`; `KLAMM_GROUP_TURNS` (default
//! 3; medians are printed), `KLAMM_GROUP_MEMBERS` (default 1000: so many in one group, then so many
//! groups).
//!
//! Three members are franz-go's, in processes of their own, with a session timeout of 6 s. The many
//! are `clients/go/groupload`: frames of its own and no fetches, a session timeout of 10 s, a
//! heartbeat each second, and Kafka's default wait of 3 s for the first members.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::driver::Driver;
use tests::group::kinds::{FRANZ_CLASSIC, FRANZ_CONSUMER};
use tests::group::{BROKER_CONFIGS, Event, Group, Kind, Options, SESSION_TIMEOUT};
use tests::install;
use tests::matrix::clients::FRANZ_GO;
use tests::server::{Peer, Server};

/// Brokers for the load have times that many members can keep.
const LOAD_CONFIGS: &[(&str, &str)] = &[
    ("group.consumer.min.session.timeout.ms", "10000"),
    ("group.consumer.session.timeout.ms", "10000"),
    ("group.consumer.min.heartbeat.interval.ms", "1000"),
    ("group.consumer.heartbeat.interval.ms", "1000"),
];
const LOAD_SESSION: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(10);

/// Measurements by their name, in the order of the names.
type Figures = BTreeMap<String, Vec<f64>>;

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let turns = number("KLAMM_GROUP_TURNS", 3)?;
    let members = number("KLAMM_GROUP_MEMBERS", 1_000)?;
    let directory = tempfile::Builder::new().prefix("klamm-groups-").tempdir()?;
    let mut all: BTreeMap<&str, Figures> = BTreeMap::new();
    for turn in 0..turns {
        for (name, peer) in [("klamm", Peer::Klamm), ("kafka", Peer::Kafka)] {
            if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
                let place = directory.path().join(format!("{name}-{turn}"));
                let figures = all.entry(name).or_default();
                three(&peer, &place.join("three"), figures)?;
                for protocol in ["classic", "consumer"] {
                    let (groups, place) = (place.join("groups"), place.join("members"));
                    load(&peer, &place.join(protocol), protocol, 1, members, figures)?;
                    load(&peer, &groups.join(protocol), protocol, members, 1, figures)?;
                }
                fs::remove_dir_all(&place)?;
            }
        }
    }
    print(&mut all);
    Ok(())
}

fn number(variable: &str, default: u64) -> Result<u64> {
    Ok(std::env::var(variable).ok().map_or(Ok(default), |value| value.parse())?)
}

/// Two members, a third comes, one is killed, one leaves.
fn three(peer: &Peer, place: &Path, figures: &mut Figures) -> Result<()> {
    fs::create_dir_all(place)?;
    let server = Server::start_with(peer, place, BROKER_CONFIGS)?;
    let address = server.address();
    let mut command = (FRANZ_GO.command)(&address)?;
    let mut driver = Driver::start(&mut command, &place.join("driver.log"), true)?;
    for kind in [&FRANZ_CLASSIC, &FRANZ_CONSUMER] {
        let mut group = Group::new(kind.name, 6, &address, place, &mut driver)?;
        rebalances(&mut group, kind, figures).with_context(|| server.log_tail())?;
    }
    Ok(())
}

fn rebalances(group: &mut Group<'_>, kind: &'static Kind, figures: &mut Figures) -> Result<()> {
    let mut put = |what: &str, took: Duration| {
        let name = format!("3 members, {}: {what}, ms", kind.protocol.name());
        figures.entry(name).or_default().push(took.as_secs_f64() * 1e3);
    };
    group.gather(kind, 2, &Options::default())?;
    let joiner = group.join(kind, &Options::default())?;
    group.settle()?;
    // From when it asks, not from when its process starts.
    let joins = group.when(joiner, |event| *event == Event::Started).context("start")?;
    put("one joins", joins.elapsed());
    group.kill(joiner)?;
    put("one is killed, beyond its session", group.settle()?.saturating_sub(SESSION_TIMEOUT));
    group.leave(1)?;
    put("one leaves", group.settle()?);
    group.disperse()
}

/// Many members: all come, one comes, one leaves, one is killed, all are idle, all commit.
fn load(
    peer: &Peer,
    place: &Path,
    protocol: &str,
    groups: u64,
    members: u64,
    figures: &mut Figures,
) -> Result<()> {
    fs::create_dir_all(place)?;
    let server = Server::start_with(peer, place, LOAD_CONFIGS)?;
    let address = server.address();
    // Whoever leaves or is killed has something to give.
    let partitions = members + 1;
    let mut command = (FRANZ_GO.command)(&address)?;
    let mut driver = Driver::start(&mut command, &place.join("driver.log"), false)?;
    driver.create_topic("load", i32::try_from(partitions)?, &json!({}))?;
    let mut command = Command::new(install::go_program("groupload")?);
    let mut many = Driver::start(command.arg(&address), &place.join("load.log"), false)?;
    let options = json!({
        "groups": groups, "members": members, "protocol": protocol, "topic": "load",
        "partitions": partitions, "prefix": "load", "heartbeat_ms": 1_000,
        "session_timeout_ms": LOAD_SESSION.as_millis(),
    });
    let what = format!("{groups} group(s) of {members}, {protocol}");
    let mut step = |name: &str, less: Duration, operation: Value| -> Result<()> {
        let cpu = server.cpu_seconds()?;
        let answer = many.expect(operation).with_context(|| format!("{what}: {name}"))?;
        let milliseconds = answer["milliseconds"].as_f64().context("milliseconds")?;
        let cpu = server.cpu_seconds()? - cpu;
        let mut put = |unit: &str, value: f64| {
            figures.entry(format!("{what}: {name}, {unit}")).or_default().push(value);
        };
        put("ms", (milliseconds - less.as_secs_f64() * 1e3).max(0.0));
        put("broker CPU s", cpu);
        Ok(())
    };
    step("1 all join", Duration::ZERO, json!({"op": "open", "at": options}))?;
    step("2 one joins", Duration::ZERO, json!({"op": "join"}))?;
    step("3 one leaves", Duration::ZERO, json!({"op": "leave"}))?;
    step("4 all commit", Duration::ZERO, json!({"op": "commit"}))?;
    step("5 idle 10 s", Duration::ZERO, json!({"op": "idle", "before": IDLE.as_millis()}))?;
    if groups == 1 {
        step("6 one is killed, beyond its session", LOAD_SESSION, json!({"op": "kill"}))?;
    }
    many.expect(json!({"op": "close"})).map(drop)
}

fn print(all: &mut BTreeMap<&str, Figures>) {
    let names: Vec<String> =
        all.values().next().map(|f| f.keys().cloned().collect()).unwrap_or_default();
    print!("{:72}", "medians");
    for server in all.keys() {
        print!("{server:>12}");
    }
    println!();
    for name in names {
        print!("{name:72}");
        for figures in all.values_mut() {
            let values = figures.entry(name.clone()).or_default();
            values.sort_by(f64::total_cmp);
            print!("{:12.2}", values.get(values.len() / 2).copied().unwrap_or(f64::NAN));
        }
        println!();
    }
}
