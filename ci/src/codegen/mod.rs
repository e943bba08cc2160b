//! Writes the messages of `src/protocol/src/messages/` from the schemas of `src/protocol/schemas/`.
//!
//! In: Kafka's message schemas (JSON). Out: one Rust file per schema, a list of them, and the table of
//! API keys, all formatted by rustfmt and committed. `--check` writes nothing and fails when the
//! committed files differ.
//!
//! Start at [`run`]; `schema` reads, `emit` writes one message, `index` the lists.

mod emit;
mod field;
mod index;
mod names;
mod schema;
mod versions;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};

use schema::Schema;

/// File names and their contents.
type Files = BTreeMap<String, String>;

/// Generates the messages; with `check`, only compares them with what is committed.
pub fn run(check: bool) -> Result<()> {
    let protocol = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("src").join("protocol");
    let schemas = read_schemas(&protocol.join("schemas"))?;
    let mut files = Files::new();
    for schema in &schemas {
        let text = emit::message(schema).with_context(|| format!("generate {}", schema.name))?;
        files.insert(format!("{}.rs", names::module(&schema.name)), text);
    }
    files.insert("mod.rs".to_owned(), index::module_list(&schemas));
    files.insert("api_key.rs".to_owned(), index::api_keys(&schemas)?);
    let files = format_all(files)?;
    let directory = protocol.join("src").join("messages");
    if check { compare(&directory, &files) } else { write(&directory, &files) }
}

fn read_schemas(directory: &Path) -> Result<Vec<Schema>> {
    let mut schemas = Vec::new();
    for directory in [directory.to_owned(), directory.join("records")] {
        for path in sorted_files(&directory, "json")? {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let schema: Schema =
                serde_json::from_str(&text).with_context(|| path.display().to_string())?;
            let file_name = path.file_stem().and_then(|stem| stem.to_str());
            ensure!(file_name == Some(&schema.name), "{} is named otherwise", path.display());
            schemas.push(schema);
        }
    }
    schemas.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(schemas)
}

fn sorted_files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}

/// One rustfmt process over all files at once: a process per file would take 200 times its start.
fn format_all(files: Files) -> Result<Files> {
    const MARK: &str = "// ---- file: ";
    let mut joined = String::new();
    for (at, text) in files.values().enumerate() {
        // A module of its own per file, because inner docs stand only at the start of one.
        joined.push_str(&format!("{MARK}{at}\nmod file_{at} {{\n{text}\n}}\n"));
    }
    let formatted = rustfmt(joined)?;
    let mut pieces = formatted.split(MARK).skip(1);
    let mut result = Files::new();
    for name in files.into_keys() {
        let piece = pieces.next().context("rustfmt dropped a file")?;
        result.insert(name, unwrap_module(piece));
    }
    Ok(result)
}

/// Takes the lines between `mod file_0 {` and `}` and their indentation away.
fn unwrap_module(piece: &str) -> String {
    let lines: Vec<&str> = piece.trim_end().lines().skip(2).collect();
    let mut text = String::new();
    for line in &lines[..lines.len().saturating_sub(1)] {
        text.push_str(line.strip_prefix("    ").unwrap_or(line));
        text.push('\n');
    }
    text
}

fn rustfmt(text: String) -> Result<String> {
    // Four columns more than the workspace's width, for the module around each file.
    let settings = "use_small_heuristics=Max,max_width=104,comment_width=104";
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout", "--config", settings])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start rustfmt")?;
    let mut input = child.stdin.take().context("rustfmt has no input")?;
    let feeder = thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().context("wait for rustfmt")?;
    feeder.join().ok().context("rustfmt's feeder panicked")??;
    ensure!(output.status.success(), "rustfmt refuses the generated code");
    Ok(String::from_utf8(output.stdout)?)
}

fn write(directory: &Path, files: &Files) -> Result<()> {
    fs::create_dir_all(directory)?;
    for path in sorted_files(directory, "rs")? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !files.contains_key(name) {
            fs::remove_file(&path)?;
        }
    }
    for (name, text) in files {
        let path = directory.join(name);
        // A file that stays as it is keeps its time, so that cargo does not build it again.
        if fs::read_to_string(&path).ok().as_ref() != Some(text) {
            fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn compare(directory: &Path, files: &Files) -> Result<()> {
    let mut wrong = Vec::new();
    for (name, text) in files {
        if fs::read_to_string(directory.join(name)).ok().as_ref() != Some(text) {
            wrong.push(name.clone());
        }
    }
    for path in sorted_files(directory, "rs")? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !files.contains_key(name) {
            wrong.push(name.to_owned());
        }
    }
    if !wrong.is_empty() {
        bail!("not as generated (run `cargo ci generate`): {}", wrong.join(", "));
    }
    Ok(())
}
