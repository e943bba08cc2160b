//! A copy of the tree that can be changed and built; the tree itself is only read.
//!
//! The copy has a target directory of its own. Cargo names what it builds of a workspace alike in
//! every copy of it and goes by times to tell what is fresh, so that copies which share a directory
//! get each other's programs. What the first copy would build once more, dependencies above all, it
//! takes over from the workspace, together with the times of the sources that it was built from.
//!
//! Start at [`Tree::copy`].

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::program::Programs;
use crate::workspace::{Workspace, cargo, text_files};

/// What cargo has to build.
const BUILD: &[&str] = &["build", "--quiet", "--profile", "sim", "-p", "sim"];

/// The folder of a target directory in which the profile's builds are.
const PROFILE: &str = "sim";

/// The copy, with a target directory of its own beside it.
pub struct Tree {
    work: PathBuf,
    root: PathBuf,
    target: PathBuf,
}

impl Tree {
    /// Copies the text files of `workspace`. A file that is the same already is left alone, so that
    /// cargo does not build it again.
    ///
    /// # Errors
    /// A file can not be written, or the first copy finds that the simulator does not build.
    pub fn copy(workspace: &Workspace, programs: &Programs) -> Result<Tree> {
        let work = workspace.target().join("planted");
        let tree = Tree { root: work.join("tree"), target: work.join("target"), work };
        tree.reset(workspace)?;
        if !tree.target.exists() {
            tree.take_over_builds(workspace, programs)?;
        }
        Ok(tree)
    }

    /// The copy's top.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder for what belongs to no tree.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Makes the copy the same as `workspace` again. Returns the paths of the files that were not.
    ///
    /// # Errors
    /// A file can not be written.
    pub fn reset(&self, workspace: &Workspace) -> Result<Vec<String>> {
        fs::create_dir_all(&self.root)?;
        let mut changed = Vec::new();
        for file in text_files(&self.root)? {
            if workspace.text(&file.path).is_none() {
                fs::remove_file(self.root.join(&file.path))?;
                changed.push(file.path);
            }
        }
        for file in &workspace.files {
            if self.write(&file.path, &file.text)? {
                changed.push(file.path.clone());
            }
        }
        changed.sort();
        Ok(changed)
    }

    /// Whether it had to be written.
    fn write(&self, path: &str, text: &str) -> Result<bool> {
        let place = self.root.join(path);
        if fs::read(&place).is_ok_and(|bytes| bytes == text.as_bytes()) {
            return Ok(false);
        }
        fs::create_dir_all(place.parent().context("a file has a folder")?)?;
        fs::write(&place, text).with_context(|| place.display().to_string())?;
        Ok(true)
    }

    /// A program that runs at the copy's top and builds beside it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        // The copy is no repository, though it may lie inside one.
        command.env("GIT_CEILING_DIRECTORIES", &self.work);
        command
    }

    /// Builds the simulator and returns its path.
    ///
    /// # Errors
    /// It does not build.
    pub fn build(&self, programs: &Programs) -> Result<PathBuf> {
        programs.run(self.command(cargo().get_program()).args(BUILD))?;
        Ok(self.target.join(PROFILE).join("klamm-sim"))
    }

    /// Copies what the workspace has built, so that it is fresh here too.
    fn take_over_builds(&self, workspace: &Workspace, programs: &Programs) -> Result<()> {
        programs.run(cargo().current_dir(&workspace.root).args(BUILD))?;
        let half = self.work.join("target.half");
        fs::remove_dir_all(&half).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        fs::create_dir_all(half.join(PROFILE))?;
        let from = workspace.target().join(PROFILE);
        // Cargo's own lock: what is copied while it is built would be broken.
        let lock = File::open(from.join(".cargo-lock")).ok();
        lock.as_ref().map_or(Ok(()), File::lock_shared)?;
        let mut copy = Command::new("cp");
        copy.arg("-a");
        for entry in fs::read_dir(&from)? {
            // What rustc keeps between builds is of no use at another place.
            let path = entry?.path();
            copy.args(Some(path).filter(|path| !path.ends_with("incremental")));
        }
        programs.run(copy.arg(half.join(PROFILE)))?;
        drop(lock);
        self.take_over_times(workspace)?;
        Ok(fs::rename(half, &self.target)?)
    }

    /// Gives each file the time of its source. Comes after the builds are copied: a source that was
    /// changed since it was read is newer than they are here, whichever of its versions they have.
    fn take_over_times(&self, workspace: &Workspace) -> Result<()> {
        for file in &workspace.files {
            let source = workspace.root.join(&file.path);
            let Ok(time) = fs::metadata(&source).and_then(|it| it.modified()) else { continue };
            if fs::read(&source).is_ok_and(|bytes| bytes == file.text.as_bytes()) {
                let copy = File::options().write(true).open(self.root.join(&file.path))?;
                copy.set_modified(time)?;
            }
        }
        Ok(())
    }
}
