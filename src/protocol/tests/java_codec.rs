//! The same bytes as Kafka's own codec, for messages and for record batches, in both directions.
//!
//! Maven builds the program in `java/` against kafka-clients 4.3; it answers a file of questions.
//! Without java or mvn the test says so and passes; with CI=true it fails.

#![allow(clippy::disallowed_methods, reason = "talks to a Java program by files")]

mod schema;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt, fs};

use bytes::Bytes;
use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use protocol::records::{
    Batch, BatchBuilder, BatchOptions, Compression, ControlType, EndTransaction, ProduceRules,
    RecordHeader, RecordParts, Scratch, validate_produce,
};
use protocol::{Message, Reader, Writer};
use schema::{Random, Schemas};

/// Messages of each kind for every name and version.
const ROUNDS: u64 = 8;
const BATCHES: u64 = 40;

/// What Kafka 4.3 has no class for.
const ABSENT: &[(&str, &[i16])] = &[
    // Older than Kafka 4 serves; old clients still send them.
    ("CreateTopicsRequest", &[0, 1]),
    ("CreateTopicsResponse", &[0, 1]),
    ("DeleteTopicsRequest", &[0]),
    ("DeleteTopicsResponse", &[0]),
    ("DescribeConfigsRequest", &[0]),
    ("DescribeConfigsResponse", &[0]),
    // Written by 4.0 and 4.1 only.
    ("ShareGroupPartitionMetadataKey", &[9]),
    ("ShareGroupPartitionMetadataValue", &[0]),
];

/// Kafka's name and version of a message.
///
/// The keys of the coordinators' records have their record type as version here, because that is the
/// number in front of them; Kafka counts their versions apart, and all are at 0.
fn kafkas(name: &str, version: i16) -> (&str, i16) {
    if name == "OffsetCommitKey" && version == 0 {
        return ("LegacyOffsetCommitKey", 0);
    }
    (name, if name.ends_with("Key") { 0 } else { version })
}

