//! Bugs planted on purpose, which the simulator has to find: `cargo ci planted`.
//!
//! In: `scenarios/planted/*.patch`, each one wrong line or two, with the check that must name it and
//! the scenario that must show it. Out: a table of what was found, after how many seeds, and how
//! small it could be made; an error for each bug that was not found, is not repeatable, stays large,
//! fails without the patch too, or does not apply any more.
//!
//! A copy of the tree is patched and built beside it; the tree itself is only read.
//!
//! Start at [`run`].

mod patch;
mod proof;
mod table;
mod tree;

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use crate::program::Programs;
use crate::workspace::Workspace;
use patch::Patch;
use proof::Lab;
pub use table::TABLE;
use tree::Tree;

/// Proves each bug of `names`, all when it is empty, and returns the table.
///
/// # Errors
/// A bug is not found as it has to be; all are tried first.
pub fn run(workspace: &Workspace, programs: &Programs, names: &[&str]) -> Result<String> {
    let patches = patches(workspace, names)?;
    let work = workspace.target().join("planted");
    let tree = Tree::copy(workspace, &work)?;
    let lab = Lab::new(&work, programs);
    lab.keep_clean(&tree)?;
    let mut rows = Vec::new();
    let mut errors = Vec::new();
    for patch in &patches {
        tree.apply(patch, programs)?;
        let outcome = lab.prove(&tree, patch);
        tree.restore(workspace, patch)?;
        match outcome {
            Ok(proof) => {
                programs.note(&format!("{}: {proof}", patch.name))?;
                rows.push((patch, proof));
            }
            Err(error) => errors.push(format!("{}: {error:#}", patch.name)),
        }
    }
    if errors.is_empty() {
        return Ok(table::table(&rows));
    }
    bail!("{}", errors.join("\n"))
}

fn patches(workspace: &Workspace, names: &[&str]) -> Result<Vec<Patch>> {
    let mut patches = Vec::new();
    for file in &workspace.files {
        let Some(rest) = file.path.strip_prefix("scenarios/planted/") else { continue };
        let Some(name) = rest.strip_suffix(".patch") else { continue };
        if names.is_empty() || names.contains(&name) {
            let patch = Patch::parse(name, &file.text);
            patches.push(patch.with_context(|| file.path.clone())?);
        }
    }
    let known: BTreeSet<&str> = patches.iter().map(|patch| patch.name.as_str()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(*name)) {
        bail!("there is no scenarios/planted/{unknown}.patch");
    }
    Ok(patches)
}
