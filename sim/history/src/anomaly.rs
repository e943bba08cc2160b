//! The names of what must not be.

use std::fmt;

use crate::{Partition, RecordId};

/// A kind of anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Anomaly {
    /// An acknowledged record is gone, and nothing excuses it.
    LostWrite,
    /// A record that was read is gone, and nothing excuses it.
    LostRead,
    /// A record is at two offsets, though its producer promised that it would not be.
    Duplicate,
    /// Two records have been seen at one offset.
    InconsistentOffsets,
    /// A record is at another offset than the broker said.
    WrongOffset,
    /// Bytes were read that nobody sent there.
    ThinAir,
    /// A record was read with other bytes than were sent.
    Altered,
    /// A record was read that the broker had refused.
    RefusedVisible,
    /// Two records of a producer are in the wrong order.
    NonmonotonicSend,
    /// A record of an idempotent producer is missing between two others.
    SendGap,
    /// A reader went back or read an offset twice.
    NonmonotonicPoll,
    /// A reader jumped over a record.
    PollSkip,
    /// An offset between the log's start and its end has no record.
    Hole,
    /// The end of a partition fell.
    EndFell,
    /// The first offset of a partition fell, or rose though nothing deletes what was there.
    LogStart,
    /// A topic is listed that was deleted.
    TopicCameBack,
    /// A partition is the own of two members of a group at once.
    TwoOwners,
    /// A commit was accepted of a member that another has taken the place of.
    FencedCommit,
    /// A member committed less than it had committed before.
    CommitFell,
    /// What a group committed is gone, or fell back to what was committed before.
    CommitLost,
    /// Something else is committed than anybody committed.
    CommitAltered,
    /// What is committed is beyond the end of the log.
    CommitBeyondEnd,
    /// A group has more members than it has room for.
    Overfull,
    /// A group that processes at least once passed over a record.
    Unprocessed,
    /// A group that processes at most once processed a record again.
    ProcessedTwice,
    /// A client got an error that its cause does not explain.
    UnfitError,
}

impl Anomaly {
    /// All of them, in the order in which a verdict names them: the cause before its consequences.
    pub const ALL: [Anomaly; 26] = [
        Anomaly::LostWrite,
        Anomaly::InconsistentOffsets,
        Anomaly::LostRead,
        Anomaly::Duplicate,
        Anomaly::ThinAir,
        Anomaly::Altered,
        Anomaly::RefusedVisible,
        Anomaly::NonmonotonicSend,
        Anomaly::SendGap,
        Anomaly::WrongOffset,
        Anomaly::NonmonotonicPoll,
        Anomaly::PollSkip,
        Anomaly::Hole,
        Anomaly::EndFell,
        Anomaly::LogStart,
        Anomaly::TopicCameBack,
        Anomaly::TwoOwners,
        Anomaly::FencedCommit,
        Anomaly::CommitFell,
        Anomaly::CommitLost,
        Anomaly::CommitAltered,
        Anomaly::CommitBeyondEnd,
        Anomaly::Overfull,
        Anomaly::Unprocessed,
        Anomaly::ProcessedTwice,
        Anomaly::UnfitError,
    ];

    /// The name in reports and scenarios.
    pub fn name(self) -> &'static str {
        match self {
            Anomaly::LostWrite => "lost-write",
            Anomaly::LostRead => "lost-read",
            Anomaly::Duplicate => "duplicate",
            Anomaly::InconsistentOffsets => "inconsistent-offsets",
            Anomaly::WrongOffset => "wrong-offset",
            Anomaly::ThinAir => "thin-air",
            Anomaly::Altered => "altered",
            Anomaly::RefusedVisible => "refused-visible",
            Anomaly::NonmonotonicSend => "nonmonotonic-send",
            Anomaly::SendGap => "send-gap",
            Anomaly::NonmonotonicPoll => "nonmonotonic-poll",
            Anomaly::PollSkip => "poll-skip",
            Anomaly::Hole => "hole",
            Anomaly::EndFell => "end-fell",
            Anomaly::LogStart => "log-start",
            Anomaly::TopicCameBack => "topic-came-back",
            Anomaly::TwoOwners => "two-owners",
            Anomaly::FencedCommit => "fenced-commit",
            Anomaly::CommitFell => "commit-fell",
            Anomaly::CommitLost => "commit-lost",
            Anomaly::CommitAltered => "commit-altered",
            Anomaly::CommitBeyondEnd => "commit-beyond-end",
            Anomaly::Overfull => "overfull",
            Anomaly::Unprocessed => "unprocessed",
            Anomaly::ProcessedTwice => "processed-twice",
            Anomaly::UnfitError => "unfit-error",
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One anomaly of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub anomaly: Anomaly,
    /// Where, if it has a place.
    pub partition: Option<Partition>,
    /// At which offset, if it has one.
    pub offset: Option<i64>,
    /// Which record it is about, if about one.
    pub record: Option<RecordId>,
    /// The whole of it, for people: what happened, and when.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.anomaly)?;
        match (&self.partition, self.offset) {
            (Some(partition), Some(offset)) => write!(f, " {partition}@{offset}")?,
            (Some(partition), None) => write!(f, " {partition}")?,
            (None, _) => {}
        }
        write!(f, ": {}", self.text)
    }
}

/// Nanoseconds as seconds, for people.
pub(crate) fn seconds(at: u64) -> String {
    format!("{:.3} s", at as f64 / 1e9)
}
