//! Rust names for the schemas' names.

/// `PartitionMaxBytes` -> `partition_max_bytes`; `KRaftVersion` -> `kraft_version`.
pub fn snake(name: &str) -> String {
    let name = name.replace("KRaft", "Kraft");
    let letters: Vec<char> = name.chars().collect();
    let mut text = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let after_lower = at > 0 && !letters[at - 1].is_uppercase();
        let before_lower = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && at > 0 && (after_lower || before_lower) {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// The module of a schema.
pub fn module(name: &str) -> String {
    snake(name)
}

/// The field of a struct.
pub fn field(name: &str) -> String {
    let name = snake(name);
    match name.as_str() {
        "type" | "match" => format!("r#{name}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_snakes() {
        assert_eq!(snake("PartitionMaxBytes"), "partition_max_bytes");
        assert_eq!(snake("timeoutMs"), "timeout_ms");
        assert_eq!(snake("KRaftVersionFeature"), "kraft_version_feature");
        assert_eq!(snake("ISRNodes"), "isr_nodes");
        assert_eq!(field("Type"), "r#type");
    }
}
