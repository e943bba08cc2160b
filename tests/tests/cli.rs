//! The command line as people and programs use it: what it prints, where, and how it ends.

#[path = "cli_groups/mod.rs"]
mod cli_groups;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use model::{Offset, Timestamp};
use protocol::records::{BatchBuilder, BatchOptions, Compression, RecordParts};
use serde_json::Value;
use tests::child::run_with_input;
use tests::install;
use tests::server::{Peer, Server};
use tests::suite::{Case, Lab, run};

fn main() -> ExitCode {
    let mut cases = vec![
        Case::new("cli::first_three_commands", first_three_commands),
        Case::new("cli::produce::keys_and_headers", keys_and_headers),
        Case::new("cli::produce::files", files),
        Case::new("cli::produce::every_codec_and_acks", every_codec_and_acks),
        Case::new("cli::produce::rate", rate),
        Case::new("cli::produce::too_large", too_large),
        Case::new("cli::consume::places_to_start", places_to_start),
        Case::new("cli::consume::partitions", partitions),
        Case::new("cli::consume::follows", follows),
        Case::new("cli::topic::life", topic_life),
        Case::new("cli::topic::refusals", topic_refusals),
        Case::new("cli::errors::nothing_listens", nothing_listens),
        Case::new("cli::errors::unknown_topic", unknown_topic),
        Case::new("cli::errors::wrong_use", wrong_use),
        Case::new("cli::log::of_the_broker", log_of_the_broker),
        Case::new("cli::log::damage", log_damage),
        Case::new("cli::completions", completions),
    ];
    cases.extend(cli_groups::cases());
    run(&[], cases)
}

const LIMIT: Duration = Duration::from_secs(60);

/// Runs klamm against the broker and gives whatever it did.
fn klamm_any_status(lab: &Lab, arguments: &[&str], input: &str) -> Result<Output> {
    let mut command = Command::new(install::klamm()?);
    command.args(arguments).env("KLAMM_BOOTSTRAP_SERVER", lab.address()?);
    run_with_input(&mut command, input.as_bytes(), LIMIT)
}

/// Runs klamm, which has to succeed, and gives what it printed.
fn klamm(lab: &Lab, arguments: &[&str], input: &str) -> Result<String> {
    let output = klamm_any_status(lab, arguments, input)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "klamm {arguments:?}: {}: {errors}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs klamm, which has to end with `code`, and gives what it complained.
fn klamm_fails(lab: &Lab, code: i32, arguments: &[&str], input: &str) -> Result<String> {
    let output = klamm_any_status(lab, arguments, input)?;
    let errors = String::from_utf8(output.stderr)?;
    let status = output.status.code();
    ensure!(status == Some(code), "klamm {arguments:?} ended with {status:?}: {errors}");
    Ok(errors)
}

fn json(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    let text = klamm(lab, &[arguments, &["-o", "json"]].concat(), "")?;
    serde_json::from_str(&text).with_context(|| format!("klamm {arguments:?}: {text}"))
}

fn json_lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[track_caller]
fn expect(got: &str, expected: &str) -> Result<()> {
    ensure!(got == expected, "got {got:?} instead of {expected:?}");
    Ok(())
}

fn expect_contains(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "{part:?} is not in {text:?}");
    }
    Ok(())
}

/// Everything in the topic, printed by `format`, from its beginning to its end.
fn read(lab: &Lab, topic: &str, format: &str) -> Result<String> {
    klamm(lab, &["consume", topic, "--from", "beginning", "-e", "--format", format], "")
}

fn first_three_commands(lab: &Lab) -> Result<()> {
    let topic = lab.topic("greetings");
    expect(&klamm(lab, &["produce", &topic], "hello\n")?, "")?;
    let read = klamm(lab, &["consume", &topic, "--from", "beginning", "-n", "1"], "")?;
    expect(&read, "hello\n")
}

