//! Which batches belong to aborted transactions, and which markers have nothing left to mark
//! (`CleanedTransactionMetadata`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Offset, ProducerId};
use protocol::records::Batch;

use super::{CompactionError, into_compaction};
use crate::producer_state::{Marker, read_marker};
use crate::scan::Scanner;
use crate::segment::Segment;

/// Transactions of the segments that are compacted; all of them are decided.
#[derive(Default)]
pub(crate) struct Transactions {
    /// First offset and producer of each aborted transaction; its marker's offset.
    aborted: BTreeMap<(ProducerId, Offset), Offset>,
    /// Where the open transaction of a producer began, while looking for aborts.
    open: BTreeMap<ProducerId, Offset>,
    /// Producers with data in the transaction that is being read.
    with_data: BTreeSet<ProducerId>,
}

impl Transactions {
    /// Looks for aborted transactions, by headers and markers only.
    pub(crate) async fn find_aborted(
        &mut self,
        segment: &Arc<Segment>,
    ) -> Result<(), CompactionError> {
        let bad = |error| into_compaction(segment, error);
        let file = segment.file().await?;
        let mut scanner = Scanner::new(&file, segment.base, 0, segment.base, segment.size());
        while let Some(header) = scanner.peek().await.map_err(bad)? {
            if !header.attributes.is_control() {
                if header.attributes.is_transactional() {
                    self.open.entry(header.producer_id).or_insert(header.base_offset);
                }
                scanner.next_header().await.map_err(bad)?;
                continue;
            }
            let Some(batch) = scanner.next_batch().await.map_err(bad)? else { break };
            let batch = Batch { header, bytes: batch.bytes };
            let Some(marker) = marker(&batch) else { continue };
            if let Some(first) = self.open.remove(&header.producer_id)
                && marker.is_abort
            {
                self.aborted.insert((header.producer_id, first), header.last_offset());
            }
        }
        Ok(())
    }

    /// Before another pass over the batches.
    pub(crate) fn start_over(&mut self) {
        self.with_data.clear();
    }

    /// Takes the next batch in; whether it may go: data of an aborted transaction, or a marker
    /// none of whose data is left.
    pub(crate) fn on_batch(&mut self, batch: &Batch) -> bool {
        let header = &batch.header;
        if header.attributes.is_control() {
            return match marker(batch) {
                Some(_) => !self.with_data.remove(&header.producer_id),
                // Emptied by an earlier round, or not a transaction's.
                None => header.record_count == 0,
            };
        }
        if !header.attributes.is_transactional() {
            return false;
        }
        self.with_data.insert(header.producer_id);
        let begun = (header.producer_id, header.base_offset);
        let latest = self.aborted.range((header.producer_id, Offset(i64::MIN))..=begun).next_back();
        latest.is_some_and(|(_, marker)| *marker > header.base_offset)
    }
}

fn marker(batch: &Batch) -> Option<Marker> {
    read_marker(batch).ok().flatten()
}
