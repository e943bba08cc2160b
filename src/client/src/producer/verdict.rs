//! What a batch's result means for it. Pure: a table of rules, as Kafka's `Sender.completeBatch`
//! and `TransactionManager.canRetry` have them for producers without transactions.

use model::{Offset, Timestamp};
use protocol::ErrorCode;

use super::error::DeliveryError;

/// What became of one sent batch.
#[derive(Clone, Debug)]
pub(crate) enum BatchResult {
    /// The broker has it. The offset is unknown with acks=0.
    Acknowledged { base_offset: Option<Offset>, log_append_time: Option<Timestamp> },
    /// The broker refused it, or nobody knows.
    Failed(DeliveryError),
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is in the log.
    Done,
    /// It is in the log from an earlier attempt; where is not known any more.
    DoneBefore,
    /// Send it again as it is. With `refresh` the leader may have changed.
    Retry { refresh: bool },
    /// Send it again under new numbers: the broker will never take it under these.
    Renumber,
    /// Send its halves.
    Split,
    /// Tell its senders.
    Fail { refresh: bool },
}

/// What the rules look at besides the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The batch carries sequence numbers.
    pub(crate) idempotent: bool,
    /// No earlier batch of the partition waits for its fate.
    pub(crate) oldest: bool,
    /// How many records it holds.
    pub(crate) record_count: usize,
    /// `retries` allows another attempt.
    pub(crate) may_retry: bool,
}

/// The rule for `result`.
pub(crate) fn judge(result: &BatchResult, facts: Facts) -> Verdict {
    match judge_patiently(result, facts) {
        Verdict::Retry { refresh } if !facts.may_retry => Verdict::Fail { refresh },
        verdict => verdict,
    }
}

/// The rule when attempts do not count.
fn judge_patiently(result: &BatchResult, facts: Facts) -> Verdict {
    let error = match result {
        BatchResult::Acknowledged { .. } => return Verdict::Done,
        BatchResult::Failed(error) => error,
    };
    let refused = match error {
        DeliveryError::Refused(refused) => refused.code,
        // The leader may have died and another broker may lead by now.
        DeliveryError::Request(error) if error.is_retriable() => {
            return Verdict::Retry { refresh: true };
        }
        DeliveryError::Request(_) | DeliveryError::TimedOut { .. } | DeliveryError::Closed => {
            return Verdict::Fail { refresh: false };
        }
    };
    match refused {
        ErrorCode::DuplicateSequenceNumber => Verdict::DoneBefore,
        ErrorCode::MessageTooLarge if facts.record_count > 1 => Verdict::Split,
        // An earlier batch is not there yet; once it is, this one fits.
        ErrorCode::OutOfOrderSequenceNumber if facts.idempotent && !facts.oldest => {
            Verdict::Retry { refresh: false }
        }
        // Everything before it has its fate, so the broker lacks numbers that it will never get: a
        // batch was given up, or the broker lost its state.
        ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId if facts.idempotent => {
            Verdict::Renumber
        }
        code if code.is_retriable() => Verdict::Retry { refresh: code.invalidates_metadata() },
        code => Verdict::Fail { refresh: code.invalidates_metadata() },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::{BrokerError, RequestError};

    fn refused(code: ErrorCode) -> BatchResult {
        BatchResult::Failed(BrokerError { code, message: None }.into())
    }

    #[test]
    fn rules() {
        let plain = Facts { idempotent: false, oldest: true, record_count: 2, may_retry: true };
        let oldest = Facts { idempotent: true, ..plain };
        let later = Facts { oldest: false, ..oldest };
        let single = Facts { record_count: 1, ..oldest };
        let retry = |refresh| Verdict::Retry { refresh };
        let fail = |refresh| Verdict::Fail { refresh };
        for (code, facts, verdict) in [
            (ErrorCode::NotLeaderOrFollower, oldest, retry(true)),
            (ErrorCode::UnknownTopicOrPartition, oldest, retry(true)),
            (ErrorCode::UnknownTopicId, oldest, retry(true)),
            (ErrorCode::NotEnoughReplicas, oldest, retry(false)),
            (ErrorCode::NotEnoughReplicasAfterAppend, plain, retry(false)),
            (ErrorCode::RequestTimedOut, plain, retry(false)),
            (ErrorCode::CorruptMessage, plain, retry(false)),
            (ErrorCode::KafkaStorageError, plain, retry(true)),
            (ErrorCode::MessageTooLarge, oldest, Verdict::Split),
            (ErrorCode::MessageTooLarge, single, fail(false)),
            (ErrorCode::RecordListTooLarge, oldest, fail(false)),
            (ErrorCode::InvalidRecord, oldest, fail(false)),
            (ErrorCode::TopicAuthorizationFailed, oldest, fail(false)),
            (ErrorCode::InvalidProducerEpoch, oldest, fail(false)),
            (ErrorCode::DuplicateSequenceNumber, later, Verdict::DoneBefore),
            (ErrorCode::OutOfOrderSequenceNumber, later, retry(false)),
            (ErrorCode::OutOfOrderSequenceNumber, oldest, Verdict::Renumber),
            (ErrorCode::OutOfOrderSequenceNumber, plain, fail(false)),
            (ErrorCode::UnknownProducerId, oldest, Verdict::Renumber),
        ] {
            assert_eq!(judge(&refused(code), facts), verdict, "{code} {facts:?}");
        }
    }

    #[test]
    fn a_lost_connection_is_worth_another_try() {
        let facts = Facts { idempotent: true, oldest: true, record_count: 1, may_retry: true };
        let address: Arc<str> = "b:1".into();
        let lost = RequestError::Disconnected { address };
        let result = BatchResult::Failed(lost.into());
        assert_eq!(judge(&result, facts), Verdict::Retry { refresh: true });
    }

    #[test]
    fn without_retries_the_first_failure_is_the_last() {
        let facts = Facts { idempotent: false, oldest: true, record_count: 2, may_retry: false };
        let lost = RequestError::Disconnected { address: "b:1".into() };
        let fail = |refresh| Verdict::Fail { refresh };
        assert_eq!(judge(&BatchResult::Failed(lost.into()), facts), fail(true));
        assert_eq!(judge(&refused(ErrorCode::NotEnoughReplicas), facts), fail(false));
        // A batch that was too large as it was is not tried again: its halves are new ones.
        assert_eq!(judge(&refused(ErrorCode::MessageTooLarge), facts), Verdict::Split);
    }
}
