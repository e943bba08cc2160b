//! Kafka's file names: what they say, and how to make them (`LogFileUtils`).

use model::Offset;

pub(crate) const PARTITION_METADATA: &str = "partition.metadata";
pub(crate) const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
pub(crate) const DELETED_SUFFIX: &str = ".deleted";
pub(crate) const CLEANED_SUFFIX: &str = ".cleaned";
pub(crate) const SWAP_SUFFIX: &str = ".swap";
pub(crate) const TMP_SUFFIX: &str = ".tmp";
/// Ends the name of the directory of a log that is being created.
pub(crate) const CREATING_DIR_SUFFIX: &str = "-new";
/// Ends the name of the directory of a log that no topic claims, as in Apache Kafka.
pub(crate) const STRAY_DIR_SUFFIX: &str = "-stray";
/// Ends the name of the directory of a deleted log.
pub(crate) const DELETED_DIR_SUFFIX: &str = "-delete";

/// The files of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FileKind {
    /// The batches.
    Log,
    /// Offsets to positions.
    Index,
    /// Timestamps to offsets.
    TimeIndex,
    /// Aborted transactions.
    TxnIndex,
    /// Producer state as of the offset in the name.
    Snapshot,
}

impl FileKind {
    pub(crate) const OF_SEGMENT: [FileKind; 4] =
        [FileKind::Log, FileKind::Index, FileKind::TimeIndex, FileKind::TxnIndex];

    fn suffix(self) -> &'static str {
        match self {
            FileKind::Log => ".log",
            FileKind::Index => ".index",
            FileKind::TimeIndex => ".timeindex",
            FileKind::TxnIndex => ".txnindex",
            FileKind::Snapshot => ".snapshot",
        }
    }

    fn from_suffix(suffix: &str) -> Option<FileKind> {
        let mut all = FileKind::OF_SEGMENT.into_iter().chain([FileKind::Snapshot]);
        all.find(|kind| kind.suffix()[1..] == *suffix)
    }
}

/// What a name in a log's directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// A file in use.
    Live(FileKind, Offset),
    /// Of a segment that replaces others, complete.
    Swap(FileKind, Offset),
    /// Of a segment that was to replace others, perhaps incomplete.
    Cleaned,
    /// A leftover that nothing refers to any more.
    Leftover,
    /// Not a file of the log itself.
    Other,
}

/// The name of a segment's file, or of a snapshot.
pub(crate) fn file_name(kind: FileKind, offset: Offset) -> String {
    format!("{:020}{}", offset.0, kind.suffix())
}

/// Reads a name.
pub(crate) fn parse(name: &str) -> Named {
    if name.ends_with(DELETED_SUFFIX) || name.ends_with(TMP_SUFFIX) {
        return Named::Leftover;
    }
    if let Some(live) = name.strip_suffix(CLEANED_SUFFIX) {
        return if live_file(live).is_some() { Named::Cleaned } else { Named::Other };
    }
    if let Some(live) = name.strip_suffix(SWAP_SUFFIX) {
        return live_file(live).map_or(Named::Other, |(kind, base)| Named::Swap(kind, base));
    }
    live_file(name).map_or(Named::Other, |(kind, base)| Named::Live(kind, base))
}

fn live_file(name: &str) -> Option<(FileKind, Offset)> {
    let (digits, suffix) = name.split_once('.')?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    let offset = all_digits.then(|| digits.parse::<i64>().ok())??;
    Some((FileKind::from_suffix(suffix)?, Offset(offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let name = file_name(FileKind::TimeIndex, Offset(4711));
        assert_eq!(name, "00000000000000004711.timeindex");
        assert_eq!(parse(&name), Named::Live(FileKind::TimeIndex, Offset(4711)));
        assert_eq!(parse(&format!("{name}.deleted")), Named::Leftover);
        assert_eq!(parse(&format!("{name}.cleaned")), Named::Cleaned);
        let swap = parse(&format!("{name}.swap"));
        assert_eq!(swap, Named::Swap(FileKind::TimeIndex, Offset(4711)));
        assert_eq!(parse("99999999999999999999.log"), Named::Other);
        assert_eq!(parse("4711.log"), Named::Other);
        assert_eq!(parse(PARTITION_METADATA), Named::Other);
    }
}
