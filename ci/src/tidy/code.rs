//! Rust source as the rules see it: without comments and strings, with its tests marked, and with
//! every path that it names.
//!
//! This is a scanner, not a parser: it needs no dependency, and what it can not tell apart (a local
//! name that looks like a banned path) has not come up.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::workspace::TextFile;

/// A path such as `std::fs::File`, fully written out if it stands in a `use` with braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodePath {
    /// Segments joined by `::`; a macro's name ends in `!`.
    pub text: String,
    /// Byte position of its last part.
    pub position: usize,
}

/// One file's code.
#[derive(Debug)]
pub struct Code {
    /// The text, with comments and the insides of strings blanked out; as long as the text.
    pub blanked: String,
    /// Byte ranges that are compiled for tests only.
    pub tests: Vec<Range<usize>>,
}

impl Code {
    /// Scans a file.
    pub fn of(text: &str) -> Code {
        let blanked = blank(text);
        let tests = test_ranges(&blanked);
        Code { blanked, tests }
    }

    /// 1-based line of a byte position.
    pub fn line(&self, position: usize) -> usize {
        1 + self.blanked.as_bytes()[..position].iter().filter(|byte| **byte == b'\n').count()
    }

    /// Whether the position is compiled for tests only.
    pub fn is_test(&self, position: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&position))
    }

    /// Every path that is named.
    pub fn paths(&self) -> Vec<CodePath> {
        let mut paths = Vec::new();
        let bytes = self.blanked.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if !is_word(bytes[at]) {
                at += 1;
            } else if word_at(bytes, at) == b"use" {
                let end = at + self.blanked[at..].find(';').unwrap_or(self.blanked.len() - at);
                expand_use(&self.blanked, at + 3..end, "", &mut paths);
                at = end;
            } else {
                at = plain_path(&self.blanked, at, &mut paths);
            }
        }
        paths
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn word_at(bytes: &[u8], at: usize) -> &[u8] {
    let length = bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
    &bytes[at..at + length]
}

/// Reads `a::b::c` or `a!` at `at`; returns the position behind it.
fn plain_path(code: &str, at: usize, paths: &mut Vec<CodePath>) -> usize {
    let bytes = code.as_bytes();
    let mut end = at + word_at(bytes, at).len();
    while code[end..].starts_with("::") && bytes.get(end + 2).is_some_and(|byte| is_word(*byte)) {
        end += 2 + word_at(bytes, end + 2).len();
    }
    let mut text = code[at..end].to_owned();
    if code[end..].starts_with('!') && !code[end..].starts_with("!=") {
        text.push('!');
    }
    paths.push(CodePath { text, position: at });
    end
}

/// Writes out the tree of a `use`.
fn expand_use(code: &str, range: Range<usize>, prefix: &str, paths: &mut Vec<CodePath>) {
    let mut depth = 0_usize;
    let mut start = range.start;
    for (offset, character) in code[range.clone()].char_indices() {
        let at = range.start + offset;
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                expand_one(code, start..at, prefix, paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    expand_one(code, start..range.end, prefix, paths);
}

fn expand_one(code: &str, range: Range<usize>, prefix: &str, paths: &mut Vec<CodePath>) {
    let part = &code[range.clone()];
    let begin = range.start + (part.len() - part.trim_start().len());
    if let Some(brace) = part.find('{') {
        let head = part[..brace].trim().trim_end_matches("::");
        let close = part.rfind('}').unwrap_or(part.len());
        expand_use(code, range.start + brace + 1..range.start + close, &join(prefix, head), paths);
        return;
    }
    let name = part.trim().split(" as ").next().unwrap_or_default().trim();
    let name = name.strip_suffix("self").map_or(name, |head| head.trim_end_matches("::"));
    let text = join(prefix, name.trim_start_matches("::"));
    if !text.is_empty() {
        paths.push(CodePath { text, position: begin });
    }
}

fn join(prefix: &str, name: &str) -> String {
    match (prefix.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => prefix.to_owned(),
        _ => format!("{prefix}::{name}"),
    }
}

/// Blanks out comments and the insides of strings and characters.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' | b'b' | b'c' if at == 0 || !is_word(bytes[at - 1]) => {
                prefixed_end(bytes, at).unwrap_or(at)
            }
            b'\'' => character_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    // Multi-byte characters only stand in comments and strings, which are spaces now; a stray one is
    // replaced, byte for byte, so that positions stay what they were.
    out.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect()
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - at)
}

