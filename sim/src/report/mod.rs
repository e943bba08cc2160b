//! A report on one run, for a person who wants to understand it: the verdict, what happened to the
//! bad record and where, the faults with what each did and what happens without it, and the ledger
//! of all records.
//!
//! In: a scenario and a seed. The run is recorded, which does not change it; when it fails, it is
//! run again without each of its faults, and shrunk. Out: an [`Account`], which is the JSON, and its
//! page.
//!
//! Start at [`account`].

mod diagram;
mod frames;
mod ledger;
mod moments;
mod page;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use history::RecordId;
use serde::Serialize;

pub use ledger::{Fate, Row};
pub use moments::{MOMENTS_MAX, Message, Moment};

use crate::plan::{Fault, draw};
pub use crate::run::Finding;
use crate::run::{Report, Watch};
use crate::scenario::{FaultsSpec, Scenario};
use crate::shrink::{Limits, Shrunk, shrink};
use crate::sweep::{Named, run_alone};
use crate::workload::client_count;
use crate::world::{Kind, Nanos};
use frames::frames;
use ledger::{Ledger, ledger};
use moments::{Focus, moments};

/// A fault of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultRow {
    /// Its trigger, in words.
    pub when: String,
    /// What it does, in words.
    pub what: String,
    /// When it struck; `None` when its trigger never came.
    pub struck: Option<Nanos>,
    /// Whether that did anything.
    pub had_effect: bool,
    /// What happens without it; `None` when the run passes with it, or there was no time to try.
    pub without: Option<String>,
}

/// The smallest plan that fails in the same check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Minimal {
    /// Its faults.
    pub faults: Vec<String>,
    /// What happens without each of them.
    pub without: Vec<Option<Finding>>,
    /// How many records are left.
    pub records: u32,
    /// Whether there was time to make sure that no fault can be spared.
    pub is_minimal: bool,
    /// The scenario with the plan.
    pub toml: String,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// When.
    pub at: Nanos,
    /// Level, module and words.
    pub text: String,
}

/// Everything that the page shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Account {
    /// The scenario's file.
    pub scenario: String,
    /// What the scenario is about.
    pub story: String,
    /// The seed, as commands take it.
    pub seed: String,
    /// The hash of all events.
    pub hash: String,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// The plan.
    pub faults: Vec<FaultRow>,
    /// The smallest plan, when something was found and faults have to do with it.
    pub minimal: Option<Minimal>,
    /// The record that the moments are about.
    pub focus: Option<String>,
    /// What happened to it and around it.
    pub moments: Vec<Moment>,
    /// How many moments did not fit.
    pub moments_left_out: usize,
    /// Every record, in the order of producers and of their sends.
    pub ledger: Vec<Row>,
    /// What brokers and clients logged.
    pub log: Vec<Said>,
    /// Figures of the run.
    pub figures: BTreeMap<String, u64>,
}

/// Runs `named` with `seed` and tells all about it. What it takes to know what happens without the
/// faults is limited to `time`.
///
/// # Errors
/// What is wrong with the scenario.
pub fn account(named: &Named, seed: u64, time: Duration) -> Result<Account, String> {
    let scenario = &named.scenario;
    let report = run_alone(scenario, seed, Watch { is_recording: true })?;
    let findings = report.failures();
    let (without, minimal) = match findings.first() {
        None => (Vec::new(), None),
        Some(worst) => what_if(scenario, seed, &worst.check, time)?,
    };
    let (focus, bad) = bad_records(&report);
    let ledger = ledger(&report.history, &report.film, &report.verdict.violations, &bad);
    let frames = frames(&report.film);
    let (moments, moments_left_out) = moments(&report, &frames, &ledger, &focus);
    Ok(Account {
        scenario: named.name.clone(),
        story: scenario.story.clone(),
        seed: format!("{seed:#x}"),
        hash: format!("{:032x}", report.hash),
        findings,
        faults: fault_rows(&report, without),
        minimal,
        focus: focus.record.map(|id| id.to_string()),
        moments,
        moments_left_out,
        log: said(&report),
        figures: figures(&report),
        ledger: rows_in_order(ledger),
    })
}

fn rows_in_order(ledger: Ledger) -> Vec<Row> {
    ledger.rows.into_values().collect()
}

/// The record that the worst finding is about, and all that findings name.
fn bad_records(report: &Report) -> (Focus, BTreeSet<RecordId>) {
    let violations = &report.verdict.violations;
    let named = violations.iter().filter_map(|found| found.record);
    let not_durable = report.not_durable.iter().map(|found| found.id);
    let bad: BTreeSet<RecordId> = named.chain(not_durable).collect();
    let with_record = violations.iter().find(|found| found.record.is_some());
    let focus = match (with_record.or(violations.first()), report.not_durable.first()) {
        (Some(found), _) => Focus {
            record: found.record.or_else(|| record_at(report, found)),
            partition: found.partition.as_ref().map(ToString::to_string),
        },
        (None, Some(found)) => {
            Focus { record: Some(found.id), partition: Some(found.partition.to_string()) }
        }
        (None, None) => Focus { record: None, partition: None },
    };
    (focus, bad)
}

