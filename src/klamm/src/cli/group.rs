//! The command line of `klamm group`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};

use crate::commands::start::Start;
use crate::times::parse_duration;

/// `klamm group`.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List all groups
    List {
        /// Only those in one of these states: Stable, Empty, PreparingRebalance, …
        #[arg(long = "state", value_name = "STATE", value_delimiter = ',')]
        states: Vec<String>,
        /// Only those of one of these types: classic, consumer, …
        #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
        types: Vec<String>,
    },
    /// Show groups: state, members, and how far each partition is behind
    Describe(GroupDescribe),
    /// Set where a group goes on; shows what it would do until --execute
    Reset(GroupReset),
    /// Delete groups that have no members, with their offsets
    Delete {
        /// The groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
        /// A group that is not there is no failure
        #[arg(long)]
        if_exists: bool,
    },
    /// Forget what a group has committed for topics that none of its members reads
    DeleteOffsets {
        /// The group
        group: String,
        /// A topic, or some partitions of one (orders:0,1); may be repeated
        #[arg(short, long = "topic", required = true, value_name = "TOPIC[:PARTITIONS]")]
        topics: Vec<Scope>,
    },
    /// Remove members from a classic group; they join again if they live
    RemoveMember {
        /// The group
        group: String,
        /// Member ids
        #[arg(value_name = "MEMBER", required_unless_present = "instances")]
        members: Vec<String>,
        /// A static member by its group.instance.id; may be repeated
        #[arg(short, long = "instance", value_name = "INSTANCE")]
        instances: Vec<String>,
    },
}

/// `klamm group describe`.
#[derive(Args, Debug)]
pub(crate) struct GroupDescribe {
    /// The groups
    #[arg(required = true, value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// Look again every so often
    #[arg(
        short,
        long,
        value_name = "DURATION",
        value_parser = parse_duration,
        num_args = 0..=1,
        default_missing_value = "1s"
    )]
    pub(crate) watch: Option<Duration>,
    /// With --watch: stop after so many looks
    #[arg(short = 'n', long, value_name = "LOOKS", requires = "watch")]
    pub(crate) count: Option<u64>,
}

/// `klamm group reset`.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("where").required(true).args(["to", "shift", "from_file"])),
    group(ArgGroup::new("what").required(true).args(["topics", "all_topics", "from_file"])),
    after_help = "The group must have no members. Offsets are kept within what a partition has.

Examples:
  klamm group reset billing --topic orders --to beginning            show what it would do
  klamm group reset billing --topic orders --to beginning --execute
  klamm group reset billing --topic orders:0,3 --to 2026-11-23T21:00:00Z --execute
  klamm group reset billing --all-topics --shift -100 --execute
  klamm group reset billing --all-topics --to current --export > offsets.csv
  klamm group reset billing --from-file offsets.csv --execute"
)]
pub(crate) struct GroupReset {
    /// The group; made when it is not there
    pub(crate) group: String,
    /// A topic, or some partitions of one (orders:0,1); may be repeated
    #[arg(short, long = "topic", value_name = "TOPIC[:PARTITIONS]")]
    pub(crate) topics: Vec<Scope>,
    /// All topics that the group has offsets of
    #[arg(long, conflicts_with = "topics")]
    pub(crate) all_topics: bool,
    /// Where to go on: `beginning`, `end`, `current`, an offset, -N for N before the end, a time
    /// (2026-11-23T21:00:00Z) or how long ago (15m, 2h, 7d)
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(crate) to: Option<Place>,
    /// So many records on from the present offset; back with a minus
    #[arg(long, value_name = "RECORDS", allow_hyphen_values = true)]
    pub(crate) shift: Option<i64>,
    /// Lines of topic,partition,offset, as --export and kafka-consumer-groups write them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["topics", "all_topics"])]
    pub(crate) from_file: Option<PathBuf>,
    /// Do it
    #[arg(long)]
    pub(crate) execute: bool,
    /// Print lines of topic,partition,offset
    #[arg(long)]
    pub(crate) export: bool,
}

/// `--to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// What is committed now.
    Current,
    /// As `consume --from`.
    Start(Start),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        if text == "current" {
            return Ok(Place::Current);
        }
        let place = text.parse().map(Place::Start);
        place.map_err(|error: String| error.replace("beginning, end,", "beginning, end, current,"))
    }
}

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) topic: String,
    /// All, when empty.
    pub(crate) partitions: Vec<i32>,
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Scope, String> {
        let wrong = || format!("`{text}` is not TOPIC or TOPIC:0,1,2");
        let (topic, partitions) = match text.split_once(':') {
            Some((topic, list)) => {
                let numbers = list.split(',').map(str::parse::<i32>);
                (topic, numbers.collect::<Result<_, _>>().map_err(|_| wrong())?)
            }
            None => (text, Vec::new()),
        };
        if topic.is_empty() || partitions.iter().any(|partition| *partition < 0) {
            return Err(wrong());
        }
        Ok(Scope { topic: topic.to_owned(), partitions })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn scopes() {
        let scope = |topic: &str, partitions: &[i32]| {
            Ok(Scope { topic: topic.to_owned(), partitions: partitions.to_vec() })
        };
        assert_eq!("orders".parse(), scope("orders", &[]));
        assert_eq!("orders:0,3".parse(), scope("orders", &[0, 3]));
        for wrong in [":1", "orders:", "orders:x", "orders:-1", ""] {
            assert!(wrong.parse::<Scope>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_reset_says_what_and_where() {
        let parse = |words: &str| Cli::try_parse_from(words.split(' '));
        for right in [
            "klamm group reset g --topic t --to -5",
            "klamm group reset g --all-topics --shift -5",
            "klamm group reset g --from-file f --execute",
            "klamm group reset g --topic t --topic u:1 --to current --export",
        ] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in [
            "klamm group reset g --topic t",
            "klamm group reset g --to end",
            "klamm group reset g --topic t --to end --shift 1",
            "klamm group reset g --topic t --all-topics --to end",
            "klamm group reset g --topic t --from-file f",
            "klamm group reset g --topic t --to somewhere",
            "klamm group remove-member g",
            "klamm group describe g -n 3",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