#[test]
fn kafka_reads_and_writes_the_same_bytes() {
    let Some(java) = Java::build() else { return };
    let schemas = Schemas::load();
    let (mut questions, mut asked) = (Vec::new(), Vec::new());
    for schema in schemas.iter() {
        for version in schema.versions() {
            for seed in 0..ROUNDS {
                let mut random = Random(seed << 20 | version as u64);
                let bytes = schema.random_bytes(version, &mut random, true);
                let hex = Hex(&bytes);
                let (name, kafkas_version) = kafkas(&schema.name, version);
                asked.push((schema.name.as_str(), version));
                questions.push(format!("message {name} {kafkas_version} {hex}"));
                asked.push((schema.name.as_str(), version));
                questions.push(format!("random {name} {kafkas_version} {seed}"));
            }
        }
    }
    let answers = java.ask("messages", &questions);
    let mut wrong = Vec::new();
    let mut compared = 0;
    for ((question, answer), (name, version)) in questions.iter().zip(&answers).zip(asked) {
        match judge(name, version, question, answer) {
            Ok(true) => compared += 1,
            Ok(false) => {}
            Err(reason) => wrong.push(format!("{reason}\n  {question}\n  {answer}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ, first:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(8)].join("\n")
    );
    assert!(compared > 8_000, "only {compared} messages were compared");
}

/// Whether Kafka's answer agrees with ours; false when Kafka does not know the message.
fn judge(name: &str, version: i16, question: &str, answer: &str) -> Result<bool, String> {
    let words: Vec<&str> = question.split(' ').collect();
    let is_absent =
        ABSENT.iter().any(|(absent, versions)| *absent == name && versions.contains(&version));
    if answer == "absent" {
        return if is_absent { Ok(false) } else { Err("Kafka does not know it".to_owned()) };
    }
    if is_absent {
        return Err("Kafka knows it".to_owned());
    }
    let bytes = unhex(answer).ok_or("Kafka refuses it")?;
    if words[0] == "message" && answer != words[3] {
        return Err("Kafka encodes it otherwise".to_owned());
    }
    let ours = again(name, version, bytes)?;
    if Hex(&ours).to_string() == answer {
        Ok(true)
    } else {
        Err(format!("we encode {}", Hex(&ours)))
    }
}

/// Our decode and encode of the message `name`.
fn again(name: &str, version: i16, bytes: Vec<u8>) -> Result<Bytes, String> {
    fn of<M: Message>(version: i16, bytes: Vec<u8>) -> Result<Bytes, String> {
        let mut reader = Reader::new(Bytes::from(bytes));
        let message = M::decode(&mut reader, version).map_err(|error| error.to_string())?;
        reader.finish().map_err(|error| error.to_string())?;
        let mut writer = Writer::new();
        message.encode(&mut writer, version).map_err(|error| error.to_string())?;
        Ok(writer.into_bytes())
    }
    macro_rules! find {
        ($($message:path),* $(,)?) => {
            $(if name == <$message as Message>::NAME {
                return of::<$message>(version, bytes);
            })*
        };
    }
    protocol::for_each_message!(find);
    Err(format!("{name} is unknown"))
}

#[test]
fn kafka_reads_and_writes_the_same_batches() {
    let Some(java) = Java::build() else { return };
    let mut questions = Vec::new();
    let mut wanted = Vec::new();
    for seed in 0..BATCHES {
        for compression in Compression::ALL {
            let batch = random_batch(compression, &mut Random(seed));
            questions.push(format!("batch {}", Hex(&batch.bytes)));
            wanted.push(describe(&batch));
        }
        let end = random_end(&mut Random(seed));
        let batch = end.batch(Offset(seed as i64), LeaderEpoch(1), Timestamp(1_700_000_000_000));
        questions.push(format!("batch {}", Hex(&batch.bytes)));
        wanted.push(describe(&batch));
    }
    let ours = questions.len();
    for seed in 0..BATCHES {
        for compression in Compression::ALL {
            questions.push(format!("build {compression} {seed}"));
        }
    }
    let answers = java.ask("batches", &questions);
    assert_eq!(answers[..ours], wanted);
    for (question, answer) in questions[ours..].iter().zip(&answers[ours..]) {
        let (hex, records) = answer.split_once(' ').unwrap_or_else(|| panic!("{answer}"));
        let bytes = Bytes::from(unhex(hex).unwrap_or_else(|| panic!("{question}: {answer}")));
        let batch = Batch::parse(bytes.clone()).expect("Kafka's batch");
        assert_eq!(batch.verify_crc(), Ok(()));
        assert_eq!(describe(&batch), records, "{question}");
        let now = Timestamp(1_700_000_000_000);
        let validated = validate_produce(bytes, &ProduceRules::default(), now, &mut Scratch::new());
        let validated = validated.unwrap_or_else(|refused| panic!("{question}: {refused}"));
        assert_eq!(validated.header, batch.header, "{question}");
        if batch.header.attributes.compression() == Ok(Compression::None) {
            assert_eq!(rebuilt(&batch), batch, "{question}: our builder writes the same bytes");
        }
    }
}

/// A batch with the same records, by our builder.
fn rebuilt(batch: &Batch) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions::like(&batch.header).expect("known codec"));
    let records = batch.records(1 << 24, &mut Scratch::new()).expect("readable");
    for record in &records {
        let record = record.expect("readable");
        let delta = record.offset - batch.header.base_offset;
        let headers: Vec<_> = record.headers.iter().collect();
        let parts = RecordParts { key: record.key, value: record.value, headers: &headers };
        builder.append_at(delta as i32, record.timestamp, &parts);
    }
    builder.finish().expect("the codec takes it")
}

fn random_batch(compression: Compression, random: &mut Random) -> Batch {
    let is_idempotent = random.one_in(2);
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: Offset(random.below(1000) as i64),
        compression,
        producer_id: if is_idempotent { ProducerId(7) } else { ProducerId::NONE },
        producer_epoch: if is_idempotent { ProducerEpoch(2) } else { ProducerEpoch::NONE },
        base_sequence: if is_idempotent { Sequence(11) } else { Sequence::NONE },
        is_transactional: is_idempotent && random.one_in(2),
        ..BatchOptions::default()
    });
    for _ in 0..=random.below(20) {
        let mut part = || {
            let length = if random.one_in(30) { 100_000 } else { random.below(100) };
            let seed = random.next() as u8;
            (!random.one_in(5))
                .then(|| (0..length).map(|at| seed ^ (at >> 5) as u8).collect::<Vec<u8>>())
        };
        let (key, value, header) = (part(), part(), part());
        let headers = [
            RecordHeader { key: "é".as_bytes(), value: header.as_deref() },
            RecordHeader { key: b"", value: None },
        ];
        let parts = RecordParts {
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &headers[..random.below(3)],
        };
        let timestamp = Timestamp(1_700_000_000_000 + random.below(100_000) as i64 - 50_000);
        builder.append(timestamp, &parts);
    }
    builder.finish().expect("the codec takes it")
}

