//! Records as the matrix sends them to drivers and gets them back, and sets of them to test with.
//!
//! Equality is byte for byte: key, value, headers in order, timestamp.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand_core::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use serde_json::{Value, json};

/// The time of the first record of a set, in milliseconds since 1970. Old, so topics of the matrix
/// keep their records for ever.
pub const BASE_TIME: i64 = 1_700_000_000_000;

/// One record, as produced.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Key, or null.
    pub key: Option<Vec<u8>>,
    /// Value, or null.
    pub value: Option<Vec<u8>>,
    /// Headers in order; names may repeat, values may be null.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

/// One record, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    /// Where it was read.
    pub topic: String,
    /// Where it was read.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// `create`, `append`, or nothing where the client does not tell.
    pub timestamp_type: Option<String>,
    /// What was read.
    pub record: Record,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = |bytes: &Option<Vec<u8>>| match bytes {
            None => "null".to_owned(),
            Some(bytes) if bytes.len() <= 40 => format!("{:?}", String::from_utf8_lossy(bytes)),
            Some(bytes) => format!("{} bytes {:02x?}...", bytes.len(), &bytes[..8]),
        };
        let headers: Vec<String> =
            self.headers.iter().map(|(name, value)| format!("{name}={}", bytes(value))).collect();
        let (key, value) = (bytes(&self.key), bytes(&self.value));
        write!(f, "{{{key}: {value} @{} [{}]}}", self.timestamp, headers.join(", "))
    }
}

impl Record {
    /// A record with a key and a value and nothing else.
    pub fn new(key: &str, value: &str, timestamp: i64) -> Record {
        let bytes = |text: &str| Some(text.as_bytes().to_vec());
        Record { key: bytes(key), value: bytes(value), headers: vec![], timestamp }
    }

    /// The form of the drivers' language.
    pub fn to_json(&self) -> Value {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
        let headers: Vec<Value> =
            self.headers.iter().map(|(name, value)| json!([name, bytes(value)])).collect();
        json!({
            "key": bytes(&self.key),
            "value": bytes(&self.value),
            "headers": headers,
            "timestamp": self.timestamp,
        })
    }
}

impl ReadRecord {
    /// From the form of the drivers' language.
    ///
    /// # Errors
    /// A field is missing or of another type.
    pub fn from_json(from: &Value) -> Result<ReadRecord> {
        let headers = from["headers"].as_array().context("headers")?.iter().map(|pair| {
            let name = pair[0].as_str().context("name of a header")?;
            Ok((name.to_owned(), bytes_of(&pair[1])?))
        });
        Ok(ReadRecord {
            topic: from["topic"].as_str().context("topic")?.to_owned(),
            partition: i32::try_from(from["partition"].as_i64().context("partition")?)?,
            offset: from["offset"].as_i64().context("offset")?,
            timestamp_type: from["timestamp_type"].as_str().map(str::to_owned),
            record: Record {
                key: bytes_of(&from["key"])?,
                value: bytes_of(&from["value"])?,
                headers: headers.collect::<Result<_>>()?,
                timestamp: from["timestamp"].as_i64().context("timestamp")?,
            },
        })
    }
}

fn bytes_of(value: &Value) -> Result<Option<Vec<u8>>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(STANDARD.decode(text).context("base64")?)),
        other => anyhow::bail!("bytes as {other}"),
    }
}

/// `length` bytes that do not compress and depend on nothing but `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Xoshiro256PlusPlus::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Every form a record can have that is not about size: nulls, empty things, headers of all kinds,
/// text beyond ASCII, many similar ones (so that a codec has something to do), times that fall.
pub fn assorted() -> Vec<Record> {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let mut records = vec![
        Record { key: None, value: text("no key"), headers: vec![], timestamp: BASE_TIME },
        Record { key: text("no value"), value: None, headers: vec![], timestamp: BASE_TIME + 10 },
        Record { key: None, value: None, headers: vec![], timestamp: BASE_TIME + 20 },
        Record { key: text(""), value: text(""), headers: vec![], timestamp: BASE_TIME + 30 },
        Record {
            key: text("headers"),
            value: text("v"),
            headers: vec![
                ("a".into(), text("1")),
                ("a".into(), text("2")),
                ("empty".into(), text("")),
                ("binary".into(), Some(vec![0, 255, 10, 13])),
                ("ключ".into(), text("значение")),
            ],
            timestamp: BASE_TIME + 40,
        },
        Record {
            key: Some(vec![0, 1, 2, 254, 255]),
            value: Some(noise(7, 3_000)),
            headers: vec![],
            timestamp: BASE_TIME + 50,
        },
    ];
    let similar = (0..40).map(|i| {
        let value = format!("{{\"number\":{i},\"text\":\"{}\"}}", "similar ".repeat(12));
        Record::new(&format!("k{}", i % 7), &value, BASE_TIME + 100 + i * 10)
    });
    records.extend(similar);
    records.push(Record::new("earlier", "than the ones before", BASE_TIME + 60));
    records.push(Record::new("last", "later than all", BASE_TIME + 1_000));
    records
}

/// A record of 1 MB that no codec makes smaller: just below the default `max.message.bytes`.
pub fn megabyte() -> Record {
    Record {
        key: Some(b"large".to_vec()),
        value: Some(noise(8, 1_000_000)),
        headers: vec![],
        timestamp: BASE_TIME + 2_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_language_of_the_drivers() {
        for record in assorted() {
            let mut json = record.to_json();
            json["topic"] = json!("t");
            json["partition"] = json!(3);
            json["offset"] = json!(9);
            assert_eq!(ReadRecord::from_json(&json).unwrap().record, record);
        }
    }
}
