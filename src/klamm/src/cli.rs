//! The command line: commands, options, help.

mod group;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use self::group::{GroupCommand, GroupDescribe, GroupReset, Named, Place, Scope};
use crate::commands::start::Start;
use crate::output::OutputFormat;
use crate::times::parse_duration;

/// A Kafka-compatible log broker in one binary.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 the operation failed, 2 wrong use."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection and output")]
pub(crate) struct Global {
    /// Brokers to ask first; one that answers is enough
    #[arg(
        short = 'b',
        long = "bootstrap-server",
        global = true,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        env = "KLAMM_BOOTSTRAP_SERVER",
        default_value = "127.0.0.1:9092"
    )]
    pub(crate) bootstrap_servers: Vec<String>,
    /// Tables for people or JSON for programs
    #[arg(
        short = 'o',
        long = "output",
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub(crate) output: OutputFormat,
    /// How long an operation may take, retries included (500ms, 10s, 5m)
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        value_parser = parse_duration,
        default_value = "30s"
    )]
    pub(crate) timeout: Duration,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker on this machine, with nothing to configure
    Dev(Dev),
    /// Run a broker as a server.properties describes it
    Serve(Serve),
    /// Create, list, describe, alter and delete topics
    Topic {
        #[command(subcommand)]
        command: TopicCommand,
    },
    /// Send records: one per line of standard input or of files
    Produce(Produce),
    /// Read records and print them
    Consume(Consume),
    /// List, describe, reset and delete consumer groups
    Group {
        #[command(subcommand)]
        command: GroupCommand,
    },
    /// Look into segment files, klamm's or Apache Kafka's
    Log {
        #[command(subcommand)]
        command: LogCommand,
    },
    /// Print a script that completes commands in a shell
    ///
    /// For bash: `source <(klamm completions bash)`.
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// `klamm dev`.
#[derive(Args, Debug)]
#[command(after_help = "Prints one line on stdout when clients can connect; Ctrl-C stops it.
What it acknowledged is on the disk, whatever happens to the process or the machine.

Examples:
  klamm dev
  klamm dev --dir /tmp/try --port 19092 --set num.partitions=3
  klamm dev --set klamm.durability=os     acknowledge from memory, as Apache Kafka does")]
pub(crate) struct Dev {
    /// Where its data lies; created when it is not there
    #[arg(long, value_name = "DIR", default_value = "./klamm-data")]
    pub(crate) dir: PathBuf,
    /// The port on 127.0.0.1; 0 takes a free one
    #[arg(short, long, value_name = "PORT", default_value_t = 9092)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

/// `klamm serve`.
#[derive(Args, Debug)]
#[command(
    after_help = "Kafka's names count. A name that nobody knows is an error that says which \
one was meant; a setting that klamm does not need is accepted with a remark."
)]
pub(crate) struct Serve {
    /// The properties file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

/// What `dev` and `serve` have in common.
#[derive(Args, Debug)]
pub(crate) struct BrokerOptions {
    /// A setting of the broker that counts more than the file; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) set: Vec<(String, String)>,
    /// How logs are written on stderr; KLAMM_LOG says what is (debug, warn,storage=trace)
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// A JSON document per line
    Json,
}

/// `klamm topic`.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create topics
    Create(TopicCreate),
    /// List all topics
    List {
        /// Also those that brokers use for themselves
        #[arg(long)]
        internal: bool,
    },
    /// Show topics: partitions, offsets, settings
    Describe {
        /// The topics
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// All settings instead of only those that were set on the topic
        #[arg(long)]
        all_configs: bool,
    },
    /// Change the settings of a topic, or give it more partitions
    Alter(TopicAlter),
    /// Delete topics with all their records
    Delete {
        /// The topics
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// A topic that is not there is no failure
        #[arg(long)]
        if_exists: bool,
    },
}

