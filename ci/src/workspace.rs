//! The repository as the checks see it: its text files, and its crates by `cargo metadata`.
//!
//! Invariant: nothing below `target`, no data directory of a broker and no hidden folder is listed,
//! except the few hidden ones that are part of the project.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Hidden folders and files that are ours.
const HIDDEN: &[&str] = &[".cargo", ".ci", ".gitignore"];

/// Folders that a build or a run makes.
const MADE: &[&str] = &["target", "klamm-data", "node_modules", "corpus", "artifacts"];

/// The checkout this program was built from.
#[derive(Debug)]
pub struct Workspace {
    /// Absolute path of its top.
    pub root: PathBuf,
    /// All text files in path order.
    pub files: Vec<TextFile>,
    /// All packages, ours and foreign.
    pub metadata: Metadata,
}

/// A file that is valid UTF-8.
#[derive(Clone, Debug)]
pub struct TextFile {
    /// Path from the top, with `/`.
    pub path: String,
    /// Its contents.
    pub text: String,
}

impl Workspace {
    /// Reads the tree.
    ///
    /// # Errors
    /// A file can not be read, or cargo finds no valid workspace.
    pub fn open() -> Result<Workspace> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("ci is not at the top")?;
        let root = root.canonicalize()?;
        let files = text_files(&root)?;
        let metadata = Metadata::read(&root)?;
        Ok(Workspace { root, files, metadata })
    }

    /// Cargo's target directory.
    pub fn target(&self) -> &Path {
        &self.metadata.target_directory
    }

    /// The text of one file.
    pub fn text(&self, path: &str) -> Option<&str> {
        let index = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        Some(&self.files[index].text)
    }
}

/// All text files below a tree's top, in path order.
///
/// # Errors
/// A file can not be read.
pub fn text_files(root: &Path) -> Result<Vec<TextFile>> {
    let mut files = Vec::new();
    read_tree(root, root, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn read_tree(root: &Path, directory: &Path, files: &mut Vec<TextFile>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().context("a file name that is not UTF-8")?;
        if (name.starts_with('.') && !HIDDEN.contains(&name)) || MADE.contains(&name) {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            read_tree(root, &path, files)?;
        } else if let Ok(text) = String::from_utf8(fs::read(&path)?) {
            let path = path.strip_prefix(root)?.to_str().context("path")?.replace('\\', "/");
            files.push(TextFile { path, text });
        }
    }
    Ok(())
}

/// What `cargo metadata` says, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// All packages of the lock file.
    pub packages: Vec<Package>,
    /// Ids of our own packages.
    pub workspace_members: Vec<String>,
    /// The dependencies as resolved for this machine.
    pub resolve: Resolve,
    /// Where builds go.
    pub target_directory: PathBuf,
}

/// One package.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Cargo's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX expression.
    pub license: Option<String>,
    /// Registry; none for our own.
    pub source: Option<String>,
    /// Absolute path of its Cargo.toml.
    pub manifest_path: PathBuf,
    /// What it lists.
    pub dependencies: Vec<Dependency>,
    /// Libraries, programs, tests.
    pub targets: Vec<Target>,
}

/// A line of a `[dependencies]` table.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    /// The package.
    pub name: String,
    /// `dev`, `build`, or nothing for an ordinary one.
    pub kind: Option<String>,
    /// Features that it turns on.
    #[serde(default)]
    pub features: Vec<String>,
}

/// Something a package builds.
#[derive(Debug, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// `lib`, `bin`, `test`, `example`, `custom-build`, …
    pub kind: Vec<String>,
}

/// The resolved graph.
#[derive(Debug, Deserialize)]
pub struct Resolve {
    /// One per package that this machine builds.
    pub nodes: Vec<Node>,
}

/// A package in the resolved graph.
#[derive(Debug, Deserialize)]
pub struct Node {
    /// Cargo's id.
    pub id: String,
    /// What it uses.
    pub deps: Vec<NodeDependency>,
    /// Features that are on.
    pub features: Vec<String>,
}

/// An edge of the resolved graph.
#[derive(Debug, Deserialize)]
pub struct NodeDependency {
    /// Id of the package used.
    pub pkg: String,
    /// In which roles.
    pub dep_kinds: Vec<DependencyKind>,
}

/// The role of an edge.
#[derive(Debug, Deserialize)]
pub struct DependencyKind {
    /// `dev`, `build`, or nothing.
    pub kind: Option<String>,
}

impl Metadata {
    fn read(root: &Path) -> Result<Metadata> {
        let mut command = cargo();
        command.current_dir(root).args(["metadata", "--format-version", "1"]);
        command.args(["--filter-platform", &host()?]);
        let output = command.output().context("start cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Our own packages.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// A package by its id.
    pub fn package(&self, id: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.id == id)
    }

    /// Everything that the named member reaches by ordinary dependencies, and through whom.
    ///
    /// Ids, each with the id of the package that led to it.
    pub fn reached_from(&self, member: &str) -> BTreeMap<&str, &str> {
        let nodes: BTreeMap<&str, &Node> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let Some(start) = self.members().find(|package| package.name == member) else {
            return BTreeMap::new();
        };
        let mut reached = BTreeMap::new();
        let mut open = vec![start.id.as_str()];
        while let Some(id) = open.pop() {
            for dependency in nodes.get(id).map_or(&[][..], |node| &node.deps) {
                let is_ordinary = dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
                if is_ordinary && !reached.contains_key(dependency.pkg.as_str()) {
                    reached.insert(dependency.pkg.as_str(), id);
                    open.push(&dependency.pkg);
                }
            }
        }
        reached
    }
}

/// The cargo that runs this program.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// This machine's target triple.
pub fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("start rustc")?;
    ensure!(output.status.success(), "rustc -vV failed");
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
