//! The list of probes is that of the sources, and no name stands twice.

#![allow(clippy::unwrap_used, reason = "a source that can not be read fails the test")]

use std::collections::BTreeMap;
use std::path::Path;

const MARK: &str = "sometimes!(\"";

fn collect(directory: &Path, found: &mut BTreeMap<String, usize>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for part in text.split(MARK).skip(1) {
                let name = part.split('"').next().unwrap();
                *found.entry(name.to_owned()).or_default() += 1;
            }
        }
    }
}

#[test]
fn the_list_names_every_probe_once() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut found = BTreeMap::new();
    collect(&sources, &mut found);
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, sim::probes::ALL);
    assert!(sim::probes::RARE.iter().all(|rare| names.contains(rare)));
}
