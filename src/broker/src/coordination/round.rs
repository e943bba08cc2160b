//! What calls decided together, as batches for the log.
//!
//! What belongs together ([`Output::parts`]) is in one batch, which holds all of it or nothing. The
//! rest of what a call decided may be in others.

use bytes::Bytes;
use coordinator::{Answer, Output};
use model::Timestamp;
use protocol::EncodeError;
use protocol::records::{Batch, BatchBuilder, BatchError, BatchOptions, Compression, RecordParts};

/// More than what a record takes beside its key and value, and a batch beside its records.
const RECORD_BYTES: usize = 32;
const BATCH_BYTES: usize = 128;

/// Why records make no batch.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    #[error("encode a record of a group")]
    Encode(#[from] EncodeError),
    #[error("build a batch of records of groups")]
    Build(#[from] BatchError),
    /// Of a part, which can not be divided.
    #[error(
        "{bytes} bytes of records belong together and a batch has room for {max}: segment.bytes"
    )]
    TooLarge { bytes: usize, max: usize },
}

/// The longest key and value, together, that a batch in a segment of this size has room for.
pub(super) fn record_bytes_max(segment_bytes: usize) -> usize {
    segment_bytes.saturating_sub(BATCH_BYTES + RECORD_BYTES)
}

/// A round of calls.
pub(super) struct Round {
    options: BatchOptions,
    batch_bytes_max: usize,
    full: Vec<Batch>,
    full_bytes: usize,
    builder: BatchBuilder,
    answers: Vec<Answer>,
}

impl Round {
    /// For a log whose segments have `segment_bytes`.
    pub(super) fn new(compression: Compression, segment_bytes: usize) -> Round {
        let options = BatchOptions { compression, ..BatchOptions::default() };
        Round {
            builder: BatchBuilder::new(options),
            options,
            batch_bytes_max: segment_bytes.saturating_sub(BATCH_BYTES),
            full: Vec::new(),
            full_bytes: 0,
            answers: Vec::new(),
        }
    }

    /// How many bytes of records there are.
    pub(super) fn size_bytes(&self) -> usize {
        self.full_bytes + self.builder.size_bytes()
    }

    /// Takes in what one call decided.
    pub(super) fn take(&mut self, output: Output, now: Timestamp) -> Result<(), RoundError> {
        let mut encoded = Vec::new();
        for part in output.parts() {
            let mut bytes = 0;
            for record in part {
                let (key, value) = record.encode()?;
                bytes += key.len() + value.as_ref().map_or(0, Bytes::len) + RECORD_BYTES;
                encoded.push((key, value));
            }
            let max = self.batch_bytes_max;
            if max < bytes {
                return Err(RoundError::TooLarge { bytes, max });
            }
            self.make_room(bytes)?;
            for (key, value) in encoded.drain(..) {
                let parts = RecordParts { key: Some(&key), value: value.as_deref(), headers: &[] };
                self.builder.append(now, &parts);
            }
        }
        self.answers.extend(output.answers);
        Ok(())
    }

    /// Begins another batch when so many bytes do not fit into this one.
    fn make_room(&mut self, bytes: usize) -> Result<(), RoundError> {
        if self.builder.record_count() > 0
            && self.batch_bytes_max < self.builder.size_bytes() + bytes
        {
            self.end_batch()?;
        }
        Ok(())
    }

    fn end_batch(&mut self) -> Result<(), RoundError> {
        self.full_bytes += self.builder.size_bytes();
        let next = BatchBuilder::new(self.options);
        self.full.push(std::mem::replace(&mut self.builder, next).finish()?);
        Ok(())
    }

    /// The batches in their order, and what to answer when they are durable.
    pub(super) fn finish(mut self) -> Result<(Vec<Batch>, Vec<Answer>), RoundError> {
        if self.builder.record_count() > 0 {
            self.end_batch()?;
        }
        Ok((self.full, self.answers))
    }
}

