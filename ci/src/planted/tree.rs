//! A copy of the tree that can be patched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::patch::Patch;
use crate::program::Programs;
use crate::workspace::{Workspace, cargo};

/// The copy, with a target directory of its own beside it.
pub struct Tree {
    root: PathBuf,
    target: PathBuf,
}

impl Tree {
    /// Copies the text files of `workspace` to `work/tree`. A file that is the same already is left
    /// alone, so that cargo does not build it again.
    ///
    /// # Errors
    /// A file can not be written.
    pub fn copy(workspace: &Workspace, work: &Path) -> Result<Tree> {
        let tree = Tree { root: work.join("tree"), target: work.join("target") };
        for file in &workspace.files {
            tree.write(&file.path, &file.text)?;
        }
        Ok(tree)
    }

    /// The copy's top.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let place = self.root.join(path);
        if fs::read(&place).is_ok_and(|bytes| bytes == text.as_bytes()) {
            return Ok(());
        }
        fs::create_dir_all(place.parent().context("a file has a folder")?)?;
        fs::write(&place, text).with_context(|| place.display().to_string())
    }

    /// Applies the patch.
    ///
    /// # Errors
    /// It does not fit the tree any more.
    pub fn apply(&self, patch: &Patch, programs: &Programs) -> Result<()> {
        let mut git = Command::new("git");
        // The copy is no repository, though it may lie inside one.
        let above = self.root.parent().context("the copy lies in a folder")?;
        git.current_dir(&self.root).env("GIT_CEILING_DIRECTORIES", above);
        let file = format!("scenarios/planted/{}.patch", patch.name);
        programs
            .run(git.args(["apply", "--whitespace=nowarn"]).arg(file))
            .with_context(|| format!("{} does not apply any more", patch.name))
    }

    /// Takes the patch back.
    ///
    /// # Errors
    /// A file can not be written.
    pub fn restore(&self, workspace: &Workspace, patch: &Patch) -> Result<()> {
        for path in patch.files() {
            let text = workspace.text(path).with_context(|| format!("there is no {path}"))?;
            self.write(path, text)?;
        }
        Ok(())
    }

    /// Builds the simulator and returns its path.
    ///
    /// # Errors
    /// It does not build.
    pub fn build(&self, programs: &Programs) -> Result<PathBuf> {
        let mut build = cargo();
        build.current_dir(&self.root).args(["build", "--quiet", "--profile", "sim", "-p", "sim"]);
        programs.run(build.arg("--target-dir").arg(&self.target))?;
        Ok(self.target.join("sim").join("klamm-sim"))
    }
}