fn keys_and_headers(lab: &Lab) -> Result<()> {
    let topic = lab.topic("keys-and-headers");
    klamm(lab, &["topic", "create", &topic, "-p", "1"], "")?;
    let sent = klamm(
        lab,
        &["produce", &topic, "-K", ":", "-H", "from=cli", "-Z", "-o", "json"],
        "k1:v1\nk2:\n:v3\n",
    )?;
    let sent = json_lines(&sent)?;
    let offsets: Vec<_> = sent.iter().map(|sent| sent["offset"].as_i64()).collect();
    ensure!(offsets == [Some(0), Some(1), Some(2)], "{sent:?}");
    klamm(lab, &["produce", &topic, "--parse-headers", "-K", "\\t"], "a:1,b:2\tk4\tv 4\n")?;
    klamm(lab, &["produce", &topic, "--key", "all", "-p", "0"], "v5")?;
    expect(
        &read(lab, &topic, "%p/%o %K:%k %V:%v [%h]\\n")?,
        "0/0 2:k1 2:v1 [from=cli]\n\
         0/1 2:k2 -1: [from=cli]\n\
         0/2 0: 2:v3 [from=cli]\n\
         0/3 2:k4 3:v 4 [a=1,b=2]\n\
         0/4 3:all 2:v5 []\n",
    )?;
    let text = klamm(lab, &["consume", &topic, "--from", "3", "-n", "1", "-o", "json"], "")?;
    let record = &json_lines(&text)?[0];
    ensure!(record["value"] == "v 4" && record["offset"] == 3, "{record}");
    ensure!(record["headers"][1]["key"] == "b", "{record}");
    ensure!(record["timestamp"].as_i64() > Some(1_600_000_000_000), "{record}");
    let missing = klamm_fails(lab, 1, &["produce", &topic, "-K", ":"], "no separator\n")?;
    expect_contains(&missing, &["line 1 of standard input", "key separator"])
}

fn files(lab: &Lab) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let text = |path: &Path| path.display().to_string();
    let bytes: Vec<u8> = (0..=255).collect();
    std::fs::write(path("lines"), "one\n\ntwo")?;
    std::fs::write(path("whole"), &bytes)?;
    let topic = lab.topic("files");
    klamm(lab, &["topic", "create", &topic, "-p", "1"], "")?;
    klamm(lab, &["produce", &topic, &text(&path("lines")), "-"], "three\n")?;
    klamm(lab, &["produce", &topic, "--whole-file", &text(&path("whole"))], "")?;
    expect(&read(lab, &topic, "%V;")?, "3;0;3;5;256;")?;
    let arguments = ["consume", &topic, "--from", "4", "-n", "1", "--format", "%v"];
    let output = klamm_any_status(lab, &arguments, "")?;
    ensure!(output.stdout == bytes, "bytes come back as they were");
    let missing = klamm_fails(lab, 1, &["produce", &topic, &text(&path("nowhere"))], "")?;
    expect_contains(&missing, &["nowhere", "No such file"])
}

fn every_codec_and_acks(lab: &Lab) -> Result<()> {
    let topic = lab.topic("codecs");
    klamm(lab, &["topic", "create", &topic, "-p", "1"], "")?;
    let lines: String = (0..500).map(|i| format!("line {i} {}\n", "again ".repeat(9))).collect();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        klamm(lab, &["produce", &topic, "-z", codec], &lines)?;
    }
    for acks in ["0", "1", "all"] {
        klamm(lab, &["produce", &topic, "--acks", acks], &lines)?;
    }
    // Without an acknowledgement the last records may come a moment later.
    let read = klamm(lab, &["consume", &topic, "--from", "beginning", "-n", "4000"], "")?;
    expect(&read, &lines.repeat(8))
}

fn rate(lab: &Lab) -> Result<()> {
    let topic = lab.topic("rate");
    let began = std::time::Instant::now();
    klamm(lab, &["produce", &topic, "--rate", "20"], &"x\n".repeat(21))?;
    let elapsed = began.elapsed();
    ensure!(elapsed >= Duration::from_secs(1), "21 records at 20 a second took {elapsed:?}");
    Ok(())
}

