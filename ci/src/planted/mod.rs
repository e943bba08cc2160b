//! Bugs planted on purpose, which the simulator has to find: `cargo ci planted`.
//!
//! In: `scenarios/planted/*.patch`, each one wrong line or two, with the check that must name it and
//! the scenario that must show it. Out: a table of what was found, after how many seeds, and how
//! small it could be made; an error for each bug that was not found, is not repeatable, stays large,
//! fails without the patch too, or does not apply any more.
//!
//! A copy of the tree is patched and built; the tree itself is only read.
//!
//! Start at [`run`].

mod patch;
mod proof;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::program::Programs;
use crate::tree::Tree;
use crate::workspace::Workspace;
use patch::Patch;
use proof::Lab;
pub use proof::VIOLATION;
pub use table::{Rows, TABLE, page};

/// Bugs that show in a short time that the simulator is not blind. Each needs faults of another kind
/// and is found by another check: a sync that fails and the look at the disk, a lost answer and the
/// history of the producers, none, and the watch over the partitions.
pub const SOME: &[&str] =
    &["retried-sync", "only-the-last-batch-is-a-duplicate", "read-before-sync"];

/// Proves each bug of `names`, all when it is empty, and returns their rows.
///
/// # Errors
/// A bug is not found as it has to be; all are tried first.
pub fn run(workspace: &Workspace, programs: &Programs, names: &[&str]) -> Result<Rows> {
    let patches = patches(workspace, names)?;
    let tree = Tree::copy(workspace, programs)?;
    let lab = Lab::new(tree.work(), programs);
    lab.keep_clean(&tree)?;
    let mut rows = Rows::default();
    let mut errors = Vec::new();
    for patch in &patches {
        let mut apply = tree.command("git");
        apply.args(["apply", "--whitespace=nowarn"]).arg(patch.path());
        let applied = programs.run(&mut apply).context("it does not apply any more");
        let outcome = applied.and_then(|()| lab.prove(&tree, patch));
        tree.reset(workspace)?;
        match outcome {
            Ok(proof) => {
                programs.note(&format!("{}: {proof}", patch.name))?;
                rows.put(patch, &proof);
            }
            Err(error) => errors.push(format!("{}: {error:#}", patch.name)),
        }
    }
    if errors.is_empty() {
        return Ok(rows);
    }
    bail!("{}", errors.join("\n"))
}

/// Checks that every planted bug applies to the code as it is, and that the table lists them all.
///
/// # Errors
/// A patch does not apply, or the table lists others.
pub fn check(workspace: &Workspace, programs: &Programs) -> Result<()> {
    let patches = patches(workspace, &[])?;
    for patch in &patches {
        let mut check = Command::new("git");
        check.current_dir(&workspace.root).args(["apply", "--check"]).arg(patch.path());
        programs.run(&mut check).with_context(|| format!("{} does not apply", patch.name))?;
    }
    let names: Vec<&str> = patches.iter().map(|patch| patch.name.as_str()).collect();
    let written = fs::read_to_string(workspace.root.join(TABLE))?;
    let rows = Rows::of(&written);
    let listed = rows.names();
    ensure!(listed == names, "{TABLE} lists {listed:?}, there are {names:?}: write it anew");
    Ok(())
}

/// Proves [`SOME`].
///
/// # Errors
/// One is not found, or not by its check.
pub fn run_some(workspace: &Workspace, programs: &Programs) -> Result<()> {
    run(workspace, programs, SOME).map(drop)
}

/// The page with what was proved now, and what was proved before of other bugs that are still there.
///
/// # Errors
/// The page or the folder can not be read.
pub fn updated(workspace: &Workspace, now: Rows) -> Result<String> {
    let mut rows = Rows::of(&fs::read_to_string(workspace.root.join(TABLE))?);
    rows.keep(&patches(workspace, &[])?.iter().map(|p| p.name.as_str()).collect::<Vec<_>>());
    rows.extend(now);
    Ok(page(&rows))
}

fn patches(workspace: &Workspace, names: &[&str]) -> Result<Vec<Patch>> {
    let mut patches = Vec::new();
    for file in &workspace.files {
        let Some(rest) = file.path.strip_prefix(patch::FOLDER) else { continue };
        let Some(name) = rest.strip_suffix(".patch") else { continue };
        if names.is_empty() || names.contains(&name) {
            let patch = Patch::parse(name, &file.text);
            patches.push(patch.with_context(|| file.path.clone())?);
        }
    }
    let known: BTreeSet<&str> = patches.iter().map(|patch| patch.name.as_str()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(*name)) {
        bail!("there is no {}{unknown}.patch", patch::FOLDER);
    }
    Ok(patches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_always_proved_are_there_and_differ() {
        let workspace = Workspace::open().unwrap();
        let some = patches(&workspace, SOME).unwrap();
        let differing = |field: fn(&Patch) -> &str| some.iter().map(field).collect::<BTreeSet<_>>();
        assert_eq!(differing(|patch| &patch.check).len(), SOME.len());
        assert_eq!(differing(|patch| &patch.scenario).len(), SOME.len());
    }
}
