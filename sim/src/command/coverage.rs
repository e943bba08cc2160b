//! What a sweep did not try: families of faults that no plan had or that never bit, and rare places
//! of the code that no run reached.
//!
//! Start at [`Coverage::gaps`].

use std::collections::BTreeMap;

use sim::plan::{Family, RUN, expected};
use sim::probes;
use sim::run::Report;
use sim::scenario::Scenario;
use sim::sweep::Efficacies;

/// A family has to have an effect in one of so many runs that have it.
const BITES_ONE_IN: u64 = 10;
/// A family that so many plans should have, and none has, is missing.
const PLANS_MIN: u64 = 20;

/// What the runs of a sweep tried.
#[derive(Default)]
pub(super) struct Coverage {
    pub(super) efficacies: Efficacies,
    /// How many runs reached each probe.
    pub(super) probes: BTreeMap<String, u64>,
    runs: u64,
    /// How many plans should have each family, in thousandths.
    expected: BTreeMap<Family, u64>,
}

impl Coverage {
    pub(super) fn add(&mut self, scenario: &Scenario, report: &Report) {
        self.runs += 1;
        self.efficacies.add(report);
        for probe in report.probes.keys() {
            *self.probes.entry(probe.clone()).or_default() += 1;
        }
        for (family, part) in expected(scenario) {
            *self.expected.entry(family).or_default() += part;
        }
    }

    /// In words, one by one.
    pub(super) fn gaps(&self) -> Vec<String> {
        let places = probes::expected(self.runs);
        let unreached = places.filter(|place| !self.probes.contains_key(*place));
        let unreached = unreached.map(|place| format!("no run got to \"{place}\""));
        self.missing().chain(self.weak()).chain(unreached).collect()
    }

    fn missing(&self) -> impl Iterator<Item = String> {
        let due = self.expected.iter().filter(|(_, plans)| PLANS_MIN * RUN <= **plans);
        let missing = due.filter(|(family, _)| !self.efficacies.0.contains_key(family));
        missing.map(|(family, _)| format!("no plan had {family:?}, and a scenario turns it on"))
    }

    fn weak(&self) -> impl Iterator<Item = String> {
        let all = self.efficacies.0.iter();
        let weak = all.filter(|(_, found)| found.runs_bitten * BITES_ONE_IN < found.runs);
        weak.map(|(family, found)| {
            let (runs, runs_bitten) = (found.runs, found.runs_bitten);
            format!("{family:?} bit in {runs_bitten} of {runs} runs that had it")
        })
    }
}

#[cfg(test)]
mod tests {
    use sim::sweep::Efficacy;

    use super::*;

    #[test]
    fn a_family_that_is_due_and_in_no_plan_is_a_gap() {
        let mut coverage = Coverage::default();
        coverage.expected.insert(Family::Kill, PLANS_MIN * RUN);
        coverage.expected.insert(Family::Rot, PLANS_MIN * RUN - 1);
        coverage.expected.insert(Family::Cut, PLANS_MIN * RUN);
        coverage.efficacies.0.insert(Family::Cut, Efficacy { runs: 10, ..Efficacy::default() });
        let told: Vec<String> = coverage.missing().chain(coverage.weak()).collect();
        let gaps =
            ["no plan had Kill, and a scenario turns it on", "Cut bit in 0 of 10 runs that had it"];
        assert_eq!(told, gaps);
    }
}
