//! Form of a file: its header, length, white space and name.

use super::is_generated;
use crate::finding::Finding;
use crate::workspace::TextFile;

const HEADER_LINES_MAX: usize = 15;
const FILE_LINES_MAX: usize = 1_000;

/// Names of drawers: what is in them belongs elsewhere.
const DRAWERS: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"];

/// Adds what is wrong with the form of a file.
pub fn check(file: &TextFile, findings: &mut Vec<Finding>) {
    let mut add = |line: usize, rule: &'static str, text: String| {
        findings.push(Finding { path: file.path.clone(), line, rule, text });
    };
    if file.path.ends_with(".rs") {
        check_header(&file.text, &mut add);
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX && !is_generated(file) {
            let text = format!("{lines} lines, the limit is {FILE_LINES_MAX}: split it");
            add(0, "length", text);
        }
        if let Some(drawer) = drawer_in_path(&file.path) {
            add(0, "drawer", format!("`{drawer}` says nothing: name what is in it"));
        }
    }
    check_space(&file.text, &mut add);
}

fn check_header(text: &str, add: &mut impl FnMut(usize, &'static str, String)) {
    let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    let says_something = header.first().is_some_and(|line| line.len() > "//! ".len());
    if !says_something {
        add(1, "header", "begin with `//!`: what the file is, what goes in and out".to_owned());
    }
    if header.len() > HEADER_LINES_MAX {
        let text = format!("{} lines, the limit is {HEADER_LINES_MAX}", header.len());
        add(1, "header", text);
    }
}

fn check_space(text: &str, add: &mut impl FnMut(usize, &'static str, String)) {
    for (index, line) in text.split('\n').enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            add(index + 1, "space", "white space at the end of the line".to_owned());
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        add(0, "space", "no newline at the end".to_owned());
    }
    if text.ends_with("\n\n") {
        add(0, "space", "empty lines at the end".to_owned());
    }
}

fn drawer_in_path(path: &str) -> Option<&str> {
    let is_drawer = |part: &str| {
        let last = part.rsplit('_').next().unwrap_or(part);
        DRAWERS.contains(&last)
    };
    path.trim_end_matches(".rs").split('/').find(|part| is_drawer(part))
}

/// Whether a word of code names a drawer: a type such as `TopicManager`, a module such as `utils`.
pub fn is_drawer_name(keyword: &str, name: &str) -> bool {
    match keyword {
        "mod" => DRAWERS.contains(&name.rsplit('_').next().unwrap_or(name)),
        _ => {
            ["Manager", "Helper", "Helpers", "Util", "Utils"].iter().any(|end| name.ends_with(end))
        }
    }
}
