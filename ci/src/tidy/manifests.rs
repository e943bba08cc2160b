//! Cargo.toml files: one reason per dependency, in order, versions in one place, lints for all.

use crate::finding::Finding;
use crate::workspace::Workspace;

/// Adds what is wrong with the manifests of the workspace.
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ours: Vec<&str> =
        workspace.metadata.members().map(|package| package.name.as_str()).collect();
    if let Some(text) = workspace.text("Cargo.toml") {
        check_root("Cargo.toml", text, &ours, &mut findings);
    }
    for package in workspace.metadata.members() {
        let path = package.manifest_path.strip_prefix(&workspace.root).ok();
        let Some(path) = path.and_then(|path| path.to_str()) else { continue };
        if let Some(text) = workspace.text(path) {
            check_member(path, text, &ours, &mut findings);
        }
    }
    findings
}

/// A line of a dependency table.
#[derive(Debug)]
struct Line<'a> {
    number: usize,
    name: &'a str,
    value: &'a str,
}

/// The lines of a table, without empty ones and comments of their own.
fn table<'a>(text: &'a str, name: &str) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim() == format!("[{name}]");
        } else if inside && !line.trim().is_empty() && !line.starts_with('#') {
            let end = line.find([' ', '=', '.']).unwrap_or(line.len());
            lines.push(Line { number: index + 1, name: &line[..end], value: &line[end..] });
        }
    }
    lines
}

fn check_root(path: &str, text: &str, ours: &[&str], findings: &mut Vec<Finding>) {
    let mut add = |line: usize, text: String| {
        findings.push(Finding { path: path.to_owned(), line, rule: "manifest", text });
    };
    let lines = table(text, "workspace.dependencies");
    let foreign: Vec<&Line<'_>> = lines.iter().filter(|line| !ours.contains(&line.name)).collect();
    for line in &foreign {
        let reason = line.value.rsplit_once(" # ").map(|(_, reason)| reason.trim());
        if reason.is_none_or(str::is_empty) {
            add(line.number, format!("`{}` needs its reason behind it, after a #", line.name));
        }
    }
    check_order(&foreign, &mut add);
}

fn check_member(path: &str, text: &str, ours: &[&str], findings: &mut Vec<Finding>) {
    let mut add = |line: usize, text: String| {
        findings.push(Finding { path: path.to_owned(), line, rule: "manifest", text });
    };
    if !text.contains("[lints]\nworkspace = true") {
        add(0, "has to take the lints of the workspace".to_owned());
    }
    for name in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let lines = table(text, name);
        for line in &lines {
            if !line.value.contains("workspace = true") {
                add(line.number, format!("`{}` has to come from the workspace", line.name));
            }
        }
        let foreign: Vec<&Line<'_>> =
            lines.iter().filter(|line| !ours.contains(&line.name)).collect();
        check_order(&foreign, &mut add);
        let first_foreign = foreign.first().map_or(usize::MAX, |line| line.number);
        for line in lines.iter().filter(|line| ours.contains(&line.name)) {
            if line.number > first_foreign {
                add(line.number, format!("our own `{}` comes before foreign crates", line.name));
            }
        }
    }
}

fn check_order(lines: &[&Line<'_>], add: &mut impl FnMut(usize, String)) {
    for pair in lines.windows(2) {
        if pair[0].name > pair[1].name {
            add(pair[1].number, format!("`{}` is not in its place by the alphabet", pair[1].name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINTS: &str = "[lints]\nworkspace = true\n";

    fn member(text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check_member("src/a/Cargo.toml", text, &["model"], &mut findings);
        findings.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_dependency_has_a_reason_and_a_place() {
        let text = "[workspace.dependencies]\nmodel = { path = \"src/model\" }\n\n\
            bytes = \"1\"  # buffers\nanyhow = \"1\"\n\n[profile.dev]\ndebug = 1\n";
        let mut findings = Vec::new();
        check_root("Cargo.toml", text, &["model"], &mut findings);
        let lines: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [5, 5], "{findings:?}");
    }

    #[test]
    fn members_take_lints_and_versions_from_the_workspace() {
        assert_eq!(member(LINTS), Vec::<String>::new());
        assert_eq!(member("[package]\n").len(), 1);
        let good = "[dependencies]\nmodel.workspace = true\nbytes.workspace = true\n\
            tokio = { workspace = true, features = [\"sync\"] }\n";
        assert_eq!(member(&format!("{LINTS}{good}")), Vec::<String>::new());
        let own_version = "[dependencies]\nbytes = \"1\"\n";
        assert_eq!(member(&format!("{LINTS}{own_version}")).len(), 1);
        let unsorted = "[dependencies]\ntokio.workspace = true\nbytes.workspace = true\n";
        assert_eq!(member(&format!("{LINTS}{unsorted}")).len(), 1);
    }
}
