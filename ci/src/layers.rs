//! Which crate may use which: the three rings as a table, checked against `cargo metadata`.
//!
//! A new edge is a commit of its own, with its reason. A crate that is not in the table is a
//! finding, so that nobody adds one without giving it a place. Folders inside a crate: `folders`.

use crate::finding::Finding;
use crate::workspace::{Package, Workspace};

/// The three rings, and what stands outside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ring {
    /// Decides; touches nothing.
    Pure,
    /// Touches the world through the runtime traits.
    Effect,
    /// Knows tokio and the operating system.
    System,
}

struct Place {
    name: &'static str,
    ring: Ring,
    /// Crates of ours that it may list.
    uses: &'static [&'static str],
    /// Crates of ours that its tests may list besides.
    tests_use: &'static [&'static str],
}

const fn place(name: &'static str, ring: Ring, uses: &'static [&'static str]) -> Place {
    Place { name, ring, uses, tests_use: &[] }
}

const PLACES: &[Place] = &[
    place("model", Ring::Pure, &[]),
    place("protocol", Ring::Pure, &["model"]),
    place("replication", Ring::Pure, &["model", "protocol"]),
    place("metadata", Ring::Pure, &["model", "protocol"]),
    place("coordinator", Ring::Pure, &["model", "protocol"]),
    place("runtime", Ring::Effect, &["model"]),
    Place {
        name: "storage",
        ring: Ring::Effect,
        uses: &["model", "protocol", "runtime"],
        tests_use: &["runtime-tokio"],
    },
    Place {
        name: "client",
        ring: Ring::Effect,
        uses: &["model", "protocol", "runtime"],
        tests_use: &["runtime-tokio"],
    },
    Place {
        name: "broker",
        ring: Ring::Effect,
        uses: &[
            "model",
            "protocol",
            "replication",
            "metadata",
            "coordinator",
            "runtime",
            "storage",
        ],
        tests_use: &["client", "runtime-tokio"],
    },
    Place {
        name: "console",
        ring: Ring::Effect,
        uses: &["model", "runtime", "broker"],
        tests_use: &["runtime-tokio"],
    },
    place("runtime-tokio", Ring::System, &["model", "runtime"]),
    place(
        "klamm",
        Ring::System,
        &[
            "model",
            "protocol",
            "metadata",
            "runtime",
            "runtime-tokio",
            "storage",
            "client",
            "broker",
            "console",
        ],
    ),
    // What clients did and saw, and the checks of it: judges simulated runs and real ones.
    place("history", Ring::Pure, &[]),
    // It configures brokers by their settings, as `klamm` does, and looks into the logs that they
    // leave behind.
    place(
        "sim",
        Ring::System,
        &["model", "protocol", "metadata", "runtime", "storage", "client", "broker", "history"],
    ),
    // Outside: the tests know the binary, the protocol and our client, which is one more client of
    // the matrix; not the broker's inside. What clients saw is judged as in the simulator.
    place(
        "tests",
        Ring::System,
        &["model", "protocol", "runtime", "client", "runtime-tokio", "history"],
    ),
    place(
        "benches",
        Ring::System,
        &["client", "model", "protocol", "runtime-tokio", "storage", "tests"],
    ),
    place("ci", Ring::System, &[]),
];

/// Foreign crates that only some of ours may list, however innocent their features look.
const RESERVED: &[(&str, &[&str])] = &[
    ("tokio", &["runtime", "runtime-tokio", "klamm", "sim"]),
    ("rustix", &["runtime-tokio", "klamm"]),
    ("anyhow", &["klamm", "sim", "tests", "benches", "ci"]),
    ("clap", &["klamm", "sim", "benches"]),
    ("tracing-subscriber", &["klamm", "sim"]),
    ("madsim", &["sim"]),
    ("axum", &["console"]),
    ("hyper", &["console"]),
];

/// What `runtime` may turn on in tokio: what is the same in every run.
const TOKIO_FEATURES: &[&str] = &["sync", "io-util", "macros"];

/// What the pure crates may not reach, through whomever.
const NOT_FOR_PURE: &[&str] = &["runtime", "runtime-tokio", "tokio", "mio", "rustix", "tracing"];

/// All findings.
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ours: Vec<&Package> = workspace.metadata.members().collect();
    for package in &ours {
        let path = format!("crate {}", package.name);
        let mut add = |text: String| {
            findings.push(Finding { path: path.clone(), line: 0, rule: "layers", text })
        };
        let Some(place) = PLACES.iter().find(|place| place.name == package.name) else {
            add("has no place in ci/src/layers.rs".to_owned());
            continue;
        };
        let names = ours.iter().map(|package| package.name.as_str()).collect::<Vec<_>>();
        for edge in bad_edges(place, package, &names) {
            add(edge);
        }
        if place.ring == Ring::Pure {
            for id in workspace.metadata.reached_from(&package.name).keys() {
                let name = workspace.metadata.package(id).map_or(*id, |found| &found.name);
                if NOT_FOR_PURE.contains(&name) {
                    add(format!("is pure and reaches {name}"));
                }
            }
        }
    }
    findings
}

