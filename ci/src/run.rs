//! Runs stages, one after the other or two at once, and tells how they ended.
//!
//! Out: a line per stage with its time, the output of what failed, and a last line alone:
//! `N passed, N failed` or `N passed, N failed, N skipped`. The exit status is 0 only if nothing
//! failed; with `CI=true` a stage that is skipped has failed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::program::{Programs, Tally};
use crate::stages::Stage;
use crate::workspace::Workspace;

/// So many stages that wait most of their time run beside each other.
const LANES: usize = 2;

/// How a stage ended.
enum End {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Report {
    name: &'static str,
    end: End,
    tally: Tally,
    took: Duration,
}

/// Runs the stages in order and prints the report.
///
/// # Errors
/// The report can not be written.
pub fn run(workspace: &Workspace, stages: &[&Stage]) -> Result<ExitCode> {
    let begun = Instant::now();
    let must_run_all = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut reports = Vec::new();
    for stages in stages.chunk_by(|a, b| a.waits && b.waits) {
        let lanes = if stages.len() == 1 { 1 } else { LANES };
        reports.extend(run_beside(stages, lanes, &|stage| {
            let report = run_one(workspace, stage, must_run_all);
            tell(&report)?;
            Ok(report)
        })?);
    }
    print!("{}", summary(&reports, begun.elapsed()));
    let failed = reports.iter().any(|report| matches!(report.end, End::Failed(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs stages on so many threads, each taking the next one; the reports are in the stages' order.
fn run_beside<R: Send>(
    stages: &[&Stage],
    lanes: usize,
    run: &(dyn Fn(&Stage) -> Result<R> + Sync),
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let lane = || -> Vec<(usize, Result<R>)> {
        let places = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let mine = places.map_while(|place| Some((place, *stages.get(place)?)));
        mine.map(|(place, stage)| (place, run(stage))).collect()
    };
    let mut reports: Vec<_> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("a lane does not panic")).collect()
    });
    reports.sort_by_key(|(place, _)| *place);
    reports.into_iter().map(|(_, report)| report).collect()
}

fn tell(report: &Report) -> Result<()> {
    let mut text = format!("{:<16}{}\n", report.name, line(report));
    if let End::Failed(output) = &report.end {
        let _ = writeln!(text, "{}\n", output.trim_end());
    }
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn run_one(workspace: &Workspace, stage: &Stage, must_run: bool) -> Report {
    let begun = Instant::now();
    let missing: Vec<&str> =
        stage.tools.iter().filter(|tool| !tool.is_here()).map(|tool| tool.name()).collect();
    let (end, tally) = if missing.is_empty() {
        run_body(workspace, stage, must_run)
    } else {
        let why = format!("{} not found", missing.join(", "));
        if must_run {
            (End::Failed(why), Tally { failed: 1, ..Tally::default() })
        } else {
            (End::Skipped(why), Tally { skipped: 1, ..Tally::default() })
        }
    };
    Report { name: stage.name, end, tally, took: begun.elapsed() }
}

fn run_body(workspace: &Workspace, stage: &Stage, must_run: bool) -> (End, Tally) {
    let log = workspace.target().join("ci").join(format!("{}.log", stage.name));
    let programs = match Programs::new(&log, stage.limit) {
        Ok(programs) => programs,
        Err(error) => {
            return (End::Failed(format!("{error:#}")), Tally { failed: 1, ..Tally::default() });
        }
    };
    let result = (stage.run)(stage, workspace, &programs);
    let output = programs.output();
    let mut tally = Tally::of_tests(&output);
    match result {
        Ok(()) if must_run && tally.skipped > 0 => {
            tally.failed += tally.skipped;
            tally.skipped = 0;
            (End::Failed(format!("{output}\ntests were skipped, and CI=true")), tally)
        }
        Ok(()) => {
            if tally == Tally::default() {
                tally = Tally::ONE;
            }
            (End::Passed, tally)
        }
        Err(error) => {
            tally.failed = tally.failed.max(1);
            (End::Failed(format!("{output}\n{error:#}")), tally)
        }
    }
}

fn line(report: &Report) -> String {
    let seconds = report.took.as_secs_f64();
    let Tally { passed, failed, skipped } = report.tally;
    let mut text = match &report.end {
        End::Passed => format!("ok      {seconds:>8.1} s"),
        End::Failed(_) => format!("FAILED  {seconds:>8.1} s"),
        End::Skipped(why) => return format!("skipped {seconds:>8.1} s  {why}"),
    };
    if passed + failed + skipped > 1 {
        let _ = write!(text, "  {passed} passed, {failed} failed");
    }
    if skipped > 0 {
        let _ = write!(text, ", {skipped} skipped");
    }
    text
}

fn summary(reports: &[Report], took: Duration) -> String {
    let mut all = Tally::default();
    let mut text = String::new();
    for report in reports {
        all.add(report.tally);
        match &report.end {
            End::Passed => {}
            End::Failed(_) => writeln!(text, "failed: {}", report.name).unwrap_or_default(),
            End::Skipped(why) => {
                writeln!(text, "skipped: {}: {why}", report.name).unwrap_or_default()
            }
        }
    }
    let _ = writeln!(text, "{} stages in {:.1} s", reports.len(), took.as_secs_f64());
    let _ = write!(text, "{} passed, {} failed", all.passed, all.failed);
    if all.skipped > 0 {
        let _ = write!(text, ", {} skipped", all.skipped);
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &'static str, end: End, tally: Tally) -> Report {
        Report { name, end, tally, took: Duration::from_millis(1500) }
    }

    #[test]
    fn stages_that_run_beside_each_other_report_in_their_order() {
        let stages: Vec<&Stage> = crate::stages::STAGES.iter().take(5).collect();
        let barrier = std::sync::Barrier::new(2);
        let names = run_beside(&stages, 2, &|stage| {
            // Both lanes have to be at work before the first one goes on.
            if stage.name == stages[0].name || stage.name == stages[1].name {
                barrier.wait();
            }
            Ok(stage.name)
        });
        let expected: Vec<&str> = stages.iter().map(|stage| stage.name).collect();
        assert_eq!(names.unwrap(), expected);
        let failing = run_beside::<()>(&stages, 1, &|stage| anyhow::bail!("{}", stage.name));
        assert_eq!(failing.unwrap_err().to_string(), stages[0].name);
    }

    #[test]
    fn the_last_line_counts() {
        let good = || report("unit", End::Passed, Tally { passed: 7, failed: 0, skipped: 0 });
        let text = summary(&[good()], Duration::from_secs(2));
        assert_eq!(text, "1 stages in 2.0 s\n7 passed, 0 failed\n");
        let bad = report("tidy", End::Failed("x".into()), Tally { failed: 1, ..Tally::default() });
        let skipped = report(
            "foreign-go",
            End::Skipped("go".into()),
            Tally { skipped: 1, ..Tally::default() },
        );
        let text = summary(&[good(), bad, skipped], Duration::from_secs(2));
        assert_eq!(
            text,
            "failed: tidy\nskipped: foreign-go: go\n3 stages in 2.0 s\n7 passed, 1 failed, 1 skipped\n"
        );
    }
}
