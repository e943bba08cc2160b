//! Every message in every version: what the schemas say is what decode reads and encode writes.

mod schema;

use bytes::Bytes;
use protocol::{DecodeError, EncodeError, Message, Reader, Writer};
use schema::{Random, Schema, Schemas};

const ROUNDS: u64 = 40;

fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version)?;
    let length = writer.len();
    let bytes = writer.into_bytes();
    assert_eq!(bytes.len(), length);
    Ok(bytes)
}

fn decode<M: Message>(bytes: Bytes, version: i16) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let message = M::decode(&mut reader, version)?;
    reader.finish()?;
    Ok(message)
}

/// Runs `check` for every message, version and seed.
fn for_each(schemas: &Schemas, check: &mut dyn FnMut(&dyn Codec, &Schema, i16, &mut Random)) {
    for codec in codecs() {
        let schema = schemas.get(codec.name());
        for version in schema.versions() {
            for seed in 0..ROUNDS {
                let mut random = Random(seed << 32 | u64::from(version as u16));
                check(codec.as_ref(), schema, version, &mut random);
            }
        }
    }
}

/// One message type, without its type.
trait Codec {
    fn name(&self) -> &'static str;
    fn versions(&self) -> std::ops::RangeInclusive<i16>;
    fn is_flexible(&self, version: i16) -> bool;
    /// Decodes, encodes, does both again and compares; the bytes that encode wrote.
    fn again(&self, bytes: Bytes, version: i16) -> Result<Bytes, String>;
    fn default_bytes(&self, version: i16) -> Result<Bytes, EncodeError>;
    /// The decoded message as text.
    fn text(&self, bytes: Bytes, version: i16) -> String;
}

struct Of<M>(std::marker::PhantomData<M>);

impl<M: Message + std::fmt::Debug> Codec for Of<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn versions(&self) -> std::ops::RangeInclusive<i16> {
        M::VERSIONS
    }

    fn is_flexible(&self, version: i16) -> bool {
        M::FLEXIBLE_FROM.is_some_and(|from| version >= from)
    }

    fn again(&self, bytes: Bytes, version: i16) -> Result<Bytes, String> {
        let message: M = decode(bytes, version).map_err(|error| format!("decode: {error}"))?;
        let bytes = encode(&message, version).map_err(|error| format!("encode: {error}"))?;
        let again: M = decode(bytes.clone(), version).map_err(|error| format!("again: {error}"))?;
        // Bytes, not values: a damaged number may be NaN, which equals nothing.
        let twice = encode(&again, version).map_err(|error| format!("twice: {error}"))?;
        if twice == bytes { Ok(bytes) } else { Err(format!("{message:?} became {again:?}")) }
    }

    fn default_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        encode(&M::default(), version)
    }

    fn text(&self, bytes: Bytes, version: i16) -> String {
        format!("{:?}", decode::<M>(bytes, version).expect("valid bytes"))
    }
}

macro_rules! list {
    ($($message:path),* $(,)?) => {
        vec![$(Box::new(Of(std::marker::PhantomData::<$message>)) as Box<dyn Codec>),*]
    };
}

fn codecs() -> Vec<Box<dyn Codec>> {
    protocol::for_each_message!(list)
}

#[test]
fn every_schema_has_a_message_and_its_versions() {
    let schemas = Schemas::load();
    let codecs = codecs();
    assert_eq!(codecs.len(), schemas.iter().count());
    for codec in codecs {
        let schema = schemas.get(codec.name());
        assert_eq!(codec.versions(), schema.versions(), "{}", codec.name());
        for version in schema.versions() {
            assert_eq!(codec.is_flexible(version), schema.is_flexible(version), "{}", codec.name());
        }
    }
}

#[test]
fn decode_and_encode_give_the_same_bytes() {
    let schemas = Schemas::load();
    for_each(&schemas, &mut |codec, schema, version, random| {
        let bytes = Bytes::from(schema.random_bytes(version, random, true));
        let again = codec.again(bytes.clone(), version);
        assert_eq!(again, Ok(bytes), "{} version {version}", codec.name());
    });
}

#[test]
fn every_tag_of_the_schema_is_known() {
    // A known tagged field that decode took for an unknown one would be written back all the same.
    let schemas = Schemas::load();
    for_each(&schemas, &mut |codec, schema, version, random| {
        let bytes = Bytes::from(schema.random_bytes(version, random, false));
        let text = codec.text(bytes, version);
        assert!(!text.contains("TaggedFields(Some"), "version {version}: {text}");
    });
}

#[test]
fn every_cut_is_an_error() {
    let schemas = Schemas::load();
    for_each(&schemas, &mut |codec, schema, version, random| {
        let bytes = Bytes::from(schema.random_bytes(version, random, true));
        if bytes.is_empty() {
            return;
        }
        let cut = bytes.slice(..random.below(bytes.len()));
        let result = codec.again(cut.clone(), version);
        assert!(result.is_err(), "{} version {version}: {cut:?}", codec.name());
    });
}

#[test]
fn damage_never_panics_and_what_decodes_encodes() {
    let schemas = Schemas::load();
    for_each(&schemas, &mut |codec, schema, version, random| {
        let mut bytes = schema.random_bytes(version, random, true);
        if bytes.is_empty() {
            return;
        }
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        match codec.again(Bytes::from(bytes), version) {
            Ok(_) => {}
            Err(error) => assert!(error.starts_with("decode"), "{}: {error}", codec.name()),
        }
    });
}

#[test]
fn versions_outside_the_schema_are_refused() {
    for codec in codecs() {
        for version in [*codec.versions().start() - 1, *codec.versions().end() + 1] {
            let error = codec.again(Bytes::from(vec![0; 100]), version).expect_err("no version");
            assert!(error.contains("has no version"), "{error}");
            assert!(matches!(
                codec.default_bytes(version),
                Err(EncodeError::UnsupportedVersion { .. })
            ));
        }
    }
}

#[test]
fn defaults_encode_in_every_version() {
    for codec in codecs() {
        for version in codec.versions() {
            let bytes = codec.default_bytes(version);
            let bytes = bytes.unwrap_or_else(|error| panic!("{} {version}: {error}", codec.name()));
            assert_eq!(codec.again(bytes.clone(), version), Ok(bytes));
        }
    }
}