/// The record that was acknowledged at the place of a finding that names none.
fn record_at(report: &Report, found: &history::Violation) -> Option<RecordId> {
    let stored = report.history.stored.get(found.partition.as_ref()?)?;
    let seen = stored.records.iter().find(|seen| Some(seen.offset) == found.offset)?;
    match seen.content {
        history::Content::Record(id) | history::Content::Altered(id) => Some(id),
        history::Content::Foreign => None,
    }
}

fn fault_rows(report: &Report, without: Vec<Option<String>>) -> Vec<FaultRow> {
    let mut without = without.into_iter();
    let row = |struck: &crate::fault::Struck| FaultRow {
        when: struck.fault.when.to_string(),
        what: struck.fault.what.to_string(),
        struck: struck.at,
        had_effect: struck.had_effect,
        without: without.next().flatten(),
    };
    report.faults.iter().map(row).collect()
}

/// What happens without each fault of the plan, and the smallest plan.
fn what_if(
    scenario: &Scenario,
    seed: u64,
    check: &str,
    time: Duration,
) -> Result<(Vec<Option<String>>, Option<Minimal>), String> {
    let begun = Instant::now();
    let plan = draw(scenario, seed, client_count(scenario));
    let mut without = Vec::new();
    for at in 0..plan.len() {
        if time / 2 < begun.elapsed() {
            break;
        }
        let mut rest = plan.clone();
        rest.remove(at);
        let report = run_alone(&explicit(scenario, seed, rest).into(), seed, Watch::default())?;
        without.push(Some(told_without(&report, check)));
    }
    let limits = Limits { time: time.saturating_sub(begun.elapsed()), ..Limits::default() };
    // The check fails, so there is something to shrink.
    let minimal = shrink(scenario, seed, Some(check), limits).ok().map(Minimal::of);
    Ok((without, minimal))
}

fn explicit(scenario: &Scenario, seed: u64, plan: Vec<Fault>) -> Scenario {
    let faults = FaultsSpec::default();
    Scenario { plan: Some(plan), seed: Some(seed), faults, ..scenario.clone() }
}

fn told_without(report: &Report, check: &str) -> String {
    let failures = report.failures();
    match failures.iter().find(|found| found.check == check).or(failures.first()) {
        None => "passes".to_owned(),
        Some(found) if found.check == check => "fails the same check".to_owned(),
        Some(found) => format!("fails otherwise: {}", found.text),
    }
}

impl Minimal {
    fn of(shrunk: Shrunk) -> Minimal {
        let records = shrunk.records();
        Minimal {
            faults: shrunk.without.iter().map(|(fault, _)| fault.to_string()).collect(),
            without: shrunk.without.into_iter().map(|(_, finding)| finding).collect(),
            records,
            is_minimal: shrunk.is_minimal,
            toml: shrunk.scenario.to_toml(),
        }
    }

    /// What happens without its faults, in a sentence each.
    fn in_words(&self) -> String {
        let sentences =
            self.faults.iter().zip(&self.without).map(|(fault, without)| match without {
                None => format!("Without “{fault}” it passes."),
                Some(found) => format!("Without “{fault}” it fails otherwise: {}.", found.text),
            });
        let mut words: Vec<String> = sentences.collect();
        if !self.is_minimal {
            words.push("There was no time to make sure that none can be spared.".to_owned());
        }
        words.join(" ")
    }
}

impl Account {
    /// The page, as HTML.
    pub fn to_html(&self) -> String {
        page::page(self)
    }

    /// How many records have which fate.
    fn fates_in_words(&self) -> String {
        let mut fates: BTreeMap<Fate, u64> = BTreeMap::new();
        for row in &self.ledger {
            *fates.entry(row.fate).or_default() += 1;
        }
        let words: Vec<String> =
            fates.iter().map(|(fate, count)| format!("{count} {}", fate.name())).collect();
        format!("{} records: {}.", self.ledger.len(), words.join(", "))
    }
}

fn said(report: &Report) -> Vec<Said> {
    let lines = report.lines.iter().filter(|line| line.kind == Kind::Log);
    lines.map(|line| Said { at: line.at, text: line.text.clone() }).collect()
}

fn figures(report: &Report) -> BTreeMap<String, u64> {
    let figures = &report.verdict.figures;
    let mut all: BTreeMap<String, u64> = [
        ("records sent", figures.sent),
        ("records acknowledged", figures.acknowledged),
        ("records refused", figures.refused),
        ("records of unknown fate", figures.unknown),
        ("records there at the end", figures.stored),
        ("of these, repeated", figures.repeated),
        ("records read meanwhile", figures.read),
        ("records processed by groups", figures.processed),
        ("commits of groups", figures.commits),
        ("starts of brokers", report.starts),
        ("events", report.events),
        ("simulated milliseconds", report.passed / 1_000_000),
    ]
    .map(|(name, figure)| (name.to_owned(), figure))
    .into();
    for (excuse, count) in &report.verdict.excused {
        all.insert(format!("excused: {excuse}"), *count);
    }
    all
}
