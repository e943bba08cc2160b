//! What faults of an explicit plan do in whole runs.

use std::sync::Arc;

use super::*;
use crate::run::{Report, Watch};
use crate::scenario::{Scenario, WorkloadSpec};
use crate::sweep::run_alone;

/// Runs a small scenario of one producer with `plan`; returns what became of its faults.
fn effects(plan: Vec<Fault>) -> Vec<bool> {
    let report = play(plan);
    assert_eq!(report.failures(), []);
    report.faults.iter().map(|struck| struck.had_effect).collect()
}

fn play(plan: Vec<Fault>) -> Report {
    let text = "story = \"faults\"\nseconds = 8\n[topics.orders]\n";
    let workload = WorkloadSpec {
        records: 200,
        idempotent: 1,
        at_least_once: 0,
        at_most_once: 0,
        readers: 1,
        ..WorkloadSpec::default()
    };
    let scenario = Scenario::parse("test.toml", text).unwrap();
    let scenario = Scenario { workload, plan: Some(plan), ..scenario };
    run_alone(&Arc::new(scenario), 1, Watch::default()).unwrap()
}

fn at(ms: u64, what: Action) -> Fault {
    Fault { when: Trigger::At { ms }, what }
}

#[test]
fn the_key_of_a_fault_is_its_own() {
    let fault = |ms, broker| at(ms, Action::Kill { broker, down_ms: 5 });
    let all = keys(&[fault(1, 1), fault(2, 1), fault(1, 1), fault(1, 2)]);
    assert_eq!(keys(&[fault(2, 1), fault(1, 1), fault(1, 1)]), [all[1], all[0], all[2]]);
    assert_ne!(all[0], all[2]);
}

#[test]
fn a_fault_without_consequence_had_no_effect() {
    // Everybody is connected by then.
    let refuse = Action::Refuse { broker: 1, ms: 300 };
    assert_eq!(effects(vec![at(1_000, refuse.clone())]), [false]);
    // A reader connects again at once.
    let reset = at(1_100, Action::Reset { client: 2, broker: 1 });
    assert_eq!(effects(vec![at(1_000, refuse), reset]), [true, true]);
    let cut = |ms| Action::Cut { client: 1, broker: 1, cut: crate::plan::Cut::Both, ms };
    assert_eq!(effects(vec![at(500, cut(1_500))]), [true]);
    // The producer's share is done, and nobody else is client 1.
    assert_eq!(effects(vec![at(7_900, cut(1))]), [false]);
}

#[test]
fn who_stands_still_or_goes_for_a_while_comes_back() {
    let plan = vec![
        at(500, Action::Pause { broker: 1, ms: 300 }),
        // Ends before the other one, and nothing was due meanwhile.
        at(600, Action::Pause { broker: 1, ms: 10 }),
        at(1_000, Action::ClientPause { client: 1, ms: 400 }),
        at(2_000, Action::ClientPowerLoss { client: 1, down_ms: 300 }),
        at(3_000, Action::CrashAtStop { broker: 1, after_us: 100, down_ms: 200, power: true }),
        at(4_000, Action::SlowLinks { latency_us: 9, bytes_per_second: 9_000, window_bytes: 900 }),
    ];
    assert_eq!(effects(plan), [true, false, true, true, true, true]);
}

#[test]
fn a_client_without_power_excuses_nothing() {
    let report = play(vec![at(700, Action::ClientPowerLoss { client: 1, down_ms: 300 })]);
    let is_loss = |event: &history::Event| matches!(event.what, history::What::PowerLoss { .. });
    // That the brokers' disks are judged without power is no part of the run.
    assert_eq!(report.history.events.iter().filter(|event| is_loss(event)).count(), 0);
    let report = play(vec![at(700, Action::PowerLoss { broker: 1, down_ms: 300 })]);
    assert_eq!(report.history.events.iter().filter(|event| is_loss(event)).count(), 1);
}

#[test]
fn a_crash_can_strike_when_a_response_has_arrived() {
    let when = |phase| Trigger::Frame {
        api: "Produce".to_owned(),
        way: crate::plan::Way::Response,
        nth: 3,
        phase,
    };
    let strike = |phase| {
        let what = Action::PowerLoss { broker: 1, down_ms: 300 };
        let report = play(vec![Fault { when: when(phase), what }]);
        assert_eq!(report.failures(), []);
        assert!(report.faults[0].at.is_some());
    };
    strike(Moment::Left);
    strike(Moment::Arrived);
}
