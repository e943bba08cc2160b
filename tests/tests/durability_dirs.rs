//! The files on disk are Kafka's: Kafka's own tool reads what klamm wrote, and klamm opens, reads
//! and goes on with a data directory that Apache Kafka 4.3 wrote.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::child::run;
use tests::child::wait_for;
use tests::driver::{Driver, Produce, Range};
use tests::group::kinds::{FRANZ_CLASSIC, FRANZ_CONSUMER, Kind};
use tests::group::{Group, Options};
use tests::install::{self, Tool};
use tests::matrix::clients::{FRANZ_GO, JAVA_4_3};
use tests::record::{ReadRecord, Record, noise};
use tests::server::{Kafka, Klamm, KlammOptions, Peer, Server};

const TOOLS: &[Tool] = &[Tool::Java, Tool::Maven, Tool::Go];
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// What DumpLogSegments says about files that are not as they should be.
const COMPLAINTS: &[&str] = &[
    "isvalid: false",
    "Mismatches in",
    " is followed by ",
    "timestamp mismatch",
    "out of order timestamp",
    "Indexed offset",
    "needs recovery",
    "corrupt",
    "Corrupt",
    "Exception",
    "bytes from the end",
    "trailing",
];

#[test]
fn kafka_reads_the_files_of_a_clean_stop() {
    kafka_reads_the_files(false);
}

#[test]
fn kafka_reads_the_files_after_a_kill_and_a_recovery() {
    kafka_reads_the_files(true);
}

#[test]
fn a_directory_of_apache_kafka_opens_after_a_clean_stop() {
    opens_a_foreign_directory(false);
}

#[test]
fn a_directory_of_apache_kafka_opens_after_a_kill() {
    opens_a_foreign_directory(true);
}

fn kafka_reads_the_files(is_killed: bool) {
    if install::skips_without(TOOLS) {
        return;
    }
    let outcome = (|| -> Result<()> {
        let directory = tempfile::Builder::new().prefix("klamm-dump-").tempdir()?;
        let mut server = Server::start(&Peer::from_environment()?, directory.path())?;
        let count = write(&server, directory.path())?;
        if is_killed {
            server.kill()?;
            server.restart()?;
        }
        server.stop()?;
        let data = match &server {
            Server::Klamm(klamm) => klamm.directory().to_owned(),
            Server::Kafka(kafka) => kafka.data(),
            Server::Running(_) => return Ok(()),
        };
        dump(&data.join("dumped-0"), count)
    })();
    outcome.unwrap_or_else(|error| panic!("{error:#}"));
}

/// Several segments of batches in every codec, idempotent and not; gives the number of records.
fn write(server: &Server, directory: &Path) -> Result<usize> {
    let mut driver = start(server, directory)?;
    driver.create_topic("dumped", 1, &json!({"segment.bytes": "1048576"}))?;
    let mut count = 0;
    for part in 0..50 {
        let codec = CODECS[part % CODECS.len()];
        let how = Produce { codec, idempotent: part % 2 == 0, ..Produce::to("dumped") };
        let records = records(part, 20)?;
        count += records.len();
        driver.produce(&how, &records)??;
    }
    Ok(count)
}

/// Records of about 5 KB that hardly compress, with times of today.
fn records(part: usize, count: usize) -> Result<Vec<Record>> {
    let now = now()?;
    let record = |i: usize| {
        let mut text = format!("record {part}-{i} ").into_bytes();
        let seed = u64::try_from(part * 1_000 + i).unwrap_or(0);
        text.extend(noise(seed, 4_000).iter().map(|byte| b'a' + byte % 26));
        let headers = vec![("part".to_owned(), Some(part.to_string().into_bytes()))];
        let key = Some(format!("key {i}").into_bytes());
        Record { key, value: Some(text), headers, timestamp: now }
    };
    Ok((0..count).map(record).collect())
}

/// Records of another year would be gone with the next look at `retention.ms`.
fn now() -> Result<i64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_millis())?)
}

fn start(server: &Server, directory: &Path) -> Result<Driver> {
    let mut command = (FRANZ_GO.command)(&server.address())?;
    let settles = !matches!(server, Server::Klamm(_));
    Driver::start(&mut command, &directory.join("driver.log"), settles)
}

