//! What is wrong with the values of a scenario, so that it is told before a run and not by one.
//!
//! In: a scenario. Out: one reason, which names the key. Topics are judged by the controller itself:
//! what it would refuse in a run is refused here.
//!
//! Start at [`fault`].

use metadata::controller::{NewTopic, create_topics};
use metadata::{Image, Record, Restart};
use model::{BrokerEpoch, BrokerId, Offset, Uuid};

use super::Scenario;
use crate::plan::Action;
use crate::runtime::DRIFT_PPM_MIN;
use crate::workload::client_count;

/// What is wrong with `scenario`, if anything is.
pub(super) fn fault(scenario: &Scenario) -> Option<String> {
    if scenario.story.trim().is_empty() {
        return Some("the story is empty: say what the scenario is about".to_owned());
    }
    if scenario.cluster.brokers != 1 {
        let brokers = scenario.cluster.brokers;
        return Some(format!("cluster.brokers is {brokers}; a cluster has one broker so far"));
    }
    fault_in_workload(scenario)
        .or_else(|| fault_in_topics(scenario))
        .or_else(|| scenario.fault_in_groups())
        .or_else(|| fault_in_plan(scenario))
}

fn fault_in_workload(scenario: &Scenario) -> Option<String> {
    let work = &scenario.workload;
    if work.records > 0 && work.idempotent + work.at_least_once + work.at_most_once == 0 {
        return Some("workload.records are to be sent, and there is no producer".to_owned());
    }
    let clients = client_count(scenario);
    let unknown = work.silent_clients.iter().find(|client| !(1..=clients).contains(*client));
    unknown.map(|client| {
        format!("workload.silent_clients names client {client}, and clients are 1 to {clients}")
    })
}

/// What the brokers would not start with, or their controller refuse.
fn fault_in_topics(scenario: &Scenario) -> Option<String> {
    if scenario.topics.is_empty() {
        return Some("there is no topic: add [topics.orders]".to_owned());
    }
    let few = scenario.topics.iter().find(|(_, topic)| topic.partitions < 1);
    if let Some((name, _)) = few {
        return Some(format!("topics.{name}.partitions is below 1"));
    }
    let config = match crate::cluster::config(scenario, 1) {
        Ok(config) => config,
        Err(reason) => return Some(format!("cluster.settings: {reason}")),
    };
    let mut drawn = 0_u128;
    let mut random = || {
        drawn += 1;
        drawn.to_le_bytes()
    };
    let topics = new_topics(scenario);
    let decision = create_topics(&one_live_broker(), &config, &topics, true, &mut random);
    let mut answers = topics.iter().zip(decision.outcome);
    answers.find_map(|(topic, answer)| Some(format!("topics.{:?}: {}", topic.name, answer.err()?)))
}

fn new_topics(scenario: &Scenario) -> Vec<NewTopic> {
    let topics = scenario.topics.iter().map(|(name, topic)| NewTopic {
        name: name.clone(),
        partition_count: topic.partitions,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: topic
            .config
            .iter()
            .map(|(name, value)| (name.clone(), Some(value.clone())))
            .collect(),
    });
    topics.collect()
}

/// A cluster as the controller sees it when its broker has started for the first time.
fn one_live_broker() -> Image {
    let registered = Record::RegisterBroker {
        broker: BrokerId(1),
        epoch: BrokerEpoch(0),
        incarnation: Uuid([1; 16]),
        endpoints: Vec::new(),
        rack: None,
        fenced: false,
        restart: Restart::Clean,
    };
    Image::default().replay(Offset(0), &[registered]).expect("a broker may register first")
}

fn fault_in_plan(scenario: &Scenario) -> Option<String> {
    let plan = scenario.plan.iter().flatten().enumerate();
    let (brokers, clients) = (scenario.cluster.brokers, client_count(scenario));
    let mut wrong = plan.filter_map(|(at, fault)| {
        let reason = fault.what_is_wrong(brokers, clients)?;
        Some(format!("plan, fault {at}: {reason}"))
    });
    wrong.next().or_else(|| {
        let actions = scenario.plan.iter().flatten().map(|fault| &fault.what);
        actions.filter_map(fault_in_action).next()
    })
}

/// What is wrong with an action, if anything is.
fn fault_in_action(action: &Action) -> Option<String> {
    match action {
        Action::ClockDrift { ppm, .. } if *ppm < DRIFT_PPM_MIN => {
            Some(format!("a clock that drifts by {ppm} ppm does not go forward"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    /// The reason why a scenario of this text behind its story is refused.
    fn reason(text: &str) -> String {
        let text = format!("story = \"x\"\n{text}");
        Scenario::parse("x.toml", &text).unwrap_err().to_string()
    }

    fn assert_says(text: &str, words: &[&str]) {
        let reason = reason(text);
        for word in words {
            assert!(reason.contains(word), "{text:?} is refused, but not for {word:?}: {reason}");
        }
    }

    #[test]
    fn what_the_controller_would_refuse_is_told_with_its_key() {
        for (key, value) in
            [("cleanup.policy", "foo"), ("retention.ms", "abc"), ("klamm.durability", "osx")]
        {
            let text = format!("[topics.orders.config]\n\"{key}\" = \"{value}\"\n");
            assert_says(&text, &["topics.\"orders\"", key, value, "must be"]);
        }
        let misspelt = "[topics.orders.config]\n\"retention.mss\" = \"1\"\n";
        assert_says(misspelt, &["retention.mss", "did you mean"]);
        assert_says("[topics.\"a b\"]\n", &["topics.\"a b\"", "character"]);
        assert_says("[topics.\"a.b\"]\n[topics.a_b]\n", &["mixed up"]);
        assert_says("[topics.__klamm_metadata]\n", &["belongs to the cluster"]);
    }

    #[test]
    fn a_setting_of_the_brokers_is_named_and_no_line_of_a_text_that_nobody_wrote() {
        let text = "[topics.orders]\n[cluster.settings]\n\"log.retention.ms\" = \"abc\"\n";
        assert_says(text, &["cluster.settings: config `log.retention.ms` is `abc`"]);
    }

    #[test]
    fn only_clients_that_there_are_can_be_silent() {
        for client in [0, 7, 99] {
            let text = format!("[topics.orders]\n[workload]\nsilent_clients = [{client}]\n");
            assert_says(&text, &["silent_clients", &client.to_string(), "1 to 6"]);
        }
        let text = "story = \"x\"\n[topics.orders]\n[workload]\nsilent_clients = [1, 6]\n";
        assert!(Scenario::parse("x.toml", text).is_ok());
    }
}