fn block_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_end(bytes: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The end of a string or character that begins with letters, such as `br#"…"#`; none if it is a word.
fn prefixed_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while matches!(bytes.get(at), Some(b'r' | b'b' | b'c')) {
        at += 1;
    }
    let is_raw = bytes[start..at].contains(&b'r');
    if bytes.get(at) == Some(&b'\'') && bytes[start..at] == *b"b" {
        return character_end(bytes, at);
    }
    let hashes = bytes[at..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(at + hashes) != Some(&b'"') || (hashes > 0 && !is_raw) {
        return None;
    }
    if !is_raw {
        return Some(string_end(bytes, at));
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let inside = at + hashes + 1;
    let length = bytes[inside..].windows(close.len()).position(|window| window == close)?;
    Some(inside + length + close.len())
}

/// The end of a character; none if the quote begins a lifetime.
fn character_end(bytes: &[u8], quote: usize) -> Option<usize> {
    if bytes.get(quote + 1) == Some(&b'\\') {
        let rest = bytes.get(quote + 3..)?;
        return Some(quote + 4 + rest.iter().position(|byte| *byte == b'\'')?);
    }
    // One character of up to four bytes, then the closing quote.
    let length = match bytes.get(quote + 1)? {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    };
    (bytes.get(quote + 1 + length) == Some(&b'\'')).then_some(quote + 2 + length)
}

/// What follows a `#[cfg(test)]`, to the end of that item.
fn test_ranges(code: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let mut ranges = Vec::new();
    let mut from = 0;
    while let Some(offset) = code[from..].find(MARK) {
        let start = from + offset;
        let end = item_end(code, start + MARK.len());
        ranges.push(start..end);
        from = end;
    }
    ranges
}

fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0;
    for (offset, byte) in code.as_bytes()[start..].iter().enumerate() {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return start + offset + 1;
                }
            }
            b';' if depth == 0 => return start + offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// The files that are compiled for tests only.
pub struct TestFiles {
    /// Files, and folders with `/` at their end.
    declared: BTreeSet<String>,
}

impl TestFiles {
    /// Finds every `#[cfg(test)] mod name;`.
    pub fn of(files: &[TextFile]) -> TestFiles {
        let mut declared = BTreeSet::new();
        for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
            let code = Code::of(&file.text);
            for range in &code.tests {
                let item = code.blanked[range.clone()].trim_end();
                let Some((_, name)) = item.trim_end_matches(';').rsplit_once("mod ") else {
                    continue;
                };
                if item.ends_with(';') {
                    let folder = folder_of_children(&file.path);
                    declared.insert(format!("{folder}{}.rs", name.trim()));
                    declared.insert(format!("{folder}{}/", name.trim()));
                }
            }
        }
        TestFiles { declared }
    }

    /// Whether a file is compiled for tests, or an example, only.
    pub fn contains(&self, path: &str) -> bool {
        let folders = ["/tests/", "/examples/", "/benches/", "/fuzz/"];
        path.starts_with("tests/")
            || path.ends_with("/tests.rs")
            || folders.iter().any(|folder| path.contains(folder))
            || self.declared.contains(path)
            || self.declared.iter().any(|place| place.ends_with('/') && path.starts_with(place))
    }
}

/// Where the modules that a file declares live.
fn folder_of_children(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "lib.rs" | "main.rs" | "mod.rs" => format!("{folder}/"),
        name => format!("{folder}/{}/", name.trim_end_matches(".rs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_use_tree_are_written_out() {
        let code = Code::of("use std::{fmt, fs::{self, File}, io as i};\nlet a = b::c(d!(e));\n");
        let paths: Vec<String> = code.paths().into_iter().map(|path| path.text).collect();
        assert_eq!(
            paths,
            ["std::fmt", "std::fs", "std::fs::File", "std::io", "let", "a", "b::c", "d!", "e"]
        );
    }

    #[test]
    fn comments_and_strings_are_blanked() {
        let kept = |text: &str| blank(text).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(kept("a // b\nc /* d /* e */ f */ g"), "a c g");
        assert_eq!(
            kept(r##"a "b \" c" d r#"e " f"# g b"h" i b'"' j '\'' k '"' l"##),
            "a d g i j k l"
        );
        assert_eq!(
            kept("fn a<'b>(c: &'b str) -> char { 'ä' }"),
            "fn a<'b>(c: &'b str) -> char { }"
        );
        assert_eq!(blank("a \"ä\" b").len(), "a \"ä\" b".len());
    }
}
