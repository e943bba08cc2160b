//! Which answers a run explains: by the kind of error, and by what its plan holds.
//!
//! In: the plan. Out: [`Weather`], which every client asks before it calls an answer unfit.

use client::ClientError;
use protocol::ErrorCode;

use crate::plan::{Action, Family, Fault, Way};

/// What the faults of a run can do to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weather {
    /// Nothing of the plan lets an answer, or the end of a connection, be late or lost: whoever is
    /// served is answered, whoever is not is told so.
    pub(super) is_calm: bool,
    /// A disk may refuse.
    has_disk_faults: bool,
    /// A broker's clock may be anywhere.
    has_clock_faults: bool,
    /// Bits of records may turn over on their way.
    has_bit_flips: bool,
    /// Also on the way to a client, who sees that and asks again.
    pub(super) has_bit_flips_to_clients: bool,
}

impl Weather {
    pub(super) fn of(plan: &[Fault]) -> Weather {
        let mut weather = Weather {
            is_calm: true,
            has_disk_faults: false,
            has_clock_faults: false,
            has_bit_flips: false,
            has_bit_flips_to_clients: false,
        };
        for fault in plan {
            let family = fault.what.family();
            weather.is_calm &= match &fault.what {
                // The peers of a machine without power hear nothing.
                Action::CrashLoop { power, .. }
                | Action::CrashAtStop { power, .. }
                | Action::MemberCrash { power, .. } => !power,
                _ => matches!(
                    family,
                    Family::Kill
                        | Family::Stop
                        | Family::ClientCrash
                        | Family::JoinBurst
                        | Family::TopicGrows
                        | Family::OneByteReads
                        | Family::SyncError
                        | Family::WriteError
                        | Family::ReadError
                        | Family::DiskFull
                        | Family::Rot
                ),
            };
            weather.has_clock_faults |= family == Family::Clock;
            weather.has_bit_flips |= family == Family::BitFlip;
            weather.has_bit_flips_to_clients |=
                matches!(fault.what, Action::BitFlip { way: Way::Response, .. });
            weather.has_disk_faults |= matches!(
                family,
                Family::SyncError
                    | Family::WriteError
                    | Family::ReadError
                    | Family::DiskFull
                    | Family::DiskSlow
                    | Family::Rot
                    | Family::Misdirect
            );
        }
        weather
    }

    /// Whether `code` only says that it can not be done now: a broker that starts or stops, a disk
    /// that refuses. Such an answer fits every request.
    pub(super) fn explains(self, code: ErrorCode) -> bool {
        match code {
            ErrorCode::KafkaStorageError => self.has_disk_faults,
            ErrorCode::InvalidTimestamp => self.has_clock_faults,
            // Retriable for Kafka's clients, who blame the network.
            ErrorCode::CorruptMessage => self.has_bit_flips,
            _ => code.is_retriable(),
        }
    }

    /// Whether `error` says no more than that, or is no answer at all.
    pub(super) fn explains_failure(self, error: &ClientError) -> bool {
        match error {
            ClientError::Broker(error) => self.explains(error.code),
            ClientError::TimedOut { last: Some(last), .. } => self.explains_failure(last),
            ClientError::Request(error) => error.is_retriable(),
            ClientError::TimedOut { last: None, .. }
            | ClientError::UnknownTopic { .. }
            | ClientError::UnknownPartition { .. } => true,
        }
    }
}
