//! Foreign crates: licences, sources, bans, duplicates, and a lock file that fits.
//!
//! `deny.toml` says the same to cargo-deny, which the stage also runs where it is installed. The
//! table of bans is the one of reproducible runs: what the broker reaches may not draw randomness
//! or time by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Result, bail};

use crate::finding::Finding;
use crate::program::Programs;
use crate::workspace::{Metadata, Node, Package, Workspace, cargo};

/// Licences that a binary under Apache-2.0 may be made of.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Weak copyleft, file by file: fine for libraries that are used as they come.
const LICENCE_EXCEPTIONS: &[(&str, &str)] =
    &[("imbl", "MPL-2.0+"), ("imbl-sized-chunks", "MPL-2.0+")];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What `broker` may not reach: a crate, a beginning of its version, a feature, and why.
struct Ban {
    name: &'static str,
    version: &'static str,
    feature: Option<&'static str>,
    why: &'static str,
}

const fn ban(name: &'static str, version: &'static str, why: &'static str) -> Ban {
    Ban { name, version, feature: None, why }
}

const BANS: &[Ban] = &[
    ban("ahash", "", "its seed is never the same twice"),
    ban("fastrand", "", "a thread-local generator"),
    ban("getrandom", "0.2", "goes to the operating system past the simulator"),
    ban("rand", "0.8", "reaches getrandom 0.2"),
    ban("rand", "", "thread-local generators: runtime::Random instead"),
    ban("async-std", "", "an executor of its own"),
    ban("smol", "", "an executor of its own"),
    ban("chrono", "", "reads the clock"),
    ban("openssl", "", "TLS is rustls"),
    ban("openssl-sys", "", "TLS is rustls"),
    ban("native-tls", "", "TLS is rustls"),
    ban("futures-util", "", "unbiased select!: runtime::select! instead"),
    Ban {
        name: "hashbrown",
        version: "",
        feature: Some("default-hasher"),
        why: "its default hasher is seeded by addresses",
    },
];

/// Crates that the binary holds in more than one version, and why that is so for now.
const DUPLICATES: &[(&str, &str)] = &[
    ("console", "our own crate, and the terminal library of indicatif"),
    ("embedded-io", "postcard implements the traits of two versions"),
    ("rand_core", "imbl is one version behind"),
    ("rand_xoshiro", "imbl is one version behind"),
    ("syn", "macros move to a new version one by one; they are not shipped"),
];

/// Runs the check, and cargo-deny if it is there.
///
/// # Errors
/// Something is found.
pub fn run(workspace: &Workspace, programs: &Programs) -> Result<()> {
    let mut command = cargo();
    command.current_dir(&workspace.root).args(["metadata", "--locked", "--format-version", "1"]);
    if !command.output()?.status.success() {
        bail!("Cargo.lock does not fit the Cargo.toml files: run cargo check and commit it");
    }
    let findings = check(&workspace.metadata);
    if !findings.is_empty() {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        bail!("{}", lines.join("\n"));
    }
    let has_deny = Command::new("cargo-deny").arg("--version").output().is_ok();
    if has_deny {
        let mut command = Command::new("cargo-deny");
        command.current_dir(&workspace.root).args(["check", "bans", "licenses", "sources"]);
        programs.run(&mut command)?;
    }
    Ok(())
}

/// All findings.
pub fn check(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &metadata.packages {
        check_package(package, &mut findings);
    }
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    for (id, through) in metadata.reached_from("broker") {
        let (Some(package), Some(node)) = (metadata.package(id), nodes.get(id)) else { continue };
        if let Some(ban) = BANS.iter().find(|ban| hits(ban, package, node)) {
            let through = metadata.package(through).map_or("?", |package| &package.name);
            let text = format!("the broker reaches it through {through}: {}", ban.why);
            findings.push(finding(package, text));
        }
    }
    findings.extend(duplicates(metadata));
    findings
}

/// Crates that come in several versions into the binary without being listed, or are listed in vain.
fn duplicates(metadata: &Metadata) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for id in metadata.reached_from("klamm").keys() {
        if let Some(package) = metadata.package(id) {
            versions.entry(&package.name).or_default().insert(&package.version);
        }
    }
    let several = |name: &str| versions.get(name).is_some_and(|versions| versions.len() > 1);
    let is_listed = |name: &str| DUPLICATES.iter().any(|(listed, _)| *listed == name);
    let mut findings = Vec::new();
    for (name, versions) in versions.iter().filter(|(name, _)| several(name) && !is_listed(name)) {
        let versions = versions.iter().copied().collect::<Vec<_>>().join(" and ");
        let text =
            format!("comes in {versions}: bring its users together, or list it with a reason");
        findings.push(Finding { path: (*name).to_owned(), line: 0, rule: "duplicates", text });
    }
    for (name, _) in DUPLICATES.iter().filter(|(name, _)| !several(name)) {
        let text = "is listed as a duplicate and comes in one version".to_owned();
        findings.push(Finding { path: (*name).to_owned(), line: 0, rule: "duplicates", text });
    }
    findings
}

