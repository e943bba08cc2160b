//! Short seeded runs of the fuzzer's bodies over damaged honest inputs; the long, coverage-guided
//! runs are the targets in `fuzz/`. With `FUZZ_CORPUS=dir` every hundredth input is also written to a
//! file below `dir`, from which those runs can start.

#![allow(clippy::disallowed_methods, reason = "writes the seeds of the fuzz targets")]

mod bodies;
#[path = "../schema/mod.rs"]
mod schema;

use std::path::Path;
use std::{env, fs};

use model::Timestamp;
use protocol::ApiKey;
use protocol::records::{BatchBuilder, BatchOptions, Compression, HEADER_BYTES, RecordParts};
use schema::{Random, Schema, Schemas};

const ROUNDS: u64 = 60_000;

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at),
            _ => bytes.insert(at, [0, 1, 0x7f, 0x80, 0xff][random.below(5)]),
        }
    }
}

/// Gives `input` to `body`, and to the corpus when one is wanted.
fn run(name: &str, seed: u64, body: fn(&[u8]), input: &[u8]) {
    if let Some(corpus) = env::var_os("FUZZ_CORPUS").filter(|_| seed.is_multiple_of(100)) {
        let directory = Path::new(&corpus).join(name);
        fs::create_dir_all(&directory).expect("a writable corpus");
        fs::write(directory.join(seed.to_string()), input).expect("a writable corpus");
    }
    body(input);
}

fn apis(schemas: &Schemas) -> Vec<&Schema> {
    schemas.iter().filter(|schema| schema.api_key.is_some()).collect()
}

#[test]
fn messages() {
    let schemas = Schemas::load();
    let apis = apis(&schemas);
    for seed in 0..ROUNDS {
        let mut random = Random(seed);
        let schema = apis[random.below(apis.len())];
        let versions: Vec<i16> = schema.versions().collect();
        let at = random.below(versions.len());
        let mut bytes = schema.random_bytes(versions[at], &mut random, true);
        damage(&mut bytes, &mut random);
        let key = ApiKey::ALL.iter().position(|key| Some(key.code()) == schema.api_key);
        let head = [key.expect("a key") as u8, at as u8, u8::from(!schema.is_request)];
        run("messages", seed, bodies::messages, &[&head[..], &bytes].concat());
    }
}

#[test]
fn frames() {
    let schemas = Schemas::load();
    let apis = apis(&schemas);
    for seed in 0..ROUNDS / 4 {
        let mut random = Random(seed);
        let mut stream = vec![random.next() as u8];
        for _ in 0..random.below(4) {
            let schema = apis[random.below(apis.len())];
            let key = ApiKey::try_from(schema.api_key.expect("an API")).expect("a known one");
            let versions: Vec<i16> = schema.versions().collect();
            let version = versions[random.below(versions.len())];
            let header_version = key.request_header_version(version);
            let header =
                schemas.get("RequestHeader").random_bytes(header_version, &mut random, true);
            let mut frame =
                [&key.code().to_be_bytes()[..], &version.to_be_bytes(), &header[4..]].concat();
            frame.extend(schema.random_bytes(version, &mut random, true));
            stream.extend((frame.len() as i32).to_be_bytes());
            stream.extend(frame);
        }
        damage(&mut stream, &mut random);
        run("frames", seed, bodies::frames, &stream);
    }
}

#[test]
fn batches() {
    for seed in 0..ROUNDS / 4 {
        let mut random = Random(seed);
        let compression = Compression::ALL[random.below(5)];
        let mut builder =
            BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        for _ in 0..1 + random.below(5) {
            let value = vec![random.next() as u8; random.below(300)];
            let record = RecordParts { key: Some(b"k"), value: Some(&value), headers: &[] };
            builder.append(Timestamp(1000 + random.below(100) as i64), &record);
        }
        let count = builder.record_count() as u8;
        let batch = builder.finish().expect("the codec takes it");
        let form = random.next() as u8;
        let mut bytes = match form & 1 {
            0 => batch.bytes.to_vec(),
            _ => batch.bytes[HEADER_BYTES..].to_vec(),
        };
        damage(&mut bytes, &mut random);
        let head = [form, count, compression.code() as u8];
        run("batches", seed, bodies::batches, &[&head[..], &bytes].concat());
    }
}
