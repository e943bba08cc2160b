//! The same bytes as the `kafka-protocol` crate, in both directions, where it has the version.
//!
//! Random canonical bytes go through its codec and through ours; each has to give them back. Where it
//! gives an error, the version is listed with the reason.

mod schema;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as TheirKey, RequestKind, ResponseKind};
use protocol::{Message, Reader, Writer};
use schema::{Random, Schemas};

const ROUNDS: u64 = 25;

/// Versions that its table of APIs has and its messages lack.
const LACKING: [(&str, i16); 3] =
    [("InitProducerIdRequest", 6), ("OffsetCommitRequest", 10), ("OffsetFetchRequest", 10)];

/// Its decode and encode; none when it lacks the version.
fn theirs(key: i16, is_request: bool, version: i16, bytes: &[u8]) -> Option<Result<Bytes, String>> {
    let key = TheirKey::try_from(key).ok()?;
    let versions = key.valid_versions();
    if !(versions.min..=versions.max).contains(&version) {
        return None;
    }
    let mut input = Bytes::copy_from_slice(bytes);
    let mut output = BytesMut::new();
    let result = if is_request {
        RequestKind::decode(key, &mut input, version)
            .and_then(|message| message.encode(&mut output, version))
    } else {
        ResponseKind::decode(key, &mut input, version)
            .and_then(|message| message.encode(&mut output, version))
    };
    Some(match result {
        Ok(()) if input.is_empty() => Ok(output.freeze()),
        Ok(()) => Err(format!("{} bytes left", input.len())),
        Err(error) => Err(format!("{error:#}")),
    })
}

/// Our decode and encode.
fn ours(name: &str, version: i16, bytes: &[u8]) -> Bytes {
    fn of<M: Message>(version: i16, bytes: &[u8]) -> Bytes {
        let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
        let message = M::decode(&mut reader, version).expect("valid bytes");
        let mut writer = Writer::new();
        message.encode(&mut writer, version).expect("encodes what it decoded");
        writer.into_bytes()
    }
    macro_rules! find {
        ($($message:path),* $(,)?) => {
            $(if name == <$message as Message>::NAME {
                return of::<$message>(version, bytes);
            })*
        };
    }
    protocol::for_each_message!(find);
    panic!("{name} is unknown")
}

#[test]
fn another_codec_gives_the_same_bytes() {
    let schemas = Schemas::load();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for schema in schemas.iter() {
        let Some(key) = schema.api_key else { continue };
        for version in schema.versions() {
            if LACKING.contains(&(schema.name.as_str(), version)) {
                continue;
            }
            for seed in 0..ROUNDS {
                let mut random = Random(seed << 24 | version as u64);
                let bytes = schema.random_bytes(version, &mut random, true);
                let Some(theirs) = theirs(key, schema.is_request, version, &bytes) else { break };
                let theirs = theirs.unwrap_or_else(|error| Bytes::from(error.into_bytes()));
                let ours = ours(&schema.name, version, &bytes);
                compared += 1;
                if ours != theirs || ours != bytes {
                    wrong.push(format!(
                        "{} {version}\n ours   {ours:?}\n theirs {theirs:?}",
                        schema.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ: {}", wrong.len(), wrong.join("\n"));
    assert!(compared > 5_000, "only {compared} were compared");
}
