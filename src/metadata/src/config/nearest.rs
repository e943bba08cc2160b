//! The name that a mistyped one was meant to be.

use crate::config::broker::broker_definitions;
use crate::config::group::{client_metrics_definitions, group_definitions};
use crate::config::topic::topic_definitions;
use crate::record::ConfigResource;

/// What the configs of that kind of resource are called, and which of them `typed` may mean.
pub(crate) fn nearest_config(
    resource: &ConfigResource,
    typed: &str,
) -> (&'static str, Option<&'static str>) {
    let of = |definitions: &'static [crate::config::Definition]| {
        nearest(typed, definitions.iter().map(|definition| definition.name))
    };
    match resource {
        ConfigResource::Topic(_) => ("topic", of(topic_definitions())),
        ConfigResource::Broker(_) | ConfigResource::DefaultBroker => {
            ("broker", nearest(typed, broker_definitions().map(|definition| definition.name)))
        }
        ConfigResource::Group(_) => ("group", of(group_definitions())),
        ConfigResource::ClientMetrics(_) => ("client metrics", of(client_metrics_definitions())),
    }
}

/// The name nearest to `typed`: at most a third of it differs, and the first of equals wins.
pub(crate) fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer names are no typing errors; the bound keeps the time small whatever a client sends.
    const NAME_CHARS_MAX: usize = 200;
    if typed.chars().count() > NAME_CHARS_MAX {
        return None;
    }
    let typed: Vec<char> = typed.to_ascii_lowercase().chars().collect();
    let distance_max = (typed.len() / 3).max(1);
    names
        .map(|name| (distance(&typed, &name.chars().collect::<Vec<char>>()), name))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many characters have to be put in, taken out, replaced or swapped with their neighbour to get
/// from one text to the other (optimal string alignment).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut current = vec![row + 1; to.len() + 1];
        for (column, b) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(a != b);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let is_swap = row > 0 && column > 0 && *a == to[column - 1] && from[row - 1] == *b;
            if is_swap {
                best = best.min(before_last[column - 1] + 1);
            }
            current[column + 1] = best;
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_slips() {
        let distance = |a: &str, b: &str| {
            distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
        };
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("retention", ""), 9);
        assert_eq!(distance("retention.ms", "retention.mss"), 1);
        assert_eq!(distance("retnetion", "retention"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn far_names_are_not_offered() {
        let names = ["retention.ms", "retention.bytes", "cleanup.policy"];
        let check = |typed| nearest(typed, names.into_iter());
        assert_eq!(check("Retention.MS"), Some("retention.ms"));
        assert_eq!(check("retention.byte"), Some("retention.bytes"));
        assert_eq!(check("cleanup_policy"), Some("cleanup.policy"));
        assert_eq!(check("replication"), None);
        assert_eq!(check(&"x".repeat(100_000)), None);
    }
}
