//! What was measured: rows of figures of both brokers, kept as JSON so that the page can be written
//! anew without measuring again.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// The result of one subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The subject, which is also the name of its file and command.
    pub subject: String,
    /// Heading on the page.
    pub title: String,
    /// What is measured, and how, in Markdown.
    pub about: String,
    /// Where and when.
    pub machine: Machine,
    /// In the order of the page.
    pub tables: Vec<Table>,
}

/// Rows that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Heading.
    pub title: String,
    /// The measurements.
    pub rows: Vec<Row>,
}

/// One measurement, taken of each broker in each turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Such as `ms`.
    pub unit: String,
    /// One figure for each turn.
    pub klamm: Vec<f64>,
    /// The same of Apache Kafka.
    pub kafka: Vec<f64>,
}

impl Outcome {
    /// Whether there are figures of both brokers.
    pub fn is_complete(&self) -> bool {
        let rows = self.tables.iter().flat_map(|table| &table.rows);
        rows.clone().count() > 0
            && rows.clone().all(|row| !row.klamm.is_empty() && !row.kafka.is_empty())
    }

    /// Keeps it, in the place of an older one.
    ///
    /// # Errors
    /// The file can not be written.
    pub fn save(&self) -> Result<()> {
        let path = directory().join(format!("{}.json", self.subject));
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::create_dir_all(directory())?;
        fs::write(&path, text).with_context(|| path.display().to_string())
    }
}

/// All that are kept, in the order of their subjects.
///
/// # Errors
/// One can not be read.
pub fn all() -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let entries = fs::read_dir(directory()).into_iter().flatten();
    for entry in entries {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let outcome = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        outcomes.push(outcome);
    }
    outcomes.sort_by(|a: &Outcome, b| a.subject.cmp(&b.subject));
    Ok(outcomes)
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results")
}