fn files(partition: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for entry in fs::read_dir(partition).with_context(|| partition.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn dump(partition: &Path, count: usize) -> Result<()> {
    let segments = files(partition, "log")?;
    ensure!(segments.len() >= 3, "only {} segments", segments.len());
    let text = dump_log_segments(&segments, &["--print-data-log", "--deep-iteration"])?;
    let records = text.lines().filter(|line| line.contains("payload: record ")).count();
    ensure!(records == count, "{records} of {count} records in the dump");
    let batches = text.lines().filter(|line| line.starts_with("baseOffset: "));
    ensure!(batches.clone().count() >= 50, "{} batches", batches.count());
    for extension in ["index", "timeindex"] {
        let indexes = files(partition, extension)?;
        ensure!(indexes.len() == segments.len(), "{} of .{extension}", indexes.len());
        dump_log_segments(&indexes, &["--verify-index-only"])?;
        let sane = dump_log_segments(&indexes, &["--index-sanity-check"])?;
        let passed = sane.lines().filter(|line| line.contains("passed sanity check")).count();
        ensure!(passed == indexes.len(), "{sane}");
        let entries = dump_log_segments(&indexes, &[])?;
        ensure!(entries.lines().any(|line| line.contains("offset: ")), "empty: {entries}");
    }
    let snapshots = files(partition, "snapshot")?;
    let last = snapshots.last().context("a producer snapshot after a controlled stop")?;
    let text = dump_log_segments(std::slice::from_ref(last), &[])?;
    let producers = text.lines().filter(|line| line.contains("producerId: ")).count();
    ensure!(producers == 25, "{producers} producers: {text}");
    Ok(())
}

fn dump_log_segments(files: &[PathBuf], options: &[&str]) -> Result<String> {
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let mut command = Command::new("java");
    command.args(["-Xmx256M", "-XX:TieredStopAtLevel=1", "-cp", &install::kafka_classpath()?]);
    command.args(["org.apache.kafka.tools.DumpLogSegments", "--files", &names.join(",")]);
    let output = run(command.args(options), Duration::from_secs(60))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    for complaint in COMPLAINTS {
        // The tool compares the first record of a segment with offset -1.
        let said = |line: &&str| line.contains(complaint) && !line.contains("  -1 is followed by ");
        let line = text.lines().chain(errors.lines()).find(said);
        ensure!(line.is_none(), "{options:?}: {}", line.unwrap_or_default());
    }
    Ok(text)
}

fn opens_a_foreign_directory(is_killed: bool) {
    if install::skips_without(TOOLS) {
        return;
    }
    let outcome = (|| -> Result<()> {
        let directory = tempfile::Builder::new().prefix("klamm-foreign-").tempdir()?;
        let mut kafka = Kafka::start(&directory.path().join("kafka"))?;
        let data = kafka.data();
        let written = write_into_kafka(&kafka, directory.path())?;
        read_in_groups(&kafka.address(), directory.path(), is_killed)?;
        if is_killed {
            begins_durably(&data, "shortened 0 33")?;
            kafka.kill()?;
        } else {
            kafka.stop()?;
        }
        let mut klamm = Klamm::start(KlammOptions::in_directory(&data))?;
        println!("ready {:?} after the start", klamm.ready_after());
        goes_on(&klamm, directory.path(), &written).with_context(|| klamm.log_tail())?;
        groups_go_on(&klamm, directory.path()).with_context(|| klamm.log_tail())?;
        klamm.kill()?;
        klamm.restart()?;
        goes_on_reading(&klamm, directory.path(), &written).with_context(|| klamm.log_tail())
    })();
    outcome.unwrap_or_else(|error| panic!("{error:#}"));
}

/// Waits until Kafka's checkpoint of where logs begin has `line`.
fn begins_durably(data: &Path, line: &str) -> Result<()> {
    let checkpoint = data.join("log-start-offset-checkpoint");
    wait_for("Kafka's checkpoint of log starts", Duration::from_secs(30), || {
        let text = std::fs::read_to_string(&checkpoint).unwrap_or_default();
        Ok(text.lines().any(|found| found == line).then_some(()))
    })
}

/// What a partition held, and where it began.
struct Written {
    topic: &'static str,
    start: i64,
    end: i64,
    records: Vec<ReadRecord>,
}

fn write_into_kafka(kafka: &Kafka, directory: &Path) -> Result<Vec<Written>> {
    let mut command = (JAVA_4_3.command)(&kafka.address())?;
    let mut driver = Driver::start(&mut command, &directory.join("java.log"), true)?;
    driver.create_topic("plain", 1, &json!({}))?;
    driver.create_topic("rolled", 1, &json!({"segment.bytes": "1048576"}))?;
    driver.create_topic("shortened", 1, &json!({}))?;
    let mut written = vec![];
    for topic in ["plain", "rolled", "shortened"] {
        let parts = if topic == "rolled" { 30 } else { 5 };
        for part in 0..parts {
            let how = Produce { codec: CODECS[part % CODECS.len()], ..Produce::to(topic) };
            driver.produce(&how, &records(part, 20)?)??;
        }
        if topic == "shortened" {
            driver.expect(json!({
                "op": "delete_records", "topic": topic, "partition": 0, "before": 33,
            }))?;
        }
        let start = driver.offset_for(topic, 0, "earliest")?.0.context("earliest")?;
        let end = driver.offset_for(topic, 0, "latest")?.0.context("latest")?;
        let records = driver.fetch(&[Range { topic, partition: 0, from: start, end }])??;
        written.push(Written { topic, start, end, records });
    }
    Ok(written)
}

/// The members of groups at Kafka: each group's name is its kind's, and its topic's.
static MEMBERS: [&Kind; 2] = [&FRANZ_CLASSIC, &FRANZ_CONSUMER];

/// How much each partition of a group's topic holds when klamm opens it; all of it is committed.
const READ: i64 = 25;

/// A group of each protocol reads a topic to its end. Its members leave, or die before Kafka does.
fn read_in_groups(address: &str, directory: &Path, is_killed: bool) -> Result<()> {
    let mut command = (JAVA_4_3.command)(address)?;
    let mut driver = Driver::start(&mut command, &directory.join("groups.log"), true)?;
    for kind in MEMBERS {
        let mut group = Group::new(kind.name, 2, address, directory, &mut driver)?;
        group.gather(kind, 1, &Options::default())?;
        group.produce(READ)?;
        group.wait_read()?;
        group.wait_all_committed()?;
        if is_killed { group.kill(0)? } else { group.disperse()? }
    }
    Ok(())
}

/// Offsets of groups are where Kafka left them, and whoever joins reads what came later.
fn groups_go_on(klamm: &Klamm, directory: &Path) -> Result<()> {
    let mut driver = klamm_driver(klamm, directory)?;
    for kind in MEMBERS {
        let offsets = driver.expect(json!({"op": "group_offsets", "group": kind.name}))?;
        let offset = |place: &Value| (place[1].as_i64(), place[2].as_i64());
        let found: BTreeSet<_> = offsets.as_array().into_iter().flatten().map(offset).collect();
        let due = BTreeSet::from([(Some(0), Some(READ)), (Some(1), Some(READ))]);
        ensure!(found == due, "{}: {offsets}", kind.name);
        let news = format!("news for {}", kind.name);
        driver.produce(&Produce::to(kind.name), &[Record::new("k", &news, now()?)])??;
        let mut command = Command::new(install::klamm()?);
        command.args(["consume", kind.name, "--group", kind.name, "-b", &klamm.address()]);
        command.args(["--group-protocol", kind.protocol.name(), "-n", "1"]);
        let read = String::from_utf8(run(&mut command, Duration::from_secs(90))?.stdout)?;
        ensure!(read == format!("{news}\n"), "{}: {read:?}", kind.name);
    }
    Ok(())
}

fn klamm_driver(klamm: &Klamm, directory: &Path) -> Result<Driver> {
    let mut command = (FRANZ_GO.command)(&klamm.address())?;
    Driver::start(&mut command, &directory.join("driver.log"), false)
}

fn goes_on_reading(klamm: &Klamm, directory: &Path, written: &[Written]) -> Result<()> {
    let mut driver = klamm_driver(klamm, directory)?;
    for Written { topic, start, end, records } in written {
        let range = Range { topic, partition: 0, from: *start, end: *end };
        let read = driver.fetch(&[range])??;
        ensure!(read == *records, "{topic}: {} of {} records", read.len(), records.len());
    }
    Ok(())
}

/// Everything is there, by offset and by time; new records follow the old ones.
fn goes_on(klamm: &Klamm, directory: &Path, written: &[Written]) -> Result<()> {
    goes_on_reading(klamm, directory, written)?;
    let mut driver = klamm_driver(klamm, directory)?;
    for Written { topic, start, end, records } in written {
        let earliest = driver.offset_for(topic, 0, "earliest")?.0;
        ensure!(earliest == Some(*start), "{topic} begins at {earliest:?}, due {start}");
        let latest = driver.offset_for(topic, 0, "latest")?.0;
        ensure!(latest == Some(*end), "{topic} ends at {latest:?}, due {end}");
        let middle = &records[records.len() / 2];
        let found = driver.offset_for(topic, 0, middle.record.timestamp)?.0;
        let due = records.iter().find(|r| r.record.timestamp >= middle.record.timestamp);
        ensure!(found == due.map(|record| record.offset), "{topic} by time: {found:?}");
        let offsets = driver.produce(&Produce::to(topic), &tests::record::assorted()[..1])??;
        ensure!(offsets == [Some(*end)], "{topic}: appended at {offsets:?}");
    }
    Ok(())
}