fn too_large(lab: &Lab) -> Result<()> {
    let topic = lab.topic("too-large");
    klamm(lab, &["topic", "create", &topic, "-c", "max.message.bytes=1000"], "")?;
    let input = format!("{}\n", "x".repeat(2000));
    let refused = klamm_fails(lab, 1, &["produce", &topic], &input)?;
    expect_contains(&refused, &["record 1", "MESSAGE_TOO_LARGE"])
}

fn places_to_start(lab: &Lab) -> Result<()> {
    let topic = lab.topic("places");
    klamm(lab, &["topic", "create", &topic, "-p", "1"], "")?;
    klamm(lab, &["produce", &topic], "a\nb\nc\n")?;
    let now = json_lines(&klamm(lab, &["produce", &topic, "-o", "json"], "d\n")?)?[0]["timestamp"]
        .as_i64()
        .context("a timestamp")?;
    let from =
        |place: &str| klamm(lab, &["consume", &topic, "--from", place, "-e", "--format", "%v"], "");
    expect(&from("beginning")?, "abcd")?;
    expect(&from("2")?, "cd")?;
    expect(&from("-1")?, "d")?;
    expect(&from("-100")?, "abcd")?;
    expect(&from("100")?, "")?;
    expect(&from("end")?, "")?;
    expect(&from("1h")?, "abcd")?;
    expect(&from("2000-01-01")?, "abcd")?;
    expect(&from("2100-01-01T00:00:00Z")?, "")?;
    ensure!(now > 0, "the broker or the client set a timestamp");
    Ok(())
}

fn partitions(lab: &Lab) -> Result<()> {
    let topic = lab.topic("partitions");
    klamm(lab, &["topic", "create", &topic, "-p", "3"], "")?;
    for partition in ["0", "1", "2"] {
        klamm(lab, &["produce", &topic, "-p", partition], &format!("in {partition}\n"))?;
    }
    let some = klamm(
        lab,
        &["consume", &topic, "--from", "beginning", "-e", "-p", "2", "--format", "%p %v;"],
        "",
    )?;
    expect(&some, "2 in 2;")?;
    let mut all: Vec<String> = read(lab, &topic, "%v\\n")?.lines().map(str::to_owned).collect();
    all.sort();
    ensure!(all == ["in 0", "in 1", "in 2"], "{all:?}");
    let wrong = klamm_fails(lab, 1, &["consume", &topic, "-p", "7", "-e"], "")?;
    expect_contains(&wrong, &["no partition 7", "0 to 2"])?;
    let wrong = klamm_fails(lab, 1, &["produce", &topic, "-p", "7"], "x\n")?;
    expect_contains(&wrong, &["partition 7"])?;
    // By key, records go where every Kafka client puts them: murmur2 of `key` is 1 modulo 3.
    let sent = klamm(lab, &["produce", &topic, "--key", "abc", "-o", "json"], "x\n")?;
    let partition = json_lines(&sent)?[0]["partition"].as_i64();
    ensure!(partition == Some(479_470_107 % 3), "{partition:?}");
    Ok(())
}

fn follows(lab: &Lab) -> Result<()> {
    let topic = lab.topic("follows");
    klamm(lab, &["topic", "create", &topic], "")?;
    let address = lab.address()?;
    let binary = install::klamm()?;
    let mut command = Command::new(binary);
    command.args(["consume", &topic, "--from", "beginning", "-n", "2", "-b", &address]);
    let reader = std::thread::spawn(move || run_with_input(&mut command, b"", LIMIT));
    klamm(lab, &["produce", &topic], "first\n")?;
    klamm(lab, &["produce", &topic], "second\n")?;
    let output = reader.join().ok().context("the reader's thread")??;
    expect(&String::from_utf8(output.stdout)?, "first\nsecond\n")
}

