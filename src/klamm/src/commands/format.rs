//! How `klamm consume` prints a record: a format with places such as `%v`.

use std::fmt::Write as _;

use client::ConsumerRecord;

/// A parsed format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Headers,
    Key,
    KeyLength,
    Value,
    ValueLength,
}

impl Format {
    /// Parses a format; says what is wrong with it.
    pub(super) fn parse(format: &str) -> Result<Format, String> {
        let unescaped = unescape(format)?;
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        let mut bytes = unescaped.into_iter();
        while let Some(Unescaped { byte, literal }) = bytes.next() {
            if literal || byte != b'%' {
                text.push(byte);
                continue;
            }
            let place = bytes.next().ok_or("a format can not end in a single %")?.byte;
            let piece = match place {
                b'%' => {
                    text.push(b'%');
                    continue;
                }
                b't' => Piece::Topic,
                b'p' => Piece::Partition,
                b'o' => Piece::Offset,
                b'T' => Piece::Timestamp,
                b'h' => Piece::Headers,
                b'k' => Piece::Key,
                b'K' => Piece::KeyLength,
                b'v' | b's' => Piece::Value,
                b'V' | b'S' => Piece::ValueLength,
                other => {
                    let other = char::from(other);
                    return Err(format!("%{other} is no place in a format (see --help)"));
                }
            };
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(piece);
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Format(pieces))
    }

    /// Appends `record` to `out`.
    pub(super) fn print(&self, record: &ConsumerRecord, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Topic => out.extend_from_slice(record.at.topic.as_bytes()),
                Piece::Partition => number(out, record.at.partition.0.into()),
                Piece::Offset => number(out, record.offset.0),
                Piece::Timestamp => number(out, record.timestamp.0),
                Piece::Headers => headers(out, record),
                Piece::Key => out.extend_from_slice(record.key.as_deref().unwrap_or_default()),
                Piece::KeyLength => number(out, length(record.key.as_deref())),
                Piece::Value => out.extend_from_slice(record.value.as_deref().unwrap_or_default()),
                Piece::ValueLength => number(out, length(record.value.as_deref())),
            }
        }
    }
}

fn number(out: &mut Vec<u8>, number: i64) {
    let mut text = String::new();
    write!(text, "{number}").expect("writing to a string does not fail");
    out.extend_from_slice(text.as_bytes());
}

fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

fn headers(out: &mut Vec<u8>, record: &ConsumerRecord) {
    for (index, header) in record.headers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(header.key.as_bytes());
        out.push(b'=');
        out.extend_from_slice(header.value.as_deref().unwrap_or(b"NULL"));
    }
}

/// A byte of a text, and whether an escape made it.
struct Unescaped {
    byte: u8,
    literal: bool,
}

fn unescape(text: &str) -> Result<Vec<Unescaped>, String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(Unescaped { byte, literal: false });
            continue;
        }
        let byte = match bytes.next() {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits = [bytes.next(), bytes.next()];
                let hex: Option<String> = digits.into_iter().map(|d| d.map(char::from)).collect();
                let byte = hex.and_then(|hex| u8::from_str_radix(&hex, 16).ok());
                byte.ok_or("\\x needs two hexadecimal digits")?
            }
            _ => return Err("after a backslash comes n, t, r, 0, \\ or xHH".to_owned()),
        };
        out.push(Unescaped { byte, literal: true });
    }
    Ok(out)
}

/// The bytes that `text` stands for, escapes replaced.
pub(super) fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    Ok(unescape(text)?.into_iter().map(|unescaped| unescaped.byte).collect())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use client::TopicPartition;
    use client::consumer::TimestampType;
    use client::record::Header;
    use model::{Offset, Timestamp};

    use super::*;

    fn printed(format: &str) -> String {
        let record = ConsumerRecord {
            at: TopicPartition::new("orders", 3),
            offset: Offset(42),
            timestamp: Timestamp(1_700_000_000_000),
            timestamp_type: TimestampType::CreateTime,
            key: Some(Bytes::from_static(b"k1")),
            value: None,
            headers: vec![
                Header { key: "a".into(), value: Some(Bytes::from_static(b"1")) },
                Header { key: "b".into(), value: None },
            ],
            leader_epoch: None,
        };
        let mut out = Vec::new();
        Format::parse(format).expect("a good format").print(&record, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn places_and_escapes() {
        assert_eq!(printed("%t-%p@%o %T [%h]"), "orders-3@42 1700000000000 [a=1,b=NULL]");
        assert_eq!(printed("%k(%K)\\t%v(%V)\\n"), "k1(2)\t(-1)\n");
        assert_eq!(printed("100%%\\x41\\\\"), "100%A\\");
        assert_eq!(printed("\\x25k"), "%k");
    }

    #[test]
    fn mistakes_are_told() {
        for wrong in ["%", "%q", "\\", "\\q", "\\x4"] {
            assert!(Format::parse(wrong).is_err(), "{wrong}");
        }
    }
}
