//! Words that have no place in the tree: marks of unfinished work, paths of one machine, ignored
//! tests, sleeps that hope.

use super::code::Code;
use super::form::is_drawer_name;
use crate::finding::Finding;
use crate::workspace::TextFile;

/// Marks of unfinished work, as whole words.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// Beginnings of paths that exist on one developer's machine only.
const MACHINES: &[&str] = &["/home/", "/Users/", "/root/", "/work/"];

/// Files with other people's words in them.
const FOREIGN: &[&str] = &["LICENSE", "Cargo.lock", "package-lock.json", "go.sum"];

/// Adds what a file says that it should not.
pub fn check(file: &TextFile, findings: &mut Vec<Finding>) {
    if FOREIGN.iter().any(|name| file.path.ends_with(name)) {
        return;
    }
    for (index, line) in file.text.lines().enumerate() {
        let mut add = |text: String| {
            findings.push(Finding {
                path: file.path.clone(),
                line: index + 1,
                rule: "words",
                text,
            });
        };
        for word in UNFINISHED {
            if has_word(line, word) {
                add(format!("{word}: finish it, or open an issue"));
            }
        }
        for path in MACHINES {
            if has_path(line, path) {
                add(format!("a path below {path} exists on one machine only"));
            }
        }
    }
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Whether an absolute path begins so; `https://host/home/` and `a/work/b` are none.
fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.}/".contains(c))
    })
}

/// Adds what the code of a file says that it should not.
pub fn check_code(file: &TextFile, code: &Code, is_test: bool, findings: &mut Vec<Finding>) {
    let mut add = |position: usize, rule: &'static str, text: String| {
        let line = code.line(position);
        findings.push(Finding { path: file.path.clone(), line, rule, text });
    };
    for (at, _) in code.blanked.match_indices("#[ignore") {
        add(at, "ignored", "a test runs, or it is not there".to_owned());
    }
    let paths = code.paths();
    for pair in paths.windows(2) {
        let [keyword, name] = pair else { continue };
        if ["struct", "enum", "trait", "mod", "type"].contains(&keyword.text.as_str())
            && is_drawer_name(&keyword.text, &name.text)
        {
            add(
                name.position,
                "drawer",
                format!("`{}` says nothing: name what it does", name.text),
            );
        }
    }
    for path in paths {
        // A sleep on the clock of a runtime passes no time where that clock is a test's.
        if path.text.ends_with("thread::sleep") && (is_test || code.is_test(path.position)) {
            add(path.position, "sleep", "wait for a condition instead".to_owned());
        }
    }
}
