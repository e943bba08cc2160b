//! What happens in a group of consumers, as its members and those who administer it see it.
//!
//! A member is a reader with a membership: what it polls is written down as
//! [`What::Poll`](crate::What::Poll) of the reader with its number, and each session of a process has
//! a number of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::Partition;

/// What tells the two rebalance protocols apart for the checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// JoinGroup and SyncGroup: one assignment for each generation, and all commits are of it.
    #[default]
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848): each member is at an epoch of its own.
    Consumer,
    /// Each session chooses, and the group changes with who is in it. Generations go on as epochs and
    /// epochs as generations, but in an empty group that somebody of the other kind joins: it begins
    /// anew, with its offsets.
    Mixed,
}

/// When members commit what they read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commits {
    /// When it is processed: at least once.
    #[default]
    After,
    /// Before it is processed, and only what was committed is: at most once.
    Before,
    /// The client does so by itself, at a later poll than the one that handed it out: at least once.
    Auto,
}

/// The settings of a group that bear on what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRules {
    /// How members and coordinator talk.
    pub protocol: Protocol,
    /// When members commit.
    pub commits: Commits,
    /// The topics that its members read, from their first record where nothing is committed.
    pub topics: BTreeSet<Arc<str>>,
    /// So long after nobody had told a member to let go of a partition, nobody else can have it yet:
    /// the shortest time after which a coordinator gives a member up, less what a request of it may
    /// take, in nanoseconds; `None` for not to be judged. Classic members let go by themselves.
    pub patience_nanos: Option<u64>,
    /// So long an empty group keeps its offsets; `None` for longer than any run.
    pub retention_ms: Option<u64>,
    /// So many members may be in it (`group.max.size`, `group.consumer.max.size`).
    pub members_max: Option<u32>,
    /// A loss of power takes what was not synced yet, of the offsets too.
    pub is_lost_with_power: bool,
}

/// Where a group goes on in a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Committed {
    /// The offset of the next record.
    pub offset: i64,
    /// What whoever committed it noted down; each write of a history notes something else.
    pub metadata: String,
}

/// Who writes offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// A member, which is in this generation or at this member epoch when it asks.
    Member {
        /// Which.
        member: u32,
        /// As the client knows it.
        epoch: i32,
    },
    /// Somebody outside, for a group that nobody is a member of.
    Admin,
    /// Somebody who deletes the group with all its offsets.
    Deletion,
}

/// How a write of offsets ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is done.
    Done,
    /// The coordinator refused all of it.
    Refused {
        /// The error.
        error: String,
    },
    /// Done, in part or not.
    Unknown {
        /// The error.
        error: String,
    },
}

/// What happened in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupWhat {
    /// A process begins a session as a member.
    Began {
        /// The session.
        member: u32,
        /// `group.instance.id`: all sessions with it are one member.
        instance: Option<Arc<str>>,
        /// How it talks: never [`Protocol::Mixed`].
        protocol: Protocol,
    },
    /// A member was told that partitions are its own now, besides those that are so already.
    Assigned {
        /// Which member.
        member: u32,
        /// The generation or member epoch that brought them.
        epoch: i32,
        /// What is new.
        partitions: Vec<Partition>,
        /// Nothing waited to be told before: what is told now is not older.
        untold: u64,
        /// It leads the generation, which is therefore a classic one: all members are in it.
        is_leader: bool,
    },
    /// A member has let go of partitions, and says so from now on.
    Released {
        /// Which member.
        member: u32,
        /// Of which.
        partitions: Vec<Partition>,
        /// It was out of the group and was only told now; perhaps it had nothing to let go of.
        is_lost: bool,
        /// Nobody had told it to let go before: what told it was on its way for the time that one of
        /// its requests may take, at the most.
        untold: u64,
    },
    /// A member left, or its process ended.
    Ended {
        /// Which.
        member: u32,
    },
    /// Somebody asks for offsets to be written.
    Write {
        /// The number of the write.
        write: u32,
        /// Who.
        by: Writer,
        /// What; `None` deletes.
        offsets: Vec<(Partition, Option<Committed>)>,
        /// Whether it is sent again where an answer is missing, so that it may happen twice.
        may_repeat: bool,
    },
    /// The answer to a write.
    Written {
        /// Which.
        write: u32,
        /// How it ended.
        outcome: WriteOutcome,
        /// The latest generation or member epoch that it may have been sent in; -1 for who has none.
        epoch: i32,
    },
    /// Somebody was told what is committed.
    Fetched {
        /// When it was asked for.
        asked: u64,
        /// What; `None` where nothing is.
        offsets: Vec<(Partition, Option<Committed>)>,
    },
    /// Somebody was told who is in the group, while it was not gathering its members. Static members
    /// do not count: who does not come back to a rebalance keeps its place beside those who did.
    Counted {
        /// How many.
        members: u32,
    },
    /// A member has processed records that it polled.
    Processed {
        /// Which member.
        member: u32,
        /// Of which partition.
        partition: Partition,
        /// Their offsets.
        offsets: Vec<i64>,
    },
}

/// Something that happened in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEvent {
    /// Which group.
    pub group: Arc<str>,
    /// What.
    pub what: GroupWhat,
}
