//! What was measured: rows of figures of several programs, kept as JSON so that the page can be
//! written anew without measuring again.

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
    /// What was measured, such as klamm and Kafka.
    pub columns: Vec<String>,
    /// How many times the second column's figure the first one's is.
    pub ratios: Vec<(String, String)>,
    /// The measurements.
    pub rows: Vec<Row>,
}

/// One measurement, taken in each turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Such as `ms`.
    pub unit: String,
    /// A list for each column, with one figure for each turn.
    pub figures: Vec<Vec<f64>>,
}

impl Outcome {
    /// How often it was measured.
    pub fn turns(&self) -> usize {
        let rows = self.tables.iter().flat_map(|table| &table.rows);
        rows.flat_map(|row| &row.figures).map(Vec::len).max().unwrap_or(0)
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

impl Table {
    /// A table without rows.
    pub fn new(title: &str, columns: &[&str], ratios: &[(&str, &str)]) -> Table {
        let owned = |(of, to): &(&str, &str)| ((*of).to_owned(), (*to).to_owned());
        Table {
            title: title.to_owned(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            ratios: ratios.iter().map(owned).collect(),
            rows: Vec::new(),
        }
    }

    /// Where a column is.
    ///
    /// # Panics
    /// The table has no such column: whoever measures has misspelt it.
    pub fn column(&self, name: &str) -> usize {
        let place = self.columns.iter().position(|column| column == name);
        place.unwrap_or_else(|| panic!("{} has no column {name}", self.title))
    }

    /// Takes a figure in, in the row that is there or in a new one.
    pub fn put(&mut self, column: &str, what: &str, unit: &str, figure: f64) {
        let column = self.column(column);
        let known = self.rows.iter().position(|row| row.what == what && row.unit == unit);
        let known = known.unwrap_or_else(|| {
            let figures = vec![Vec::new(); self.columns.len()];
            self.rows.push(Row { what: what.to_owned(), unit: unit.to_owned(), figures });
            self.rows.len() - 1
        });
        self.rows[known].figures[column].push(figure);
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