/// `klamm topic create`.
#[derive(Args, Debug)]
pub(crate) struct TopicCreate {
    /// The topics
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// How many partitions; the broker's num.partitions when left out
    #[arg(short, long, value_name = "COUNT")]
    pub(crate) partitions: Option<i32>,
    /// How many copies of each partition; the broker's default.replication.factor when left out
    #[arg(short, long, value_name = "COUNT")]
    pub(crate) replication_factor: Option<i16>,
    /// A setting, such as retention.ms=86400000; may be repeated
    #[arg(short, long = "config", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) configs: Vec<(String, String)>,
    /// A topic that is there already is no failure
    #[arg(long)]
    pub(crate) if_not_exists: bool,
    /// Only say whether it would work
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `klamm topic alter`.
#[derive(Args, Debug)]
pub(crate) struct TopicAlter {
    /// The topic
    pub(crate) topic: String,
    /// The new number of partitions, above the present one
    #[arg(short, long, value_name = "COUNT")]
    pub(crate) partitions: Option<i32>,
    /// A setting to change; may be repeated
    #[arg(short, long = "config", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) configs: Vec<(String, String)>,
    /// A setting to take back to its default; may be repeated
    #[arg(short, long = "delete-config", value_name = "NAME")]
    pub(crate) delete_configs: Vec<String>,
    /// Only say whether it would work
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `klamm produce`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  echo hello | klamm produce greetings
  echo 'user-7:{\"name\":\"Ann\"}' | klamm produce users --key-separator :
  printf 'trace:17,from:cli\\tkey\\tvalue\\n' | klamm produce t --parse-headers --key-separator '\\t'
  klamm produce images --whole-file --key cat --header type=image/png cat.png")]
pub(crate) struct Produce {
    /// The topic; created when it is not there and the broker allows that
    pub(crate) topic: String,
    /// Files to read instead of standard input; `-` is standard input
    pub(crate) files: Vec<PathBuf>,
    /// Each file is one record instead of one record per line
    #[arg(long)]
    pub(crate) whole_file: bool,
    /// What separates key and value in a line; without it a line is a value. \t stands for a tab
    #[arg(short = 'K', long, value_name = "TEXT")]
    pub(crate) key_separator: Option<String>,
    /// The key of every record
    #[arg(short, long, conflicts_with = "key_separator")]
    pub(crate) key: Option<String>,
    /// A header of every record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) headers: Vec<(String, String)>,
    /// Lines begin with headers and a tab: name:value,name:value, then the rest.
    #[arg(long, conflicts_with = "whole_file")]
    pub(crate) parse_headers: bool,
    /// An empty value becomes a null: it deletes its key in a compacted topic
    #[arg(short = 'Z', long)]
    pub(crate) null_if_empty: bool,
    /// The partition of every record; by key, or any, when left out
    #[arg(short, long, value_name = "NUMBER")]
    pub(crate) partition: Option<i32>,
    /// At most this many records per second
    #[arg(long, value_name = "RECORDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// How many copies a record needs before it counts as sent
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) acks: AcksArgument,
    /// How batches are compressed
    #[arg(short = 'z', long, value_enum, default_value = "none")]
    pub(crate) compression: CompressionArgument,
    /// How long a batch that is not full waits for more records
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "5ms")]
    pub(crate) linger: Duration,
}

/// `--acks`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum AcksArgument {
    /// No answer: a lost record stays unnoticed
    #[value(name = "0")]
    None,
    /// The leader's copy
    #[value(name = "1")]
    Leader,
    /// All in-sync replicas, without duplicates (idempotent)
    All,
}

/// `--compression`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CompressionArgument {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// `klamm consume`.
#[derive(Args, Debug)]
#[command(after_help = "Places in --format:
  %t topic   %p partition   %o offset   %T timestamp (ms)   %h headers (name=value,...)
  %k key     %K its length  %v value    %V its length       %% a percent sign
  \\n \\t \\r \\\\ and \\xHH stand for characters. A null key or value prints as nothing, length -1.

