//! `docs/benchmarks.md`, written from the results.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::result::{self, Outcome, Row, Table};

const HEAD: &str = "\
# Benchmarks

klamm beside Apache Kafka 4.3 on one machine, in turns: the median of all turns, in parentheses the least and
the most, and ratios of medians. `cargo measure SUBJECT` measures, and writes this page from
`benches/results`.
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
    let mut text = format!(
        "## {}\n\n{}\n\n{} turns with `cargo measure {}` on {}: {}, {} threads, {} GiB, Linux {}; klamm at {}.\n",
        outcome.title,
        outcome.about.trim(),
        outcome.turns(),
        outcome.subject,
        machine.day,
        machine.processor,
        machine.threads,
        machine.memory_gib,
        machine.kernel,
        machine.commit,
    );
    for table in &outcome.tables {
        text.push_str(&head(table));
        for row in &table.rows {
            text.push_str(&line(table, row));
        }
    }
    text
}

fn head(table: &Table) -> String {
    let ratios = table.ratios.iter().map(|(of, to)| format!("{of} / {to}"));
    let cells: Vec<String> = table.columns.iter().cloned().chain(ratios).collect();
    let rule = "---:|".repeat(cells.len());
    format!("\n| {} | {} |\n|---|{rule}\n", table.title, cells.join(" | "))
}

fn line(table: &Table, row: &Row) -> String {
    let mut text = format!("| {}, {} |", row.what, row.unit);
    for figures in &row.figures {
        let _ = write!(text, " {} |", cell(figures));
    }
    for (of, to) in &table.ratios {
        let figure = |name| median(&row.figures[table.column(name)]);
        let ratio = match (figure(of), figure(to)) {
            (Some(of), Some(to)) if to > 0.0 => number(of / to),
            _ => "–".to_owned(),
        };
        let _ = write!(text, " {ratio} |");
    }
    text + "\n"
}

fn cell(figures: &[f64]) -> String {
    let sorted = sorted(figures);
    match (median(figures), sorted.first(), sorted.last()) {
        (Some(median), Some(least), Some(most)) if figures.len() > 1 => {
            format!("{} ({}–{})", number(median), number(*least), number(*most))
        }
        (Some(median), ..) => number(median),
        _ => "–".to_owned(),
    }
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
    let (sorted, middle) = (sorted(figures), figures.len() / 2);
    let upper = sorted.get(middle)?;
    let lower = if figures.len().is_multiple_of(2) { sorted[middle - 1] } else { *upper };
    Some(f64::midpoint(lower, *upper))
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
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
        let mut table = Table::new("group", &["klamm", "Kafka"], &[("Kafka", "klamm")]);
        for (column, figures) in [("klamm", [900.0, 2.0, 3.24]), ("Kafka", [31.4, 1.0, 1000.4])] {
            for figure in figures {
                table.put(column, "one joins", "ms", figure);
            }
        }
        table.put("klamm", "idle", "s", 0.0);
        table.put("Kafka", "idle", "s", 1234.6);
        table.put("Kafka", "busy", "s", 1.0);
        table.put("Kafka", "busy", "s", 4.0);
        let lines: String = table.rows.iter().map(|row| line(&table, row)).collect();
        let text = head(&table) + &lines;
        expect_test::expect![[r#"

            | group | klamm | Kafka | Kafka / klamm |
            |---|---:|---:|---:|
            | one joins, ms | 3.24 (2.00–900) | 31.4 (1.00–1000) | 9.69 |
            | idle, s | 0.00 | 1235 | – |
            | busy, s | – | 2.50 (1.00–4.00) | – |
        "#]]
        .assert_eq(&text);
    }
}