/// When timers are due: behind the calls that waited by then, which may be the signs of life that
/// the timers wait for (`CoordinatorRuntime.EventBasedCoordinatorTimer`).
#[derive(Debug, Default)]
pub(super) struct TimerTurn {
    /// So many calls are decided before it is their turn.
    after: Option<u64>,
}

impl TimerTurn {
    /// Timers are due, `decided` calls are decided and `waiting` ones wait.
    pub(super) fn ask(&mut self, decided: u64, waiting: usize) {
        self.after.get_or_insert(decided + waiting as u64);
    }

    /// Whether it is their turn, now that `decided` calls are decided; it is over then.
    pub(super) fn take(&mut self, decided: u64) -> bool {
        self.after.take_if(|after| *after <= decided).is_some()
    }

    /// Whether they wait for their turn.
    pub(super) fn is_asked(&self) -> bool {
        self.after.is_some()
    }
}

#[cfg(test)]
mod tests {
    use coordinator::Record;
    use protocol::StrBytes;
    use protocol::messages as m;
    use protocol::records::Scratch;

    use super::*;

    const SEGMENT: usize = 1_000;

    fn offset(partition: i32) -> Record {
        let (group, topic) = (StrBytes::from_static("g"), StrBytes::from_static("t"));
        Record::OffsetCommit { key: m::OffsetCommitKey { group, topic, partition }, value: None }
    }

    fn group(name: &str) -> Record {
        Record::GroupMetadata { key: m::GroupMetadataKey { group: name.into() }, value: None }
    }

    fn take(round: &mut Round, records: Vec<Record>) -> Result<(), RoundError> {
        round.take(Output { records, ..Output::default() }, Timestamp(7))
    }

    /// How many records each batch has.
    fn batches(round: Round) -> Vec<usize> {
        let (batches, _) = round.finish().unwrap();
        let mut scratch = Scratch::new();
        let count = |batch: &Batch| {
            assert!(batch.bytes.len() <= SEGMENT, "{} bytes", batch.bytes.len());
            batch.records(1 << 20, &mut scratch).unwrap().iter().count()
        };
        batches.iter().map(count).collect()
    }

    #[test]
    fn records_of_a_call_stay_together() {
        let mut round = Round::new(Compression::None, SEGMENT);
        let half = "x".repeat(SEGMENT / 2);
        take(&mut round, vec![group(&half)]).unwrap();
        take(&mut round, vec![group("a"), group(&half)]).unwrap();
        take(&mut round, vec![offset(1)]).unwrap();
        assert_eq!(batches(round), [1, 3]);
    }

    #[test]
    fn offsets_are_spread_over_batches_and_nothing_else_is() {
        let mut round = Round::new(Compression::None, SEGMENT);
        take(&mut round, (0..100).map(offset).collect()).unwrap();
        let spread = batches(round);
        assert!(spread.len() > 2 && spread.iter().sum::<usize>() == 100, "{spread:?}");
        let mut round = Round::new(Compression::None, SEGMENT);
        let error = take(&mut round, (0..100).map(|i| group(&i.to_string())).collect());
        assert!(matches!(error, Err(RoundError::TooLarge { max: 872, .. })), "{error:?}");
        assert_eq!(batches(round), [] as [usize; 0]);
        // A group goes as a whole, behind its offsets.
        let mut round = Round::new(Compression::None, SEGMENT);
        let offsets = (0..100).map(offset).chain([group("a"), group("b")]);
        take(&mut round, offsets.collect()).unwrap();
        let spread = batches(round);
        assert!(spread.len() > 2 && spread.iter().sum::<usize>() == 102, "{spread:?}");
    }

    #[test]
    fn timers_have_their_turn_behind_the_calls_that_waited() {
        let mut turn = TimerTurn::default();
        assert!(!turn.take(5));
        turn.ask(5, 2);
        // Calls that come later do not put it off.
        turn.ask(6, 10);
        assert!(turn.is_asked() && !turn.take(6));
        assert!(turn.take(7));
        assert!(!turn.is_asked() && !turn.take(8));
    }
}
