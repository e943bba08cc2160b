//! What clients of a log sent, were told and read; and the anomalies such a history can show.
//!
//! In: a [`History`], written by simulated clients or by real ones, and the [`Rules`] of each
//! topic. Out: a [`Verdict`]. No I/O, no clock; the same checks judge a simulation and a real
//! broker that was killed.
//!
//! The names of the anomalies are those of Jepsen's Kafka workload where it has one.
//!
//! Start at [`History::check`].

mod anomaly;
mod bounds;
mod case;
mod check;
mod clock;
mod contents;
mod deletion;
mod event;
mod group;
mod index;
mod lives;
mod order;
mod polls;
mod rules;
mod stored;
mod value;

pub use anomaly::{Anomaly, Violation};
pub use check::{Figures, Verdict};
pub use event::{
    Event, History, Outcome, Partition, Producer, Promise, RecordId, Seen, Stored, What,
};
pub use group::{
    Commits, Committed, GroupEvent, GroupRules, GroupWhat, Protocol, WriteOutcome, Writer,
};
pub use rules::{ANSWER_NANOS_MAX, Excuse, Rules};
pub use value::{Content, FILLING_MAX, read_value, value_of};
