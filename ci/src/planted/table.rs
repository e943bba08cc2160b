//! The table of planted bugs, for people.

use std::collections::BTreeMap;
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

/// The rows of a table, by the names of their bugs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows(BTreeMap<String, String>);

impl Rows {
    /// Those of a table that is written.
    pub fn of(table: &str) -> Rows {
        let name = |row: &str| Some(row.strip_prefix("| [")?.split_once(']')?.0.to_owned());
        Rows(table.lines().filter_map(|row| Some((name(row)?, row.to_owned()))).collect())
    }

    /// The bugs, in their order.
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Puts a proof in, in the place of an older one.
    pub fn put(&mut self, patch: &Patch, proof: &Proof) {
        let Proof { seeds, faults_before, faults, records, .. } = proof;
        let name = format!("[{0}](../scenarios/planted/{0}.patch)", patch.name);
        let row = format!(
            "| {name}: {} | {} | {} | {seeds} | {faults_before} → {faults} | {records} |",
            cell(&patch.what),
            cell(&patch.like),
            patch.check,
        );
        self.0.insert(patch.name.clone(), row);
    }

    /// Puts rows in, in the place of older ones.
    pub fn extend(&mut self, rows: Rows) {
        self.0.extend(rows.0);
    }

    /// Leaves out what is no bug of these.
    pub fn keep(&mut self, names: &[&str]) {
        self.0.retain(|name, _| names.contains(&name.as_str()));
    }

    /// How many seeds each bug took, as its row says.
    fn seeds(&self) -> Vec<u64> {
        let column = |row: &String| row.rsplit(" | ").nth(2)?.parse().ok();
        self.0.values().filter_map(column).collect()
    }
}

/// The page with these rows.
pub fn page(rows: &Rows) -> String {
    let mut text = HEAD.to_owned();
    for row in rows.0.values() {
        let _ = writeln!(text, "{row}");
    }
    let mut seeds = rows.seeds();
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
        let mut rows = Rows::default();
        rows.put(&patch, &proof);
        let text = page(&rows);
        assert!(text.contains("It is wrong | a\\|b | lost-write | 7 | 12 → 2 | 30 |\n"), "{text}");
        assert!(text.ends_with("\nSeeds to find one of 1: median 7, 7 at most.\n"));
        // Rows of a page that is written stay, until their bug is proved anew or gone.
        let other = Patch { name: "other".into(), ..patch.clone() };
        let mut rows = Rows::of(&text);
        rows.put(&other, &Proof { seeds: 9, ..proof.clone() });
        rows.put(&patch, &Proof { seeds: 8, ..proof });
        assert_eq!(rows.names(), ["other", "wrong"]);
        assert!(page(&rows).ends_with("\nSeeds to find one of 2: median 9, 9 at most.\n"));
        rows.keep(&["wrong"]);
        assert_eq!(rows, Rows::of(&text.replace("| 7 |", "| 8 |")));
    }
}
