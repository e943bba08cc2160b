//! Values that tell who wrote them, and whether they are whole.

use crate::RecordId;

/// What a value that was read says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// It is this record, every byte of it.
    Record(RecordId),
    /// It names this record, but other bytes differ from what was sent.
    Altered(RecordId),
    /// No producer of a history makes such a value.
    Foreign,
}

/// Longest filling, in bytes.
pub const FILLING_MAX: u32 = 1 << 20;

/// The value of a record: its name, then filling that depends on it, so that no byte can change
/// unseen. `filling_max` bounds the filling beyond its first 8 bytes, at most
/// [`FILLING_MAX`].
pub fn value_of(id: RecordId, filling_max: u32) -> Vec<u8> {
    let mut text = format!("{} {} {} ", id.producer, id.sequence, filling_max).into_bytes();
    fill(id, filling_max, &mut text);
    text
}

/// Splitmix64, seeded by the record: the same filling in every language and on every machine.
fn fill(id: RecordId, filling_max: u32, text: &mut Vec<u8>) {
    let mut state = (u64::from(id.producer) << 40) ^ (u64::from(filling_max) << 32);
    state = state.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(id.sequence);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    // Never less than this: the filling is also the checksum of the name.
    let length = 8 + next() % (u64::from(filling_max) + 1);
    for _ in 0..length {
        text.push(b'a' + (next() % 26) as u8);
    }
}

/// What `value` says.
pub fn read_value(value: &[u8]) -> Content {
    let Some((id, filling_max)) = parse(value) else { return Content::Foreign };
    // A number that was tampered with must not make this build gigabytes.
    match value == value_of(id, filling_max.min(FILLING_MAX)) {
        true => Content::Record(id),
        false => Content::Altered(id),
    }
}

fn parse(value: &[u8]) -> Option<(RecordId, u32)> {
    let mut words = value.splitn(4, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u32>().ok();
    let id = RecordId { producer: number()?, sequence: number()? };
    Some((id, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_is_noticed() {
        for sequence in 0..50 {
            let id = RecordId { producer: 3, sequence };
            let value = value_of(id, 40);
            assert_eq!(read_value(&value), Content::Record(id));
            for at in 0..value.len() {
                let mut changed = value.clone();
                changed[at] ^= 1;
                assert_ne!(read_value(&changed), Content::Record(id), "byte {at}");
            }
            assert_ne!(read_value(&value[..value.len() - 1]), Content::Record(id));
        }
        assert_eq!(read_value(b""), Content::Foreign);
        assert_eq!(
            read_value(b"1 2 4000000000 x"),
            Content::Altered(RecordId { producer: 1, sequence: 2 })
        );
    }
}
