//! Links in Markdown files lead somewhere: relative ones to a file, anchors to a heading.

use std::collections::BTreeSet;

use crate::finding::Finding;
use crate::workspace::Workspace;

/// All findings.
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in links(&file.text) {
            let is_known = |path: &str| {
                workspace.root.join(path).exists().then(|| workspace.text(path).unwrap_or(""))
            };
            if let Some(text) = problem(&file.path, &target, is_known) {
                findings.push(Finding { path: file.path.clone(), line, rule: "links", text });
            }
        }
    }
    findings
}

/// Targets of inline links, with their lines; not those in code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for part in prose.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                links.push((index + 1, target.to_owned()));
            }
        }
    }
    links
}

fn problem<'a>(
    from: &str,
    target: &str,
    text_of: impl Fn(&str) -> Option<&'a str>,
) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { from.to_owned() } else { resolve(from, path) };
    let Some(text) = text_of(&path) else {
        return Some(format!("{target}: there is no {path}"));
    };
    (!anchor.is_empty() && !anchors(text).contains(anchor))
        .then(|| format!("{target}: no heading of {path} is named so"))
}

fn resolve(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors that GitHub gives to headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_files_and_headings() {
        let text_of = |path: &str| match path {
            "docs/a.md" => Some("# One `two`, three\n"),
            "docs/decisions" => Some(""),
            _ => None,
        };
        let is_good = |target: &str| problem("docs/b.md", target, text_of).is_none();
        assert!(is_good("a.md"));
        assert!(is_good("../docs/a.md#one-two-three"));
        assert!(is_good("decisions/"));
        assert!(is_good("https://example.org/x"));
        assert!(!is_good("c.md"));
        assert!(!is_good("a.md#four"));
    }

    #[test]
    fn code_holds_no_links() {
        let text = "[a](b.md) `[c](d.md)` [e](f.md)\n```\n[g](h.md)\n```\n[i](j.md)\n";
        let targets: Vec<String> = links(text).into_iter().map(|(_, target)| target).collect();
        assert_eq!(targets, ["b.md", "f.md", "j.md"]);
    }
}
