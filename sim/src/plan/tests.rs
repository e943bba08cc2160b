//! The page docs/simulation.md names all that a plan can say: what it can say is asked of the parser.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Action, Cut, DiskOp, Family, Moment, Phase, Trigger, Way};
use crate::world::Kind;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/simulation.md");
    std::fs::read_to_string(path).expect("the page is there")
}

/// The names that the parser says it expects where it gets another one.
fn expected<T: DeserializeOwned>(value: serde_json::Value) -> Vec<String> {
    let error = serde_json::from_value::<T>(value).err().expect("no name is `?`").to_string();
    let (_, names) = error.split_once("expected").expect("it says what it expects");
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn assert_rows<T: DeserializeOwned>(page: &str) {
    let variants = expected::<T>(json!("?"));
    assert!(variants.len() > 2, "{variants:?}");
    for variant in variants {
        let fields = expected::<T>(json!({ variant.as_str(): { "?": 0 } }));
        let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        let row = format!("| `{variant}` | {} | ", fields.join(", "));
        assert!(page.lines().any(|line| line.starts_with(&row)), "the page has no row {row:?}");
    }
}

#[test]
fn the_page_has_a_row_for_every_trigger_and_every_action_with_its_fields() {
    assert_rows::<Trigger>(&page());
    assert_rows::<Action>(&page());
}

#[test]
fn the_page_names_every_family_kind_and_choice() {
    let page = page();
    let choices = [
        expected::<DiskOp>(json!("?")),
        expected::<Phase>(json!("?")),
        expected::<Moment>(json!("?")),
        expected::<Way>(json!("?")),
        expected::<Cut>(json!("?")),
        expected::<Family>(json!("?")),
        Kind::ALL.map(|kind| kind.name().to_owned()).to_vec(),
    ];
    for name in choices.iter().flatten() {
        assert!(page.contains(&format!("`{name}`")), "the page does not name `{name}`");
    }
}
