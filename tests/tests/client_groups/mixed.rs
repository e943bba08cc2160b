//! Groups of our members and foreign ones: Java's consumer and librdkafka's (kcat). Whoever comes
//! first leads, so both sides divide for the other.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use client::admin::GroupDescription;
use client::group::Assignor;
use client::{Admin, Client, GroupProtocol, ProducerConfig};
use protocol::StrBytes;
use tests::child::Background;
use tests::install::{self, Tool};
use tests::suite::{Case, Lab};

use super::{Flavour, Group, LIMIT, config, on_client};
use crate::{create, produce};

const PARTITIONS: i32 = 6;

#[derive(Clone, Copy)]
enum Foreign {
    Java,
    Kcat,
}

pub(super) fn cases() -> Vec<Case> {
    let flavour = |name, protocol, assignor| Flavour { name, protocol, assignor };
    let classic = |assignor: Assignor| flavour(assignor.name(), GroupProtocol::Classic, assignor);
    let consumer = flavour("consumer", GroupProtocol::Consumer, Assignor::Range);
    let mut cases = Vec::new();
    let mut case = |name: &str, foreign: Foreign, tools: &[Tool], flavour: Flavour| {
        let name = format!("client::group::{}::mixed_with_{name}", flavour.name);
        let case = Case::new(name, move |lab| {
            on_client(lab, async |lab, c| mixed(lab, c, foreign, flavour).await)
        });
        cases.push(case.with_tools(tools));
    };
    for flavour in Assignor::ALL.map(classic).into_iter().chain([consumer]) {
        case("java", Foreign::Java, &[Tool::Java, Tool::Maven], flavour);
    }
    // This librdkafka can neither do `sticky` nor the consumer protocol.
    for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::CooperativeSticky] {
        case("kcat", Foreign::Kcat, &[Tool::Kcat], classic(assignor));
    }
    cases
}

impl Foreign {
    fn start(
        self,
        lab: &Lab,
        flavour: Flavour,
        group: &str,
        log: &std::path::Path,
    ) -> Result<Background> {
        let assignor = flavour.assignor.name();
        let address = lab.address()?;
        let mut command = match self {
            Foreign::Kcat => {
                let mut command = Command::new("kcat");
                command.args(["-b", &address, "-G", group, group]);
                let strategy = format!("partition.assignment.strategy={assignor}");
                command.args(["-X", &strategy, "-X", "session.timeout.ms=6000"]);
                command.args(["-X", "heartbeat.interval.ms=300"]);
                command
            }
            Foreign::Java => {
                let mut command = Command::new("java");
                command.args(["-Xmx64M", "-XX:TieredStopAtLevel=1"]);
                command.args(["-cp", &install::kafka_classpath()?]);
                command.arg("org.apache.kafka.tools.consumer.ConsoleConsumer");
                command.args(["--bootstrap-server", &address, "--topic", group, "--group", group]);
                for property in java_properties(flavour) {
                    command.args(["--command-property", &property]);
                }
                command
            }
        };
        Background::start(&mut command, log)
    }
}

fn java_properties(flavour: Flavour) -> Vec<String> {
    let class = match flavour.assignor {
        Assignor::Range => "RangeAssignor",
        Assignor::RoundRobin => "RoundRobinAssignor",
        Assignor::Sticky => "StickyAssignor",
        Assignor::CooperativeSticky => "CooperativeStickyAssignor",
    };
    match flavour.protocol {
        GroupProtocol::Consumer => vec!["group.protocol=consumer".to_owned()],
        GroupProtocol::Classic => vec![
            "group.protocol=classic".to_owned(),
            format!("partition.assignment.strategy=org.apache.kafka.clients.consumer.{class}"),
            "session.timeout.ms=6000".to_owned(),
            "heartbeat.interval.ms=300".to_owned(),
        ],
    }
}

/// The group, once it is stable with so many members who share everything evenly.
async fn shared(
    client: &Client,
    group: &mut Group,
    name: &StrBytes,
    members: usize,
) -> Result<GroupDescription> {
    let deadline = client.runtime().clock.now() + LIMIT;
    loop {
        group.turn().await?;
        let mut described = Admin::new(client).describe_groups([name.clone()]).await;
        let described = described.remove(name).context("an answer")?;
        let settled = described.as_ref().is_ok_and(|described| is_even(described, members));
        if settled && group.is_settled() {
            return Ok(described?);
        }
        ensure!(client.runtime().clock.now() < deadline, "{described:#?}\n{}", group.story());
    }
}

fn is_even(group: &GroupDescription, members: usize) -> bool {
    let shares: Vec<usize> = group.members.iter().map(|member| member.assignment.len()).collect();
    let all: BTreeSet<_> = group.members.iter().flat_map(|member| &member.assignment).collect();
    group.state == *"Stable"
        && group.members.len() == members
        && all.len() == PARTITIONS as usize
        && shares.iter().sum::<usize>() == PARTITIONS as usize
        && shares.iter().all(|share| *share == PARTITIONS as usize / members)
}

async fn mixed(lab: &Lab, client: Client, foreign: Foreign, flavour: Flavour) -> Result<()> {
    let kind = match foreign {
        Foreign::Java => "java",
        Foreign::Kcat => "kcat",
    };
    let name = lab.topic(&format!("mixed-{kind}-{}", flavour.name));
    let topic = StrBytes::from(name.as_str());
    create(&client, &topic, PARTITIONS).await?;
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("log");
    let mut group = Group::new(&client, &topic);
    let mut stranger = foreign.start(lab, flavour, &name, &log)?;
    let run = async {
        // The foreign one leads.
        shared(&client, &mut group, &topic, 1).await?;
        group.join("a", config(flavour, &name)).await?;
        shared(&client, &mut group, &topic, 2).await?;
        group.join("b", config(flavour, &name)).await?;
        shared(&client, &mut group, &topic, 3).await?;
        // Ours lead.
        stranger.kill()?;
        shared(&client, &mut group, &topic, 2).await?;
        stranger = foreign.start(lab, flavour, &name, &log)?;
        let described = shared(&client, &mut group, &topic, 3).await?;
        let assignor = match flavour.protocol {
            GroupProtocol::Classic => flavour.assignor.name(),
            GroupProtocol::Consumer => "uniform",
        };
        ensure!(described.assignor == *assignor, "{described:?}");
        ensure!(described.members.iter().all(|m| m.topics.contains(&topic)), "{described:?}");
        produce(&client, ProducerConfig::default(), &topic, 600).await?;
        group.until("ours read theirs", |g| g.seen.len() >= 300).await
    };
    run.await.map_err(|error| {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        // The records among it say nothing.
        let said: Vec<_> = said.lines().filter(|line| !line.contains("xxxx")).collect();
        error.context(format!("{kind} said: {}", said.join("\n")))
    })
}
