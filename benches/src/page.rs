//! `docs/benchmarks.md`, written from the results.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::result::{self, Outcome, Row};

const HEAD: &str = "\
# Benchmarks

klamm beside Apache Kafka 4.3 on one machine, in turns: medians of all turns, and how many times klamm's
figure Kafka's is. `cargo measure SUBJECT` measures, and writes this page from `benches/results`.
";

/// Writes the page.
///
/// # Errors
/// A result can not be read, or the page not be written.
pub fn write() -> Result<()> {
    Ok(fs::write(path(), text(&result::all()?))?)
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md")
}

fn text(outcomes: &[Outcome]) -> String {
    outcomes.iter().fold(HEAD.to_owned(), |text, outcome| text + "\n" + &section(outcome))
}

/// The part of one subject.
pub fn section(outcome: &Outcome) -> String {
    let machine = &outcome.machine;
    let turns = outcome.tables.iter().flat_map(|table| &table.rows);
    let turns = turns.map(|row| row.klamm.len().max(row.kafka.len())).max().unwrap_or(0);
    let mut text = format!(
        "## {}\n\n{}\n\n{} turns with `cargo measure {}` on {}: {}, {} threads, {} GiB, Linux {}; klamm at {}.\n",
        outcome.title,
        outcome.about.trim(),
        turns,
        outcome.subject,
        machine.day,
        machine.processor,
        machine.threads,
        machine.memory_gib,
        machine.kernel,
        machine.commit,
    );
    for table in &outcome.tables {
        let _ = writeln!(
            text,
            "\n| {} | klamm | Kafka | Kafka / klamm |\n|---|---:|---:|---:|",
            table.title
        );
        for row in &table.rows {
            text.push_str(&line(row));
        }
    }
    text
}

fn line(row: &Row) -> String {
    let (klamm, kafka) = (median(&row.klamm), median(&row.kafka));
    let ratio = match (klamm, kafka) {
        (Some(klamm), Some(kafka)) if klamm > 0.0 => format!("{:.1}", kafka / klamm),
        _ => "–".to_owned(),
    };
    let show = |figure: Option<f64>| figure.map_or("–".to_owned(), number);
    format!("| {}, {} | {} | {} | {ratio} |\n", row.what, row.unit, show(klamm), show(kafka))
}

/// Three digits that matter, as far as there are so many.
fn number(figure: f64) -> String {
    match figure {
        f if f >= 100.0 => format!("{f:.0}"),
        f if f >= 10.0 => format!("{f:.1}"),
        f => format!("{f:.2}"),
    }
}

fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_results_say() {
        let written = fs::read_to_string(path()).unwrap();
        assert_eq!(written, text(&result::all().unwrap()), "write it by `cargo measure page`");
    }

    #[test]
    fn a_row_has_medians_and_their_ratio() {
        let row = |klamm: &[f64], kafka: &[f64]| {
            let (klamm, kafka) = (klamm.to_vec(), kafka.to_vec());
            line(&Row { what: "one joins".into(), unit: "ms".into(), klamm, kafka })
        };
        assert_eq!(
            row(&[900.0, 2.0, 3.24], &[31.4, 1.0, 1000.4]),
            "| one joins, ms | 3.24 | 31.4 | 9.7 |\n"
        );
        assert_eq!(row(&[0.0], &[1234.6]), "| one joins, ms | 0.00 | 1235 | – |\n");
        assert_eq!(row(&[], &[1.0]), "| one joins, ms | – | 1.00 | – |\n");
    }
}