fn hits(ban: &Ban, package: &Package, node: &Node) -> bool {
    ban.name == package.name
        && package.version.starts_with(ban.version)
        && ban.feature.is_none_or(|feature| node.features.iter().any(|on| on == feature))
}

fn check_package(package: &Package, findings: &mut Vec<Finding>) {
    let Some(source) = &package.source else { return };
    if source != CRATES_IO {
        findings.push(finding(package, format!("comes from {source}: only crates.io is allowed")));
    }
    let licence = package.license.as_deref().unwrap_or("none");
    let is_exception = LICENCE_EXCEPTIONS.contains(&(package.name.as_str(), licence));
    if !is_exception && !is_allowed(licence) {
        findings.push(finding(package, format!("has the licence {licence}")));
    }
}

fn finding(package: &Package, text: String) -> Finding {
    let path = format!("{} {}", package.name, package.version);
    Finding { path, line: 0, rule: "dependencies", text }
}

/// Whether an SPDX expression can be met with the licences that are allowed.
fn is_allowed(expression: &str) -> bool {
    // Old manifests separate alternatives by a slash.
    let expression = expression.replace('/', " OR ");
    let mut words = words(&expression).into_iter().peekable();
    let allowed = any_of(&mut words);
    allowed && words.peek().is_none()
}

type Words = std::iter::Peekable<std::vec::IntoIter<String>>;

fn words(expression: &str) -> Vec<String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    spaced.split_whitespace().map(ToOwned::to_owned).collect()
}

fn any_of(words: &mut Words) -> bool {
    let mut allowed = all_of(words);
    while words.next_if(|word| word == "OR").is_some() {
        allowed |= all_of(words);
    }
    allowed
}

fn all_of(words: &mut Words) -> bool {
    let mut allowed = one(words);
    while words.next_if(|word| word == "AND").is_some() {
        allowed &= one(words);
    }
    allowed
}

fn one(words: &mut Words) -> bool {
    if words.next_if(|word| word == "(").is_some() {
        let allowed = any_of(words);
        return words.next_if(|word| word == ")").is_some() && allowed;
    }
    let Some(mut licence) = words.next() else { return false };
    if words.next_if(|word| word == "WITH").is_some()
        && let Some(exception) = words.next()
    {
        licence = format!("{licence} WITH {exception}");
    }
    LICENCES.contains(&licence.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_read_as_spdx() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "none", "", "(MIT", "MIT MIT", "AGPL-3.0-only"] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }

    #[test]
    fn foreign_registries_and_licences_are_found() {
        let package = |source: &str, license: &str| Package {
            id: "a".to_owned(),
            name: "a".to_owned(),
            version: "1.0.0".to_owned(),
            license: Some(license.to_owned()),
            source: Some(source.to_owned()),
            manifest_path: "Cargo.toml".into(),
            dependencies: vec![],
            targets: vec![],
        };
        let found = |package: Package| {
            let mut findings = Vec::new();
            check_package(&package, &mut findings);
            findings.len()
        };
        assert_eq!(found(package(CRATES_IO, "MIT")), 0);
        assert_eq!(found(package("git+https://example.org/a", "MIT")), 1);
        assert_eq!(found(package(CRATES_IO, "AGPL-3.0")), 1);
    }

    #[test]
    fn bans_look_at_version_and_feature() {
        let package = |name: &str, version: &str| Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            license: None,
            source: None,
            manifest_path: "Cargo.toml".into(),
            dependencies: vec![],
            targets: vec![],
        };
        let node = |features: &[&str]| Node {
            id: "a".to_owned(),
            deps: vec![],
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
        };
        let is_banned =
            |package: Package, node: Node| BANS.iter().any(|ban| hits(ban, &package, &node));
        assert!(is_banned(package("getrandom", "0.2.15"), node(&[])));
        assert!(!is_banned(package("getrandom", "0.3.1"), node(&[])));
        assert!(is_banned(package("hashbrown", "0.15.0"), node(&["default-hasher"])));
        assert!(!is_banned(package("hashbrown", "0.15.0"), node(&["inline-more"])));
    }
}
