//! Reports of real runs, and pages of accounts that nobody would want.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;

/// The page opens at once and fits into a mail.
const PAGE_BYTES_MAX: usize = 1_000_000;

fn named(path: &str) -> Named {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let scenario = Scenario::read(&path).unwrap();
    Named { name: path.display().to_string(), scenario: Arc::new(scenario) }
}

#[test]
fn a_report_shows_the_run_that_a_sweep_runs() {
    let named = named("scenarios/smoke/power.toml");
    let told = account(&named, 3, Duration::from_secs(5)).unwrap();
    let swept = run_alone(&named.scenario, 3, Watch::default()).unwrap();
    assert_eq!(told.hash, format!("{:032x}", swept.hash), "recording changes nothing");
    assert_eq!(told.findings, []);
    assert_eq!(told.faults.len(), swept.faults.len());
    assert_eq!(told.ledger.len() as u64, swept.verdict.figures.sent);
    assert!(told.minimal.is_none());
}

#[test]
fn an_acknowledged_record_was_written_synced_and_only_then_acknowledged() {
    let named = named("scenarios/smoke/power.toml");
    let told = account(&named, 5, Duration::from_secs(5)).unwrap();
    let mut checked = 0;
    for row in &told.ledger {
        let is_acknowledged = row.outcome.as_deref().is_some_and(|told| told.starts_with("ack"));
        if row.promise == "at most once" || !is_acknowledged {
            continue;
        }
        let (Some(appended), Some(synced), Some(ended)) = (row.appended, row.synced, row.ended)
        else {
            panic!("a step is missing: {row:?}");
        };
        assert!(row.sent <= appended && appended <= synced && synced <= ended, "{row:?}");
        assert!(row.offsets.is_superset(&row.stored), "{row:?}");
        checked += 1;
    }
    assert!(500 < checked, "{checked} acknowledged records");
}

/// An account with as much of everything as a run could have, and more, in words that try to be
/// markup.
fn hostile() -> Account {
    let evil = "</pre></svg><script>alert('1' & \"2\")</script>\u{0}";
    let long = evil.repeat(200);
    let row = |at: u64| Row {
        record: format!("p{at}#{at}"),
        promise: "idempotent",
        partition: evil.to_owned(),
        sent: at,
        appended: Some(at + 1),
        offsets: BTreeSet::from([1, 2]),
        synced: None,
        ended: Some(at + 2),
        outcome: Some(long.clone()),
        fetched: None,
        stored: BTreeSet::new(),
        fate: Fate::Lost,
        is_bad: true,
    };
    let fault = FaultRow {
        when: evil.to_owned(),
        what: evil.to_owned(),
        struck: Some(7),
        had_effect: true,
        without: Some(long.clone()),
    };
    Account {
        scenario: evil.to_owned(),
        story: evil.to_owned(),
        seed: evil.to_owned(),
        hash: evil.to_owned(),
        findings: vec![Finding { check: evil.to_owned(), text: long.clone() }; 10_000],
        faults: vec![fault; 12],
        minimal: Some(Minimal {
            faults: vec![evil.to_owned()],
            without: vec![Some(Finding::new(evil, evil))],
            records: 1,
            is_minimal: false,
            toml: evil.to_owned(),
        }),
        focus: Some(evil.to_owned()),
        moments: moments::tests::hostile(evil),
        moments_left_out: 5,
        ledger: (0..20_000).map(row).collect(),
        log: vec![Said { at: 1, text: long }; 5_000],
        figures: BTreeMap::from([(evil.to_owned(), 1)]),
    }
}

#[test]
fn nothing_that_a_run_says_becomes_markup() {
    let page = hostile().to_html();
    assert!(!page.contains("<script"));
    assert!(!page.contains('\u{0}'));
    // One end of each: none came from the words.
    assert_eq!(page.matches("</svg>").count(), 1);
    assert_eq!(page.matches("</body>").count(), 1);
}

#[test]
fn a_page_is_never_too_large_to_open() {
    let page = hostile().to_html();
    assert!(page.len() < PAGE_BYTES_MAX, "{} bytes", page.len());
}

#[test]
fn a_page_needs_nothing_but_itself() {
    let page = hostile().to_html();
    for outside in ["src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn every_end_of_every_message_has_its_row_in_the_diagram() {
    let moments = moments::tests::hostile("words");
    let svg = diagram::diagram(&moments);
    let arrivals = moments.iter().filter_map(|moment| moment.message.as_ref()?.arrived).count();
    assert_eq!(svg.matches("<g>").count(), moments.len() + arrivals);
    let lost = moments.iter().filter_map(|moment| moment.message.as_ref()).count() - arrivals;
    assert_eq!(svg.matches("class=\"message lost\"").count(), lost);
}