/// Repeats `check` until it holds. A change that klamm has answered is there at once; Apache Kafka's
/// brokers hear of it a moment later.
fn eventually(lab: &Lab, check: impl Fn() -> Result<()>) -> Result<()> {
    if *lab.peer() == Peer::Klamm {
        return check();
    }
    let began = std::time::Instant::now();
    loop {
        match check() {
            Err(_) if began.elapsed() < Duration::from_secs(10) => {}
            done => return done,
        }
    }
}

fn topic_life(lab: &Lab) -> Result<()> {
    let topic = lab.topic("life");
    let created =
        json(lab, &["topic", "create", &topic, "-p", "2", "-r", "1", "-c", "retention.ms=60000"])?;
    ensure!(created[0]["partitions"] == 2 && created[0]["created"] == true, "{created}");
    let again = json(lab, &["topic", "create", &topic, "--if-not-exists"])?;
    ensure!(again[0]["created"] == false, "{again}");
    klamm(lab, &["produce", &topic, "-p", "1"], "a\nb\n")?;
    let described = json(lab, &["topic", "describe", &topic])?;
    let described = &described[0];
    ensure!(described["partitions"][1]["end_offset"] == 2, "{described}");
    ensure!(described["partitions"][0]["end_offset"] == 0, "{described}");
    ensure!(described["configs"]["retention.ms"]["value"] == "60000", "{described}");
    let table = klamm(lab, &["topic", "describe", &topic], "")?;
    expect_contains(&table, &["PARTITION", "retention.ms", "DYNAMIC_TOPIC_CONFIG"])?;
    ensure!(!table.contains("segment.bytes"), "only what was set is shown: {table}");
    let table = klamm(lab, &["topic", "describe", &topic, "--all-configs"], "")?;
    expect_contains(&table, &["segment.bytes", "DEFAULT_CONFIG"])?;
    klamm(
        lab,
        &[
            "topic",
            "alter",
            &topic,
            "-p",
            "5",
            "-c",
            "max.message.bytes=2000",
            "-d",
            "retention.ms",
        ],
        "",
    )?;
    eventually(lab, || {
        let described = json(lab, &["topic", "describe", &topic])?;
        let described = &described[0];
        ensure!(described["partitions"].as_array().map(Vec::len) == Some(5), "{described}");
        let configs = &described["configs"];
        ensure!(configs["max.message.bytes"]["value"] == "2000", "{described}");
        ensure!(configs["retention.ms"]["source"] != "DYNAMIC_TOPIC_CONFIG", "{described}");
        Ok(())
    })?;
    let listed = json(lab, &["topic", "list"])?;
    let mut names = listed.as_array().context("a list")?.iter();
    ensure!(names.any(|listed| listed["topic"] == topic.as_str()), "{listed}");
    expect_contains(&klamm(lab, &["topic", "list"], "")?, &["TOPIC", &topic])?;
    klamm(lab, &["topic", "delete", &topic], "")?;
    eventually(lab, || {
        let listed = json(lab, &["topic", "list"])?;
        let mut names = listed.as_array().context("a list")?.iter();
        ensure!(!names.any(|listed| listed["topic"] == topic.as_str()), "{listed}");
        Ok(())
    })?;
    klamm(lab, &["topic", "delete", &topic, "--if-exists"], "")?;
    Ok(())
}