fn random_end(random: &mut Random) -> EndTransaction {
    EndTransaction {
        is_commit: random.one_in(2),
        producer_id: ProducerId(random.below(1000) as i64),
        producer_epoch: ProducerEpoch(random.below(100) as i16),
        coordinator_epoch: random.below(100) as i32,
    }
}

/// A batch as the Java program describes one.
fn describe(batch: &Batch) -> String {
    let header = &batch.header;
    let attributes = header.attributes;
    let hex = |part: Option<&[u8]>| part.map_or("null".to_owned(), |part| Hex(part).to_string());
    let mut text = format!(
        "{}/{}/{}/{}/{}/{}/{}/{}/{}",
        attributes.compression().expect("a codec"),
        header.base_offset,
        header.last_offset(),
        header.max_timestamp,
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
        attributes.is_transactional(),
        attributes.is_control(),
    );
    let records = batch.records(1 << 24, &mut Scratch::new()).expect("readable");
    for record in &records {
        let record = record.expect("readable");
        text += &format!(";{},{}", record.offset, record.timestamp);
        text += &format!(",{},{}", hex(record.key), hex(record.value));
        for header in record.headers.iter() {
            text += &format!(",{}={}", Hex(header.key), hex(header.value));
        }
    }
    text
}

#[test]
fn control_types_are_told_apart() {
    let codes: Vec<i16> = (-1..9).collect();
    let back: Vec<i16> = codes.iter().map(|&code| ControlType::from_code(code).code()).collect();
    assert_eq!(back, codes);
}

/// The built program.
struct Java {
    directory: PathBuf,
}

impl Java {
    /// Builds it; none without the tools.
    fn build() -> Option<Java> {
        let has = |tool: &str| Command::new(tool).arg("-version").output().is_ok();
        if !has("java") || !has("mvn") {
            assert!(env::var("CI").as_deref() != Ok("true"), "CI needs java and mvn");
            eprintln!("skipped: java or mvn is missing, so Kafka's own codec was not asked");
            return None;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("java");
        // A directory of this process, since two tests may build at once.
        let unique = format!("java-codec-{:?}", std::thread::current().id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique);
        let built = Command::new("mvn")
            .args(["--quiet", "--batch-mode", "compile", "dependency:copy-dependencies"])
            .arg(format!("-DoutputDirectory={}", directory.join("lib").display()))
            .arg(format!("-Dklamm.build={}", directory.join("build").display()))
            .current_dir(source)
            .output()
            .expect("mvn starts");
        let said = String::from_utf8_lossy(&built.stdout);
        assert!(built.status.success(), "mvn: {said}");
        Some(Java { directory })
    }

    fn ask(&self, name: &str, questions: &[String]) -> Vec<String> {
        let [input, output] =
            ["questions", "answers"].map(|kind| self.directory.join(format!("{name}.{kind}")));
        fs::write(&input, questions.join("\n") + "\n").expect("a writable directory");
        let classes = self.directory.join("build").join("classes");
        let class_path =
            format!("{}:{}/*", classes.display(), self.directory.join("lib").display());
        let run = Command::new("java")
            .args(["-Xmx1g", "-cp", &class_path, "klamm.Codec"])
            .args([&input, &output])
            .output()
            .expect("java starts");
        assert!(run.status.success(), "java: {}", String::from_utf8_lossy(&run.stderr));
        let answers = fs::read_to_string(&output).expect("the answers");
        let answers: Vec<String> = answers.lines().map(str::to_owned).collect();
        assert_eq!(answers.len(), questions.len());
        answers
    }
}

/// Bytes in hexadecimal.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
