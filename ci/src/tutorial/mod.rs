//! The ten minutes with the simulator, taken as docs/simulation.md tells them: `cargo ci tutorial`.
//!
//! In: the section's blocks marked `sh`, run line by line in a copy of the tree, and the block marked
//! `text` behind one, which holds what the last of its commands prints. Out: an error that names the
//! line of the page which is not true.
//!
//! A command that plays has to find something as long as a bug is planted, and nothing else. What the
//! page writes is gone, and the tree as it was, when the ten minutes are over.
//!
//! Start at [`run`].

mod compare;
mod page;

use anyhow::{Context, Result, anyhow, ensure};

use crate::planted::VIOLATION;
use crate::program::Programs;
use crate::tree::Tree;
use crate::workspace::Workspace;
use page::{Kind, Step};

/// Where the tutorial is.
const PAGE: &str = "docs/simulation.md";

/// Takes every step of the page.
///
/// # Errors
/// The page is not true.
pub fn run(workspace: &Workspace, programs: &Programs) -> Result<()> {
    let steps = steps(workspace)?;
    let tree = Tree::copy(workspace, programs)?;
    let walked = walk(&steps, &tree, programs);
    // The reader is told to remove them.
    let left = tree.reset(workspace)?;
    walked?;
    let mut written: Vec<&str> = steps.iter().filter_map(Step::writes).collect();
    written.sort_unstable();
    ensure!(left == written, "{PAGE} writes {written:?}, but the copy differed in {left:?}");
    Ok(())
}

/// The steps, which lead from a bug that is planted to a scenario that passes without it.
fn steps(workspace: &Workspace) -> Result<Vec<Step>> {
    let steps = page::steps(workspace.text(PAGE).context(PAGE)?)?;
    let mut kinds = steps.iter().map(Step::kind);
    let way = [Kind::Play, Kind::Plant, Kind::Play, Kind::Promote, Kind::TakeBack];
    for wanted in way {
        let is_there = kinds.any(|kind| kind == wanted);
        ensure!(is_there, "{PAGE} has no command of kind {wanted:?} where it is due in {way:?}");
    }
    let promoted = steps.iter().find(|step| step.kind() == Kind::Promote);
    let promoted = promoted.and_then(Step::writes).context("promote names no file")?;
    let last = steps.last().context("no steps")?;
    let is_tried = last.kind() == Kind::Play && last.command.contains(promoted);
    ensure!(is_tried, "{PAGE} has to end with a run of {promoted}");
    Ok(steps)
}

fn walk(steps: &[Step], tree: &Tree, programs: &Programs) -> Result<()> {
    let mut is_planted = false;
    for step in steps {
        let place = || format!("{PAGE}:{}: {}", step.line, step.command);
        let must_find = is_planted && step.kind() == Kind::Play;
        let expected = if must_find { VIOLATION } else { 0 };
        let mut shell = tree.command("sh");
        let printed = programs.output_of(shell.args(["-c", &step.command]), &[expected]);
        let printed = String::from_utf8(printed.with_context(place)?).with_context(place)?;
        compare::compare(&step.expected, &printed)
            .map_err(|problem| anyhow!("{PAGE}:{problem}\n{printed}"))?;
        match step.kind() {
            Kind::Plant => is_planted = true,
            Kind::TakeBack => is_planted = false,
            Kind::Play | Kind::Promote | Kind::Other => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_all_steps() {
        let steps = steps(&Workspace::open().unwrap()).unwrap();
        let shown = steps.iter().flat_map(|step| &step.expected);
        let violations = shown.filter(|(_, line)| line.contains("VIOLATION")).count();
        assert!(violations > 0, "the page shows no violation");
    }
}
