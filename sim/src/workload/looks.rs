//! What a record looks like besides its value: key, headers, timestamp, and whether it has a value.
//!
//! In: a record's name, and what is drawn for it. Out: what to send, and of a record that was read,
//! whether it is what was sent. A record without a value has its name in a header.

use bytes::Bytes;
use client::ConsumerRecord;
use client::consumer::TimestampType;
use client::record::Header;
use history::{Content, RecordId, read_value, value_of};
use model::Timestamp;
use protocol::StrBytes;
use protocol::records::{Record, RecordHeader};

/// The header that names a record without a value.
const NAME: &str = "name";

/// Records are at most so much older than the clock of who sends them.
pub const AGE_MAX_MS: u64 = 500;

/// A record as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Looks {
    pub(super) key: Option<Bytes>,
    pub(super) headers: Vec<Header>,
    pub(super) timestamp: Timestamp,
    pub(super) is_tombstone: bool,
}

impl Looks {
    /// Of `id`, sent at `now` by the clock of who sends it: headers and age follow from its name.
    pub(super) fn of(id: RecordId, key: Option<u32>, now: Timestamp, is_tombstone: bool) -> Looks {
        let mixed = (u64::from(id.producer) << 32 | u64::from(id.sequence))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut headers = Vec::new();
        if is_tombstone {
            let value = Some(Bytes::from(value_of(id, 0)));
            headers.push(Header { key: StrBytes::from(NAME), value });
        }
        for at in 0..(mixed >> 60) % 3 {
            // Names may repeat, values may be missing.
            let key = StrBytes::from(format!("h{}", (mixed >> 40) % 3));
            let value = (mixed >> 50) % 4 != at;
            let value = value.then(|| Bytes::from(format!("{id} {at}")));
            headers.push(Header { key, value });
        }
        let age_ms = (mixed >> 20) % AGE_MAX_MS;
        Looks {
            key: key.map(|key| Bytes::from(format!("key-{key}"))),
            headers,
            timestamp: Timestamp(now.0 - age_ms as i64),
            is_tombstone,
        }
    }

    /// Its headers as a batch takes them.
    pub(super) fn raw_headers(&self) -> Vec<RecordHeader<'_>> {
        self.headers.iter().map(raw).collect()
    }

    /// Whether `read` is this, where the broker's clock does not stand in for the sender's.
    fn is(&self, read: &Read<'_>, is_stamped: bool) -> bool {
        let headers = self.headers.iter().map(raw);
        self.key.as_deref() == read.key
            && self.is_tombstone == read.value.is_none()
            && headers.eq(read.headers.iter().copied())
            && is_stamped == read.is_stamped
            && (is_stamped || self.timestamp == read.timestamp)
    }
}

/// A record as it was read.
pub(super) struct Read<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<RecordHeader<'a>>,
    timestamp: Timestamp,
    /// Whether its time is the broker's (`message.timestamp.type=LogAppendTime`).
    is_stamped: bool,
}

impl<'a> Read<'a> {
    pub(super) fn of(record: &'a ConsumerRecord) -> Read<'a> {
        Read {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: record.headers.iter().map(raw).collect(),
            timestamp: record.timestamp,
            is_stamped: record.timestamp_type == TimestampType::LogAppendTime,
        }
    }

    pub(super) fn raw(record: &Record<'a>, is_stamped: bool) -> Read<'a> {
        Read {
            key: record.key,
            value: record.value,
            headers: record.headers.iter().collect(),
            timestamp: record.timestamp,
            is_stamped,
        }
    }

    /// The record that this says to be.
    pub(super) fn named(&self) -> Content {
        let name = self.headers.iter().find(|header| header.key == NAME.as_bytes());
        let name = name.and_then(|header| header.value);
        read_value(self.value.or(name).unwrap_or_default())
    }

    /// The same, or altered when it does not look as it was sent; `sent` is `None` where nobody
    /// wrote down how.
    pub(super) fn content(&self, sent: Option<&Looks>, is_stamped: bool) -> Content {
        match (self.named(), sent) {
            (Content::Record(id), Some(looks)) if !looks.is(self, is_stamped) => {
                Content::Altered(id)
            }
            (content, _) => content,
        }
    }
}

fn raw(header: &Header) -> RecordHeader<'_> {
    RecordHeader { key: header.key.as_bytes(), value: header.value.as_deref() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_differs_is_noticed() {
        let id = RecordId { producer: 3, sequence: 4 };
        let now = Timestamp(1_000_000);
        let looks = Looks::of(id, Some(7), now, false);
        let value = value_of(id, 10);
        let read = |looks: &Looks| {
            let value = (!looks.is_tombstone).then_some(&*value);
            let read = Read {
                key: looks.key.as_deref(),
                value,
                headers: looks.raw_headers(),
                timestamp: looks.timestamp,
                is_stamped: false,
            };
            read.content(Some(&Looks::of(id, Some(7), now, false)), false)
        };
        assert_eq!(read(&looks), Content::Record(id));
        let header = Header { key: StrBytes::from("h0"), value: None };
        let wrong = [
            Looks { key: None, ..looks.clone() },
            Looks { headers: vec![header], ..looks.clone() },
            Looks { timestamp: Timestamp(looks.timestamp.0 + 1), ..looks.clone() },
            Looks::of(id, Some(7), now, true),
        ];
        for wrong in wrong {
            assert_eq!(read(&wrong), Content::Altered(id), "{wrong:?}");
        }
    }
}
