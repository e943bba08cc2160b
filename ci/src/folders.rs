//! Which module of `broker` may use which.
//!
//! Modules stand on floors; code names modules of lower floors, and of its own module. A module
//! that has no floor is a finding: whoever adds one says where it belongs. Tests may look anywhere.

use std::collections::BTreeMap;

use crate::finding::Finding;
use crate::tidy::code::{Code, TestFiles};
use crate::workspace::{TextFile, Workspace};

const SOURCES: &str = "src/broker/src/";

/// Modules of `broker`, from the ground up. Those of one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    // Words, values, accounts.
    &[
        "config",
        "dir_health",
        "error",
        "error_chain",
        "metrics",
        "open_connections",
        "settings",
        "stopping",
        "topic_settings",
    ],
    &["frame_reader", "request"],
    // One partition, the metadata that says which there are, and which of them are open here.
    &["controller", "partition"],
    &["adopt", "groups", "producer_ids", "registry"],
    // What requests mean, without the requests.
    &["fetch"],
    // What every handler gets.
    &["shared"],
    // What goes on without requests.
    &["coordination", "ends", "maintenance", "scrape", "topics"],
    // One file per Kafka API.
    &["api"],
    // From sockets to handlers.
    &["dispatch"],
    &["connection"],
    &["server"],
    &["start"],
];

/// All findings.
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    check_files(&workspace.files)
}

fn check_files(files: &[TextFile]) -> Vec<Finding> {
    let floors: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, modules)| modules.iter().map(move |module| (*module, floor)))
        .collect();
    let tests = TestFiles::of(files);
    let mut findings = Vec::new();
    for file in files {
        let Some(inside) = file.path.strip_prefix(SOURCES) else { continue };
        let module = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
        if module == "lib" || tests.contains(&file.path) || !file.path.ends_with(".rs") {
            continue;
        }
        let mut add = |line: usize, text: String| {
            findings.push(Finding { path: file.path.clone(), line, rule: "folders", text });
        };
        let Some(floor) = floors.get(module) else {
            add(0, format!("module `{module}` has no floor in ci/src/folders.rs"));
            continue;
        };
        for (used, line) in modules_used(file, inside) {
            if used == module {
                continue;
            }
            if floors.get(used.as_str()).is_some_and(|other| other >= floor) {
                add(
                    line,
                    format!("`{module}` may not use `{used}`, which stands above or beside it"),
                );
            }
        }
    }
    findings
}

/// Top modules that a file names outside its tests, with their lines.
fn modules_used(file: &TextFile, inside: &str) -> Vec<(String, usize)> {
    let code = Code::of(&file.text);
    let depth = depth_of_module(inside);
    let mut used = Vec::new();
    for path in code.paths() {
        if code.is_test(path.position) {
            continue;
        }
        let segments: Vec<&str> = path.text.split("::").collect();
        let supers = segments.iter().take_while(|segment| **segment == "super").count();
        let module = match segments.first() {
            Some(&"crate") => segments.get(1),
            // As many steps up as the module is deep lead to the top.
            Some(&"super") if supers == depth => segments.get(supers),
            _ => None,
        };
        if let Some(module) = module {
            used.push(((*module).to_owned(), code.line(path.position)));
        }
    }
    used
}

/// How many modules lie between the top and the code of a file.
fn depth_of_module(inside: &str) -> usize {
    let parts = inside.trim_end_matches(".rs").split('/').collect::<Vec<_>>();
    if parts.last() == Some(&"mod") { parts.len() - 1 } else { parts.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        let file = TextFile { path: format!("{SOURCES}{path}"), text: text.to_owned() };
        check_files(&[file]).len()
    }

    #[test]
    fn modules_use_lower_floors_only() {
        assert_eq!(found("api/fetch.rs", "use crate::partition::Partition;\n"), 0);
        assert_eq!(found("partition/mod.rs", "use crate::api::fetch;\n"), 1);
        assert_eq!(found("partition/mod.rs", "use crate::{api::fetch, request};\n"), 1);
        assert_eq!(found("partition/mod.rs", "fn a() { super::api::b(); }\n"), 1);
        assert_eq!(found("partition/writer.rs", "use super::super::api;\n"), 1);
        assert_eq!(
            found("partition/writer.rs", "use super::state;\nuse crate::partition::a;\n"),
            0
        );
        assert_eq!(found("config.rs", "use crate::metrics::Metrics;\n"), 1);
        assert_eq!(found("lib.rs", "mod api;\n"), 0);
        assert_eq!(found("partition/mod.rs", "#[cfg(test)]\nmod tests { use crate::api; }\n"), 0);
    }

    #[test]
    fn a_module_without_a_floor_is_found() {
        assert_eq!(found("attic.rs", "fn a() {}\n"), 1);
    }
}