fn topic_refusals(lab: &Lab) -> Result<()> {
    let topic = lab.topic("refusals");
    klamm(lab, &["topic", "create", &topic, "-p", "2"], "")?;
    let twice = klamm_fails(lab, 1, &["topic", "create", &topic], "")?;
    expect_contains(&twice, &["TOPIC_ALREADY_EXISTS", "--if-not-exists"])?;
    let fewer = klamm_fails(lab, 1, &["topic", "alter", &topic, "-p", "1"], "")?;
    expect_contains(&fewer, &["INVALID_PARTITIONS"])?;
    let name = klamm_fails(lab, 1, &["topic", "create", "no/such/name"], "")?;
    expect_contains(&name, &["INVALID_TOPIC_EXCEPTION"])?;
    let other = lab.topic("refusals-config");
    let config = klamm_fails(lab, 1, &["topic", "create", &other, "-c", "retenton.ms=1"], "")?;
    expect_contains(&config, &["INVALID_CONFIG", "retenton.ms"])?;
    klamm(lab, &["topic", "create", &other, "--dry-run"], "")?;
    let gone = klamm_fails(lab, 1, &["topic", "delete", &other], "")?;
    expect_contains(&gone, &["there is no topic"])?;
    klamm_fails(lab, 2, &["topic", "alter", &topic], "").map(drop)
}

fn nothing_listens(lab: &Lab) -> Result<()> {
    let port = tests::server::probe::free_port()?;
    let address = format!("127.0.0.1:{port}");
    let commands: [&[&str]; 3] = [&["topic", "list"], &["produce", "t"], &["consume", "t"]];
    for command in commands {
        let arguments = [command, &["-b", &address]].concat();
        let refused = klamm_fails(lab, 1, &arguments, "")?;
        expect_contains(&refused, &["nothing listens at", &address, "klamm dev"])?;
    }
    Ok(())
}

fn unknown_topic(lab: &Lab) -> Result<()> {
    let topic = lab.topic("payments");
    klamm(lab, &["topic", "create", &topic], "")?;
    let slip = topic.replace("payments", "paymetns");
    for arguments in [vec!["consume", &slip], vec!["topic", "describe", &slip]] {
        let unknown = klamm_fails(lab, 1, &arguments, "")?;
        let hint = format!("did you mean `{topic}`?");
        expect_contains(&unknown, &["there is no topic", &slip, &hint])?;
    }
    Ok(())
}

fn wrong_use(lab: &Lab) -> Result<()> {
    for arguments in [
        vec!["consume"],
        vec!["consume", "t", "--format", "%q"],
        vec!["consume", "t", "--from", "somewhere"],
        vec!["produce", "t", "--acks", "2"],
        vec!["produce", "t", "--header", "novalue"],
        vec!["topic", "create"],
        vec!["frobnicate"],
        vec!["topic", "list", "--timeout", "soon"],
    ] {
        let complaint = klamm_fails(lab, 2, &arguments, "")?;
        ensure!(!complaint.is_empty(), "{arguments:?} says what is wrong");
    }
    let help = klamm(lab, &["--help"], "")?;
    expect_contains(&help, &["topic", "produce", "consume", "log", "completions", "Exit codes"])
}

/// The data directory of a broker that the tests started.
fn data(lab: &Lab) -> Result<Option<PathBuf>> {
    Ok(match lab.server()? {
        Server::Klamm(klamm) => Some(klamm.directory().to_owned()),
        Server::Kafka(kafka) => Some(kafka.data()),
        Server::Running(_) => None,
    })
}

fn log_of_the_broker(lab: &Lab) -> Result<()> {
    let topic = lab.topic("log");
    klamm(lab, &["topic", "create", &topic, "-p", "1", "-c", "index.interval.bytes=1"], "")?;
    let lines: String = (0..200).map(|i| format!("k{i}:value {i}\n")).collect();
    for codec in ["none", "zstd"] {
        let arguments = ["produce", &topic, "-K", ":", "-H", "h=1", "-z", codec, "--linger", "0ms"];
        klamm(lab, &arguments, &lines)?;
    }
    // What a broker that runs elsewhere has on its disk, nobody can see from here.
    let Some(data) = data(lab)? else { return Ok(()) };
    let directory = data.join(format!("{topic}-0")).display().to_string();
    let verified = klamm(lab, &["log", "verify", &directory], "")?;
    expect_contains(&verified, &["ok, ", "400 records", "offsets 0 to 399"])?;
    let dumped = klamm(lab, &["log", "dump", "--records", &directory, "-o", "json"], "")?;
    let batches = json_lines(&dumped)?;
    let records: Vec<&Value> =
        batches.iter().filter_map(|batch| batch["records"].as_array()).flatten().collect();
    ensure!(records.len() == 400, "{} records", records.len());
    ensure!(records[399]["offset"] == 399 && records[399]["value"] == "value 199", "{records:?}");
    ensure!(batches.last().is_some_and(|batch| batch["compression"] == "zstd"), "{dumped}");
    let text = klamm(lab, &["log", "dump", "-r", &directory], "")?;
    expect_contains(&text, &["offsets 0..=", "key k0  value value 0  h=1", "zstd"])
}

