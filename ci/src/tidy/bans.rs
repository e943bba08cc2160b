//! What the pure and the effect crates may not name, so that a simulated run repeats.
//!
//! `clippy.toml` bans single functions and types by what they resolve to; this bans whole modules
//! by their text. Tests of these crates may use the machine.

use super::code::Code;
use crate::finding::Finding;
use crate::workspace::TextFile;

/// Folders of the crates that decide, or act only through the runtime traits.
const RINGS: &[&str] = &[
    "src/model/",
    "src/protocol/",
    "src/replication/",
    "src/metadata/",
    "src/coordinator/",
    "src/runtime/",
    "src/storage/",
    "src/client/",
    "src/broker/",
    "src/console/",
];

struct Ban {
    /// A path, with everything below it.
    path: &'static str,
    /// What is used in its place.
    instead: &'static str,
    /// Below the path, and fine.
    except: &'static [&'static str],
}

const fn ban(path: &'static str, instead: &'static str) -> Ban {
    Ban { path, instead, except: &[] }
}

const BANS: &[Ban] = &[
    ban("std::fs", "runtime::Disk"),
    ban("fs::File", "runtime::Disk"),
    Ban {
        path: "std::net",
        instead: "runtime::Net",
        except: &[
            "std::net::AddrParseError",
            "std::net::IpAddr",
            "std::net::Ipv4Addr",
            "std::net::Ipv6Addr",
            "std::net::SocketAddr",
            "std::net::SocketAddrV4",
            "std::net::SocketAddrV6",
        ],
    },
    ban("std::thread", "runtime::Tasks"),
    ban("thread::spawn", "runtime::Tasks"),
    ban("thread::sleep", "runtime::sleep"),
    ban("std::process", "an error that the program handles"),
    ban("std::env", "a field of the configuration"),
    ban("std::os", "runtime::Disk or runtime::Net"),
    ban("std::io::stdin", "an argument"),
    ban("std::io::stdout", "tracing, or a value that the program prints"),
    ban("std::io::stderr", "tracing, or a value that the program prints"),
    Ban {
        path: "std::time",
        instead: "model::Instant, model::Timestamp and runtime::Clock",
        except: &["std::time::Duration"],
    },
    ban("Instant::now", "runtime::Clock"),
    ban("SystemTime", "model::Timestamp and runtime::Clock"),
    ban("chrono", "model::Timestamp and runtime::Clock"),
    ban("rand", "runtime::Random"),
    ban("getrandom", "runtime::Random"),
    ban("fastrand", "runtime::Random"),
    ban("println!", "tracing"),
    ban("print!", "tracing"),
    ban("eprintln!", "tracing"),
    ban("eprint!", "tracing"),
    Ban {
        path: "runtime::tokio",
        instead: "runtime::sync and runtime::select!",
        except: &["runtime::tokio::io"],
    },
    ban("tokio", "runtime::sync and runtime::select!"),
    ban("futures", "runtime::select!"),
];

/// What of tokio is the same in every run, for the crate that re-exports it.
const TOKIO_IN_RUNTIME: &[&str] = &["tokio", "tokio::sync", "tokio::io", "tokio::select!"];

/// Names that are banned wherever they stand in a path.
const NAMES: &[(&str, &str)] = &[
    ("HashMap", "model::FastMap, or BTreeMap where order shows"),
    ("HashSet", "model::FastSet, or BTreeSet where order shows"),
    ("RandomState", "a hasher without random state"),
    ("thread_rng", "runtime::Random"),
    ("OsRng", "runtime::Random"),
];

/// Adds what a file names that its ring may not.
pub fn check(file: &TextFile, code: &Code, is_test: bool, findings: &mut Vec<Finding>) {
    if is_test || !RINGS.iter().any(|ring| file.path.starts_with(ring)) {
        return;
    }
    let is_runtime = file.path.starts_with("src/runtime/");
    for path in code.paths() {
        if code.is_test(path.position) {
            continue;
        }
        if is_runtime && is_reproducible_tokio(&path.text) {
            continue;
        }
        if let Some(instead) = banned(&path.text) {
            findings.push(Finding {
                path: file.path.clone(),
                line: code.line(path.position),
                rule: "ban",
                text: format!("`{}` is not for this ring: use {instead}", path.text),
            });
        }
    }
}

fn banned(path: &str) -> Option<&'static str> {
    let by_name = path.split("::").find_map(|segment| {
        NAMES.iter().find(|(name, _)| *name == segment).map(|(_, instead)| *instead)
    });
    by_name.or_else(|| {
        let hit = |ban: &&Ban| {
            is_below(path, ban.path) && !ban.except.iter().any(|except| is_below(path, except))
        };
        BANS.iter().find(hit).map(|ban| ban.instead)
    })
}

fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn is_reproducible_tokio(path: &str) -> bool {
    path == "tokio"
        || (TOKIO_IN_RUNTIME.iter().skip(1).any(|top| is_below(path, top))
            && !is_below(path, "tokio::sync::watch"))
}