fn bad_edges(place: &Place, package: &Package, ours: &[&str]) -> Vec<String> {
    let mut bad = Vec::new();
    for dependency in &package.dependencies {
        let name = dependency.name.as_str();
        let is_test = dependency.kind.as_deref() == Some("dev");
        if ours.contains(&name) {
            let is_allowed =
                place.uses.contains(&name) || (is_test && place.tests_use.contains(&name));
            if !is_allowed {
                bad.push(format!("may not use {name}: a new edge is a commit of its own"));
            }
        }
        if name == "tokio" && place.ring == Ring::Effect && !is_test {
            let odd = |feature: &&String| !TOKIO_FEATURES.contains(&feature.as_str());
            for feature in dependency.features.iter().filter(odd) {
                bad.push(format!("may not turn on tokio's {feature}: it is for the system ring"));
            }
        }
        let reserved = RESERVED.iter().find(|(reserved, _)| *reserved == name);
        if let Some((_, users)) = reserved.filter(|_| !is_test)
            && !users.contains(&package.name.as_str())
        {
            bad.push(format!("may not list {name}: only {} may", users.join(", ")));
        }
    }
    bad
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, uses: &[(&str, Option<&str>)]) -> Package {
        let dependencies = uses
            .iter()
            .map(|(name, kind)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(ToOwned::to_owned),
                features: vec![],
            })
            .collect();
        Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            license: None,
            source: None,
            manifest_path: "Cargo.toml".into(),
            dependencies,
            targets: vec![],
        }
    }

    fn bad(name: &str, uses: &[(&str, Option<&str>)]) -> usize {
        let ours = ["model", "protocol", "runtime", "runtime-tokio", "storage", "broker", "client"];
        let place = PLACES.iter().find(|place| place.name == name).unwrap();
        bad_edges(place, &package(name, uses), &ours).len()
    }

    #[test]
    fn edges_go_inwards_only() {
        assert_eq!(bad("protocol", &[("model", None), ("bytes", None)]), 0);
        assert_eq!(bad("protocol", &[("runtime", None)]), 1);
        assert_eq!(bad("storage", &[("broker", None)]), 1);
        assert_eq!(bad("broker", &[("client", None)]), 1);
        assert_eq!(bad("broker", &[("client", Some("dev"))]), 0);
        assert_eq!(bad("protocol", &[("storage", Some("dev"))]), 1);
    }

    #[test]
    fn tokio_is_for_those_who_may() {
        assert_eq!(bad("broker", &[("tokio", None)]), 1);
        assert_eq!(bad("broker", &[("tokio", Some("dev"))]), 0);
        assert_eq!(bad("runtime-tokio", &[("tokio", None)]), 0);
        assert_eq!(bad("storage", &[("anyhow", None)]), 1);
    }

    #[test]
    fn runtime_turns_on_what_is_reproducible_only() {
        let place = PLACES.iter().find(|place| place.name == "runtime").unwrap();
        let mut runtime = package("runtime", &[("tokio", None)]);
        runtime.dependencies[0].features = vec!["sync".to_owned()];
        assert!(bad_edges(place, &runtime, &[]).is_empty());
        runtime.dependencies[0].features.push("time".to_owned());
        assert_eq!(bad_edges(place, &runtime, &[]).len(), 1);
    }

    #[test]
    fn the_table_has_no_cycle() {
        // A crate may only use what stands in the table before it.
        for (index, place) in PLACES.iter().enumerate() {
            for used in place.uses {
                let position = PLACES.iter().position(|other| other.name == *used);
                assert!(position.is_some_and(|at| at < index), "{} uses {used}", place.name);
            }
        }
    }
}