Examples:
  klamm consume greetings --from beginning -n 1
  klamm consume users --from 15m --format '%T %k %v\\n'
  klamm consume users --from beginning --exit-at-end -o json | jq .value
  klamm consume orders --group billing      share the partitions, go on where the group was
  klamm consume orders payments --group billing --assignor cooperative-sticky
  klamm consume --regex 'orders-.*' --group billing --group-protocol consumer")]
pub(crate) struct Consume {
    /// The topics
    #[arg(required_unless_present = "regex", value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// In a group with --group-protocol consumer: all topics whose names match, as RE2 has it
    #[arg(
        long,
        value_name = "PATTERN",
        requires = "group",
        conflicts_with_all = ["topics", "exit_at_end"]
    )]
    pub(crate) regex: Option<String>,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "RECORDS")]
    pub(crate) count: Option<u64>,
    /// Read as a member of this group, and commit what was printed
    #[arg(short, long, value_name = "GROUP", conflicts_with = "partitions")]
    pub(crate) group: Option<String>,
    /// How to be a member of it
    #[arg(
        long,
        value_enum,
        value_name = "PROTOCOL",
        default_value = "classic",
        requires = "group"
    )]
    pub(crate) group_protocol: GroupProtocolArgument,
    /// How the partitions are divided. Classic: range, roundrobin, sticky or cooperative-sticky, the
    /// best first; consumer: one that the broker has, such as uniform or range
    #[arg(long = "assignor", value_name = "ASSIGNOR", value_delimiter = ',', requires = "group")]
    pub(crate) assignors: Vec<String>,
    /// The group.instance.id, for a member that comes back
    #[arg(long, value_name = "INSTANCE", requires = "group")]
    pub(crate) group_instance: Option<String>,
    /// Where to start; in a group, where it has committed nothing (`beginning` or `end`): `beginning`, `end`, an offset, -N for N before the end, a time
    /// (2026-11-23T21:00:00Z) or how long ago (15m, 2h, 7d)
    #[arg(long, value_name = "PLACE", default_value = "end", allow_hyphen_values = true)]
    pub(crate) from: Start,
    /// Only this partition; may be repeated
    #[arg(short, long = "partition", value_name = "NUMBER")]
    pub(crate) partitions: Vec<i32>,
    /// How a record is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "%v\\n")]
    pub(crate) format: String,
    /// Stop at the end that the topic has now, instead of waiting for new records
    #[arg(short = 'e', long)]
    pub(crate) exit_at_end: bool,
    /// Wait for new records: what happens anyway without --exit-at-end
    #[arg(long, conflicts_with = "exit_at_end")]
    pub(crate) follow: bool,
    /// Leave out records of transactions that are open or were aborted
    #[arg(long)]
    pub(crate) read_committed: bool,
}

/// `--group-protocol`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum GroupProtocolArgument {
    /// The members divide the partitions
    Classic,
    /// The coordinator does (KIP-848)
    Consumer,
}

/// `klamm log`.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Print the batches of segment files
    Dump {
        /// Segment files (.log), or directories with them
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
        /// Also the records in the batches
        #[arg(short, long)]
        records: bool,
    },
    /// Check segment files and their indexes
    ///
    /// Reads every byte: lengths, checksums, the order of offsets, the records in compressed
    /// batches, and whether each entry of the indexes leads where it should. The broker need not be
    /// stopped, but what it writes meanwhile may look like a batch that is cut off.
    Verify {
        /// Segment files (.log), or directories with them
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
    },
}

/// `NAME=VALUE`.
fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn negative_offsets_are_not_options() {
        let parsed = Cli::try_parse_from(["klamm", "consume", "t", "--from", "-5"]);
        let Ok(Cli { command: Command::Consume(consume), .. }) = parsed else {
            panic!("{parsed:?}");
        };
        assert_eq!(consume.from, Start::BeforeEnd(5));
    }
}