/// A segment with three batches, and where each begins.
fn segment(directory: &Path) -> Result<(PathBuf, Vec<usize>)> {
    let path = directory.join("00000000000000000000.log");
    let mut bytes = Vec::new();
    let mut positions = Vec::new();
    for base in [0, 2, 4] {
        positions.push(bytes.len());
        let compression = if base == 2 { Compression::Gzip } else { Compression::None };
        let options =
            BatchOptions { base_offset: Offset(base), compression, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        for _ in 0..2 {
            let value = b"some value".as_slice();
            let parts = RecordParts { value: Some(value), ..RecordParts::default() };
            builder.append(Timestamp(1_700_000_000_000 + base), &parts);
        }
        bytes.extend_from_slice(&builder.finish()?.bytes);
    }
    std::fs::write(&path, bytes)?;
    Ok((path, positions))
}

fn log_damage(lab: &Lab) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (path, positions) = segment(directory.path())?;
    let good = std::fs::read(&path)?;
    let text = path.display().to_string();
    expect_contains(&klamm(lab, &["log", "verify", &text], "")?, &["ok, 3 batches, 6 records"])?;
    let check = |damage: &str, expected: &[&str]| {
        let output = klamm_any_status(lab, &["log", "verify", &text], "")?;
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.code() == Some(1), "{damage}: {report}");
        expect_contains(&report, expected).context(damage.to_owned())
    };
    let mut flipped = good.clone();
    flipped[positions[1] + 70] ^= 1;
    std::fs::write(&path, &flipped)?;
    check("a flipped bit", &["DAMAGED", "offsets 2..=3", "checksum"])?;
    std::fs::write(&path, &good[..good.len() - 5])?;
    check("a batch cut off", &["DAMAGED", "2 batches", "5 bytes"])?;
    let swapped =
        [&good[positions[1]..positions[2]], &good[..positions[1]], &good[positions[2]..]].concat();
    std::fs::write(&path, swapped)?;
    check("batches out of order", &["begins before offset 4"])?;
    std::fs::write(&path, &good)?;
    let mut index = Vec::new();
    for (offset, position) in [(3u32, positions[1] as u32), (5, positions[2] as u32 + 1)] {
        index.extend_from_slice(&offset.to_be_bytes());
        index.extend_from_slice(&position.to_be_bytes());
    }
    std::fs::write(path.with_extension("index"), index)?;
    check("an index entry beside a batch", &["entry for offset 5 leads to no batch"])?;
    std::fs::remove_file(path.with_extension("index"))?;
    let mut index = Vec::new();
    index.extend_from_slice(&1_700_000_000_001i64.to_be_bytes());
    index.extend_from_slice(&3u32.to_be_bytes());
    std::fs::write(path.with_extension("timeindex"), index)?;
    check("a wrong timestamp", &["1700000000001", "timestamp 1700000000002"])?;
    let nothing = klamm_fails(lab, 1, &["log", "verify", "/no/such/directory"], "")?;
    expect_contains(&nothing, &["/no/such/directory", "is not there"])
}

fn completions(lab: &Lab) -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let script = klamm(lab, &["completions", shell], "")?;
        if !script.contains("consume") || !script.contains("klamm") {
            bail!("{shell}: {script}");
        }
    }
    Ok(())
}
