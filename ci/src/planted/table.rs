//! The table of planted bugs, for people.

use std::fmt::Write as _;

use super::patch::Patch;
use super::proof::Proof;

/// Where it is published.
pub const TABLE: &str = "docs/planted-bugs.md";

const HEAD: &str = "\
# Planted bugs

A simulator that finds nothing may be blind. So bugs that brokers really had are planted into klamm, one
at a time ([`scenarios/planted`](../scenarios/planted)), and each has to be found within 500 seeds, by the
right check, repeatably, and shrunk to a plan that fails with the bug and passes without it.
`cargo ci planted` proves it and `cargo ci planted --write` wrote this table.

| bug | like | found by | seeds | faults | records |
|---|---|---|---|---|---|
";

/// The bugs that a table lists.
pub fn names(table: &str) -> Vec<&str> {
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ["));
    rows.filter_map(|row| row.split_once(']').map(|(name, _)| name)).collect()
}

/// The table of what was proved.
pub fn table(rows: &[(&Patch, Proof)]) -> String {
    let mut text = HEAD.to_owned();
    for (patch, proof) in rows {
        let Proof { seeds, faults_before, faults, records, .. } = proof;
        let name = format!("[{0}](../scenarios/planted/{0}.patch)", patch.name);
        let _ = writeln!(
            text,
            "| {name}: {} | {} | {} | {seeds} | {faults_before} → {faults} | {records} |",
            cell(&patch.what),
            cell(&patch.like),
            patch.check,
        );
    }
    let mut seeds: Vec<u64> = rows.iter().map(|(_, proof)| proof.seeds).collect();
    seeds.sort_unstable();
    if let (Some(middle), Some(most)) = (seeds.get(seeds.len() / 2), seeds.last()) {
        let count = seeds.len();
        let _ = writeln!(text, "\nSeeds to find one of {count}: median {middle}, {most} at most.");
    }
    text
}

fn cell(text: &str) -> String {
    text.trim_end_matches('.').replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_bug() {
        let text = "It is wrong.\nLike: a|b.\ncheck: lost-write\nscenario: s.toml\n\n--- a/x\n";
        let patch = Patch::parse("wrong", text).unwrap();
        let finding = "lost-write t-0@1".to_owned();
        let proof = Proof { seeds: 7, faults_before: 12, faults: 2, records: 30, finding };
        let table = table(&[(&patch, proof)]);
        assert!(
            table.contains("It is wrong | a\\|b | lost-write | 7 | 12 → 2 | 30 |\n"),
            "{table}"
        );
        assert!(table.ends_with("\nSeeds to find one of 1: median 7, 7 at most.\n"));
    }
}
