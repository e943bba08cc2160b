//! The command line of `klamm group`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};

use crate::commands::start::Start;
use crate::nearest::nearest;
use crate::times::parse_duration;

/// `klamm group`.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List all groups
    List {
        /// Only those in one of these states: Stable, Empty, PreparingRebalance, …
        #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = parse_state)]
        states: Vec<String>,
        /// Only those of one of these types: classic, consumer, …
        #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', value_parser = parse_type)]
        types: Vec<String>,
    },
    /// Show groups: state, members, and how far each partition is behind
    Describe(GroupDescribe),
    /// Set where a group goes on; shows what it would do until --execute
    Reset(GroupReset),
    /// Delete groups that have no members, with their offsets
    Delete {
        #[command(flatten)]
        named: Named,
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
    /// Remove members from a group; they join again if they live
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

/// Which groups.
#[derive(Args, Clone, Debug)]
pub(crate) struct Named {
    /// The groups
    #[arg(value_name = "GROUP", required_unless_present = "all_groups")]
    pub(crate) groups: Vec<String>,
    /// All consumer groups
    #[arg(long, visible_alias = "all", conflicts_with = "groups")]
    pub(crate) all_groups: bool,
}

/// `klamm group describe`.
#[derive(Args, Debug)]
pub(crate) struct GroupDescribe {
    #[command(flatten)]
    pub(crate) named: Named,
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
  klamm group reset billing --from-file offsets.csv --execute
  klamm group reset --all-groups --all-topics --to current --export > groups.csv
  klamm group reset --from-file groups.csv --execute                 all groups in the file"
)]
pub(crate) struct GroupReset {
    /// The groups; made when they are not there. Without any, those that --from-file names
    #[arg(value_name = "GROUP", required_unless_present_any = ["all_groups", "from_file"])]
    pub(crate) groups: Vec<String>,
    /// All consumer groups
    #[arg(long, visible_alias = "all", conflicts_with = "groups")]
    pub(crate) all_groups: bool,
    /// A topic, or some partitions of one (orders:0,1); may be repeated
    #[arg(short, long = "topic", value_name = "TOPIC[:PARTITIONS]")]
    pub(crate) topics: Vec<Scope>,
    /// All topics that the group has offsets of
    #[arg(long, conflicts_with = "topics")]
    pub(crate) all_topics: bool,
    /// Where to go on: `beginning`, `end`, `current`, an offset, -N for N before the end, a time
    /// (2026-11-23T21:00:00Z) or how long ago (15m, 2h, 7d, PT1H30M)
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(crate) to: Option<Place>,
    /// So many records on from the present offset; back with a minus
    #[arg(long, value_name = "RECORDS", allow_hyphen_values = true)]
    pub(crate) shift: Option<i64>,
    /// Lines of topic,partition,offset or of group,topic,partition,offset, as --export and
    /// kafka-consumer-groups write them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["topics", "all_topics"])]
    pub(crate) from_file: Option<PathBuf>,
    /// Do it
    #[arg(long)]
    pub(crate) execute: bool,
    /// Print lines of topic,partition,offset; with the group before, when there may be several
    #[arg(long)]
    pub(crate) export: bool,
}

/// States of groups (`GroupState`).
const STATES: [&str; 8] = [
    "Stable",
    "Empty",
    "PreparingRebalance",
    "CompletingRebalance",
    "Assigning",
    "Reconciling",
    "NotReady",
    "Dead",
];

/// Types of groups (`GroupType`).
const TYPES: [&str; 4] = ["classic", "consumer", "share", "streams"];

fn parse_state(text: &str) -> Result<String, String> {
    parse_word(text, &STATES)
}

fn parse_type(text: &str) -> Result<String, String> {
    parse_word(text, &TYPES)
}

/// One of `words`, in any case.
fn parse_word(text: &str, words: &[&str]) -> Result<String, String> {
    if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
        return Ok((*word).to_owned());
    }
    let lower: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let meant = nearest(&text.to_lowercase(), lower.iter().map(String::as_str));
    let meant = meant.and_then(|meant| lower.iter().position(|word| word == meant));
    Err(match meant {
        Some(place) => format!("did you mean `{}`?", words[place]),
        None => format!("there are {}", words.join(", ")),
    })
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
    fn words_for_groups_are_checked() {
        assert_eq!(parse_state("preparingrebalance").as_deref(), Ok("PreparingRebalance"));
        assert_eq!(parse_type("Consumer").as_deref(), Ok("consumer"));
        assert_eq!(parse_state("stabel"), Err("did you mean `Stable`?".to_owned()));
        let all = "there are classic, consumer, share, streams".to_owned();
        assert_eq!(parse_type("connect"), Err(all));
    }

    #[test]
    fn a_reset_says_what_and_where() {
        let parse = |words: &str| Cli::try_parse_from(words.split(' '));
        for right in [
            "klamm group reset g --topic t --to -5",
            "klamm group reset g --all-topics --shift -5",
            "klamm group reset g --from-file f --execute",
            "klamm group reset --from-file f --execute",
            "klamm group reset g h --all-topics --to P7D",
            "klamm group reset --all-groups --topic t --to PT1H30M",
            "klamm group describe --all",
            "klamm group delete --all-groups",
            "klamm group list --state stable,Empty --type Classic",
            "klamm group reset g --topic t --topic u:1 --to current --export",
        ] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in [
            "klamm group reset g --topic t",
            "klamm group reset --topic t --to end",
            "klamm group reset g --all-groups --topic t --to end",
            "klamm group describe",
            "klamm group delete g --all-groups",
            "klamm group list --state Stabel",
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
