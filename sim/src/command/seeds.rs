//! Seeds on the command line.

use std::ops::Range;

/// A seed as people write it: decimal, or hexadecimal with `0x`.
pub(super) fn parse_seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(&digits.replace('_', ""), 16),
        None => text.replace('_', "").parse(),
    };
    parsed.map_err(|error| format!("{text:?} is no seed: {error}"))
}

/// `FROM..TO`, without `TO`; or one seed.
pub(super) fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let Some((from, to)) = text.split_once("..") else {
        let seed = parse_seed(text)?;
        return Ok(seed..seed + 1);
    };
    let seeds = parse_seed(from)?..parse_seed(to)?;
    if seeds.is_empty() {
        return Err(format!("{text:?} holds no seed: write it as FROM..TO, without TO"));
    }
    Ok(seeds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_as_people_write_them() {
        assert_eq!(parse_seeds("0..1000"), Ok(0..1000));
        assert_eq!(parse_seeds("1_000..2_000"), Ok(1000..2000));
        assert_eq!(parse_seeds("0x10"), Ok(16..17));
        assert!(parse_seeds("5..5").is_err());
        assert!(parse_seeds("x..5").is_err());
        assert!(parse_seeds("").is_err());
    }
}
