//! Where each leader epoch of a log starts (KIP-101, `LeaderEpochFileCache`). Pure.
//!
//! Invariant: epochs and start offsets both strictly increase.

use model::{LeaderEpoch, Offset};

/// The end of an epoch's records, as OffsetForLeaderEpoch answers (KIP-279).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch known that is not above the one asked for.
    pub epoch: LeaderEpoch,
    /// The offset behind its last record.
    pub end_offset: Offset,
}

/// The epochs of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaderEpochs {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochs {
    /// Takes over entries from a checkpoint; those that contradict later ones give way.
    pub(crate) fn from_entries(entries: Vec<(LeaderEpoch, Offset)>) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start) in entries {
            epochs.assign(epoch, start);
        }
        epochs
    }

    pub(crate) fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    pub(crate) fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|&(epoch, _)| epoch)
    }

    /// Notes that `epoch` starts at `start`; whether that changed anything. Entries that conflict
    /// with it are gone afterwards.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch < LeaderEpoch(0) || start < Offset::ZERO {
            return false;
        }
        if self.latest() == Some(epoch) {
            // A later batch of the same epoch does not move the epoch's start.
            return false;
        }
        self.entries.retain(|&(e, s)| e < epoch && s < start);
        self.entries.push((epoch, start));
        true
    }

    /// Forgets what starts at or behind `end`; whether that changed anything.
    pub(crate) fn truncate_from_end(&mut self, end: Offset) -> bool {
        let before = self.entries.len();
        self.entries.retain(|&(_, start)| start < end);
        self.entries.len() != before
    }

    /// Forgets epochs that end at or before `log_start`; the one that holds it starts there.
    pub(crate) fn truncate_from_start(&mut self, log_start: Offset) -> bool {
        let keep_from = self.entries.partition_point(|&(_, start)| start <= log_start);
        let Some(holder) = keep_from.checked_sub(1) else { return false };
        if holder == 0 && self.entries[0].1 == log_start {
            return false;
        }
        self.entries.drain(..holder);
        self.entries[0].1 = log_start;
        true
    }

    /// The epoch of the record at `offset`.
    pub(crate) fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|&(_, start)| start <= offset);
        after.checked_sub(1).map(|at| self.entries[at].0)
    }

    /// The end of `epoch` in a log that ends at `log_end`; `None` when nothing is known of it.
    pub(crate) fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        let latest = self.latest()?;
        if epoch < LeaderEpoch(0) || epoch > latest {
            return None;
        }
        if epoch == latest {
            return Some(EpochEnd { epoch, end_offset: log_end });
        }
        let higher = self.entries.partition_point(|&(e, _)| e <= epoch);
        let end_offset = self.entries[higher].1;
        // Below the oldest epoch nothing is known but that it ended where the oldest starts.
        let known = higher.checked_sub(1).map_or(epoch, |at| self.entries[at].0);
        Some(EpochEnd { epoch: known, end_offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let entries = entries.iter().map(|&(e, s)| (LeaderEpoch(e), Offset(s)));
        LeaderEpochs::from_entries(entries.collect())
    }

    fn end(of: &LeaderEpochs, epoch: i32) -> Option<(i32, i64)> {
        let end = of.end_offset_for(LeaderEpoch(epoch), Offset(100));
        end.map(|end| (end.epoch.0, end.end_offset.0))
    }

    #[test]
    fn ends_follow_kip_279() {
        let known = epochs(&[(2, 10), (5, 20), (6, 40)]);
        assert_eq!(end(&known, 6), Some((6, 100)));
        assert_eq!(end(&known, 5), Some((5, 40)));
        assert_eq!(end(&known, 4), Some((2, 20)));
        assert_eq!(end(&known, 1), Some((1, 10)));
        assert_eq!(end(&known, 7), None);
        assert_eq!(end(&LeaderEpochs::default(), 0), None);
    }

    #[test]
    fn assign_removes_conflicts() {
        let mut known = epochs(&[(2, 10), (5, 20), (6, 40)]);
        assert!(!known.assign(LeaderEpoch(6), Offset(90)));
        assert!(known.assign(LeaderEpoch(7), Offset(20)));
        assert_eq!(known, epochs(&[(2, 10), (7, 20)]));
        assert_eq!(known.epoch_of(Offset(19)), Some(LeaderEpoch(2)));
        assert_eq!(known.epoch_of(Offset(20)), Some(LeaderEpoch(7)));
        assert_eq!(known.epoch_of(Offset(9)), None);
    }

    #[test]
    fn truncation_at_both_ends() {
        let mut known = epochs(&[(2, 10), (5, 20), (6, 40)]);
        assert!(known.truncate_from_end(Offset(40)));
        assert_eq!(known, epochs(&[(2, 10), (5, 20)]));
        assert!(known.truncate_from_start(Offset(25)));
        assert_eq!(known, epochs(&[(5, 25)]));
        assert!(!known.truncate_from_start(Offset(25)));
        assert!(!known.truncate_from_start(Offset(3)));
    }
}
